/* SPDX-License-Identifier: MIT
 *
 * print.c — rows as TSV, and verb print: what a result file holds, for whoever has no HDF5 at hand.
 */
#include <stdlib.h>
#include <string.h>

#include "hdf.h"
#include "results.h"

/* A field stays one: what would end it is a space. */
static void print_field(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
}

void results_print_origin(table t, const void *row, int header, const char *origin)
{
    int count;
    const column *c = table_columns(t, &count);
    for (int i = 0; header && i < count; i++)
        printf("%s%s", i ? "\t" : "", c[i].name);
    if (header) printf("%s\n", origin ? "\torigin" : "");
    for (int i = 0; i < count; i++) {
        const char *at = (const char *)row + c[i].offset;
        if (i > 0) putchar('\t');
        if (column_is_text(&c[i]))
            print_field(at);
        else if (c[i].type == COL_I64)
            printf("%lld", (long long)*(const int64_t *)(const void *)at);
        else
            printf("%.9g", *(const double *)(const void *)at);
    }
    if (origin) putchar('\t');
    print_field(origin ? origin : "");
    putchar('\n');
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
} printer;

static herr_t print_attribute(hid_t from, const char *name, const H5A_info_t *info, void *user)
{
    const printer *p = user;
    char value[4096], whole[4096] = "";
    (void)info;
    if (hdf_text(from, name, value, sizeof value) != OK) return -1;
    if (*p->prefix && stored_text(p->f, name, whole, sizeof whole) != OK) return -1;
    if (*p->prefix && strcmp(value, whole) == 0) return 0;
    printf("%s%s%s\t", p->prefix, *p->prefix ? "/" : "", name);
    print_field(value);
    putchar('\n');
    return 0;
}

/* The attributes of /, a line each, and what its sources say otherwise. */
static status print_provenance(stored *f)
{
    int64_t origins;
    char prefix[64] = "";
    printer p = {f, prefix};
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

int verb_print(const words *w)
{
    const table t = table_find(word_text(w, "table"));
    int64_t printed = 0;
    status s = OK;
    if (word_count(w, "file") == 0) return usage_error("print: expected file=HDF5 files");
    for (int64_t i = 0; s == OK && i < word_count(w, "file"); i++) {
        stored *f;
        s = stored_open(word_text_at(w, "file", i), &f);
        if (s == OK)
            s = t == TABLES ? print_provenance(f)
                            : print_rows(f, t, word_count(w, "file") > 1, &printed);
        stored_close(f);
    }
    return status_exit(s);
}
