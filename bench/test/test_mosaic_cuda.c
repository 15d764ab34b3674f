/* SPDX-License-Identifier: MIT
 *
 * test_mosaic_cuda.c — the model of a device against the reference: same parameters, one step, and
 * logits, loss and every gradient compared, for every method, architecture and switch, with dropout
 * and without; in tf32 and bf16 too. A run repeats its bits, also when it is taken up again. The
 * tests of every model (test_model.c, test_steps.c, test_switches.c) run on it as well.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny.h"
#include "twin.h"

enum { B = 2, T = 11, V = 19, ROWS = B * T };

/* The model of a device; NULL, and the test is skipped, where there is none. */
static const model *device_model(selftest *t)
{
    const backend *device = backend_at(1);
    if (device && device->devices() > 0) return model_at(1);
    selftest_skip(t, device ? "this machine has no device" : "this build has no CUDA");
    return NULL;
}

static batch batch_of(int32_t room[2][ROWS])
{
    draw_tokens(room[0], ROWS, V, 31);
    draw_tokens(room[1], ROWS, V, 32);
    for (int i = 4; i < ROWS; i += 5)
        room[1][i] = -1;
    return (batch){.B = B, .T = T, .tokens = room[0], .targets = room[1]};
}

/* Wide enough that answers do not hang on single roundings; D = 8 is one pack of 16 bits. */
static mosaic_config config_of(arch a, const char *transform)
{
    mosaic_config c = config_default();
    c.arch = a;
    c.V = V;
    c.d = 16;
    c.H = c.L = 2;
    c.M = 12;
    c.T = T;
    c.gpt_cosine = 1;
    c.drop_context = c.drop_memory = c.drop_residual = 0.3;
    method_find(transform, &c.method);
    if (c.method.p.relumax_power == 4) c.kappa_init = 0.05; /* the slope of power 2 at 0.1 */
    return c;
}

/* What a placement computes in. */
typedef struct arithmetic {
    const char *name;
    placement where;
    double tol, rounding;
} arithmetic;

static const arithmetic strict = {"f32", {.type = F32}, 1e-5, 0x1p-24};
static const arithmetic rough[] = {{"tf32", {.type = F32, .tf32 = 1}, 2e-3, 0x1p-11},
                                   {"bf16", {.type = BF16}, 0x1p-7, 0x1p-9}};

/* The parameters of the reference in another model. */
static int same_parameters(selftest *t, struct mosaic *ref, const model *on, struct mosaic *m)
{
    int64_t n;
    double *values = slot_get(t, &mosaic_ref, ref, SLOT_VALUE, &n);
    if (values) slot_put(t, on, m, SLOT_VALUE, values);
    free(values);
    return values != NULL;
}

/* With dropout off and on. */
static void expect_same_answers(selftest *t, const char *what, const model *on, struct mosaic *m,
                                struct mosaic *ref, const arithmetic *in)
{
    int32_t room[2][ROWS];
    const batch b = batch_of(room);
    for (int64_t step = -1; step < 3; step += 3) {
        answer got = {0}, want = {0};
        spread s = {0};
        if (answer_of(t, on, m, &b, step, &got) &&
            answer_of(t, &mosaic_ref, ref, &b, step, &want) &&
            spread_of(t, ref, &b, step, &want, in->rounding, &s))
            expect_answer(t, what, ref, &got, &want, &s, in->tol);
        answer_free(&got);
        answer_free(&want);
        spread_free(&s);
    }
}

/* 0 if the reference refuses the configuration. */
static int expect_model(selftest *t, const model *on, const mosaic_config *c, const char *what,
                        const arithmetic *in)
{
    struct mosaic *ref, *m = NULL;
    if (mosaic_ref.create(&ref, c, NULL) != OK) return 0;
    EXPECT(model_initialise(&mosaic_ref, ref, 11) == OK);
    const status s = on->create(&m, c, &in->where);
    /* what emulates an inexact solver, the reference alone does */
    if (s == ERR_ARG && c->method.p.solver == SOLVER_ADASPLASH5) goto done;
    if (s != OK) fprintf(stderr, "%s: %s\n", what, last_error());
    EXPECT(s == OK);
    if (s == OK && same_parameters(t, ref, on, m)) expect_same_answers(t, what, on, m, ref, in);
done:
    on->destroy(m);
    mosaic_ref.destroy(ref);
    return 1;
}

/* --- every method, architecture and switch ----------------------------------------------- */

/* The rows of methods.def and members of the families. */
static const char *method_at(int i)
{
    static const char *const more[] = {"entmax:1.25", "entmax:2.5", "top4_softmax", "top4_uniform"};
    int rows = 0;
    while (method_name(rows))
        rows++;
    if (i < rows) return method_name(i);
    return (size_t)(i - rows) < sizeof more / sizeof *more ? more[i - rows] : NULL;
}

/* Values of the switches that are numbers or methods. */
static const char *values_of(const char *name, const char *words)
{
    static const struct {
        const char *name, *values;
    } rows[] = {{"relumax_b", "0.5"},
                {"kappa_init", "-0.04 0.07"},
                {"pmem_method", "biweight epanechnikov relumax top4_softmax top4_uniform"},
                {"banks", "3"},
                {"k_kernel", "2 3"},
                {"skip_tokens", "3"},
                {"drop_context", "0"},
                {"drop_memory", "0"},
                {"drop_residual", "0"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(name, rows[i].name) == 0) return rows[i].values;
    return words;
}

/* One switch at each of its values but the default. */
static void expect_switch(selftest *t, const model *on, arch a, const char *transform,
                          const char *name, const char *usual, const char *words)
{
    const char *values = values_of(name, words);
    while (*values) {
        char value[32], what[160];
        const int length = (int)strcspn(values, " ");
        mosaic_config c = config_of(a, transform);
        snprintf(value, sizeof value, "%.*s", length, values);
        values += length + (values[length] == ' ');
        if (strcmp(value, usual) == 0 && strcmp(name, "qk") != 0) continue;
        snprintf(what, sizeof what, "%s %s %s=%s", a == ARCH_GPT ? "gpt" : "mosaic", transform,
                 name, value);
        const status s = config_set(&c, name, value);
        if (s != OK) fprintf(stderr, "%s: %s\n", what, last_error());
        EXPECT(s == OK);
        expect_model(t, on, &c, what, &strict);
    }
}

static void expect_switches(selftest *t, const model *on, arch a, const char *transform)
{
    static const struct {
        const char *name, *usual, *values;
    } rows[] = {
#define SWITCH(name, value, values, about) {#name, #value, values},
#include "switches.def"
#undef SWITCH
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_switch(t, on, a, transform, rows[i].name, rows[i].usual, rows[i].values);
}

void selftest_cuda_switches(selftest *t)
{
    const model *on = device_model(t);
    const int threads = use_threads(1);
    for (int i = 0; on && method_at(i); i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            const arch a = gpt ? ARCH_GPT : ARCH_MOSAIC;
            const mosaic_config c = config_of(a, method_at(i));
            EXPECT(expect_model(t, on, &c, method_at(i), &strict));
            expect_switches(t, on, a, method_at(i));
        }
    use_threads(threads);
}

/* Heads that no pack of 16 bytes fits, long rows, several pieces of everything. */
void selftest_cuda_odd_sizes(selftest *t)
{
    const model *on = device_model(t);
    const struct {
        int64_t d, H, M;
    } sizes[] = {{15, 3, 7}, {6, 1, 1}, {26, 2, 33}, {48, 3, 65}};
    const int threads = use_threads(1);
    for (size_t i = 0; on && i < sizeof sizes / sizeof *sizes; i++)
        for (int gpt = 0; gpt < 2; gpt++) {
            char what[64];
            mosaic_config c = config_of(gpt ? ARCH_GPT : ARCH_MOSAIC, "triweight");
            c.d = sizes[i].d;
            c.H = sizes[i].H;
            c.M = sizes[i].M;
            c.bias = 1;
            c.banks = 2;
            c.k_kernel = 3;
            snprintf(what, sizeof what, "%s d=%lld", gpt ? "gpt" : "mosaic", (long long)c.d);
            EXPECT(expect_model(t, on, &c, what, &strict));
            EXPECT(expect_model(t, on, &c, what, &rough[1]));
        }
    use_threads(threads);
}

void selftest_cuda_types(selftest *t)
{
    const model *on = device_model(t);
    const int threads = use_threads(1);
    for (int i = 0; on && method_at(i); i++)
        for (int gpt = 0; gpt < 2; gpt++)
            for (size_t k = 0; k < sizeof rough / sizeof *rough; k++) {
                char what[96];
                const mosaic_config c = config_of(gpt ? ARCH_GPT : ARCH_MOSAIC, method_at(i));
                snprintf(what, sizeof what, "%s %s %s", gpt ? "gpt" : "mosaic", method_at(i),
                         rough[k].name);
                EXPECT(expect_model(t, on, &c, what, &rough[k]));
            }
    use_threads(threads);
}

/* --- bits ---------------------------------------------------------------------------------- */

enum { STEPS = 200, HALF = STEPS / 2 };

static const optimizer adam = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};

/* Steps [from, to), each given to the model before the one before is collected. */
static void train_steps(selftest *t, const model *on, struct mosaic *m, int from, int to)
{
    int32_t room[2][ROWS];
    step_report r;
    int ready = 0, last = from;
    const batch b = batch_of(room);
    for (int step = from; step < to; step++) {
        draw_tokens(room[0], ROWS, V, (uint64_t)step);
        EXPECT(on->gradient(m, &b, 5, step) == OK && on->apply(m, &adam, step + 1) == OK);
        while (last <= step - MOST_STEPS + 1) {
            EXPECT(on->collect(m, 1, &r, &ready) == OK && ready && r.finite);
            EXPECT(r.update == ++last);
        }
    }
    for (ready = 1; ready;)
        EXPECT(on->collect(m, 1, &r, &ready) == OK);
}

static void copy_slots(selftest *t, const model *on, struct mosaic *from, struct mosaic *to)
{
    for (int s = 0; s < 4; s++) {
        int64_t n;
        double *values = slot_get(t, on, from, (slot)s, &n);
        if (values) slot_put(t, on, to, (slot)s, values);
        free(values);
    }
}

static int same_slots(selftest *t, const model *on, struct mosaic *a, struct mosaic *b)
{
    int same = 1;
    for (int s = 0; s < 4; s++) {
        int64_t n;
        double *x = slot_get(t, on, a, (slot)s, &n), *y = slot_get(t, on, b, (slot)s, &n);
        same = same && x && y && memcmp(x, y, (size_t)n * sizeof *x) == 0;
        free(x);
        free(y);
    }
    return same;
}

/* Three runs at once, the third taken up by another model on the way. */
static void expect_bits(selftest *t, const model *on, const mosaic_config *c,
                        const placement *where)
{
    struct mosaic *m[4];
    for (int i = 0; i < 4; i++)
        if (!model_open(t, on, c, where, &m[i])) return;
    for (int i = 0; i < 3; i++)
        train_steps(t, on, m[i], 0, i < 2 ? STEPS : HALF);
    copy_slots(t, on, m[2], m[3]);
    train_steps(t, on, m[2], HALF, STEPS);
    train_steps(t, on, m[3], HALF, STEPS);
    for (int i = 1; i < 4; i++)
        EXPECT(same_slots(t, on, m[0], m[i]));
    for (int i = 0; i < 4; i++)
        on->destroy(m[i]);
}

void selftest_cuda_bits(selftest *t)
{
    const model *on = device_model(t);
    const placement where[] = {{.type = F32}, {.type = BF16}, {.type = F32, .tf32 = 1, .micro = 1}};
    for (int gpt = 0; on && gpt < 2; gpt++)
        for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
            const mosaic_config c = config_of(gpt ? ARCH_GPT : ARCH_MOSAIC, "biweight");
            expect_bits(t, on, &c, &where[i]);
        }
}

/* --- times ---------------------------------------------------------------------------------- */

/* Every stage is timed in steps alone, and all of them are in the step. */
void selftest_cuda_profile(selftest *t)
{
    const model *on = device_model(t);
    const mosaic_config c = config_of(ARCH_MOSAIC, "softmax");
    struct mosaic *m;
    int32_t room[2][ROWS];
    double logits[ROWS * V], whole = 0, parts = 0;
    stage_time time;
    const batch b = batch_of(room);
    if (!on || !model_open(t, on, &c, NULL, &m)) return;
    EXPECT(!on->stage(m, 0, &time));
    train_steps(t, on, m, 0, 2);
    EXPECT(on->profile(m, 1) == OK);
    train_steps(t, on, m, 2, 5);
    EXPECT(on->predict(m, &b, logits) == OK);
    EXPECT(on->profile(m, 0) == OK);
    train_steps(t, on, m, 5, 6);
    for (int i = 0; on->stage(m, i, &time); i++) {
        const int step = strcmp(time.name, "step") == 0;
        *(step ? &whole : &parts) += time.seconds;
        if (step) EXPECT(time.calls == 3);
        if (strcmp(time.name, "attention") == 0) EXPECT(time.calls == 3 * c.L);
        EXPECT(time.seconds > 0);
    }
    EXPECT(whole > 0 && parts > 0 && parts <= whole);
    on->destroy(m);
}

/* --- placements ---------------------------------------------------------------------------- */

void selftest_cuda_placements(selftest *t)
{
    const model *on = device_model(t);
    const mosaic_config c = config_of(ARCH_MOSAIC, "softmax");
    const int none[] = {1000, 0};
    const struct {
        placement where;
        const char *word;
    } refused[] = {{{.type = F16}, "f32 or bf16"},
                   {{.type = BF16, .tf32 = 1}, "tf32"},
                   {{.micro = -1}, "micro"},
                   {{.devices = 2, .device = none}, "devices"},
                   {{.devices = 1, .device = none}, "device"}};
    struct mosaic *m;
    for (size_t i = 0; on && i < sizeof refused / sizeof *refused; i++) {
        EXPECT(on->create(&m, &c, &refused[i].where) == ERR_ARG && !m);
        EXPECT(strstr(last_error(), refused[i].word) != NULL);
    }
    if (!on) return;
    EXPECT(on->create(&m, &c, &(placement){.devices = 1, .device = none + 1}) == OK);
    on->destroy(m);
    on->destroy(NULL);
}

/* --- memory -------------------------------------------------------------------------------- */

/* Rows that want more than any card has are refused with a number that fits, and the model goes on.
 */
static void expect_room(selftest *t, const model *on, struct mosaic *m)
{
    const int64_t rows = 1 << 15, length = 1 << 12;
    int32_t *ids = calloc((size_t)(rows * length), sizeof *ids);
    batch b = {.B = rows, .T = length, .tokens = ids, .targets = ids};
    long long fits = 0;
    EXPECT(ids != NULL);
    if (!ids) return;
    EXPECT(on->gradient(m, &b, 1, 0) == ERR_MEMORY);
    const char *advice = strstr(last_error(), "expected micro=");
    EXPECT(advice && sscanf(advice, "expected micro=%lld or less", &fits) == 1);
    EXPECT(fits >= 1 && fits < rows);
    b.B = 2;
    b.T = 8;
    EXPECT(on->gradient(m, &b, 1, 0) == OK && on->apply(m, &adam, 1) == OK);
    free(ids);
}

void selftest_cuda_memory(selftest *t)
{
    const model *on = device_model(t);
    mosaic_config c = config_of(ARCH_MOSAIC, "softmax");
    struct mosaic *m;
    if (!on) return;
    if (model_open(t, on, &c, &(placement){.micro = 1 << 15}, &m)) {
        expect_room(t, on, m);
        on->destroy(m);
    }
    c.M = INT64_C(1) << 31;
    c.banks = 4;
    EXPECT(on->create(&m, &c, NULL) == ERR_MEMORY && !m);
    EXPECT(strstr(last_error(), "parameters: ") && strstr(last_error(), "expected "));
}
