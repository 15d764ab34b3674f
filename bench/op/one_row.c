/* SPDX-License-Identifier: MIT
 *
 * one_row.c — see one_row.h.
 */
#include "one_row.h"

#include <math.h>
#include <stdlib.h>

static void poison_values(double *x, size_t n)
{
    for (size_t i = 0; x && i < n; i++)
        x[i] = NAN;
}

static status run_poisoned(op_fn *f, args *a)
{
    size_t need = 0;
    a->need = &need;
    TRY(f(a));
    a->need = NULL;
    const size_t room = (need + 255) / 256 * 256;
    if (need && !(a->work = aligned_alloc(256, room)))
        return fail(ERR_MEMORY, "row: no memory for %zu bytes of scratch", need);
    poison_values(a->work, room / sizeof(double));
    const status s = f(a);
    free(a->work);
    return s;
}

status row_weights(op_fn *transform, const params *p, double beta, const double *c, int64_t n,
                   double *weights, double *stat)
{
    args a = {.in = {c, &beta}, .out = {weights, stat}, .d = {.R = 1, .N = n}, .p = *p};
    poison_values(weights, (size_t)n);
    poison_values(stat, STATS);
    return run_poisoned(transform, &a);
}

status row_gradient(op_fn *gradient, const params *p, double beta, const double *weights,
                    const double *stat, const double *dp, int64_t n, double *dc, double *dbeta,
                    double *dalpha)
{
    args a = {.in = {&beta, weights, stat, dp},
              .out = {dc, dbeta, dalpha},
              .d = {.R = 1, .N = n},
              .p = *p};
    poison_values(dc, (size_t)n);
    poison_values(dbeta, 1);
    return run_poisoned(gradient, &a);
}
