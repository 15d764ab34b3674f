/* SPDX-License-Identifier: MIT
 *
 * hdf.h — as little of HDF5 as results, checkpoints and golden files need. A function without a
 * status returns 1 if all went well; whoever calls it knows what to say otherwise.
 */
#ifndef MOSAIC_HDF_H
#define MOSAIC_HDF_H

#include <hdf5.h>
#include <limits.h>

#include "columns.h"
#include "spec.h"

/* --- opening for reading; H5Fclose closes ----------------------------------------------------- */

/* Any HDF5 file; ERR_FILE. */
status hdf_open(const char *path, hid_t *file);
/* One that was sealed as `what` (seal.h), whole and unchanged; ERR_FILE, ERR_DATA. */
status hdf_open_sealed(const char *path, const char *what, hid_t *file);

/* --- writing: object times are off, so equal content is equal bytes -------------------------- */

/* A scalar attribute, replaced if it is there. */
int hdf_put_attribute(hid_t where, const char *name, hid_t type, const void *value);
int hdf_put_text(hid_t where, const char *name, const char *value);
/* A dataset; packed ones are one deflated chunk. */
int hdf_put(hid_t where, const char *name, hid_t type, int rank, const hsize_t *shape,
            const void *data, int packed);
/* All rows of a table. */
int hdf_put_rows(hid_t where, table t, const void *rows, int64_t count, int packed);
/* A group, -1 if it cannot be made; H5Gclose closes. */
hid_t hdf_make_group(hid_t where, const char *name);

/* --- reading: 0 also if there is nothing of this name ----------------------------------------- */

/* Is there a dataset or group "a/b/c"? */
int hdf_has(hid_t where, const char *path);
/* A scalar attribute that is a number, in the type given. */
int hdf_get_number(hid_t where, const char *name, hid_t type, void *value);
/* A scalar attribute that is a text, NULL if there is none; the caller frees it. ERR_MEMORY. */
status hdf_get_text(hid_t where, const char *name, char **text);
/* One that is a text, or a number in full; "" if there is none. ERR_MEMORY. */
status hdf_text(hid_t where, const char *name, char *value, size_t size);
/* The extents of a dataset of this rank. */
int hdf_shape(hid_t where, const char *path, int rank, hsize_t *shape);
/* How many values a dataset has; -1 if there is none. */
int64_t hdf_count(hid_t where, const char *path);
/* All of a dataset of exactly `count` values. */
int hdf_get(hid_t where, const char *path, hid_t type, int64_t count, void *to);
/* All rows of a table, none if there is no such table: room for the next power of two, so that it
 * can grow by doubling; the caller frees them. ERR_DATA, ERR_MEMORY; file is for the message. */
status hdf_get_rows(hid_t where, const char *file, table t, void **rows, int64_t *count);

/* --- result files (results.h) ---------------------------------------------------------------- */

#define RESULT_SCHEMA "mosaic 1"
#define UNFINISHED "unfinished" /* attribute of / until the program that writes it ends well */

/* A result file, open for reading. */
struct stored {
    hid_t file;
    char path[PATH_MAX];
};

/* What origin i of a file says is an attribute of this object; H5Oclose closes. */
hid_t stored_origin(const struct stored *f, int64_t i);
/* Where a merged file keeps what source i said, and the attribute that counts its rows. */
void hdf_source_name(int64_t i, char name[64]);
void hdf_count_name(table t, char name[64]);

#endif
