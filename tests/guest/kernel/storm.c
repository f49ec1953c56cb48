/*
 * A storm on measurement domains: workers start short-lived containers in which threads measure
 * the same and new files, go deeper by unshare, break files that others read; at the same time
 * the manager enters containers, readers read all lists, the list is sealed, rules are appended
 * to the policy. In the end all lists are printed for the test, which replays them.
 *
 * From the kernel's command line: storm.workers=N storm.containers=N (each worker's)
 * storm.files=N (new ones in each container) storm.seal=N (milliseconds between seals: each is a
 * line for each domain, so that a thousand containers need a longer pause).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define SHARED_FILES 16

struct shared {
	atomic_int stop;
	atomic_long opened;  /* files that were opened in containers and must be in the list */
	atomic_long entered; /* processes that went into a container by setns */
	volatile int inside[64]; /* by worker: process id of its container, 0 if none */
};

static struct shared *shared;
static long workers = 2, containers = 4, files = 8, pause_ms = 100;

static void parameter(const char *name, long *value)
{
	char line[1024] = "";
	char *found;
	int fd = open("/proc/cmdline", O_RDONLY);

	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		die("/proc/cmdline");
	close(fd);
	found = strstr(line, name);
	if (found)
		*value = atol(found + strlen(name));
}

struct job {
	long worker, number;
};

static void *measure(void *data)
{
	char path[64];
	int i;

	(void)data;
	for (i = 0; i < SHARED_FILES; i++) {
		snprintf(path, sizeof(path), "/data/shared%d", i);
		get(path);
	}
	return NULL;
}

/* A file that this container alone measures: one entry in its list. */
static void new_file(struct job *job, long i)
{
	char path[64];

	snprintf(path, sizeof(path), "/data/own/%ld.%ld.%ld", job->worker, job->number, i);
	if (put(path, path))
		die(path);
	if (get(path) > 0)
		atomic_fetch_add(&shared->opened, 1);
	unlink(path);
}

/* Write to a file that others have open for reading: a violation for each of them. */
static void violate(struct job *job)
{
	char path[64];
	int in, out;

	snprintf(path, sizeof(path), "/data/shared%ld", job->number % SHARED_FILES);
	in = open(path, O_RDONLY | O_CLOEXEC);
	out = open(path, O_WRONLY | O_CLOEXEC);
	close(in);
	close(out);
}

static void deeper(void *data)
{
	struct job *job = data;

	new_file(job, -2);
	if (unshare(CLONE_NEWNS | CLONE_NEWUSER) == 0)
		get("/data/shared0");
}

static void run(void *data)
{
	struct job *job = data;
	pthread_t threads[2];
	long i;

	for (i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, measure, NULL);
	for (i = 0; i < files; i++)
		new_file(job, i);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	if (job->number % 4 == 0)
		violate(job);
	if (job->number % 4 == 1)
		container(NULL, 0, deeper, job, NULL);
	if (job->number % 4 == 2 && unshare(CLONE_NEWNS) == 0)
		new_file(job, -1);
	if (job->number % 8 == 3)
		execute("/data/program");
}

static void work(long worker)
{
	char cgroup[32], path[64];
	struct job job = {worker, 0};

	for (; job.number < containers; job.number++) {
		snprintf(cgroup, sizeof(cgroup), "c%ld.%ld", worker, job.number);
		container(cgroup, 0, run, &job, &shared->inside[worker]);
		shared->inside[worker] = 0;
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", cgroup);
		rmdir(path);
	}
}

/* The manager: go into whatever container there is and measure. */
static void enter(void)
{
	char path[64];
	long worker = 0;
	int fd;

	while (!shared->stop) {
		pid_t child = fork();

		if (child == 0) {
			snprintf(path, sizeof(path), "/proc/%d/ns/mnt", shared->inside[worker]);
			fd = open(path, O_RDONLY);
			if (fd >= 0 && setns(fd, CLONE_NEWNS) == 0) {
				get("/data/shared1");
				atomic_fetch_add(&shared->entered, 1);
			}
			_exit(0);
		}
		waitpid(child, NULL, 0);
		worker = (worker + 1) % workers;
		usleep(2000);
	}
}

static void read_lists(void)
{
	char path[320];
	struct dirent *entry;
	DIR *dir;

	while (!shared->stop) {
		get(IMA "/binary_runtime_measurements");
		get(IMA "/ns/list");
		dir = opendir(IMA "/ns");
		while (dir && (entry = readdir(dir))) {
			snprintf(path, sizeof(path), IMA "/ns/%s/ascii_runtime_measurements",
				 entry->d_name);
			get(path);
		}
		if (dir)
			closedir(dir);
		usleep(50000);
	}
}

static void seal(void)
{
	while (!shared->stop) {
		if (put(IMA "/ns/seal", "1"))
			die("seal");
		usleep(1000 * pause_ms);
	}
}

/* The rules that are appended match nothing: what is measured must not change. */
static void append_rules(void)
{
	char rule[128];
	int i;

	for (i = 0; !shared->stop && i < 50; i++) {
		snprintf(rule, sizeof(rule), "dont_measure ns=%s fsmagic=0x%x\n",
			 i % 2 ? "init" : "container", 0x7f000000 + i);
		if (put(IMA "/policy", rule))
			die("policy");
		usleep(20000);
	}
}

static pid_t start(void (*function)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		function();
		_exit(0);
	}
	return pid;
}

/* The first rule replaces the builtin policy: give the same one, then append. */
static void load_policy(void)
{
	static const char *const rules[] = {
		"dont_measure fsmagic=0x9fa0", "dont_measure fsmagic=0x62656572",
		"dont_measure fsmagic=0x1021994", "dont_measure fsmagic=0x73636673",
		"dont_measure fsmagic=0x63677270", "dont_measure fsmagic=0x6e736673",
		"measure ns=child func=MMAP_CHECK mask=MAY_EXEC",
		"measure ns=child func=BPRM_CHECK mask=MAY_EXEC",
		"measure ns=child func=FILE_CHECK mask=^MAY_READ nsroot",
		"measure func=BPRM_CHECK mask=MAY_EXEC",
		"measure func=FILE_CHECK mask=^MAY_READ uid=0",
	};
	int fd = open(IMA "/policy", O_WRONLY);
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (write(fd, rules[i], strlen(rules[i])) < 0) /* the kernel takes a rule a time */
			die(rules[i]);
	close(fd);
}

static void prepare(void)
{
	char path[64];
	int i;

	guest_mounts();
	mkdir("/data", 0777);
	mkdir("/data/own", 0777);
	program("/init", "/data/program", "storm");
	for (i = 0; i < SHARED_FILES; i++) {
		snprintf(path, sizeof(path), "/data/shared%d", i);
		put(path, path);
	}
	parameter("storm.workers=", &workers);
	parameter("storm.containers=", &containers);
	parameter("storm.files=", &files);
	parameter("storm.seal=", &pause_ms);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || workers > 64)
		die("memory");
	load_policy();
}

static void print_lists(void)
{
	char path[128], name[32];
	int id;

	send_file("list", IMA "/binary_runtime_measurements");
	send_file("domains", IMA "/ns/list");
	for (id = 1; id <= 32; id++) {
		snprintf(path, sizeof(path), IMA "/ns/%d/binary_runtime_measurements", id);
		snprintf(name, sizeof(name), "list.%d", id);
		if (!access(path, F_OK))
			send_file(name, path);
	}
	if (!access("/sys/class/tpm/tpm0/pcr-sha256/10", F_OK)) {
		send_file("pcr10", "/sys/class/tpm/tpm0/pcr-sha256/10");
		send_file("pcr11", "/sys/class/tpm/tpm0/pcr-sha256/11");
	}
}

int main(int argc, char **argv)
{
	pid_t helpers[5];
	pid_t pids[64];
	long i;

	(void)argv;
	if (argc > 1)
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 65536);
	prepare();
	helpers[0] = start(enter);
	helpers[1] = start(read_lists);
	helpers[2] = start(read_lists);
	helpers[3] = start(seal);
	helpers[4] = start(append_rules);
	for (i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			work(i);
			_exit(0);
		}
	}
	for (i = 0; i < workers; i++)
		waitpid(pids[i], NULL, 0);
	shared->stop = 1;
	for (i = 0; i < 5; i++)
		waitpid(helpers[i], NULL, 0);
	printf("note containers %ld\nnote opened %ld\nnote entered %ld\n", workers * containers,
	       (long)shared->opened, (long)shared->entered);
	print_lists();
	printf("DONE\n");
	off();
}
