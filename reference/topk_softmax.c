/* SPDX-License-Identifier: MIT
 *
 * topk_softmax — softmax over the k nearest keys: the Gaussian kernel cut at the k-th distance.
 *
 *     p_j = 1[j in K] exp(s_j - s_max) / Z,   s = beta^2 c,
 *     K the min(k, live) keys of largest score, the lowest indices among equals
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = ln Z over K.
 * No gradient passes through the selection: the backward is softmax's on the selected keys, and
 * the keys that were not selected have p = 0, where softmax's backward is zero as well.
 * Source: model 1.6.
 */
#include "row.h"

status topk_softmax_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    if (a->p.k < 1)
        return fail(ERR_ARG, "topk_softmax: k is %lld: expected k >= 1", (long long)a->p.k);
    TRY(row_check("topk_softmax", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, b2 = row_beta(beta, r) * row_beta(beta, r);
        double *pr = p + r * N;
        int64_t count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        row_select(cr, &x, a->p.k, pr);
        for (int64_t j = 0; j < x.n; j++)
            if (pr[j] > 0) pr[j] = exp(b2 * (cr[j] - x.max));
        const double Z = row_normalise(pr, x.n, &count);
        row_stat(stat, r, x.max, log(Z), x.arg, count);
    }
    return OK;
}

status topk_softmax_grad_ref(const args *a)
{
    return softmax_grad_ref(a);
}
