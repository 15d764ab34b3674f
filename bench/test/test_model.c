/* SPDX-License-Identifier: MIT
 *
 * test_model.c — laws of the whole model: causality, the peek of the values, streaming, padding,
 * threads, continuation of a run. Parameters are in test_parameters.c, gradients in
 * test_switches.c, steps and their parts in test_steps.c.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "matmul.h"
#include "rng.h"
#include "tiny.h"
#include "twin.h"

enum { B = 2, T = 9, V = TINY_V, ROWS = B * T, LOGITS = ROWS * V };

static const optimizer adam = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};

/* --- causality --------------------------------------------------------------------------- */

/* To the bit of the reference. On a device a row of a transform may end its search together with
 * its neighbours in a warp, so that its last bits are theirs to move. */
static void expect_same(selftest *t, const model *on, const double *x, const double *y, int64_t n,
                        double tol)
{
    if (on == model_at(0))
        EXPECT(memcmp(x, y, (size_t)n * sizeof *x) == 0);
    else
        expect_close(t, "causal", y, x, n, tol);
}

static void expect_causal(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m;
    int32_t tokens[ROWS];
    double base[LOGITS], moved[LOGITS], last[LOGITS];
    const double tol = model_tolerance(on);
    if (!model_open(t, on, c, NULL, &m)) return;
    draw_tokens(tokens, ROWS, V, 3);
    const batch b = {.B = B, .T = T, .tokens = tokens};
    EXPECT(on->predict(m, &b, base) == OK);
    for (int i = 0; i < T; i++) {
        tokens[i] = (tokens[i] + 1) % V;
        EXPECT(on->predict(m, &b, moved) == OK);
        tokens[i] = (tokens[i] + V - 1) % V;
        expect_same(t, on, base, moved, i * V, tol);
        EXPECT(memcmp(base + i * V, moved + i * V, V * sizeof *base) != 0);
        expect_same(t, on, base + T * V, moved + T * V, T * V, tol);
    }
    /* a longer sequence, and samples in another order, change nothing of what was there */
    const batch one = {.B = 1, .T = T - 2, .tokens = tokens};
    EXPECT(on->predict(m, &one, last) == OK);
    expect_close(t, "shorter", last, base, (T - 2) * V, tol);
    const batch second = {.B = 1, .T = T, .tokens = tokens + T};
    EXPECT(on->predict(m, &second, last) == OK);
    expect_close(t, "second", last, base + T * V, T * V, tol);
    on->destroy(m);
}

static void every_causal(selftest *t, const model *on)
{
    mosaic_config c = tiny();
    c.kappa_init = -0.05; /* beta^2 < 1/2: a normalised ReLU of absent keys would be positive */
    for (int i = 0; method_name(i); i++) {
        EXPECT(config_set(&c, "method", method_name(i)) == OK);
        expect_causal(t, on, &c);
    }
    EXPECT(config_set(&c, "method", "entmax:1.25") == OK);
    c.visible_lag = 2;
    c.k_kernel = 3;
    c.v_conv = 1;
    expect_causal(t, on, &c);
    c.arch = ARCH_GPT;
    c.gpt_cosine = 1;
    expect_causal(t, on, &c);
}

void selftest_model_causal(selftest *t)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        every_causal(t, on);
}

/* Of the reference alone, whose inside can be seen. */
void selftest_model_peek(selftest *t)
{
    struct mosaic *m;
    int32_t tokens[T];
    double logits[T * V], before[2 * T * 4];
    const double *p, *v;
    int64_t n;
    mosaic_config c = tiny();
    draw_tokens(tokens, T, V, 4);
    const batch b = {.B = 1, .T = T, .tokens = tokens};
    for (int lag = 1; lag <= 2; lag++) {
        c.visible_lag = lag;
        if (!model_open(t, &mosaic_ref, &c, NULL, &m)) return;
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

enum { LONG = 70 };

/* How near a stream must be to the batch: the bits of the reference; else as near as twins are. */
static double stream_tolerance(selftest *t, const model *on, const mosaic_config *c, const batch *b)
{
    struct mosaic *ref;
    answer want = {0};
    spread s = {0};
    const double tol = model_tolerance(on);
    if (tol == 0 || !model_open(t, &mosaic_ref, c, NULL, &ref)) return tol;
    if (answer_of(t, &mosaic_ref, ref, b, -1, &want)) spread_of(t, ref, b, -1, &want, 0x1p-24, &s);
    answer_free(&want);
    spread_free(&s);
    mosaic_ref.destroy(ref);
    return fmax(tol, TWIN_ROOM * s.logits);
}

/* Two rows in step; the second falls silent in between and is behind. */
static void expect_stream(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m;
    struct mosaic_stream *s = NULL;
    int32_t tokens[2 * LONG], said[2];
    static double want[2 * LONG * V], got[2][LONG * V];
    double step[2 * V];
    if (!model_open(t, on, c, NULL, &m)) return;
    draw_tokens(tokens, 2 * LONG, V, 5);
    const int n = c->arch == ARCH_GPT ? (int)c->T : LONG;
    const batch b = {.B = 2, .T = n, .tokens = tokens, .targets = tokens};
    const double tol = stream_tolerance(t, on, c, &b);
    int at[2] = {0, 0};
    EXPECT(on->predict(m, &b, want) == OK);
    EXPECT(on->stream_open(m, 2, &s) == OK && s);
    EXPECT(on->stream_token(s, (int32_t[]){0, V}, NULL, NULL) == ERR_DATA); /* nothing changes */
    for (int i = 0; i < n; i++) {
        const int quiet = i % 3 == 1;
        const int32_t next[2] = {tokens[i], quiet ? -1 : tokens[n + at[1]]};
        EXPECT(on->stream_token(s, next, said, step) == OK);
        for (int r = 0; r < 2 - quiet; r++) {
            int64_t best;
            memcpy(got[r] + at[r]++ * V, step + r * V, V * sizeof *step);
            log_sum_exp(step + r * V, V, &best);
            EXPECT(said[r] == best);
        }
    }
    for (int r = 0; r < 2; r++)
        expect_close(t, "stream", got[r], want + r * n * V, at[r] * V, tol);
    if (c->arch == ARCH_GPT) EXPECT(on->stream_token(s, (int32_t[]){0, -1}, NULL, NULL) == ERR_ARG);
    on->stream_close(s);
    on->stream_close(NULL);
    on->destroy(m);
}

static void every_stream(selftest *t, const model *on)
{
    mosaic_config c = tiny();
    expect_stream(t, on, &c);
    config_set(&c, "method", "top4_softmax");
    expect_stream(t, on, &c);
    config_set(&c, "method", "biweight");
    c.bias = c.v_conv = c.pmem_norm = c.value_clamp = c.eps_add = 1;
    c.tied = c.pre_ln = 0;
    c.k_kernel = 3;
    c.banks = 2;
    c.visible_lag = 2;
    expect_stream(t, on, &c);
    c.attn_only = 1;
    expect_stream(t, on, &c);
    c.arch = ARCH_GPT;
    expect_stream(t, on, &c);
    c.gpt_cosine = 1;
    expect_stream(t, on, &c);
}

void selftest_model_stream(selftest *t)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        every_stream(t, on);
}

/* --- threads, continuation --------------------------------------------------------------- */

/* The same bits in every slot. */
static void expect_same_slots(selftest *t, const model *on, struct mosaic *a, struct mosaic *b)
{
    for (int s = 0; s < 4; s++) {
        int64_t n, k;
        double *x = slot_get(t, on, a, (slot)s, &n), *y = slot_get(t, on, b, (slot)s, &k);
        EXPECT(x && y && n == k && memcmp(x, y, (size_t)n * sizeof *x) == 0);
        free(x);
        free(y);
    }
}

static void expect_threads(selftest *t, const model *on, const mosaic_config *c)
{
    enum { WIDE = 3 * 70 };
    const int threads = omp_get_max_threads();
    int32_t tokens[WIDE], targets[WIDE];
    struct mosaic *m[2];
    step_report r[2];
    draw_tokens(tokens, WIDE, c->V, 6);
    draw_tokens(targets, WIDE, c->V, 7);
    const batch b = {.B = 3, .T = 70, .tokens = tokens, .targets = targets};
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i + 1);
        if (!model_open(t, on, c, NULL, &m[i])) return;
        for (int step = 0; step < 2; step++)
            EXPECT(model_step(on, m[i], &b, 9, step, &adam, step + 1, &r[i]) == OK);
    }
    omp_set_num_threads(threads);
    EXPECT(r[0].loss == r[1].loss && r[0].grad_norm == r[1].grad_norm);
    expect_same_slots(t, on, m[0], m[1]);
    on->destroy(m[0]);
    on->destroy(m[1]);
}

void selftest_model_threads(selftest *t)
{
    const model *on;
    mosaic_config c = tiny();
    c.V = 50;
    c.d = 32;
    c.M = 40;
    c.T = 70;
    c.bias = 1;
    config_set(&c, "method", "biweight");
    for (int i = 0; (on = model_at(i)); i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
            expect_threads(t, on, &c);
        }
}

static void expect_resume(selftest *t, const model *on)
{
    int32_t tokens[ROWS], targets[ROWS];
    struct mosaic *m, *fresh = NULL;
    const mosaic_config c = tiny();
    draw_tokens(tokens, ROWS, V, 8);
    draw_tokens(targets, ROWS, V, 9);
    targets[3] = -1;
    const batch b = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    if (!model_open(t, on, &c, NULL, &m)) return;
    for (int step = 0; step < 4; step++) {
        if (step == 2) {
            EXPECT(on->create(&fresh, &c, NULL) == OK);
            for (int s = 0; s < 4; s++) {
                int64_t n;
                double *values = slot_get(t, on, m, (slot)s, &n);
                if (values) slot_put(t, on, fresh, (slot)s, values);
                free(values);
            }
        }
        for (int i = 0; i < (fresh ? 2 : 1); i++) {
            step_report r;
            EXPECT(model_step(on, i ? fresh : m, &b, 5, step, &adam, step + 1, &r) == OK);
        }
    }
    expect_same_slots(t, on, m, fresh);
    EXPECT(on->get(m, 10000, SLOT_VALUE, NULL) == ERR_ARG);
    on->destroy(m);
    on->destroy(fresh);
}

void selftest_model_resume(selftest *t)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        expect_resume(t, on);
}

/* --- prediction and gradient see one model; bits ------------------------------------------ */

static void expect_loss(selftest *t, const model *on, const mosaic_config *c)
{
    int32_t tokens[ROWS], targets[ROWS];
    static double logits[LOGITS];
    struct mosaic *m;
    double want = 0, count = 0;
    step_report r;
    draw_tokens(tokens, ROWS, V, 12);
    draw_tokens(targets, ROWS, V, 13);
    targets[5] = -1;
    const batch b = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    if (!model_open(t, on, c, NULL, &m)) return;
    EXPECT(on->predict(m, &b, logits) == OK);
    for (int i = 0; i < ROWS; i++) {
        double total = 0;
        if (i % T < 2 || targets[i] < 0) continue;
        for (int v = 0; v < V; v++)
            total += exp(logits[i * V + v]);
        want += log(total) - logits[i * V + targets[i]];
        count++;
    }
    EXPECT(model_step(on, m, &b, 0, -1, NULL, 0, &r) == OK);
    EXPECT(r.scored == ROWS - 2 * B - 1 && r.scored == batch_scored(c, &b));
    EXPECT_NEAR(r.loss, want / count, 1e-13 + model_tolerance(on));
    on->destroy(m);
}

void selftest_model_loss(selftest *t)
{
    const model *on;
    mosaic_config c = tiny();
    c.L = 4;
    c.skip_tokens = 2;
    for (int i = 0; (on = model_at(i)); i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
            expect_loss(t, on, &c);
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
    struct mosaic *m;
    int64_t n;
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
    for (int gpt = 0; gpt < 2; gpt++) {
        c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
        if (!model_open(t, &mosaic_ref, &c, NULL, &m)) return 0;
        for (int step = 0; step < 3; step++) {
            step_report r;
            EXPECT(model_step(&mosaic_ref, m, &b, 9, step, &adam, step + 1, &r) == OK);
        }
        double *values = slot_get(t, &mosaic_ref, m, SLOT_VALUE, &n);
        if (values) hash = fnv1a(hash, values, (size_t)n * sizeof *values);
        free(values);
        mosaic_ref.destroy(m);
    }
    return hash;
}

void selftest_model_kernels(selftest *t)
{
    static const char *const kernels[] = {"avx2", "c"};
    const uint64_t here = training_bits(t);
    for (int i = 0; i < 2; i++) {
        if (!matmul_use(kernels[i])) continue;
        EXPECT(training_bits(t) == here);
    }
    matmul_use(NULL);
}

void selftest_model_bits(selftest *t)
{
    if (libm_fingerprint() != UINT64_C(0x90d2bdb820bd34d2)) {
        selftest_skip(t, "another libm than the one whose bits are recorded");
        return;
    }
    EXPECT(training_bits(t) == UINT64_C(0x34ec1163bdf27909));
}
