/*
 * The demonstration as a guest: two containers use the same programs as the host, one goes
 * deeper by unshare, the manager enters one by setns, the host breaks a container's file, one
 * container runs under a mapped root. Prints the lists; the test replays them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static int ready[2], proceed[2];
static volatile int *inside; /* process id of the container that was started last */

static void step(int *pipe, int send)
{
	char byte = 0;

	if ((send ? write(pipe[1], &byte, 1) : read(pipe[0], &byte, 1)) != 1)
		die("pipe");
}

static void run_a(void *unused)
{
	int fd;

	(void)unused;
	if (execute("/data/app1"))
		die("A app1");
	if (unshare(CLONE_NEWNS) || execute("/data/app2"))
		die("A app2");
	fd = open("/data/conf", O_RDONLY);
	step(ready, 1); /* the host writes to conf and enters by setns */
	step(proceed, 0);
	close(fd);
}

static void *read_own(void *path)
{
	get(path);
	return NULL;
}

static void run_b(void *unused)
{
	pthread_t threads[4];
	char paths[4][32];
	int i;

	(void)unused;
	for (i = 0; i < 4; i++) { /* its first measurement is a race of four threads */
		snprintf(paths[i], sizeof(paths[i]), "/data/thread%d", i);
		pthread_create(&threads[i], NULL, read_own, paths[i]);
	}
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (execute("/data/app1"))
		die("B app1");
	get("/data/conf");
}

static void run_mapped(void *unused)
{
	(void)unused;
	while (setresgid(0, 0, 0) || setresuid(0, 0, 0)) /* until the maps are written */
		usleep(1000);
	get("/data/mapped");
	if (setuid(1) == 0)
		get("/data/unprivileged");
}

static void enter_a(pid_t pid)
{
	char path[64];
	pid_t child = fork();

	if (child == 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
		if (setns(open(path, O_RDONLY), CLONE_NEWNS) || execute("/data/app3"))
			_exit(1);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static pid_t start(const char *cgroup, int flags, void (*run)(void *))
{
	pid_t pid;

	*inside = 0;
	pid = fork();
	if (pid == 0) {
		container(cgroup, flags, run, NULL, inside);
		_exit(0);
	}
	return pid;
}

static void mapped_root(void)
{
	char path[64];
	pid_t pid = start("mapped", CLONE_NEWUSER, run_mapped);
	pid_t child;

	while (!(child = *inside))
		usleep(1000);
	snprintf(path, sizeof(path), "/proc/%d/setgroups", child);
	put(path, "deny");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
	put(path, "0 100000 65536");
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	if (put(path, "0 100000 65536"))
		die("uid_map");
	waitpid(pid, NULL, 0);
}

static void files(void)
{
	char path[32];
	int i;

	mkdir("/data", 0755);
	for (i = 1; i <= 4; i++) {
		snprintf(path, sizeof(path), "/data/app%d", i);
		program("/init", path, path);
	}
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/data/thread%d", i);
		put(path, path);
	}
	put("/data/conf", "a\n");
	put("/data/mapped", "mapped\n");
	put("/data/unprivileged", "unprivileged\n");
}

static void lists(void)
{
	char name[64], path[128];
	int id;

	send_file("list", IMA "/binary_runtime_measurements");
	if (access(IMA "/ns", F_OK))
		return;
	send_file("domains", IMA "/ns/list");
	for (id = 1; id < 8; id++) {
		snprintf(path, sizeof(path), IMA "/ns/%d/binary_runtime_measurements", id);
		snprintf(name, sizeof(name), "list.%d", id);
		if (!access(path, F_OK))
			send_file(name, path);
	}
	if (!access("/sys/class/tpm/tpm0/pcr-sha256", F_OK)) {
		send_file("pcr10", "/sys/class/tpm/tpm0/pcr-sha256/10");
		send_file("pcr11", "/sys/class/tpm/tpm0/pcr-sha256/11");
	}
}

int main(int argc, char **argv)
{
	pid_t a;

	(void)argv;
	if (argc > 1)
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 65536);
	guest_mounts();
	files();
	inside = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (inside == MAP_FAILED || pipe(ready) || pipe(proceed))
		die("pipe");
	printf("# host\n");
	execute("/data/app1"); /* the host has measured it before the containers do */
	printf("# container a\n");
	a = start("a", 0, run_a);
	step(ready, 0);
	printf("# setns\n");
	enter_a(*inside);
	printf("# host writes\n");
	put("/data/conf", "b\n"); /* the host breaks what A has open */
	step(proceed, 1);
	waitpid(a, NULL, 0);
	printf("# container b\n");
	waitpid(start("b", 0, run_b), NULL, 0);
	printf("# mapped root\n");
	mapped_root();
	execute("/data/app4");
	if (!access(IMA "/ns/seal", F_OK) && put(IMA "/ns/seal", "1"))
		die("seal");
	lists();
	printf("DONE\n");
	off();
}
