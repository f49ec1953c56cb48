/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the guest agent share: errors, results, directives. */
#ifndef AGENT_H
#define AGENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum {
	LINE_LENGTH = 400, /* longest line of the protocol, base64 lines aside */
	TEXT_LENGTH = 256, /* longest path or value */
};

/* ---- the end (end.c): a trial fails with `fail <text>`, in a child through its parent ---- */

void agent_open(void);

_Noreturn void fail(const char *format, ...) PRINTF(1, 2);
/* As fail(), followed by the text of errno. */
_Noreturn void fail_errno(const char *format, ...) PRINTF(1, 2);

/* fork() whose child reports failures to its parent instead of powering off. */
pid_t agent_fork(void);
/* Marks this process as such a child. */
void agent_is_child(void);
/* Waits for a child; fails if it did not exit with status 0. */
void agent_wait(pid_t pid, const char *what);
/* The child's own words, or "" if it died without any. */
const char *agent_child_error(void);

_Noreturn void agent_done(void);
/* Fails the trial unless called again within this many seconds of guest time. */
void agent_limit(unsigned seconds);

/* ---- results (output.c) ---- */

/* Opens the channel to the host: the control port if there is one, else the second serial line. */
void output_open(void);
bool output_is_port(void);
void output_line(const char *format, ...) PRINTF(1, 2);
void output_file(const char *name, const void *data, size_t size);
void output_flush(void);
/* Reads one line from the host, without '\n'. Only on the control port. */
void output_read_line(char *line, size_t size);
/* Reads exactly `size` bytes from the host. Only on the control port. */
void output_read(void *data, size_t size);

/* ---- samples (samples.c): kept in memory shared with children, printed after a measurement ---- */

enum phase { WARMUP, FIRST, MEASURED };

void samples_open(void);
void sample(enum phase phase, long index, uint64_t value, const char *format, ...) PRINTF(4, 5);
void samples_print(void);
/* Nanoseconds of CLOCK_MONOTONIC_RAW. */
uint64_t now(void);
/* Lets the kernel do what it has put off, such as freeing what a stopped container held. */
void settle(void);
/* WARMUP for the first `warm` iterations, then MEASURED; *index starts at 0 in both. */
enum phase phase_of(long iteration, long warm, long *index);

/* ---- directives (job.c) ---- */

enum { MAX_KEYS = 12 };

struct directive {
	char name[32];
	int keys;
	struct {
		char key[16];
		char value[TEXT_LENGTH];
	} key[MAX_KEYS];
};

const char *directive_text(const struct directive *d, const char *key, const char *standard);
long directive_number(const struct directive *d, const char *key, long standard, long least,
		      long most);
/* Whether the comma-separated list of `key` contains `word`. */
bool directive_lists(const struct directive *d, const char *key, const char *standard,
		     const char *word);
/* Next element of a comma-separated list, or false at its end. */
bool list_next(const char **list, char *word, size_t size);
/* Fails unless `text` is a number between the bounds. */
long number_of(const char *text, const char *what, long least, long most);
/* Carries out every line of the job. */
void job_run(char *text);

/* ---- the directives ---- */

void run_boot(const struct directive *d);
void run_file_measurement(const struct directive *d);
void run_container_start(const struct directive *d);
void run_namespace_scale(const struct directive *d);
void run_log_growth(const struct directive *d);
void run_application(const struct directive *d);
void run_containers(const struct directive *d);
void run_hide(const struct directive *d);
void run_tpm(const struct directive *d);
void run_attest(const struct directive *d);
void run_logs(const struct directive *d);
void run_counts(void);

#endif
