/* SPDX-License-Identifier: MIT
 *
 * hdf.c — see hdf.h.
 */
#include "hdf.h"

#include <string.h>

hid_t hdf_row_type(table t)
{
    int count;
    const column *c = table_columns(t, &count);
    hid_t text = H5Tcopy(H5T_C_S1), type = H5Tcreate(H5T_COMPOUND, table_row_size(t));
    H5Tset_size(text, sizeof(NAME_));
    for (int i = 0; i < count; i++)
        H5Tinsert(type, c[i].name, c[i].offset,
                  c[i].type == COL_NAME  ? text
                  : c[i].type == COL_I64 ? H5T_NATIVE_INT64
                                         : H5T_NATIVE_DOUBLE);
    H5Tclose(text);
    return type;
}

int hdf_attribute(hid_t where, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    if (H5Aexists(where, name) > 0) H5Adelete(where, name);
    hid_t a = H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int good = a >= 0 && H5Awrite(a, type, value) >= 0;
    if (a >= 0) H5Aclose(a);
    H5Sclose(space);
    return good;
}

int hdf_text(hid_t where, const char *name, const char *value)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    int good = hdf_attribute(where, name, type, value);
    H5Tclose(type);
    return good;
}

int hdf_dataset(hid_t where, const char *name, hid_t type, int rank, const hsize_t *shape,
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
