/* SPDX-License-Identifier: MIT
 *
 * LayerNorm — every row centred, divided by its deviation, then gain and shift.
 *
 *     forward   mean = sum x / C,  rstd = 1/sqrt(sum (x-mean)^2 / C + eps)
 *               xh = (x-mean) rstd,   y = xh w + b
 *     backward  g = dy w,   dx = rstd (g - mean(g) - xh mean(g xh))
 *               dw = sum_r dy xh,   db = sum_r dy
 *
 * x (R,C), w (C), b (C) or NULL -> y (R,C), mean (R), rstd (R). Reads eps.
 * Method of dw, db: columns in parallel, rows in order.
 * Source: Ba et al. 2016; model 2.1.
 */
#include "stage.h"

#include <math.h>

status layer_norm_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C;
    const double *x = IN(double, 0), *w = IN(double, 1), *b = IN(double, 2);
    double *y = OUT(double, 0), *mean = OUT(double, 1), *rstd = OUT(double, 2);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *xr = x + r * C, m = sum(xr, C) / (double)C;
        double *yr = y + r * C;
        for (int64_t c = 0; c < C; c++)
            yr[c] = xr[c] - m;
        const double s = 1 / sqrt(dot(yr, yr, C) / (double)C + a->p.eps);
        for (int64_t c = 0; c < C; c++)
            yr[c] = yr[c] * s * w[c] + (b ? b[c] : 0);
        if (mean) mean[r] = m;
        if (rstd) rstd[r] = s;
    }
    return OK;
}

status layer_norm_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C, strip = 32;
    const double *x = IN(double, 0), *w = IN(double, 1);
    const double *mean = IN(double, 2), *rstd = IN(double, 3), *dy = IN(double, 4);
    double *dx = OUT(double, 0), *dw = OUT(double, 1), *db = OUT(double, 2);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *xr = x + r * C, *g = dy + r * C, m = mean[r], s = rstd[r];
        double level = 0, along = 0;
        for (int64_t c = 0; c < C; c++) {
            level += g[c] * w[c];
            along += g[c] * w[c] * ((xr[c] - m) * s);
        }
        level /= (double)C;
        along /= (double)C;
        for (int64_t c = 0; c < C; c++)
            dx[r * C + c] = s * (g[c] * w[c] - level - (xr[c] - m) * s * along);
    }
    if (!dw && !db) return OK;
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < C; from += strip) {
        const int64_t to = from + strip < C ? from + strip : C;
        double gain[32] = {0}, shift[32] = {0};
        for (int64_t r = 0; r < R; r++)
            for (int64_t c = from; c < to; c++) {
                gain[c - from] += dy[r * C + c] * ((x[r * C + c] - mean[r]) * rstd[r]);
                shift[c - from] += dy[r * C + c];
            }
        for (int64_t c = from; c < to; c++) {
            if (dw) dw[c] = gain[c - from];
            if (db) db[c] = shift[c - from];
        }
    }
    return OK;
}
