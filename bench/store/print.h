/* SPDX-License-Identifier: MIT
 *
 * print.h — what verb print shows besides rows (print_parts.c).
 */
#ifndef MOSAIC_PRINT_H
#define MOSAIC_PRINT_H

#include "results.h"

/* A name and its value, of several files with the path of this one before it (else NULL). */
void print_pair(const char *path, const char *name, const char *value);
/* Every raw sample of /time_samples beside what it was timed of. many: of several files. *printed:
 * the rows so far, whose first begins the table. */
status print_samples(const stored *f, const char *path, int many, int64_t *printed);
/* Of a checkpoint: "provenance" (what it is and the words it was trained with), "tensors", or a
 * table of its rows. */
status print_checkpoint(const char *path, const char *what, int many, int64_t *printed);

#endif
