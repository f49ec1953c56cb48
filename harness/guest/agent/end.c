// SPDX-License-Identifier: Apache-2.0
/* How the trial ends: with DONE, or with the reason why it failed, also out of a child. */
#include "agent.h"
#include "channel.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_child;
static bool failing;
static char *child_error; /* LINE_LENGTH bytes shared with every child */

void agent_open(void)
{
	child_error = mmap(NULL, LINE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (child_error == MAP_FAILED)
		power_off();
}

static _Noreturn void end_with(const char *text)
{
	if (is_child) {
		dprintf(2, "agent (child): %s\n", text);
		snprintf(child_error, LINE_LENGTH, "%s", text);
		_exit(1);
	}
	if (!failing) { /* a failure while failing must not start over */
		failing = true;
		dprintf(2, "agent: %s\n", text);
		output_line("fail %s", text);
		output_flush();
	}
	power_off();
}

void fail(const char *format, ...)
{
	char text[LINE_LENGTH];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	end_with(text);
}

void fail_errno(const char *format, ...)
{
	char text[LINE_LENGTH];
	int error = errno;
	va_list ap;
	size_t n;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, ": %s", strerror(error));
	end_with(text);
}

static void out_of_time(int number)
{
	(void)number;
	output_last_words("\nfail a directive ran longer than its time limit\n");
}

void agent_limit(unsigned seconds)
{
	signal(SIGALRM, out_of_time);
	alarm(seconds);
}

void agent_done(void)
{
	output_line("DONE");
	output_flush();
	power_off();
}

void agent_is_child(void)
{
	is_child = true;
	output_drop();
}

pid_t agent_fork(void)
{
	pid_t pid;

	child_error[0] = '\0';
	pid = fork();
	if (pid < 0)
		fail_errno("fork");
	if (pid == 0)
		agent_is_child();
	return pid;
}

const char *agent_child_error(void)
{
	return child_error;
}

void agent_wait(pid_t pid, const char *what)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail_errno("wait for %s", what);
	if (WIFSIGNALED(status))
		fail("%s: killed by signal %d", what, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0 && child_error[0] != '\0')
		fail("%s", child_error);
	if (WEXITSTATUS(status) != 0)
		fail("%s: exit status %d", what, WEXITSTATUS(status));
}
