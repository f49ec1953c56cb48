// SPDX-License-Identifier: Apache-2.0
/* containers: who measured what when two containers share an image; hide: containers and managers
 * that try not to show what they run.
 */
#include "image.h"
#include "worker.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT "/data/demo"
#define CONF "/etc/conf"
#define OTHER_MANAGER "/data/manager"

enum { PROGRAM_SIZE = 8 * 1024 };

/* Paths of all programs, and of what containers open: the same bytes in every boot. */
static void make_demo(void)
{
	static const char *const programs[] = { "app1", "app2", "app3", "app4", "evil" };
	char path[TEXT_LENGTH];

	make_root(ROOT);
	for (size_t i = 0; i < ARRAY_LENGTH(programs); i++) {
		snprintf(path, sizeof(path), ROOT "/bin/%s", programs[i]);
		if (access(path, F_OK) != 0)
			make_program(path, PROGRAM_SIZE, 6000000 + i);
	}
	if (access(ROOT CONF, F_OK) != 0)
		make_text(ROOT CONF, "colour = blue\n");
}

static void call_path(const struct worker *w, worker_function function, const char *path)
{
	worker_call(w, function, path, strlen(path) + 1);
}

static void run_in_new_namespaces(const void *path, int namespaces)
{
	pid_t pid = agent_fork();

	if (pid == 0) {
		if (unshare(namespaces) < 0)
			fail_errno("unshare");
		run_path(path);
		_exit(0);
	}
	agent_wait(pid, "nested namespaces");
}

static void run_nested(const void *path)
{
	run_in_new_namespaces(path, CLONE_NEWNS);
}

static void run_nested_user(const void *path)
{
	run_in_new_namespaces(path, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID);
}

/* Opens a measured file for writing while a reader has it open: what the reader sees is then not
 * what was measured. */
static void write_while_read(const void *path)
{
	int reader = open(path, O_RDONLY | O_CLOEXEC), writer;

	if (reader < 0)
		fail_errno("%s", (const char *)path);
	writer = open(path, O_WRONLY | O_CLOEXEC);
	if (writer < 0)
		fail_errno("%s", (const char *)path);
	close(writer);
	close(reader);
}

static void start_named(struct worker *w, const char *id, const char *root)
{
	struct container c = { .root = "" };

	snprintf(c.id, sizeof(c.id), "%s", id);
	snprintf(c.root, sizeof(c.root), "%s", root);
	container_start(w, &c);
}

void run_containers(const struct directive *d)
{
	bool violation = directive_number(d, "violation", 0, 0, 1) == 1, images = image_count() >= 2;
	const char *root_a = images ? IMAGES "/1" : ROOT, *root_b = images ? IMAGES "/2" : ROOT;
	char app1[TEXT_LENGTH];
	struct worker a, b;

	if (violation && images)
		fail("job: containers: a violation needs a writable image");
	make_demo();
	snprintf(app1, sizeof(app1), "%s/bin/app1", root_a);
	run_path(app1);
	start_named(&a, "A", root_a);
	start_named(&b, "B", root_b);
	call_path(&a, run_path, "/bin/app1");
	call_path(&b, run_path, "/bin/app1");
	call_path(&a, run_nested, "/bin/app2");
	container_join(&a, run_path, "/bin/app3");
	call_path(&b, read_away, CONF);
	if (violation)
		call_path(&b, write_while_read, CONF);
	run_path(ROOT "/bin/app4");
	worker_stop(&a);
	worker_stop(&b);
	container_remove("A");
	container_remove("B");
	output_line("note ran.host app1 app4");
	output_line("note ran.A app1 app2 app3");
	output_line("note ran.B app1 conf%s", violation ? " conf-violation" : "");
}

static void hide_by(worker_function how, const char *program)
{
	struct worker w;

	start_named(&w, "hidden", ROOT);
	call_path(&w, how, program);
	worker_stop(&w);
	container_remove("hidden");
}

static void hide_by_setns(void)
{
	struct worker w;

	start_named(&w, "hidden", ROOT);
	call_path(&w, run_path, "/bin/app1");
	container_join(&w, run_path, "/bin/evil");
	worker_stop(&w);
	container_remove("hidden");
}

static void hide_by_manager(void)
{
	const char *const argv[] = { OTHER_MANAGER, ROOT, "/bin/app1", NULL };
	size_t size;
	uint8_t *agent = read_whole("/proc/self/exe", &size);
	int fd = open(OTHER_MANAGER, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	/* Bytes behind a program's last segment change its digest and nothing else. */
	if (fd < 0 || write(fd, agent, size) != (ssize_t)size || write(fd, "changed", 7) != 7)
		fail_errno(OTHER_MANAGER);
	close(fd);
	run_program(argv);
	container_remove("hidden");
}

void run_hide(const struct directive *d)
{
	const char *kind = directive_text(d, "kind", "");

	make_demo();
	if (strcmp(kind, "nested") == 0) {
		hide_by(run_nested_user, "/bin/evil");
	} else if (strcmp(kind, "measured") == 0) {
		run_path(ROOT "/bin/evil");
		hide_by(run_path, "/bin/evil");
	} else if (strcmp(kind, "setns") == 0) {
		hide_by_setns();
	} else if (strcmp(kind, "manager") == 0) {
		hide_by_manager();
	} else {
		fail("job: hide has no kind '%s': nested, measured, setns, manager", kind);
	}
	output_line("note hide %s", kind);
}
