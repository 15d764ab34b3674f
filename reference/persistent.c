/* SPDX-License-Identifier: MIT
 *
 * persistent.c — the persistent memory: the same keys machinery, asking learned slots.
 *
 *     k = unit(leaky(W_k h)),  q = beta^2 k,  z = mean over banks of persistent_memory(q, M_k,
 * M_v), y = f(nu) z,   W_o y;      f(nu) = e^{10 nu}, or min(e^{10 nu}, 5) if value_clamp
 *
 * with dropout on the weights and on the result. pmem_norm: the slots of M_k are divided by their
 * norms.   Source: Zhang et al. 2025; model 2.8.
 */
#include "pipeline.h"

#include <math.h>
#include <string.h>

#include "stage.h"

static int64_t slots_size(const mosaic *m)
{
    return m->c.M * m->c.d;
}

static const double *slots(const mosaic *m, const half_index *i, int64_t bank, int value)
{
    return m->slot[SLOT_VALUE] + (value ? i->mv : i->mk) + 2 * bank * slots_size(m);
}

static double scale_of(const mosaic *m, double nu)
{
    const double e = exp(10 * nu);
    return m->c.value_clamp ? at_most(e, 5) : e;
}

static void queries(const mosaic *m, const double *key, const double *beta, double *q)
{
    const int64_t H = m->c.H, D = m->c.d / H;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->B * m->T * H; r++)
        for (int64_t e = 0; e < D; e++)
            q[r * D + e] = beta[r % H] * beta[r % H] * key[r * D + e];
}

/* The keys of a bank, normalised if so asked. */
static status bank_keys(mosaic *m, const half_index *i, int64_t bank, const double **mk)
{
    *mk = slots(m, i, bank, 0);
    if (!m->c.pmem_norm) return OK;
    args a = {.in = {*mk}, .out = {m->unit_slots, m->unit_slots + slots_size(m)}};
    a.d = (dims){.R = m->c.H * m->c.M, .D = m->c.d / m->c.H};
    a.p = norm_params(m);
    *mk = m->unit_slots;
    return stage_run(m, unit_norm_ref, &a);
}

static args memory_args(const mosaic *m, int64_t layer, int64_t bank)
{
    const method *f = &m->c.pmem_method;
    const params drop =
        dropout_params(m, m->c.drop_memory, site_of(layer, SITE_MEMORY + (int)bank));
    args a = {.d = head_dims(m), .p = f->p, .transform = f->op};
    mask_params(&a.p, &drop);
    return a;
}

status persistent_read(mosaic *m, int64_t layer, half_acts *x, double *out)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t d = m->c.d, H = m->c.H, D = d / H, n = m->B * m->T * d;
    double *beta = m->per_head, *q = m->t[0], *z = m->t[1];
    bandwidths(m, i->kappa, beta);
    queries(m, x->key, beta, q);
    memset(x->z, 0, (size_t)n * sizeof *x->z);
    for (int64_t bank = 0; bank < m->c.banks; bank++) {
        const double *mk;
        TRY(bank_keys(m, i, bank, &mk));
        args a = memory_args(m, layer, bank);
        a.in[0] = q;
        a.in[1] = mk;
        a.in[2] = slots(m, i, bank, 1);
        a.out[0] = z;
        TRY(stage_run(m, persistent_memory_ref, &a));
        add_to(x->z, z, n);
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->B * m->T * H; r++) {
        const double by = scale_of(m, m->slot[SLOT_VALUE][i->nu + r % H]) / (double)m->c.banks;
        for (int64_t e = 0; e < D; e++)
            x->z[r * D + e] *= by;
    }
    TRY(project(m, x->z, d, i->wo, i->bo, d, out));
    return residual_dropout(m, site_of(layer, SITE_MEMORY_RESIDUAL), out);
}

status persistent_forward(mosaic *m, int64_t layer, half_acts *x, double *out)
{
    TRY(keys_forward(m, &m->layers[layer].pers, x));
    return persistent_read(m, layer, x, out);
}

/* per_head[h] = sum over (b,t) of <x,y>. */
static void head_dots(const mosaic *m, const double *x, const double *y, double *per_head)
{
    const int64_t H = m->c.H, D = m->c.d / H;
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < H; h++) {
        per_head[h] = 0;
        for (int64_t r = h; r < m->B * m->T * H; r += H)
            per_head[h] += dot(x + r * D, y + r * D, D);
    }
}

/* dnu from dy and y; dy becomes dz of one bank. */
static void scale_grad(mosaic *m, const half_index *i, const double *y, double *dy)
{
    const int64_t H = m->c.H, D = m->c.d / H;
    const double *nu = m->slot[SLOT_VALUE] + i->nu;
    double *dnu = m->slot[SLOT_GRAD] + i->nu;
    head_dots(m, dy, y, dnu);
    for (int64_t h = 0; h < H; h++)
        dnu[h] = m->c.value_clamp && exp(10 * nu[h]) > 5 ? 0 : 10 * dnu[h];
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->B * m->T * H; r++) {
        const double by = scale_of(m, nu[r % H]) / (double)m->c.banks;
        for (int64_t e = 0; e < D; e++)
            dy[r * D + e] *= by;
    }
}

static status bank_grad(mosaic *m, int64_t layer, int64_t bank, const double *q, const double *dz,
                        double *dq)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t size = slots_size(m), rows = m->c.H * m->c.M;
    double *dmk = m->slot[SLOT_GRAD] + i->mk + 2 * bank * size;
    double *dmv = m->slot[SLOT_GRAD] + i->mv + 2 * bank * size;
    double *unit = m->unit_slots, *norm = unit + size, *dunit = norm + rows;
    const double *mk;
    TRY(bank_keys(m, i, bank, &mk));
    args a = memory_args(m, layer, bank);
    a.in[0] = q;
    a.in[1] = mk;
    a.in[2] = slots(m, i, bank, 1);
    a.in[5] = dz;
    a.out[0] = dq;
    a.out[1] = m->c.pmem_norm ? dunit : dmk;
    a.out[2] = dmv;
    TRY(stage_run(m, persistent_memory_grad_ref, &a));
    if (!m->c.pmem_norm) return OK;
    args back = {.in = {unit, norm, dunit}, .out = {dmk}, .p = norm_params(m)};
    back.d = (dims){.R = rows, .D = m->c.d / m->c.H};
    return stage_run(m, unit_norm_grad_ref, &back);
}

status persistent_backward(mosaic *m, int64_t layer, const half_acts *x, double *dout, double *dh)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t d = m->c.d, H = m->c.H, n = m->B * m->T * d;
    double *dz = m->t[0], *dq = m->t[1], *q = m->t[2], *one = dh;
    double *beta = m->per_head, *along = beta + H;
    TRY(residual_dropout(m, site_of(layer, SITE_MEMORY_RESIDUAL), dout));
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dout, dz));
    scale_grad(m, i, x->z, dz);
    bandwidths(m, i->kappa, beta);
    queries(m, x->key, beta, q);
    memset(dq, 0, (size_t)n * sizeof *dq);
    for (int64_t bank = 0; bank < m->c.banks; bank++) {
        TRY(bank_grad(m, layer, bank, q, dz, one));
        add_to(dq, one, n);
    }
    /* dbeta = 2 beta <dq,k>, so that dkappa = 20 <dq,q> */
    head_dots(m, dq, x->key, along);
    for (int64_t h = 0; h < H; h++)
        along[h] *= 2 * beta[h];
    bandwidth_grad(m, i->kappa, beta, along);
    queries(m, dq, beta, dout); /* dk = beta^2 dq */
    return keys_backward(m, i, x, dout, dh);
}
