/* SPDX-License-Identifier: MIT
 *
 * gpt.c — the halves of a GPT-2 block.
 *
 *     attention  q | k | v = W h,   o = attention(q, k, v) with N(t) = {0..t},   W_o o
 *                dot:    scores <q,k> / sqrt(D)
 *                cosine: q and k of unit norm, bandwidth beta per head, as in a mosaic
 *     mlp        W_2 gelu(W_1 h),   gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 *
 * Source: Radford et al. 2019; Hendrycks & Gimpel 2016; model 5.
 */
#include "pipeline.h"

#include <math.h>
#include <string.h>

static const double steep = 0.79788456080286535588, bend = 0.044715; /* sqrt(2/pi) */

/* Column block `part` of qkv (B T, 3 d) to rows of their own, and back. */
static void split(const mosaic *m, const double *qkv, int part, double *to)
{
    const int64_t d = m->c.d;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->B * m->T; r++)
        memcpy(to + r * d, qkv + (3 * r + part) * d, (size_t)d * sizeof *to);
}

static void join(const mosaic *m, const double *from, int part, double *qkv)
{
    const int64_t d = m->c.d;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->B * m->T; r++)
        memcpy(qkv + (3 * r + part) * d, from + r * d, (size_t)d * sizeof *qkv);
}

/* Every position sees itself; cosines have a bandwidth, products a fixed scale. */
static args causal_args(const mosaic *m, int64_t layer, const half_acts *x, const double *beta)
{
    const int cosine = m->c.gpt_cosine;
    args a = attention_args(m, layer, x->query, x->key, x->value, cosine ? beta : NULL);
    a.p.lag = 0;
    a.p.scale = cosine ? 1 : 1 / sqrt((double)a.d.D);
    return a;
}

status gpt_attention_forward(mosaic *m, int64_t layer, half_acts *x, double *out)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d;
    const int cosine = m->c.gpt_cosine;
    double *qkv = m->wide[0], *beta = m->per_head, *q = m->t[0], *k = m->t[1];
    TRY(project(m, x->h, d, i->wk, i->bk, 3 * d, qkv));
    split(m, qkv, 0, cosine ? q : x->query);
    split(m, qkv, 1, cosine ? k : x->key);
    split(m, qkv, 2, x->value);
    if (cosine) {
        TRY(unit_forward(m, q, x->query, x->query_norm));
        TRY(unit_forward(m, k, x->key, x->key_norm));
        bandwidths(m, i->kappa, beta);
    }
    args a = causal_args(m, layer, x, beta);
    a.out[0] = x->z;
    a.out[1] = x->stat;
    a.keep = x->keep;
    TRY(stage_run(m, attention_ref, &a));
    TRY(project(m, x->z, d, i->wo, i->bo, d, out));
    return residual_dropout(m, site_of(layer, SITE_RESIDUAL), out);
}

status gpt_attention_backward(mosaic *m, int64_t layer, const half_acts *x, double *dout,
                              double *dh)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d;
    double *dz = m->t[0], *dq = m->t[1], *dk = m->t[2], *dv = dout, *dqkv = m->wide[0];
    double *beta = m->per_head, *dbeta = beta + m->c.H;
    TRY(residual_dropout(m, site_of(layer, SITE_RESIDUAL), dout));
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dout, dz));
    if (m->c.gpt_cosine) bandwidths(m, i->kappa, beta);
    args a = causal_args(m, layer, x, beta);
    a.in[4] = x->z;
    a.in[5] = x->stat;
    a.keep = x->keep;
    a.in[6] = dz;
    a.out[0] = dq;
    a.out[1] = dk;
    a.out[2] = dv;
    a.out[3] = dbeta;
    TRY(stage_run(m, attention_grad_ref, &a));
    join(m, dv, 2, dqkv);
    if (m->c.gpt_cosine) {
        bandwidth_grad(m, i->kappa, beta, dbeta);
        TRY(unit_backward(m, x->query, x->query_norm, dq, dz));
        join(m, dz, 0, dqkv);
        TRY(unit_backward(m, x->key, x->key_norm, dk, dz));
        join(m, dz, 1, dqkv);
    } else {
        join(m, dq, 0, dqkv);
        join(m, dk, 1, dqkv);
    }
    return project_grad(m, x->h, d, i->wk, i->bk, 3 * d, dqkv, dh);
}

status gpt_mlp_forward(mosaic *m, int64_t layer, half_acts *x, double *out)
{
    const layer_index *i = &m->layers[layer];
    const int64_t d = m->c.d;
    TRY(project(m, x->h, d, i->fc, i->fc_b, 4 * d, x->raw));
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < m->B * m->T * 4 * d; n++) {
        const double u = x->raw[n];
        x->z[n] = 0.5 * u * (1 + tanh(steep * (u + bend * u * u * u)));
    }
    TRY(project(m, x->z, 4 * d, i->pers.wo, i->pers.bo, d, out));
    return residual_dropout(m, site_of(layer, SITE_MEMORY_RESIDUAL), out);
}

status gpt_mlp_backward(mosaic *m, int64_t layer, const half_acts *x, double *dout, double *dh)
{
    const layer_index *i = &m->layers[layer];
    const int64_t d = m->c.d;
    double *du = m->wide[0];
    TRY(residual_dropout(m, site_of(layer, SITE_MEMORY_RESIDUAL), dout));
    TRY(project_grad(m, x->z, 4 * d, i->pers.wo, i->pers.bo, d, dout, du));
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < m->B * m->T * 4 * d; n++) {
        const double u = x->raw[n], t = tanh(steep * (u + bend * u * u * u));
        du[n] *= 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * steep * (1 + 3 * bend * u * u);
    }
    return project_grad(m, x->h, d, i->fc, i->fc_b, 4 * d, du, dh);
}
