/* SPDX-License-Identifier: MIT
 *
 * merge.c — verb merge: many result files into one. The tables are joined in the order of the
 * files; the provenance of every source and the number of its rows are kept as the attributes of
 * /sources/<i>, so that every row has an origin.
 */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"
#include "results.h"
#include "seal.h"

static status merge_rows(results *r, const stored *f)
{
    double *samples = NULL;
    int64_t sample_rows = 0, width = 0;
    TRY(stored_samples(f, &samples, &sample_rows, &width));
    status s = OK;
    for (int t = 0; s == OK && t < TABLES; t++) {
        void *rows = NULL;
        int64_t count = 0;
        s = stored_rows(f, (table)t, &rows, &count);
        for (int64_t i = 0; s == OK && i < count; i++) {
            const char *row = (const char *)rows + (size_t)i * table_row_size((table)t);
            s = results_append(r, (table)t, row);
            if (s != OK || t != TIME || i >= sample_rows) continue;
            int64_t real = ((const time_row *)(const void *)row)->samples;
            s = results_samples(r, samples + i * width, real < width ? real : width);
        }
        free(rows);
    }
    free(samples);
    return s;
}

status results_merge(const char *const *paths, int64_t count, const char *out, const words *w)
{
    results *r;
    TRY(results_create(&r, out, w));
    status s = OK;
    for (int64_t i = 0; s == OK && i < count; i++) {
        stored *f;
        s = stored_open(paths[i], &f);
        if (s == OK) s = merge_rows(r, f);
        if (s == OK) s = results_source(r, f);
        stored_close(f);
    }
    if (s == OK) s = results_summary(r);
    status closed = results_close(r, s == OK);
    return s != OK ? s : closed;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct paths {
    char **path;
    int64_t count;
} paths;

static status add_path(paths *p, const char *path)
{
    char **more = realloc(p->path, (size_t)(p->count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "merge: out of memory");
    p->path = more;
    p->path[p->count] = strdup(path);
    return p->path[p->count++] ? OK : fail(ERR_MEMORY, "merge: out of memory");
}

/* The results of a folder in name order, which may lie beside their models, or the file itself. */
static status collect_paths(paths *p, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(ERR_FILE, "%s: cannot be read: expected a result file or a folder", path);
    output_protect(path);
    if (!S_ISDIR(st.st_mode)) return add_path(p, path);
    DIR *folder = opendir(path);
    if (!folder) return fail(ERR_FILE, "%s: cannot be read", path);
    int64_t first = p->count;
    status s = OK;
    for (struct dirent *e; s == OK && (e = readdir(folder));) {
        size_t n = strlen(e->d_name);
        char full[PATH_MAX];
        if (n < 4 || strcmp(e->d_name + n - 3, ".h5") != 0) continue;
        if (snprintf(full, sizeof full, "%s/%s", path, e->d_name) >= (int)sizeof full)
            s = fail(ERR_FILE, "%s: path too long", path);
        else if (!seal_says(full, "checkpoint"))
            s = add_path(p, full);
        output_protect(full);
    }
    closedir(folder);
    if (s == OK && p->count > first)
        qsort(p->path + first, (size_t)(p->count - first), sizeof *p->path, by_name);
    return s;
}

int verb_merge(const words *w)
{
    paths p = {0};
    status s = OK;
    if (!word_given(w, "file") || !word_given(w, "out"))
        return usage_error("merge: expected file=HDF5 files or folders, and out=FILE");
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++)
        s = collect_paths(&p, word_text_at(w, "file", i));
    if (s == OK && p.count == 0) s = fail(ERR_FILE, "merge: no result file among what was named");
    if (s == OK) s = results_merge((const char *const *)p.path, p.count, word_text(w, "out"), w);
    for (int64_t i = 0; i < p.count; i++)
        free(p.path[i]);
    free(p.path);
    return status_exit(s);
}
