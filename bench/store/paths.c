/* SPDX-License-Identifier: MIT
 *
 * paths.c — the result files that a path means.
 */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"
#include "results.h"
#include "seal.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static status add_path(char ***list, int64_t *count, const char *path)
{
    char **more = realloc(*list, (size_t)(*count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "%s: out of memory", path);
    *list = more;
    more[*count] = strdup(path);
    return more[(*count)++] ? OK : fail(ERR_MEMORY, "%s: out of memory", path);
}

status results_paths(const char *path, char ***list, int64_t *count)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(ERR_FILE, "%s: cannot be read: expected a result file or a folder", path);
    output_protect(path);
    if (!S_ISDIR(st.st_mode)) return add_path(list, count, path);
    DIR *folder = opendir(path);
    if (!folder) return fail(ERR_FILE, "%s: cannot be read", path);
    const int64_t first = *count;
    status s = OK;
    for (struct dirent *e; s == OK && (e = readdir(folder));) {
        size_t n = strlen(e->d_name);
        char full[PATH_MAX];
        if (n < 4 || strcmp(e->d_name + n - 3, ".h5") != 0) continue;
        if (snprintf(full, sizeof full, "%s/%s", path, e->d_name) >= (int)sizeof full)
            s = fail(ERR_FILE, "%s: path too long", path);
        else if (!seal_says(full, "checkpoint"))
            s = add_path(list, count, full);
        output_protect(full);
    }
    closedir(folder);
    if (s == OK && *count > first)
        qsort(*list + first, (size_t)(*count - first), sizeof **list, by_name);
    return s;
}

void results_paths_free(char **list, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}
