// SPDX-License-Identifier: Apache-2.0
/* Workers and containers. The agent makes a container as kata-agent does: a cgroup, new mount,
 * pid, ipc and uts namespaces (no user namespace), the root moved over "/" because the guest's own
 * root is a ramfs, which pivot_root refuses.
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define CLONE_INTO_CGROUP 0x200000000ull

struct request {
	worker_function function;
	char arguments[MAX_ARGUMENTS];
};

void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t size = strlen(text);

	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		fail_errno("%s", path);
	close(fd);
}

static void mount_or_fail(const char *source, const char *target, const char *type,
			  unsigned long flags, const char *options)
{
	if (mount(source, target, type, flags, options) < 0)
		fail_errno("mount %s on %s", source, target);
}

static void make_devices(void)
{
	static const struct {
		const char *path;
		unsigned minor;
	} devices[] = {
		{ "dev/null", 3 }, { "dev/zero", 5 }, { "dev/full", 7 },
		{ "dev/random", 8 }, { "dev/urandom", 9 },
	};

	mount_or_fail("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755");
	for (size_t i = 0; i < ARRAY_LENGTH(devices); i++)
		if (mknod(devices[i].path, S_IFCHR | 0666, makedev(1, devices[i].minor)) < 0)
			fail_errno("mknod %s", devices[i].path);
	mkdir("dev/shm", 01777);
}

/* Runs as the container's first process: everything that happens before its program is started. */
static void enter_root(const struct container *c)
{
	mount_or_fail("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mount_or_fail(c->root, c->root, NULL, MS_BIND | MS_REC, NULL);
	if (chdir(c->root) < 0)
		fail_errno("%s", c->root);
	mount_or_fail("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_fail("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	mount_or_fail("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_fail("tmpfs", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	make_devices();
	if (c->work[0] != '\0')
		mount_or_fail(c->work, "mnt", NULL, MS_BIND, NULL);
	mount_or_fail(".", "/", NULL, MS_MOVE, NULL);
	if (chroot(".") < 0 || chdir("/") < 0 || sethostname(c->id, strlen(c->id)) < 0)
		fail_errno("root of container %s", c->id);
}

/* What programs print is nobody's result; what they complain about stays on the console. */
static void be_quiet(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		fail_errno("/dev/null");
	close(null);
}

static _Noreturn void serve(int request, int reply)
{
	struct request r;

	while (read(request, &r, sizeof(r)) == (ssize_t)sizeof(r) && r.function != NULL) {
		r.function(r.arguments);
		if (write(reply, "k", 1) != 1)
			break;
	}
	_exit(0);
}

/* From the kernel's interface <linux/sched.h>, which musl does not bring along. */
struct clone_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t set_tid, set_tid_size, cgroup;
};

/* A child in namespaces and cgroup of its own from its first instruction. Moving it into the
 * cgroup afterwards would wait for all processors, a time that says nothing about the container. */
static pid_t clone_container(const struct container *c)
{
	struct clone_arguments arguments = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
	};
	char group[TEXT_LENGTH];
	pid_t pid;
	int fd;

	snprintf(group, sizeof(group), CGROUPS "/%s", c->id);
	if (mkdir(group, 0755) < 0)
		fail_errno("%s", group);
	fd = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fail_errno("%s", group);
	arguments.cgroup = (uint64_t)fd;
	pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (pid < 0)
		fail_errno("namespaces of container %s", c->id);
	close(fd);
	if (pid == 0)
		agent_is_child();
	return pid;
}

static void start(struct worker *w, const char *name, const struct container *c)
{
	int request[2], reply[2];

	snprintf(w->name, sizeof(w->name), "%s", name);
	if (pipe2(request, O_CLOEXEC) < 0 || pipe2(reply, O_CLOEXEC) < 0)
		fail_errno("pipes of %s", name);
	w->pid = c == NULL ? agent_fork() : clone_container(c);
	if (w->pid == 0) {
		close(request[1]);
		close(reply[0]);
		be_quiet();
		if (c != NULL)
			enter_root(c);
		serve(request[0], reply[1]);
	}
	close(request[0]);
	close(reply[1]);
	w->request = request[1];
	w->reply = reply[0];
}

void container_start(struct worker *w, const struct container *c)
{
	start(w, c->id, c);
}

void host_start(struct worker *w)
{
	start(w, "host", NULL);
}

void worker_call(const struct worker *w, worker_function function, const void *arguments,
		 size_t size)
{
	struct request r = { .function = function };
	char answer;

	if (size > sizeof(r.arguments))
		fail("worker %s: %zu bytes of arguments", w->name, size);
	if (size > 0)
		memcpy(r.arguments, arguments, size);
	signal(SIGPIPE, SIG_IGN);
	if (write(w->request, &r, sizeof(r)) != (ssize_t)sizeof(r) ||
	    read(w->reply, &answer, 1) != 1) {
		agent_wait(w->pid, w->name);
		fail("worker %s ended early", w->name);
	}
}

void worker_stop(struct worker *w)
{
	/* Closing the pipe would not do: workers started later have inherited it. */
	const struct request end = { .function = NULL };

	if (write(w->request, &end, sizeof(end)) != (ssize_t)sizeof(end))
		fail_errno("worker %s", w->name);
	close(w->request);
	close(w->reply);
	agent_wait(w->pid, w->name);
	w->pid = 0;
}

void container_remove(const char *id)
{
	char group[TEXT_LENGTH];

	snprintf(group, sizeof(group), CGROUPS "/%s", id);
	if (rmdir(group) < 0)
		fail_errno("%s", group);
}

void container_join(const struct worker *w, worker_function function, const void *arguments)
{
	static const char *const kinds[] = { "ipc", "uts", "pid", "mnt" };
	int fd[ARRAY_LENGTH(kinds)];
	char path[TEXT_LENGTH];
	pid_t pid = agent_fork();

	if (pid > 0) {
		agent_wait(pid, w->name);
		return;
	}
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", w->pid, kinds[i]);
		fd[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fd[i] < 0)
			fail_errno("%s", path);
	}
	snprintf(path, sizeof(path), CGROUPS "/%s/cgroup.procs", w->name);
	write_text(path, "0");
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
		if (setns(fd[i], 0) < 0)
			fail_errno("setns %s of container %s", kinds[i], w->name);
	pid = agent_fork(); /* only a child is inside the pid namespace */
	if (pid == 0)
		function(arguments);
	else
		agent_wait(pid, w->name);
	_exit(0);
}
