/* SPDX-License-Identifier: MIT
 *
 * relumax — ReLUmax: the Epanechnikov kernel anchored at the nearest key, with a fixed margin:
 * H^2 = |u_min|^2 + 2 b beta^-e on unit-norm keys. No row is empty: S >= b.
 *
 *     p_j = a_j / S,   a_j = [b + beta^e (c_j - m)]_+,   m = max_j c_j,   e = 2 or 4
 *     da_j = 1[a_j > 0] (G_j - sum_i p_i G_i) / S,
 *     dc_j = beta^e (da_j - 1[j = j*] sum_i da_i),   j* the lowest index attaining m
 *     dbeta = e beta^(e-1) sum_j da_j (c_j - m)
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = S.
 * Method: the backward reads beta^e (c_j - m) off the weights as S p_j - b.
 * Source: model 1.5.
 */
#include "row.h"

static status check(const char *op, const args *a, const double *beta)
{
    const params *p = &a->p;
    if (p->relumax_power != 2 && p->relumax_power != 4)
        return fail(ERR_ARG, "%s: power is %d: expected 2 or 4", op, p->relumax_power);
    if (!(p->relumax_b > 0 && p->relumax_b < INFINITY))
        return fail(ERR_ARG, "%s: b is %g: expected a positive number", op, p->relumax_b);
    return row_check(op, a, beta, p->relumax_power);
}

static double steepness(const double *beta, int64_t r, int power)
{
    const double b2 = row_beta(beta, r) * row_beta(beta, r);
    return power == 4 ? b2 * b2 : b2;
}

status relumax_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(check("relumax", a, beta));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, steep = steepness(beta, r, a->p.relumax_power);
        double *pr = p + r * N;
        int64_t count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        for (int64_t j = 0; j < x.n; j++) {
            const double aj = a->p.relumax_b + steep * (cr[j] - x.max);
            pr[j] = aj > 0 ? aj : 0;
        }
        const double S = row_normalise(pr, x.n, &count);
        row_stat(stat, r, x.max, S, x.arg, count);
    }
    return OK;
}

status relumax_grad_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *beta = IN(double, 0), *p = IN(double, 1), *stat = IN(double, 2),
                 *dp = IN(double, 3);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(check("relumax_grad", a, beta));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *pr = p + r * N, *G = dp + r * N, S = stat[r * STATS + STAT_NORM];
        const double steep = steepness(beta, r, a->p.relumax_power);
        double *dcr = dc + r * N, mean = 0, total = 0, slope = 0;
        if (!row_open_grad(a, r, stat, dcr, dbeta)) continue;
        const int64_t n = row_live(a, r);
        for (int64_t j = 0; j < n; j++)
            if (pr[j] > 0) mean += pr[j] * G[j];
        for (int64_t j = 0; j < n; j++) {
            if (!(pr[j] > 0)) continue;
            const double da = (G[j] - mean) / S;
            dcr[j] = steep * da;
            total += da;
            slope += da * (S * pr[j] - a->p.relumax_b);
        }
        dcr[(int64_t)stat[r * STATS + STAT_ARG]] -= steep * total;
        if (dbeta) dbeta[r] = a->p.relumax_power / row_beta(beta, r) * slope;
    }
    return OK;
}
