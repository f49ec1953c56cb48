/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes by the kernel's own code (AF_ALG). */
#ifndef HASH_H
#define HASH_H

#include "agent.h"

struct piece {
	const void *data;
	size_t size;
};

/* The digest of all pieces together; `size` is the digest's size in bytes. */
void hash(const char *algorithm, const struct piece *pieces, size_t count, uint8_t *digest,
	  size_t size);

#endif
