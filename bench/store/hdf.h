/* SPDX-License-Identifier: MIT
 *
 * hdf.h — the pieces of HDF5 that results and checkpoints share. Every writer returns 1 if all went
 * well. Object times are off, so equal content is equal bytes.
 */
#ifndef MOSAIC_HDF_H
#define MOSAIC_HDF_H

#include <hdf5.h>

#include "results.h"

#define RESULT_SCHEMA "mosaic 1"

/* Open a result file for reading, checked to be one of ours; the caller closes it. */
status results_open(const char *path, hid_t *file);
/* The compound type of the rows of a table; the caller closes it. */
hid_t hdf_row_type(table t);
/* A scalar attribute, replaced if it is there. */
int hdf_attribute(hid_t where, const char *name, hid_t type, const void *value);
int hdf_text(hid_t where, const char *name, const char *value);
/* A dataset; packed ones are one deflated chunk. */
int hdf_dataset(hid_t where, const char *name, hid_t type, int rank, const hsize_t *shape,
                const void *data, int packed);

#endif
