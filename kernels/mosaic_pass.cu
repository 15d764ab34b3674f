/* SPDX-License-Identifier: MIT
 *
 * mosaic_pass — the whole model, forward and backward.
 *
 *     x = E[token] (GPT: + P[t], dropout),  L blocks,  logits = c U LN(x)
 *     mosaic: c = 1/sqrt(d);  GPT: c = 1.   U is E if tied.
 *     pre-LN:  x <- x + F(LN(x));    post-LN:  x <- LN(x), x <- x + F(x)
 *
 * for the two halves F of each block. The logits of a large vocabulary never stand in memory at
 * once: a piece of rows goes through product, loss and its gradient, and leaves its part of dU by a
 * product that adds in float. Source: model 2.1, 5.
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

/* x -> next through one half. */
static status through_half(mosaic *m, int64_t layer, const half_index *i, half_acts *x,
                           half_forward *f, void *next)
{
    void *out = m->t[5];
    TRY(norm_forward(m, i->ln_w, i->ln_b, x->x, x->h, x->mean, x->rstd));
    TRY(f(m, layer, x, out));
    return add_rows(m, next, before(m) ? x->x : x->h, out);
}

status forward(mosaic *m, const batch *b)
{
    const int gpt = m->c.arch == ARCH_GPT, single = m->c.attn_only && !gpt;
    const int64_t L = m->c.L;
    m->B = b->B;
    m->T = b->T;
    TRY(embed(m, b, m->acts[0].ctx.x));
    for (int64_t l = 0; l < L; l++) {
        const layer_index *i = &m->layers[l];
        layer_acts *x = &m->acts[l];
        void *next = l + 1 < L ? m->acts[l + 1].ctx.x : m->last;
        TRY(through_half(m, l, &i->ctx, &x->ctx, gpt ? gpt_attention_forward : contextual_forward,
                         single ? next : x->pers.x));
        if (single) continue;
        TRY(through_half(m, l, &i->pers, &x->pers, gpt ? gpt_mlp_forward : persistent_forward,
                         next));
    }
    return norm_forward(m, m->index.ln_w, m->index.ln_b, m->last, m->last_h, m->last_mean,
                        m->last_rstd);
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

/* dx, the gradient of the stream, back through one half. */
static status back_through_half(mosaic *m, int64_t layer, const half_index *i, const half_acts *x,
                                half_backward *f, void *dx)
{
    void *dh = m->t[3], *room = m->t[5];
    TRY(f(m, layer, x, dx, room, dh));
    if (before(m)) {
        TRY(norm_backward(m, i->ln_w, i->ln_b, x->x, x->mean, x->rstd, dh, room));
        return add_rows(m, dx, dx, room);
    }
    TRY(add_rows(m, dh, dh, dx));
    return norm_backward(m, i->ln_w, i->ln_b, x->x, x->mean, x->rstd, dh, dx);
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
    const int gpt = m->c.arch == ARCH_GPT, single = m->c.attn_only && !gpt;
    void *dh = m->t[3], *dx = m->t[4];
    TRY(head_gradient(m, b, more, dh));
    TRY(norm_backward(m, m->index.ln_w, m->index.ln_b, m->last, m->last_mean, m->last_rstd, dh,
                      dx));
    for (int64_t l = m->c.L - 1; l >= 0; l--) {
        const layer_index *i = &m->layers[l];
        const layer_acts *x = &m->acts[l];
        if (!single)
            TRY(back_through_half(m, l, &i->pers, &x->pers,
                                  gpt ? gpt_mlp_backward : persistent_backward, dx));
        TRY(back_through_half(m, l, &i->ctx, &x->ctx,
                              gpt ? gpt_attention_backward : contextual_backward, dx));
    }
    return embed_back(m, b, dx);
}
