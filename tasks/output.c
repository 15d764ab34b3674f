/* SPDX-License-Identifier: MIT
 *
 * output.c — see output.h.
 */
#include "output.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_LINKS = 40, MOST_PROTECTED = 4096 };

static struct identity {
    dev_t device;
    ino_t inode;
} protected[MOST_PROTECTED];
static int protected_count;

/* A link's own folder is where a relative one begins. ERR_FILE for what cannot be followed. */
static status follow(const char *path, char file[OUTPUT_PATH])
{
    char link[OUTPUT_PATH], folder[OUTPUT_PATH];
    const ssize_t n = readlink(file, link, sizeof link - 1);
    if (n < 0) return fail(ERR_FILE, "%s: cannot be followed: expected a link that leads on", path);
    link[n] = '\0';
    memcpy(folder, file, OUTPUT_PATH);
    const char *in = dirname(folder);
    const int made = *link == '/' ? snprintf(file, OUTPUT_PATH, "%s", link)
                                  : snprintf(file, OUTPUT_PATH, "%s/%s", in, link);
    return made < OUTPUT_PATH ? OK : fail(ERR_FILE, "%s: leads to a path too long", path);
}

static int is_protected(const struct stat *st)
{
    for (int i = 0; i < protected_count; i++)
        if (protected[i].device == st->st_dev && protected[i].inode == st->st_ino) return 1;
    return 0;
}

status output_file(const char *path, const char *what, char file[OUTPUT_PATH])
{
    struct stat st;
    if (snprintf(file, OUTPUT_PATH, "%s", path) >= OUTPUT_PATH)
        return fail(ERR_ARG, "%.60s...: path too long", path);
    for (int links = 0; lstat(file, &st) == 0; links++) {
        if (S_ISLNK(st.st_mode) && links < MOST_LINKS) {
            TRY(follow(path, file));
            continue;
        }
        if (!S_ISREG(st.st_mode))
            return fail(ERR_FILE, "%s: %s cannot be created: expected a file, got a %s", path, what,
                        S_ISDIR(st.st_mode)   ? "folder"
                        : S_ISLNK(st.st_mode) ? "link to itself"
                                              : "device or pipe");
        if (is_protected(&st))
            return fail(ERR_FILE,
                        "%s: %s cannot be created: expected another file than one that is read",
                        path, what);
        return OK;
    }
    return OK; /* nothing there, or whoever opens it is told why not */
}

void output_protect(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || is_protected(&st)) return;
    if (protected_count < MOST_PROTECTED)
    protected[protected_count++] = (struct identity){st.st_dev, st.st_ino};
}

/* Identity of the folder and the name of a file that may not be there. */
static int find_place(const char *path, struct stat *folder, char name[OUTPUT_PATH])
{
    char text[OUTPUT_PATH];
    if (output_file(path, "file", text) != OK) return 0;
    snprintf(name, OUTPUT_PATH, "%s", basename(text));
    if (output_file(path, "file", text) != OK) return 0; /* basename may have cut it */
    return stat(dirname(text), folder) == 0;
}

int output_same(const char *a, const char *b)
{
    struct stat x, y;
    char name[OUTPUT_PATH], other[OUTPUT_PATH];
    const int there = stat(a, &x) == 0, other_there = stat(b, &y) == 0;
    if (there != other_there) return 0;
    if (!there &&
        !(find_place(a, &x, name) && find_place(b, &y, other) && strcmp(name, other) == 0))
        return 0;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
