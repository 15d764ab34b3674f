/* SPDX-License-Identifier: MIT
 *
 * fault.c — the k-th allocation, or the k-th step of reading and writing, fails. Linked into the
 * test program `faulty` with the linker's --wrap, so that only calls made by the project's own code
 * count, not those inside libraries.
 *
 *   MOSAIC_FAULT=alloc:K   the K-th allocation returns NULL; alloc:K+ this one and all after it
 *   MOSAIC_FAULT=io:K      the K-th open, pread, write, fsync or rename fails (ENOSPC); io:K+
 * likewise MOSAIC_FAULT=short     reads and writes are interrupted and come in pieces
 *   MOSAIC_FAULT_COUNT=F   at exit, "ALLOCATIONS STEPS" into the file F
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALLOC, IO, KINDS };
static const char *const names[KINDS] = {"alloc:", "io:"};
static atomic_long count[KINDS];

/* Does this call fail? */
static int strikes(int kind)
{
    long now = atomic_fetch_add(&count[kind], 1) + 1;
    const char *fault = getenv("MOSAIC_FAULT");
    size_t n = strlen(names[kind]);
    if (!fault || strncmp(fault, names[kind], n) != 0) return 0;
    char *end;
    long k = strtol(fault + n, &end, 10);
    if (!(now == k || (*end == '+' && now > k))) return 0;
    errno = kind == ALLOC ? ENOMEM : ENOSPC;
    return 1;
}

/* How many of n bytes to move; 0: be interrupted first. */
static size_t piece(size_t n)
{
    static atomic_long calls;
    const char *fault = getenv("MOSAIC_FAULT");
    if (!fault || strcmp(fault, "short") != 0 || n < 2) return n;
    errno = EINTR;
    return atomic_fetch_add(&calls, 1) % 3 == 0 ? 0 : n / 2;
}

__attribute__((destructor)) static void write_count(void)
{
    const char *path = getenv("MOSAIC_FAULT_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld %ld\n", (long)count[ALLOC], (long)count[IO]);
    fclose(f);
}

#define WRAP(type, name, kind, failed, declared, passed)                                           \
    type __real_##name declared;                                                                   \
    type __wrap_##name declared;                                                                   \
    type __wrap_##name declared                                                                    \
    {                                                                                              \
        return strikes(kind) ? failed : __real_##name passed;                                      \
    }

WRAP(void *, malloc, ALLOC, NULL, (size_t n), (n))
WRAP(void *, calloc, ALLOC, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, ALLOC, NULL, (void *p, size_t n), (p, n))
WRAP(void *, aligned_alloc, ALLOC, NULL, (size_t a, size_t n), (a, n))
WRAP(char *, strdup, ALLOC, NULL, (const char *s), (s))
WRAP(char *, strndup, ALLOC, NULL, (const char *s, size_t n), (s, n))
WRAP(FILE *, fopen, IO, NULL, (const char *path, const char *mode), (path, mode))
WRAP(int, fsync, IO, -1, (int fd), (fd))
WRAP(int, rename, IO, -1, (const char *from, const char *to), (from, to))

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    int mode = flags & O_CREAT ? va_arg(list, int) : 0;
    va_end(list);
    return strikes(IO) ? -1 : __real_open(path, flags, mode);
}

ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n)
{
    size_t some = piece(n);
    return strikes(IO) || (some == 0 && n > 0) ? -1 : __real_write(fd, from, some);
}

ssize_t __real_pread(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t n, off_t at)
{
    size_t some = piece(n);
    return strikes(IO) || (some == 0 && n > 0) ? -1 : __real_pread(fd, to, some, at);
}
