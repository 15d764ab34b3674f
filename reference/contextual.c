/* SPDX-License-Identifier: MIT
 *
 * contextual.c — the contextual memory: every position asks the pairs (key, value) seen so far.
 *
 *     k = unit(leaky(W_k h)),   v = value_mix(W_v h),   o = attention(k, k, v; beta),   W_o o
 *
 * with dropout on the weights (if ctx_dropout) and on the result. The keys are the queries.
 * v_conv: v = value_mix of a convolution of width 2 with the mixing coefficient 1.
 * Source: Zhang et al. 2025; model 2.2-2.7.
 */
#include "pipeline.h"

void value_scalars(const mosaic *m, const half_index *i, double *nu, double *coef)
{
    const double *value = m->slot[SLOT_VALUE];
    for (int64_t h = 0; h < m->c.H; h++) {
        nu[h] = m->c.value_clamp ? at_most(value[i->nu + h], 0.5) : value[i->nu + h];
        coef[h] = m->c.v_conv ? 1 : value[i->coef + h];
    }
}

status contextual_forward(mosaic *m, int64_t layer, half_acts *x, double *out)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, H = m->c.H;
    double *beta = m->per_head, *nu = beta + H, *coef = nu + H;
    TRY(keys_forward(m, i, x));
    TRY(convolve(m, x->h, m->c.v_conv ? 2 : 1, m->c.v_conv, i->wv, i->bv, x->mix));
    value_scalars(m, i, nu, coef);
    args mix = {.in = {x->mix, coef, nu}, .out = {x->value, x->value_norm}, .p = norm_params(m)};
    mix.d = head_dims(m);
    TRY(stage_run(m, value_mix_ref, &mix));
    bandwidths(m, i->kappa, beta);
    args a = attention_args(m, layer, x->key, x->key, x->value, beta);
    a.out[0] = x->z;
    a.out[1] = x->stat;
    a.keep = x->keep;
    TRY(stage_run(m, attention_ref, &a));
    TRY(project(m, x->z, d, i->wo, i->bo, d, out));
    return residual_dropout(m, site_of(layer, SITE_RESIDUAL), out);
}

status contextual_backward(mosaic *m, int64_t layer, const half_acts *x, double *dout, double *dh)
{
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, H = m->c.H;
    double *grad = m->slot[SLOT_GRAD], *dz = m->t[0], *dkey = m->t[1], *dvalue = m->t[2];
    double *beta = m->per_head, *nu = beta + H, *coef = nu + H, *dbeta = coef + H;
    TRY(residual_dropout(m, site_of(layer, SITE_RESIDUAL), dout));
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dout, dz));
    bandwidths(m, i->kappa, beta);
    args a = attention_args(m, layer, x->key, x->key, x->value, beta);
    a.in[4] = x->z;
    a.in[5] = x->stat;
    a.keep = x->keep;
    a.in[6] = dz;
    a.out[0] = a.out[1] = dkey;
    a.out[2] = dvalue;
    a.out[3] = dbeta;
    TRY(stage_run(m, attention_grad_ref, &a));
    bandwidth_grad(m, i->kappa, beta, dbeta);

    double *dmix = dz; /* the gradient of o is spent */
    value_scalars(m, i, nu, coef);
    args mix = {.in = {x->mix, coef, nu, x->value, x->value_norm, dvalue}, .p = norm_params(m)};
    mix.out[0] = dmix;
    mix.out[1] = m->c.v_conv ? NULL : grad + i->coef;
    mix.out[2] = grad + i->nu;
    mix.d = head_dims(m);
    TRY(stage_run(m, value_mix_grad_ref, &mix));
    for (int64_t h = 0; h < H && m->c.value_clamp; h++)
        if (10 * m->slot[SLOT_VALUE][i->nu + h] > 5) grad[i->nu + h] = 0;
    TRY(convolve_grad(m, x->h, m->c.v_conv ? 2 : 1, m->c.v_conv, i->wv, i->bv, dmix, dh));
    TRY(keys_backward(m, i, x, dkey, dout));
    add_to(dh, dout, m->B * m->T * d);
    return OK;
}
