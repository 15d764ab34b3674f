/* SPDX-License-Identifier: MIT
 *
 * golden.h — files of values computed by other code, read case by case. A reader emits one row per
 * compared tensor; it fails with one line naming file and dataset where the file is not what its
 * layout promises.
 */
#ifndef MOSAIC_GOLDEN_H
#define MOSAIC_GOLDEN_H

#include "spec.h"

/* `what` lives during the call only. The row holds iff error <= tol. */
typedef void golden_row(void *user, const char *what, double error, double tol);

/* Row transforms: weights and gradients, one group per method and length. Errors are relative to
 * the norm of the row. */
status golden_transforms(const char *path, golden_row *emit, void *user);
/* A model: parameters, a batch, logits, loss, gradients, the inside of the first block, and a
 * trajectory of AdamW. Errors are relative to the norm of the tensor. */
status golden_model(const char *path, golden_row *emit, void *user);
/* Either, by what the file holds. */
status golden_file(const char *path, golden_row *emit, void *user);

#endif
