/* SPDX-License-Identifier: MIT
 *
 * topk_uniform — the mean over the k nearest keys: a boxcar kernel of k-nearest-neighbour radius.
 *
 *     p_j = 1[j in K] / |K|,   K the min(k, live) keys of largest score, the lowest indices among
 *     equals;   piecewise constant: every gradient is zero
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = |K|.
 * Source: model 1.7.
 */
#include "row.h"

status topk_uniform_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    if (a->p.k < 1)
        return fail(ERR_ARG, "topk_uniform: k is %lld: expected k >= 1", (long long)a->p.k);
    TRY(row_check("topk_uniform", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        double *pr = p + r * N;
        row x;
        if (!row_open(a, r, c + r * N, pr, stat, &x)) continue;
        const int64_t taken = row_select(c + r * N, &x, a->p.k, pr);
        for (int64_t j = 0; j < x.n; j++)
            pr[j] /= (double)taken;
        row_stat(stat, r, x.max, (double)taken, x.arg, taken);
    }
    return OK;
}

status topk_uniform_grad_ref(const args *a)
{
    const double *stat = IN(double, 2);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("topk_uniform_grad", a, IN(double, 0), 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < a->d.R; r++)
        row_open_grad(a, r, stat, dc + r * a->d.N, dbeta);
    return OK;
}
