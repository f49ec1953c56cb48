/* SPDX-License-Identifier: Apache-2.0 */
/* File systems of the guest. */
#ifndef IMAGE_H
#define IMAGE_H

#include "agent.h"

/* The root file system image, mounted read-only; container images are below /images. */
#define IMAGE "/image"
#define IMAGES "/images"

/* Everything that needs no device: proc, sysfs, securityfs, cgroup2, devtmpfs, /run, /data. */
void mount_kernel(void);
/* Loads the initramfs' /policy, if it has one, as IMA policy. */
void load_policy(void);
/* Mounts every erofs block device that is there: the one with /usr/bin at /image, others at
 * /images/1, /images/2 in the order of the devices. */
void mount_images(void);
/* Fails unless the root image is mounted and has `program`. */
void need_program(const char *program);
bool image_has(const char *program);
/* How many container images are mounted. */
int image_count(void);
/* Brings the loopback network device up. */
void bring_up_loopback(void);

#endif
