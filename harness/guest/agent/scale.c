// SPDX-License-Identifier: Apache-2.0
/* namespace_scale and log_growth: what grows with the number of containers and of entries. */
#include "ima.h"
#include "worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT "/data/scale"
#define GROWTH "/data/growth"

enum {
	FILE_SIZE = 1024,
	BATCH = 500,
	OFTEN_READ = 20000, /* entries read in all readings of one length */
	MAX_DOMAINS = 4096,
	MAX_ENTRIES = 1000000,
	MAX_SAMPLED = 1000,
};

/* Bytes that the kernel uses for itself, from /proc/meminfo. */
static uint64_t kernel_memory(void)
{
	static const char *const parts[] = { "Slab:", "KernelStack:", "PageTables:", "Percpu:" };
	uint64_t total = 0;
	char text[4096], *at;
	ssize_t n;
	int fd;

	settle(); /* what stopped containers held is freed later */
	fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		fail_errno("/proc/meminfo");
	close(fd);
	text[n] = '\0';
	for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
		at = strstr(text, parts[i]);
		if (at == NULL)
			fail("/proc/meminfo: no %s", parts[i]);
		total += strtoull(at + strlen(parts[i]), NULL, 10) * 1024;
	}
	return total;
}

struct uses {
	long domain, level, index; /* index < 0: not a sample */
};

static uint64_t time_of_reading(const char *path)
{
	uint64_t begin = now();

	read_away(path);
	return now() - begin;
}

/* In a new container: its first measured file, and then one more. */
static void use_two_files(const void *arguments)
{
	const struct uses *u = arguments;
	static const char *const names[] = { "first_file", "next_file" };
	char path[TEXT_LENGTH];

	for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
		uint64_t duration;

		snprintf(path, sizeof(path), "/bin/%ld.%zu", u->domain, i);
		duration = time_of_reading(path);
		if (u->index >= 0)
			sample(MEASURED, u->index, duration, "%s.%ld", names[i], u->level);
	}
}

static void do_nothing(const void *arguments)
{
	(void)arguments;
}

static void seal(const struct uses *u)
{
	uint64_t begin = now();

	ima_seal();
	sample(MEASURED, u->index, now() - begin, "seal.%ld", u->level);
}

/* Makes one container; returns a handle that keeps its mount namespace. */
static int add_container(const struct uses *u)
{
	struct container c = { .root = ROOT };
	char path[TEXT_LENGTH];
	struct worker w;
	uint64_t begin;
	int handle;

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), ROOT "/bin/%ld.%d", u->domain, i);
		make_file(path, FILE_SIZE, (uint64_t)(2000000 + 2 * u->domain + i));
	}
	snprintf(c.id, sizeof(c.id), "scale-%ld", u->domain);
	if (u->index >= 0)
		settle();
	begin = now();
	container_start(&w, &c);
	worker_call(&w, do_nothing, NULL, 0);
	if (u->index >= 0)
		sample(MEASURED, u->index, now() - begin, "create.%ld", u->level);
	worker_call(&w, use_two_files, u, sizeof(*u));
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", w.pid);
	handle = open(path, O_RDONLY | O_CLOEXEC);
	if (handle < 0)
		fail_errno("%s", path);
	worker_stop(&w);
	container_remove(c.id);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), ROOT "/bin/%ld.%d", u->domain, i);
		unlink(path);
	}
	if (u->index >= 0 && ima_has_domains())
		seal(u);
	return handle;
}

void run_namespace_scale(const struct directive *d)
{
	const char *levels = directive_text(d, "domains", "1,4,16,64");
	long sampled = directive_number(d, "count", 10, 1, MAX_SAMPLED), made = 0;
	const struct uses warm = { .domain = MAX_DOMAINS, .index = -1 };
	uint64_t before, after;
	int handles[MAX_DOMAINS];
	char word[TEXT_LENGTH];

	make_root(ROOT);
	if (!ima_has_domains())
		output_line("note seal skipped: the kernel has no measurement domains");
	close(add_container(&warm)); /* what only the first container costs is nobody's share */
	before = kernel_memory();
	while (list_next(&levels, word, sizeof(word))) {
		long level = number_of(word, "domains", made + 1, MAX_DOMAINS);
		long skipped = level - made > sampled ? level - made - sampled : 0, base = made;

		for (; made < level; made++) {
			struct uses u = { .domain = made, .level = level, .index = -1 };

			if (made - base >= skipped)
				u.index = made - base - skipped;
			handles[made] = add_container(&u);
		}
		after = kernel_memory();
		sample(MEASURED, 0, after > before ? after - before : 0, "memory.%ld.bytes", level);
	}
	while (made > 0)
		close(handles[--made]);
}

/* Adds entries to the list; the last `sampled` of them are timed. */
static void grow(long from, long to, long level, long sampled)
{
	char path[TEXT_LENGTH];

	for (long i = from; i < to; i++) {
		snprintf(path, sizeof(path), GROWTH "/%ld", i);
		make_file(path, FILE_SIZE, (uint64_t)(4000000 + i));
	}
	sync();
	for (long i = from; i < to; i++) {
		uint64_t duration;

		snprintf(path, sizeof(path), GROWTH "/%ld", i);
		duration = time_of_reading(path);
		if (to == level && i >= to - sampled)
			sample(MEASURED, i - (to - sampled), duration, "append.%ld", level);
		unlink(path);
	}
}

/* The kernel walks the list for each block that is read: of a long list one reading must do. */
static void read_list(long level, long sampled)
{
	long readings = OFTEN_READ / level < sampled ? OFTEN_READ / level : sampled;

	for (long i = 0; i == 0 || i < readings; i++)
		sample(MEASURED, i, time_of_reading(IMA_LIST), "read.%ld", level);
}

void run_log_growth(const struct directive *d)
{
	long entries = directive_number(d, "entries", 10000, 1, MAX_ENTRIES);
	long step = directive_number(d, "step", entries, 1, MAX_ENTRIES);
	long sampled = directive_number(d, "count", 10, 1, BATCH);

	make_folder(GROWTH);
	for (long made = 0, level = step; level <= entries; level += step) {
		while (made < level) {
			long to = made + BATCH < level ? made + BATCH : level;

			grow(made, to, level, sampled < to - made ? sampled : to - made);
			made = to;
		}
		read_list(level, sampled);
		samples_print();
	}
}
