/* SPDX-License-Identifier: MIT
 *
 * seal.h — a user block in front of an HDF5 file that says how long the file is and what its hash
 * is, so that a truncated or damaged file is refused before a library parses it:
 *
 *     bytes 0..23   "mosaic WHAT 1\n", zeros
 *     bytes 24..31  bytes of the whole file, little-endian
 *     bytes 32..39  FNV-1a of everything behind the block
 */
#ifndef MOSAIC_SEAL_H
#define MOSAIC_SEAL_H

#include "spec.h"

enum { SEAL_BYTES = 512 };

/* Seal `partial`, bring it to the disk and give it its name; 0 if that failed. `partial` must
 * begin with SEAL_BYTES bytes that nobody needs. */
int seal_publish(const char *partial, const char *path, const char *what);
/* ERR_FILE if there is no such file; ERR_DATA if it was not sealed here as `what`, is of another
 * version, truncated or damaged. */
status seal_verify(const char *path, const char *what);

#endif
