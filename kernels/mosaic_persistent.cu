/* SPDX-License-Identifier: MIT
 *
 * mosaic_persistent — the persistent memory: the same keys machinery, asking learned slots.
 *
 *     k = unit(leaky(W_k h)),  q = beta^2 k,  z = mean over banks of persistent_memory(q, M_k,
 * M_v), y = f(nu) z,   W_o y;      f(nu) = e^{10 nu}, or min(e^{10 nu}, 5) if value_clamp
 *
 * with dropout on the weights and on the result. pmem_norm: the slots of M_k are divided by their
 * norms.   Source: Zhang et al. 2025; model 2.8.
 */
#include "mosaic.cuh"

#include <math.h>

static int64_t slots_size(const mosaic *m)
{
    return m->c.M * m->c.d;
}

static int64_t bank_of(const mosaic *m, int64_t first, int64_t bank)
{
    return first + bank * m->index.bank;
}

static status per_head(mosaic *m, void *y, const void *x, const half_acts *a, scalar_row factor)
{
    const int64_t H = m->c.H;
    return part_scale_heads(m->now, m->type, y, x, a->scalar + factor * H, m->B * m->T, H,
                            m->c.d / H);
}

static args slot_norm_args(const mosaic *m)
{
    args a = {};
    a.d.R = m->c.H * m->c.M, a.d.D = m->c.d / m->c.H;
    a.p = norm_params(m);
    return a;
}

/* The keys of a bank, normalised if so asked. */
static status bank_keys(mosaic *m, const half_index *i, int64_t bank, const void **mk)
{
    args a = slot_norm_args(m);
    *mk = weight(m, bank_of(m, i->mk, bank));
    if (!m->c.pmem_norm) return OK;
    a.in[0] = *mk, a.out[0] = m->unit_slots, a.out[1] = m->slot_norm;
    *mk = m->unit_slots;
    return stage(m, OP_unit_norm, &a);
}

/* in[0] q, in[1] keys, in[2] values */
static args memory_args(const mosaic *m, int64_t layer, const half_acts *x, int64_t bank,
                        const void *q, const void *mk)
{
    args a = {};
    a.in[0] = q, a.in[1] = mk;
    a.in[2] = weight(m, bank_of(m, m->layers[layer].pers.mv, bank));
    a.d = head_dims(m);
    a.p = m->c.pmem_method.p;
    a.transform = m->c.pmem_method.op;
    a.keep = x->keep ? x->keep + (size_t)bank * x->kept : NULL;
    mask_params(m, &a.p, m->c.drop_memory, site_of(layer, SITE_MEMORY + (int)bank));
    return a;
}

status persistent_read(mosaic *m, int64_t layer, half_acts *x, void *out)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t d = m->c.d;
    void *q = m->t[0], *z = m->t[1];
    TRY(per_head(m, q, x->key, x, BETA2));
    for (int64_t bank = 0; bank < m->c.banks; bank++) {
        const void *mk;
        TRY(bank_keys(m, i, bank, &mk));
        args a = memory_args(m, layer, x, bank, q, mk);
        a.out[0] = bank == 0 ? x->z : z;
        TRY(stage(m, OP_persistent_memory, &a));
        if (bank > 0) TRY(add_rows(m, x->z, x->z, z));
    }
    TRY(per_head(m, x->z, x->z, x, SCALE));
    return project(m, x->z, d, i->wo, i->bo, d, out);
}

status persistent_forward(mosaic *m, int64_t layer, half_acts *x, void *out)
{
    const half_index *i = &m->layers[layer].pers;
    TRY(scalars(m, i, x));
    TRY(keys_forward(m, i, x));
    return persistent_read(m, layer, x, out);
}

/* Where the gradient of slots is written: its place, or scratch where that is of another type. */
static void *slot_room(const mosaic *m, int64_t at, int which)
{
    return m->type == F32 ? (void *)grad(m, at) : m->slot_grad[which];
}

static status bank_grad(mosaic *m, int64_t layer, const half_acts *x, int64_t bank, const void *q,
                        const void *dz, void *dq)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t size = slots_size(m), k = bank_of(m, i->mk, bank), v = bank_of(m, i->mv, bank);
    void *dk = slot_room(m, k, 0), *dv = slot_room(m, v, 1);
    void *dunit = m->c.pmem_norm ? behind(m, m->unit_slots, size) : dk;
    const void *mk;
    TRY(bank_keys(m, i, bank, &mk));
    args a = memory_args(m, layer, x, bank, q, mk);
    a.in[5] = dz;
    a.out[0] = dq, a.out[1] = dunit, a.out[2] = dv;
    TRY(stage(m, OP_persistent_memory_grad, &a));
    if (m->c.pmem_norm) {
        args back = slot_norm_args(m);
        back.in[0] = m->unit_slots, back.in[1] = m->slot_norm, back.in[2] = dunit;
        back.out[0] = dk;
        TRY(stage(m, OP_unit_norm_grad, &back));
    }
    TRY(store_grad(m, k, dk, size, 0));
    return store_grad(m, v, dv, size, 0);
}

status persistent_backward(mosaic *m, int64_t layer, const half_acts *x, const void *dx, void *room,
                           void *dh)
{
    const half_index *i = &m->layers[layer].pers;
    const int64_t d = m->c.d, H = m->c.H;
    void *dz = m->t[0], *dq = m->t[1], *q = m->t[2], *one = dh, *dkey = room;
    TRY(project_grad(m, x->z, d, i->wo, i->bo, d, dx, dz, 0));
    TRY(head_dots(m, dz, x->z, 10, grad(m, i->nu)));
    if (m->c.value_clamp)
        TRY(part_clamp_grad(m->now, grad(m, i->nu), value(m, i->nu), log(5.0), H));
    TRY(per_head(m, dz, dz, x, SCALE)); /* of one bank */
    TRY(per_head(m, q, x->key, x, BETA2));
    for (int64_t bank = 0; bank < m->c.banks; bank++) {
        TRY(bank_grad(m, layer, x, bank, q, dz, bank == 0 ? dq : one));
        if (bank > 0) TRY(add_rows(m, dq, dq, one));
    }
    /* dbeta = 2 beta <dq,k>, so that dkappa = 20 beta^2 <dq,k> */
    TRY(head_dots(m, dq, x->key, 1, m->per_head));
    TRY(part_kappa_grad(m->now, grad(m, i->kappa), value(m, i->kappa), x->scalar + BETA2 * H,
                        m->per_head, 20, m->c.freeze_kappa, H));
    TRY(per_head(m, dkey, dq, x, BETA2));
    return keys_backward(m, i, x, dkey, dh, 0);
}
