/* SPDX-License-Identifier: MIT
 *
 * softmax — the Gaussian kernel of bandwidth 1/beta on unit-norm keys.
 *
 *     p_j = exp(s_j - s_max) / Z,    s = beta^2 c
 *     g_j = p_j (G_j - sum_i p_i G_i),    dc_j = beta^2 g_j,
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max)
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = ln Z.
 * Method: s_j - s_max = beta^2 (c_j - m), never beta^2 c_j by itself, which would lose the low bits
 * of the difference. sum g = 0, so the shift by s_max leaves dbeta unchanged; the backward reads
 * s_j - s_max off the weights as ln(p_j / p_max).
 * Source: model 1.1, 1.2.
 */
#include "row.h"

status softmax_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("softmax", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, b2 = row_beta(beta, r) * row_beta(beta, r);
        double *pr = p + r * N;
        int64_t count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        for (int64_t j = 0; j < x.n; j++)
            pr[j] = exp(b2 * (cr[j] - x.max));
        const double Z = row_normalise(pr, x.n, &count);
        row_stat(stat, r, x.max, log(Z), x.arg, count);
    }
    return OK;
}

status softmax_grad_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *beta = IN(double, 0), *p = IN(double, 1), *stat = IN(double, 2),
                 *dp = IN(double, 3);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("softmax_grad", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *pr = p + r * N, *G = dp + r * N, b = row_beta(beta, r);
        double *dcr = dc + r * N, mean = 0, slope = 0;
        if (!row_open_grad(a, r, stat, dcr, dbeta)) continue;
        const int64_t n = row_live(a, r);
        const double p_max = pr[(int64_t)stat[r * STATS + STAT_ARG]];
        for (int64_t j = 0; j < n; j++)
            if (pr[j] > 0) mean += pr[j] * G[j];
        for (int64_t j = 0; j < n; j++) {
            if (!(pr[j] > 0)) continue;
            const double g = pr[j] * (G[j] - mean);
            dcr[j] = b * b * g;
            slope += g * log(pr[j] / p_max);
        }
        if (dbeta) dbeta[r] = 2 / b * slope;
    }
    return OK;
}
