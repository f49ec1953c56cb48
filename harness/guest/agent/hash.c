// SPDX-License-Identifier: Apache-2.0
#include "hash.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

/* From the kernel's interface <linux/if_alg.h>, which musl does not bring along. */
struct algorithm_address {
	uint16_t family;
	uint8_t type[14];
	uint32_t features, mask;
	uint8_t name[64];
};

static int open_hash(const char *algorithm)
{
	struct algorithm_address address = { .family = AF_ALG, .type = "hash" };
	int base = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd;

	snprintf((char *)address.name, sizeof(address.name), "%s", algorithm);
	if (base < 0 || bind(base, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail_errno("the kernel's %s", algorithm);
	fd = accept4(base, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		fail_errno("the kernel's %s", algorithm);
	close(base);
	return fd;
}

void hash(const char *algorithm, const struct piece *pieces, size_t count, uint8_t *digest,
	  size_t size)
{
	int fd = open_hash(algorithm);

	for (size_t i = 0; i < count; i++) {
		const uint8_t *data = pieces[i].data;

		for (size_t left = pieces[i].size; left > 0;) {
			ssize_t n = send(fd, data, left < CHUNK ? left : CHUNK, MSG_MORE);

			if (n <= 0)
				fail_errno("the kernel's %s", algorithm);
			data += n;
			left -= (size_t)n;
		}
	}
	if (read(fd, digest, size) != (ssize_t)size)
		fail_errno("the kernel's %s", algorithm);
	close(fd);
}
