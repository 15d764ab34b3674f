/* SPDX-License-Identifier: MIT
 *
 * merge.c — verb merge: many result files into one. The tables are joined in the order of the
 * files; the provenance of every source and the number of its rows are kept as the attributes of
 * /sources/<i>, so that every row has an origin.
 */
#include <stdlib.h>

#include "results.h"

/* What stands behind the rows of one file. */
typedef struct behind_rows {
    double *samples;
    int64_t rows, width;
} behind_rows;

static status merge_table(results *r, const stored *f, table t, const behind_rows *behind)
{
    void *rows = NULL;
    int64_t count = 0;
    status s = stored_rows(f, t, &rows, &count);
    for (int64_t i = 0; s == OK && i < count; i++) {
        s = results_append(r, t, (const char *)rows + (size_t)i * table_row_size(t));
        for (int k = 0; s == OK && k < RAWS; k++) {
            const behind_rows *b = &behind[k];
            if (raw_table((raw)k) != t || i >= b->rows) continue;
            const double *at = b->samples + i * b->width;
            s = results_samples(r, (raw)k, at, samples_count(at, b->width));
        }
    }
    free(rows);
    return s;
}

static status merge_rows(results *r, const stored *f)
{
    behind_rows behind[RAWS] = {{0}};
    status s = OK;
    for (int k = 0; s == OK && k < RAWS; k++) {
        behind_rows *b = &behind[k];
        s = stored_samples(f, (raw)k, &b->samples, &b->rows, &b->width);
    }
    for (int t = 0; s == OK && t < TABLES; t++)
        s = merge_table(r, f, (table)t, behind);
    for (int k = 0; k < RAWS; k++)
        free(behind[k].samples);
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

int verb_merge(const words *w)
{
    char **path = NULL;
    int64_t count = 0;
    status s = OK;
    if (!word_given(w, "file") || !word_given(w, "out"))
        return usage_error("merge: expected file=HDF5 files or folders, and out=FILE");
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++)
        s = results_paths(word_text_at(w, "file", i), &path, &count);
    if (s == OK && count == 0) s = fail(ERR_FILE, "merge: no result file among what was named");
    if (s == OK) s = results_merge((const char *const *)path, count, word_text(w, "out"), w);
    results_paths_free(path, count);
    return status_exit(s);
}
