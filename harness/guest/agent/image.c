// SPDX-License-Identifier: Apache-2.0
/* Mounts, the policy and the images. */
#include "image.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DEVICE_WAIT_MS = 5000, DEVICE_STEP_MS = 20 };

static bool root_image;
static int container_images;

void mount_kernel(void)
{
	static const struct {
		const char *type, *target, *options;
	} mounts[] = {
		{ "proc", "/proc", NULL },
		{ "sysfs", "/sys", NULL },
		{ "devtmpfs", "/dev", NULL },
		{ "securityfs", "/sys/kernel/security", NULL },
		{ "cgroup2", "/sys/fs/cgroup", NULL },
		{ "tmpfs", "/run", "mode=755" },
		{ "tmpfs", "/tmp", "mode=1777" },
		/* ramfs: IMA's usual policies leave tmpfs out. */
		{ "ramfs", "/data", NULL },
	};

	for (size_t i = 0; i < ARRAY_LENGTH(mounts); i++) {
		/* Exists already where the kernel provides the mount point. */
		mkdir(mounts[i].target, 0755);
		if (mount(mounts[i].type, mounts[i].target, mounts[i].type, 0, mounts[i].options) < 0 &&
		    errno != EBUSY)
			fail_errno("mount %s", mounts[i].target);
	}
}

void load_policy(void)
{
	if (access("/policy", F_OK) == 0)
		write_text("/sys/kernel/security/ima/policy", "/policy\n");
}

static void place_image(const char *device)
{
	char target[64], tools[TEXT_LENGTH];

	make_folder(IMAGES);
	snprintf(target, sizeof(target), IMAGES "/%d", container_images + 1);
	make_folder(target);
	/* A disk that is no erofs is somebody else's, such as the boot partition. */
	if (mount(device, target, "erofs", MS_RDONLY, NULL) < 0)
		return;
	snprintf(tools, sizeof(tools), "%s/usr/bin", target);
	if (!root_image && access(tools, F_OK) == 0) {
		make_folder(IMAGE);
		if (mount(target, IMAGE, NULL, MS_MOVE, NULL) < 0)
			fail_errno("mount %s", IMAGE);
		root_image = true;
		return;
	}
	container_images++;
}

void mount_images(void)
{
	static const char *const kinds[] = { "/dev/pmem%c", "/dev/vd%c" };
	static const char *const first[] = { "0123", "abcdef" };
	static bool tried[2][8];
	char device[TEXT_LENGTH];

	for (size_t kind = 0; kind < ARRAY_LENGTH(kinds); kind++) {
		for (size_t i = 0; first[kind][i] != '\0'; i++) {
			snprintf(device, sizeof(device), kinds[kind], first[kind][i]);
			if (tried[kind][i] || access(device, F_OK) != 0)
				continue;
			tried[kind][i] = true;
			place_image(device);
		}
	}
}

/* Devices are found by the kernel in the background; where one is needed it may still appear. */
static void wait_for_image(void)
{
	struct timespec step = { .tv_nsec = DEVICE_STEP_MS * 1000000L };

	for (long waited = 0; !root_image && waited < DEVICE_WAIT_MS; waited += DEVICE_STEP_MS) {
		mount_images();
		if (!root_image)
			nanosleep(&step, NULL);
	}
}

bool image_has(const char *program)
{
	char path[TEXT_LENGTH];

	snprintf(path, sizeof(path), IMAGE "%s", program);
	return root_image && access(path, X_OK) == 0;
}

void need_program(const char *program)
{
	wait_for_image();
	if (!root_image)
		fail("root image: no block device with an erofs that has /usr/bin");
	if (!image_has(program))
		fail("root image: has no program %s", program);
}

int image_count(void)
{
	return container_images;
}

void bring_up_loopback(void)
{
	struct ifreq device = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &device) < 0)
		fail_errno("loopback device");
	device.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &device) < 0)
		fail_errno("loopback device");
	close(fd);
}
