/* SPDX-License-Identifier: MIT
 *
 * transforms.h — one row through a transform, for the tests: outputs are poisoned first.
 */
#ifndef MOSAIC_TRANSFORMS_H
#define MOSAIC_TRANSFORMS_H

#include <math.h>
#include <string.h>

#include "mosaic.h"
#include "op/op.h"

static inline void poison(double *x, int64_t n)
{
    for (int64_t i = 0; x && i < n; i++)
        x[i] = NAN;
}

/* c[n] -> p[n], stat[STATS] (may be NULL). */
static inline status weigh(const method *m, double beta, const double *c, int64_t n, double *p,
                           double *stat)
{
    args a;
    memset(&a, 0, sizeof a);
    a.in[0] = c;
    a.in[1] = &beta;
    a.out[0] = p;
    a.out[1] = stat;
    a.d.R = 1;
    a.d.N = n;
    a.p = m->p;
    poison(p, n);
    poison(stat, STATS);
    return op_at(m->op)->ref(&a);
}

/* G[n] -> dc[n], dbeta, and for entmax dalpha (may be NULL). */
static inline status pull(const method *m, double beta, const double *p, const double *stat,
                          const double *G, int64_t n, double *dc, double *dbeta, double *dalpha)
{
    args a;
    memset(&a, 0, sizeof a);
    a.in[0] = &beta;
    a.in[1] = p;
    a.in[2] = stat;
    a.in[3] = G;
    a.out[0] = dc;
    a.out[1] = dbeta;
    a.out[2] = dalpha;
    a.d.R = 1;
    a.d.N = n;
    a.p = m->p;
    poison(dc, n);
    poison(dbeta, 1);
    return op_grad(op_at(m->op))->ref(&a);
}

#endif
