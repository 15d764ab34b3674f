/* SPDX-License-Identifier: MIT
 *
 * mosaic_layers — what the blocks of both architectures are made of: projections with bias, causal
 * convolutions, norms, dropout, and the keys of a memory (model 2.1-2.4, 2.9).
 *
 * A convolution of width K and shift sigma is a projection of the unfolded input,
 *     k_t[o] = sum_i sum_tau W[o,i,tau] x_{t-(K-1-sigma)+tau}[i],   x outside 0..T-1 zero.
 * Gradients of weights are products that leave float, whatever the working type.
 */
#include "layer_norm.cuh"
#include "mosaic.cuh"

status stage(mosaic *m, op_id op, args *a)
{
    size_t need = 0;
    if (a->type == F64) a->type = m->type;
    a->stream = m->now;
    op_fn *f = kernel_of(op, a);
    if (!f) return fail(ERR_ARG, "model cuda: %s: no kernel takes this call", op_name(op));
    a->need = &need;
    TRY(f(a));
    a->need = NULL;
    TRY(scratch(m, need, &a->work));
    if (!m->now) return OK;
    int which;
    TRY(clock_begin(m, op_name(op), &which));
    TRY(f(a));
    return clock_end(m, which);
}

status product(mosaic *m, const char *name, int64_t rows, int64_t cols, int64_t inner, double scale,
               matrix x, matrix w, matrix y, int add)
{
    matmul mm = {};
    void *work;
    TRY(scratch(m, MATMUL_WORK, &work));
    if (!m->now) return OK;
    int which;
    TRY(clock_begin(m, name, &which));
    TRY(m->tf32 ? matmul_begin_tf32(&mm, "model cuda", m->type, work, m->now)
                : matmul_begin(&mm, "model cuda", m->type, work, m->now));
    TRY(multiply(&mm, rows, cols, inner, scale, x, w, y, add, 1));
    return clock_end(m, which);
}

const void *weight(const mosaic *m, int64_t at)
{
    return behind(m, m->type == F32 ? m->slot[SLOT_VALUE] : m->shadow, at);
}

const float *value(const mosaic *m, int64_t at)
{
    return at < 0 ? NULL : m->slot[SLOT_VALUE] + at;
}

float *grad(const mosaic *m, int64_t at)
{
    return at < 0 ? NULL : m->into + at;
}

status project(mosaic *m, const void *x, int64_t C, int64_t w, int64_t b, int64_t N, void *y)
{
    const int64_t R = m->B * m->T;
    const matrix mx = {x, m->type, C, 0, 0}, mw = {weight(m, w), m->type, C, 0, 1};
    const matrix my = {y, m->type, N, 0, 0};
    TRY(product(m, "projections", R, N, C, 1, mx, mw, my, 0));
    return b < 0 ? OK : part_bias(m->now, m->type, y, value(m, b), R, N);
}

/* db_n = sum_r dy_rn */
static status bias_grad(mosaic *m, int64_t b, const void *dy, int64_t N)
{
    const int64_t R = m->B * m->T, chunks = dot_chunks(R);
    void *part;
    TRY(scratch(m, sizeof(float) * (size_t)(chunks * N), &part));
    TRY(part_dots(m->now, m->type, (float *)part, dy, NULL, R, N));
    if (m->now) sum_heads(grad(m, b), (const float *)part, chunks, N, 1, NULL, 1, m->now);
    return launched("model cuda: bias");
}

status project_grad(mosaic *m, const void *x, int64_t C, int64_t w, int64_t b, int64_t N,
                    const void *dy, void *dx, int add)
{
    const int64_t R = m->B * m->T;
    const matrix mdy = {dy, m->type, N, 0, 0}, mw = {weight(m, w), m->type, C, 0, 0};
    const matrix mdyT = {dy, m->type, N, 0, 1}, mx = {x, m->type, C, 0, 0};
    const matrix mdx = {dx, m->type, C, 0, 0}, mdw = {grad(m, w), F32, C, 0, 0};
    TRY(product(m, "projections_grad", R, C, N, 1, mdy, mw, mdx, add));
    TRY(product(m, "projections_grad", N, C, R, 1, mdyT, mx, mdw, 0));
    return b < 0 ? OK : bias_grad(m, b, dy, N);
}

static status unfold(mosaic *m, const void *x, int64_t K, int64_t shift, const void **unfolded)
{
    *unfolded = K == 1 ? x : m->wide[0];
    if (K == 1) return OK;
    return part_unfold(m->now, m->type, m->wide[0], x, m->B * m->T, m->T, m->c.d, K, shift);
}

status convolve(mosaic *m, const void *x, int64_t K, int64_t shift, int64_t w, int64_t b, void *y)
{
    TRY(unfold(m, x, K, shift, &x));
    return project(m, x, K * m->c.d, w, b, m->c.d, y);
}

status convolve_grad(mosaic *m, const void *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                     const void *dy, void *dx, int add)
{
    if (K == 1) return project_grad(m, x, m->c.d, w, b, m->c.d, dy, dx, add);
    TRY(unfold(m, x, K, shift, &x));
    TRY(project_grad(m, x, K * m->c.d, w, b, m->c.d, dy, m->wide[1], 0));
    return part_fold(m->now, m->type, dx, m->wide[1], m->B * m->T, m->T, m->c.d, K, shift, add);
}

void mask_params(const mosaic *m, params *p, double rate, uint32_t site)
{
    p->rate = m->step < 0 ? 0 : rate;
    p->seed = m->seed;
    p->site = site;
    p->step = (uint32_t)m->step;
    p->first_row = m->first_row;
    p->whole_T = m->whole_T;
}

int drops(const mosaic *m)
{
    return m->step >= 0 && m->c.drop_residual > 0;
}

status residual_dropout(mosaic *m, uint32_t site, void *x)
{
    args a = {};
    a.in[0] = x, a.out[0] = x;
    a.d.B = m->B, a.d.T = m->T, a.d.C = m->c.d;
    mask_params(m, &a.p, m->c.drop_residual, site);
    return drops(m) ? stage(m, OP_dropout, &a) : OK;
}

/* A LayerNorm of the stream, and the dropout of a site beside it. */
static args norm_args(const mosaic *m, const norm_place *n, uint32_t site)
{
    args a = {};
    a.type = m->type;
    a.stream = m->now;
    a.d.R = m->B * m->T, a.d.C = m->c.d;
    a.d.B = m->B, a.d.T = m->T;
    a.p.eps = 1e-5;
    mask_params(m, &a.p, m->c.drop_residual, site);
    a.in[0] = n->x, a.in[1] = value(m, n->w);
    return a;
}

status norm_forward(mosaic *m, const norm_place *n)
{
    args a = norm_args(m, n, 0);
    a.in[2] = value(m, n->b);
    a.out[0] = n->h, a.out[1] = n->mean, a.out[2] = n->rstd;
    return stage(m, OP_layer_norm, &a);
}

status norm_joined(mosaic *m, const norm_place *n, uint32_t site, const void *base, const void *out)
{
    int which;
    args a = norm_args(m, n, site);
    const joined j = {base, out};
    a.in[2] = value(m, n->b);
    a.out[0] = n->h, a.out[1] = n->mean, a.out[2] = n->rstd;
    if (!m->now) return OK;
    TRY(clock_begin(m, op_name(OP_layer_norm), &which));
    TRY(layer_norm_join(&a, &j));
    return clock_end(m, which);
}

status norm_backward(mosaic *m, const norm_place *n, const void *dh, const void *plus, void *dx,
                     uint32_t site, void *dropped)
{
    int which;
    size_t need = 0;
    args a = norm_args(m, n, site);
    const parted to = {plus, drops(m) ? dropped : NULL};
    a.in[2] = n->mean, a.in[3] = n->rstd, a.in[4] = dh;
    a.out[0] = dx, a.out[1] = grad(m, n->w), a.out[2] = grad(m, n->b);
    a.need = &need;
    TRY(layer_norm_grad_part(&a, &to));
    a.need = NULL;
    TRY(scratch(m, need, &a.work));
    if (!m->now) return OK;
    TRY(clock_begin(m, op_name(OP_layer_norm_grad), &which));
    TRY(layer_norm_grad_part(&a, &to));
    return clock_end(m, which);
}

params norm_params(const mosaic *m)
{
    params p = {};
    p.eps_add = m->c.eps_add;
    p.eps = m->c.eps_add ? 1e-6 : 1e-12;
    return p;
}

dims head_dims(const mosaic *m)
{
    dims d = {};
    d.B = m->B, d.T = m->T, d.H = m->c.H, d.D = m->c.d / m->c.H, d.M = m->c.M;
    return d;
}

static args unit_args(const mosaic *m)
{
    args a = {};
    a.d.R = m->B * m->T * m->c.H, a.d.D = m->c.d / m->c.H;
    a.p = norm_params(m);
    return a;
}

status unit_forward(mosaic *m, const void *x, void *y, float *norm)
{
    args a = unit_args(m);
    a.in[0] = x, a.out[0] = y, a.out[1] = norm;
    return stage(m, OP_unit_norm, &a);
}

status unit_backward(mosaic *m, const void *y, const float *norm, const void *dy, void *dx)
{
    args a = unit_args(m);
    a.in[0] = y, a.in[1] = norm, a.in[2] = dy, a.out[0] = dx;
    return stage(m, OP_unit_norm_grad, &a);
}

status keys_forward(mosaic *m, const half_index *i, half_acts *x)
{
    args a = {};
    TRY(convolve(m, x->h, m->c.k_kernel, 0, i->wk, i->bk, m->t[0]));
    a.in[0] = m->t[0], a.in[1] = value(m, i->theta), a.out[0] = x->s;
    a.d = head_dims(m);
    TRY(stage(m, OP_leaky_average, &a));
    return unit_forward(m, x->s, x->key, x->key_norm);
}

static status wkv_theta_grad(mosaic *m, int64_t theta, const void *s, const void *ds)
{
    const dims d = head_dims(m);
    void *terms;
    TRY(scratch(m, sizeof(float) * (size_t)(d.B * d.H * d.D), &terms));
    TRY(part_wkv_terms(m->now, m->type, (float *)terms, value(m, theta), s, ds, d.B, d.T, d.H,
                       d.D));
    if (m->now) sum_heads(grad(m, theta), (const float *)terms, d.B, d.H, d.D, NULL, 10, m->now);
    return launched("model cuda: theta");
}

status keys_backward(mosaic *m, const half_index *i, const half_acts *x, const void *dkey, void *dh,
                     int add)
{
    void *ds = m->t[0], *dk = m->t[2];
    args a = {};
    TRY(unit_backward(m, x->key, x->key_norm, dkey, ds));
    a.in[0] = value(m, i->theta), a.in[1] = x->s, a.in[2] = ds;
    a.out[0] = dk, a.out[1] = grad(m, i->theta);
    a.d = head_dims(m);
    TRY(stage(m, OP_leaky_average_grad, &a));
    if (m->c.leaky_grad_wkv) TRY(wkv_theta_grad(m, i->theta, x->s, ds));
    return convolve_grad(m, x->h, m->c.k_kernel, 0, i->wk, i->bk, dk, dh, add);
}

args attention_args(const mosaic *m, int64_t layer, const half_acts *x, const void *query)
{
    const mosaic_config *c = &m->c;
    args a = {};
    a.in[0] = query, a.in[1] = x->key, a.in[2] = x->value, a.in[3] = x->scalar + BETA * c->H;
    a.d = head_dims(m);
    a.p = c->method.p;
    a.p.lag = c->visible_lag;
    a.p.scale = 1;
    mask_params(m, &a.p, c->ctx_dropout ? c->drop_context : 0, site_of(layer, SITE_WEIGHTS));
    a.transform = c->method.op;
    a.keep = x->keep;
    return a;
}

status scalars(mosaic *m, const half_index *i, half_acts *x)
{
    return part_scalars(m->now, x->scalar, m->gate, value(m, i->kappa), value(m, i->nu),
                        value(m, i->coef), m->c.H, m->c.value_clamp, m->c.banks);
}

status head_dots(mosaic *m, const void *x, const void *y, double scale, float *out)
{
    const int64_t R = m->B * m->T, chunks = dot_chunks(R), H = m->c.H, D = m->c.d / H;
    void *part;
    TRY(scratch(m, sizeof(float) * (size_t)(chunks * H * D), &part));
    TRY(part_dots(m->now, m->type, (float *)part, x, y, R, H * D));
    if (m->now) sum_heads(out, (const float *)part, chunks, H, D, NULL, scale, m->now);
    return launched("model cuda: heads");
}

status add_rows(mosaic *m, void *z, const void *x, const void *y)
{
    const int64_t n = m->B * m->T * m->c.d;
    return part_add(m->now, m->type, z, x, y, n, n);
}

status store_grad(mosaic *m, int64_t at, const void *x, int64_t count, int add)
{
    if (x == grad(m, at)) return OK;
    return m->now ? from_storage(m->type, grad(m, at), x, count, add, m->now) : OK;
}
