/* SPDX-License-Identifier: MIT
 *
 * unit norm — every row divided by its Euclidean norm.
 *
 *     forward   y = x / n',   n = |x|,   n' = max(n, eps), or n + eps if eps_add
 *     backward  dx = (dy - y <y,dy> n'/n) / n',   without the projection where n < eps or n = 0
 *
 * x (R,D) -> y (R,D), norm n (R). Reads eps, eps_add.
 * Source: model 2.4.
 */
#include "stage.h"

status unit_norm_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, D = a->d.D;
    const double *x = IN(double, 0), eps = a->p.eps;
    double *y = OUT(double, 0), *norm = OUT(double, 1);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double n = length(x + r * D, D);
        const double by = a->p.eps_add ? n + eps : n < eps ? eps : n;
        for (int64_t e = 0; e < D; e++)
            y[r * D + e] = by > 0 ? x[r * D + e] / by : x[r * D + e];
        if (norm) norm[r] = n;
    }
    return OK;
}

status unit_norm_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, D = a->d.D;
    const double *y = IN(double, 0), *norm = IN(double, 1), *dy = IN(double, 2), eps = a->p.eps;
    double *dx = OUT(double, 0);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double n = norm[r], by = a->p.eps_add ? n + eps : n < eps ? eps : n;
        const double *yr = y + r * D, *g = dy + r * D;
        const int flat = a->p.eps_add ? n == 0 : n < eps;
        const double along = flat ? 0 : dot(yr, g, D) * (by / n);
        for (int64_t e = 0; e < D; e++)
            dx[r * D + e] = by > 0 ? (g[e] - yr[e] * along) / by : g[e];
    }
    return OK;
}
