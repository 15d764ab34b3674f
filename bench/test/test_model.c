/* SPDX-License-Identifier: MIT
 *
 * test_model.c — laws of the whole model: causality, the peek of the values, streaming, padding,
 * threads, continuation of a run. Parameters are in test_parameters.c, gradients in
 * test_switches.c.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>

#include "matmul.h"
#include "tiny.h"
#include "worse.h"

enum { B = 2, T = 9, V = TINY_V, ROWS = B * T, LOGITS = ROWS * V };

/* --- causality --------------------------------------------------------------------------- */

static void expect_causal(selftest *t, const mosaic_config *c)
{
    mosaic *m;
    int32_t tokens[ROWS];
    double base[LOGITS], moved[LOGITS], last[LOGITS];
    if (!at_config(t, &m, c)) return;
    draw_tokens(tokens, ROWS, V, 3);
    const batch b = {.B = B, .T = T, .tokens = tokens};
    EXPECT(mosaic_ref.predict(m, &b, base) == OK);
    for (int i = 0; i < T; i++) {
        tokens[i] = (tokens[i] + 1) % V;
        EXPECT(mosaic_ref.predict(m, &b, moved) == OK);
        tokens[i] = (tokens[i] + V - 1) % V;
        EXPECT(memcmp(base, moved, (size_t)(i * V) * sizeof *base) == 0);
        EXPECT(memcmp(base + i * V, moved + i * V, V * sizeof *base) != 0);
        EXPECT(memcmp(base + T * V, moved + T * V, T * V * sizeof *base) == 0);
    }
    /* a longer sequence, and samples in another order, change no bit of what was there */
    const batch one = {.B = 1, .T = T - 2, .tokens = tokens};
    EXPECT(mosaic_ref.predict(m, &one, last) == OK);
    EXPECT(memcmp(base, last, (size_t)((T - 2) * V) * sizeof *base) == 0);
    const batch second = {.B = 1, .T = T, .tokens = tokens + T};
    EXPECT(mosaic_ref.predict(m, &second, last) == OK);
    EXPECT(memcmp(base + T * V, last, (size_t)(T * V) * sizeof *base) == 0);
    mosaic_ref.destroy(m);
}

void selftest_model_causal(selftest *t)
{
    mosaic_config c = tiny();
    c.kappa_init = -0.05; /* beta^2 < 1/2: a normalised ReLU of absent keys would be positive */
    for (int i = 0; method_name(i); i++) {
        EXPECT(config_set(&c, "method", method_name(i)) == OK);
        expect_causal(t, &c);
    }
    EXPECT(config_set(&c, "method", "entmax:1.25") == OK);
    c.visible_lag = 2;
    c.k_kernel = 3;
    c.v_conv = 1;
    expect_causal(t, &c);
    c.arch = ARCH_GPT;
    c.gpt_cosine = 1;
    expect_causal(t, &c);
}

void selftest_model_peek(selftest *t)
{
    mosaic *m;
    int32_t tokens[T];
    double logits[T * V], before[2 * T * 4];
    const double *p, *v;
    int64_t n;
    mosaic_config c = tiny();
    draw_tokens(tokens, T, V, 4);
    const batch b = {.B = 1, .T = T, .tokens = tokens};
    for (int lag = 1; lag <= 2; lag++) {
        c.visible_lag = lag;
        if (!at_config(t, &m, &c)) return;
        EXPECT(mosaic_ref_probe(m, "values", &v, &n) == ERR_ARG);
        EXPECT(mosaic_ref.predict(m, &b, logits) == OK);
        EXPECT(mosaic_ref_probe(m, "weights", &p, &n) == OK && n == 2 * T * T);
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++)
                EXPECT((p[i * T + j] > 0) == (j <= i - lag));
        EXPECT(mosaic_ref_probe(m, "values", &v, &n) == OK && n == 2 * T * 4);
        memcpy(before, v, sizeof before);
        tokens[5] = (tokens[5] + 1) % V;
        EXPECT(mosaic_ref.predict(m, &b, logits) == OK);
        EXPECT(mosaic_ref_probe(m, "values", &v, &n) == OK);
        for (int i = 0; i < T; i++)
            EXPECT((memcmp(before + 4 * i, v + 4 * i, 4 * sizeof *v) != 0) == (i == 4 || i == 5));
        EXPECT(mosaic_ref_probe(m, "nothing", &v, &n) == ERR_ARG);
        mosaic_ref.destroy(m);
    }
}

/* --- streaming --------------------------------------------------------------------------- */

static void expect_stream(selftest *t, const mosaic_config *c)
{
    enum { LONG = 70 };
    mosaic *m;
    struct mosaic_stream *s = NULL;
    int32_t tokens[LONG];
    static double want[LONG * V];
    double got[V], worst = 0;
    if (!at_config(t, &m, c)) return;
    draw_tokens(tokens, LONG, V, 5);
    const int n = c->arch == ARCH_GPT ? (int)c->T : LONG;
    const batch b = {.B = 1, .T = n, .tokens = tokens};
    EXPECT(mosaic_ref.predict(m, &b, want) == OK);
    EXPECT(mosaic_ref.stream_open(m, 1, &s) == OK && s);
    EXPECT(mosaic_ref.stream_token(s, &(int32_t){V}, NULL, got) ==
           ERR_DATA); /* refused, and nothing changes */
    for (int i = 0; i < n; i++) {
        EXPECT(mosaic_ref.stream_token(s, &tokens[i], NULL, got) == OK);
        for (int v = 0; v < V; v++)
            worst = worse(worst, fabs(got[v] - want[i * V + v]));
    }
    EXPECT(worst == 0);
    if (c->arch == ARCH_GPT)
        EXPECT(mosaic_ref.stream_token(s, &(int32_t){0}, NULL, got) == ERR_ARG);
    mosaic_ref.stream_close(s);
    mosaic_ref.stream_close(NULL);
    mosaic_ref.destroy(m);
}

void selftest_model_stream(selftest *t)
{
    mosaic_config c = tiny();
    expect_stream(t, &c);
    config_set(&c, "method", "top4_softmax");
    expect_stream(t, &c);
    config_set(&c, "method", "biweight");
    c.bias = c.v_conv = c.pmem_norm = c.value_clamp = c.eps_add = 1;
    c.tied = c.pre_ln = 0;
    c.k_kernel = 3;
    c.banks = 2;
    c.visible_lag = 2;
    expect_stream(t, &c);
    c.attn_only = 1;
    expect_stream(t, &c);
    c.arch = ARCH_GPT;
    expect_stream(t, &c);
    c.gpt_cosine = 1;
    expect_stream(t, &c);
}

/* --- threads, continuation --------------------------------------------------------------- */

void selftest_model_threads(selftest *t)
{
    enum { WIDE = 3 * 70 };
    const int threads = omp_get_max_threads();
    int32_t tokens[WIDE], targets[WIDE];
    double loss[2];
    mosaic *m[2];
    mosaic_config c = tiny();
    c.V = 50;
    c.d = 32;
    c.M = 40;
    c.T = 70;
    c.bias = 1;
    config_set(&c, "method", "biweight");
    draw_tokens(tokens, WIDE, c.V, 6);
    draw_tokens(targets, WIDE, c.V, 7);
    const batch b = {.B = 3, .T = 70, .tokens = tokens, .targets = targets};
    const optimizer o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};
    for (int gpt = 0; gpt < 2; gpt++) {
        c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
        for (int i = 0; i < 2; i++) {
            omp_set_num_threads(i + 1);
            if (!at_config(t, &m[i], &c)) return;
            for (int step = 0; step < 2; step++) {
                step_report r;
                EXPECT(model_step(&mosaic_ref, m[i], &b, 9, step, &o, step + 1, &r) == OK);
                loss[i] = r.loss;
            }
        }
        EXPECT(loss[0] == loss[1]);
        for (int s = 0; s < 4; s++)
            EXPECT(memcmp(m[0]->slot[s], m[1]->slot[s],
                          (size_t)m[0]->index.total * sizeof(double)) == 0);
        mosaic_ref.destroy(m[0]);
        mosaic_ref.destroy(m[1]);
    }
    omp_set_num_threads(threads);
}

void selftest_model_resume(selftest *t)
{
    int32_t tokens[ROWS], targets[ROWS];
    double values[2048];
    mosaic *m, *fresh = NULL;
    mosaic_config c = tiny();
    draw_tokens(tokens, ROWS, V, 8);
    draw_tokens(targets, ROWS, V, 9);
    targets[3] = -1;
    const batch b = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    const optimizer o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};
    if (!at_config(t, &m, &c)) return;
    for (int step = 0; step < 4; step++) {
        if (step == 2) {
            EXPECT(mosaic_ref.create(&fresh, &c, NULL) == OK);
            for (int64_t i = 0; i < mosaic_ref.parameters(m); i++)
                for (int s = 0; s < 4; s++) {
                    EXPECT(mosaic_ref.get(m, i, (slot)s, values) == OK);
                    EXPECT(mosaic_ref.put(fresh, i, (slot)s, values) == OK);
                }
        }
        for (int i = 0; i < (fresh ? 2 : 1); i++) {
            mosaic *x = i ? fresh : m;
            step_report r;
            EXPECT(model_step(&mosaic_ref, x, &b, 5, step, &o, step + 1, &r) == OK);
        }
    }
    for (int s = 0; s < 4 && fresh; s++)
        EXPECT(memcmp(m->slot[s], fresh->slot[s], (size_t)m->index.total * sizeof(double)) == 0);
    EXPECT(mosaic_ref.get(m, 10000, SLOT_VALUE, values) == ERR_ARG);
    mosaic_ref.destroy(m);
    mosaic_ref.destroy(fresh);
}

/* --- prediction and gradient see one model; bits ------------------------------------------ */

void selftest_model_loss(selftest *t)
{
    int32_t tokens[ROWS], targets[ROWS];
    static double logits[LOGITS];
    mosaic *m;
    mosaic_config c = tiny();
    c.L = 4;
    draw_tokens(tokens, ROWS, V, 12);
    draw_tokens(targets, ROWS, V, 13);
    targets[5] = -1;
    c.skip_tokens = 2;
    const batch b = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    for (int gpt = 0; gpt < 2; gpt++) {
        double want = 0, count = 0;
        step_report r;
        c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
        if (!at_config(t, &m, &c)) return;
        EXPECT(mosaic_ref.predict(m, &b, logits) == OK);
        for (int i = 0; i < ROWS; i++) {
            double total = 0;
            if (i % T < 2 || targets[i] < 0) continue;
            for (int v = 0; v < V; v++)
                total += exp(logits[i * V + v]);
            want += log(total) - logits[i * V + targets[i]];
            count++;
        }
        EXPECT(model_step(&mosaic_ref, m, &b, 0, -1, NULL, 0, &r) == OK);
        EXPECT(r.scored == ROWS - 2 * B - 1);
        EXPECT_NEAR(r.loss, want / count, 1e-13);
        mosaic_ref.destroy(m);
    }
}

static uint64_t libm_fingerprint(void)
{
    uint64_t hash = FNV_OFFSET;
    rng r = {3};
    for (int i = 0; i < 10000; i++) {
        const double x = rng_uniform(&r), y = rng_uniform(&r);
        const double v[] = {exp(-20 * x), log(x), pow(x, y), cos(6 * x), tanh(3 * y), expm1(-x)};
        hash = fnv1a(hash, v, sizeof v);
    }
    return hash;
}

/* Three training steps with dropout of one model of each architecture. */
static uint64_t training_bits(selftest *t)
{
    enum { WIDE = 2 * 70 };
    int32_t tokens[WIDE], targets[WIDE];
    uint64_t hash = FNV_OFFSET;
    mosaic *m;
    mosaic_config c = tiny();
    c.V = 50;
    c.d = 36;
    c.H = 3;
    c.M = 24;
    c.T = 70;
    c.bias = 1;
    c.gpt_cosine = 1;
    config_set(&c, "method", "biweight");
    draw_tokens(tokens, WIDE, c.V, 14);
    draw_tokens(targets, WIDE, c.V, 15);
    const batch b = {.B = 2, .T = 70, .tokens = tokens, .targets = targets};
    const optimizer o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};
    for (int gpt = 0; gpt < 2; gpt++) {
        c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
        if (!at_config(t, &m, &c)) return 0;
        for (int step = 0; step < 3; step++) {
            step_report r;
            EXPECT(model_step(&mosaic_ref, m, &b, 9, step, &o, step + 1, &r) == OK);
        }
        hash = fnv1a(hash, m->slot[SLOT_VALUE], (size_t)m->index.total * sizeof(double));
        mosaic_ref.destroy(m);
    }
    return hash;
}

void selftest_model_bits(selftest *t)
{
    static const char *const kernels[] = {"avx2", "c"};
    const uint64_t here = training_bits(t);
    for (int i = 0; i < 2; i++) {
        if (!matmul_use(kernels[i])) continue;
        EXPECT(training_bits(t) == here);
    }
    matmul_use(NULL);
    if (libm_fingerprint() == UINT64_C(0x90d2bdb820bd34d2))
        EXPECT(here == UINT64_C(0x34ec1163bdf27909));
    else
        fprintf(stderr, "another libm than the one whose bits are recorded\n");
}
