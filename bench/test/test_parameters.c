/* SPDX-License-Identifier: MIT
 *
 * test_parameters.c — parameters of the model: counts, names, order, decay, initial values. The
 * rows of parameters.def are what is tested, and that every model has them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "tiny.h"

enum { V = TINY_V };

static int64_t count_of(int64_t vocabulary, int64_t d, int64_t H, int64_t M, int64_t L)
{
    mosaic_config c = config_default();
    c.V = vocabulary;
    c.d = d;
    c.H = H;
    c.M = M;
    c.L = L;
    return parameters_list(&c, NULL, NULL).total;
}

static int64_t gpt_count(int64_t L, int bias)
{
    mosaic_config c = config_default();
    c.arch = ARCH_GPT;
    c.V = 50304;
    c.d = 768;
    c.H = 12;
    c.T = 512;
    c.L = L;
    c.bias = bias;
    return parameters_list(&c, NULL, NULL).total;
}

void selftest_model_counts(selftest *t)
{
    EXPECT(count_of(50304, 768, 12, 2688, 1) == 45713748);
    EXPECT(count_of(50304, 768, 12, 2688, 2) == 52793256);
    EXPECT(count_of(50304, 768, 12, 2688, 4) == 66952272);
    EXPECT(count_of(50304, 768, 12, 2688, 8) == 95270304);
    EXPECT(count_of(50304, 768, 12, 2688, 12) == 123588336);
    EXPECT(count_of(50304, 768, 12, 2688, 18) == 166065384);
    EXPECT(count_of(11, 8, 2, 5, 2) == 956);
    EXPECT(count_of(20, 128, 8, 448, 2) == 396528);
    EXPECT(count_of(36, 512, 8, 2688, 2) == 8147568);
    EXPECT(count_of(36, 512, 8, 2688, 4) == 16276192);
    EXPECT(count_of(36, 512, 8, 2688, 6) == 24404816);
    EXPECT(count_of(263, 512, 8, 2688, 2) == 8263792);
    EXPECT(count_of(263, 512, 8, 2688, 4) == 16392416);
    EXPECT(gpt_count(12, 0) == 123980544 && gpt_count(12, 1) == 124082688);
    EXPECT(gpt_count(1, 0) == 46106880 && gpt_count(2, 0) == 53186304);
    EXPECT(gpt_count(4, 0) == 67345152 && gpt_count(8, 0) == 95662848);

    mosaic_config c = tiny();
    const int64_t plain = parameters_list(&c, NULL, NULL).total, d = c.d, H = c.H, L = c.L;
    c.bias = 1;
    EXPECT(parameters_list(&c, NULL, NULL).total == plain + L * 7 * d + d);
    c = tiny();
    c.attn_only = 1;
    EXPECT(parameters_list(&c, NULL, NULL).total ==
           plain - L * (d + 3 * H + 2 * d * d + 2 * c.M * d));
    c = tiny();
    c.tied = 0;
    EXPECT(parameters_list(&c, NULL, NULL).total == plain + V * d);
    c = tiny();
    c.v_conv = 1;
    EXPECT(parameters_list(&c, NULL, NULL).total == plain + L * (d * d - H));
}

/* Decayed tensors and values of the 12-layer language model, model 2.12. */
static void count_decay(selftest *t)
{
    mosaic_config c = config_default();
    c.V = 50304;
    c.d = 768;
    c.H = c.L = 12;
    c.M = 2688;
    const model_index n = parameters_list(&c, NULL, NULL);
    parameter *list = calloc((size_t)n.tensors, sizeof *list);
    int64_t tensors = 0, values = 0;
    parameters_list(&c, list, NULL);
    for (int64_t i = 0; i < n.tensors; i++) {
        tensors += list[i].info.decays;
        values += list[i].info.decays ? list[i].info.count : 0;
    }
    EXPECT(tensors == 85 && n.tensors - tensors == 109);
    EXPECT(values == 123568128 && n.total - values == 20208);
    free(list);
}

static void expect_names(selftest *t, const mosaic_config *c, const char *const *names)
{
    static parameter list[80];
    const model_index n = parameters_list(c, list, NULL);
    int64_t i = 0, at = 0;
    for (; names[i] && i < n.tensors; i++) {
        if (strcmp(list[i].info.name, names[i]) != 0)
            fprintf(stderr, "%s, expected %s\n", list[i].info.name, names[i]);
        EXPECT(strcmp(list[i].info.name, names[i]) == 0);
        EXPECT(list[i].at == at);
        at += list[i].info.count;
    }
    EXPECT(i == n.tensors && !names[i] && at == n.total);
}

void selftest_model_names(selftest *t)
{
    static const char *const mosaic_names[] = {"emb.weight",
                                               "blocks.0.ln1.weight",
                                               "blocks.0.ln1.bias",
                                               "blocks.0.attn.leaky_key_beta",
                                               "blocks.0.attn.kernel_beta",
                                               "blocks.0.attn.value_beta",
                                               "blocks.0.attn.k_featurizer.conv.weight",
                                               "blocks.0.attn.k_featurizer.conv.bias",
                                               "blocks.0.attn.v_featurizer.coef",
                                               "blocks.0.attn.v_featurizer.linear.weight",
                                               "blocks.0.attn.v_featurizer.linear.bias",
                                               "blocks.0.attn.c_proj.weight",
                                               "blocks.0.attn.c_proj.bias",
                                               "blocks.0.ln2.weight",
                                               "blocks.0.ln2.bias",
                                               "blocks.0.pmem.leaky_key_beta",
                                               "blocks.0.pmem.kernel_beta",
                                               "blocks.0.pmem.value_beta",
                                               "blocks.0.pmem.pmem.M_k0",
                                               "blocks.0.pmem.pmem.M_v0",
                                               "blocks.0.pmem.pmem.M_k1",
                                               "blocks.0.pmem.pmem.M_v1",
                                               "blocks.0.pmem.k_featurizer.conv.weight",
                                               "blocks.0.pmem.k_featurizer.conv.bias",
                                               "blocks.0.pmem.c_proj.weight",
                                               "blocks.0.pmem.c_proj.bias",
                                               "ln_out.weight",
                                               "ln_out.bias",
                                               "head.weight",
                                               NULL};
    static const char *const gpt_names[] = {"transformer.wte.weight",
                                            "transformer.wpe.weight",
                                            "transformer.h.0.ln_1.weight",
                                            "transformer.h.0.attn.c_attn.weight",
                                            "transformer.h.0.attn.c_proj.weight",
                                            "transformer.h.0.ln_2.weight",
                                            "transformer.h.0.mlp.c_fc.weight",
                                            "transformer.h.0.mlp.c_proj.weight",
                                            "transformer.ln_f.weight",
                                            NULL};
    mosaic_config c = tiny();
    c.L = 1;
    c.arch = ARCH_GPT;
    expect_names(t, &c, gpt_names);
    c.arch = ARCH_MOSAIC;
    c.bias = 1;
    c.banks = 2;
    c.tied = 0;
    expect_names(t, &c, mosaic_names);
    count_decay(t);
}

/* --- initialisation ---------------------------------------------------------------------- */

/* Mean and variance of the tensors that are drawn; those of the list are those of the model. */
static void expect_moments(selftest *t, const model *on, const struct mosaic *m, const double *w)
{
    const mosaic_config *c = on->config(m);
    const model_index n = parameters_list(c, NULL, NULL);
    parameter *list = calloc((size_t)n.tensors, sizeof *list);
    if (list) parameters_list(c, list, NULL);
    EXPECT(list && on->parameters(m) == n.tensors);
    for (int64_t i = 0; list && i < n.tensors; i++) {
        const parameter *p = &list[i];
        const double count = (double)p->info.count;
        double mean = 0, square = 0;
        parameter_info info;
        EXPECT(on->info(m, i, &info) == OK && strcmp(info.name, p->info.name) == 0);
        EXPECT(info.rank == p->info.rank && info.count == p->info.count);
        EXPECT(memcmp(info.shape, p->info.shape, sizeof info.shape) == 0);
        EXPECT(info.decays == p->info.decays);
        if (p->init != INIT_NORMAL) continue;
        for (int64_t e = p->at; e < p->at + p->info.count; e++) {
            mean += w[e] / count;
            square += w[e] * w[e] / count;
        }
        EXPECT_NEAR(mean, 0, 5 * p->scale / sqrt(count));
        EXPECT_NEAR(square / (p->scale * p->scale), 1, 5 * sqrt(2 / count));
    }
    free(list);
}

/* What model 2.10 says of a mosaic of d = 64, H = 4, L = 2. */
static void expect_mosaic(selftest *t, const model *on, const struct mosaic *m, const double *w)
{
    const double tol = 1e-15 + model_tolerance(on);
    const double *theta = w + tensor_at(t, on, m, "blocks.0.attn.leaky_key_beta");
    const double *kappa = w + tensor_at(t, on, m, "blocks.0.attn.kernel_beta");
    const double *nu = w + tensor_at(t, on, m, "blocks.0.attn.value_beta");
    const double *coef = w + tensor_at(t, on, m, "blocks.0.attn.v_featurizer.coef");
    for (int h = 0; h < 4; h++) {
        EXPECT_NEAR(theta[h], 0.05 + 0.15 * h, tol);
        EXPECT_NEAR(kappa[h], 0.1, tol);
        EXPECT_NEAR(nu[h], -0.05, tol);
        EXPECT(coef[h] >= 0 && coef[h] < 1);
    }
    EXPECT(w[tensor_at(t, on, m, "blocks.0.ln1.weight")] == 1);
}

static void expect_deviations(selftest *t, const mosaic_config *c)
{
    static parameter list[80];
    static const struct {
        const char *name;
        double scale;
    } rows[] = {{"emb.weight", 1 / 8.0},
                {"blocks.0.attn.k_featurizer.conv.weight", 1 / 8.0},
                {"blocks.0.attn.c_proj.weight", 0.08838834764831845}};
    const model_index n = parameters_list(c, list, NULL);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int64_t i = 0; i < n.tensors; i++)
            if (strcmp(list[i].info.name, rows[k].name) == 0)
                EXPECT_NEAR(list[i].scale, rows[k].scale, 1e-15);
}

/* Values of seed 11 and of 12, and what a loss of the first is like. */
static void expect_initial(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m, *twin;
    int64_t n;
    step_report r;
    int32_t tokens[64], targets[64];
    if (!model_open(t, on, c, NULL, &m)) return;
    draw_tokens(tokens, 64, c->V, 1);
    draw_tokens(targets, 64, c->V, 2);
    const batch b = {.B = 1, .T = 64, .tokens = tokens, .targets = targets};
    double *w = slot_get(t, on, m, SLOT_VALUE, &n), *moment = slot_get(t, on, m, SLOT_MOMENT2, &n);
    for (int64_t i = 0; moment && i < n; i++)
        EXPECT(moment[i] == 0);
    if (w) expect_moments(t, on, m, w);
    if (w && c->arch == ARCH_MOSAIC) expect_mosaic(t, on, m, w);
    EXPECT(model_step(on, m, &b, 1, -1, NULL, 0, &r) == OK && r.scored == 64);
    EXPECT_NEAR(r.loss / log(1000), 1, 0.01);

    EXPECT(mosaic_ref.create(&twin, c, NULL) == OK);
    for (uint64_t seed = 11; seed <= 12; seed++) {
        EXPECT(model_initialise(&mosaic_ref, twin, seed) == OK);
        double *other = slot_get(t, &mosaic_ref, twin, SLOT_VALUE, &n);
        if (w && other && seed == 11) expect_close(t, "values", w, other, n, model_tolerance(on));
        if (w && other && seed == 12) EXPECT(memcmp(w, other, (size_t)n * sizeof *w) != 0);
        free(other);
    }
    free(w);
    free(moment);
    on->destroy(m);
    mosaic_ref.destroy(twin);
    on->destroy(NULL);
}

void selftest_model_init(selftest *t)
{
    const model *on;
    mosaic_config c = tiny();
    c.V = 1000;
    c.d = 64;
    c.H = 4;
    c.T = 64;
    expect_deviations(t, &c);
    for (int i = 0; (on = model_at(i)); i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
            expect_initial(t, on, &c);
        }
}
