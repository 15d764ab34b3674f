/* SPDX-License-Identifier: MIT
 *
 * hdf.c — see hdf.h.
 */
#include "hdf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "seal.h"

/* --- opening --------------------------------------------------------------------------------- */

static hid_t open_quietly(const char *path)
{
    /* The library prints a stack of its own unless told not to; our one line says it. */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
}

status hdf_open(const char *path, hid_t *file)
{
    struct stat st; /* before it is opened: a pipe would wait for a writer */
    *file = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? open_quietly(path) : -1;
    return *file >= 0 ? OK : fail(ERR_FILE, "%s: expected a readable HDF5 file", path);
}

status hdf_open_sealed(const char *path, const char *what, hid_t *file)
{
    TRY(seal_verify(path, what));
    *file = open_quietly(path);
    return *file >= 0
               ? OK
               : fail(
                     ERR_DATA,
                     "%s: this HDF5 library cannot open it: expected the %s that its hash confirms",
                     path, what);
}

/* The compound type of the rows of a table; the caller closes it. */
static hid_t row_type(table t)
{
    int count;
    const column *c = table_columns(t, &count);
    hid_t type = H5Tcreate(H5T_COMPOUND, table_row_size(t));
    for (int i = 0; i < count; i++) {
        hid_t text = H5Tcopy(H5T_C_S1);
        H5Tset_size(text, column_size(&c[i]));
        H5Tinsert(type, c[i].name, c[i].offset,
                  column_is_text(&c[i])  ? text
                  : c[i].type == COL_I64 ? H5T_NATIVE_INT64
                                         : H5T_NATIVE_DOUBLE);
        H5Tclose(text);
    }
    return type;
}

/* --- writing --------------------------------------------------------------------------------- */

int hdf_put_attribute(hid_t where, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    if (H5Aexists(where, name) > 0) H5Adelete(where, name);
    hid_t a = H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int good = a >= 0 && H5Awrite(a, type, value) >= 0;
    if (a >= 0) H5Aclose(a);
    H5Sclose(space);
    return good;
}

int hdf_put_text(hid_t where, const char *name, const char *value)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    int good = hdf_put_attribute(where, name, type, value);
    H5Tclose(type);
    return good;
}

int hdf_put(hid_t where, const char *name, hid_t type, int rank, const hsize_t *shape,
            const void *data, int packed)
{
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(plist, 0);
    if (packed) {
        H5Pset_chunk(plist, rank, shape);
        H5Pset_shuffle(plist);
        H5Pset_deflate(plist, 6);
    }
    hid_t space = H5Screate_simple(rank, shape, NULL);
    hid_t set = H5Dcreate2(where, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    int good = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0) H5Dclose(set);
    H5Sclose(space);
    H5Pclose(plist);
    return good;
}

int hdf_put_rows(hid_t where, table t, const void *rows, int64_t count, int packed)
{
    if (count == 0) return 1;
    hid_t type = row_type(t);
    int good = hdf_put(where, table_name(t), type, 1, &(hsize_t){(hsize_t)count}, rows, packed);
    H5Tclose(type);
    return good;
}

hid_t hdf_make_group(hid_t where, const char *name)
{
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, 0);
    hid_t group = H5Gcreate2(where, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Pclose(plist);
    return group;
}

/* --- reading --------------------------------------------------------------------------------- */

int hdf_has(hid_t where, const char *path)
{
    char part[160];
    for (const char *end = path; (end = strchr(end, '/')); end++) {
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (H5Lexists(where, part, H5P_DEFAULT) <= 0) return 0;
    }
    return H5Lexists(where, path, H5P_DEFAULT) > 0;
}

/* A scalar attribute and its type, opened; 0 if there is none, and nothing is open. */
static int open_attribute(hid_t where, const char *name, hid_t *a, hid_t *type)
{
    *a = H5Aexists(where, name) > 0 ? H5Aopen(where, name, H5P_DEFAULT) : -1;
    if (*a < 0) return 0;
    hid_t space = H5Aget_space(*a);
    const int scalar = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    *type = scalar ? H5Aget_type(*a) : -1;
    if (*type < 0) H5Aclose(*a);
    return *type >= 0;
}

int hdf_get_number(hid_t where, const char *name, hid_t type, void *value)
{
    hid_t a, stored;
    if (!open_attribute(where, name, &a, &stored)) return 0;
    int good = H5Tget_class(stored) != H5T_STRING && H5Aread(a, type, value) >= 0;
    H5Tclose(stored);
    H5Aclose(a);
    return good;
}

status hdf_get_text(hid_t where, const char *name, char **text)
{
    hid_t a, type;
    status s = OK;
    *text = NULL;
    if (!open_attribute(where, name, &a, &type)) return OK;
    const int is_text = H5Tget_class(type) == H5T_STRING, variable = H5Tis_variable_str(type) > 0;
    if (is_text && !variable) {
        *text = calloc(1, H5Tget_size(type) + 1);
        if (!*text) s = fail(ERR_MEMORY, "attribute %s: out of memory", name);
    }
    if (is_text && s == OK && H5Aread(a, type, variable ? (void *)text : *text) < 0) {
        free(*text);
        *text = NULL;
    }
    H5Tclose(type);
    H5Aclose(a);
    return s;
}

status hdf_text(hid_t where, const char *name, char *value, size_t size)
{
    char *text;
    double number;
    *value = '\0';
    TRY(hdf_get_text(where, name, &text));
    if (text)
        snprintf(value, size, "%s", text);
    else if (hdf_get_number(where, name, H5T_NATIVE_DOUBLE, &number))
        snprintf(value, size, "%.17g", number);
    free(text);
    return OK;
}

/* A dataset and its extent, opened; 0 if there is none, and nothing is open. */
static int open_dataset(hid_t where, const char *path, hid_t *set, hid_t *space)
{
    *set = hdf_has(where, path) ? H5Dopen2(where, path, H5P_DEFAULT) : -1;
    if (*set < 0) return 0;
    *space = H5Dget_space(*set);
    if (*space < 0) H5Dclose(*set);
    return *space >= 0;
}

int hdf_shape(hid_t where, const char *path, int rank, hsize_t *shape)
{
    hid_t set, space;
    if (!open_dataset(where, path, &set, &space)) return 0;
    const int good = H5Sget_simple_extent_ndims(space) == rank &&
                     H5Sget_simple_extent_dims(space, shape, NULL) == rank;
    H5Sclose(space);
    H5Dclose(set);
    return good;
}

int64_t hdf_count(hid_t where, const char *path)
{
    hid_t set, space;
    if (!open_dataset(where, path, &set, &space)) return -1;
    const int64_t count = (int64_t)H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    H5Dclose(set);
    return count;
}

int hdf_get(hid_t where, const char *path, hid_t type, int64_t count, void *to)
{
    hid_t set, space;
    if (!open_dataset(where, path, &set, &space)) return 0;
    const int good = (int64_t)H5Sget_simple_extent_npoints(space) == count &&
                     H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) >= 0;
    H5Sclose(space);
    H5Dclose(set);
    return good;
}

/* A text that fills its column ends there. */
static void end_texts(table t, char *rows, int64_t count)
{
    int columns;
    const column *c = table_columns(t, &columns);
    for (int64_t i = 0; i < count; i++, rows += table_row_size(t))
        for (int j = 0; j < columns; j++)
            if (column_is_text(&c[j])) rows[c[j].offset + column_size(&c[j]) - 1] = '\0';
}

status hdf_get_rows(hid_t where, const char *file, table t, void **rows, int64_t *count)
{
    hsize_t n = 0, room = 1;
    *rows = NULL;
    *count = 0;
    if (!hdf_has(where, table_name(t))) return OK;
    if (!hdf_shape(where, table_name(t), 1, &n) || n >= (hsize_t)1 << 32)
        return fail(ERR_DATA, "%s: table /%s is damaged", file, table_name(t));
    while (room < n)
        room *= 2;
    char *all = calloc(room, table_row_size(t));
    if (!all) return fail(ERR_MEMORY, "%s: out of memory", file);
    hid_t type = row_type(t);
    const int good = hdf_get(where, table_name(t), type, (int64_t)n, all);
    H5Tclose(type);
    if (!good) {
        free(all);
        return fail(ERR_DATA, "%s: table /%s is damaged", file, table_name(t));
    }
    end_texts(t, all, (int64_t)n);
    *rows = all;
    *count = (int64_t)n;
    return OK;
}
