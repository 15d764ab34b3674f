/* SPDX-License-Identifier: MIT
 *
 * parameters.c — the parameters of a model: canonical names, order, shapes, initial deviations and
 * decay groups (model 2.10, 2.11, 2.12; GPT: 5).
 *
 * Weight decay falls on tensors with two or more dimensions, or on all (decay_all); never on a
 * tensor that no gradient reaches, such as the contextual keys under top-k uniform weights, unless
 * decay_pathless.
 */
#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

typedef struct builder {
    const mosaic_config *c;
    parameter *list;
    model_index index;
    char prefix[64];
} builder;

typedef struct rule {
    init_kind init;
    double scale;
    int pathless;
} rule;

static const rule ones = {INIT_CONSTANT, 1, 0}, zeros = {INIT_CONSTANT, 0, 0};

/* Append one tensor; shape ends at the first 0. Returns its first element. */
static int64_t add(builder *b, const char *name, rule r, int64_t s0, int64_t s1, int64_t s2,
                   int64_t s3)
{
    const int64_t shape[4] = {s0, s1, s2, s3};
    parameter p = {.at = b->index.total, .init = r.init, .scale = r.scale};
    snprintf(p.info.name, sizeof p.info.name, "%s%s", b->prefix, name);
    p.info.count = 1;
    for (; p.info.rank < 4 && shape[p.info.rank] > 0; p.info.rank++) {
        p.info.shape[p.info.rank] = shape[p.info.rank];
        p.info.count *= shape[p.info.rank];
    }
    p.info.decays = (p.info.rank >= 2 || b->c->decay_all) && (!r.pathless || b->c->decay_pathless);
    if (b->list) b->list[b->index.tensors] = p;
    b->index.tensors++;
    b->index.total += p.info.count;
    return p.at;
}

static int64_t add_bias(builder *b, const char *name, rule r, int64_t n)
{
    return b->c->bias ? add(b, name, r, n, 0, 0, 0) : -1;
}

static int blocks_gradient(const method *m)
{
    return strcmp(m->op, "topk_uniform") == 0;
}

static int ignores_bandwidth(const mosaic_config *c)
{
    const method *m = &c->method;
    const int fixed = strcmp(m->op, "normrelu") == 0 &&
                      (m->p.form == NORMRELU_CODE_EFT || m->p.form == NORMRELU_AFFINE);
    return c->freeze_kappa || fixed || blocks_gradient(m);
}

static rule normal(double variance, int pathless)
{
    return (rule){INIT_NORMAL, sqrt(variance), pathless};
}

static void scalars(builder *b, const char *part, half_index *i, int no_key, int no_kappa)
{
    const int64_t H = b->c->H;
    char name[64];
    snprintf(name, sizeof name, "%s.leaky_key_beta", part);
    i->theta = add(b, name, (rule){INIT_LEAKY, 0, no_key}, H, 0, 0, 0);
    snprintf(name, sizeof name, "%s.kernel_beta", part);
    i->kappa = add(b, name, (rule){INIT_CONSTANT, b->c->kappa_init, no_kappa}, H, 0, 0, 0);
    snprintf(name, sizeof name, "%s.value_beta", part);
    i->nu = add(b, name, (rule){INIT_CONSTANT, -0.05, 0}, H, 0, 0, 0);
}

static void contextual(builder *b, half_index *i)
{
    const mosaic_config *c = b->c;
    const int64_t d = c->d, K = c->k_kernel;
    const int no_key = blocks_gradient(&c->method);
    *i = (half_index){.memory = -1, .coef = -1};
    i->ln_w = add(b, "ln1.weight", ones, d, 0, 0, 0);
    i->ln_b = add_bias(b, "ln1.bias", zeros, d);
    scalars(b, "attn", i, no_key, ignores_bandwidth(c));
    i->wk =
        add(b, "attn.k_featurizer.conv.weight", normal(1 / (double)(d * K), no_key), d, d, K, 0);
    i->bk = add_bias(b, "attn.k_featurizer.conv.bias", (rule){INIT_CONSTANT, 0, no_key}, d);
    if (c->v_conv) {
        i->wv = add(b, "attn.v_featurizer.conv.weight", normal(0.5 / (double)d, 0), d, d, 2, 0);
        i->bv = add_bias(b, "attn.v_featurizer.conv.bias", zeros, d);
    } else {
        i->coef = add(b, "attn.v_featurizer.coef", (rule){INIT_UNIFORM, 1, 0}, c->H, 0, 0, 0);
        i->wv = add(b, "attn.v_featurizer.linear.weight", normal(1 / (double)d, 0), d, d, 0, 0);
        i->bv = add_bias(b, "attn.v_featurizer.linear.bias", zeros, d);
    }
    i->wo = add(b, "attn.c_proj.weight", normal(1 / ((double)d * (double)c->L), 0), d, d, 0, 0);
    i->bo = add_bias(b, "attn.c_proj.bias", zeros, d);
}

static void persistent(builder *b, half_index *i)
{
    const mosaic_config *c = b->c;
    const int64_t d = c->d, D = c->d / c->H, K = c->k_kernel;
    const int no_key = blocks_gradient(&c->pmem_method);
    char name[64];
    *i = (half_index){.coef = -1, .wv = -1, .bv = -1};
    i->ln_w = add(b, "ln2.weight", ones, d, 0, 0, 0);
    i->ln_b = add_bias(b, "ln2.bias", zeros, d);
    scalars(b, "pmem", i, no_key, no_key || c->freeze_kappa);
    i->memory = b->index.total;
    for (int64_t bank = 0; bank < c->banks; bank++) {
        snprintf(name, sizeof name, "pmem.pmem.M_k%lld", (long long)bank);
        add(b, name, normal(1 / (double)D, no_key), 1, c->H, c->M, D);
        snprintf(name, sizeof name, "pmem.pmem.M_v%lld", (long long)bank);
        add(b, name, normal(1 / (double)D, 0), 1, c->H, c->M, D);
    }
    i->wk =
        add(b, "pmem.k_featurizer.conv.weight", normal(1 / (double)(d * K), no_key), d, d, K, 0);
    i->bk = add_bias(b, "pmem.k_featurizer.conv.bias", (rule){INIT_CONSTANT, 0, no_key}, d);
    i->wo = add(b, "pmem.c_proj.weight", normal(1 / ((double)d * (double)c->L), 0), d, d, 0, 0);
    i->bo = add_bias(b, "pmem.c_proj.bias", zeros, d);
}

static void mosaic_list(builder *b, layer_index *layers)
{
    const mosaic_config *c = b->c;
    const rule head = normal(1 / (double)c->d, 0);
    model_index *x = &b->index;
    x->wpe = -1;
    x->emb = x->head = add(b, "emb.weight", c->tied ? head : normal(1, 0), c->V, c->d, 0, 0);
    for (int64_t l = 0; l < c->L; l++) {
        layer_index i = {.fc = -1, .fc_b = -1};
        snprintf(b->prefix, sizeof b->prefix, "blocks.%lld.", (long long)l);
        contextual(b, &i.ctx);
        if (!c->attn_only) persistent(b, &i.pers);
        if (layers) layers[l] = i;
    }
    b->prefix[0] = 0;
    x->ln_w = add(b, "ln_out.weight", ones, c->d, 0, 0, 0);
    x->ln_b = add_bias(b, "ln_out.bias", zeros, c->d);
    if (!c->tied) x->head = add(b, "head.weight", head, c->V, c->d, 0, 0);
}

static void gpt_list(builder *b, layer_index *layers)
{
    const mosaic_config *c = b->c;
    const int64_t d = c->d;
    const rule weight = normal(0.02 * 0.02, 0), out = normal(0.02 * 0.02 / (2 * (double)c->L), 0);
    const rule kappa = {INIT_CONSTANT, c->kappa_init, ignores_bandwidth(c)};
    model_index *x = &b->index;
    x->emb = x->head = add(b, "transformer.wte.weight", weight, c->V, d, 0, 0);
    x->wpe = add(b, "transformer.wpe.weight", weight, c->T, d, 0, 0);
    for (int64_t l = 0; l < c->L; l++) {
        layer_index i = {.ctx.kappa = -1};
        snprintf(b->prefix, sizeof b->prefix, "transformer.h.%lld.", (long long)l);
        i.ctx.ln_w = add(b, "ln_1.weight", ones, d, 0, 0, 0);
        i.ctx.ln_b = add_bias(b, "ln_1.bias", zeros, d);
        i.ctx.wk = add(b, "attn.c_attn.weight", weight, 3 * d, d, 0, 0);
        i.ctx.bk = add_bias(b, "attn.c_attn.bias", zeros, 3 * d);
        if (c->gpt_cosine) i.ctx.kappa = add(b, "attn.kernel_beta", kappa, c->H, 0, 0, 0);
        i.ctx.wo = add(b, "attn.c_proj.weight", out, d, d, 0, 0);
        i.ctx.bo = add_bias(b, "attn.c_proj.bias", zeros, d);
        i.pers.ln_w = add(b, "ln_2.weight", ones, d, 0, 0, 0);
        i.pers.ln_b = add_bias(b, "ln_2.bias", zeros, d);
        i.fc = add(b, "mlp.c_fc.weight", weight, 4 * d, d, 0, 0);
        i.fc_b = add_bias(b, "mlp.c_fc.bias", zeros, 4 * d);
        i.pers.wo = add(b, "mlp.c_proj.weight", out, d, 4 * d, 0, 0);
        i.pers.bo = add_bias(b, "mlp.c_proj.bias", zeros, d);
        if (layers) layers[l] = i;
    }
    snprintf(b->prefix, sizeof b->prefix, "transformer.");
    x->ln_w = add(b, "ln_f.weight", ones, d, 0, 0, 0);
    x->ln_b = add_bias(b, "ln_f.bias", zeros, d);
    b->prefix[0] = 0;
    if (!c->tied) x->head = add(b, "head.weight", weight, c->V, d, 0, 0);
}

model_index parameters_list(const mosaic_config *c, parameter *list, layer_index *layers)
{
    builder b = {.c = c, .list = list};
    if (c->arch == ARCH_GPT)
        gpt_list(&b, layers);
    else
        mosaic_list(&b, layers);
    return b.index;
}

/* Rows draw from streams of their own, so that they can be filled in any order. */
static void initial_values(const parameter *p, uint64_t seed, int64_t index, double *w)
{
    const int64_t n = p->info.count, row = p->info.shape[p->info.rank - 1];
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += row) {
        const uint64_t init_stream = UINT64_C(0x696e6974); /* "init" */
        rng r = rng_sample(seed, init_stream, (uint64_t)index, (uint64_t)(at / row));
        for (int64_t i = at; i < at + row; i++) {
            if (p->init == INIT_NORMAL) w[i] = p->scale * rng_normal(&r);
            if (p->init == INIT_UNIFORM) w[i] = p->scale * rng_uniform(&r);
            if (p->init == INIT_CONSTANT) w[i] = p->scale;
            if (p->init == INIT_LEAKY) /* lambda from 0.5 to 5 over the heads */
                w[i] = n > 1 ? (0.5 + 4.5 * (double)i / (double)(n - 1)) / 10 : 0.05;
        }
    }
}

status model_initialise(const model *on, mosaic *m, uint64_t seed)
{
    const model_index index = parameters_list(on->config(m), NULL, NULL);
    int64_t most = 0;
    parameter *list = calloc((size_t)index.tensors, sizeof *list);
    if (list) parameters_list(on->config(m), list, NULL);
    for (int64_t i = 0; list && i < index.tensors; i++)
        if (list[i].info.count > most) most = list[i].info.count;
    double *values = malloc((size_t)most * sizeof *values);
    status s = list && values ? OK : fail(ERR_MEMORY, "model: out of memory");
    for (int64_t i = 0; s == OK && i < index.tensors; i++) {
        initial_values(&list[i], seed, i, values);
        s = on->put(m, i, SLOT_VALUE, values);
    }
    free(values);
    free(list);
    return s;
}
