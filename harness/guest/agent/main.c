// SPDX-License-Identifier: Apache-2.0
/* The guest's init: mounts, reads the job, carries it out, reports and powers off. */
#include "image.h"
#include "worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_JOB = 64 * 1024, MAX_OPEN_FILES = 8192, HELD_CGROUPS = 32, BOOT_PROGRAM_SIZE = 16 * 1024 };

#define BOOT_ROOT "/data/boot"

static uint64_t reached_init_ns;

/* Since the kernel started, unlike now(). */
static uint64_t since_start(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void run_boot(const struct directive *d)
{
	struct container c = { .id = "boot", .root = BOOT_ROOT };
	static const char program[] = "/bin/first";
	struct worker w;

	(void)d;
	sample(MEASURED, 0, reached_init_ns, "init");
	make_root(BOOT_ROOT);
	make_program(BOOT_ROOT "/bin/first", BOOT_PROGRAM_SIZE, UINT64_MAX);
	sample(MEASURED, 0, since_start(), "system");
	container_start(&w, &c);
	worker_call(&w, run_path, program, sizeof(program));
	sample(MEASURED, 0, since_start(), "container");
	worker_stop(&w);
	container_remove(c.id);
}

static uint64_t salt_of(const char *command_line)
{
	const char *salt = strstr(command_line, "attestbench.salt=");

	return salt == NULL ? 0 : strtoull(salt + strlen("attestbench.salt="), NULL, 10);
}

/* Moves what follows to other places in the kernel's memory, so that boots with different salts are
 * different draws of the layout; without a salt nothing moves. The agent's own address space stays
 * as it is (every fork would copy what is added to it), and so does the measurement list: nothing
 * is opened for reading. */
static void perturb_layout(uint64_t salt)
{
	uint64_t state = salt * 2 + 1;
	char path[TEXT_LENGTH];
	long files;

	if (salt == 0)
		return;
	make_folder("/data/salt");
	files = 1 + (long)(next_number(&state) % 61);
	for (long i = 0; i < files; i++) {
		snprintf(path, sizeof(path), "/data/salt/%ld", i);
		make_file(path, next_number(&state) % 12288, next_number(&state));
	}
	for (long i = 0; i < files; i++) { /* holes of different sizes in the caches of the kernel */
		snprintf(path, sizeof(path), "/data/salt/%ld", i);
		if (next_number(&state) % 2 == 0)
			unlink(path);
	}
	for (long i = (long)(next_number(&state) % 17); i > 0; i--) {
		pid_t pid = agent_fork();

		if (pid == 0)
			_exit(0);
		agent_wait(pid, "salt");
	}
}

/* Without other users, the kernel's memory per processor shrinks whenever a container ends, and the
 * next container pays for its growth (280,000 instructions) or doesn't, as the kernel's layout falls
 * out. Cgroups that stay hold it. */
static void hold_memory(void)
{
	char path[TEXT_LENGTH];

	for (int i = 0; i < HELD_CGROUPS; i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/held-%d", i);
		make_folder(path);
	}
}

/* From the kernel's interface <linux/random.h>, which musl does not bring along. */
#define ADD_ENTROPY _IOW('R', 3, int[2])

/* A counted boot has nothing random in it, so that programs would wait seconds for random numbers.
 * They get them from the salt: such a boot holds no secrets. */
static void seed_random_numbers(uint64_t salt)
{
	struct {
		int bits, size;
		uint64_t seed[4];
	} entropy = { .bits = 256, .size = sizeof(entropy.seed) };
	uint64_t state = salt;
	int fd;

	if (salt == 0)
		return;
	for (size_t i = 0; i < ARRAY_LENGTH(entropy.seed); i++)
		entropy.seed[i] = next_number(&state);
	fd = open("/dev/random", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, ADD_ENTROPY, &entropy) < 0)
		fail_errno("/dev/random");
	close(fd);
}

static char *read_job(void)
{
	size_t size;
	char line[64], *job;

	if (access("/job", F_OK) == 0) {
		job = (char *)read_whole("/job", &size);
		if (size > LONGEST_JOB)
			fail("job: more than %d bytes", LONGEST_JOB);
		job = realloc(job, size + 1);
	} else {
		output_read_line(line, sizeof(line));
		if (strncmp(line, "job ", 4) != 0)
			fail("control port: expected the job, got %s", line);
		size = (size_t)number_of(line + 4, "size", 0, LONGEST_JOB);
		job = malloc(size + 1);
		if (job != NULL)
			output_read(job, size);
	}
	if (job == NULL)
		fail("no memory for the job");
	job[size] = '\0';
	return job;
}

/* A changed copy of this program, run as /data/manager, stands for a container manager that was
 * replaced: it makes the container of `hide kind=manager`. */
static int other_manager(const char *root, const char *program)
{
	struct container c = { .id = "hidden" };
	struct worker w;

	agent_open();
	output_open();
	samples_open();
	agent_is_child();
	snprintf(c.root, sizeof(c.root), "%s", root);
	container_start(&w, &c);
	worker_call(&w, run_path, program, strlen(program) + 1);
	worker_stop(&w);
	return 0;
}

int main(int argc, char *argv[])
{
	const struct rlimit files = { MAX_OPEN_FILES, MAX_OPEN_FILES };
	uint8_t *command_line;
	uint64_t salt;
	size_t size;
	char *job;

	if (argc == 3 && strcmp(argv[0], "/data/manager") == 0)
		return other_manager(argv[1], argv[2]);
	if (getpid() != 1)
		return 0; /* as a program of the container images: is measured, does nothing */
	reached_init_ns = since_start();
	mount_kernel();
	agent_open();
	output_open();
	samples_open();
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		fail_errno("limit of open files");
	load_policy();
	mount_images();
	command_line = read_whole("/proc/cmdline", &size);
	command_line[size - 1] = '\0'; /* was '\n' */
	salt = salt_of((char *)command_line);
	seed_random_numbers(salt);
	perturb_layout(salt);
	hold_memory();
	free(command_line);
	job = read_job();
	job_run(job);
	free(job);
	run_counts();
	agent_done();
}
