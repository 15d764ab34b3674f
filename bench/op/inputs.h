/* SPDX-License-Identifier: MIT
 *
 * inputs.h — named families of inputs (inputs.def) for a call, the same on every machine.
 */
#ifndef MOSAIC_INPUTS_H
#define MOSAIC_INPUTS_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Name of the i-th family; NULL past the end. */
const char *input_name(int i);
/* 1 if the family means something for this operation: all of inputs.def for row transforms and
 * their gradients, gauss for the stages, and for attention those of sequences.def. */
int input_applies(const char *family, const op *o);

/* Fill the host inputs and live of a call. beta = 0 mixes inverse bandwidths 0.5 ... e^5 from row
 * to row. Inputs of a gradient that are inputs or outputs of the forward operation are made by its
 * reference; what the caller must be consistent in (alpha, k, ...) is in c->a.p.
 * ERR_ARG with the nearest known name for a family that is none.
 * A tensor of more than 2^22 values repeats its leading rows, and c->distinct says how many differ
 * if the answer repeats with them. */
status inputs_fill(call *c, const char *family, double beta, uint64_t seed);

/* Fill the host inputs of a gradient from its finished forward call: what has the same name there
 * is copied, upstream gradients are normal. */
void inputs_from(call *gradient, const call *forward, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
