/* SPDX-License-Identifier: MIT
 *
 * golden.h — files of values computed by other code, read case by case. A reader emits one row per
 * compared tensor; it fails with one line naming file and dataset where the file is not what its
 * layout promises.
 */
#ifndef MOSAIC_GOLDEN_H
#define MOSAIC_GOLDEN_H

#include "mosaic.h"

/* `what` lives during the call only. The row holds iff error <= tol. */
typedef void golden_row(void *user, const char *what, double error, double tol);

/* Row transforms: weights and gradients, one group per method and length. Errors are relative to
 * the norm of the row. */
status golden_transforms(const char *path, golden_row *emit, void *user);

/* The model that a file of one is compared with, and how near it must be. */
typedef struct golden_subject {
    const model *on;
    placement where;
    double tol;      /* of a tensor, relative to its norm                 */
    double training; /* of losses and norms in training                   */
    double rounding; /* of its arithmetic, by which the twins are moved   */
} golden_subject;
golden_subject golden_subject_of(const model *on, dtype type);

/* A model: parameters, a batch, logits, loss, gradients, the inside of the first block (of the
 * reference), and a trajectory of AdamW. Errors are relative to the norm of the tensor. */
status golden_model(const char *path, const golden_subject *who, golden_row *emit, void *user);
/* Either, by what the file holds; who NULL: the reference. Of another model than the reference,
 * ERR_ARG for transforms. */
status golden_file(const char *path, const golden_subject *who, golden_row *emit, void *user);

#endif
