/* SPDX-License-Identifier: MIT
 *
 * mosaic_pass — the whole model, forward and backward.
 *
 *     x = E[token] (GPT: + P[t], dropout),  L blocks,  logits = c U LN(x)
 *     mosaic: c = 1/sqrt(d);  GPT: c = 1.   U is E if tied.
 *     pre-LN:  x <- x + F(LN(x));    post-LN:  x <- LN(x), x <- x + F(x)
 *
 * for the two halves F of each block, the result of F dropped out. What leaves a half, its dropout,
 * the sum and the LayerNorm before the next half are one kernel, and so is the way back. The logits
 * of a large vocabulary never stand in memory at once: a piece of rows goes through product, loss
 * and its gradient, and leaves its part of dU by a product that adds in float. Source:
 * model 2.1, 5.
 */
#include "mosaic.cuh"

#include <math.h>

static double logit_scale(const mosaic *m)
{
    return m->c.arch == ARCH_GPT ? 1 : 1 / sqrt((double)m->c.d);
}

/* --- forward --------------------------------------------------------------------------------- */

static status embed(mosaic *m, const batch *b, void *x)
{
    const int64_t d = m->c.d, rows = b->B * b->T;
    args a = {};
    a.in[0] = b->tokens, a.in[1] = weight(m, m->index.emb), a.out[0] = x;
    a.d.R = rows, a.d.C = d, a.d.V = m->c.V;
    TRY(stage(m, OP_embedding, &a));
    if (m->index.wpe < 0) return OK;
    TRY(part_add(m->now, m->type, x, x, weight(m, m->index.wpe), rows * d, b->T * d));
    return residual_dropout(m, site_of(0, SITE_EMBEDDING), x);
}

static int before(const mosaic *m) /* the norm stands before the half, not on the stream */
{
    return m->c.pre_ln || m->c.arch == ARCH_GPT;
}

/* A half of a block. */
typedef struct half_block {
    int64_t layer;
    const half_index *i;
    half_acts *x;
    uint32_t site; /* of its dropout on the stream */
    half_forward *forward;
    half_backward *backward;
} half_block;

static int64_t halves(const mosaic *m)
{
    return m->c.attn_only && m->c.arch != ARCH_GPT ? m->c.L : 2 * m->c.L;
}

static half_block half_at(const mosaic *m, int64_t n)
{
    const int gpt = m->c.arch == ARCH_GPT;
    const int64_t each = halves(m) / m->c.L, l = n / each;
    const layer_index *i = &m->layers[l];
    layer_acts *x = &m->acts[l];
    if (n % each == 0)
        return half_block{l,
                          &i->ctx,
                          &x->ctx,
                          site_of(l, SITE_RESIDUAL),
                          gpt ? gpt_attention_forward : contextual_forward,
                          gpt ? gpt_attention_backward : contextual_backward};
    return half_block{l,
                      &i->pers,
                      &x->pers,
                      site_of(l, SITE_MEMORY_RESIDUAL),
                      gpt ? gpt_mlp_forward : persistent_forward,
                      gpt ? gpt_mlp_backward : persistent_backward};
}

/* The norm before half n; behind the last, the final one. */
static norm_place norm_of(const mosaic *m, int64_t n)
{
    if (n == halves(m))
        return norm_place{m->index.ln_w, m->index.ln_b, m->last,
                          m->last_h,     m->last_mean,  m->last_rstd};
    const half_block h = half_at(m, n);
    return norm_place{h.i->ln_w, h.i->ln_b, h.x->x, h.x->h, h.x->mean, h.x->rstd};
}

status forward(mosaic *m, const batch *b)
{
    void *out = m->t[5];
    m->B = b->B;
    m->T = b->T;
    norm_place at = norm_of(m, 0);
    TRY(embed(m, b, at.x));
    TRY(norm_forward(m, &at));
    for (int64_t n = 0; n < halves(m); n++) {
        const half_block h = half_at(m, n);
        const void *base = before(m) ? at.x : at.h;
        TRY(h.forward(m, h.layer, h.x, out));
        at = norm_of(m, n + 1);
        TRY(norm_joined(m, &at, h.site, base, out));
    }
    return OK;
}

static matrix rows_matrix(const mosaic *m, const void *p, int64_t r, int64_t width, int transposed)
{
    return matrix{behind(m, p, r * width), m->type, width, 0, transposed};
}

static status head_product(mosaic *m, int64_t r, int64_t n, matrix z)
{
    return product(m, "head", n, m->c.V, m->c.d, logit_scale(m),
                   rows_matrix(m, m->last_h, r, m->c.d, 0),
                   rows_matrix(m, weight(m, m->index.head), 0, m->c.d, 1), z, 0);
}

status head_logits(mosaic *m, int64_t r, int64_t n, float *logits)
{
    return head_product(m, r, n, matrix{logits, F32, m->c.V, 0, 0});
}

/* --- backward -------------------------------------------------------------------------------- */

/* Losses of rows [r, r + n); their logits become the gradient of the loss of the step. */
static status piece_loss(mosaic *m, const batch *b, int64_t r, int64_t n)
{
    args ce = {}, back = {};
    ce.in[0] = back.in[0] = back.out[0] = m->logits;
    ce.in[1] = back.in[1] = b->targets + r;
    ce.out[0] = m->loss + r, ce.out[1] = m->lse + r;
    back.in[2] = m->lse + r, back.in[3] = m->dloss + r;
    ce.d.R = back.d.R = n, ce.d.V = back.d.V = m->c.V;
    TRY(head_product(m, r, n, rows_matrix(m, m->logits, 0, m->c.V, 0)));
    TRY(stage(m, OP_cross_entropy, &ce));
    return stage(m, OP_cross_entropy_grad, &back);
}

/* Loss, the gradient of the head, and dh (B T, d). */
static status head_gradient(mosaic *m, const batch *b, int more, void *dh)
{
    const int64_t d = m->c.d, V = m->c.V, rows = m->B * m->T;
    const matrix u = rows_matrix(m, weight(m, m->index.head), 0, d, 0);
    const matrix du = {grad(m, m->index.head), F32, d, 0, 0};
    TRY(part_fill(m->now, m->dloss, (float)(1 / (double)m->open.divisor), rows));
    for (int64_t r = 0; r < rows; r += m->piece) {
        const int64_t n = rows - r < m->piece ? rows - r : m->piece;
        TRY(piece_loss(m, b, r, n));
        TRY(product(m, "head_grad", n, d, V, logit_scale(m), rows_matrix(m, m->logits, 0, V, 0), u,
                    rows_matrix(m, dh, r, d, 0), 0));
        TRY(product(m, "head_grad", V, d, n, logit_scale(m), rows_matrix(m, m->logits, 0, V, 1),
                    rows_matrix(m, m->last_h, r, d, 0), du, r > 0));
    }
    return part_sum_losses(m->now, m->loss_sum, m->loss, rows, more);
}

/* dx, the gradient of the stream before half n, from dh, that of what its norm made; and in `room`
 * the dropout of dx by the mask of the half before. */
static status back_through_norm(mosaic *m, int64_t n, void *dh, void *dx, void *room)
{
    const norm_place at = norm_of(m, n);
    const int final = n == halves(m);
    const uint32_t site = n > 0 ? half_at(m, n - 1).site : 0;
    if (!final && !before(m)) TRY(add_rows(m, dh, dh, dx));
    return norm_backward(m, &at, dh, !final && before(m) ? dx : NULL, dx, site,
                         n > 0 ? room : NULL);
}

static status embed_back(mosaic *m, const batch *b, void *dx)
{
    const int64_t d = m->c.d, V = m->c.V, emb = m->index.emb, wpe = m->index.wpe;
    const int direct = m->type == F32 && !m->c.tied;
    void *dw = direct ? (void *)grad(m, emb) : m->emb_grad;
    if (wpe >= 0) {
        TRY(residual_dropout(m, site_of(0, SITE_EMBEDDING), dx));
        TRY(part_sum_samples(m->now, m->type, grad(m, wpe), dx, b->B, b->T * d, m->c.T * d));
    }
    args a = {};
    a.in[0] = b->tokens, a.in[1] = dx, a.out[0] = dw;
    a.d.R = b->B * b->T, a.d.C = d, a.d.V = V;
    TRY(stage(m, OP_embedding_grad, &a));
    return store_grad(m, emb, dw, V * d, m->c.tied);
}

status backward(mosaic *m, const batch *b, int more)
{
    void *dh = m->t[3], *dx = m->t[4], *room = m->t[5];
    TRY(head_gradient(m, b, more, dh));
    TRY(back_through_norm(m, halves(m), dh, dx, room));
    for (int64_t n = halves(m) - 1; n >= 0; n--) {
        const half_block h = half_at(m, n);
        TRY(h.backward(m, h.layer, h.x, drops(m) ? room : dx, room, dh));
        TRY(back_through_norm(m, n, dh, dx, room));
    }
    return embed_back(m, b, dx);
}
