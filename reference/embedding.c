/* SPDX-License-Identifier: MIT
 *
 * embedding — x_r = w_{token_r};   backward  dw_v = sum over rows with token_r = v of dx_r.
 *
 * token (R), w (V,C) -> x (R,C). ERR_DATA for a token outside 0..V-1.
 * Method of the gradient: columns in parallel, rows in order.
 */
#include "stage.h"

#include <string.h>

static status check(const int32_t *token, int64_t R, int64_t V)
{
    for (int64_t r = 0; r < R; r++)
        if (token[r] < 0 || token[r] >= V)
            return fail(ERR_DATA, "embedding: row %lld: expected a token in 0..%lld, got %d",
                        (long long)r, (long long)V - 1, (int)token[r]);
    return OK;
}

status embedding_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C, V = a->d.V;
    const int32_t *token = IN(int32_t, 0);
    const double *w = IN(double, 1);
    double *x = OUT(double, 0);
    TRY(check(token, R, V));
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++)
        memcpy(x + r * C, w + token[r] * C, (size_t)C * sizeof *x);
    return OK;
}

status embedding_grad_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t R = a->d.R, C = a->d.C, V = a->d.V, strip = 32;
    const int32_t *token = IN(int32_t, 0);
    const double *dx = IN(double, 1);
    double *dw = OUT(double, 0);
    TRY(check(token, R, V));
    memset(dw, 0, (size_t)(V * C) * sizeof *dw);
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < C; from += strip) {
        const int64_t to = from + strip < C ? from + strip : C;
        for (int64_t r = 0; r < R; r++)
            for (int64_t c = from; c < to; c++)
                dw[token[r] * C + c] += dx[r * C + c];
    }
    return OK;
}
