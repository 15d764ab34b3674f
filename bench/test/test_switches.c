/* SPDX-License-Identifier: MIT
 *
 * test_switches.c — the gradient of every switch of the model against differences of its loss, the
 * clamps, the emulated WKV gradient, weight decay groups, and what a configuration is refused for.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny.h"

enum { B = 2, T = 7, V = 9, ROWS = B * T };

static int32_t tokens[ROWS], targets[ROWS];

static batch words_of(void)
{
    rng r = {3};
    for (int i = 0; i < ROWS; i++) {
        tokens[i] = i * (i < T ? 2 : 5) % V; /* no token twice in a sample: no near ties */
        targets[i] = i % 5 == 4 ? -1 : (int32_t)rng_below(&r, V);
    }
    return (batch){.B = B, .T = T, .tokens = tokens, .targets = targets};
}

/* A tiny model after `switches`, words key=value separated by spaces. */
static mosaic *small(selftest *t, arch a, const char *switches)
{
    mosaic_config c = config_default();
    char text[160], *word = text;
    mosaic *m = NULL;
    c.arch = a;
    c.V = V;
    c.d = 6;
    c.H = 2;
    c.L = 2;
    c.M = 4;
    c.T = T;
    snprintf(text, sizeof text, "%s", switches);
    while (*word) {
        char *end = word + strcspn(word, " "), *value = word + strcspn(word, "=");
        char *next = *end ? end + 1 : end;
        *end = *value = 0;
        const status s = config_set(&c, word, value + 1);
        if (s != OK) fprintf(stderr, "%s\n", last_error());
        EXPECT(s == OK);
        word = next;
    }
    status s = mosaic_ref.create(&m, &c, NULL);
    if (s == OK) s = model_initialise(&mosaic_ref, m, 5);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    EXPECT(s == OK);
    /* values that are not what initialisation makes special */
    rng r = {9};
    for (int64_t i = 0; m && i < m->index.total; i++)
        m->slot[SLOT_VALUE][i] += 0.02 * rng_normal(&r);
    return m;
}

static double loss_of(mosaic *m, const batch *b, int64_t step)
{
    step_report r;
    const status s = model_step(&mosaic_ref, m, b, 4, step, NULL, 0, &r);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    return s == OK ? r.loss : NAN;
}

/* Slope of the loss along a random direction in one tensor. */
static void expect_slope(selftest *t, mosaic *m, const batch *b, int64_t step, const parameter *p,
                         const double *gradient, const char *switches)
{
    double *w = m->slot[SLOT_VALUE] + p->at, keep[1024], along[1024], want = 0, loss[2];
    const double h = 1e-6;
    rng r = {(uint64_t)p->at};
    for (int64_t i = 0; i < p->info.count; i++) {
        keep[i] = w[i];
        along[i] = rng_normal(&r) / sqrt((double)p->info.count);
        want += gradient[p->at + i] * along[i];
    }
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < p->info.count; i++)
            w[i] = keep[i] + (side ? -h : h) * along[i];
        loss[side] = loss_of(m, b, step);
    }
    memcpy(w, keep, (size_t)p->info.count * sizeof *w);
    const double slope = (loss[0] - loss[1]) / (2 * h);
    if (!(fabs(slope - want) <= 1e-7 + 1e-5 * fabs(slope)))
        fprintf(stderr, "%s: %s\n", switches, p->info.name);
    EXPECT_NEAR(want, slope, 1e-7 + 1e-5 * fabs(slope));
}

static void expect_gradient(selftest *t, arch a, const char *switches, int64_t step,
                            const char *except)
{
    const batch b = words_of();
    mosaic *m = small(t, a, switches);
    if (!m) return;
    const size_t bytes = (size_t)m->index.total * sizeof(double);
    double *gradient = malloc(bytes);
    loss_of(m, &b, step);
    if (gradient) memcpy(gradient, m->slot[SLOT_GRAD], bytes);
    for (int64_t i = 0; i < m->index.tensors && gradient; i++)
        if (!except || !strstr(m->list[i].info.name, except))
            expect_slope(t, m, &b, step, &m->list[i], gradient, switches);
    free(gradient);
    mosaic_ref.destroy(m);
}

void selftest_model_switches(selftest *t)
{
    static const char *const mosaic_switches[] = {
        "",
        "bias=1 weight_tying=0",
        "pre_ln=0 bias=1",
        "attn_only=1",
        "k_kernel=3 bias=1",
        "v_fe=conv bias=1",
        "banks=3",
        "pmem_norm=1",
        "pmem_method=biweight",
        "pmem_method=relumax",
        "pmem_method=top2_softmax",
        "visible_lag=2",
        "norm_eps=add1e-6",
        "value_clamp=eft",
        "skip_tokens=3",
        "method=biweight",
        "method=entmax:1.25",
        "method=relumax relumax_b=0.5",
        "method=norm_relu kappa_init=-0.04",
        "method=norm_relu normrelu=code_matrix",
        "method=norm_relu normrelu=code_eft",
        "method=norm_relu normrelu_empty=zero",
        "method=top2_softmax",
        "method=top2_uniform",
        "method=biweight entmax_solver=sort",
    };
    const int threads = use_threads(1);
    for (size_t i = 0; i < sizeof mosaic_switches / sizeof *mosaic_switches; i++)
        expect_gradient(t, ARCH_MOSAIC, mosaic_switches[i], -1, NULL);
    expect_gradient(t, ARCH_MOSAIC, "drop_context=0.3 drop_memory=0.3 drop_residual=0.3", 2, NULL);
    expect_gradient(t, ARCH_MOSAIC, "ctx_dropout=off banks=2", 2, NULL);
    expect_gradient(t, ARCH_MOSAIC, "freeze_kappa=1", -1, "kernel_beta");
    expect_gradient(t, ARCH_MOSAIC, "leaky_grad=wkv", -1, "leaky_key_beta");
    expect_gradient(t, ARCH_GPT, "", -1, NULL);
    expect_gradient(t, ARCH_GPT, "bias=1 method=biweight", 3, NULL);
    expect_gradient(t, ARCH_GPT, "qk=cosine weight_tying=0 method=norm_relu kappa_init=0", 3, NULL);
    use_threads(threads);
}

/* --- clamps and frozen bandwidths -------------------------------------------------------- */

static void set(mosaic *m, int64_t at, double value)
{
    for (int64_t h = 0; h < m->c.H; h++)
        m->slot[SLOT_VALUE][at + h] = value;
}

void selftest_model_clamps(selftest *t)
{
    const batch b = words_of();
    mosaic *m = small(t, ARCH_MOSAIC, "");
    if (!m) return;
    const double *g = m->slot[SLOT_GRAD], h = 1e-7;
    /* beta^2 = e^10: only scores that differ by 1e-4 share a row's weight, such as those of keys
     * of one token with different tokens before it, and of short slots */
    for (int i = 0; i < ROWS; i++)
        tokens[i] = i % 2 ? 1 + i / 2 % 2 : 0;
    set(m, m->layers[0].ctx.theta, 0.46);
    for (int i = 0; i < 4 * 6; i++)
        m->slot[SLOT_VALUE][m->layers[1].pers.mk + i] *= 1e-4;
    const int64_t kappas[] = {m->layers[0].ctx.kappa, m->layers[1].pers.kappa};
    for (int i = 0; i < 2; i++) {
        const int64_t at = kappas[i];
        /* at the clamp the gradient still passes: it is the slope from below */
        set(m, at, 0.5);
        const double here = loss_of(m, &b, -1), slope = g[at] + g[at + 1];
        set(m, at, 0.5 - h);
        EXPECT_NEAR((here - loss_of(m, &b, -1)) / h, slope, 1e-3 * fabs(slope));
        EXPECT(fabs(slope) > 1e-5);
        set(m, at, 0.6);
        EXPECT(loss_of(m, &b, -1) == here && g[at] == 0 && g[at + 1] == 0);
        set(m, at, 0.1);
    }
    mosaic_ref.destroy(m);

    if (!(m = small(t, ARCH_MOSAIC, "freeze_kappa=1"))) return;
    loss_of(m, &b, -1);
    EXPECT(m->slot[SLOT_GRAD][m->layers[0].ctx.kappa] == 0);
    EXPECT(m->slot[SLOT_GRAD][m->layers[0].pers.kappa] == 0);
    mosaic_ref.destroy(m);

    /* value scales: e^{min(10 nu, 5)} against min(e^{10 nu}, 5) */
    if (!(m = small(t, ARCH_MOSAIC, "value_clamp=eft"))) return;
    const int64_t nu[] = {m->layers[0].ctx.nu, m->layers[0].pers.nu};
    const double above[] = {0.51, log(5) / 10 + 0.001}, far[] = {0.7, 0.3};
    for (int i = 0; i < 2; i++) {
        set(m, nu[i], above[i]);
        const double here = loss_of(m, &b, -1);
        EXPECT(m->slot[SLOT_GRAD][nu[i]] == 0);
        set(m, nu[i], far[i]);
        EXPECT(loss_of(m, &b, -1) == here);
        set(m, nu[i], above[i] - 0.02);
        EXPECT(loss_of(m, &b, -1) != here && m->slot[SLOT_GRAD][nu[i]] != 0);
    }
    mosaic_ref.destroy(m);
}

/* --- the gradient of the WKV kernel ------------------------------------------------------ */

/* sum over b, t of <g_t, y_t / |y_t|> for one head, y the weighted mean in WKV form. */
static double wkv(const double *k, const double *g, int d, int at, int D, double w, double u)
{
    double sum = 0;
    for (int row = 0; row < ROWS; row++) {
        double y[8] = {0}, size = 0, along = 0;
        for (int e = 0; e < D; e++) {
            double down = exp(u);
            y[e] = exp(u) * k[row * d + at + e];
            for (int j = row - row % T; j < row; j++) {
                y[e] += exp(w * (row - 1 - j)) * k[j * d + at + e];
                down += exp(w * (row - 1 - j));
            }
            y[e] /= down;
            size += y[e] * y[e];
            along += y[e] * g[row * d + at + e];
        }
        sum += along / sqrt(size);
    }
    return sum;
}

void selftest_wkv_gradient(selftest *t)
{
    enum { d = 6, D = 3 };
    const batch b = words_of();
    mosaic *m = small(t, ARCH_MOSAIC, "");
    double k[ROWS * d], g[ROWS * d], dkey[ROWS * d], dh[ROWS * d];
    if (!m) return;
    const half_index *i = &m->layers[0].ctx;
    const half_acts *x = &m->acts[0].ctx;
    double *theta = m->slot[SLOT_VALUE] + i->theta, *dtheta = m->slot[SLOT_GRAD] + i->theta;
    theta[0] = 0.05;
    theta[1] = -0.2;
    loss_of(m, &b, -1);
    rng r = {6};
    for (int e = 0; e < ROWS * d; e++) {
        const double rho = exp(-10 * fabs(theta[e % d / D]));
        k[e] = x->s[e] - (e / d % T ? rho * x->s[e - d] : 0);
        g[e] = rng_normal(&r);
    }
    for (int emulate = 0; emulate < 2; emulate++) {
        m->c.leaky_grad_wkv = emulate;
        memcpy(dkey, g, sizeof g);
        EXPECT(keys_backward(m, i, x, dkey, dh) == OK);
        for (int head = 0; head < 2; head++) {
            const double lambda = 10 * fabs(theta[head]), s = 1e-5;
            const double dw = (wkv(k, g, d, head * D, D, -lambda + s, lambda) -
                               wkv(k, g, d, head * D, D, -lambda - s, lambda)) /
                              (2 * s);
            const double du = (wkv(k, g, d, head * D, D, -lambda, lambda + s) -
                               wkv(k, g, d, head * D, D, -lambda, lambda - s)) /
                              (2 * s);
            const double sign = theta[head] > 0 ? 1 : -1;
            const double want = emulate ? 10 * (-lambda * dw + du) : 10 * sign * (-dw + du);
            EXPECT_NEAR(dtheta[head], want, 1e-6 * (1 + fabs(want)));
        }
    }
    mosaic_ref.destroy(m);
}

/* --- configurations ---------------------------------------------------------------------- */

static int decays(const mosaic *m, const char *name)
{
    for (int64_t i = 0; i < m->index.tensors; i++)
        if (strcmp(m->list[i].info.name, name) == 0) return m->list[i].info.decays;
    return -1;
}

static void expect_decay(selftest *t, const char *switches, int key, int kappa, int gain)
{
    mosaic *m = small(t, ARCH_MOSAIC, switches);
    if (!m) return;
    EXPECT(decays(m, "blocks.0.attn.k_featurizer.conv.weight") == key);
    EXPECT(decays(m, "blocks.0.attn.kernel_beta") == kappa);
    EXPECT(decays(m, "blocks.0.ln1.weight") == gain);
    EXPECT(decays(m, "blocks.0.attn.v_featurizer.linear.weight") == 1);
    mosaic_ref.destroy(m);
}

static void expect_refused(selftest *t, mosaic_config c, const char *field)
{
    mosaic *m = (mosaic *)&c;
    EXPECT(config_check(&c) == ERR_ARG);
    if (!strstr(last_error(), field)) fprintf(stderr, "%s: %s\n", field, last_error());
    EXPECT(strstr(last_error(), field) != NULL);
    EXPECT(mosaic_ref.create(&m, &c, NULL) == ERR_ARG && !m);
}

void selftest_model_config(selftest *t)
{
    expect_decay(t, "", 1, 0, 0);
    expect_decay(t, "wd_groups=all", 1, 1, 1);
    expect_decay(t, "wd_groups=all freeze_kappa=1", 1, 0, 1);
    expect_decay(t, "method=top2_uniform wd_groups=all", 0, 0, 1);
    expect_decay(t, "method=top2_uniform decay_pathless=1", 1, 0, 0);
    expect_decay(t, "method=norm_relu_eft wd_groups=all", 1, 0, 1);

    mosaic_config good = config_default(), c;
    good.V = 5;
    good.d = 6;
    good.H = 2;
    good.L = 1;
    good.M = 3;
    EXPECT(config_check(&good) == OK);
#define REFUSED(field, value, word)                                                                \
    c = good;                                                                                      \
    c.field = value;                                                                               \
    expect_refused(t, c, word)
    REFUSED(V, 0, "V:");
    REFUSED(d, -1, "d:");
    REFUSED(H, 4, "divisor");
    REFUSED(L, 0, "L:");
    REFUSED(M, 0, "M:");
    REFUSED(banks, 0, "banks");
    REFUSED(k_kernel, 0, "k_kernel");
    REFUSED(visible_lag, 3, "visible_lag");
    REFUSED(skip_tokens, -1, "skip_tokens");
    REFUSED(drop_residual, 1, "drop_residual");
    REFUSED(drop_context, NAN, "drop_context");
    REFUSED(kappa_init, NAN, "kappa_init");
    REFUSED(method.op, OP_none, "method");
    REFUSED(arch, ARCH_GPT, "T:");
#undef REFUSED
    c = good;
    EXPECT(config_set(&c, "pmem_method", "norm_relu") == OK);
    expect_refused(t, c, "pmem_method");
    c = good;
    c.arch = ARCH_GPT;
    c.T = 4;
    EXPECT(config_set(&c, "method", "norm_relu") == OK);
    expect_refused(t, c, "qk=cosine");

    EXPECT(config_set(&c, "visible_lag", "3") == ERR_ARG && strstr(last_error(), "1|2"));
    EXPECT(config_set(&c, "kappa_init", "x") == ERR_ARG && strstr(last_error(), "kappa_init"));
    EXPECT(config_set(&c, "k_kernel", "2.5") == ERR_ARG && strstr(last_error(), "integer"));
    EXPECT(config_set(&c, "nonsense", "1") == ERR_ARG && strstr(last_error(), "nonsense"));
    EXPECT(config_set(&c, "relumax_power", "4") == OK && c.method.p.relumax_power == 4);
}

void selftest_model_batches(selftest *t)
{
    const batch b = words_of();
    int32_t none[ROWS];
    step_report r;
    int ready;
    mosaic *m = small(t, ARCH_GPT, "");
    if (!m) return;
    memset(none, -1, sizeof none);
    batch unscored = b, empty = b, longer = b;
    unscored.targets = none;
    empty.B = 0;
    longer.B = 1;
    longer.T = T + 1;
    EXPECT(mosaic_ref.gradient(m, &unscored, 0, -1) == ERR_DATA);
    EXPECT(mosaic_ref.gradient(m, &empty, 0, -1) == ERR_ARG);
    EXPECT(mosaic_ref.gradient(m, &longer, 0, -1) == ERR_ARG);
    EXPECT(mosaic_ref.gradient(m, &b, 0, -1) == OK);
    m->slot[SLOT_GRAD][0] = NAN;
    const optimizer o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};
    EXPECT(mosaic_ref.apply(m, &o, 1) == OK);
    EXPECT(mosaic_ref.collect(m, 1, &r, &ready) == OK && ready && !r.finite);
    mosaic_ref.destroy(m);
}
