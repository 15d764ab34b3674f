/* SPDX-License-Identifier: MIT
 *
 * probe.c — intermediate tensors of the first block after a predict call, for the golden checks.
 * Scores and weights are not kept by a prediction; they are computed again from keys and values.
 */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "matmul.h"

/* (B,T,H,D) -> (B,H,T,D) */
static void by_head(const mosaic *m, const double *x, double *to)
{
    const int64_t T = m->T, H = m->c.H, D = m->c.d / H;
    for (int64_t r = 0; r < m->B * T * H; r++) {
        const int64_t b = r / H / T, t = r / H % T, h = r % H;
        memcpy(to + ((b * H + h) * T + t) * D, x + r * D, (size_t)D * sizeof *x);
    }
}

static void cosines(const mosaic *m, double *to)
{
    const half_acts *x = &m->acts[0].ctx;
    const double *query = m->c.arch == ARCH_GPT ? x->query : x->key;
    const int64_t T = m->T, H = m->c.H, D = m->c.d / H;
    for (int64_t i = 0; i < m->B * H; i++) {
        const int64_t at = i / H * T * m->c.d + i % H * D;
        matmul(T, T, D, (view){query + at, m->c.d, 1}, (view){x->key + at, 1, m->c.d},
               to + i * T * T, T, 0);
    }
}

status mosaic_ref_probe(const mosaic *m, const char *name, const double **values, int64_t *count)
{
    const int64_t rows = m->B * m->T, n = rows * m->c.d, pairs = rows * m->c.H * m->T;
    mosaic *room = (mosaic *)m; /* the answer and scratch live in the model */
    const half_acts *x = m->predicted ? &m->acts[0].ctx : NULL;
    if (!x) return fail(ERR_ARG, "probe: expected a predict call before");
    const double *kept = strcmp(name, "input") == 0               ? x->h
                         : strcmp(name, "output") == 0            ? x->out
                         : strcmp(name, "persistent_output") == 0 ? m->acts[0].pers.out
                                                                  : NULL;
    const int keys = strcmp(name, "keys") == 0, scores = strcmp(name, "cosines") == 0;
    *count = n;
    if (kept) return *values = kept, OK;
    if (!keys && !scores && strcmp(name, "values") != 0 && strcmp(name, "weights") != 0)
        return fail(ERR_ARG,
                    "probe: expected input, keys, values, cosines, weights, output or "
                    "persistent_output, got \"%s\"",
                    name);
    free(m->probe);
    room->probe = malloc((size_t)(pairs > n ? pairs : n) * sizeof *m->probe);
    if (!m->probe) return fail(ERR_MEMORY, "probe: out of memory");
    *values = m->probe;
    if (keys || strcmp(name, "values") == 0)
        return by_head(m, keys ? x->key : x->value, m->probe), OK;
    *count = pairs;
    if (scores) return cosines(m, m->probe), OK;
    bandwidths(m, m->layers[0].ctx.kappa, m->per_head);
    if (m->c.arch == ARCH_GPT) return fail(ERR_ARG, "probe: weights: expected a mosaic");
    args a = attention_args(m, 0, x->key, x->key, NULL, NULL);
    a.in[2] = m->per_head;
    a.out[0] = m->probe;
    return stage_run(room, attention_weights_ref, &a);
}
