/* SPDX-License-Identifier: MIT
 *
 * transforms.h — one row through the transform of a method (op/one_row.h), for the tests.
 */
#ifndef MOSAIC_TRANSFORMS_H
#define MOSAIC_TRANSFORMS_H

#include "mosaic.h"
#include "op/one_row.h"
#include "op/op.h"

/* c[n] -> p[n], stat[STATS] (may be NULL). */
static inline status weigh(const method *m, double beta, const double *c, int64_t n, double *p,
                           double *stat)
{
    return row_weights(op_at(m->op)->ref, &m->p, beta, c, n, p, stat);
}

/* G[n] -> dc[n], dbeta, and for entmax dalpha (may be NULL). */
static inline status pull(const method *m, double beta, const double *p, const double *stat,
                          const double *G, int64_t n, double *dc, double *dbeta, double *dalpha)
{
    op_fn *gradient = op_grad(op_at(m->op))->ref;
    return row_gradient(gradient, &m->p, beta, p, stat, G, n, dc, dbeta, dalpha);
}

#endif
