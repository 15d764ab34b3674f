/* SPDX-License-Identifier: MIT
 *
 * laws.h — what a row transform must satisfy by itself, without any reference. Which laws apply
 * says the `laws` column of ops.def; some hold for every transform.
 */
#ifndef MOSAIC_LAWS_H
#define MOSAIC_LAWS_H

#include "op/call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The error of one law, to be <= tol; infinite where the law is about exact values. */
typedef void law_row(void *user, const char *law, double error, double tol);

/* Check every law of the transform that c calls, on its host inputs (inputs_fill). The inputs are
 * changed on the way and restored. */
status laws_check(call *c, uint64_t seed, law_row *emit, void *user);

/* Compare the outputs of the gradient call g with central differences of the forward call f, whose
 * inputs are filled. Both compute in double. */
status differences_check(call *f, call *g, uint64_t seed, law_row *emit, void *user);

#ifdef __cplusplus
}
#endif
#endif
