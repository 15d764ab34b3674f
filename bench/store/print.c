/* SPDX-License-Identifier: MIT
 *
 * print.c — verb print: what a result file holds, for whoever has no HDF5 at hand.
 */
#include <stdlib.h>
#include <string.h>

#include "results.h"

/* The rows of one file; the header only before the first row of all. */
static status print_rows(const char *path, table t, int64_t *printed)
{
    void *rows = NULL;
    int64_t count = 0;
    TRY(results_rows(path, t, &rows, &count));
    for (int64_t i = 0; i < count; i++)
        results_print(t, (const char *)rows + (size_t)i * table_row_size(t), (*printed)++ == 0);
    free(rows);
    return OK;
}

int verb_print(const words *w)
{
    int t = 0;
    int64_t printed = 0;
    status s = OK;
    if (word_count(w, "file") == 0) return usage_error("print: expected file=HDF5 files");
    while (t < TABLES && strcmp(table_name((table)t), word_text(w, "table")) != 0)
        t++;
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++) {
        const char *path = word_text_at(w, "file", i);
        s = t == TABLES ? results_print_provenance(path) : print_rows(path, (table)t, &printed);
    }
    return status_exit(s);
}
