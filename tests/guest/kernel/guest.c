/* What the test guests of the kernel series share: mounts, files, containers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

void off(void)
{
	fflush(stdout);
	reboot(RB_POWER_OFF);
	_exit(0);
}

void die(const char *what)
{
	printf("fail %s: %s\n", what, strerror(errno));
	off();
}

void guest_mounts(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL) ||
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL))
		die("mount");
}

int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0755);
	ssize_t size = strlen(text);
	int bad;

	if (fd < 0)
		return -1;
	bad = write(fd, text, size) != size;
	if (close(fd))
		bad = 1;
	return bad ? -1 : 0;
}

long get(const char *path)
{
	static __thread char buffer[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long total = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		total += n;
	close(fd);
	return n < 0 ? -1 : total;
}

void program(const char *from, const char *to, const char *line)
{
	char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n;

	if (in < 0 || out < 0)
		die(to);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, n) != n)
			die(to);
	if (write(out, line, strlen(line)) < 0)
		die(to);
	close(in);
	close(out);
}

int execute(const char *path)
{
	int status = -1;
	pid_t pid = vfork();

	if (pid == 0) {
		execl(path, path, "child", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void send_file(const char *name, const char *path)
{
	unsigned char buffer[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, i;

	if (fd < 0)
		die(path);
	printf("begin %s\n", name);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
		for (i = 0; i < n; i++)
			printf("%02x", buffer[i]);
		putchar('\n');
	}
	printf("end\n");
	close(fd);
}

struct start {
	const char *cgroup;
	void (*run)(void *);
	void *data;
};

static int started(void *argument)
{
	struct start *start = argument;
	char path[256];

	if (start->cgroup) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", start->cgroup);
		mkdir(path, 0755);
		strncat(path, "/cgroup.procs", sizeof(path) - strlen(path) - 1);
		put(path, "0");
	}
	start->run(start->data);
	_exit(0);
}

int container(const char *cgroup, int flags, void (*run)(void *), void *data, volatile int *shown)
{
	struct start start = {cgroup, run, data};
	size_t size = 262144;
	char *stack = malloc(size);
	int status = -1;
	pid_t pid;

	if (!stack)
		return -1;
	pid = clone(started, stack + size, CLONE_NEWNS | CLONE_NEWPID | flags | SIGCHLD, &start);
	if (shown)
		*shown = pid;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	free(stack);
	return status;
}
