/* SPDX-License-Identifier: MIT
 *
 * test_steps.c — how a model is driven: scores, steps in parts, placements, reports, steps that are
 * not finite.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "tiny.h"

enum { B = 8, T = 9, V = TINY_V, ROWS = B * T };

static const optimizer adam = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};

static int32_t tokens[ROWS], targets[ROWS];

/* Eight rows; some targets are not scored, and none of the last four rows beyond position 5. */
static batch whole_batch(void)
{
    draw_tokens(tokens, ROWS, V, 21);
    draw_tokens(targets, ROWS, V, 22);
    for (int i = 0; i < ROWS; i++)
        if (i % 7 == 3 || (i / T >= B / 2 && i % T > 5)) targets[i] = -1;
    return (batch){.B = B, .T = T, .tokens = tokens, .targets = targets};
}

/* Both architectures with all their dropouts. */
static mosaic_config config_with_dropout(int gpt)
{
    mosaic_config c = tiny();
    c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
    c.gpt_cosine = gpt;
    c.banks = 2;
    c.bias = 1;
    c.skip_tokens = 1;
    c.drop_context = c.drop_memory = c.drop_residual = 0.3;
    config_set(&c, "method", "biweight");
    return c;
}

typedef void one_model(selftest *t, const model *on, const mosaic_config *c);

static void every_model(selftest *t, one_model *expect)
{
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            const mosaic_config c = config_with_dropout(gpt);
            expect(t, on, &c);
        }
}

/* --- scores ------------------------------------------------------------------------------ */

static void expect_score(selftest *t, const model *on, const mosaic_config *c)
{
    double logits[ROWS * V], want[ROWS], got[ROWS];
    int32_t best[ROWS], said[ROWS];
    struct mosaic *m;
    const batch b = whole_batch(), blind = {.B = B, .T = T, .tokens = tokens};
    if (!model_open(t, on, c, NULL, &m)) return;
    EXPECT(on->predict(m, &blind, logits) == OK);
    logits_read(logits, ROWS, V, targets, want, best);
    EXPECT(on->score(m, &b, got, said) == OK);
    expect_close(t, "loss", got, want, ROWS, model_tolerance(on));
    for (int i = 0; i < ROWS; i++) {
        EXPECT(said[i] >= 0 && said[i] < V && (got[i] == 0) == (targets[i] < 0));
        if (said[i] >= 0)
            EXPECT_NEAR(logits[i * V + said[i]], logits[i * V + best[i]], model_tolerance(on));
    }
    EXPECT(model_tolerance(on) > 0 || memcmp(best, said, sizeof best) == 0);
    memset(said, 0, sizeof said);
    EXPECT(on->score(m, &blind, NULL, said) == OK);
    EXPECT(model_tolerance(on) > 0 || memcmp(best, said, sizeof best) == 0);
    targets[4] = V;
    EXPECT(on->score(m, &b, got, NULL) == ERR_DATA);
    targets[4] = 0;
    EXPECT(on->score(m, &b, got, NULL) == OK);
    tensor_fill(t, on, m, c->arch == ARCH_GPT ? "transformer.ln_f.weight" : "ln_out.weight", NAN);
    EXPECT(on->score(m, &b, got, said) == OK && isnan(got[0]) && said[0] == -1);
    on->destroy(m);
}

void selftest_model_score(selftest *t)
{
    every_model(t, expect_score);
}

/* --- a step in parts --------------------------------------------------------------------- */

/* Rows [first, first + count) of the whole, cut to `width` positions. */
static batch part_of(const batch *whole, int64_t first, int64_t count, int64_t width,
                     int32_t room[2][ROWS])
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t u = 0; u < width; u++) {
            room[0][i * width + u] = whole->tokens[(first + i) * whole->T + u];
            room[1][i * width + u] = whole->targets[(first + i) * whole->T + u];
        }
    return (batch){.B = count,
                   .T = width,
                   .tokens = room[0],
                   .targets = room[1],
                   .first_row = first,
                   .whole_T = whole->T};
}

/* The gradient of a step in two parts, the second of which is `width` wide, against that of the
 * whole; returns whether they agree. */
static int same_gradient(selftest *t, const model *on, struct mosaic *m, const batch *whole,
                         int64_t first, int64_t width, int64_t whole_T)
{
    const double tol = model_tolerance(on) + 1e-12;
    int32_t room[2][ROWS];
    double error = 0, size = 0;
    int64_t n;
    step_report r, parts;
    int ready;
    EXPECT(model_step(on, m, whole, 5, 3, NULL, 0, &r) == OK && r.finite);
    double *want = slot_get(t, on, m, SLOT_GRAD, &n);
    batch part = part_of(whole, 0, first, T, room);
    part.scored = batch_scored(on->config(m), whole);
    EXPECT(on->gradient(m, &part, 5, 3) == OK);
    part = part_of(whole, first, B - first, width, room);
    part.scored = batch_scored(on->config(m), whole);
    part.whole_T = whole_T;
    EXPECT(on->gradient(m, &part, 5, 3) == OK);
    EXPECT(on->apply(m, NULL, 0) == OK && on->collect(m, 1, &parts, &ready) == OK && ready);
    double *got = slot_get(t, on, m, SLOT_GRAD, &n);
    EXPECT(parts.scored == r.scored && isfinite(parts.loss));
    for (int64_t i = 0; got && want && i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    free(got);
    free(want);
    return size > 0 && sqrt(error / size) <= tol && fabs(parts.loss - r.loss) <= tol * r.loss &&
           fabs(parts.grad_norm - r.grad_norm) <= tol * r.grad_norm;
}

static void expect_whole_of_parts(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m;
    const batch whole = whole_batch();
    if (!model_open(t, on, c, NULL, &m)) return;
    EXPECT(same_gradient(t, on, m, &whole, 4, T, T));
    EXPECT(same_gradient(t, on, m, &whole, 4, T, 0)); /* as wide as the whole: said by nothing */
    EXPECT(same_gradient(t, on, m, &whole, 4, 6, T));
    EXPECT(same_gradient(t, on, m, &whole, 7, 6, T));
    EXPECT(!same_gradient(t, on, m, &whole, 4, 6, 0)); /* other masks: the test can fail */
    on->destroy(m);
}

void selftest_model_parts(selftest *t)
{
    every_model(t, expect_whole_of_parts);
}

static void expect_micro(selftest *t, const model *on, const mosaic_config *c)
{
    static const int64_t rows[] = {1, 3, 8, 100};
    const double tol = model_tolerance(on) + 1e-12;
    struct mosaic *m, *all;
    double base[ROWS * V], logits[ROWS * V], loss[2][ROWS];
    int64_t n;
    step_report r, want;
    const batch b = whole_batch();
    if (!model_open(t, on, c, NULL, &all)) return;
    EXPECT(on->predict(all, &b, base) == OK && on->score(all, &b, loss[0], NULL) == OK);
    EXPECT(model_step(on, all, &b, 5, 3, &adam, 1, &want) == OK);
    double *gradient = slot_get(t, on, all, SLOT_GRAD, &n);
    for (size_t i = 0; gradient && i < sizeof rows / sizeof *rows; i++) {
        const placement where = {.micro = rows[i]};
        if (!model_open(t, on, c, &where, &m)) break;
        EXPECT(on->predict(m, &b, logits) == OK && on->score(m, &b, loss[1], NULL) == OK);
        expect_close(t, "logits", logits, base, ROWS * V, model_tolerance(on));
        expect_close(t, "losses", loss[1], loss[0], ROWS, model_tolerance(on));
        EXPECT(model_step(on, m, &b, 5, 3, &adam, 1, &r) == OK && r.scored == want.scored);
        EXPECT_NEAR(r.loss, want.loss, tol * want.loss);
        EXPECT_NEAR(r.grad_norm, want.grad_norm, tol * want.grad_norm);
        double *parts = slot_get(t, on, m, SLOT_GRAD, &n);
        if (parts) expect_close(t, "gradient", parts, gradient, n, rows[i] < B ? tol : 0);
        free(parts);
        on->destroy(m);
    }
    free(gradient);
    on->destroy(all);
}

void selftest_model_micro(selftest *t)
{
    const mosaic_config c = tiny();
    struct mosaic *m;
    every_model(t, expect_micro);
    EXPECT(mosaic_ref.create(&m, &c, &(placement){.micro = -1}) == ERR_ARG && !m);
    EXPECT(mosaic_ref.create(&m, &c, &(placement){.type = BF16}) == ERR_ARG && !m);
    EXPECT(mosaic_ref.create(&m, &c, &(placement){.devices = 1, .device = &(int){0}}) == ERR_ARG);
}

/* --- updates ----------------------------------------------------------------------------- */

typedef struct slots {
    double *v[4];
    int64_t n;
} slots;

static slots slots_get(selftest *t, const model *on, struct mosaic *m)
{
    slots s;
    for (int i = 0; i < 4; i++)
        s.v[i] = slot_get(t, on, m, (slot)i, &s.n);
    return s;
}

static void slots_free(slots *s)
{
    for (int i = 0; i < 4; i++)
        free(s->v[i]);
}

/* AdamW after clipping, by hand: w, moments, of w, g, moments; the norm of g. */
static double adam_by_hand(const model *on, struct mosaic *m, slots *s, const optimizer *o,
                           int update)
{
    double *w = s->v[SLOT_VALUE], *g = s->v[SLOT_GRAD], *m1 = s->v[SLOT_MOMENT1],
           *m2 = s->v[SLOT_MOMENT2], square = 0;
    parameter_info info;
    for (int64_t e = 0; e < s->n; e++)
        square += g[e] * g[e];
    const double norm = sqrt(square), cut = o->clip / (norm + 1e-6);
    const double factor = o->clip > 0 && cut < 1 ? cut : 1;
    int64_t e = 0;
    for (int64_t i = 0; on->info(m, i, &info) == OK; i++)
        for (int64_t end = e + info.count; e < end; e++) {
            m1[e] = o->beta1 * m1[e] + (1 - o->beta1) * factor * g[e];
            m2[e] = o->beta2 * m2[e] + (1 - o->beta2) * factor * g[e] * factor * g[e];
            const double mean = m1[e] / (1 - pow(o->beta1, update));
            const double size = sqrt(m2[e] / (1 - pow(o->beta2, update)));
            w[e] -= o->lr * (info.decays ? o->decay * w[e] : 0);
            w[e] -= o->lr * mean / (size + o->eps);
        }
    return norm;
}

/* Both rules of decay; no clipping, one that cuts and one that does not. */
static void expect_updates(selftest *t, const model *on, const mosaic_config *given)
{
    static const double clips[] = {0, 0.01, 1000};
    const double tol = model_tolerance(on) + 1e-12;
    const batch b = whole_batch();
    for (int i = 0; i < 6; i++) {
        mosaic_config c = *given;
        optimizer o = adam;
        struct mosaic *m;
        step_report r;
        int ready;
        c.decay_all = i % 2;
        o.clip = clips[i / 2];
        if (!model_open(t, on, &c, NULL, &m)) return;
        for (int update = 1; update <= 3; update++) {
            EXPECT(on->gradient(m, &b, 5, update) == OK);
            slots want = slots_get(t, on, m);
            const double norm = adam_by_hand(on, m, &want, &o, update);
            EXPECT(on->apply(m, &o, update) == OK && on->collect(m, 1, &r, &ready) == OK && ready);
            EXPECT_NEAR(r.grad_norm, norm, tol * norm);
            EXPECT(norm > clips[1] && norm < clips[2]);
            slots got = slots_get(t, on, m);
            expect_close(t, "values", got.v[0], want.v[0], want.n, tol);
            expect_close(t, "moments", got.v[SLOT_MOMENT1], want.v[SLOT_MOMENT1], want.n, tol);
            expect_close(t, "squares", got.v[SLOT_MOMENT2], want.v[SLOT_MOMENT2], want.n, tol);
            slots_free(&want);
            slots_free(&got);
        }
        on->destroy(m);
    }
}

void selftest_model_update(selftest *t)
{
    every_model(t, expect_updates);
}

/* --- reports ----------------------------------------------------------------------------- */

static void expect_reports(selftest *t, const model *on, const mosaic_config *c)
{
    step_report want[MOST_STEPS], r;
    struct mosaic *m, *ahead;
    int ready = 1;
    const batch b = whole_batch();
    if (!model_open(t, on, c, NULL, &m) || !model_open(t, on, c, NULL, &ahead)) return;
    for (int wait = 0; wait < 2; wait++)
        EXPECT(on->collect(m, wait, &r, &ready) == OK && !ready);
    for (int i = 0; i < MOST_STEPS; i++)
        EXPECT(model_step(on, m, &b, 5, i, &adam, i + 1, &want[i]) == OK);
    for (int i = 0; i < MOST_STEPS; i++) {
        EXPECT(on->gradient(ahead, &b, 5, i) == OK);
        EXPECT(on->apply(ahead, &adam, i + 1) == OK);
    }
    EXPECT(on->gradient(ahead, &b, 5, 9) == OK && on->apply(ahead, &adam, 9) == ERR_ARG);
    for (int i = 0; i < MOST_STEPS; i++) {
        EXPECT(on->collect(ahead, 1, &r, &ready) == OK && ready && r.finite);
        EXPECT(r.update == i + 1 && r.loss == want[i].loss && r.grad_norm == want[i].grad_norm);
        EXPECT(r.scored == batch_scored(c, &b));
    }
    EXPECT(on->apply(ahead, &adam, 9) == OK); /* there is room again, and the step was open */
    EXPECT(on->collect(ahead, 1, &r, &ready) == OK && ready && r.update == 9);
    on->destroy(m);
    on->destroy(ahead);
}

static void expect_steps(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m;
    int32_t room[2][ROWS];
    const batch whole = whole_batch();
    const int64_t scored = batch_scored(c, &whole);
    batch part = part_of(&whole, 4, 4, T, room);
    if (!model_open(t, on, c, NULL, &m)) return;
    EXPECT(on->apply(m, &adam, 1) == ERR_ARG); /* no step */
    part.scored = scored;
    EXPECT(on->gradient(m, &part, 5, 0) == ERR_ARG); /* no part before */
    part = part_of(&whole, 0, 4, T, room);
    part.scored = scored;
    EXPECT(on->gradient(m, &part, 5, 0) == OK);
    EXPECT(on->apply(m, &adam, 1) == ERR_ARG); /* targets are missing */
    part.first_row = 5;
    EXPECT(on->gradient(m, &part, 5, 0) == ERR_ARG); /* a row is missing */
    part.first_row = 4;
    part.scored = scored - 1;
    EXPECT(on->gradient(m, &part, 5, 0) == ERR_ARG); /* of another step */
    part.scored = scored;
    part.whole_T = T - 1;
    EXPECT(on->gradient(m, &part, 5, 0) == ERR_ARG); /* wider than the whole */
    part.whole_T = 0;
    part.first_row = 0;
    EXPECT(on->gradient(m, &part, 5, 0) == OK); /* begins anew */
    part = part_of(&whole, 4, 4, T, room);
    part.scored = scored;
    EXPECT(on->gradient(m, &part, 5, 0) == OK && on->apply(m, &adam, 1) == OK);
    on->destroy(m); /* with a report that nobody asked for */
}

void selftest_model_collect(selftest *t)
{
    every_model(t, expect_reports);
    every_model(t, expect_steps);
}

/* --- steps that are not finite ----------------------------------------------------------- */

/* Did values and moments stay what they were? */
static int unchanged(selftest *t, const model *on, struct mosaic *m, double *const was[4])
{
    int same = 1;
    for (int s = 0; s < 4; s++) {
        int64_t n;
        double *now = s == SLOT_GRAD ? NULL : slot_get(t, on, m, (slot)s, &n);
        if (now && was[s]) same = same && memcmp(now, was[s], (size_t)n * sizeof *now) == 0;
        free(now);
    }
    return same;
}

static void expect_broken(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m, *twin;
    double *was[4] = {0};
    int64_t n;
    step_report r, want;
    int ready;
    const batch b = whole_batch();
    const char *kappa =
        c->arch == ARCH_GPT ? "transformer.h.0.attn.kernel_beta" : "blocks.0.attn.kernel_beta";
    if (!model_open(t, on, c, NULL, &m) || !model_open(t, on, c, NULL, &twin)) return;
    EXPECT(model_step(on, m, &b, 5, 0, &adam, 1, &r) == OK && r.finite);
    EXPECT(model_step(on, twin, &b, 5, 0, &adam, 1, &r) == OK && r.finite);
    for (int s = 0; s < 4; s++)
        was[s] = slot_get(t, on, m, (slot)s, &n);

    /* the gradient overflows */
    EXPECT(on->gradient(m, &b, 5, 1) == OK);
    double *gradient = slot_get(t, on, m, SLOT_GRAD, &n);
    if (gradient) gradient[n - 1] = INFINITY;
    if (gradient) slot_put(t, on, m, SLOT_GRAD, gradient);
    EXPECT(on->apply(m, &adam, 2) == OK && on->collect(m, 1, &r, &ready) == OK && ready);
    EXPECT(!r.finite && isfinite(r.loss) && !isfinite(r.grad_norm) && r.update == 2);
    EXPECT(unchanged(t, on, m, was));
    free(gradient);
    /* the next step is as if nothing had been */
    EXPECT(model_step(on, m, &b, 5, 2, &adam, 2, &r) == OK && r.finite);
    EXPECT(model_step(on, twin, &b, 5, 2, &adam, 2, &want) == OK);
    EXPECT(r.loss == want.loss && r.grad_norm == want.grad_norm);

    /* the loss is none: of a bandwidth that is NaN, and of one that a transform refuses */
    for (int i = 0; i < 2; i++) {
        tensor_fill(t, on, m, kappa, i ? -1000 : NAN);
        for (int s = 0; s < 4; s++) {
            free(was[s]);
            was[s] = slot_get(t, on, m, (slot)s, &n);
        }
        EXPECT(model_step(on, m, &b, 5, 3, &adam, 3, &r) == OK);
        EXPECT(!r.finite && !isfinite(r.loss) && r.update == 3 && unchanged(t, on, m, was));
    }
    for (int s = 0; s < 4; s++)
        free(was[s]);
    on->destroy(m);
    on->destroy(twin);
}

void selftest_model_broken_step(selftest *t)
{
    every_model(t, expect_broken);
}
