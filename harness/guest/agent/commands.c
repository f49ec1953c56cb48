// SPDX-License-Identifier: Apache-2.0
/* tpm: the time of single TPM commands as a program of the guest sees it. */
#include "tpm.h"

#include <string.h>

enum { MAX_COUNT = 20000, DEBUG_PCR = 16, RANDOM_BYTES = 32 };

static const uint8_t value[TPM_DIGEST] = { 1, 2, 3 };

static void prepare_pcr_read(struct tpm_message *m)
{
	tpm_pcr_read(m, 1);
}

static void prepare_pcr_extend(struct tpm_message *m)
{
	tpm_pcr_extend(m, DEBUG_PCR, value);
}

static void prepare_get_random(struct tpm_message *m)
{
	tpm_get_random(m, RANDOM_BYTES);
}

static void prepare_quote(struct tpm_message *m)
{
	tpm_quote(m, value);
}

static void prepare_read_public(struct tpm_message *m)
{
	tpm_read_public(m, TPM_AK_HANDLE);
}

static const struct {
	const char *name;
	void (*prepare)(struct tpm_message *m);
} commands[] = {
	{ "pcr_read", prepare_pcr_read },     { "pcr_extend", prepare_pcr_extend },
	{ "get_random", prepare_get_random }, { "read_public", prepare_read_public },
	{ "quote", prepare_quote },
};

/* The commands take turns, so that a slow moment of the machine meets all of them. */
void run_tpm(const struct directive *d)
{
	long count = directive_number(d, "count", 200, 1, MAX_COUNT / 10);
	long warm = directive_number(d, "warm", 10, 0, MAX_COUNT / 10);
	static struct tpm_message command, response;

	tpm_open();
	for (long i = 0; i < warm + count; i++) {
		for (size_t c = 0; c < ARRAY_LENGTH(commands); c++) {
			uint64_t duration;
			enum phase phase;
			long index;

			if (!directive_lists(d, "parts", "pcr_read,pcr_extend,get_random,read_public,quote",
					     commands[c].name))
				continue;
			commands[c].prepare(&command);
			duration = tpm_execute(&command, &response, commands[c].name);
			phase = phase_of(i, warm, &index);
			sample(phase, index, duration, "%s", commands[c].name);
		}
	}
}
