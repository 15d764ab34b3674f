/* SPDX-License-Identifier: MIT
 *
 * mosaic.c — mosaic_ref: the whole model, forward and backward, out of the stages (*_ref).
 *
 *     x = E[token] (GPT: + P[t], dropout),  L blocks,  logits = c U LN(x)
 *     mosaic: c = 1/sqrt(d);  GPT: c = 1.   U is E if tied.
 *     pre-LN:  x <- x + F(LN(x));    post-LN:  x <- LN(x), x <- x + F(x)
 *
 * for the two halves F of each block (contextual.c, persistent.c; gpt.c). The loss is the mean
 * over the scored targets; the first skip_tokens positions are not scored. A gradient may come in
 * parts: each adds  sum over its targets / targets of the whole batch,  with the masks of the
 * whole. Source: model 2.1, 4, 5.
 */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "matmul.h"
#include "stage.h"

/* --- life ------------------------------------------------------------------------------------ */

static void ref_destroy(mosaic *m)
{
    if (!m) return;
    for (int i = 0; i < 4; i++)
        free(m->slot[i]);
    free(m->list);
    free(m->layers);
    free(m->acts);
    free(m->arena);
    free(m->work);
    free(m->probe);
    free(m->open.gradient);
    free(m);
}

/* A transform that refuses its parameters does so here and not in the first batch. */
static status check_transform(const method *f)
{
    return reference_of(f->op)(&(args){.d = {.N = 1}, .p = f->p});
}

static status check_placement(const placement *where)
{
    if (!where) return OK;
    if (where->type != F64) return fail(ERR_ARG, "model ref: type: expected f64");
    if (where->micro < 0)
        return fail(ERR_ARG, "model ref: micro: expected >= 0, got %lld", (long long)where->micro);
    if (where->devices > 0) return fail(ERR_ARG, "model ref: devices: expected none");
    return OK;
}

static status ref_create(mosaic **out, const mosaic_config *c, const placement *where)
{
    *out = NULL;
    TRY(config_check(c));
    TRY(check_transform(&c->method));
    if (c->arch == ARCH_MOSAIC && !c->attn_only) TRY(check_transform(&c->pmem_method));
    TRY(check_placement(where));
    mosaic *m = calloc(1, sizeof *m);
    if (!m) return fail(ERR_MEMORY, "model: out of memory");
    m->c = *c;
    m->micro = where ? where->micro : 0;
    m->index = parameters_list(c, NULL, NULL);
    const size_t total = (size_t)m->index.total;
    m->list = calloc((size_t)m->index.tensors, sizeof *m->list);
    m->layers = calloc((size_t)c->L, sizeof *m->layers);
    m->acts = calloc((size_t)c->L, sizeof *m->acts);
    int whole = m->list && m->layers && m->acts;
    for (int i = 0; i < 4; i++) {
        m->slot[i] = calloc(total, sizeof(double));
        whole = whole && m->slot[i];
    }
    if (!whole) {
        ref_destroy(m);
        return fail(ERR_MEMORY, "model: expected %.0f MB for %zu parameters", 32e-6 * (double)total,
                    total);
    }
    parameters_list(c, m->list, m->layers);
    *out = m;
    return OK;
}

static const mosaic_config *ref_config(const mosaic *m)
{
    return &m->c;
}

static int64_t ref_parameters(const mosaic *m)
{
    return m->index.tensors;
}

static status check_index(const mosaic *m, int64_t i, slot s)
{
    if (i < 0 || i >= m->index.tensors || s < SLOT_VALUE || s > SLOT_MOMENT2)
        return fail(ERR_ARG, "model: tensor %lld: expected 0..%lld", (long long)i,
                    (long long)m->index.tensors - 1);
    return OK;
}

static status ref_info(const mosaic *m, int64_t i, parameter_info *info)
{
    TRY(check_index(m, i, SLOT_VALUE));
    *info = m->list[i].info;
    return OK;
}

static status ref_get(const mosaic *m, int64_t i, slot s, double *values)
{
    TRY(check_index(m, i, s));
    const parameter *p = &m->list[i];
    memcpy(values, m->slot[s] + p->at, (size_t)p->info.count * sizeof *values);
    return OK;
}

static status ref_put(mosaic *m, int64_t i, slot s, const double *values)
{
    TRY(check_index(m, i, s));
    const parameter *p = &m->list[i];
    memcpy(m->slot[s] + p->at, values, (size_t)p->info.count * sizeof *values);
    return OK;
}

/* --- forward --------------------------------------------------------------------------------- */

static status check_batch(const mosaic *m, const batch *b)
{
    const int64_t most = INT64_C(1) << 31;
    if (b->B < 1 || b->T < 1 || b->B > most || b->T > most)
        return fail(ERR_ARG, "batch: expected B >= 1 and T >= 1, got %lld and %lld",
                    (long long)b->B, (long long)b->T);
    if (m->c.arch == ARCH_GPT && b->T > m->c.T)
        return fail(ERR_ARG, "batch: T: expected at most %lld learned positions, got %lld",
                    (long long)m->c.T, (long long)b->T);
    return OK;
}

/* Rows [first, first + count) of a batch. */
static batch rows_of(const batch *b, int64_t first, int64_t count)
{
    batch part = *b;
    part.B = count;
    part.tokens += first * b->T;
    if (b->targets) part.targets += first * b->T;
    part.first_row += first;
    return part;
}

static status embed(mosaic *m, const batch *b, double *x)
{
    const int64_t d = m->c.d;
    args a = {.in = {b->tokens, m->slot[SLOT_VALUE] + m->index.emb}, .out = {x}};
    a.d = (dims){.R = b->B * b->T, .C = d, .V = m->c.V};
    TRY(stage_run(m, embedding_ref, &a));
    if (m->index.wpe < 0) return OK;
    for (int64_t s = 0; s < b->B; s++)
        add_to(x + s * b->T * d, m->slot[SLOT_VALUE] + m->index.wpe, b->T * d);
    return residual_dropout(m, site_of(0, SITE_EMBEDDING), x);
}

/* x -> next through one half. */
static status half(mosaic *m, int64_t layer, const half_index *i, half_acts *x, half_forward *f,
                   double *next)
{
    const int64_t n = m->B * m->T * m->c.d;
    double *out = m->t[5];
    TRY(norm_forward(m, i->ln_w, i->ln_b, x->x, x->h, x->mean, x->rstd));
    TRY(f(m, layer, x, out));
    if (x->out) memcpy(x->out, out, (size_t)n * sizeof *out);
    const double *from = m->c.pre_ln || m->c.arch == ARCH_GPT ? x->x : x->h;
#pragma omp parallel for schedule(static)
    for (int64_t e = 0; e < n; e++)
        next[e] = from[e] + out[e];
    return OK;
}

/* The residual stream up to the final LayerNorm. */
static status forward(mosaic *m, const batch *b)
{
    const int gpt = m->c.arch == ARCH_GPT, single = m->c.attn_only && !gpt;
    const int64_t L = m->c.L;
    m->B = b->B;
    m->T = b->T;
    TRY(embed(m, b, m->acts[0].ctx.x));
    for (int64_t l = 0; l < L; l++) {
        const layer_index *i = &m->layers[l];
        layer_acts *x = &m->acts[l];
        double *next = l + 1 < L ? m->acts[l + 1].ctx.x : m->last;
        TRY(half(m, l, &i->ctx, &x->ctx, gpt ? gpt_attention_forward : contextual_forward,
                 single ? next : x->pers.x));
        if (single) continue;
        TRY(half(m, l, &i->pers, &x->pers, gpt ? gpt_mlp_forward : persistent_forward, next));
    }
    TRY(norm_forward(m, m->index.ln_w, m->index.ln_b, m->last, m->last_h, m->last_mean,
                     m->last_rstd));
    /* the factor of the logits, here where it is cheapest */
    const double by = gpt ? 1 : 1 / sqrt((double)m->c.d);
    for (int64_t e = 0; e < m->B * m->T * m->c.d && by != 1; e++)
        m->last_h[e] *= by;
    return OK;
}

/* Rows that a forward pass takes at a time: about 48 numbers a channel and position. */
static int64_t forward_rows(const mosaic *m, const batch *b)
{
    const int64_t room = INT64_C(1) << 25, fit = room / (48 * m->c.d * b->T);
    const int64_t rows = m->micro > 0 ? m->micro : fit;
    return rows < 1 ? 1 : rows < b->B ? rows : b->B;
}

static status predict_rows(mosaic *m, const batch *b)
{
    TRY(activations_reserve(m, b->B, b->T, 0));
    m->predicted = 0;
    m->step = -1;
    return forward(m, b);
}

static status ref_predict(mosaic *m, const batch *b, double *logits)
{
    TRY(check_batch(m, b));
    const int64_t most = forward_rows(m, b);
    for (int64_t r = 0; r < b->B; r += most) {
        const batch part = rows_of(b, r, b->B - r < most ? b->B - r : most);
        TRY(predict_rows(m, &part));
        TRY(project(m, m->last_h, m->c.d, m->index.head, -1, m->c.V, logits + r * b->T * m->c.V));
    }
    m->predicted = most == b->B;
    return OK;
}

/* A piece of the head: logits of rows [r, r + n) of this call. */
static status head_piece(mosaic *m, int64_t r, int64_t n)
{
    args a = {.in = {m->last_h + r * m->c.d, m->slot[SLOT_VALUE] + m->index.head}};
    a.out[0] = m->logits;
    a.d = (dims){.R = n, .C = m->c.d, .N = m->c.V};
    return stage_run(m, linear_ref, &a);
}

static status score_rows(mosaic *m, const batch *b, double *loss, int32_t *argmax)
{
    const int64_t rows = b->B * b->T;
    TRY(predict_rows(m, b));
    for (int64_t r = 0; r < rows; r += m->piece) {
        const int64_t n = rows - r < m->piece ? rows - r : m->piece;
        TRY(head_piece(m, r, n));
        logits_read(m->logits, n, m->c.V, loss ? b->targets + r : NULL, loss ? loss + r : NULL,
                    argmax ? argmax + r : NULL);
    }
    return OK;
}

static status check_targets(const mosaic *m, const batch *b)
{
    for (int64_t r = 0; r < b->B * b->T; r++)
        if (b->targets[r] < -1 || b->targets[r] >= m->c.V)
            return fail(ERR_DATA, "batch: target %lld: expected -1..%lld, got %d", (long long)r,
                        (long long)m->c.V - 1, (int)b->targets[r]);
    return OK;
}

static status ref_score(mosaic *m, const batch *b, double *loss, int32_t *argmax)
{
    TRY(check_batch(m, b));
    if (loss) TRY(check_targets(m, b));
    const int64_t most = forward_rows(m, b);
    for (int64_t r = 0; r < b->B; r += most) {
        const batch part = rows_of(b, r, b->B - r < most ? b->B - r : most);
        TRY(score_rows(m, &part, loss ? loss + r * b->T : NULL, argmax ? argmax + r * b->T : NULL));
    }
    return OK;
}

/* --- backward -------------------------------------------------------------------------------- */

int64_t batch_scored(const mosaic_config *c, const batch *b)
{
    int64_t scored = 0;
    for (int64_t r = 0; r < b->B; r++)
        for (int64_t t = c->skip_tokens; t < b->T; t++)
            scored += b->targets[r * b->T + t] >= 0;
    return scored;
}

static void mark_targets(mosaic *m, const batch *b)
{
    for (int64_t r = 0; r < b->B * b->T; r++) {
        m->targets[r] = r % b->T < m->c.skip_tokens ? -1 : b->targets[r];
        m->dloss[r] = 1 / (double)m->open.divisor;
    }
}

/* Loss, the gradient of the head, and dh (B T, d) of what the head reads; pieces of rows, so that
 * the logits of a large vocabulary never stand in memory at once. */
static status head_gradient(mosaic *m, double *dh)
{
    const int64_t d = m->c.d, V = m->c.V, rows = m->B * m->T;
    const double *u = m->slot[SLOT_VALUE] + m->index.head;
    double *du = m->c.tied ? m->head_grad : m->slot[SLOT_GRAD] + m->index.head, *z = m->logits;
    double loss = 0;
    for (int64_t r = 0; r < rows; r += m->piece) {
        const int64_t n = rows - r < m->piece ? rows - r : m->piece;
        const double *h = m->last_h + r * d;
        args ce = {.in = {z, m->targets + r}, .out = {m->loss + r, m->lse + r}};
        args back = {.in = {z, m->targets + r, m->lse + r, m->dloss + r}, .out = {z}};
        ce.d = back.d = (dims){.R = n, .V = V};
        TRY(head_piece(m, r, n));
        TRY(stage_run(m, cross_entropy_ref, &ce));
        TRY(stage_run(m, cross_entropy_grad_ref, &back));
        matmul(n, d, V, (view){z, V, 1}, (view){u, d, 1}, dh + r * d, d, 0);
        matmul(V, d, n, (view){z, 1, V}, (view){h, d, 1}, du, d, r > 0);
        for (int64_t i = 0; i < n; i++)
            loss += m->loss[r + i];
    }
    m->open.loss += loss;
    return OK;
}

/* dx, the gradient of the stream, back through one half. */
static status half_back(mosaic *m, int64_t layer, const half_index *i, const half_acts *x,
                        half_backward *f, double *dx)
{
    const int64_t n = m->B * m->T * m->c.d;
    double *dh = m->t[3], *dout = m->t[5];
    memcpy(dout, dx, (size_t)n * sizeof *dx);
    TRY(f(m, layer, x, dout, dh));
    if (m->c.pre_ln || m->c.arch == ARCH_GPT) {
        TRY(norm_backward(m, i->ln_w, i->ln_b, x->x, x->mean, x->rstd, dh, dout));
        add_to(dx, dout, n);
        return OK;
    }
    add_to(dh, dx, n);
    return norm_backward(m, i->ln_w, i->ln_b, x->x, x->mean, x->rstd, dh, dx);
}

static status embed_back(mosaic *m, const batch *b, double *dx)
{
    const int64_t d = m->c.d, n = b->T * d;
    double *grad = m->slot[SLOT_GRAD];
    if (m->index.wpe >= 0) {
        TRY(residual_dropout(m, site_of(0, SITE_EMBEDDING), dx));
        for (int64_t s = 0; s < b->B; s++)
            add_to(grad + m->index.wpe, dx + s * n, n);
    }
    args a = {.in = {b->tokens, dx}, .out = {grad + m->index.emb}};
    a.d = (dims){.R = b->B * b->T, .C = d, .V = m->c.V};
    TRY(stage_run(m, embedding_grad_ref, &a));
    if (m->c.tied) add_to(grad + m->index.emb, m->head_grad, m->c.V * d);
    return OK;
}

static status backward(mosaic *m, const batch *b)
{
    const int gpt = m->c.arch == ARCH_GPT, single = m->c.attn_only && !gpt;
    double *dh = m->t[3], *dx = m->t[4];
    const double by = gpt ? 1 : 1 / sqrt((double)m->c.d);
    memset(m->slot[SLOT_GRAD], 0, (size_t)m->index.total * sizeof(double));
    TRY(head_gradient(m, dh));
    for (int64_t e = 0; e < m->B * m->T * m->c.d && by != 1; e++)
        dh[e] *= by;
    TRY(norm_backward(m, m->index.ln_w, m->index.ln_b, m->last, m->last_mean, m->last_rstd, dh,
                      dx));
    for (int64_t l = m->c.L - 1; l >= 0; l--) {
        const layer_index *i = &m->layers[l];
        const layer_acts *x = &m->acts[l];
        if (!single)
            TRY(half_back(m, l, &i->pers, &x->pers, gpt ? gpt_mlp_backward : persistent_backward,
                          dx));
        TRY(half_back(m, l, &i->ctx, &x->ctx, gpt ? gpt_attention_backward : contextual_backward,
                      dx));
    }
    return embed_back(m, b, dx);
}

/* Forward and backward of a part; the gradient of the parts before is added to that of this one. */
static status add_part(mosaic *m, const batch *b)
{
    const size_t bytes = (size_t)m->index.total * sizeof(double);
    const int more = m->open.rows > 0;
    if (more && !m->open.gradient && !(m->open.gradient = malloc(bytes)))
        return fail(ERR_MEMORY, "model: expected %.0f MB for a second gradient",
                    1e-6 * (double)bytes);
    if (more) memcpy(m->open.gradient, m->slot[SLOT_GRAD], bytes);
    m->open.rows += b->B;
    m->open.scored += batch_scored(&m->c, b);
    TRY(activations_reserve(m, b->B, b->T, 1));
    mark_targets(m, b);
    m->predicted = 0;
    m->first_row = b->first_row;
    m->whole_T = b->whole_T;
    TRY(forward(m, b));
    TRY(backward(m, b));
    if (more) add_to(m->slot[SLOT_GRAD], m->open.gradient, m->index.total);
    return OK;
}

/* Begin a step, or see that a part follows the one before. */
static status open_step(mosaic *m, const batch *b)
{
    if (b->first_row != 0 && b->first_row != m->open.rows)
        return fail(ERR_ARG, "batch: first_row: expected 0 or %lld, the rows before, got %lld",
                    (long long)m->open.rows, (long long)b->first_row);
    if (b->first_row != 0 && b->scored != m->open.divisor)
        return fail(ERR_ARG, "batch: scored: expected %lld as in the parts before, got %lld",
                    (long long)m->open.divisor, (long long)b->scored);
    if (b->whole_T != 0 && b->whole_T < b->T)
        return fail(ERR_ARG, "batch: whole_T: expected at least T = %lld, got %lld",
                    (long long)b->T, (long long)b->whole_T);
    if (b->first_row != 0) return OK;
    m->open.rows = m->open.scored = 0;
    m->open.loss = 0;
    m->open.divisor = b->scored > 0 ? b->scored : batch_scored(&m->c, b);
    return m->open.divisor > 0 ? OK : fail(ERR_DATA, "batch: expected at least one scored target");
}

static status ref_gradient(mosaic *m, const batch *b, uint64_t seed, int64_t dropout_step)
{
    TRY(check_batch(m, b));
    TRY(open_step(m, b));
    const int64_t most = m->micro > 0 && m->micro < b->B ? m->micro : b->B;
    m->seed = seed;
    m->step = dropout_step;
    for (int64_t r = 0; r < b->B; r += most) {
        const batch part = rows_of(b, r, b->B - r < most ? b->B - r : most);
        const status s = add_part(m, &part);
        /* The model and the batch are sound: a transform refuses the size of its numbers. */
        if (s == ERR_ARG)
            m->open.loss = NAN;
        else
            TRY(s);
    }
    return OK;
}

static status update_parameters(mosaic *m, const optimizer *o, int64_t update, const double *norm)
{
    for (int64_t i = 0; i < m->index.tensors; i++) {
        const parameter *p = &m->list[i];
        double *w = m->slot[SLOT_VALUE] + p->at, *g = m->slot[SLOT_GRAD] + p->at;
        double *m1 = m->slot[SLOT_MOMENT1] + p->at, *m2 = m->slot[SLOT_MOMENT2] + p->at;
        args step = {.in = {w, g, m1, m2, norm}, .out = {w, m1, m2}, .d = {.N = p->info.count}};
        step.p = (params){.lr = o->lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps};
        step.p.decay = p->info.decays ? o->decay : 0;
        step.p.clip = o->clip;
        step.p.update = update;
        TRY(stage_run(m, adamw_ref, &step));
    }
    return OK;
}

static status ref_apply(mosaic *m, const optimizer *o, int64_t update)
{
    if (m->open.rows == 0) return fail(ERR_ARG, "apply: expected a gradient before");
    if (m->open.scored != m->open.divisor)
        return fail(ERR_ARG, "apply: expected parts of %lld scored targets, got %lld",
                    (long long)m->open.divisor, (long long)m->open.scored);
    if (m->reports == MOST_STEPS)
        return fail(ERR_ARG, "apply: %d steps wait to be collected", MOST_STEPS);
    step_report *r = &m->report[m->reports];
    *r = (step_report){.update = update, .scored = m->open.divisor};
    args a = {.in = {m->slot[SLOT_GRAD]}, .out = {&r->grad_norm}, .d = {.N = m->index.total}};
    TRY(stage_run(m, global_norm_ref, &a));
    r->loss = m->open.loss / (double)m->open.divisor;
    r->finite = isfinite(r->loss) && isfinite(r->grad_norm);
    if (o && r->finite) TRY(update_parameters(m, o, update, &r->grad_norm));
    m->open.rows = 0;
    m->reports++;
    return OK;
}

/* Every step is at its end when apply returns. */
static status ref_collect(mosaic *m, int wait, step_report *r, int *ready)
{
    (void)wait;
    *ready = m->reports > 0;
    if (m->reports == 0) return OK;
    *r = m->report[0];
    m->reports--;
    memmove(m->report, m->report + 1, (size_t)m->reports * sizeof *r);
    return OK;
}

const model mosaic_ref = {
    .name = "ref",
    .create = ref_create,
    .destroy = ref_destroy,
    .config = ref_config,
    .parameters = ref_parameters,
    .info = ref_info,
    .get = ref_get,
    .put = ref_put,
    .predict = ref_predict,
    .score = ref_score,
    .gradient = ref_gradient,
    .apply = ref_apply,
    .collect = ref_collect,
    .stream_open = stream_open,
    .stream_token = stream_token,
    .stream_close = stream_close,
    .call = INT64_C(1) << 14,
};
