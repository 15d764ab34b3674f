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
    char *text;
    const double number = stored_number(f, name);
    *value = '\0';
    TRY(hdf_get_text(f->file, name, &text));
    if (text)
        snprintf(value, size, "%s", text);
    else if (!isnan(number))
        snprintf(value, size, "%.17g", number);
    free(text);
    return OK;
}

double stored_number(const stored *f, const char *name)
{
    double number;
    return hdf_get_number(f->file, name, H5T_NATIVE_DOUBLE, &number) ? number : NAN;
}

status stored_samples(const stored *f, double **samples, int64_t *rows, int64_t *width)
{
    static const char name[] = "time_samples";
    hsize_t shape[2] = {0, 0};
    *samples = NULL;
    *rows = *width = 0;
    if (!hdf_has(f->file, name)) return OK;
    const int good = hdf_shape(f->file, name, 2, shape);
    double *all = good ? calloc(shape[0] * shape[1] + 1, sizeof *all) : NULL;
    if (good && !all) return fail(ERR_MEMORY, "%s: out of memory", f->path);
    if (!good || !hdf_get(f->file, name, H5T_NATIVE_DOUBLE, (int64_t)(shape[0] * shape[1]), all)) {
        free(all);
        return fail(ERR_DATA, "%s: /%s is damaged", f->path, name);
    }
    *samples = all;
    *rows = (int64_t)shape[0];
    *width = (int64_t)shape[1];
    return OK;
}
