// SPDX-License-Identifier: Apache-2.0
/* container_start: a container's life from its namespaces to the exit of its first program, made
 * by the agent itself or by crun from the root image.
 */
#include "image.h"
#include "worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define ROOT "/data/start"
#define BUNDLES "/run/bundles"
#define CRUN "/usr/bin/crun"

enum { PROGRAM_SIZE = 16 * 1024, MAX_CONTAINERS = 4096, NAME_LENGTH = ID_LENGTH };

struct start {
	char id[NAME_LENGTH];	   /* of the container */
	char program[NAME_LENGTH]; /* below /bin of its root */
	uint64_t duration;
};

typedef void (*starter)(struct start *s);

static void start_by_agent(struct start *s)
{
	struct container c = { .root = ROOT };
	char path[TEXT_LENGTH];
	struct worker w;
	uint64_t begin;

	snprintf(c.id, sizeof(c.id), "%s", s->id);
	snprintf(path, sizeof(path), "/bin/%s", s->program);
	begin = now();
	container_start(&w, &c);
	worker_call(&w, run_path, path, strlen(path) + 1);
	worker_stop(&w);
	s->duration = now() - begin;
	container_remove(c.id);
}

static void write_bundle(const struct start *s)
{
	static const char format[] =
		"{\"ociVersion\":\"1.0.2\",\"hostname\":\"%s\",\"root\":{\"path\":\"/mnt\"},"
		"\"process\":{\"terminal\":false,\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\","
		"\"args\":[\"/bin/%s\"],\"env\":[\"PATH=/bin\"]},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		"{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"ro\"]},"
		"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
		"{\"destination\":\"/run\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
		"{\"destination\":\"/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}],"
		"\"linux\":{\"cgroupsPath\":\"/%s\",\"namespaces\":[{\"type\":\"pid\"},"
		"{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}]}}\n";
	char path[TEXT_LENGTH], text[sizeof(format) + 3 * NAME_LENGTH];

	make_folder(BUNDLES);
	snprintf(path, sizeof(path), BUNDLES "/%s", s->id);
	make_folder(path);
	snprintf(path, sizeof(path), BUNDLES "/%s/config.json", s->id);
	unlink(path);
	snprintf(text, sizeof(text), format, s->id, s->program, s->id);
	make_text(path, text);
}

static void start_by_crun(struct start *s)
{
	char bundle[TEXT_LENGTH];
	const char *const argv[] = {
		CRUN, "--cgroup-manager=cgroupfs", "run", "--bundle", bundle, s->id, NULL,
	};
	uint64_t begin;

	snprintf(bundle, sizeof(bundle), BUNDLES "/%s", s->id);
	write_bundle(s);
	begin = now();
	run_program(argv);
	s->duration = now() - begin;
}

/* The container manager's own file system: the image, with the guest's /run and kernel files. */
static void enter_image(void)
{
	static const struct {
		const char *source, *target;
	} binds[] = {
		{ "/proc", IMAGE "/proc" }, { "/sys", IMAGE "/sys" }, { "/dev", IMAGE "/dev" },
		{ "/run", IMAGE "/run" }, { ROOT, IMAGE "/mnt" },
	};

	for (size_t i = 0; i < ARRAY_LENGTH(binds); i++)
		if (mount(binds[i].source, binds[i].target, NULL, MS_BIND | MS_REC, NULL) < 0)
			fail_errno("mount %s", binds[i].target);
	if (mount("tmpfs", IMAGE "/tmp", "tmpfs", 0, "mode=1777") < 0 || chroot(IMAGE) < 0 ||
	    chdir("/") < 0)
		fail_errno("%s", IMAGE);
}

static void leave_image(void)
{
	static const char *const targets[] = { "/tmp", "/mnt", "/run", "/dev", "/sys", "/proc" };
	char target[TEXT_LENGTH];

	for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
		snprintf(target, sizeof(target), IMAGE "%s", targets[i]);
		umount2(target, MNT_DETACH);
	}
}

struct series {
	starter start;
	long count, warm;
};

/* `first`: each container runs a program that nobody ran before. `again`: all run the same one,
 * which the first of them (a warm-up, or else the guest) has run already. */
static void start_series(const void *arguments)
{
	const struct series *series = arguments;
	struct start s;

	for (int again = 0; again <= 1; again++) {
		for (long i = 0; i < series->warm + series->count; i++) {
			enum phase phase;
			long index;

			snprintf(s.id, sizeof(s.id), "start-%c%ld", again ? 'a' : 'f', i);
			snprintf(s.program, sizeof(s.program), "%ld", again ? 0 : i);
			phase = phase_of(i, series->warm, &index);
			settle();
			series->start(&s);
			sample(phase, index, s.duration, "start.%s", again ? "again" : "first");
		}
	}
}

void run_container_start(const struct directive *d)
{
	const char *runtime = directive_text(d, "runtime", "agent");
	struct series series = {
		.start = start_by_agent,
		.count = directive_number(d, "count", 16, 1, MAX_CONTAINERS),
		.warm = directive_number(d, "warm", 1, 0, MAX_CONTAINERS),
	};
	static uint64_t seed = 1000000; /* no two programs of a boot have the same content */
	char path[TEXT_LENGTH];
	pid_t pid;

	make_root(ROOT);
	for (long i = 0; i < series.warm + series.count; i++) {
		snprintf(path, sizeof(path), ROOT "/bin/%ld", i);
		unlink(path); /* left by an earlier directive */
		make_program(path, PROGRAM_SIZE, ++seed);
	}
	sync();
	if (strcmp(runtime, "agent") == 0) {
		start_series(&series);
		return;
	}
	if (strcmp(runtime, "crun") != 0)
		fail("job: container_start has no runtime %s", runtime);
	need_program(CRUN);
	series.start = start_by_crun;
	pid = agent_fork();
	if (pid == 0) {
		enter_image();
		start_series(&series);
		_exit(0);
	}
	agent_wait(pid, "crun");
	leave_image();
}
