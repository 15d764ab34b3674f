/* SPDX-License-Identifier: MIT
 *
 * seal.c — see seal.h for the layout.
 */
#include "seal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "rng.h"

enum { MAGIC = 24, GROWTH = 1 << 20 };

static void put_u64(unsigned char *at, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(x >> (8 * i));
}

static uint64_t get_u64(const unsigned char *at)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)at[i] << (8 * i);
    return x;
}

/* pread() to the end of `room` or of the file, however it is interrupted; -1 on an error. */
static ssize_t read_at(int fd, unsigned char *to, size_t room, off_t at)
{
    size_t count = 0;
    while (count < room) {
        ssize_t got = pread(fd, to + count, room - count, at + (off_t)count);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        count += (size_t)got;
    }
    return (ssize_t)count;
}

/* Size of the file and hash of what stands behind the block; 0 if it cannot be read. */
static int measure(int fd, uint64_t *size, uint64_t *hash)
{
    enum { PIECE = 1 << 14 };
    unsigned char piece[PIECE];
    ssize_t got;
    *size = SEAL_BYTES;
    *hash = FNV_OFFSET;
    while ((got = read_at(fd, piece, PIECE, (off_t)*size)) > 0) {
        *hash = fnv1a(*hash, piece, (size_t)got);
        *size += (uint64_t)got;
    }
    return got == 0;
}

/* So that the name survives a power failure too; where folders cannot be synced, it mostly does. */
static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    int fd = open(dirname(folder), O_RDONLY);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

/* An empty HDF5 file in memory, of the oldest format: the image of a newer one carries the wrong
 * checksum in HDF5 1.10. The name tells open files apart. */
static hid_t create_image(const char *name)
{
    hid_t fcpl = H5Pcreate(H5P_FILE_CREATE), fapl = H5Pcreate(H5P_FILE_ACCESS);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* our one line says it */
    H5Pset_obj_track_times(fcpl, 0);
    H5Pset_fapl_core(fapl, GROWTH, 0);
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, fcpl, fapl);
    H5Pclose(fcpl);
    H5Pclose(fapl);
    return file;
}

/* Where the file and the partial one will lie. */
static status find_places(const char *path, const char *what, sealed *s)
{
    TRY(output_file(path, what, s->path));
    const int length =
        snprintf(s->partial, sizeof s->partial, "%s.tmp.%ld", s->path, (long)getpid());
    return length < PATH_MAX ? OK : fail(ERR_ARG, "%.60s...: path too long", path);
}

status seal_probe(const char *path, const char *what)
{
    sealed s;
    TRY(find_places(path, what, &s));
    int fd = open(s.partial, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0)
        return fail(ERR_FILE, "%s: %s cannot be created: expected a writable folder: %s", path,
                    what, strerror(errno));
    close(fd);
    unlink(s.partial); /* a program that is killed while it computes leaves nothing */
    return OK;
}

status seal_create(sealed *s, const char *path, const char *what)
{
    *s = (sealed){.file = -1, .what = what};
    TRY(seal_probe(path, what));
    TRY(find_places(path, what, s));
    s->file = create_image(s->partial);
    return s->file >= 0 ? OK : fail(ERR_MEMORY, "%s: out of memory", path);
}

/* The bytes of the file in memory behind `front` zeros; NULL without memory. */
static unsigned char *image(const sealed *s, size_t front, size_t *count)
{
    ssize_t size = -1;
    if (H5Fflush(s->file, H5F_SCOPE_GLOBAL) >= 0) size = H5Fget_file_image(s->file, NULL, 0);
    unsigned char *bytes = size > 0 ? calloc(1, front + (size_t)size) : NULL;
    if (!bytes || H5Fget_file_image(s->file, bytes + front, (size_t)size) != size) {
        free(bytes);
        return NULL;
    }
    *count = front + (size_t)size;
    return bytes;
}

status seal_copy(sealed *copy, const sealed *from)
{
    char name[PATH_MAX + 40];
    size_t count;
    *copy = *from;
    copy->file = -1;
    unsigned char *bytes = image(from, 0, &count);
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    snprintf(name, sizeof name, "%s.copy", from->partial); /* tells open files apart */
    if (bytes && H5Pset_fapl_core(fapl, GROWTH, 0) >= 0 &&
        H5Pset_file_image(fapl, bytes, count) >= 0)
        copy->file = H5Fopen(name, H5F_ACC_RDWR, fapl);
    H5Pclose(fapl);
    free(bytes);
    return copy->file >= 0 ? OK : fail(ERR_MEMORY, "%s: out of memory", from->path);
}

/* The block, and behind it the bytes of the file in memory. The library looks for a file at 0, 512,
 * 1024, ... and takes what stands in front as a user block. */
static unsigned char *sealed_bytes(const sealed *s, size_t *count)
{
    unsigned char *bytes = image(s, SEAL_BYTES, count);
    if (!bytes) return NULL;
    snprintf((char *)bytes, MAGIC, "mosaic %s 1\n", s->what);
    put_u64(bytes + MAGIC, *count);
    put_u64(bytes + MAGIC + 8, fnv1a(FNV_OFFSET, bytes + SEAL_BYTES, *count - SEAL_BYTES));
    return bytes;
}

static int write_all(const char *path, const unsigned char *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) return 0;
    ssize_t put = 0;
    for (size_t at = 0; at < count && put >= 0; at += (size_t)(put > 0 ? put : 0)) {
        put = write(fd, bytes + at, count - at);
        if (put < 0 && errno == EINTR) put = 0;
    }
    int good = put >= 0 && fsync(fd) == 0;
    return close(fd) == 0 && good;
}

status seal_close(sealed *s, int keep)
{
    status done = OK;
    size_t count;
    if (s->file < 0) return OK;
    unsigned char *bytes = keep ? sealed_bytes(s, &count) : NULL;
    H5Fclose(s->file);
    s->file = -1;
    if (!keep) return OK;
    if (!bytes) return fail(ERR_MEMORY, "%s: %s cannot be made: out of memory", s->path, s->what);
    if (write_all(s->partial, bytes, count) && rename(s->partial, s->path) == 0) {
        sync_folder(s->path);
    } else {
        unlink(s->partial);
        done = fail(ERR_FILE,
                    "%s: %s cannot be written: expected room on the disk and a writable folder",
                    s->path, s->what);
    }
    free(bytes);
    return done;
}

status seal_verify(const char *path, const char *what)
{
    unsigned char block[SEAL_BYTES];
    char magic[MAGIC] = "";
    uint64_t size = 0, hash = 0;
    snprintf(magic, sizeof magic, "mosaic %s 1\n", what);
    struct stat st; /* before it is opened: a pipe would wait for a writer */
    int fd = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? open(path, O_RDONLY) : -1;
    if (fd < 0) return fail(ERR_FILE, "%s: cannot be read: expected a %s", path, what);
    ssize_t got = read_at(fd, block, sizeof block, 0);
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

int seal_says(const char *path, const char *what)
{
    char name[MAGIC], head[MAGIC] = "";
    const size_t length = (size_t)snprintf(name, sizeof name, "mosaic %s", what);
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
    FILE *f = fopen(path, "rb");
    const size_t read = f ? fread(head, 1, length, f) : 0;
    if (f) fclose(f);
    return read == length && memcmp(head, name, length) == 0;
}
