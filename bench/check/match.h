/* SPDX-License-Identifier: MIT
 *
 * match.h — how far a finished call is from the reference on the inputs that it saw, rounded as
 * they were. One match per output tensor.
 *
 * Errors are pure numbers, u = 2^-24 for float32 arithmetic (2^-53 for a double), and the rounding
 * of a half-precision output is taken off first:
 *   p, stat of a transform   largest |p - p*| in units of u (1 + max |z|) of the row, z the scores
 *                            s_j - s_max of what weighs more than u (or s_j, if smaller): PASS to
 *                            4, MARGINAL to 30
 *   dc, dbeta, dalpha        |x - x*| over a row, relative to |x*| or to the terms that cancel in
 *                            it (match_rows.c; of a rule of its own match_terms.c): PASS to the
 *                            operation's tol
 *   everything else          |x - x*| of the tensor, relative to |x*| or to the terms that
 *                            cancel in it (match_stages.c): PASS to the operation's tol
 * NaN where the reference has none, and a number where it has NaN, is an infinite error.
 */
#ifndef MOSAIC_MATCH_H
#define MOSAIC_MATCH_H

#include "op/call.h"
#include "spot.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum verdict { PASS, MARGINAL, FAIL } verdict;

typedef struct match {
    char tensor[40];
    double error, tol; /* PASS to tol     */
    double limit;      /* MARGINAL to limit */
    int64_t support;   /* entries whose support differs by more than rounding explains */
    spot at;           /* the largest error, or the first of those entries */
} match;

verdict match_verdict(const match *m);
const char *verdict_text(verdict v);
/* Run the reference on the inputs of c, which is finished (call_get), and compare every output
 * that is not omitted. matches: MAX_TENSORS. */
status match_call(const call *c, match *matches, int *count);
/* The two halves of it: the finished reference of c (call_destroy), which serves every
 * implementation that sees the same inputs; and the distances from it. */
status match_reference(const call *c, call **ref);
status match_against(const call *c, const call *ref, match *matches, int *count);

/* Unit roundoff of the arithmetic and of the storage of a type (0 where storage adds none). */
double unit_arithmetic(dtype t);
double unit_storage(dtype t);
/* |got - want| less the rounding of the storage of `want`; 0 if both are NaN, inf if one is. */
double error_beyond_storage(double got, double want, dtype t);

/* The rows of a transform and of its gradient (match_rows.c); ref may have fewer rows than c and
 * is then repeated. */
void match_weights(const call *c, const call *ref, match *p, match *stat);
status match_gradient(const call *c, const call *ref, int output, match *m);
/* Of a gradient whose reference g has run: scale[R], the size of the terms of each row of an output
 * (match_terms.c). */
status match_terms(const call *g, int output, double *scale);
/* The same of dbeta of one row of n live keys; NaN if it cannot be computed. */
double match_row_terms(const op *gradient, const params *p, double beta, int64_t n,
                       const double *weights, const double *stat, const double *dp);
/* What cancels in dbeta of one row of a transform with n live keys. */
double match_beta_scale(op_id transform, const params *p, double beta, int64_t n,
                        const double *weights, const double *stat, const double *dp);
/* The norm of what cancels in an output of a stage (match_stages.c); 0 where nothing does, -1
 * without the memory to tell. */
double match_stage_scale(const call *ref, int output);

#ifdef __cplusplus
}
#endif
#endif
