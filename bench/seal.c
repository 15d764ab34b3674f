/* SPDX-License-Identifier: MIT
 *
 * seal.c — see seal.h for the layout.
 */
#include "seal.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rng.h"

enum { MAGIC = 24 };

static void put_u64(unsigned char *at, uint64_t x)
{
    for (int i = 0; i < 8; i++) at[i] = (unsigned char)(x >> (8 * i));
}

static uint64_t get_u64(const unsigned char *at)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x |= (uint64_t)at[i] << (8 * i);
    return x;
}

/* Size of the file and hash of what stands behind the block. */
static int measure(int fd, uint64_t *size, uint64_t *hash)
{
    enum { PIECE = 1 << 16 };
    unsigned char *piece = malloc(PIECE);
    ssize_t got = piece ? 1 : -1;
    *size = SEAL_BYTES;
    *hash = FNV_OFFSET;
    while (piece && (got = pread(fd, piece, PIECE, (off_t)*size)) > 0) {
        *hash = fnv1a(*hash, piece, (size_t)got);
        *size += (uint64_t)got;
    }
    free(piece);
    return got == 0;
}

static int sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    int fd = open(dirname(folder), O_RDONLY);
    if (fd < 0) return 0;
    int good = fsync(fd) == 0;
    return close(fd) == 0 && good;
}

int seal_publish(const char *partial, const char *path, const char *what)
{
    unsigned char block[SEAL_BYTES] = {0};
    uint64_t size, hash;
    int fd = open(partial, O_RDWR);
    if (fd < 0) return 0;
    int good = measure(fd, &size, &hash);
    snprintf((char *)block, MAGIC, "mosaic %s 1\n", what);
    put_u64(block + MAGIC, size);
    put_u64(block + MAGIC + 8, hash);
    good = good && pwrite(fd, block, SEAL_BYTES, 0) == SEAL_BYTES && fsync(fd) == 0;
    if (close(fd) != 0) good = 0;
    return good && rename(partial, path) == 0 && sync_folder(path);
}

status seal_verify(const char *path, const char *what)
{
    unsigned char block[SEAL_BYTES];
    char magic[MAGIC] = "";
    uint64_t size = 0, hash = 0;
    snprintf(magic, sizeof magic, "mosaic %s 1\n", what);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return fail(ERR_FILE, "%s: cannot be read: expected a %s", path, what);
    ssize_t got = pread(fd, block, sizeof block, 0);
    int whole = got == SEAL_BYTES && measure(fd, &size, &hash);
    close(fd);
    if (got < MAGIC || memcmp(block, magic, strlen(magic) - 2) != 0)
        return fail(ERR_DATA, "%s: expected a %s written by mosaic", path, what);
    if (memcmp(block, magic, MAGIC) != 0)
        return fail(ERR_DATA, "%s: %s of another version: expected version 1", path, what);
    if (!whole || size != get_u64(block + MAGIC))
        return fail(ERR_DATA, "%s: %s is truncated: expected the whole file", path, what);
    if (hash != get_u64(block + MAGIC + 8))
        return fail(ERR_DATA, "%s: %s is damaged: its hash differs", path, what);
    return OK;
}
