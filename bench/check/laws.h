/* SPDX-License-Identifier: MIT
 *
 * laws.h — what a call must satisfy by itself, without any reference. Which laws apply to a row
 * transform says the `laws` column of ops.def; some hold for every transform, some for every
 * operation (laws.def).
 */
#ifndef MOSAIC_LAWS_H
#define MOSAIC_LAWS_H

#include "op/call.h"
#include "spot.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The error of one law, to be <= tol, infinite where the law is about exact values; and where it is
 * largest. */
typedef void law_row(void *user, const char *law, double error, double tol, const spot *at);

/* What a law says, in a line; NULL if there is none of that name. */
const char *law_about(const char *name);
/* The law that is being checked, for who catches a crash; "" between them. */
extern const char *volatile law_running;

/* Check every law of what c calls, on its host inputs (inputs_fill). The inputs are changed on the
 * way and restored. */
status laws_check(call *c, uint64_t seed, law_row *emit, void *user);

/* Compare the outputs of the gradient call g with central differences of the forward call f, whose
 * inputs are filled. Both compute in double. */
status differences_check(call *f, call *g, uint64_t seed, law_row *emit, void *user);

#ifdef __cplusplus
}
#endif
#endif
