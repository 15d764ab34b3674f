/* SPDX-License-Identifier: MIT
 *
 * test_time.c — what verb time makes of attention: how an implementation is called, which answers
 * have no time, what it is fed, and what a row says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/inputs.h"
#include "scratch.h"
#include "store/results.h"
#include "time/problem.h"
#include "verb.h"
#include "worse.h"

/* Attention of a few heads, of the reference, checked on as little as can be. */
static question small_question(op_id id)
{
    const op *o = op_at(id);
    question ask = {.op = o,
                    .impl = impl_reference(id),
                    .d = {.B = 3, .T = 20, .H = 2, .D = 8, .C = 1, .R = 1, .N = 1, .V = 1, .M = 1},
                    .p = call_params(o),
                    .type = F64,
                    .transform = OP_entmax,
                    .keep = 1,
                    .input = "normal",
                    .beta = 1,
                    .seed = 7};
    ask.p.scale = sequence_scale("normal", ask.d.D);
    return ask;
}

/* --- how it is called ------------------------------------------------------------------------- */

static args heard;       /* the last call of spy */
static op_fn *spied_on;  /* what it passes calls on to */
static const void *told; /* the output of the last forward */

static status spy(const args *a)
{
    if (!a->need) heard = *a;
    return spied_on(a);
}

/* Open a problem of which `id` is spied on, and sample it once. */
static void listen(selftest *t, question *ask, op_id id, problem *p)
{
    static impl ear; /* the problem refers to it */
    double seconds = NAN;
    ear = *impl_reference(id);
    spied_on = ear.run;
    ear.run = spy;
    ask->impl = &ear;
    EXPECT(problem_open(p, ask) == OK);
    heard = (args){0};
    if (p->main.seen) EXPECT(problem_sample(p, &seconds) == OK && seconds > 0);
    told = p->before.large ? p->before.large->a.out[0] : NULL;
}

void selftest_time_attention(selftest *t)
{
    problem p;
    for (int tied = 0; tied < 2; tied++)
        for (int both = 0; both < 2; both++) {
            question ask = small_question(OP_attention);
            ask.tied = tied;
            ask.both = both;
            listen(t, &ask, OP_attention, &p);
            EXPECT(heard.out[0] && !heard.out[1] && heard.keep && heard.d.B == 3);
            EXPECT((heard.in[0] == heard.in[1]) == tied);
            problem_close(&p);
        }
    for (int tied = 0; tied < 2; tied++) {
        question ask = small_question(OP_attention_grad);
        ask.tied = tied;
        listen(t, &ask, OP_attention_grad, &p);
        EXPECT(heard.in[4] && !heard.in[5] && heard.keep && heard.in[6]);
        EXPECT((heard.in[0] == heard.in[1]) == tied && (heard.out[0] == heard.out[1]) == tied);
        EXPECT(p.main.large && p.main.large != p.main.small); /* the forward has done its part */
        problem_close(&p);
    }
    question ask = small_question(OP_attention);
    ask.keep = 0;
    listen(t, &ask, OP_attention, &p);
    EXPECT(heard.out[1] && !heard.keep);
    problem_close(&p);
    ask = small_question(OP_attention_grad);
    ask.keep = 0;
    listen(t, &ask, OP_attention_grad, &p);
    EXPECT(heard.in[5] && !heard.keep && !told);
    problem_close(&p);
    ask = small_question(OP_persistent_memory_grad);
    ask.input = "gauss";
    listen(t, &ask, OP_persistent_memory_grad, &p);
    EXPECT(heard.in[3] && !heard.in[4] && told);
    problem_close(&p);
}

/* --- which answers have no time --------------------------------------------------------------- */

static int64_t wrong_at; /* the value of the first output that is wrong, counted from the end */

static status spoil(const args *a)
{
    const status s = spied_on(a);
    const int64_t count = a->d.B * a->d.T * a->d.H * a->d.D;
    if (s == OK && !a->need) ((double *)a->out[0])[count - 1 - wrong_at] += 1e-3;
    return s;
}

typedef struct outcome {
    int same, rechecked, failed;
} outcome;

/* A problem of the reference, or of one that spoils the value `wrong` from the end (< 0: none). */
static outcome outcome_of(selftest *t, question *ask, int64_t wrong)
{
    impl bad = *ask->impl;
    problem p;
    answers known = {0};
    match matches[2 * MAX_TENSORS];
    outcome x = {0};
    int count = 0;
    double seconds;
    spied_on = bad.run;
    wrong_at = wrong;
    if (wrong >= 0) bad.run = spoil;
    ask->impl = &bad;
    EXPECT(problem_open(&p, ask) == OK);
    if (!p.main.seen) return x;
    EXPECT(problem_check(&p, &known, matches, &count, &x.same) == OK && count > 0);
    for (int i = 0; i < count; i++)
        x.failed += match_verdict(&matches[i]) != PASS;
    EXPECT(problem_sample(&p, &seconds) == OK);
    EXPECT(problem_recheck(&p, &x.rechecked) == OK);
    problem_close(&p);
    answers_free(&known);
    return x;
}

void selftest_time_wrong(selftest *t)
{
    for (int which = 0; which < 3; which++) {
        question ask = small_question(which == 1 ? OP_attention_grad : OP_attention);
        const int64_t D = ask.d.D, all = ask.d.T * ask.d.H * D;
        ask.both = which == 2;
        question right = ask, last = ask, first = ask;
        outcome x = outcome_of(t, &right, -1);
        EXPECT(x.same && x.rechecked && x.failed == 0);
        x = outcome_of(t, &last, 0); /* of every call: a head that the reference does not compute */
        EXPECT(!x.same);
        x = outcome_of(t, &first, D); /* the head that it does */
        EXPECT(x.failed > 0);
        question large = ask; /* the last sample of the small call is not that of the large one */
        large.d.B = 2;
        x = outcome_of(t, &large, all - 1);
        EXPECT(x.failed > 0 && !x.rechecked);
    }
}

/* Every pass and family, all heads checked or one. */
void selftest_time_parts(selftest *t)
{
    for (int i = 0; sequence_name(i); i++)
        for (int how = 0; how < 12; how++) {
            question ask = small_question(how / 4 == 1 ? OP_attention_grad : OP_attention);
            ask.both = how / 4 == 2;
            ask.tied = how & 1;
            ask.afforded = how & 2 ? 1e9 : 0;
            ask.input = sequence_name(i);
            ask.transform = transform_at(i % 7);
            if (strcmp(ask.input, "trained") == 0) continue;
            const outcome x = outcome_of(t, &ask, -1);
            selftest_expect(t, x.same && x.rechecked && x.failed == 0, ask.input, how,
                            op_name(ask.transform));
        }
    question ask = small_question(OP_attention);
    problem p;
    ask.input = "trained";
    EXPECT(problem_open(&p, &ask) == ERR_ARG && strstr(last_error(), "expected from="));
    double key[2 * 20 * 8], value[2 * 20 * 8], beta[2] = {1, 2};
    key_stream s = {2, 20, 8, key, value, beta, "test"};
    for (int i = 0; i < 2 * 20 * 8; i++)
        key[i] = sin(i), value[i] = cos(3 * i);
    ask.keys = &s;
    ask.d.H = 4;
    ask.afforded = 1e9;
    EXPECT(problem_open(&p, &ask) == OK);
    const double *k = p.main.small ? p.main.small->in[1] : NULL;
    EXPECT(k && k[(5 * 4 + 3) * 8 + 2] == key[(20 + 5) * 8 + 2]); /* head 3 is head 1 again */
    problem_close(&p);
    s.D = 4;
    EXPECT(problem_open(&p, &ask) == ERR_ARG && strstr(last_error(), "of width 4"));
}

/* --- what a row says -------------------------------------------------------------------------- */

void selftest_time_rows(selftest *t)
{
    const char *path = scratch_path(t, scratch_folder(t), "a.h5");
    char out[4096];
    char *text[] = {"op=attention,attention_grad",
                    "impl=ref",
                    "transform=softmax,entmax",
                    "alpha=1.5,2",
                    "pass=all",
                    "n=33",
                    "tokens=99",
                    "heads=2",
                    "width=4",
                    "tied=1",
                    "samples=3",
                    "seconds=0.001",
                    out};
    words *w = NULL;
    void *rows = NULL;
    int64_t count = 0, both = 0;
    stored *f;
    snprintf(out, sizeof out, "out=%s", path);
    EXPECT(words_parse("time", sizeof text / sizeof *text, text, &w) == OK);
    EXPECT(w && verb_time(w) == EXIT_GOOD);
    words_free(w);
    EXPECT(stored_open(path, &f) == OK && stored_rows(f, TIME, &rows, &count) == OK);
    EXPECT(count == 9 && stored_number(f, "products_ref_f64") > 0);
    for (int64_t i = 0; i < count; i++) {
        const time_row *row = (const time_row *)rows + i;
        const int softmax = strcmp(row->transform, "softmax") == 0;
        both += strcmp(row->pass, "both") == 0;
        EXPECT(strcmp(row->verdict, "PASS") == 0 && row->median > 0 && row->floor > 0);
        EXPECT(row->batch == 3 && row->heads == 2 && row->width == 4 && row->rows == 99);
        EXPECT(softmax == !!isnan(row->alpha) && strcmp(row->input, "normal") == 0);
        EXPECT(strcmp(row->config, "tied=1") == 0 && row->automatic == 1);
        EXPECT(row->support_max <= 32 && row->support_mean > 1 && row->tiles == 1);
        EXPECT(softmax ? row->support_mean == 16.5 : row->support_mean < 16);
    }
    EXPECT(both == 3);
    free(rows);
    stored_close(f);
}

/* --- what it is fed --------------------------------------------------------------------------- */

enum { STEPS = 96, WIDTH = 16 };

/* The scores of one head of a family, [STEPS][STEPS]. */
static void scores_of(selftest *t, const char *family, int tied, double *scores)
{
    const op *o = op_at(OP_attention_weights);
    const dims d = {.B = 1, .T = STEPS, .H = 1, .D = WIDTH, .C = 1, .R = 1, .N = 1, .V = 1, .M = 1};
    const params p = call_params(o);
    const double scale = sequence_scale(family, WIDTH);
    call *c;
    EXPECT(call_create(&c, o, impl_reference(o->id), &d, &p, F64) == OK);
    if (!c) return;
    c->tied = tied;
    EXPECT(inputs_fill(c, family, 1, 7) == OK);
    const double *q = call_in(c, "q"), *k = call_in(c, "k");
    for (int i = 0; i < STEPS * STEPS; i++) {
        scores[i] = 0;
        for (int e = 0; e < WIDTH; e++)
            scores[i] += scale * q[i / STEPS * WIDTH + e] * k[i % STEPS * WIDTH + e];
    }
    EXPECT((memcmp(q, k, sizeof(double) * STEPS * WIDTH) == 0) >= tied);
    call_destroy(c);
}

static double mean_of_column(const double *scores, int j)
{
    double sum = 0;
    for (int i = 0; i < STEPS; i++)
        sum += scores[i * STEPS + j] / STEPS;
    return sum;
}

void selftest_sequences(selftest *t)
{
    double *s = malloc(sizeof(double) * STEPS * STEPS), square = 0, near = 0, error = 0;
    int rising = 1, distinct = 0;
    if (!s) return;
    for (int i = 0; sequence_name(i); i++)
        EXPECT(input_applies(sequence_name(i), op_at(OP_attention_grad)) &&
               !input_applies(sequence_name(i), op_at(OP_softmax)) &&
               !input_applies(sequence_name(i), op_at(OP_persistent_memory)));
    scores_of(t, "normal", 0, s);
    for (int i = 0; i < STEPS * STEPS; i++)
        square += s[i] * s[i] / (STEPS * STEPS);
    EXPECT_NEAR(square, 1, 0.3);
    scores_of(t, "smooth", 0, s);
    for (int i = 1; i < STEPS; i++)
        near += s[i * STEPS + i - 1] / s[i * STEPS + i] / (STEPS - 1);
    EXPECT_NEAR(near, 0.98, 0.05);
    scores_of(t, "rising", 0, s);
    for (int i = 0; i < STEPS; i++)
        for (int j = 1; j < STEPS; j++)
            rising &= s[i * STEPS + j] > s[i * STEPS + j - 1];
    EXPECT(rising);
    EXPECT_NEAR(s[STEPS - 1], 8, 1e-12);
    scores_of(t, "equal", 0, s);
    for (int i = 0; i < STEPS * STEPS; i++)
        error = worse(error, fabs(s[i] - s[0]));
    EXPECT_NEAR(error, 0, 1e-12);
    scores_of(t, "duplicates", 0, s);
    for (int j = 0; j < STEPS; j++) {
        int known = 0;
        for (int i = 0; i < j; i++)
            known |= s[i] == s[j];
        distinct += !known;
    }
    EXPECT(distinct <= 8 && distinct > 1);
    scores_of(t, "onehot", 0, s);
    EXPECT(s[WIDTH] == sqrt(WIDTH) && s[1] == 0);
    scores_of(t, "sinks", 0, s);
    EXPECT(mean_of_column(s, 3) - mean_of_column(s, 4) > 3);
    scores_of(t, "column", 0, s);
    EXPECT(mean_of_column(s, 0) - mean_of_column(s, 1) > 1);
    scores_of(t, "topics", 1, s);
    scores_of(t, "zipf", 1, s);
    EXPECT(s[STEPS + 1] > 0);
    free(s);
}

/* Against the weights of the whole sequence, counted by hand. */
void selftest_support(selftest *t)
{
    const op *o = op_at(OP_attention_weights);
    const dims d = {.B = 2, .T = 150, .H = 2, .D = 8, .C = 1, .R = 1, .N = 1, .V = 1, .M = 1};
    params p = call_params(o);
    call *c;
    support s = {0};
    double keys = 0, most = 0, tiles = 0, alive = 0;
    p.lag = 3;
    EXPECT(call_create(&c, o, impl_reference(o->id), &d, &p, F64) == OK);
    if (!c) return;
    c->a.transform = OP_sparsemax;
    EXPECT(inputs_fill(c, "smooth", 2, 7) == OK && call_once(c) == OK);
    EXPECT(support_measure(c, &s) == OK);
    const double *w = call_out(c, "p");
    for (int row = 0; row < 4 * 150; row++) {
        double n = 0;
        for (int j = 0; j < 150; j++)
            n += w[row * 150 + j] > 0;
        keys += n;
        if (n > most) most = n;
    }
    for (int head = 0; head < 4; head++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++) {
                int here = 0, visible = 0;
                for (int i = 64 * a; i < 64 * a + 64 && i < 150; i++)
                    for (int j = 64 * b; j < 64 * b + 64 && j < 150; j++) {
                        here |= w[(head * 150 + i) * 150 + j] > 0;
                        visible |= j <= i - 3;
                    }
                tiles += visible;
                alive += here;
            }
    EXPECT_NEAR(s.mean, keys / (4 * 147), 1e-12);
    EXPECT(s.most == most);
    EXPECT_NEAR(s.tiles, alive / tiles, 1e-12);
    call_destroy(c);
}
