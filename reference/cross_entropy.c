/* SPDX-License-Identifier: MIT
 *
 * cross-entropy — the negative log-likelihood of one class per row.
 *
 *     forward   lse = ln sum_v e^{z_v},   loss = lse - z_target;   loss = 0 if target = -1
 *     backward  dz_v = dloss (e^{z_v - lse} - [v = target]);       dz = 0 if target = -1
 *
 * z (R,V), target (R) -> loss (R), lse (R). dz may be z. ERR_DATA for a target outside -1..V-1.
 * Source: model 2.1.
 */
#include "stage.h"

#include <math.h>
#include <string.h>

static status check(const int32_t *target, int64_t R, int64_t V)
{
    for (int64_t r = 0; r < R; r++)
        if (target[r] < -1 || target[r] >= V)
            return fail(ERR_DATA, "cross_entropy: row %lld: expected a target in -1..%lld, got %d",
                        (long long)r, (long long)V - 1, (int)target[r]);
    return OK;
}

status cross_entropy_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, V = a->d.V;
    const double *z = IN(double, 0);
    const int32_t *target = IN(int32_t, 1);
    double *loss = OUT(double, 0), *lse = OUT(double, 1);
    TRY(check(target, R, V));
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *zr = z + r * V;
        double most = zr[0], s[LANES] = {0};
        for (int64_t v = 1; v < V; v++)
            most = zr[v] > most ? zr[v] : most;
        for (int64_t v = 0; v < V; v++)
            s[v % LANES] += exp(zr[v] - most);
        const double l = most + log(sum(s, LANES));
        loss[r] = target[r] < 0 ? 0 : l - zr[target[r]];
        if (lse) lse[r] = l;
    }
    return OK;
}

status cross_entropy_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, V = a->d.V;
    const double *z = IN(double, 0), *lse = IN(double, 2), *dloss = IN(double, 3);
    const int32_t *target = IN(int32_t, 1);
    double *dz = OUT(double, 0);
    TRY(check(target, R, V));
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *zr = z + r * V;
        double *g = dz + r * V;
        if (target[r] < 0) {
            memset(g, 0, (size_t)V * sizeof *g);
            continue;
        }
        for (int64_t v = 0; v < V; v++)
            g[v] = dloss[r] * exp(zr[v] - lse[r]);
        g[target[r]] -= dloss[r];
    }
    return OK;
}
