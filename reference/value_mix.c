/* SPDX-License-Identifier: MIT
 *
 * value mix — each position peeks at the next one, then unit norm and a learned scale.
 *
 *     u_t = a x_t + (1-a) x_{t+1},  x_T = 0;   y_t = e^{10 nu} u_t / n'_t,  n_t = |u_t|
 *
 * with n' = max(n, eps), or n + eps if eps_add. Backward, with v = y e^{-10 nu}:
 *     du_t = e^{10 nu} (dy_t - v_t <v_t,dy_t> n'/n) / n'   (no projection where n < eps or n = 0)
 *     dx_t = a du_t + (1-a) du_{t-1},   da = sum <du_t, x_t - x_{t+1}>,   dnu = 10 sum <dy_t, y_t>
 *
 * x (B,T,H,D), coef a (H), nu (H) -> y (B,T,H,D), norm n (B,T,H). Reads eps, eps_add.
 * Source: Zhang et al. 2025; model 2.5.
 */
#include "stage.h"

#include <math.h>

status value_mix_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H, D = a->d.D, step = H * D;
    const double *x = IN(double, 0), *coef = IN(double, 1), *nu = IN(double, 2), eps = a->p.eps;
    double *y = OUT(double, 0), *norm = OUT(double, 1);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B * T * H; i++) {
        const int64_t h = i % H, last = i / H % T == T - 1;
        const double mix = coef[h], *xt = x + i * D;
        double *u = y + i * D;
        for (int64_t e = 0; e < D; e++)
            u[e] = last ? mix * xt[e] : mix * xt[e] + (1 - mix) * xt[e + step];
        const double n = length(u, D), by = a->p.eps_add ? n + eps : n < eps ? eps : n;
        const double scale = exp(10 * nu[h]);
        for (int64_t e = 0; e < D; e++)
            u[e] = by > 0 ? scale * (u[e] / by) : u[e];
        if (norm) norm[i] = n;
    }
    return OK;
}

/* du of one row from dy. */
static void project(double *du, const double *y, const double *dy, double n, double scale,
                    const params *p, int64_t D)
{
    const double by = p->eps_add ? n + p->eps : n < p->eps ? p->eps : n;
    const int flat = p->eps_add ? n == 0 : n < p->eps;
    const double along = flat ? 0 : dot(y, dy, D) / (scale * scale) * (by / n);
    for (int64_t e = 0; e < D; e++)
        du[e] = by > 0 ? scale * (dy[e] - y[e] * along) / by : dy[e];
}

status value_mix_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H, D = a->d.D, step = H * D;
    const double *x = IN(double, 0), *coef = IN(double, 1), *nu = IN(double, 2);
    const double *y = IN(double, 3), *norm = IN(double, 4), *dy = IN(double, 5);
    double *dx = OUT(double, 0), *dcoef = OUT(double, 1), *dnu = OUT(double, 2);
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < H; h++) {
        const double mix = coef[h], scale = exp(10 * nu[h]);
        double along_mix = 0, along_nu = 0;
        for (int64_t b = 0; b < B; b++)
            for (int64_t t = T - 1; t >= 0; t--) {
                /* dx_t holds du_t until dx_{t+1}, which needs it, is finished */
                const int64_t row = (b * T + t) * H + h, at = row * D, last = t == T - 1;
                double *du = dx + at, *next = du + step;
                project(du, y + at, dy + at, norm[row], scale, &a->p, D);
                along_nu += dot(dy + at, y + at, D);
                for (int64_t e = 0; e < D; e++) {
                    along_mix += du[e] * (last ? x[at + e] : x[at + e] - x[at + e + step]);
                    if (!last) next[e] = mix * next[e] + (1 - mix) * du[e];
                    if (t == 0) du[e] *= mix;
                }
            }
        if (dcoef) dcoef[h] = along_mix;
        if (dnu) dnu[h] = 10 * along_nu;
    }
    return OK;
}
