/* SPDX-License-Identifier: MIT
 *
 * test_eval.c — evaluation: oracles, chance, greedy decoding, and what the scores must not depend
 * on.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/evaluate.h"
#include "train/recipe.h"
#include "selftest.h"

/* A metric's mean; NaN if it was not recorded. */
static double mean_of(metrics *all, const char *name)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->m[i].name, name) == 0) return all->m[i].sum / (double)all->m[i].count;
    return NAN;
}

static status evaluate_baseline(const char *task, const char *name, int64_t length, int64_t samples,
                                metrics *all)
{
    data_options o = data_options_default();
    predictor p;
    dataset *d;
    evaluation e = {.samples = samples};
    o.length = length;
    o.stories = 400;
    o.window = strcmp(task, "babistories") == 0 ? 64 : 0;
    TRY(baseline_find(name, 1, &p));
    TRY(split_find("test", length, &o.split));
    TRY(dataset_open(task, &o, &d));
    status s = evaluate(&p, d, &e, all);
    dataset_close(d);
    return s;
}

void selftest_oracle(selftest *t)
{
    for (int i = 0; i < task_count(); i++) {
        const struct task *task = task_row(i);
        for (int64_t length = 64; length <= 4096; length *= 4) {
            metrics all = {0};
            int shards = strcmp(task->name, "regbench") != 0;
            status s = evaluate_baseline(task->name, "oracle", shards ? length : 0,
                                         length > 1024 ? 5 : 50, &all);
            if (s == ERR_ARG && task->validation_only) break; /* language has no oracle */
            EXPECT(s == OK && all.count > 0);
            for (int k = 0; k < all.count; k++)
                if (all.m[k].proportion) EXPECT(all.m[k].sum == (double)all.m[k].count);
            if (shards) EXPECT_NEAR(mean_of(&all, "ce"), 0, 0);
        }
    }
}

/* Is a word among those of a list? */
static int named(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return 1;
    return 0;
}

/* The first samples of two openings of a task are the same, and lie within its vocabulary. */
static void expect_samples(selftest *t, const dataset *a, const dataset *b)
{
    const size_t room = (size_t)a->longest;
    int32_t *x = malloc(4 * room * sizeof *x);
    EXPECT(x && a->hash == b->hash && a->vocab == b->vocab && a->longest == b->longest);
    for (int64_t i = 0; x && i < 20 && (a->samples == 0 || i < a->samples); i++) {
        sample s = {.x = x, .y = x + room}, again = {.x = x + 2 * room, .y = x + 3 * room};
        int scored = 0, outside = 0;
        EXPECT(a->sample(a, i, &s) == OK && b->sample(b, i, &again) == OK);
        EXPECT(s.T >= 1 && s.T <= a->longest && s.T == again.T && s.answer < s.T);
        EXPECT(memcmp(s.x, again.x, (size_t)s.T * sizeof *x) == 0);
        EXPECT(memcmp(s.y, again.y, (size_t)s.T * sizeof *x) == 0);
        for (int64_t k = 0; k < s.T; k++) {
            scored += s.y[k] != IGNORE;
            outside += s.x[k] < 0 || s.x[k] >= a->vocab || s.y[k] < IGNORE || s.y[k] >= a->vocab;
        }
        EXPECT(scored > 0 && outside == 0);
    }
    free(x);
}

/* What every row of tasks.def promises. */
void selftest_task_rows(selftest *t)
{
    for (int i = 0; i < task_count(); i++) {
        const struct task *task = task_row(i);
        data_options o = data_options_default();
        dataset *a = NULL, *b = NULL;
        metrics all = {0};
        for (int k = 0; k < i; k++)
            EXPECT(task->id != task_row(k)->id);
        o.stories = 400;
        o.window = strcmp(task->name, "babistories") == 0 ? 64 : 0;
        EXPECT(dataset_open(task->name, &o, &a) == OK && dataset_open(task->name, &o, &b) == OK);
        if (a && b) expect_samples(t, a, b);
        dataset_close(b);
        o.seed = 2;
        EXPECT(dataset_open(task->name, &o, &b) == OK && a && b && a->hash != b->hash);
        dataset_close(a);
        dataset_close(b);
        EXPECT(evaluate_baseline(task->name, "chance", 0, 20, &all) == OK && all.count > 0);
        for (int k = 0; k < all.count; k++) {
            selftest_expect(t, named(task->metrics, all.m[k].name), __FILE__, __LINE__,
                            all.m[k].name);
            if (strcmp(all.m[k].name, "ce") == 0) EXPECT(all.m[k].sum > 0);
        }
    }
}

void selftest_chance(selftest *t)
{
    metrics all = {0};
    EXPECT(evaluate_baseline("reverse", "chance", 64, 400, &all) == OK);
    EXPECT_NEAR(mean_of(&all, "token_acc"), 1.0 / 32, 4e-3);
    EXPECT_NEAR(mean_of(&all, "ce"), log(36), 1e-12);
    EXPECT_NEAR(mean_of(&all, "exact"), 0, 0);
    EXPECT(evaluate_baseline("mqmtar", "chance", 64, 100, &all) == OK);
    EXPECT_NEAR(mean_of(&all, "ce"), log(263), 1e-12);
    EXPECT(evaluate_baseline("flipflop", "chance", 64, 1000, &all) == OK);
    EXPECT_NEAR(mean_of(&all, "exact"), 0.5, 0.06);
    EXPECT(evaluate_baseline("regbench", "chance", 0, 200, &all) == OK);
    EXPECT_NEAR(mean_of(&all, "acc"), 0.110, 0.01);
    EXPECT_NEAR(mean_of(&all, "tvd"), 0.890, 0.01);
    EXPECT_NEAR(mean_of(&all, "kl"), 2.31, 0.04);
    EXPECT(evaluate_baseline("babistories", "chance", 0, 4, &all) == OK);
    EXPECT_NEAR(mean_of(&all, "ce"), log(2048), 1e-12);
    EXPECT(evaluate_baseline("count", "3gram", 64, 4, &all) == ERR_ARG);
    EXPECT(evaluate_baseline("reverse", "5gram", 64, 4, &all) == ERR_ARG);
}

/* A dataset and a small model that was trained a little on it. */
typedef struct small {
    words *w;
    dataset *d;
    struct mosaic *m;
    predictor p;
} small;

static status small_open(small *s, const char *task, int64_t steps)
{
    *s = (small){0};
    mosaic_config config;
    data_options o = data_options_default();
    char *line[] = {(char *)"method=biweight", (char *)"width=16", (char *)"heads=2",
                    (char *)"slots=8"};
    TRY(words_parse("train", sizeof line / sizeof *line, line, &s->w));
    recipe r = recipe_cell(s->w, 0, 0, 0);
    o.split = SPLIT_TRAIN; /* lengths vary: padding matters */
    o.samples = 24;
    TRY(dataset_open(task, &o, &s->d));
    TRY(recipe_config(&r, s->d->vocab, s->d->longest, &config));
    TRY(mosaic_ref.create(&s->m, &config, NULL));
    TRY(model_initialise(&mosaic_ref, s->m, 3));
    s->p = (predictor){.name = "biweight", .where = "ref", .on = &mosaic_ref, .m = s->m};
    int32_t *x = calloc((size_t)s->d->longest, sizeof *x),
            *y = calloc((size_t)s->d->longest, sizeof *y);
    status done = x && y ? OK : fail(ERR_MEMORY, "test: out of memory");
    for (int64_t i = 0; done == OK && i < steps; i++) {
        sample one = {.x = x, .y = y};
        step_report report;
        int ready;
        optimizer adam = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
        done = s->d->sample(s->d, i % 4, &one);
        const batch b = {.B = 1, .T = one.T, .tokens = x, .targets = y};
        if (done == OK) done = mosaic_ref.gradient(s->m, &b, 1, -1);
        if (done == OK) done = mosaic_ref.apply(s->m, &adam, i + 1);
        if (done == OK) done = mosaic_ref.collect(s->m, 1, &report, &ready);
    }
    free(x);
    free(y);
    return done;
}

static void small_close(small *s)
{
    mosaic_ref.destroy(s->m);
    dataset_close(s->d);
    words_free(s->w);
}

void selftest_greedy(selftest *t)
{
    static const char *const tasks[] = {"sort", "flipflop"};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        small s;
        metrics forced = {0}, greedy = {0};
        evaluation e = {0};
        EXPECT(small_open(&s, tasks[i], 30) == OK);
        if (s.m) {
            EXPECT(evaluate(&s.p, s.d, &e, &forced) == OK);
            e.greedy = 1;
            EXPECT(evaluate(&s.p, s.d, &e, &greedy) == OK);
            EXPECT(mean_of(&forced, "exact") == mean_of(&greedy, "exact"));
            EXPECT(isnan(mean_of(&greedy, "ce")) && !isnan(mean_of(&forced, "ce")));
        }
        small_close(&s);
    }
    metrics all = {0};
    small s;
    evaluation e = {.greedy = 1};
    EXPECT(small_open(&s, "count", 0) == OK);
    if (s.m) EXPECT(evaluate(&s.p, s.d, &e, &all) == ERR_ARG);
    small_close(&s);
}

static void expect_same_metrics(selftest *t, const metrics *a, const metrics *b)
{
    EXPECT(a->count == b->count && a->count > 0);
    for (int k = 0; k < a->count && k < b->count; k++)
        EXPECT(a->m[k].sum == b->m[k].sum && a->m[k].count == b->m[k].count);
}

void selftest_evaluation_order(selftest *t)
{
    static const int64_t rows[] = {1, 5, 24, 0};
    metrics first = {0}, other = {0}, baseline = {0}, decoded = {0};
    model priced = mosaic_ref; /* how it is cut hangs on the price of a call */
    small s;
    EXPECT(small_open(&s, "copy", 5) == OK);
    s.p.on = &priced;
    for (int threads = 1; s.m && threads <= 3; threads++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            evaluation e = {.rows = rows[k]};
            int fresh = threads == 1 && k == 0;
            priced.call = k % 2 ? UNCUT : 0;
            threads_set(threads);
            EXPECT(evaluate(&s.p, s.d, &e, fresh ? &first : &other) == OK);
            if (!fresh) expect_same_metrics(t, &first, &other);
            EXPECT(evaluate(&(predictor){.name = "3gram", .order = 3}, s.d, &e,
                            fresh ? &baseline : &other) == OK);
            if (!fresh) expect_same_metrics(t, &baseline, &other);
        }
    threads_set(1); /* a token is too little work for more */
    for (size_t k = 0; s.m && k < sizeof rows / sizeof *rows; k++) {
        evaluation e = {.rows = rows[k], .greedy = 1};
        priced.call = k % 2 ? UNCUT : 0;
        EXPECT(evaluate(&s.p, s.d, &e, k == 0 ? &decoded : &other) == OK);
        if (k > 0) expect_same_metrics(t, &decoded, &other);
    }
    small_close(&s);
}
