/* SPDX-License-Identifier: MIT
 *
 * mosaic_gpt — the halves of a GPT-2 block.
 *
 *     attention  q | k | v = W h,   o = attention(q, k, v) with N(t) = {0..t},   W_o o
 *                dot:    scores <q,k> / sqrt(D)
 *                cosine: q and k of unit norm, bandwidth beta per head, as in a mosaic
 *     mlp        W_2 gelu(W_1 h),   gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 *
 * Source: Radford et al. 2019; Hendrycks & Gimpel 2016; model 5.
 */
#include "mosaic.cuh"

#include <math.h>

/* Column block `part` of qkv (B T, 3 d) to rows of their own, and back. */
static status move_part(mosaic *m, void *rows, void *qkv, int part, bool join)
{
    const size_t row = (size_t)m->c.d * dtype_size(m->type);
    void *at = behind(m, qkv, part * m->c.d);
    if (!m->now) return OK;
    CUDA_TRY(cudaMemcpy2DAsync(join ? at : rows, join ? 3 * row : row, join ? rows : at,
                               join ? row : 3 * row, row, (size_t)(m->B * m->T),
                               cudaMemcpyDeviceToDevice, m->now),
             "model cuda: parts of q | k | v");
    return OK;
}
static status split(mosaic *m, void *qkv, int part, void *rows)
{
    return move_part(m, rows, qkv, part, false);
}
static status join(mosaic *m, void *rows, int part, void *qkv)
{
    return move_part(m, rows, qkv, part, true);
}

/* Every position sees itself; cosines have a bandwidth, products a fixed scale. */
static args causal_args(const mosaic *m, int64_t layer, const half_acts *x)
{
    args a = attention_args(m, layer, x, x->query);
    a.p.lag = 0;
    if (m->c.gpt_cosine) return a;
    a.in[3] = NULL;
    a.p.scale = 1 / sqrt((double)a.d.D);
    return a;
}

status gpt_split(mosaic *m, const half_index *i, half_acts *x)
{
    const int64_t d = m->c.d;
    const int cosine = m->c.gpt_cosine;
    void *qkv = m->wide[0], *q = m->t[0], *k = m->t[1];
    TRY(project(m, x->h, d, i->wk, i->bk, 3 * d, qkv));
    TRY(split(m, qkv, 0, cosine ? q : x->query));
    TRY(split(m, qkv, 1, cosine ? k : x->key));
    TRY(split(m, qkv, 2, x->value));
    if (!cosine) return OK;
    TRY(unit_forward(m, q, x->query, x->query_norm));
    TRY(unit_forward(m, k, x->key, x->key_norm));
    return scalars(m, i, x);
}

status gpt_attention_forward(mosaic *m, int64_t layer, half_acts *x, void *out)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d;
    TRY(gpt_split(m, i, x));
    args a = causal_args(m, layer, x);
    a.out[0] = x->z;
    TRY(stage(m, OP_attention, &a));
    return project(m, x->z, d, i->wo, i->bo, d, out);
}

status gpt_attention_backward(mosaic *m, int64_t layer, const half_acts *x, const void *dx,
                              void *room, void *dh)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, H = m->c.H;
    void *dz = m->t[0], *dq = m->t[1], *dk = m->t[2], *dv = room, *dqkv = m->wide[0];
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dx, dz, 0));
    args a = causal_args(m, layer, x);
    a.in[4] = x->z, a.in[6] = dz;
    a.out[0] = dq, a.out[1] = dk, a.out[2] = dv, a.out[3] = m->per_head;
    TRY(stage(m, OP_attention_grad, &a));
    TRY(join(m, dv, 2, dqkv));
    if (m->c.gpt_cosine) {
        TRY(part_kappa_grad(m->now, grad(m, i->kappa), value(m, i->kappa), x->scalar + BETA * H,
                            m->per_head, 10, m->c.freeze_kappa, H));
        TRY(unit_backward(m, x->query, x->query_norm, dq, dz));
        TRY(join(m, dz, 0, dqkv));
        TRY(unit_backward(m, x->key, x->key_norm, dk, dz));
        TRY(join(m, dz, 1, dqkv));
    } else {
        TRY(join(m, dq, 0, dqkv));
        TRY(join(m, dk, 1, dqkv));
    }
    return project_grad(m, x->h, d, i->wk, i->bk, 3 * d, dqkv, dh, 0);
}

status gpt_mlp_forward(mosaic *m, int64_t layer, half_acts *x, void *out)
{
    const layer_index *i = &m->layers[layer];
    const int64_t d = m->c.d;
    TRY(project(m, x->h, d, i->fc, i->fc_b, 4 * d, x->raw));
    TRY(part_gelu(m->now, m->type, x->z, x->raw, m->B * m->T * 4 * d));
    return project(m, x->z, 4 * d, i->pers.wo, i->pers.bo, d, out);
}

status gpt_mlp_backward(mosaic *m, int64_t layer, const half_acts *x, const void *dx, void *,
                        void *dh)
{
    const layer_index *i = &m->layers[layer];
    const int64_t d = m->c.d;
    void *du = m->wide[0];
    TRY(project_grad(m, x->z, 4 * d, i->pers.wo, i->pers.bo, d, dx, du, 0));
    TRY(part_gelu_grad(m->now, m->type, du, du, x->raw, m->B * m->T * 4 * d));
    return project_grad(m, x->h, d, i->fc, i->fc_b, 4 * d, du, dh, 0);
}
