/* SPDX-License-Identifier: MIT
 *
 * files.c — before a verb works: what it will write is neither what it reads, nor another thing
 * that it writes, nor where its words go. Compared by device and inode, however a path is spelled.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "rng.h"
#include "verb.h"

/* Does a file on the standard streams have this identity? Devices and pipes may be shared. */
static int is_stream(const struct stat *st)
{
    struct stat stream;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &stream) == 0 && S_ISREG(stream.st_mode) && stream.st_dev == st->st_dev &&
            stream.st_ino == st->st_ino)
            return 1;
    return 0;
}

static status check_stream(const words *w, const char *name, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !is_stream(&st)) return OK;
    return fail(ERR_ARG, "%s: %s=%s: expected another file than the one that the output goes to",
                words_verb(w), name, path);
}

/* A file that data come from lies in a folder that is named; a sealed one is no data. */
static int is_data_in(const char *folder, const char *path)
{
    static const char seal[] = "mosaic ";
    char text[sizeof seal] = "", inside[OUTPUT_PATH];
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) return 0;
    if (snprintf(inside, sizeof inside, "%s/%s", folder, name) >= (int)sizeof inside) return 0;
    if (stat(path, &st) != 0 || !output_same(inside, path)) return 0;
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(text, 1, sizeof seal - 1, f) : 0;
    if (f) fclose(f);
    return f && n > 0 && strcmp(text, seal) != 0;
}

/* One written file against everything else that the words name. */
static status check_written(const words *w, int i)
{
    const char *name = word_key(w, i)->name, *path = word_text(w, name);
    char file[OUTPUT_PATH];
    TRY(output_file(path, name, file));
    TRY(check_stream(w, name, path));
    for (int j = 0; word_key(w, j); j++) {
        const key_row *other = word_key(w, j);
        const int written = other->kind == MADE, read = other->kind == PATH || other->kind == FILES;
        for (int64_t n = 0; n < word_count(w, other->name); n++) {
            const char *text = word_text_at(w, other->name, n);
            if (j == i || (!written && !read)) continue;
            if (output_same(path, text) || (read && is_data_in(text, path)))
                return fail(ERR_ARG, "%s: %s=%s is %s=%s: expected another file", words_verb(w),
                            name, path, other->name, text);
        }
    }
    return OK;
}

/* A folder that is written to is none that data are read from. */
static status check_folder(const words *w, const char *name)
{
    static const char *const data[] = {"data", "corpus"};
    struct stat to, from;
    const char *path = word_text(w, name);
    for (size_t j = 0; j < sizeof data / sizeof *data; j++) {
        const char *text = word_has(w, data[j]) ? word_text(w, data[j]) : "";
        if (*text && stat(path, &to) == 0 && stat(text, &from) == 0 && to.st_dev == from.st_dev &&
            to.st_ino == from.st_ino)
            return fail(ERR_ARG, "%s: %s=%s is %s=%s: expected another folder", words_verb(w), name,
                        path, data[j], text);
    }
    return OK;
}

/* A file that is read. */
static status take_read(const words *w, const key_row *k)
{
    for (int64_t n = 0; n < word_count(w, k->name); n++) {
        const char *path = word_text_at(w, k->name, n);
        TRY(check_stream(w, k->name, path));
        output_protect(path);
    }
    return OK;
}

status files_check(const words *w)
{
    const key_row *k;
    for (int i = 0; (k = word_key(w, i)); i++) {
        if (word_count(w, k->name) == 0 || *word_text(w, k->name) == '\0') continue;
        if (k->kind == MADE) TRY(check_written(w, i));
        if (k->kind == INTO) TRY(check_folder(w, k->name));
    }
    for (int i = 0; (k = word_key(w, i)); i++)
        if (k->kind == PATH || k->kind == FILES) TRY(take_read(w, k));
    return OK;
}

int files_written(const words *w)
{
    const key_row *k;
    for (int i = 0; (k = word_key(w, i)); i++)
        if ((k->kind == MADE || k->kind == INTO) && *word_text(w, k->name)) return 1;
    return 0;
}

/* --- what is in the files --------------------------------------------------------------------- */

/* Files that were read: a run asks for the same corpus once a cell. */
enum { MOST_KNOWN = 64 };
static struct known {
    struct stat st;
    uint64_t hash;
} known[MOST_KNOWN];
static int known_count;

static int same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static uint64_t hash_file(const char *path, const struct stat *st)
{
    enum { PIECE = 1 << 16 };
    char piece[PIECE];
    uint64_t hash = FNV_OFFSET;
    ssize_t got = 0;
    for (int i = 0; i < known_count; i++)
        if (same_file(&known[i].st, st)) return known[i].hash;
    const int fd = open(path, O_RDONLY);
    for (off_t at = 0; fd >= 0 && (got = pread(fd, piece, PIECE, at)) > 0; at += got)
        hash = fnv1a(hash, piece, (size_t)got);
    if (fd >= 0) close(fd);
    if (fd >= 0 && got == 0 && known_count < MOST_KNOWN)
        known[known_count++] = (struct known){*st, hash};
    return hash;
}

static int by_entry(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The names and the content of the files of a folder. */
static uint64_t hash_folder(uint64_t hash, const char *folder)
{
    struct dirent **entry;
    struct stat st;
    const int count = scandir(folder, &entry, NULL, by_entry);
    for (int i = 0; i < count; i++) {
        char path[OUTPUT_PATH];
        const char *name = entry[i]->d_name;
        const int fits = snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path;
        if (fits && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            const uint64_t one = hash_file(path, &st);
            hash = fnv1a(fnv1a(hash, name, strlen(name) + 1), &one, sizeof one);
        }
        free(entry[i]);
    }
    if (count >= 0) free(entry);
    return hash;
}

void files_digest(const words *w, char text[FILES_DIGEST])
{
    const key_row *k;
    struct stat st;
    uint64_t hash = FNV_OFFSET;
    int files = 0;
    for (int i = 0; (k = word_key(w, i)); i++)
        for (int64_t n = 0; (k->kind == PATH || k->kind == FILES) && n < word_count(w, k->name);
             n++) {
            const char *path = word_text_at(w, k->name, n);
            if (*path == '\0') continue;
            files++;
            hash = fnv1a(hash, k->name, strlen(k->name) + 1);
            if (stat(path, &st) != 0) continue;
            if (S_ISDIR(st.st_mode)) hash = hash_folder(hash, path);
            if (!S_ISREG(st.st_mode)) continue;
            const uint64_t one = hash_file(path, &st);
            hash = fnv1a(hash, &one, sizeof one);
        }
    snprintf(text, FILES_DIGEST, "%s", "");
    if (files > 0) snprintf(text, FILES_DIGEST, "%016llx", (unsigned long long)hash);
}
