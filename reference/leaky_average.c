/* SPDX-License-Identifier: MIT
 *
 * leaky average — a decaying sum over time, one decay per head.
 *
 *     s_t = rho s_{t-1} + x_t,   s_{-1} = 0,   rho = e^{-lambda},   lambda = 10 |theta|
 *
 * backward   q_t = rho q_{t+1} + ds_t (q_T = 0),   dx_t = q_t,
 *            drho = sum_{b, t >= 1} <q_t, s_{t-1}>,   dtheta = -10 sign(theta) rho drho
 *
 * x (B,T,H,D), theta (H) -> s (B,T,H,D). sign(0) = 0.
 * Method: the recursion itself; heads in parallel, each over the batch in order.
 * Source: Zhang et al. 2025; model 2.3.
 */
#include "stage.h"

#include <math.h>

status leaky_average_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H, D = a->d.D, step = H * D;
    const double *x = IN(double, 0), *theta = IN(double, 1);
    double *s = OUT(double, 0);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B * H; i++) {
        const int64_t h = i % H, at = i / H * T * step + h * D;
        const double rho = exp(-10 * fabs(theta[h]));
        for (int64_t e = 0; e < D && T > 0; e++)
            s[at + e] = x[at + e];
        for (int64_t t = 1; t < T; t++) {
            const double *xt = x + at + t * step;
            double *st = s + at + t * step;
            for (int64_t e = 0; e < D; e++)
                st[e] = rho * st[e - step] + xt[e];
        }
    }
    return OK;
}

status leaky_average_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H, D = a->d.D, step = H * D;
    const double *theta = IN(double, 0), *s = IN(double, 1), *ds = IN(double, 2);
    double *dx = OUT(double, 0), *dtheta = OUT(double, 1);
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < H; h++) {
        const double rho = exp(-10 * fabs(theta[h]));
        double drho = 0;
        for (int64_t b = 0; b < B; b++)
            for (int64_t t = T - 1; t >= 0; t--) {
                const int64_t at = (b * T + t) * step + h * D;
                double *q = dx + at;
                for (int64_t e = 0; e < D; e++)
                    q[e] = t + 1 < T ? rho * q[e + step] + ds[at + e] : ds[at + e];
                if (t > 0) drho += dot(q, s + at - step, D);
            }
        if (dtheta) dtheta[h] = -10 * ((theta[h] > 0) - (theta[h] < 0)) * rho * drho;
    }
    return OK;
}
