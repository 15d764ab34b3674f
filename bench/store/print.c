/* SPDX-License-Identifier: MIT
 *
 * print.c — rows on standard output (tabular.h), and verb print: what a file holds, for whoever has
 * no HDF5 at hand.
 */
#include <stdlib.h>
#include <string.h>

#include "hdf.h"
#include "print.h"
#include "results.h"
#include "seal.h"
#include "tabular.h"

enum { MOST_COLUMNS = 40 };

/* Begin a table of rows, of several files with a column that names them. */
static void begin_rows(table t, int origins)
{
    static tabular_column columns[MOST_COLUMNS];
    int count;
    const column *c = table_columns(t, &count);
    for (int i = 0; i < count; i++) {
        const int text = column_is_text(&c[i]);
        columns[i] = (tabular_column){c[i].name, c[i].unit, !text, text ? 12 : 9};
    }
    columns[count] = (tabular_column){"origin", "", 0, 0};
    tabular_begin(NULL, columns, count + (origins != 0));
}

void results_print_origin(table t, const void *row, int header, const char *origin)
{
    char number[MOST_COLUMNS][32];
    const char *cells[MOST_COLUMNS];
    int count;
    const column *c = table_columns(t, &count);
    if (header) begin_rows(t, origin != NULL);
    for (int i = 0; i < count; i++) {
        const char *at = (const char *)row + c[i].offset;
        cells[i] = column_is_text(&c[i]) ? at : number[i];
        if (c[i].type == COL_I64)
            snprintf(number[i], sizeof number[i], "%lld",
                     (long long)*(const int64_t *)(const void *)at);
        else if (c[i].type == COL_F64)
            snprintf(number[i], sizeof number[i], tabular_short() ? "%.4g" : "%.9g",
                     *(const double *)(const void *)at);
    }
    cells[count] = origin ? origin : "";
    tabular_row(cells);
}

void results_print(table t, const void *row, int header)
{
    results_print_origin(t, row, header, NULL);
}

/* The name of an origin of a file. */
static void origin_name(const stored *f, int64_t i, int64_t origins, char *name, size_t size)
{
    char source[64] = "";
    if (origins > 1) hdf_source_name(i, source);
    snprintf(name, size, "%s%s%s", f->path, *source ? ":" : "", source);
}

/* The rows of one file; the header only before the first row of all. many: of several files. */
static status print_rows(const stored *f, table t, int many, int64_t *printed)
{
    void *rows = NULL;
    int64_t count = 0, origins, at = 0;
    char name[PATH_MAX + 80];
    TRY(stored_origins(f, &origins));
    TRY(stored_rows(f, t, &rows, &count));
    for (int64_t i = 0; i < origins; i++) {
        origin_name(f, i, origins, name, sizeof name);
        for (int64_t n = stored_origin_rows(f, i, t, count); n > 0 && at < count; n--, at++)
            results_print_origin(t, (const char *)rows + (size_t)at * table_row_size(t),
                                 (*printed)++ == 0, many || origins > 1 ? name : NULL);
    }
    free(rows);
    return at == count ? OK : fail(ERR_DATA, "%s: /sources is damaged", f->path);
}

/* An attribute of / or of a source is a line; what a source says like / is not said again. */
typedef struct printer {
    const stored *f;
    const char *prefix; /* "" of / */
    const char *path;   /* of several files, else NULL */
} printer;

void print_pair(const char *path, const char *name, const char *value)
{
    const char *cells[] = {path, name, value};
    tabular_row(path ? cells : cells + 1);
}

static herr_t print_attribute(hid_t from, const char *name, const H5A_info_t *info, void *user)
{
    const printer *p = user;
    char value[4096], whole[4096] = "";
    (void)info;
    if (hdf_text(from, name, value, sizeof value) != OK) return -1;
    if (*p->prefix && stored_text(p->f, name, whole, sizeof whole) != OK) return -1;
    if (*p->prefix && strcmp(value, whole) == 0) return 0;
    char full[200];
    snprintf(full, sizeof full, "%s%s%s", p->prefix, *p->prefix ? "/" : "", name);
    print_pair(p->path, full, value);
    return 0;
}

/* The attributes of /, a line each, and what its sources say otherwise. */
static status print_provenance(stored *f, const char *path)
{
    int64_t origins;
    char prefix[64] = "";
    printer p = {f, prefix, path};
    TRY(stored_origins(f, &origins));
    int good = H5Aiterate2(f->file, H5_INDEX_NAME, H5_ITER_INC, NULL, print_attribute, &p) >= 0;
    for (int64_t i = 0; good && origins > 1 && i < origins; i++) {
        hid_t from = stored_origin(f, i);
        hdf_source_name(i, prefix);
        good = from >= 0 &&
               H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_INC, NULL, print_attribute, &p) >= 0;
        if (from >= 0) H5Oclose(from);
    }
    return good ? OK : fail(ERR_MEMORY, "%s: out of memory", f->path);
}

/* One file, of what the words want of it. */
static status print_file(const words *w, const char *path, int64_t *printed)
{
    const char *what = word_text(w, "table");
    const int many = word_count(w, "file") > 1;
    stored *f;
    if (seal_says(path, "checkpoint")) return print_checkpoint(path, what, many, printed);
    TRY(stored_open(path, &f));
    const table t = table_find(what);
    const status s = strcmp(what, "time_samples") == 0 ? print_samples(f, path, many, printed)
                     : strcmp(what, "tensors") == 0    ? OK
                     : t == TABLES                     ? print_provenance(f, many ? path : NULL)
                                                       : print_rows(f, t, many, printed);
    stored_close(f);
    return s;
}

int verb_print(const words *w)
{
    static const tabular_column pairs[] = {
        {"file", "", 0, 0}, {"name", "", 0, 16}, {"value", "", 0, 0}};
    const int many = word_count(w, "file") > 1;
    int64_t printed = 0;
    status s = OK;
    if (word_count(w, "file") == 0) return usage_error("print: expected file=HDF5 files");
    tabular_format(word_text(w, "format"));
    if (strcmp(word_text(w, "table"), "provenance") == 0) {
        tabular_bare();
        tabular_begin(NULL, many ? pairs : pairs + 1, many ? 3 : 2);
    }
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++)
        s = print_file(w, word_text_at(w, "file", i), &printed);
    tabular_end();
    return status_exit(s);
}
