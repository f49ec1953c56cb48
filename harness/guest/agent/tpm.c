// SPDX-License-Identifier: Apache-2.0
#include "tpm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	HEADER = 10,
	NO_SESSIONS = 0x8001,
	SESSIONS = 0x8002,
	RC_RETRY = 0x922,
	MOST_RETRIES = 1000,
	ALG_SHA256 = 0x000b,
	ALG_NULL = 0x0010,
	PASSWORD_SESSION = 0x40000009,
};

enum command_code {
	CC_QUOTE = 0x158,
	CC_READ_PUBLIC = 0x173,
	CC_GET_RANDOM = 0x17b,
	CC_PCR_READ = 0x17e,
	CC_PCR_EXTEND = 0x182,
};

static int device = -1;

void tpm_open(void)
{
	if (device >= 0)
		return;
	device = open("/dev/tpm0", O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail_errno("/dev/tpm0");
}

void tpm_put(struct tpm_message *m, const void *bytes, size_t size)
{
	if (m->size + size > sizeof(m->bytes))
		fail("TPM command too long");
	memcpy(m->bytes + m->size, bytes, size);
	m->size += size;
}

void tpm_put16(struct tpm_message *m, uint16_t value)
{
	const uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };

	tpm_put(m, bytes, sizeof(bytes));
}

void tpm_put32(struct tpm_message *m, uint32_t value)
{
	tpm_put16(m, (uint16_t)(value >> 16));
	tpm_put16(m, (uint16_t)value);
}

const uint8_t *tpm_get(struct tpm_message *m, size_t size)
{
	const uint8_t *bytes = m->bytes + m->at;

	if (m->size - m->at < size)
		fail("TPM response too short");
	m->at += size;
	return bytes;
}

uint16_t tpm_get16(struct tpm_message *m)
{
	const uint8_t *b = tpm_get(m, 2);

	return (uint16_t)(b[0] << 8 | b[1]);
}

uint32_t tpm_get32(struct tpm_message *m)
{
	uint32_t high = tpm_get16(m);

	return high << 16 | tpm_get16(m);
}

void tpm_begin(struct tpm_message *m, uint16_t tag, uint32_t code)
{
	m->size = 0;
	tpm_put16(m, tag);
	tpm_put32(m, 0); /* the size, known when the command is sent */
	tpm_put32(m, code);
}

static void put_password_session(struct tpm_message *m)
{
	tpm_put32(m, 9); /* size of the authorization area */
	tpm_put32(m, PASSWORD_SESSION);
	tpm_put16(m, 0); /* nonce */
	tpm_put(m, "", 1); /* attributes */
	tpm_put16(m, 0); /* the empty password */
}

static uint64_t transmit(const struct tpm_message *command, struct tpm_message *response,
			 const char *name)
{
	uint64_t begin = now();
	ssize_t n;

	if (write(device, command->bytes, command->size) != (ssize_t)command->size)
		fail_errno("TPM command %s", name);
	n = read(device, response->bytes, sizeof(response->bytes));
	if (n < HEADER)
		fail_errno("TPM response to %s", name);
	response->size = (size_t)n;
	return now() - begin;
}

uint64_t tpm_execute(struct tpm_message *command, struct tpm_message *response, const char *name)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint32_t size = (uint32_t)command->size, code;

	for (int i = 0; i < 4; i++)
		command->bytes[2 + i] = (uint8_t)(size >> (24 - 8 * i));
	for (int attempt = 0; attempt < MOST_RETRIES; attempt++) {
		uint64_t duration = transmit(command, response, name);

		response->at = 2;
		if (tpm_get32(response) != response->size)
			fail("TPM response to %s: wrong size", name);
		code = tpm_get32(response);
		if (code == 0)
			return duration;
		if (code != RC_RETRY)
			fail("TPM command %s: response code 0x%x", name, code);
		nanosleep(&pause, NULL);
	}
	fail("TPM command %s: the TPM asks for more than %d retries", name, MOST_RETRIES);
}

static void put_selection(struct tpm_message *m, uint32_t pcr_bits)
{
	const uint8_t bits[] = { (uint8_t)pcr_bits, (uint8_t)(pcr_bits >> 8), (uint8_t)(pcr_bits >> 16) };

	tpm_put32(m, 1);
	tpm_put16(m, ALG_SHA256);
	tpm_put(m, "\x03", 1);
	tpm_put(m, bits, sizeof(bits));
}

void tpm_pcr_read(struct tpm_message *m, uint32_t pcr_bits)
{
	tpm_begin(m, NO_SESSIONS, CC_PCR_READ);
	put_selection(m, pcr_bits);
}

void tpm_pcr_extend(struct tpm_message *m, uint32_t pcr, const uint8_t digest[TPM_DIGEST])
{
	tpm_begin(m, SESSIONS, CC_PCR_EXTEND);
	tpm_put32(m, pcr);
	put_password_session(m);
	tpm_put32(m, 1);
	tpm_put16(m, ALG_SHA256);
	tpm_put(m, digest, TPM_DIGEST);
}

void tpm_get_random(struct tpm_message *m, uint16_t bytes)
{
	tpm_begin(m, NO_SESSIONS, CC_GET_RANDOM);
	tpm_put16(m, bytes);
}

void tpm_read_public(struct tpm_message *m, uint32_t handle)
{
	tpm_begin(m, NO_SESSIONS, CC_READ_PUBLIC);
	tpm_put32(m, handle);
}

void tpm_quote(struct tpm_message *m, const uint8_t extra_data[TPM_DIGEST])
{
	tpm_begin(m, SESSIONS, CC_QUOTE);
	tpm_put32(m, TPM_AK_HANDLE);
	put_password_session(m);
	tpm_put16(m, TPM_DIGEST);
	tpm_put(m, extra_data, TPM_DIGEST);
	tpm_put16(m, ALG_NULL);
	put_selection(m, (1u << TPM_QUOTED_PCRS) - 1);
}
