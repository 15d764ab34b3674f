/* SPDX-License-Identifier: MIT
 *
 * scratch.c — see scratch.h.
 */
#define _XOPEN_SOURCE 700 /* nftw */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char nowhere[] = "/dev/null/none"; /* nothing can be read or written there */

/* "a/b", kept until the test ends; NULL without memory. */
static char *kept_path(selftest *t, const char *a, const char *b)
{
    const size_t count = t->scratch.paths, room = strlen(a) + strlen(b) + 2;
    char **all = realloc(t->scratch.path, (count + 1) * sizeof *all), *path = malloc(room);
    if (all) t->scratch.path = all;
    if (!all || !path) return free(path), NULL;
    snprintf(path, room, "%s/%s", a, b);
    t->scratch.paths++;
    return all[count] = path;
}

/* The folder of all folders; NULL if there is no place for one. */
static const char *scratch_root(selftest *t)
{
    const char *parent = getenv("TMPDIR");
    if (t->scratch.root) return t->scratch.root;
    char *path = kept_path(t, parent && *parent ? parent : "/tmp", "mosaic-test-XXXXXX");
    return t->scratch.root = path && mkdtemp(path) ? path : NULL;
}

const char *scratch_folder(selftest *t)
{
    char number[16];
    snprintf(number, sizeof number, "%d", t->scratch.folders++);
    const char *path = scratch_root(t) ? kept_path(t, scratch_root(t), number) : NULL;
    const int made = path && mkdir(path, 0700) == 0;
    EXPECT(made);
    return made ? path : nowhere;
}

const char *scratch_path(selftest *t, const char *folder, const char *name)
{
    const char *path = kept_path(t, folder, name);
    EXPECT(path != NULL);
    return path ? path : nowhere;
}

const char *scratch_put(selftest *t, const char *folder, const char *name, const void *bytes,
                        size_t count)
{
    const char *path = scratch_path(t, folder, name);
    FILE *f = fopen(path, "wb");
    int written = f && (count == 0 || fwrite(bytes, 1, count, f) == count);
    if (f && fclose(f) != 0) written = 0;
    EXPECT(written);
    return path;
}

const char *scratch_text(selftest *t, const char *folder, const char *name, const char *text)
{
    return scratch_put(t, folder, name, text, strlen(text));
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at)
{
    (void)about;
    (void)kind;
    (void)at;
    return remove(path);
}

void scratch_end(selftest *t)
{
    if (t->scratch.root) EXPECT(nftw(t->scratch.root, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
    for (size_t i = 0; i < t->scratch.paths; i++)
        free(t->scratch.path[i]);
    free(t->scratch.path);
    memset(&t->scratch, 0, sizeof t->scratch);
}
