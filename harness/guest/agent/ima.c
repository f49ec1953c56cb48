// SPDX-License-Identifier: Apache-2.0
/* Lists and counts of IMA. */
#include "ima.h"
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOMAINS IMA_FOLDER "/ns"

enum { PCRS = 24, DIGEST = 20 };

bool ima_has_domains(void)
{
	return access(DOMAINS "/list", F_OK) == 0;
}

void ima_seal(void)
{
	write_text(DOMAINS "/seal", "1");
}

static int by_number(const void *a, const void *b)
{
	const long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

long *ima_domains(size_t *count)
{
	size_t room = 64;
	long *ids = malloc(room * sizeof(*ids));
	DIR *folder = opendir(DOMAINS);
	struct dirent *entry;

	*count = 0;
	while (ids != NULL && folder != NULL && (entry = readdir(folder)) != NULL) {
		char *end;
		long id = strtol(entry->d_name, &end, 10);

		if (*end != '\0' || end == entry->d_name)
			continue;
		if (*count == room) {
			room *= 2;
			ids = realloc(ids, room * sizeof(*ids));
			if (ids == NULL)
				break;
		}
		ids[(*count)++] = id;
	}
	if (ids == NULL)
		fail("no memory for the ids of the domains");
	if (folder != NULL)
		closedir(folder);
	qsort(ids, *count, sizeof(*ids), by_number);
	return ids;
}

static void send_file(const char *name, const char *path)
{
	size_t size;
	uint8_t *data = read_whole(path, &size);

	output_file(name, data, size);
	free(data);
}

void ima_send_list(void)
{
	send_file("ima_log", IMA_LIST);
}

void ima_send_domains(void)
{
	char name[TEXT_LENGTH], path[TEXT_LENGTH];
	size_t count;
	long *ids;

	if (!ima_has_domains())
		return;
	send_file("ns.list", DOMAINS "/list");
	ids = ima_domains(&count);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "ns.%ld.ima_log", ids[i]);
		snprintf(path, sizeof(path), DOMAINS "/%ld/binary_runtime_measurements", ids[i]);
		send_file(name, path);
	}
	free(ids);
}

void run_logs(const struct directive *d)
{
	(void)d;
	ima_send_list();
	ima_send_domains();
}

long read_number(const char *path)
{
	size_t size;
	uint8_t *data = read_whole(path, &size);
	char text[32] = "";

	memcpy(text, data, size < sizeof(text) ? size : sizeof(text) - 1);
	free(data);
	return strtol(text, NULL, 10);
}

/* One entry: u32 pcr, 20 bytes template digest, u32 + template name, u32 + template data. */
static void count_entries(const uint8_t *list, size_t size, long entries[PCRS])
{
	size_t at = 0;

	while (at < size) {
		uint32_t pcr, length;

		if (size - at < sizeof(pcr) + DIGEST)
			fail("%s: cut off", IMA_LIST);
		memcpy(&pcr, list + at, sizeof(pcr));
		at += sizeof(pcr) + DIGEST;
		for (int part = 0; part < 2; part++) {
			if (size - at < sizeof(length))
				fail("%s: cut off", IMA_LIST);
			memcpy(&length, list + at, sizeof(length));
			at += sizeof(length);
			if (size - at < length)
				fail("%s: cut off", IMA_LIST);
			at += length;
		}
		if (pcr >= PCRS)
			fail("%s: PCR %u", IMA_LIST, pcr);
		entries[pcr]++;
	}
}

void run_counts(void)
{
	long entries[PCRS] = { 0 };
	size_t size, domains;
	uint8_t *list = read_whole(IMA_LIST, &size);

	count_entries(list, size, entries);
	free(list);
	free(ima_domains(&domains));
	for (int pcr = 0; pcr < PCRS; pcr++)
		if (entries[pcr] > 0 || pcr == 10 || pcr == 11)
			output_line("count ima.entries.pcr%d %ld", pcr, entries[pcr]);
	output_line("count ima.bytes %zu", size);
	output_line("count ima.runtime_count %ld", read_number(IMA_FOLDER "/runtime_measurements_count"));
	output_line("count ima.violations %ld", read_number(IMA_FOLDER "/violations"));
	output_line("count domains %zu", domains);
}
