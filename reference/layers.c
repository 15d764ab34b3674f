/* SPDX-License-Identifier: MIT
 *
 * layers.c — what the blocks of both architectures are made of: projections with bias, causal
 * convolutions, pre- or post-norm, bandwidths, and the keys of a memory (model 2.1-2.4, 2.9).
 *
 * A convolution of width K and shift sigma is a projection of the unfolded input,
 *     k_t[o] = sum_i sum_tau W[o,i,tau] x_{t-(K-1-sigma)+tau}[i],   x outside 0..T-1 zero.
 */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matmul.h"
#include "stage.h"

status stage_run(mosaic *m, op_fn *f, args *a)
{
    size_t need = 0;
    a->need = &need;
    TRY(f(a));
    a->need = NULL;
    if (need > m->work_size) {
        free(m->work);
        m->work_size = 0;
        m->work = aligned_alloc(256, (need + 255) / 256 * 256);
        if (!m->work) return fail(ERR_MEMORY, "model: expected %zu bytes of scratch", need);
        m->work_size = need;
    }
    a->work = m->work;
    return f(a);
}

status project(mosaic *m, const double *x, int64_t C, int64_t w, int64_t b, int64_t N, double *y)
{
    const int64_t R = m->B * m->T;
    args a = {.in = {x, m->slot[SLOT_VALUE] + w}, .out = {y}, .d = {.R = R, .C = C, .N = N}};
    TRY(stage_run(m, linear_ref, &a));
    if (b < 0) return OK;
    const double *bias = m->slot[SLOT_VALUE] + b;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < N; n++)
            y[r * N + n] += bias[n];
    return OK;
}

status project_grad(mosaic *m, const double *x, int64_t C, int64_t w, int64_t b, int64_t N,
                    const double *dy, double *dx)
{
    const int64_t R = m->B * m->T, strip = 32;
    args a = {.in = {x, m->slot[SLOT_VALUE] + w, dy}, .out = {dx, m->slot[SLOT_GRAD] + w}};
    a.d = (dims){.R = R, .C = C, .N = N};
    TRY(stage_run(m, linear_grad_ref, &a));
    if (b < 0) return OK;
    double *bias = m->slot[SLOT_GRAD] + b;
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < N; from += strip)
        for (int64_t r = 0; r < R; r++)
            for (int64_t n = from; n < N && n < from + strip; n++)
                bias[n] += dy[r * N + n];
    return OK;
}

static const double *unfold(mosaic *m, const double *x, int64_t K, int64_t shift)
{
    const int64_t T = m->T, d = m->c.d;
    double *to = m->wide[0];
    if (K == 1) return x;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < m->B * T; row++)
        for (int64_t tau = 0; tau < K; tau++) {
            const int64_t t = row % T, at = t - (K - 1 - shift) + tau;
            const int inside = at >= 0 && at < T;
            const double *from = x + (row - t + (inside ? at : 0)) * d;
            for (int64_t i = 0; i < d; i++)
                to[(row * d + i) * K + tau] = inside ? from[i] : 0;
        }
    return to;
}

static void fold(const mosaic *m, const double *from, int64_t K, int64_t shift, double *dx)
{
    const int64_t T = m->T, d = m->c.d;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < m->B * T; row++)
        for (int64_t i = 0; i < d; i++) {
            double s = 0;
            for (int64_t tau = 0; tau < K; tau++) {
                const int64_t t = row % T, at = t + (K - 1 - shift) - tau;
                if (at >= 0 && at < T) s += from[((row - t + at) * d + i) * K + tau];
            }
            dx[row * d + i] = s;
        }
}

status convolve(mosaic *m, const double *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                double *y)
{
    return project(m, unfold(m, x, K, shift), K * m->c.d, w, b, m->c.d, y);
}

status convolve_grad(mosaic *m, const double *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                     const double *dy, double *dx)
{
    double *to = K == 1 ? dx : m->wide[1];
    TRY(project_grad(m, unfold(m, x, K, shift), K * m->c.d, w, b, m->c.d, dy, to));
    if (K > 1) fold(m, to, K, shift, dx);
    return OK;
}

params dropout_params(const mosaic *m, double rate, uint32_t site)
{
    params p = params_default();
    p.rate = m->step < 0 ? 0 : rate;
    p.seed = m->seed;
    p.site = site;
    p.step = (uint32_t)m->step;
    p.first_row = m->first_row;
    p.whole_T = m->whole_T;
    return p;
}

void mask_params(params *p, const params *drop)
{
    p->rate = drop->rate;
    p->seed = drop->seed;
    p->site = drop->site;
    p->step = drop->step;
    p->first_row = drop->first_row;
    p->whole_T = drop->whole_T;
}

status residual_dropout(mosaic *m, uint32_t site, double *x)
{
    args a = {.in = {x}, .out = {x}, .d = {.B = m->B, .T = m->T, .C = m->c.d}};
    a.p = dropout_params(m, m->c.drop_residual, site);
    return a.p.rate > 0 ? stage_run(m, dropout_ref, &a) : OK;
}

args attention_args(const mosaic *m, int64_t layer, const double *q, const double *k,
                    const double *v, const double *beta)
{
    const mosaic_config *c = &m->c;
    const params drop =
        dropout_params(m, c->ctx_dropout ? c->drop_context : 0, site_of(layer, SITE_WEIGHTS));
    args a = {.in = {q, k, v, beta}, .d = head_dims(m), .p = c->method.p};
    a.transform = c->method.op;
    a.p.lag = c->visible_lag;
    a.p.scale = 1;
    mask_params(&a.p, &drop);
    return a;
}

size_t attention_keeps(const mosaic *m, int64_t B, int64_t T)
{
    size_t need = 0, keep = 0;
    args a = {.d = {.B = B, .T = T, .H = m->c.H, .D = m->c.d / m->c.H}, .p = m->c.method.p};
    a.transform = m->c.method.op;
    a.need = &need;
    a.keep_need = &keep;
    return attention_ref(&a) == OK ? keep : 0;
}

static const double *bias_or_null(const mosaic *m, int64_t b)
{
    return b < 0 ? NULL : m->slot[SLOT_VALUE] + b;
}

status norm_forward(mosaic *m, int64_t w, int64_t b, const double *x, double *h, double *mean,
                    double *rstd)
{
    args a = {.in = {x, m->slot[SLOT_VALUE] + w, bias_or_null(m, b)}, .out = {h, mean, rstd}};
    a.d = (dims){.R = m->B * m->T, .C = m->c.d};
    a.p.eps = 1e-5;
    return stage_run(m, layer_norm_ref, &a);
}

status norm_backward(mosaic *m, int64_t w, int64_t b, const double *x, const double *mean,
                     const double *rstd, const double *dh, double *dx)
{
    args a = {.in = {x, m->slot[SLOT_VALUE] + w, mean, rstd, dh}};
    a.out[0] = dx;
    a.out[1] = m->slot[SLOT_GRAD] + w;
    a.out[2] = b < 0 ? NULL : m->slot[SLOT_GRAD] + b;
    a.d = (dims){.R = m->B * m->T, .C = m->c.d};
    a.p.eps = 1e-5;
    return stage_run(m, layer_norm_grad_ref, &a);
}

void bandwidths(const mosaic *m, int64_t kappa, double *beta)
{
    for (int64_t h = 0; h < m->c.H; h++)
        beta[h] = exp(at_most(10 * m->slot[SLOT_VALUE][kappa + h], 5));
}

void bandwidth_grad(mosaic *m, int64_t kappa, const double *beta, const double *dbeta)
{
    for (int64_t h = 0; h < m->c.H; h++) {
        const int passes = 10 * m->slot[SLOT_VALUE][kappa + h] <= 5 && !m->c.freeze_kappa;
        m->slot[SLOT_GRAD][kappa + h] = passes ? 10 * beta[h] * dbeta[h] : 0;
    }
}

params norm_params(const mosaic *m)
{
    params p = params_default();
    p.eps_add = m->c.eps_add;
    p.eps = m->c.eps_add ? 1e-6 : 1e-12;
    return p;
}

dims head_dims(const mosaic *m)
{
    return (dims){.B = m->B, .T = m->T, .H = m->c.H, .D = m->c.d / m->c.H, .M = m->c.M};
}

/* y = x / |x| of every head. */
status unit_forward(mosaic *m, const double *x, double *y, double *norm)
{
    args a = {.in = {x}, .out = {y, norm}, .p = norm_params(m)};
    a.d = (dims){.R = m->B * m->T * m->c.H, .D = m->c.d / m->c.H};
    return stage_run(m, unit_norm_ref, &a);
}

status unit_backward(mosaic *m, const double *y, const double *norm, const double *dy, double *dx)
{
    args a = {.in = {y, norm, dy}, .out = {dx}, .p = norm_params(m)};
    a.d = (dims){.R = m->B * m->T * m->c.H, .D = m->c.d / m->c.H};
    return stage_run(m, unit_norm_grad_ref, &a);
}

status keys_forward(mosaic *m, const half_index *i, half_acts *x)
{
    TRY(convolve(m, x->h, m->c.k_kernel, 0, i->wk, i->bk, m->t[0]));
    args a = {.in = {m->t[0], m->slot[SLOT_VALUE] + i->theta}, .out = {x->s}, .d = head_dims(m)};
    TRY(stage_run(m, leaky_average_ref, &a));
    return unit_forward(m, x->s, x->key, x->key_norm);
}

/* The theta gradient that the WKV kernel of the authors returns: with the weighted mean written
 * as a function of w = -lambda and u = lambda, 10 (-lambda dw + du) where 10 sign(theta) (-dw + du)
 * is right (model 2.3, D19). In terms of s, with a_t = sum_{j<t} (t-1-j) rho^(t-j) x_j:
 *     du = sum <ds_t, x_t>,   dw = sum <ds_t, a_t>,   a_{t+1} = rho (a_t + rho s_{t-1}) */
static void wkv_theta_grad(mosaic *m, int64_t theta, const double *s, const double *ds)
{
    const int64_t H = m->c.H, d = m->c.d, D = d / H, T = m->T;
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < H; h++) {
        const double lambda = 10 * fabs(m->slot[SLOT_VALUE][theta + h]), rho = exp(-lambda);
        double du = 0, dw = 0;
        for (int64_t line = 0; line < m->B * D; line++) {
            const int64_t at = line / D * T * d + h * D + line % D;
            double before = 0, age = 0; /* rho s_{t-1}, a_t */
            for (int64_t t = 0; t < T; t++) {
                du += ds[at + t * d] * (s[at + t * d] - before);
                dw += ds[at + t * d] * age;
                age = rho * (age + before);
                before = rho * s[at + t * d];
            }
        }
        m->slot[SLOT_GRAD][theta + h] = 10 * (-lambda * dw + du);
    }
}

status keys_backward(mosaic *m, const half_index *i, const half_acts *x, const double *dkey,
                     double *dh)
{
    double *ds = m->t[0], *dk = m->t[2], *dtheta = m->slot[SLOT_GRAD] + i->theta;
    TRY(unit_backward(m, x->key, x->key_norm, dkey, ds));
    args a = {.in = {m->slot[SLOT_VALUE] + i->theta, x->s, ds}, .out = {dk, dtheta}};
    a.d = head_dims(m);
    TRY(stage_run(m, leaky_average_grad_ref, &a));
    if (m->c.leaky_grad_wkv) wkv_theta_grad(m, i->theta, x->s, ds);
    return convolve_grad(m, x->h, m->c.k_kernel, 0, i->wk, i->bk, dk, dh);
}

void add_to(double *x, const double *y, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
}
