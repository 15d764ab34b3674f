/* SPDX-License-Identifier: MIT
 *
 * print.c — rows as TSV, and verb print: what a result file holds, for whoever has no HDF5 at hand.
 */
#include <stdlib.h>

#include "hdf.h"
#include "results.h"

void results_print(table t, const void *row, int header)
{
    int count;
    const column *c = table_columns(t, &count);
    for (int i = 0; header && i < count; i++)
        printf("%s%c", c[i].name, i + 1 < count ? '\t' : '\n');
    for (int i = 0; i < count; i++) {
        const char *at = (const char *)row + c[i].offset;
        if (c[i].type == COL_NAME)
            printf("%s", at);
        else if (c[i].type == COL_I64)
            printf("%lld", (long long)*(const int64_t *)(const void *)at);
        else
            printf("%.9g", *(const double *)(const void *)at);
        printf("%c", i + 1 < count ? '\t' : '\n');
    }
}

/* The rows of one file; the header only before the first row of all. */
static status print_rows(const stored *f, table t, int64_t *printed)
{
    void *rows = NULL;
    int64_t count = 0;
    TRY(stored_rows(f, t, &rows, &count));
    for (int64_t i = 0; i < count; i++)
        results_print(t, (const char *)rows + (size_t)i * table_row_size(t), (*printed)++ == 0);
    free(rows);
    return OK;
}

static herr_t print_attribute(hid_t file, const char *name, const H5A_info_t *info, void *f)
{
    char value[4096];
    (void)file;
    (void)info;
    if (stored_text(f, name, value, sizeof value) != OK) return -1;
    printf("%s\t%s\n", name, value);
    return 0;
}

/* The attributes of /, a line each. */
static status print_provenance(stored *f)
{
    if (H5Aiterate2(f->file, H5_INDEX_NAME, H5_ITER_INC, NULL, print_attribute, f) >= 0) return OK;
    return fail(ERR_MEMORY, "%s: out of memory", f->path);
}

int verb_print(const words *w)
{
    const table t = table_find(word_text(w, "table"));
    int64_t printed = 0;
    status s = OK;
    if (word_count(w, "file") == 0) return usage_error("print: expected file=HDF5 files");
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++) {
        stored *f;
        s = stored_open(word_text_at(w, "file", i), &f);
        if (s == OK) s = t == TABLES ? print_provenance(f) : print_rows(f, t, &printed);
        stored_close(f);
    }
    return status_exit(s);
}
