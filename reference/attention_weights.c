/* SPDX-License-Identifier: MIT
 *
 * attention_weights — the weights of attention by themselves, for figures, probes and golden files:
 *
 *     c_tj = scale <q_t,k_j>,   p_t = pi(c_t; beta) on N(t) = {0 .. t - lag}
 *
 * q, k (B,T,H,D), beta (H) or NULL -> p (B,H,T,T), stat (B,H,T,S), before any dropout. pi is
 * args.transform. Reads lag, scale. Method: the strips of attention.c.
 * Source: model 2.6.
 */
#include "stage.h"

enum { SLABS = 32, STRIP = 64, LINE = 8 };

/* Scratch of one of at most SLABS heads in flight: scores, bandwidths and row numbers of a strip.
 */
static int64_t slab_size(int64_t T)
{
    return (STRIP * (T + STATS + 1) + LINE - 1) / LINE * LINE;
}

static status head_weights(const args *a, const int32_t *live, double *slab, int64_t head)
{
    const int64_t T = a->d.T;
    double *c = slab, *beta = c + STRIP * T, *own = beta + STRIP, *all = OUT(double, 1);
    for (int64_t t = 0; t < T; t += STRIP) {
        const int64_t rows = T - t < STRIP ? T - t : STRIP, at = head * T + t;
        TRY(attention_rows(a, IN(double, 2), live, head, t, rows, c, beta, OUT(double, 0) + at * T,
                           all ? all + at * STATS : own));
    }
    return OK;
}

status attention_weights_ref(const args *a)
{
    const int64_t T = a->d.T, heads = a->d.B * a->d.H, slabs = heads < SLABS ? heads : SLABS;
    const int64_t live_room = (T / 2 + LINE) / LINE * LINE, size = slab_size(T);
    if (a->need) return *a->need = (size_t)(live_room + slabs * size) * sizeof(double), OK;
    TRY(transform_check("attention_weights", a->transform));
    if (a->p.lag < 0) return fail(ERR_ARG, "attention_weights: lag: expected >= 0");
    int32_t *live = a->work;
    double *slab = (double *)a->work + live_room;
    status result = OK;
    attention_live(a, live);
#pragma omp parallel for schedule(dynamic) if (slabs > 1)
    for (int64_t i = 0; i < slabs; i++)
        for (int64_t head = i; head < heads; head += slabs) {
            status got = head_weights(a, live, slab + i * size, head);
            if (got == OK) continue;
#pragma omp critical
            result = got;
        }
    return result == OK ? OK : fail(result, "attention_weights: %s", status_text(result));
}
