// SPDX-License-Identifier: Apache-2.0
/* Samples, in memory that children share: nothing is printed while something is measured. */
#include "agent.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MAX_SAMPLES = 65536, PART_LENGTH = 44, SETTLE_MS = 100 };

struct sample {
	uint64_t value;
	uint32_t index;
	uint8_t phase;
	char part[PART_LENGTH];
};

static struct {
	long used;
	struct sample list[MAX_SAMPLES];
} *kept;

void samples_open(void)
{
	/* Populated: the first use of a page must not cost inside a measurement. */
	kept = mmap(NULL, sizeof(*kept), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (kept == MAP_FAILED)
		fail_errno("memory for samples");
}

void sample(enum phase phase, long index, uint64_t value, const char *format, ...)
{
	struct sample *s;
	va_list ap;

	if (kept->used == MAX_SAMPLES)
		fail("a directive takes more than %d samples", MAX_SAMPLES);
	s = &kept->list[kept->used++];
	s->phase = (uint8_t)phase;
	s->index = (uint32_t)index;
	s->value = value;
	va_start(ap, format);
	vsnprintf(s->part, sizeof(s->part), format, ap);
	va_end(ap);
}

void samples_print(void)
{
	static const char *const names[] = { "warmup", "first", "measured" };

	for (long i = 0; i < kept->used; i++) {
		const struct sample *s = &kept->list[i];

		output_line("sample %s %s %u %llu", s->part, names[s->phase], s->index,
			    (unsigned long long)s->value);
	}
	kept->used = 0;
	output_flush();
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void settle(void)
{
	const struct timespec time = { .tv_nsec = SETTLE_MS * 1000000L };

	nanosleep(&time, NULL);
}

enum phase phase_of(long iteration, long warm, long *index)
{
	*index = iteration < warm ? iteration : iteration - warm;
	return iteration < warm ? WARMUP : MEASURED;
}
