/* SPDX-License-Identifier: MIT
 *
 * test_babistories.c — babistories as a task: windows, scores and n-grams (spec of the tasks,
 * sections 5, 6 and 8).
 */
#include <math.h>
#include <stdlib.h>

#include "corpus.h"
#include "logits.h"
#include "ngram.h"
#include "probe.h"
#include "rng.h"

static sample sample_room(const dataset *d)
{
    return (sample){.x = malloc((size_t)d->longest * sizeof(int32_t)),
                    .y = malloc((size_t)d->longest * sizeof(int32_t))};
}

static void sample_free(sample *s)
{
    free(s->x);
    free(s->y);
}

void selftest_corpus_windows(selftest *t)
{
    data_options o = data_options_default();
    o.stories = 200;
    o.window = 100;
    o.split = SPLIT_VALIDATION;
    corpus c;
    dataset *d = NULL;
    EXPECT(corpus_open(&o, &c) == OK && dataset_open("babistories", &o, &d) == OK);
    if (!d) return;
    sample s = sample_room(d);
    int64_t at = 0;
    long wrong = 0;
    for (int64_t i = 0; i < d->samples; i++) {
        EXPECT(d->sample(d, i, &s) == OK && s.T >= 1 && s.T <= 100);
        for (int64_t k = 0; k < s.T; k++, at++)
            wrong += s.x[k] != c.stream.v[at] || s.y[k] != c.stream.v[at + 1];
    }
    EXPECT(wrong == 0 && at == (int64_t)c.stream.count - 1);
    EXPECT(d->sample(d, d->samples, &s) == ERR_ARG);
    dataset_close(d);
    corpus_close(&c);

    o.split = SPLIT_TRAIN;
    EXPECT(corpus_open(&o, &c) == OK && dataset_open("babistories", &o, &d) == OK);
    EXPECT(d->samples == 0);
    int64_t N = (int64_t)c.stream.count, lowest = N, highest = 0;
    for (int64_t i = 0; i < 20000; i++) {
        rng r = rng_sample(1, 10, 0, (uint64_t)i);
        int64_t offset = (int64_t)rng_below(&r, (uint64_t)(N - 100));
        if (offset < lowest) lowest = offset;
        if (offset > highest) highest = offset;
        EXPECT(d->sample(d, i, &s) == OK && s.T == 100);
        for (int64_t k = 0; k < s.T; k++)
            wrong += s.x[k] != c.stream.v[offset + k] || s.y[k] != c.stream.v[offset + k + 1];
    }
    EXPECT(wrong == 0 && lowest < 100 && highest + 100 <= N - 1 && highest > N - 201);
    sample_free(&s);
    dataset_close(d);
    corpus_close(&c);
    o.window = 10000000;
    EXPECT(dataset_open("babistories", &o, &d) == ERR_DATA && !d);
}

/* Score the logits of a sample of at most 64 positions. */
static status score_logits(const dataset *d, const sample *s, double *logits, metrics *m)
{
    double loss[64];
    int32_t argmax[64];
    prediction p = {.loss = loss, .argmax = argmax, .logits = logits};
    prediction_read(s, d->vocab, &p);
    return d->score(d, s, &p, m);
}

/* A constant predictor scores ln V everywhere; callback and other tokens partition the targets. */
void selftest_corpus_scores(selftest *t)
{
    data_options o = data_options_default();
    o.stories = 300;
    o.window = 64;
    o.split = SPLIT_VALIDATION;
    o.tokenizer = "gpt2";
    dataset *d = NULL;
    EXPECT(dataset_open("babistories", &o, &d) == OK);
    if (!d) return;
    EXPECT(d->vocab == GPT2_WIDTH && d->hash != 0 && d->tokenizer_hash != 0);
    sample s = sample_room(d);
    double *flat = calloc((size_t)(64 * d->vocab), sizeof *flat);
    metrics m = {0};
    for (int64_t i = 0; i < 8; i++)
        EXPECT(d->sample(d, i, &s) == OK && score_logits(d, &s, flat, &m) == OK);
    EXPECT_NEAR(probe_mean(&m, "ce"), log(50304), 1e-12);
    EXPECT_NEAR(probe_mean(&m, "ce_callback"), log(50304), 1e-12);
    EXPECT_NEAR(probe_mean(&m, "ce_pos_16"), log(50304), 1e-12);
    EXPECT(metrics_find(&m, "ce", 0)->count == 512);
    EXPECT(metrics_find(&m, "ce_pos_0", 0)->count == 8);
    EXPECT(metrics_find(&m, "ce_pos_16", 0)->count == 8 * 48);
    EXPECT(metrics_find(&m, "ce_callback", 0)->count + metrics_find(&m, "ce_other", 0)->count ==
           512);
    free(flat);
    sample_free(&s);
    dataset_close(d);
    corpus c;
    EXPECT(corpus_open(&o, &c) == OK);
    size_t marked = 0;
    for (size_t i = 0; i < c.callback.count; i++)
        marked += (size_t)c.callback.v[i];
    EXPECT_NEAR((double)marked / (double)c.stream.count, 0.15, 0.015);
    corpus_close(&c);
}

void selftest_ngram(selftest *t)
{
    /* a b a c a b: after a: b 2, c 1, two kinds, so P_2(b|a) = (2 + 2 P_1(b)) / 5. */
    static const uint16_t ids[] = {0, 1, 0, 2, 0, 1};
    static const int32_t x[] = {3, 0, 1};
    ngram *g = NULL;
    double row[3][4];
    EXPECT(ngram_build(ids, 6, 4, &g) == OK);
    if (!g) return;
    double p1[4] = {(3 + 3 * 0.25) / 9, (2 + 3 * 0.25) / 9, (1 + 3 * 0.25) / 9, 3 * 0.25 / 9};
    double p2 = (2 + 2 * p1[1]) / 5, after_b = (1 + p1[0]) / 2;
    for (int order = 1; order <= 3; order++) {
        EXPECT(ngram_logits(g, x, 3, order, row[0]) == OK);
        for (int k = 0; k < 3; k++)
            EXPECT_NEAR(log_sum_exp(row[k], 4, NULL), 0, 1e-14);
    }
    EXPECT(ngram_logits(g, x, 3, 1, row[0]) == OK);
    for (int w = 0; w < 4; w++)
        EXPECT_NEAR(exp(row[2][w]), p1[w], 1e-15);
    EXPECT(ngram_logits(g, x, 3, 2, row[0]) == OK);
    for (int w = 0; w < 4; w++)
        EXPECT_NEAR(exp(row[0][w]), p1[w], 1e-15);
    EXPECT_NEAR(exp(row[1][1]), p2, 1e-15);
    EXPECT_NEAR(exp(row[1][3]), 2 * p1[3] / 5, 1e-15);
    EXPECT(ngram_logits(g, x, 3, 3, row[0]) == OK);
    EXPECT_NEAR(exp(row[1][1]), p2, 1e-15);
    EXPECT_NEAR(exp(row[2][0]), (1 + after_b) / 2, 1e-15);
    EXPECT(ngram_logits(g, x, 3, 4, row[0]) == ERR_ARG);
    ngram_free(g);
}

/* Spec, section 6: 12000 stories, GPT-2 ids: 5.69, 2.28, 1.54 nats, 2.8 on callback tokens. */
void selftest_ngram_stories(selftest *t)
{
    static const double ce[] = {5.69, 2.28, 1.54};
    data_options o = data_options_default();
    o.stories = 12000;
    o.tokenizer = "gpt2";
    o.split = SPLIT_VALIDATION;
    o.window = 32;
    dataset *d = NULL;
    EXPECT(dataset_open("babistories", &o, &d) == OK);
    if (!d) return;
    sample s = sample_room(d);
    double *logits = malloc((size_t)(32 * d->vocab) * sizeof *logits);
    for (int order = 1; order <= 3; order++) {
        metrics m = {0};
        for (int64_t i = 0; i < 50; i++) {
            EXPECT(d->sample(d, i * 40, &s) == OK);
            EXPECT(d->ngram(d, &s, order, logits) == OK && score_logits(d, &s, logits, &m) == OK);
        }
        EXPECT_NEAR(probe_mean(&m, "ce"), ce[order - 1], 0.15);
        if (order == 3) EXPECT_NEAR(probe_mean(&m, "ce_callback"), 2.8, 0.4);
    }
    free(logits);
    sample_free(&s);
    dataset_close(d);
}
