// SPDX-License-Identifier: Apache-2.0
/* The job: one directive per line, `name key=value ...`, carried out in order. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	void (*run)(const struct directive *d);
	const char *keys;
} directives[] = {
	{ "boot", run_boot, "" },
	{ "file_measurement", run_file_measurement, "count,warm,sizes,ops,scopes" },
	{ "container_start", run_container_start, "count,warm,runtime" },
	{ "namespace_scale", run_namespace_scale, "domains,count" },
	{ "log_growth", run_log_growth, "entries,step,count" },
	{ "application", run_application, "names,count" },
	{ "containers", run_containers, "violation" },
	{ "hide", run_hide, "kind" },
	{ "tpm", run_tpm, "count,warm,parts" },
	{ "attest", run_attest, "count,warm,seal,report" },
	{ "logs", run_logs, "" },
};

/* Guest seconds that one directive may take, unless its key `limit` says otherwise. */
enum { STANDARD_LIMIT = 900, LONGEST_LIMIT = 36000 };

bool list_next(const char **list, char *word, size_t size)
{
	size_t length = strcspn(*list, ",");

	if (**list == '\0')
		return false;
	if (length >= size)
		fail("job: %.40s...: too long", *list);
	memcpy(word, *list, length);
	word[length] = '\0';
	*list += length;
	if (**list == ',')
		(*list)++;
	return true;
}

static bool has(const char *list, const char *word)
{
	char element[TEXT_LENGTH];

	while (list_next(&list, element, sizeof(element)))
		if (strcmp(element, word) == 0)
			return true;
	return false;
}

const char *directive_text(const struct directive *d, const char *key, const char *standard)
{
	for (int i = 0; i < d->keys; i++)
		if (strcmp(d->key[i].key, key) == 0)
			return d->key[i].value;
	return standard;
}

bool directive_lists(const struct directive *d, const char *key, const char *standard,
		     const char *word)
{
	return has(directive_text(d, key, standard), word);
}

long number_of(const char *text, const char *what, long least, long most)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < least || value > most)
		fail("job: %s=%s is not a number from %ld to %ld", what, text, least, most);
	return value;
}

long directive_number(const struct directive *d, const char *key, long standard, long least,
		      long most)
{
	const char *text = directive_text(d, key, NULL);

	return text == NULL ? standard : number_of(text, key, least, most);
}

static void parse_key(struct directive *d, const char *word, const char *keys)
{
	const char *equals = strchr(word, '=');
	size_t length;

	if (equals == NULL)
		fail("job: %s: %s is not key=value", d->name, word);
	length = (size_t)(equals - word);
	if (d->keys == MAX_KEYS || length >= sizeof(d->key[0].key) ||
	    strlen(equals + 1) >= sizeof(d->key[0].value))
		fail("job: %s: too many or too long keys", d->name);
	memcpy(d->key[d->keys].key, word, length);
	d->key[d->keys].key[length] = '\0';
	strcpy(d->key[d->keys].value, equals + 1);
	if (!has(keys, d->key[d->keys].key) && strcmp(d->key[d->keys].key, "limit") != 0)
		fail("job: %s has no key %s", d->name, d->key[d->keys].key);
	d->keys++;
}

static void run_line(char *line)
{
	struct directive d = { .keys = 0 };
	char *rest, *word = strtok_r(line, " \t\r", &rest);

	if (word == NULL || word[0] == '#')
		return;
	for (size_t i = 0; i < ARRAY_LENGTH(directives); i++) {
		if (strcmp(word, directives[i].name) != 0)
			continue;
		strcpy(d.name, directives[i].name);
		while ((word = strtok_r(NULL, " \t\r", &rest)) != NULL)
			parse_key(&d, word, directives[i].keys);
		agent_limit((unsigned)directive_number(&d, "limit", STANDARD_LIMIT, 1, LONGEST_LIMIT));
		directives[i].run(&d);
		samples_print();
		agent_limit(STANDARD_LIMIT);
		return;
	}
	fail("job: no directive %.64s", word);
}

void job_run(char *text)
{
	char *rest;

	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		run_line(line);
}
