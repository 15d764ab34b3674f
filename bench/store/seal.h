/* SPDX-License-Identifier: MIT
 *
 * seal.h — how our HDF5 files reach the disk. A file is built in memory, so that a full disk is met
 * by one write() here and not somewhere inside a library, and gets a user block in front that says
 * how long the file is and what its hash is, so that a truncated or damaged file is refused before
 * the library parses it:
 *
 *     bytes 0..23   "mosaic WHAT 1\n", zeros
 *     bytes 24..31  bytes of the whole file, little-endian
 *     bytes 32..39  FNV-1a of everything behind the block
 *     ..511         zeros
 */
#ifndef MOSAIC_SEAL_H
#define MOSAIC_SEAL_H

#include <hdf5.h>
#include <limits.h>

#include "spec.h"

enum { SEAL_BYTES = 512 };

/* A file on its way: NAME.tmp.PID until it is whole. */
typedef struct sealed {
    hid_t file;                                  /* in memory */
    char path[PATH_MAX], partial[PATH_MAX + 32]; /* links followed (output.h) */
    const char *what;                            /* "checkpoint", "result" */
} sealed;

/* Could the file be written? Makes and removes the partial file; ERR_ARG, ERR_FILE. */
status seal_probe(const char *path, const char *what);
/* Start a file, after a probe: a folder that cannot be written to shows now. Object times are off:
 * equal content is equal bytes. On failure (ERR_ARG, ERR_FILE) nothing is left. */
status seal_create(sealed *s, const char *path, const char *what);
/* A copy of a file on its way, to be sealed while the first one goes on. ERR_MEMORY. */
status seal_copy(sealed *copy, const sealed *from);
/* Seal, bring to the disk, give it its name; keep = 0: throw it away. Whatever happens, `path` is
 * either what it was or the whole new file. */
status seal_close(sealed *s, int keep);
/* ERR_FILE if there is no such file; ERR_DATA if it was not sealed here as `what`, is of another
 * version, truncated or damaged. */
status seal_verify(const char *path, const char *what);
/* Does the file say that it is a `what`, of whatever version, whole or not? */
int seal_says(const char *path, const char *what);

#endif
