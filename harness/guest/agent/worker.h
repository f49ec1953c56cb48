/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that carry out functions for the agent: in the guest's namespaces or in a container. */
#ifndef WORKER_H
#define WORKER_H

#include "agent.h"

enum { MAX_ARGUMENTS = 192, ID_LENGTH = 32 };

/* What a container is made of. */
struct container {
	char id[ID_LENGTH];	 /* folder below /sys/fs/cgroup: the name that the kernel reports */
	char root[TEXT_LENGTH];	 /* directory that becomes its root; has proc, sys, dev, tmp, run */
	char work[TEXT_LENGTH];	 /* directory that becomes /mnt, or "" */
};

struct worker {
	char name[ID_LENGTH];
	pid_t pid;
	int request, reply;
};

typedef void (*worker_function)(const void *arguments);

/* The agent, as container manager, makes cgroup, namespaces and root; its child enters them. */
void container_start(struct worker *w, const struct container *c);
/* A worker in the namespaces of the guest itself. */
void host_start(struct worker *w);
/* Has the worker call `function` with a copy of `arguments`; returns when it did. */
void worker_call(const struct worker *w, worker_function function, const void *arguments,
		 size_t size);
/* Joins all namespaces of the container, as `kubectl exec` does, and calls `function` there. */
void container_join(const struct worker *w, worker_function function, const void *arguments);
void worker_stop(struct worker *w);
/* Removes the cgroup of a stopped container. */
void container_remove(const char *id);
/* Writes `text` to a file of the kernel. */
void write_text(const char *path, const char *text);

/* ---- programs (program.c) ---- */

/* vfork, exec, wait; fails unless the program exits with 0. */
void run_program(const char *const argv[]);
/* As worker_function: the argument is the path of a program without arguments. */
void run_path(const void *path);
/* Starts a program that keeps running until stop_program(). */
pid_t start_program(const char *const argv[]);
void stop_program(pid_t pid);

/* ---- files (content.c) ---- */

/* Makes a static program of `size` bytes that exits with 0; different `seed`, different bytes. */
void make_program(const char *path, size_t size, uint64_t seed);
void make_file(const char *path, size_t size, uint64_t seed);
void make_text(const char *path, const char *text);
void make_folder(const char *path);
/* Makes the folder, or removes the files that are in it. */
void empty_folder(const char *path);
/* A directory that can be a container's root, with the mount points that one needs. */
void make_root(const char *path);
/* Whole content in memory that the caller frees. */
uint8_t *read_whole(const char *path, size_t *size);
/* Reads the file to its end and discards it. */
void read_away(const void *path);
/* A stream of numbers that depends on the seed only. */
uint64_t next_number(uint64_t *state);

#endif
