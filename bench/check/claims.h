/* SPDX-License-Identifier: MIT
 *
 * claims.h — the theorems of claims.def as numbers.
 */
#ifndef MOSAIC_CLAIMS_H
#define MOSAIC_CLAIMS_H

#include "op/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Name of the i-th claim; NULL past the end. */
const char *claim_name(int i);
/* How far a claim is from true, to be <= *tol. `by` computes the transform `replaced` in place of
 * its reference (OP_none: none is replaced): what is not the transform must not pass. */
status claim_error(const char *name, op_id replaced, op_fn *by, double *error, double *tol);

#ifdef __cplusplus
}
#endif
#endif
