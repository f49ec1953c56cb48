/* SPDX-License-Identifier: Apache-2.0 */
/* TPM commands, marshalled by hand (TCG TPM 2.0 library, part 3), sent to /dev/tpm0. */
#ifndef TPM_H
#define TPM_H

#include "agent.h"

enum {
	TPM_BUFFER = 4096,
	TPM_DIGEST = 32,
	TPM_QUOTED_PCRS = 12, /* PCRs 0 to 11 */
	TPM_AK_HANDLE = 0x81010002,
};

struct tpm_message {
	uint8_t bytes[TPM_BUFFER];
	size_t size;
	size_t at; /* reading position */
};

void tpm_open(void);
void tpm_begin(struct tpm_message *m, uint16_t tag, uint32_t code);
void tpm_put16(struct tpm_message *m, uint16_t value);
void tpm_put32(struct tpm_message *m, uint32_t value);
void tpm_put(struct tpm_message *m, const void *bytes, size_t size);
uint16_t tpm_get16(struct tpm_message *m);
uint32_t tpm_get32(struct tpm_message *m);
/* The next `size` bytes of the message. */
const uint8_t *tpm_get(struct tpm_message *m, size_t size);
/* Sends the command; returns the nanoseconds of the attempt that the TPM carried out. A response
 * code other than success ends the trial. The response is positioned behind its header. */
uint64_t tpm_execute(struct tpm_message *command, struct tpm_message *response, const char *name);

/* Each prepares one command. */
void tpm_pcr_read(struct tpm_message *m, uint32_t pcr_bits);
void tpm_pcr_extend(struct tpm_message *m, uint32_t pcr, const uint8_t digest[TPM_DIGEST]);
void tpm_get_random(struct tpm_message *m, uint16_t bytes);
void tpm_read_public(struct tpm_message *m, uint32_t handle);
/* A quote of PCRs 0-11, sha256, by the attestation key in the key's own scheme. */
void tpm_quote(struct tpm_message *m, const uint8_t extra_data[TPM_DIGEST]);

#endif
