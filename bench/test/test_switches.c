/* SPDX-License-Identifier: MIT
 *
 * test_switches.c — the gradient of every switch of the model: of the reference against differences
 * of its loss, of every other model against the reference. The clamps, the emulated WKV gradient,
 * weight decay groups, and what a configuration is refused for.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "rng.h"
#include "tiny.h"
#include "twin.h"

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

static mosaic_config config_with(selftest *t, arch a, const char *switches)
{
    mosaic_config c = config_default();
    char text[160], *word = text;
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
    return c;
}

/* A tiny model after `switches`, words key=value separated by spaces; NULL if there is none here.
 */
static struct mosaic *small(selftest *t, const model *on, arch a, const char *switches)
{
    const mosaic_config c = config_with(t, a, switches);
    struct mosaic *m;
    int64_t n;
    if (!model_open(t, on, &c, NULL, &m)) return NULL;
    EXPECT(model_initialise(on, m, 5) == OK);
    /* values that are not what initialisation makes special */
    rng r = {9};
    double *values = slot_get(t, on, m, SLOT_VALUE, &n);
    for (int64_t i = 0; values && i < n; i++)
        values[i] += 0.02 * rng_normal(&r);
    if (values) slot_put(t, on, m, SLOT_VALUE, values);
    free(values);
    return m;
}

static double loss_of(const model *on, struct mosaic *m, const batch *b, int64_t step)
{
    step_report r;
    const status s = model_step(on, m, b, 4, step, NULL, 0, &r);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    return s == OK ? r.loss : NAN;
}

/* Slope of the loss of the reference along a random direction in one tensor, whose place among all
 * is `at`. */
static void expect_slope(selftest *t, struct mosaic *m, const batch *b, int64_t step,
                         int64_t tensor, const parameter_info *info, int64_t at,
                         const double *gradient, const char *switches)
{
    double keep[1024], w[1024], along[1024], want = 0, loss[2];
    const double h = 1e-6;
    rng r = {(uint64_t)at};
    EXPECT(mosaic_ref.get(m, tensor, SLOT_VALUE, keep) == OK);
    for (int64_t i = 0; i < info->count; i++) {
        along[i] = rng_normal(&r) / sqrt((double)info->count);
        want += gradient[at + i] * along[i];
    }
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < info->count; i++)
            w[i] = keep[i] + (side ? -h : h) * along[i];
        EXPECT(mosaic_ref.put(m, tensor, SLOT_VALUE, w) == OK);
        loss[side] = loss_of(&mosaic_ref, m, b, step);
    }
    EXPECT(mosaic_ref.put(m, tensor, SLOT_VALUE, keep) == OK);
    const double slope = (loss[0] - loss[1]) / (2 * h);
    if (!(fabs(slope - want) <= 1e-7 + 1e-5 * fabs(slope)))
        fprintf(stderr, "%s: %s\n", switches, info->name);
    EXPECT_NEAR(want, slope, 1e-7 + 1e-5 * fabs(slope));
}

static void expect_slopes(selftest *t, arch a, const char *switches, int64_t step,
                          const char *except)
{
    const batch b = words_of();
    struct mosaic *m = small(t, &mosaic_ref, a, switches);
    parameter_info info;
    int64_t n, at = 0;
    if (!m) return;
    loss_of(&mosaic_ref, m, &b, step);
    double *gradient = slot_get(t, &mosaic_ref, m, SLOT_GRAD, &n);
    for (int64_t i = 0; gradient && i < mosaic_ref.parameters(m); i++, at += info.count) {
        EXPECT(mosaic_ref.info(m, i, &info) == OK);
        if (!except || !strstr(info.name, except))
            expect_slope(t, m, &b, step, i, &info, at, gradient, switches);
    }
    free(gradient);
    mosaic_ref.destroy(m);
}

/* Logits, loss and every gradient of a model are the reference's. */
static void expect_reference(selftest *t, const model *on, arch a, const char *switches,
                             int64_t step)
{
    const batch b = words_of();
    struct mosaic *m = small(t, on, a, switches), *ref = small(t, &mosaic_ref, a, switches);
    answer got = {0}, want = {0};
    spread s = {0};
    if (m && ref && answer_of(t, on, m, &b, step, &got) &&
        answer_of(t, &mosaic_ref, ref, &b, step, &want) &&
        spread_of(t, ref, &b, step, &want, 0x1p-24, &s))
        expect_answer(t, switches, ref, &got, &want, &s, model_tolerance(on));
    answer_free(&got);
    answer_free(&want);
    spread_free(&s);
    if (m) on->destroy(m);
    mosaic_ref.destroy(ref);
}

static void expect_gradient(selftest *t, arch a, const char *switches, int64_t step,
                            const char *except)
{
    const model *on;
    expect_slopes(t, a, switches, step, except);
    for (int i = 1; (on = model_at(i)); i++)
        expect_reference(t, on, a, switches, step);
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

/* The gradient of the two heads of a tensor. */
static void grad_of(selftest *t, const model *on, struct mosaic *m, const char *name, double g[2])
{
    int64_t n;
    double *all = slot_get(t, on, m, SLOT_GRAD, &n);
    const int64_t at = tensor_at(t, on, m, name);
    g[0] = all ? all[at] : NAN;
    g[1] = all ? all[at + 1] : NAN;
    free(all);
}

/* exp(min(10 kappa, 5)). beta^2 = e^10: only scores that differ by 1e-4 share a row's weight, such
 * as those of keys of one token with different tokens before it, and of short slots. */
static void expect_kappa_clamp(selftest *t, const model *on)
{
    static const char *const kappas[] = {"blocks.0.attn.kernel_beta", "blocks.1.pmem.kernel_beta"};
    const batch b = words_of();
    const double h = 1e-7;
    struct mosaic *m = small(t, on, ARCH_MOSAIC, "");
    double g[2];
    int64_t n;
    if (!m) return;
    for (int i = 0; i < ROWS; i++)
        tokens[i] = i % 2 ? 1 + i / 2 % 2 : 0;
    tensor_fill(t, on, m, "blocks.0.attn.leaky_key_beta", 0.46);
    double *values = slot_get(t, on, m, SLOT_VALUE, &n);
    for (int i = 0; values && i < 4 * 6; i++)
        values[tensor_at(t, on, m, "blocks.1.pmem.pmem.M_k0") + i] *= 1e-4;
    if (values) slot_put(t, on, m, SLOT_VALUE, values);
    free(values);
    for (int i = 0; i < 2; i++) {
        /* at the clamp the gradient still passes: it is the slope from below */
        tensor_fill(t, on, m, kappas[i], 0.5);
        const double here = loss_of(on, m, &b, -1);
        grad_of(t, on, m, kappas[i], g);
        const double slope = g[0] + g[1];
        EXPECT(fabs(slope) > 1e-5);
        tensor_fill(t, on, m, kappas[i], 0.5 - h);
        const double below = loss_of(on, m, &b, -1);
        if (on == &mosaic_ref) EXPECT_NEAR((here - below) / h, slope, 1e-3 * fabs(slope));
        tensor_fill(t, on, m, kappas[i], 0.6);
        EXPECT(loss_of(on, m, &b, -1) == here);
        grad_of(t, on, m, kappas[i], g);
        EXPECT(g[0] == 0 && g[1] == 0);
        tensor_fill(t, on, m, kappas[i], 0.1);
    }
    on->destroy(m);
}

static void expect_frozen(selftest *t, const model *on)
{
    static const char *const kappas[] = {"blocks.0.attn.kernel_beta", "blocks.0.pmem.kernel_beta"};
    const batch b = words_of();
    struct mosaic *m = small(t, on, ARCH_MOSAIC, "freeze_kappa=1");
    double g[2];
    if (!m) return;
    loss_of(on, m, &b, -1);
    for (int i = 0; i < 2; i++) {
        grad_of(t, on, m, kappas[i], g);
        EXPECT(g[0] == 0 && g[1] == 0);
    }
    on->destroy(m);
}

/* Value scales: e^{min(10 nu, 5)} against min(e^{10 nu}, 5). */
static void expect_value_clamp(selftest *t, const model *on)
{
    static const char *const nu[] = {"blocks.0.attn.value_beta", "blocks.0.pmem.value_beta"};
    const double above[] = {0.51, log(5) / 10 + 0.001}, far[] = {0.7, 0.3};
    const batch b = words_of();
    struct mosaic *m = small(t, on, ARCH_MOSAIC, "value_clamp=eft");
    double g[2];
    if (!m) return;
    for (int i = 0; i < 2; i++) {
        tensor_fill(t, on, m, nu[i], above[i]);
        const double here = loss_of(on, m, &b, -1);
        grad_of(t, on, m, nu[i], g);
        EXPECT(g[0] == 0 && g[1] == 0);
        tensor_fill(t, on, m, nu[i], far[i]);
        EXPECT(loss_of(on, m, &b, -1) == here);
        tensor_fill(t, on, m, nu[i], above[i] - 0.02);
        EXPECT(loss_of(on, m, &b, -1) != here);
        grad_of(t, on, m, nu[i], g);
        EXPECT(g[0] != 0);
    }
    on->destroy(m);
}

void selftest_model_clamps(selftest *t)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++) {
        expect_kappa_clamp(t, on);
        expect_frozen(t, on);
        expect_value_clamp(t, on);
    }
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
    mosaic *m = small(t, &mosaic_ref, ARCH_MOSAIC, "");
    double k[ROWS * d], g[ROWS * d], dkey[ROWS * d], dh[ROWS * d];
    if (!m) return;
    const half_index *i = &m->layers[0].ctx;
    const half_acts *x = &m->acts[0].ctx;
    double *theta = m->slot[SLOT_VALUE] + i->theta, *dtheta = m->slot[SLOT_GRAD] + i->theta;
    theta[0] = 0.05;
    theta[1] = -0.2;
    loss_of(&mosaic_ref, m, &b, -1);
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

static int decays(const model *on, const struct mosaic *m, const char *name)
{
    parameter_info info;
    for (int64_t i = 0; i < on->parameters(m) && on->info(m, i, &info) == OK; i++)
        if (strcmp(info.name, name) == 0) return info.decays;
    return -1;
}

static void expect_decay(selftest *t, const char *switches, int key, int kappa, int gain)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++) {
        struct mosaic *m = small(t, on, ARCH_MOSAIC, switches);
        if (!m) continue;
        EXPECT(decays(on, m, "blocks.0.attn.k_featurizer.conv.weight") == key);
        EXPECT(decays(on, m, "blocks.0.attn.kernel_beta") == kappa);
        EXPECT(decays(on, m, "blocks.0.ln1.weight") == gain);
        EXPECT(decays(on, m, "blocks.0.attn.v_featurizer.linear.weight") == 1);
        on->destroy(m);
    }
}

static void expect_refused(selftest *t, mosaic_config c, const char *field)
{
    const model *on;
    EXPECT(config_check(&c) == ERR_ARG);
    if (!strstr(last_error(), field)) fprintf(stderr, "%s: %s\n", field, last_error());
    EXPECT(strstr(last_error(), field) != NULL);
    for (int i = 0; (on = model_at(i)); i++) {
        struct mosaic *m = (struct mosaic *)&c;
        EXPECT(on->create(&m, &c, NULL) == ERR_ARG && !m);
    }
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

static void expect_batches(selftest *t, const model *on)
{
    const batch b = words_of();
    int32_t none[ROWS], foreign[ROWS];
    step_report r;
    struct mosaic *m = small(t, on, ARCH_GPT, "");
    if (!m) return;
    memset(none, -1, sizeof none);
    memcpy(foreign, tokens, sizeof foreign);
    foreign[3] = V;
    batch unscored = b, empty = b, longer = b, strange = b;
    unscored.targets = none;
    empty.B = 0;
    longer.B = 1;
    longer.T = T + 1;
    strange.tokens = foreign;
    EXPECT(on->gradient(m, &unscored, 0, -1) == ERR_DATA);
    EXPECT(on->gradient(m, &empty, 0, -1) == ERR_ARG);
    EXPECT(on->gradient(m, &longer, 0, -1) == ERR_ARG);
    EXPECT(on->gradient(m, &strange, 0, -1) == ERR_DATA);
    strange = b;
    strange.targets = foreign;
    EXPECT(on->gradient(m, &strange, 0, -1) == ERR_DATA);
    EXPECT(model_step(on, m, &b, 0, -1, NULL, 0, &r) == OK && r.finite);
    on->destroy(m);
}

void selftest_model_batches(selftest *t)
{
    const model *on;
    mosaic_config c = config_with(t, ARCH_MOSAIC, "method=entmax:3 entmax_solver=newton");
    struct mosaic *m;
    for (int i = 0; (on = model_at(i)); i++)
        expect_batches(t, on);
    /* what a transform refuses, the model refuses when it is made */
    EXPECT(mosaic_ref.create(&m, &c, NULL) == ERR_ARG && !m && strstr(last_error(), "alpha"));
}
