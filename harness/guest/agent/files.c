// SPDX-License-Identifier: Apache-2.0
/* file_measurement: exec, open and mmap of files, first touch and again, by the guest's own
 * processes, by a container, and by a second container that uses the first one's files.
 */
#include "worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define ROOT "/data/files"

enum {
	OP_LENGTH = 8,
	SCOPE_LENGTH = 12,
	SIZE_LENGTH = 24,
	PAGE = 4096,
	MAX_COUNT = 4096,
	REPEATS = 16,			      /* uses per sample where a file is used again */
	REPEATED_BYTES = REPEATS * 1024 * 1024, /* fewer uses of larger files */
	LEAST_AGAIN = 8,		      /* samples, also of sizes with fewer files */
	CONTROLS = 64,
};

struct measurement {
	char op[OP_LENGTH];
	char scope[SCOPE_LENGTH];
	char size_name[SIZE_LENGTH];
	long size, count, warm;
};

static void use_exec(const char *path)
{
	run_path(path);
}

static void use_open(const char *path)
{
	read_away(path);
}

static void use_mmap(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat s;
	volatile const uint8_t *data;

	if (fd < 0 || fstat(fd, &s) < 0)
		fail_errno("%s", path);
	data = mmap(NULL, (size_t)s.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		fail_errno("mmap %s", path);
	for (off_t at = 0; at < s.st_size; at += PAGE)
		(void)data[at];
	munmap((void *)(uintptr_t)data, (size_t)s.st_size);
	close(fd);
}

static const struct {
	const char *name;
	void (*use)(const char *path);
} ops[] = { { "exec", use_exec }, { "open", use_open }, { "mmap", use_mmap } };

static void path_of(char *path, size_t size, const char *root, long i)
{
	snprintf(path, size, "%s/bin/%05ld", root, i);
}

static void enter_files(const void *arguments)
{
	(void)arguments;
	if (chroot(ROOT) < 0 || chdir("/") < 0)
		fail_errno("%s", ROOT);
}

static void (*use_of(const char *op))(const char *path)
{
	size_t i = 0;

	while (strcmp(op, ops[i].name) != 0)
		i++;
	return ops[i].use;
}

static uint64_t time_of_uses(void (*use)(const char *path), const char *path, long repeats)
{
	uint64_t start = now();

	for (long i = 0; i < repeats; i++)
		use(path);
	return (now() - start) / (uint64_t)repeats;
}

/* In a worker. The second pass uses the same files in the same order. What a use costs there comes
 * in turns (caches of the kernel fill and empty every few uses): a sample is the mean of several. */
static void measure(const void *arguments)
{
	const struct measurement *m = arguments;
	void (*use)(const char *path) = use_of(m->op);
	long repeats = REPEATED_BYTES / m->size;
	char path[TEXT_LENGTH];

	repeats = repeats < 1 ? 1 : repeats > REPEATS ? REPEATS : repeats;
	for (int again = 0; again <= 1; again++) {
		long files = m->warm + m->count;
		long samples = again && m->count < LEAST_AGAIN ? m->warm + LEAST_AGAIN : files;

		for (long i = 0; i < samples; i++) {
			uint64_t duration;
			enum phase phase;
			long index;

			path_of(path, sizeof(path), "", i % files);
			duration = time_of_uses(use, path, again ? repeats : 1);
			phase = phase_of(i, m->warm, &index);
			sample(phase, index, duration, "%s.%s.%s.%s", m->scope, m->op,
			       again ? "again" : "first", m->size_name);
		}
	}
}

static void make_files(const struct measurement *m)
{
	static uint64_t seed; /* no two files of a boot have the same content */
	char path[TEXT_LENGTH];
	struct sysinfo memory;
	unsigned long long needed = (unsigned long long)(m->warm + m->count) * (unsigned long long)m->size;

	if (sysinfo(&memory) < 0)
		fail_errno("sysinfo");
	if (needed > (unsigned long long)memory.freeram * memory.mem_unit / 4 * 3)
		fail("file_measurement: %ld files of %s do not fit in the guest's memory",
		     m->warm + m->count, m->size_name);
	for (long i = 0; i < m->warm + m->count; i++) {
		path_of(path, sizeof(path), ROOT, i);
		make_program(path, (size_t)m->size, ++seed);
	}
	sync();
}

static void remove_files(const struct measurement *m)
{
	char path[TEXT_LENGTH];

	for (long i = 0; i < m->warm + m->count; i++) {
		path_of(path, sizeof(path), ROOT, i);
		unlink(path);
	}
}

static void measure_in(const struct worker *w, struct measurement *m, const char *scope)
{
	snprintf(m->scope, sizeof(m->scope), "%s", scope);
	worker_call(w, measure, m, sizeof(*m));
}

static void use_stat(const char *path)
{
	struct stat s;

	if (stat(path, &s) < 0)
		fail_errno("stat %s", path);
}

static void use_getppid(const char *path)
{
	(void)path;
	getppid();
}

/* Operations that measure nothing: they must cost the same in every arm. */
static void measure_controls(const void *arguments)
{
	const struct measurement *m = arguments;

	for (long i = 0; i < m->warm + m->count; i++) {
		long index;
		enum phase phase = phase_of(i, m->warm, &index);

		sample(phase, index, time_of_uses(use_stat, "/etc/first", CONTROLS), "control.stat");
		sample(phase, index, time_of_uses(use_getppid, "", CONTROLS), "control.getppid");
	}
}

struct scopes {
	bool host, container, second;
	struct worker workers[3]; /* host, container, second */
};

static void start_scopes(struct scopes *s)
{
	struct container c = { .root = ROOT };

	make_root(ROOT);
	unlink(ROOT "/etc/first"); /* left by an earlier directive */
	make_text(ROOT "/etc/first", "what a process opens before it is measured\n");
	host_start(&s->workers[0]);
	worker_call(&s->workers[0], enter_files, NULL, 0);
	for (int i = 1; i <= 2; i++) {
		snprintf(c.id, sizeof(c.id), i == 1 ? "files-first" : "files-second");
		container_start(&s->workers[i], &c);
	}
	/* So that no sample pays for what a container's first measurement costs besides. */
	for (int i = 0; i <= 2; i++)
		worker_call(&s->workers[i], read_away, "/etc/first", sizeof("/etc/first"));
}

static void measure_size(const struct directive *d, struct scopes *s, struct measurement *m)
{
	for (size_t i = 0; i < ARRAY_LENGTH(ops); i++) {
		if (!directive_lists(d, "ops", "exec,open,mmap", ops[i].name))
			continue;
		snprintf(m->op, sizeof(m->op), "%s", ops[i].name);
		if (s->host) {
			make_files(m);
			measure_in(&s->workers[0], m, "host");
			remove_files(m);
		}
		if (s->container) {
			make_files(m);
			measure_in(&s->workers[1], m, "container");
			if (s->second)
				measure_in(&s->workers[2], m, "second");
			remove_files(m);
		}
	}
}

/* `size` or `size:count`: large files need fewer samples than small ones. */
static void parse_size(char *word, struct measurement *m)
{
	char *colon = strchr(word, ':');

	if (colon != NULL) {
		*colon = '\0';
		m->count = number_of(colon + 1, "sizes (count)", 1, MAX_COUNT);
	}
	m->size = number_of(word, "sizes", 1024, 64 << 20);
	if (m->size % (1 << 20) == 0)
		snprintf(m->size_name, sizeof(m->size_name), "%ldMiB", m->size >> 20);
	else if (m->size % (1 << 10) == 0)
		snprintf(m->size_name, sizeof(m->size_name), "%ldKiB", m->size >> 10);
	else
		snprintf(m->size_name, sizeof(m->size_name), "%ldB", m->size);
}

void run_file_measurement(const struct directive *d)
{
	const char *sizes = directive_text(d, "sizes", "4096:40,65536:10,1048576:3");
	struct scopes s = {
		.host = directive_lists(d, "scopes", "host,container,second", "host"),
		.container = directive_lists(d, "scopes", "host,container,second", "container"),
		.second = directive_lists(d, "scopes", "host,container,second", "second"),
	};
	struct measurement m = { .warm = directive_number(d, "warm", 1, 0, MAX_COUNT) };
	char word[TEXT_LENGTH];

	if (s.second && !s.container)
		fail("job: file_measurement: scope second uses the files of scope container");
	start_scopes(&s);
	m.count = directive_number(d, "count", 20, 1, MAX_COUNT);
	if (s.host)
		worker_call(&s.workers[0], measure_controls, &m, sizeof(m));
	while (list_next(&sizes, word, sizeof(word))) {
		m.count = directive_number(d, "count", 20, 1, MAX_COUNT);
		parse_size(word, &m);
		measure_size(d, &s, &m);
		samples_print();
	}
	for (int i = 0; i <= 2; i++)
		worker_stop(&s.workers[i]);
	container_remove("files-first");
	container_remove("files-second");
}
