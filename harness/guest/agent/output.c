// SPDX-License-Identifier: Apache-2.0
/* The channel to the host. */
#include "agent.h"
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_PORT "/dev/vport0p1"
#define SERIAL_LINE "/dev/ttyS1"

enum {
	OUTPUT_BUFFER = 64 * 1024,
	INPUT_BUFFER = 4096,
	/* A serial line carries 0.84 MiB/s under emulation. */
	SERIAL_FILE_LIMIT = 8 * 1024 * 1024,
	PORT_WAIT_MS = 30000,
	PORT_STEP_MS = 10,
	PORT_APPEARS_MS = 5000,
};

static int channel = -1;
static bool is_port;
static char buffer[OUTPUT_BUFFER];
static size_t buffered;

void power_off(void)
{
	if (channel >= 0 && !is_port)
		tcdrain(channel);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1); /* not reached; the kernel panics when init exits, which ends the guest too */
}

static void pause_ms(long ms)
{
	struct timespec step = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&step, NULL);
}

/* The host may attach to its end of the port late: until then writes and reads report nothing. */
static bool port_ready(short events)
{
	for (long waited = 0; waited < PORT_WAIT_MS; waited += PORT_STEP_MS) {
		struct pollfd p = { .fd = channel, .events = events };

		if (poll(&p, 1, PORT_STEP_MS) > 0 && !(p.revents & POLLHUP) && p.revents & events)
			return true;
		if (p.revents & POLLHUP)
			pause_ms(PORT_STEP_MS);
		else if (events & POLLIN)
			waited -= PORT_STEP_MS; /* attached: the host takes its time to answer */
	}
	return false;
}

static void write_all(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n;

		if (is_port && !port_ready(POLLOUT))
			power_off();
		n = write(channel, data, size);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			power_off();
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
}

void output_flush(void)
{
	write_all(buffer, buffered);
	buffered = 0;
}

static void put(const char *data, size_t size)
{
	if (buffered + size > sizeof(buffer))
		output_flush();
	memcpy(buffer + buffered, data, size);
	buffered += size;
}

void output_line(const char *format, ...)
{
	char line[LINE_LENGTH + 1];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, LINE_LENGTH, format, ap);
	va_end(ap);
	if (n < 0 || n >= LINE_LENGTH)
		n = LINE_LENGTH - 1;
	for (int i = 0; i < n; i++)
		if (line[i] < ' ' || line[i] > '~')
			line[i] = '?';
	line[n] = '\n';
	put(line, (size_t)n + 1);
}

static void encode(const uint8_t *in, size_t size, char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < size; i += 3, out += 4) {
		uint32_t v = (uint32_t)in[i] << 16;

		if (i + 1 < size)
			v |= (uint32_t)in[i + 1] << 8;
		if (i + 2 < size)
			v |= in[i + 2];
		out[0] = digits[v >> 18];
		out[1] = digits[v >> 12 & 63];
		out[2] = i + 1 < size ? digits[v >> 6 & 63] : '=';
		out[3] = i + 2 < size ? digits[v & 63] : '=';
	}
}

void output_file(const char *name, const void *data, size_t size)
{
	enum { RAW = 57, ENCODED = 76 };
	const uint8_t *bytes = data;
	char line[ENCODED + 1];

	if (!is_port && size > SERIAL_FILE_LIMIT)
		fail("file %s: %zu bytes are too many for a serial line, use the control port", name,
		     size);
	output_line("file %s %zu", name, size);
	for (size_t at = 0; at < size; at += RAW) {
		size_t part = size - at < RAW ? size - at : RAW;
		size_t length = (part + 2) / 3 * 4;

		encode(bytes + at, part, line);
		line[length] = '\n';
		put(line, length + 1);
	}
	output_line("end");
}

/* The next byte of the host. Read in blocks: a report has thousands of bytes, and its time counts. */
static char next_byte(void)
{
	static char input[INPUT_BUFFER];
	static size_t at, end;

	while (at == end) {
		ssize_t n;

		if (!is_port)
			fail("the host can only answer on the control port, and there is none");
		if (!port_ready(POLLIN))
			fail("control port: the host went away");
		n = read(channel, input, sizeof(input));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			fail_errno("control port");
		at = 0;
		end = n > 0 ? (size_t)n : 0;
	}
	return input[at++];
}

void output_read(void *data, size_t size)
{
	char *to = data;

	output_flush();
	for (size_t i = 0; i < size; i++)
		to[i] = next_byte();
}

void output_read_line(char *line, size_t size)
{
	output_flush();
	for (size_t n = 0; n < size; n++) {
		line[n] = next_byte();
		if (line[n] == '\n') {
			line[n] = '\0';
			return;
		}
	}
	fail("control port: a line of the host has more than %zu bytes", size - 1);
}

bool output_is_port(void)
{
	return is_port;
}

/* Where the job comes from the port, the kernel may find the port a little later. */
static int open_port(void)
{
	bool needed = access("/job", F_OK) != 0;
	int fd;

	for (long waited = 0;; waited += PORT_STEP_MS) {
		fd = open(CONTROL_PORT, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 || !needed || waited >= PORT_APPEARS_MS)
			return fd;
		pause_ms(PORT_STEP_MS);
	}
}

void output_open(void)
{
	struct termios settings;

	channel = open_port();
	is_port = channel >= 0;
	if (is_port)
		return;
	channel = open(SERIAL_LINE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (channel < 0) {
		dprintf(2, "agent: neither %s nor %s: %s\n", CONTROL_PORT, SERIAL_LINE,
			strerror(errno));
		power_off();
	}
	if (tcgetattr(channel, &settings) == 0) {
		cfmakeraw(&settings);
		cfsetspeed(&settings, B115200);
		tcsetattr(channel, TCSANOW, &settings);
	}
}

void output_drop(void)
{
	buffered = 0;
}

void output_last_words(const char *text)
{
	fcntl(channel, F_SETFL, O_RDWR); /* may block: the guest ends here in any case */
	if (write(channel, text, strlen(text)) < 0)
		reboot(RB_POWER_OFF);
	power_off();
}
