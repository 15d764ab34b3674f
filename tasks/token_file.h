/* SPDX-License-Identifier: MIT
 *
 * token_file.h — train.bin and val.bin: raw little-endian uint16 ids, no header; every story is
 * followed by end-of-text (spec of the tasks, section 5).
 */
#ifndef MOSAIC_TOKEN_FILE_H
#define MOSAIC_TOKEN_FILE_H

#include "bytes.h"

/* Append the ids of a file in memory. An id must be less than `limit`, or be `end`; the last must
 * be `end`. ERR_DATA with "name: byte n: expected ...". */
status token_file_decode(const char *name, const void *from, size_t count, int32_t limit,
                         int32_t end, tokens *out);
status token_file_encode(const tokens *ids, bytes *out);

#endif
