/* SPDX-License-Identifier: MIT
 *
 * kernel_regression — Nadaraya–Watson weights, written from the kernel side: the other half of
 * the identities between sparse attention and compact kernels. Shares no code with the transforms.
 *
 *     p_j = K(u_j) / sum_i K(u_i),    |u_j|^2 = 2 (1 - c_j)  (unit-norm key and query)
 *     K(u) = [1 - |u|^2/h^2]_+^r       r = 1 Epanechnikov, 2 biweight, 3 triweight, any r >= 0
 *     K(u) = exp(-|u|^2 / (2 h^2))     r = infinity
 *
 * c (R,N), h (R) -> p (R,N). No key within h: uniform over the live keys.
 * Method: K is divided by its value at the nearest key before it is summed, through logarithms, so
 * that neither a narrow Gaussian nor a large r underflows.
 * Source: Nadaraya 1964; model 1.3, 1.11.
 */
#include <math.h>

#include "spec.h"

/* ln K(u); -inf off the support. */
static double log_kernel(double u2, double h, double r)
{
    if (isinf(r)) return -u2 / (2 * h * h);
    if (!(u2 < h * h)) return -INFINITY;
    return r * log1p(-u2 / (h * h));
}

static void weights(const double *c, int64_t n, double h, double r, double *p)
{
    double nearest = -INFINITY, sum = 0, lost = 0;
    int64_t keys = 0;
    for (int64_t j = 0; j < n; j++) {
        if (!(c[j] < INFINITY)) nearest = NAN;
        if (c[j] > nearest) nearest = c[j];
        keys += c[j] > -INFINITY;
    }
    const double top = log_kernel(2 * (1 - nearest), h, r);
    for (int64_t j = 0; j < n; j++) {
        if (isnan(nearest))
            p[j] = NAN;
        else if (!(c[j] > -INFINITY))
            p[j] = 0;
        else if (isinf(top))
            p[j] = 1.0 / (double)keys;
        else
            p[j] = exp(log_kernel(2 * (1 - c[j]), h, r) - top);
        const double term = p[j] - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
    if (keys > 0 && !isinf(top))
        for (int64_t j = 0; j < n; j++)
            p[j] /= sum;
}

status kernel_regression_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *h = IN(double, 1), r = a->p.exponent;
    double *p = OUT(double, 0);
    if (a->need) return *a->need = 0, OK;
    if (!(r >= 0)) return fail(ERR_ARG, "kernel_regression: exponent is %g: expected r >= 0", r);
    for (int64_t i = 0; i < R; i++)
        if (!(h[i] > 0 && h[i] < INFINITY))
            return fail(ERR_ARG, "kernel_regression: h[%lld] is %g: expected a positive number",
                        (long long)i, h[i]);

#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < R; i++) {
        const int64_t n = a->live ? a->live[i] : N;
        weights(c + i * N, n, h[i], r, p + i * N);
        for (int64_t j = n; j < N; j++)
            p[i * N + j] = 0;
    }
    return OK;
}
