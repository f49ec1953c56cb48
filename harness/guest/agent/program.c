// SPDX-License-Identifier: Apache-2.0
/* Programs run for the agent or inside a container. */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

static char *const environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp",
	"LC_ALL=C", NULL,
};

static void must_end_well(int status, const char *name)
{
	if (WIFSIGNALED(status))
		fail("%s: killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		fail("%s: %s %d", name,
		     WEXITSTATUS(status) == NOT_STARTED ? "could not be started, or exit status" :
							  "exit status",
		     WEXITSTATUS(status));
}

void run_program(const char *const argv[])
{
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		execve(argv[0], (char *const *)argv, environment);
		_exit(NOT_STARTED);
	}
	if (pid < 0)
		fail_errno("vfork for %s", argv[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail_errno("wait for %s", argv[0]);
	if (status != 0)
		must_end_well(status, argv[0]);
}

void run_path(const void *path)
{
	const char *const argv[] = { path, NULL };

	run_program(argv);
}

pid_t start_program(const char *const argv[])
{
	pid_t pid = agent_fork();

	if (pid > 0)
		return pid;
	execve(argv[0], (char *const *)argv, environment);
	fail_errno("%s", argv[0]);
}

void stop_program(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) == pid) {
		if (agent_child_error()[0] != '\0')
			fail("%s", agent_child_error());
		fail("server: ended by itself, status 0x%x", status);
	}
	/* Servers differ in what they return when they are told to end. */
	kill(pid, SIGTERM);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail_errno("wait for process %d", pid);
}
