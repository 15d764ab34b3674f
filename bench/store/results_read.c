/* SPDX-License-Identifier: MIT
 *
 * results_read.c — HDF5 files of rows, read: only what was sealed here, of this schema.
 */
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hdf.h"

static status check_schema(hid_t file, const char *path)
{
    char *schema;
    TRY(hdf_get_text(file, "schema", &schema));
    status s = OK;
    if (!schema || strncmp(schema, "mosaic ", 7) != 0)
        s = fail(ERR_DATA, "%s: not a result file of mosaic: expected schema \"%s\"", path,
                 RESULT_SCHEMA);
    else if (strcmp(schema, RESULT_SCHEMA) != 0)
        s = fail(ERR_DATA, "%s: schema \"%.40s\" is not known here: expected \"%s\"", path, schema,
                 RESULT_SCHEMA);
    free(schema);
    return s;
}

status stored_open(const char *path, stored **out)
{
    *out = NULL;
    stored *f = malloc(sizeof *f);
    if (!f) return fail(ERR_MEMORY, "%s: out of memory", path);
    snprintf(f->path, sizeof f->path, "%s", path);
    status s = hdf_open_sealed(path, "result", &f->file);
    if (s != OK) {
        free(f);
        return s;
    }
    s = check_schema(f->file, path);
    if (s == OK)
        *out = f;
    else
        stored_close(f);
    return s;
}

void stored_close(stored *f)
{
    if (!f) return;
    H5Fclose(f->file);
    free(f);
}

int stored_finished(const stored *f)
{
    return H5Aexists(f->file, UNFINISHED) <= 0;
}

status stored_rows(const stored *f, table t, void **rows, int64_t *count)
{
    return hdf_get_rows(f->file, f->path, t, rows, count);
}

status stored_text(const stored *f, const char *name, char *value, size_t size)
{
    return hdf_text(f->file, name, value, size);
}

double stored_number(const stored *f, const char *name)
{
    double number;
    return hdf_get_number(f->file, name, H5T_NATIVE_DOUBLE, &number) ? number : NAN;
}

/* --- origins --------------------------------------------------------------------------------- */

void hdf_source_name(int64_t i, char name[64])
{
    snprintf(name, 64, "sources/%lld", (long long)i);
}

void hdf_count_name(table t, char name[64])
{
    snprintf(name, 64, "rows_%s", table_name(t));
}

/* How many files a merged one was made of; 0 of another. */
static int64_t count_sources(const stored *f)
{
    char name[64];
    int64_t count = 0;
    for (hdf_source_name(0, name); hdf_has(f->file, name); hdf_source_name(count, name))
        count++;
    return count;
}

/* Does a merged file count the rows of its sources? */
static int has_counts(const stored *f)
{
    char name[64];
    hdf_source_name(0, name);
    hid_t group = hdf_has(f->file, name) ? H5Gopen2(f->file, name, H5P_DEFAULT) : -1;
    if (group < 0) return 0;
    hdf_count_name(CHECK, name);
    const int there = H5Aexists(group, name) > 0;
    H5Gclose(group);
    return there;
}

hid_t stored_origin(const stored *f, int64_t i)
{
    char name[64];
    if (!has_counts(f)) return H5Oopen(f->file, "/", H5P_DEFAULT);
    hdf_source_name(i, name);
    return H5Oopen(f->file, name, H5P_DEFAULT);
}

static status source_text(const stored *f, int64_t i, const char *name, char *value, size_t size)
{
    char path[64];
    hdf_source_name(i, path);
    hid_t from = H5Oopen(f->file, path, H5P_DEFAULT);
    if (from < 0) return fail(ERR_DATA, "%s: /%s is damaged", f->path, path);
    status s = hdf_text(from, name, value, size);
    H5Oclose(from);
    return s;
}

/* Was all of a file without counts made on one machine? */
static status one_machine(const stored *f, int64_t sources)
{
    static const char *const names[] = {"device", "cpu"};
    char first[200], other[200];
    for (int64_t i = 1; i < sources; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            TRY(source_text(f, 0, names[j], first, sizeof first));
            TRY(source_text(f, i, names[j], other, sizeof other));
            if (strcmp(first, other) != 0)
                return fail(ERR_DATA,
                            "%s: does not say which rows are of \"%s\" and which of \"%s\": "
                            "expected its files, merged anew",
                            f->path, first, other);
        }
    return OK;
}

status stored_origins(const stored *f, int64_t *count)
{
    const int64_t sources = count_sources(f);
    *count = has_counts(f) ? sources : 1;
    return sources == 0 || *count == sources ? OK : one_machine(f, sources);
}

status stored_origin_text(const stored *f, int64_t i, const char *name, char *value, size_t size)
{
    hid_t from = stored_origin(f, i);
    if (from < 0) return fail(ERR_DATA, "%s: /sources is damaged", f->path);
    status s = hdf_text(from, name, value, size);
    H5Oclose(from);
    return s;
}

double stored_origin_number(const stored *f, int64_t i, const char *name)
{
    double number = NAN;
    hid_t from = stored_origin(f, i);
    if (from >= 0 && !hdf_get_number(from, name, H5T_NATIVE_DOUBLE, &number)) number = NAN;
    if (from >= 0) H5Oclose(from);
    return number;
}

int64_t stored_origin_rows(const stored *f, int64_t i, table t, int64_t rows)
{
    char name[64];
    if (!has_counts(f)) return rows;
    hdf_count_name(t, name);
    const double count = stored_origin_number(f, i, name);
    return count >= 0 && count <= (double)rows ? (int64_t)count : 0;
}

int64_t samples_count(const double *samples, int64_t width)
{
    int64_t count = width;
    while (count > 0 && isnan(samples[count - 1]))
        count--;
    return count;
}

status stored_samples(const stored *f, raw what, double **samples, int64_t *rows, int64_t *width)
{
    const char *name = raw_name(what);
    hsize_t shape[2] = {0, 0};
    *samples = NULL;
    *rows = *width = 0;
    if (!hdf_has(f->file, name)) return OK;
    const int64_t wanted = hdf_count(f->file, table_name(raw_table(what)));
    const int good = hdf_shape(f->file, name, 2, shape);
    double *all = good ? calloc(shape[0] * shape[1] + 1, sizeof *all) : NULL;
    if (good && !all) return fail(ERR_MEMORY, "%s: out of memory", f->path);
    if (!good || !hdf_get(f->file, name, H5T_NATIVE_DOUBLE, (int64_t)(shape[0] * shape[1]), all)) {
        free(all);
        return fail(ERR_DATA, "%s: /%s is damaged", f->path, name);
    }
    if ((int64_t)shape[0] != wanted) {
        free(all);
        return fail(ERR_DATA, "%s: /%s: expected a row for each of /%s", f->path, name,
                    table_name(raw_table(what)));
    }
    *samples = all;
    *rows = (int64_t)shape[0];
    *width = (int64_t)shape[1];
    return OK;
}
