/* SPDX-License-Identifier: MIT
 *
 * sparsemax — the Euclidean projection onto the simplex; on unit-norm keys the Epanechnikov kernel
 * with h^2 = |u_min|^2 + 2 p_max / beta^2.
 *
 *     p_j = [z_j - tau]_+,  z = beta^2 c,  tau such that sum_j p_j = 1
 *     g_j = 1[p_j > 0] (G_j - mean of G over the support),    dc_j = beta^2 g_j,
 *     dbeta = (2/beta) sum_j g_j (z_j - z_max),    z_j - z_max = p_j - p_max on the support
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = z_max - tau = p_max.
 * Method: only gaps d = z_max - z < 1 can carry weight; sorted in the row of p, the support is the
 * longest prefix with k d_k < 1 + sum_{j<=k} d_j. The weights are divided by their sum at the end.
 * Source: Martins & Astudillo 2016, alg. 1; model 1.3.
 */
#include "row.h"

/* omega = z_max - tau from the sorted gaps; the second step takes back what the long sum rounded.
 */
static double threshold(const double *d, int64_t n)
{
    double sum = 0, support_sum = 0, excess = -1;
    int64_t K = 0;
    for (int64_t k = 1; k <= n; k++) {
        sum += d[k - 1];
        if (!((double)k * d[k - 1] < 1 + sum)) break;
        K = k;
        support_sum = sum;
    }
    const double omega = (1 + support_sum) / (double)K;
    for (int64_t k = 0; k < K; k++)
        excess += omega - d[k];
    return omega - excess / (double)K;
}

status sparsemax_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("sparsemax", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, b2 = row_beta(beta, r) * row_beta(beta, r);
        double *pr = p + r * N;
        int64_t near = 0, count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        for (int64_t j = 0; j < x.n; j++) {
            const double d = b2 * (x.max - cr[j]);
            if (d < 1) pr[near++] = d;
        }
        sort_ascending(pr, near);
        const double omega = threshold(pr, near);
        for (int64_t j = 0; j < x.n; j++) {
            const double d = b2 * (x.max - cr[j]);
            pr[j] = d < omega ? omega - d : 0;
        }
        row_normalise(pr, x.n, &count);
        row_stat(stat, r, x.max, omega, x.arg, count);
    }
    return OK;
}

status sparsemax_grad_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *beta = IN(double, 0), *p = IN(double, 1), *stat = IN(double, 2),
                 *dp = IN(double, 3);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("sparsemax_grad", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *pr = p + r * N, *G = dp + r * N, b = row_beta(beta, r);
        double *dcr = dc + r * N, mean = 0, slope = 0;
        int64_t K = 0;
        if (!row_open_grad(a, r, stat, dcr, dbeta)) continue;
        const int64_t n = row_live(a, r), arg = (int64_t)stat[r * STATS + STAT_ARG];
        for (int64_t j = 0; j < n; j++) {
            if (!(pr[j] > 0)) continue;
            mean += G[j];
            K++;
        }
        mean /= (double)K;
        for (int64_t j = 0; j < n; j++) {
            if (!(pr[j] > 0)) continue;
            const double g = G[j] - mean;
            dcr[j] = b * b * g;
            slope += g * (pr[j] - pr[arg]);
        }
        if (dbeta) dbeta[r] = 2 / b * slope;
    }
    return OK;
}
