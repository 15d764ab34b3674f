/* SPDX-License-Identifier: MIT
 *
 * activations.c — one piece of memory for everything a call of the model writes, laid out again
 * only when a call wants more.
 *
 * A gradient keeps the activations of every half; a prediction keeps those of the first block (for
 * the probes) and lets all others share one set. What attention keeps for its gradient is kept if
 * that of all layers fits KEPT bytes; if not, the backward computes it again, to the same bits.
 */
#include "pipeline.h"

#include <stdlib.h>

#define KEPT ((double)(INT64_C(1) << 29))
#define PIECE (INT64_C(1) << 22) /* doubles of logits at a time */

typedef struct arena {
    double *base; /* NULL: only count */
    int64_t used;
} arena;

static double *take(arena *a, int64_t count)
{
    double *at = a->base ? a->base + a->used : NULL;
    a->used += (count + 7) / 8 * 8;
    return at;
}

static void stream_room(arena *a, half_acts *x, int64_t rows, int64_t d)
{
    x->x = take(a, rows * d);
    x->h = take(a, rows * d);
    x->mean = take(a, rows);
    x->rstd = take(a, rows);
}

static void keys_room(arena *a, half_acts *x, int64_t rows, int64_t d, int64_t H)
{
    x->s = take(a, rows * d);
    x->key = take(a, rows * d);
    x->key_norm = take(a, rows * H);
    x->z = take(a, rows * d);
}

static void layer_room(arena *a, const mosaic *m, layer_acts *l, int64_t B, int64_t T, int gradient,
                       size_t kept)
{
    const int64_t rows = B * T, d = m->c.d, H = m->c.H;
    *l = (layer_acts){0};
    stream_room(a, &l->ctx, rows, d);
    keys_room(a, &l->ctx, rows, d, H);
    l->ctx.value = take(a, rows * d);
    if (gradient) l->ctx.stat = take(a, B * H * T * STATS);
    if (kept > 0) l->ctx.keep = take(a, (int64_t)(kept / sizeof(double)) + 1);
    if (m->c.arch == ARCH_GPT) {
        l->ctx.query = take(a, rows * d);
        l->ctx.query_norm = take(a, rows * H);
        stream_room(a, &l->pers, rows, d);
        l->pers.raw = take(a, rows * 4 * d);
        l->pers.z = take(a, rows * 4 * d);
        return;
    }
    l->ctx.mix = take(a, rows * d);
    l->ctx.value_norm = take(a, rows * H);
    if (m->c.attn_only) return;
    stream_room(a, &l->pers, rows, d);
    keys_room(a, &l->pers, rows, d, H);
}

static void lay_out(arena *a, mosaic *m, int64_t B, int64_t T, int gradient)
{
    const mosaic_config *c = &m->c;
    const int64_t rows = B * T, d = c->d, slots = c->M * d;
    size_t kept = gradient ? attention_keeps(m, B, T) : 0;
    if ((double)c->L * (double)kept > KEPT) kept = 0;
    for (int64_t l = 0; l < c->L; l++) {
        if (gradient || l < 2)
            layer_room(a, m, &m->acts[l], B, T, gradient, kept);
        else
            m->acts[l] = m->acts[1];
    }
    m->acts[0].ctx.out = take(a, rows * d);
    m->acts[0].pers.out = take(a, rows * d);
    m->last = take(a, rows * d);
    m->last_h = take(a, rows * d);
    m->last_mean = take(a, rows);
    m->last_rstd = take(a, rows);
    for (int i = 0; i < 6; i++)
        m->t[i] = take(a, rows * d);
    m->wide_width = c->arch == ARCH_GPT ? 4 * d : (c->k_kernel > 2 ? c->k_kernel : 2) * d;
    for (int i = 0; i < 2; i++)
        m->wide[i] = take(a, rows * m->wide_width);
    m->per_head = take(a, 4 * c->H);
    m->unit_slots = take(a, c->pmem_norm && !c->attn_only ? 2 * slots + c->H * c->M : 0);
    m->loss = take(a, rows);
    m->lse = take(a, rows);
    m->dloss = take(a, rows);
    m->targets = (int32_t *)take(a, rows);
    m->piece = PIECE / c->V < 64 ? 64 : PIECE / c->V;
    if (m->piece > rows) m->piece = rows;
    m->logits = take(a, m->piece * c->V);
    m->head_grad = take(a, gradient && c->tied ? c->V * d : 0);
}

status activations_reserve(mosaic *m, int64_t B, int64_t T, int gradient)
{
    if (m->arena && B == m->room_B && T == m->room_T && gradient == m->room_gradient) return OK;
    arena count = {0};
    lay_out(&count, m, B, T, gradient);
    if (count.used > m->arena_size) {
        free(m->arena);
        m->arena_size = 0;
        m->arena = aligned_alloc(64, (size_t)count.used * sizeof *m->arena);
        if (!m->arena)
            return fail(
                ERR_MEMORY,
                "model: a batch of %lld x %lld tokens wants %.0f MB: expected %s or a smaller "
                "model",
                (long long)B, (long long)T, (double)count.used * 8e-6,
                B > 1 ? "fewer rows at a time (micro=)" : "shorter sequences");
        m->arena_size = count.used;
    }
    arena real = {.base = m->arena};
    lay_out(&real, m, B, T, gradient);
    m->room_B = B;
    m->room_T = T;
    m->room_gradient = gradient;
    m->predicted = 0;
    return OK;
}
