/* SPDX-License-Identifier: MIT
 *
 * AdamW — Adam with decoupled decay, after clipping by the global norm.
 *
 *     g' = g min(1, clip / (norm + 1e-6))          (g' = g if clip <= 0)
 *     m1 = beta1 m + (1-beta1) g',   v1 = beta2 v + (1-beta2) g'^2
 *     w1 = w - lr decay w - lr (m1 / (1-beta1^i)) / (sqrt(v1 / (1-beta2^i)) + eps),   i = update
 *
 * w, g, m, v (N), norm (1) -> w1, m1, v1 (N), which may be w, m, v. A norm that is not finite is no
 * step: w1 = w, m1 = m, v1 = v.
 * Reads lr, beta1, beta2, eps, decay, clip, update.
 * Source: Loshchilov & Hutter 2019; model 4.
 */
#include "stage.h"

#include <math.h>

status adamw_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t N = a->d.N;
    const double *w = IN(double, 0), *g = IN(double, 1), *m = IN(double, 2), *v = IN(double, 3);
    const double *norm = IN(double, 4);
    double *w1 = OUT(double, 0), *m1 = OUT(double, 1), *v1 = OUT(double, 2);
    const params *p = &a->p;
    if (p->update < 1)
        return fail(ERR_ARG, "adamw: update: expected >= 1, got %lld", (long long)p->update);
    const double clip = p->clip > 0 && norm ? fmin(1, p->clip / (norm[0] + 1e-6)) : 1;
    const double fix1 = 1 - pow(p->beta1, (double)p->update);
    const double fix2 = 1 - pow(p->beta2, (double)p->update);
    const int none = norm && !isfinite(norm[0]);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < N; i++) {
        const double gi = g[i] * clip;
        const double mi = p->beta1 * m[i] + (1 - p->beta1) * gi;
        const double vi = p->beta2 * v[i] + (1 - p->beta2) * gi * gi;
        const double change = p->lr * (mi / fix1) / (sqrt(vi / fix2) + p->eps);
        w1[i] = none ? w[i] : w[i] - p->lr * p->decay * w[i] - change;
        if (m1) m1[i] = none ? m[i] : mi;
        if (v1) v1[i] = none ? v[i] : vi;
    }
    return OK;
}
