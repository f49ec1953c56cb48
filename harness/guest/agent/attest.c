// SPDX-License-Identifier: Apache-2.0
/* attest: the guest's side of an attestation: seal, quote, logs, TEE report, evidence to the host. */
#include "hash.h"
#include "ima.h"
#include "tpm.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOOT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"
#define QUOTE_LABEL "attestbench quote v1"
#define REPORT_LABEL "attestbench attestation report v2"

enum {
	MAX_ITERATIONS = 5000,
	MAX_NONCE = 64,
	REPORT_DATA = 64,
	LONGEST_REPORT = 64 * 1024,
	LONGEST_ANSWER = 512,
};

struct attestation {
	uint8_t nonce[MAX_NONCE];
	size_t nonce_size;
	uint8_t quoted[TPM_BUFFER], signature[TPM_BUFFER], pcrs[TPM_QUOTED_PCRS][TPM_DIGEST];
	size_t quoted_size, signature_size;
	uint8_t *boot_log, *ima_log;
	size_t boot_log_size, ima_log_size;
	char *report; /* base64 lines as the host gave them, without line ends */
	size_t report_size, report_text_size;
};

static void ask_nonce(struct attestation *a)
{
	char line[LONGEST_ANSWER];
	size_t digits;

	output_line("nonce?");
	output_read_line(line, sizeof(line));
	digits = strlen(line) > 6 ? strlen(line) - 6 : 0;
	if (strncmp(line, "nonce ", 6) != 0 || digits == 0 || digits % 2 || digits > 2 * MAX_NONCE)
		fail("control port: expected a nonce, got %.64s", line);
	a->nonce_size = digits / 2;
	for (size_t i = 0; i < a->nonce_size; i++)
		if (sscanf(line + 6 + 2 * i, "%2hhx", &a->nonce[i]) != 1)
			fail("control port: the nonce is not hexadecimal");
}

/* Response: size of the parameters, TPM2B_ATTEST, TPMT_SIGNATURE, then the authorization area. */
static void quote(struct attestation *a)
{
	static struct tpm_message command, response;
	const struct piece pieces[] = {
		{ QUOTE_LABEL, sizeof(QUOTE_LABEL) }, { a->nonce, a->nonce_size },
	};
	uint8_t extra_data[TPM_DIGEST];
	size_t parameters;

	hash("sha256", pieces, ARRAY_LENGTH(pieces), extra_data, sizeof(extra_data));
	tpm_quote(&command, extra_data);
	tpm_execute(&command, &response, "quote");
	parameters = tpm_get32(&response);
	a->quoted_size = tpm_get16(&response);
	memcpy(a->quoted, tpm_get(&response, a->quoted_size), a->quoted_size);
	if (parameters < a->quoted_size + 2)
		fail("TPM response to quote: wrong sizes");
	a->signature_size = parameters - a->quoted_size - 2;
	memcpy(a->signature, tpm_get(&response, a->signature_size), a->signature_size);
}

/* A TPM returns at most eight PCRs at once; which ones, its answer says. */
static void read_pcrs(struct attestation *a)
{
	static struct tpm_message command, response;
	uint32_t missing = (1u << TPM_QUOTED_PCRS) - 1;

	while (missing != 0) {
		uint32_t given = 0, digests;
		const uint8_t *bits;

		tpm_pcr_read(&command, missing);
		tpm_execute(&command, &response, "pcr_read");
		tpm_get(&response, 4 + 4 + 2 + 1); /* update counter, one selection, bank, its size */
		bits = tpm_get(&response, 3);
		given = (bits[0] | (uint32_t)bits[1] << 8) & missing;
		digests = tpm_get32(&response);
		if (given == 0 || digests != (uint32_t)__builtin_popcount(given))
			fail("the TPM has no sha256 bank");
		for (int pcr = 0; pcr < TPM_QUOTED_PCRS; pcr++) {
			if (!(given >> pcr & 1))
				continue;
			if (tpm_get16(&response) != TPM_DIGEST)
				fail("TPM response to pcr_read: wrong digest size");
			memcpy(a->pcrs[pcr], tpm_get(&response, TPM_DIGEST), TPM_DIGEST);
		}
		missing &= ~given;
	}
}

static void report_data(const struct attestation *a, uint8_t data[REPORT_DATA])
{
	const struct piece bound[] = {
		{ a->nonce, a->nonce_size },
		{ a->quoted, a->quoted_size },
		{ a->boot_log, a->boot_log_size },
		{ a->ima_log, a->ima_log_size },
	};
	uint8_t digests[ARRAY_LENGTH(bound)][TPM_DIGEST];
	const struct piece pieces[] = {
		{ REPORT_LABEL, sizeof(REPORT_LABEL) }, { digests, sizeof(digests) },
	};

	for (size_t i = 0; i < ARRAY_LENGTH(bound); i++)
		hash("sha256", &bound[i], 1, digests[i], sizeof(digests[i]));
	hash("sha512", pieces, ARRAY_LENGTH(pieces), data, REPORT_DATA);
}

static void ask_report(struct attestation *a)
{
	char line[LONGEST_ANSWER], digits[2 * REPORT_DATA + 1];
	uint8_t data[REPORT_DATA];

	report_data(a, data);
	for (size_t i = 0; i < sizeof(data); i++)
		sprintf(digits + 2 * i, "%02x", data[i]);
	output_line("report? %s", digits);
	output_read_line(line, sizeof(line));
	if (strncmp(line, "report ", 7) != 0)
		fail("control port: expected a report, got %.64s", line);
	a->report_size = (size_t)number_of(line + 7, "report", 1, LONGEST_REPORT);
	a->report_text_size = 0;
	a->report = malloc(2 * LONGEST_REPORT);
	if (a->report == NULL)
		fail("no memory for the report");
	for (;;) {
		size_t length;

		output_read_line(line, sizeof(line));
		if (strcmp(line, "end") == 0)
			return;
		length = strlen(line);
		if (a->report_text_size + length + 1 > 2 * LONGEST_REPORT)
			fail("control port: the report is too long");
		memcpy(a->report + a->report_text_size, line, length + 1);
		a->report_text_size += length + 1;
	}
}

static void send_evidence(const struct attestation *a, bool with_report)
{
	char pcrs[TPM_QUOTED_PCRS * (2 * TPM_DIGEST + 16)];
	size_t at = 0;

	for (int pcr = 0; pcr < TPM_QUOTED_PCRS; pcr++) {
		at += (size_t)sprintf(pcrs + at, "sha256 %d ", pcr);
		for (int i = 0; i < TPM_DIGEST; i++)
			at += (size_t)sprintf(pcrs + at, "%02x", a->pcrs[pcr][i]);
		at += (size_t)sprintf(pcrs + at, "\n");
	}
	output_file("quote.attest", a->quoted, a->quoted_size);
	output_file("quote.signature", a->signature, a->signature_size);
	output_file("pcrs", pcrs, at);
	output_file("boot_log", a->boot_log, a->boot_log_size);
	output_file("ima_log", a->ima_log, a->ima_log_size);
	if (!with_report)
		return;
	output_line("file tee_report %zu", a->report_size);
	for (size_t i = 0; i < a->report_text_size; i += strlen(a->report + i) + 1)
		output_line("%s", a->report + i);
	output_line("end");
}

struct clock {
	uint64_t begin, last;
	enum phase phase;
	long index;
};

static void lap(struct clock *c, const char *part)
{
	uint64_t t = now();

	sample(c->phase, c->index, t - c->last, "%s", part);
	c->last = now();
}

static void attest_once(struct attestation *a, struct clock *c, bool seal, bool with_report)
{
	ask_nonce(a);
	c->begin = c->last = now();
	if (seal) {
		ima_seal();
		lap(c, "seal");
	}
	quote(a);
	lap(c, "quote");
	read_pcrs(a);
	lap(c, "pcr_read");
	a->boot_log = read_whole(BOOT_LOG, &a->boot_log_size);
	a->ima_log = read_whole(IMA_LIST, &a->ima_log_size);
	lap(c, "logs");
	if (with_report) {
		ask_report(a);
		lap(c, "report");
	}
	sample(c->phase, c->index, now() - c->begin, "total");
	send_evidence(a, with_report);
	free(a->boot_log);
	free(a->ima_log);
	free(a->report);
	a->report = NULL;
}

static bool host_wants_more(void)
{
	char line[LONGEST_ANSWER];

	output_line("more?");
	output_read_line(line, sizeof(line));
	if (strcmp(line, "yes") != 0 && strcmp(line, "no") != 0)
		fail("control port: expected yes or no, got %.64s", line);
	return line[0] == 'y';
}

void run_attest(const struct directive *d)
{
	long count = directive_number(d, "count", 0, 0, MAX_ITERATIONS);
	long warm = directive_number(d, "warm", 0, 0, MAX_ITERATIONS), i = 0;
	bool seal = directive_number(d, "seal", 1, 0, 1) == 1;
	bool with_report = directive_number(d, "report", 1, 0, 1) == 1;
	static struct attestation a;
	bool more;

	tpm_open();
	if (seal && !ima_has_domains()) {
		output_line("note seal skipped: the kernel has no measurement domains");
		seal = false;
	}
	do {
		struct clock c = { .phase = phase_of(i, warm, &c.index) };

		attest_once(&a, &c, seal, with_report);
		samples_print();
		if (i == 0)
			ima_send_domains();
		output_line("note attested %ld", i);
		i++;
		more = count > 0 ? i < warm + count : host_wants_more();
	} while (more);
}
