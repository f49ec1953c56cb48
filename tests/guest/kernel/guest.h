/* What the test guests of the kernel series share: mounts, files, containers. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>

#define IMA "/sys/kernel/security/ima"

/* Mount what a guest needs; the root is a ramfs, which IMA measures. */
void guest_mounts(void);

/* Write text to a file; 0, or -1 with errno. */
int put(const char *path, const char *text);

/* Open a file for reading, read all of it, close it: bytes, or -1. */
long get(const char *path);

/* Copy a program and append a line, so that each copy has a digest of its own. */
void program(const char *from, const char *to, const char *line);

/* Run a program (it gets the argument `child`) and wait: its exit status. */
int execute(const char *path);

/* Print a file to the console: `begin <name>`, lines of hexadecimal, `end`. */
void send_file(const char *name, const char *path);

/*
 * Run a function in new mount and PID namespaces (and more flags) and in a cgroup of its own, and
 * wait for it: its wait status, or -1. Its process id is stored in *pid if that isn't NULL.
 */
int container(const char *cgroup, int flags, void (*run)(void *), void *data, volatile int *pid);

/* Say why and power off. */
void die(const char *what);

/* Power off. */
void off(void);

#endif
