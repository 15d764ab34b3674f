/* SPDX-License-Identifier: MIT
 *
 * results_read.c — HDF5 files of rows, read: only what was sealed here, of this schema.
 */
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hdf.h"
#include "seal.h"

status results_open(const char *path, hid_t *file)
{
    /* The library prints a stack of its own unless told not to; our one line says it. */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    TRY(seal_verify(path, "result"));
    *file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (*file < 0) return fail(ERR_DATA, "%s: not an HDF5 file behind its seal", path);
    char schema[64] = "";
    hid_t a = H5Aexists(*file, "schema") > 0 ? H5Aopen(*file, "schema", H5P_DEFAULT) : -1;
    if (a >= 0) {
        hid_t type = H5Aget_type(a);
        size_t size = H5Tget_size(type);
        if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
            size < sizeof schema)
            H5Aread(a, type, schema);
        H5Tclose(type);
        H5Aclose(a);
    }
    if (strcmp(schema, RESULT_SCHEMA) == 0) return OK;
    H5Fclose(*file);
    if (strncmp(schema, "mosaic ", 7) == 0)
        return fail(ERR_DATA, "%s: schema \"%.40s\" is not known here: expected \"%s\"", path,
                    schema, RESULT_SCHEMA);
    return fail(ERR_DATA, "%s: not a result file of mosaic: expected schema \"%s\"", path,
                RESULT_SCHEMA);
}

status results_rows(const char *path, table t, void **rows, int64_t *count)
{
    hid_t file, set = -1, space = -1, type = hdf_row_type(t);
    const size_t size = table_row_size(t);
    int columns;
    const column *c = table_columns(t, &columns);
    status s = results_open(path, &file);
    hsize_t n = 0;
    *rows = NULL;
    *count = 0;
    if (s != OK) goto closed;
    if (H5Lexists(file, table_name(t), H5P_DEFAULT) <= 0) goto done;
    s = fail(ERR_DATA, "%s: table /%s is damaged", path, table_name(t));
    set = H5Dopen2(file, table_name(t), H5P_DEFAULT);
    if (set < 0) goto done;
    space = H5Dget_space(set);
    if (H5Sget_simple_extent_ndims(space) != 1) goto done;
    H5Sget_simple_extent_dims(space, &n, NULL);
    *rows = calloc(n ? n : 1, size);
    if (!*rows) {
        s = fail(ERR_MEMORY, "%s: out of memory", path);
        goto done;
    }
    if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *rows) < 0) {
        free(*rows);
        *rows = NULL;
        goto done;
    }
    for (hsize_t i = 0; i < n; i++)
        for (int j = 0; j < columns; j++)
            if (c[j].type == COL_NAME)
                ((char *)*rows)[i * size + c[j].offset + sizeof(NAME_) - 1] = 0;
    *count = (int64_t)n;
    s = OK;
done:
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    H5Fclose(file);
closed:
    H5Tclose(type);
    return s;
}

/* A scalar attribute as text: numbers in full. */
static status read_attribute(hid_t file, const char *path, const char *name, char *value,
                             size_t size)
{
    status s = OK;
    hid_t a = H5Aopen(file, name, H5P_DEFAULT), type = H5Aget_type(a);
    if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0) {
        char *text = calloc(1, H5Tget_size(type) + 1);
        if (!text) s = fail(ERR_MEMORY, "%s: out of memory", path);
        if (text && H5Aread(a, type, text) >= 0) snprintf(value, size, "%s", text);
        free(text);
    } else {
        double number;
        if (H5Aread(a, H5T_NATIVE_DOUBLE, &number) >= 0) snprintf(value, size, "%.17g", number);
    }
    H5Tclose(type);
    H5Aclose(a);
    return s;
}

status results_read_attribute(const char *path, const char *name, char *value, size_t size)
{
    hid_t file;
    status s = OK;
    *value = '\0';
    TRY(results_open(path, &file));
    if (H5Aexists(file, name) > 0) s = read_attribute(file, path, name, value, size);
    H5Fclose(file);
    return s;
}

static herr_t print_attribute(hid_t file, const char *name, const H5A_info_t *info, void *path)
{
    char value[4096] = "";
    (void)info;
    if (read_attribute(file, *(const char **)path, name, value, sizeof value) != OK) return -1;
    printf("%s\t%s\n", name, value);
    return 0;
}

status results_print_provenance(const char *path)
{
    hid_t file;
    TRY(results_open(path, &file));
    herr_t done = H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, print_attribute, &path);
    H5Fclose(file);
    return done >= 0 ? OK : fail(ERR_MEMORY, "%s: out of memory", path);
}

status results_read_samples(const char *path, double **samples, int64_t *rows, int64_t *width)
{
    hid_t file, set = -1;
    hsize_t shape[2] = {0, 0};
    status s = OK;
    *samples = NULL;
    *rows = *width = 0;
    TRY(results_open(path, &file));
    if (H5Lexists(file, "time_samples", H5P_DEFAULT) > 0) {
        s = fail(ERR_DATA, "%s: /time_samples is damaged", path);
        set = H5Dopen2(file, "time_samples", H5P_DEFAULT);
        hid_t space = set >= 0 ? H5Dget_space(set) : -1;
        if (space >= 0 && H5Sget_simple_extent_ndims(space) == 2 &&
            H5Sget_simple_extent_dims(space, shape, NULL) == 2) {
            *samples = calloc(shape[0] * shape[1] + 1, sizeof **samples);
            if (!*samples)
                s = fail(ERR_MEMORY, "%s: out of memory", path);
            else if (H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, *samples) >= 0)
                s = OK;
        }
        if (space >= 0) H5Sclose(space);
        if (set >= 0) H5Dclose(set);
    }
    H5Fclose(file);
    if (s != OK) {
        free(*samples);
        *samples = NULL;
    } else {
        *rows = (int64_t)shape[0];
        *width = (int64_t)shape[1];
    }
    return s;
}
