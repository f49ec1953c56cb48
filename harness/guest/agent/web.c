// SPDX-License-Identifier: Apache-2.0
#include "web.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 10000, STEP_MS = 10, RESPONSE_ROOM = 16 * 1024 };

static int try_connect(uint16_t port)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail_errno("socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

void wait_for_port(uint16_t port)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000L };

	for (long waited = 0; waited < WAIT_MS; waited += STEP_MS) {
		int fd = try_connect(port);

		if (fd >= 0) {
			close(fd);
			return;
		}
		nanosleep(&step, NULL);
	}
	fail("nothing listens on port %u of the container", port);
}

void get_page(uint16_t port, const char *path, size_t size)
{
	char response[RESPONSE_ROOM], request[128];
	int fd = try_connect(port), length;
	const char *body;
	size_t got = 0;
	ssize_t n;

	if (fd < 0)
		fail_errno("connection to the web server");
	length = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	if (write(fd, request, (size_t)length) != length)
		fail_errno("request to the web server");
	while (got < sizeof(response) - 1 && (n = read(fd, response + got, sizeof(response) - 1 - got)) > 0)
		got += (size_t)n;
	close(fd);
	response[got] = '\0';
	body = strstr(response, "\r\n\r\n");
	if (strncmp(response, "HTTP/1.0 200", 12) != 0 && strncmp(response, "HTTP/1.1 200", 12) != 0)
		fail("web server: %.40s", response);
	if (body == NULL || got - (size_t)(body + 4 - response) != size)
		fail("web server: a page of %zu bytes did not arrive whole", size);
}
