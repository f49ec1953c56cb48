// SPDX-License-Identifier: Apache-2.0
/* Files: made before a measurement, each with content of its own. */
#include "worker.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024, PAGE = 4096, LOAD_ADDRESS = 0x400000 };

/* mov eax, 60 (exit); xor edi, edi; syscall */
static const uint8_t exit_code[] = { 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05 };

struct tiny_program {
	Elf64_Ehdr header;
	Elf64_Phdr load;
	uint8_t code[sizeof(exit_code)];
};

uint64_t next_number(uint64_t *state)
{
	/* xorshift64*; a state of 0 would stay 0. */
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15u;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1du;
}

static void write_bytes(int fd, const void *data, size_t size, const char *path)
{
	if (write(fd, data, size) != (ssize_t)size)
		fail_errno("%s", path);
}

static int create(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0)
		fail_errno("%s", path);
	return fd;
}

/* Only the first block of a file is its own: what makes content distinct must not cost host time. */
static void fill(int fd, size_t size, uint64_t seed, const char *path)
{
	static uint64_t block[BLOCK / sizeof(uint64_t)];
	uint64_t state = seed * 2 + 1;

	for (size_t i = 0; i < ARRAY_LENGTH(block); i++)
		block[i] = next_number(&state);
	while (size > 0) {
		size_t part = size < BLOCK ? size : BLOCK;

		write_bytes(fd, block, part, path);
		size -= part;
	}
}

void make_file(const char *path, size_t size, uint64_t seed)
{
	int fd = create(path, 0644);

	fill(fd, size, seed, path);
	close(fd);
}

void make_text(const char *path, const char *text)
{
	int fd = create(path, 0644);

	write_bytes(fd, text, strlen(text), path);
	close(fd);
}

void make_program(const char *path, size_t size, uint64_t seed)
{
	struct tiny_program p = {
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = LOAD_ADDRESS + offsetof(struct tiny_program, code),
			.e_phoff = offsetof(struct tiny_program, load),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
		},
		.load = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_vaddr = LOAD_ADDRESS,
			.p_paddr = LOAD_ADDRESS,
			.p_filesz = size < PAGE ? size : PAGE,
			.p_memsz = size < PAGE ? size : PAGE,
			.p_align = PAGE,
		},
	};
	int fd;

	if (size < sizeof(p))
		fail("%s: a program has at least %zu bytes", path, sizeof(p));
	memcpy(p.code, exit_code, sizeof(exit_code));
	fd = create(path, 0755);
	write_bytes(fd, &p, sizeof(p), path);
	fill(fd, size - sizeof(p), seed, path);
	close(fd);
}

void make_folder(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail_errno("%s", path);
}

void empty_folder(const char *path)
{
	DIR *folder;
	struct dirent *entry;

	make_folder(path);
	folder = opendir(path);
	if (folder == NULL)
		fail_errno("%s", path);
	while ((entry = readdir(folder)) != NULL)
		unlinkat(dirfd(folder), entry->d_name, 0); /* "." and ".." stay */
	closedir(folder);
}

void make_root(const char *path)
{
	static const char *const folders[] = {
		"proc", "sys", "dev", "tmp", "run", "mnt", "bin", "etc",
	};
	char folder[TEXT_LENGTH];

	make_folder(path);
	for (size_t i = 0; i < ARRAY_LENGTH(folders); i++) {
		snprintf(folder, sizeof(folder), "%s/%s", path, folders[i]);
		make_folder(folder);
	}
}

uint8_t *read_whole(const char *path, size_t *size)
{
	size_t room = BLOCK;
	uint8_t *data = malloc(room);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		fail_errno("%s", path);
	*size = 0;
	while (data != NULL) {
		if (*size == room) {
			room *= 2;
			data = realloc(data, room);
			continue;
		}
		n = read(fd, data + *size, room - *size);
		if (n <= 0)
			break;
		*size += (size_t)n;
	}
	if (data == NULL || n < 0)
		fail_errno("%s", path);
	close(fd);
	return data;
}

void read_away(const void *path)
{
	static char block[BLOCK];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		fail_errno("%s", (const char *)path);
	do {
		n = read(fd, block, sizeof(block));
	} while (n > 0);
	if (n < 0)
		fail_errno("%s", (const char *)path);
	close(fd);
}
