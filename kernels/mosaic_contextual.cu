/* SPDX-License-Identifier: MIT
 *
 * mosaic_contextual — the contextual memory: every position asks the pairs (key, value) seen so
 * far.
 *
 *     k = unit(leaky(W_k h)),   v = value_mix(W_v h),   o = attention(k, k, v; beta),   W_o o
 *
 * with dropout on the weights (if ctx_dropout) and on the result. The keys are the queries.
 * v_conv: v = value_mix of a convolution of width 2 with the mixing coefficient 1. value_clamp: the
 * mix reads min(nu, 1/2), and nu beyond it gets no gradient.
 * Source: Zhang et al. 2025; model 2.2-2.7.
 */
#include "mosaic.cuh"

static args mix_args(const mosaic *m, const half_acts *x)
{
    args a = {};
    a.in[0] = x->mix, a.in[1] = x->scalar + COEF * m->c.H, a.in[2] = x->scalar + NU * m->c.H;
    a.p = norm_params(m);
    a.d = head_dims(m);
    return a;
}

status contextual_forward(mosaic *m, int64_t layer, half_acts *x, void *out)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d;
    TRY(scalars(m, i, x));
    TRY(keys_forward(m, i, x));
    TRY(convolve(m, x->h, m->c.v_conv ? 2 : 1, m->c.v_conv, i->wv, i->bv, x->mix));
    args mix = mix_args(m, x);
    mix.out[0] = x->value, mix.out[1] = x->value_norm;
    TRY(stage(m, OP_value_mix, &mix));
    args a = attention_args(m, layer, x, x->key);
    a.out[0] = x->z;
    TRY(stage(m, OP_attention, &a));
    return project(m, x->z, d, i->wo, i->bo, d, out);
}

status contextual_backward(mosaic *m, int64_t layer, const half_acts *x, const void *dx, void *,
                           void *dh)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, H = m->c.H;
    void *dz = m->t[0], *dkey = m->t[1], *dvalue = m->t[2], *dmix = dz;
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dx, dz, 0));
    args a = attention_args(m, layer, x, x->key);
    a.in[4] = x->z, a.in[6] = dz;
    a.out[0] = a.out[1] = dkey, a.out[2] = dvalue, a.out[3] = m->per_head;
    TRY(stage(m, OP_attention_grad, &a));
    TRY(part_kappa_grad(m->now, grad(m, i->kappa), value(m, i->kappa), x->scalar + BETA * H,
                        m->per_head, 10, m->c.freeze_kappa, H));
    args mix = mix_args(m, x); /* the gradient of z is spent: its room is that of the mix */
    mix.in[3] = x->value, mix.in[4] = x->value_norm, mix.in[5] = dvalue;
    mix.out[0] = dmix, mix.out[1] = grad(m, i->coef), mix.out[2] = grad(m, i->nu);
    TRY(stage(m, OP_value_mix_grad, &mix));
    if (m->c.value_clamp) TRY(part_clamp_grad(m->now, grad(m, i->nu), value(m, i->nu), 5, H));
    TRY(convolve_grad(m, x->h, m->c.v_conv ? 2 : 1, m->c.v_conv, i->wv, i->bv, dmix, dh, 0));
    return keys_backward(m, i, x, dkey, dh, 1);
}
