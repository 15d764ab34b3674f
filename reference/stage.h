/* SPDX-License-Identifier: MIT
 *
 * stage.h — what the model's stages share: sums whose order is fixed, so that no result depends on
 * threads, compiler or vector width; masks; and the reference of an operation by its identity.
 */
#ifndef MOSAIC_STAGE_H
#define MOSAIC_STAGE_H

#include <math.h>

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LANES = 8 };

/* <x,y>: eight interleaved sums, added in order at the end. */
static inline double dot(const double *x, const double *y, int64_t n)
{
    double s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int q = 0; q < LANES; q++)
            s[q] += x[i + q] * y[i + q];
    for (int q = 0; i < n; i++, q++)
        s[q] += x[i] * y[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* Sum of x, in the order of dot. */
static inline double sum(const double *x, int64_t n)
{
    double s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int q = 0; q < LANES; q++)
            s[q] += x[i + q];
    for (int q = 0; i < n; i++, q++)
        s[q] += x[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* |x|, taken of x divided by its largest entry where squares would overflow or vanish. */
static inline double length(const double *x, int64_t n)
{
    double s = dot(x, x, n), most = 0;
    if (s > 0x1p-900 && s < 0x1p900) return sqrt(s);
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    if (!(most > 0 && most < INFINITY)) return sqrt(s);
    s = 0;
    for (int64_t i = 0; i < n; i++)
        s += x[i] / most * (x[i] / most);
    return most * sqrt(s);
}

/* Inverted dropout of `count` values that are elements first, first + 1, ... of their tensor; y may
 * be x. The same mask falls on x2 if there is one. Rate, seed, site and step are those of p
 * (dropout.c). */
void dropout_slice(const params *p, int64_t first, int64_t count, const double *x, double *y,
                   const double *x2, double *y2);

/* The reference of an operation and the identity of its gradient; NULL, OP_none if there is none.
 */
op_fn *reference_of(op_id id);
op_id gradient_of(op_id id);
/* The parameters that an operation reads (enum op_reads). */
unsigned reads_of(op_id id);
/* OK if attention can be handed it: a row transform that has a gradient; else ERR_ARG. */
status transform_check(const char *name, op_id id);

/* live[t] = |N(t)| = max(0, t + 1 - lag), t < T. */
void attention_live(const args *a, int32_t *live);
/* Weights of rows [t,t+rows) of one head (b H + h) of an attention call whose in[0], in[1] are q
 * and k: p (rows,T), stat (rows,S); c (rows,T) and row_beta (rows) are scratch. beta (H) or NULL.
 */
status attention_rows(const args *a, const double *beta, const int32_t *live, int64_t head,
                      int64_t t, int64_t rows, double *c, double *row_beta, double *p,
                      double *stat);

#ifdef __cplusplus
}
#endif
#endif
