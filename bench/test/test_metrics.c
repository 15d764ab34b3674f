/* SPDX-License-Identifier: MIT
 *
 * test_metrics.c — sums of scores, intervals, and the queue that feeds a trainer.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "probe.h"
#include "rng.h"

/* Score three logits at each of at most three positions. */
static void score_three(const sample *s, double *logits, int32_t skip_target, metrics *all)
{
    double loss[3];
    int32_t argmax[3];
    prediction p = {.loss = loss, .argmax = argmax, .logits = logits};
    prediction_read(s, 3, &p);
    score_tokens(s, &p, skip_target, all);
}

void selftest_metrics(selftest *t)
{
    double low, high;
    wilson(500, 1000, &low, &high);
    EXPECT_NEAR(low, 0.469069, 1e-6);
    EXPECT_NEAR(high, 0.530931, 1e-6);
    wilson(0, 10, &low, &high);
    EXPECT(low == 0);
    EXPECT_NEAR(high, 0.277533, 1e-6);
    wilson(10, 10, &low, &high);
    EXPECT_NEAR(low, 0.722467, 1e-6);
    EXPECT(high == 1);
    wilson(0, 0, &low, &high);
    EXPECT(low == 0 && high == 1);

    int64_t best;
    const double tie[] = {1, 3, 3, -INFINITY}, large[] = {1000, 1000}, none[] = {NAN, 5};
    EXPECT_NEAR(log_sum_exp(tie, 4, &best), log(exp(1) + 2 * exp(3)), 1e-15);
    EXPECT(best == 1);
    EXPECT_NEAR(log_sum_exp(large, 2, &best), 1000 + log(2), 1e-12);
    EXPECT(best == 0);
    EXPECT(isnan(log_sum_exp(none, 2, &best)) && best == -1);

    /* Two samples of 1 and 3 targets: token-weighted, and exact by sample. */
    int32_t x[3] = {0}, y[3] = {1, IGNORE, IGNORE}, z[3] = {1, 0, 2};
    double logits[9] = {0, 5, 0, 9, 0, 0, 0, 0, 9}, wrong[3] = {NAN, 9, 0};
    sample a = {.T = 3, .x = x, .y = y}, b = {.T = 3, .x = x, .y = z};
    metrics all = {0}, part = {0}, nan = {0};
    score_three(&a, (double[9]){9, 0, 0}, -2, &all);
    score_three(&b, logits, 2, &part);
    metrics_merge(&all, &part);
    EXPECT_NEAR(probe_mean(&all, "token_acc"), 2.0 / 3, 1e-15);
    EXPECT(probe_mean(&all, "exact") == 0.5 && all.count == 3);
    EXPECT(metrics_find(&all, "ce", 0)->count == 4);
    score_three(&a, (double[9]){wrong[0], wrong[1], wrong[2]}, -2, &nan);
    EXPECT(probe_mean(&nan, "token_acc") == 0 && isnan(probe_mean(&nan, "ce")));

    metrics late = {0};
    score_three(&a, (double[9]){0, 9, NAN}, -2, &late);
    EXPECT(probe_mean(&late, "token_acc") == 0 && probe_mean(&late, "exact") == 0);

    /* A uniform model has CE = ln V. */
    double flat[9] = {0};
    metrics uniform = {0};
    score_three(&b, flat, -2, &uniform);
    EXPECT_NEAR(probe_mean(&uniform, "ce"), log(3), 1e-15);
}

void selftest_task_names(selftest *t)
{
    const struct task *row;
    data_options o = data_options_default();
    dataset *d;
    for (int i = 0; i < task_count(); i++) {
        EXPECT(task_find(task_row(i)->name, &row) == OK && row == task_row(i));
        EXPECT(row->title && row->source && row->metrics && row->open && row->write);
    }
    EXPECT(task_row(task_count()) == NULL && task_row(-1) == NULL);
    EXPECT(task_find("mqmtr", &row) == ERR_ARG && row == NULL);
    EXPECT(strstr(last_error(), "did you mean mqmtar?") != NULL);
    EXPECT(dataset_open("sorted", &o, &d) == ERR_ARG && d == NULL);
    o.split = 0x300;
    EXPECT(dataset_open("sort", &o, &d) == ERR_ARG && d == NULL);
    o.split = SPLIT_TEST;
    o.length = 29;
    EXPECT(dataset_open("mqmtar", &o, &d) == ERR_ARG && d == NULL);
    o.length = -1;
    EXPECT(dataset_open("sort", &o, &d) == ERR_ARG && d == NULL);
    o.length = 0;
    o.flip_p = NAN;
    EXPECT(dataset_open("flipflop", &o, &d) == ERR_ARG && d == NULL);
    dataset_close(NULL);
}

enum { ROWS = 5, BATCHES = 40, FAILS_AT = 17 };

static int64_t scattered(void *user, int64_t batch, int64_t row)
{
    (void)user;
    return (batch * 7919 + row * 104729) % 10000;
}

/* Hash of all batches from the fourth on; 0 if something about them is wrong. */
static uint64_t hash_batches(selftest *t, dataset *d, int threads)
{
    prefetch *p;
    task_batch b;
    uint64_t hash = FNV_OFFSET;
    int batches = 0;
    if (prefetch_open(d, ROWS, 3, BATCHES, threads, scattered, NULL, &p) != OK) return 0;
    for (; prefetch_next(p, &b) == OK && b.B > 0; batches++) {
        int64_t longest = 0, n = b.B * b.T;
        for (int64_t r = 0; r < b.B; r++) {
            if (b.row[r].T > longest) longest = b.row[r].T;
            for (int64_t u = b.row[r].T; u < b.T; u++)
                EXPECT(b.tokens[r * b.T + u] == d->pad && b.targets[r * b.T + u] == IGNORE);
        }
        EXPECT(longest == b.T && b.B == ROWS);
        hash = fnv1a(hash, b.tokens, (size_t)n * sizeof *b.tokens);
        hash = fnv1a(hash, b.targets, (size_t)n * sizeof *b.targets);
    }
    EXPECT(batches == BATCHES);
    EXPECT(prefetch_next(p, &b) == OK && b.B == 0);
    prefetch_close(p);
    return hash;
}

static int64_t failing(void *user, int64_t batch, int64_t row)
{
    (void)user;
    return batch == FAILS_AT && row == 1 ? 1000000 : row;
}

void selftest_prefetch(selftest *t)
{
    data_options o = data_options_default();
    dataset *d;
    prefetch *p;
    task_batch b;
    EXPECT(dataset_open("mqmtar", &o, &d) == OK);
    if (!d) return;
    uint64_t alone = hash_batches(t, d, 0);
    EXPECT(alone != 0 && alone == hash_batches(t, d, 1) && alone == hash_batches(t, d, 3));
    /* Closing early, with workers waiting for room. */
    EXPECT(prefetch_open(d, ROWS, 0, 0, 3, NULL, NULL, &p) == OK);
    EXPECT(prefetch_next(p, &b) == OK && b.B == ROWS);
    prefetch_close(p);
    prefetch_close(NULL);
    EXPECT(prefetch_open(d, 0, 0, 0, 1, NULL, NULL, &p) == ERR_ARG && p == NULL);
    dataset_close(d);

    o.split = SPLIT_TEST;
    o.samples = 7;
    EXPECT(dataset_open("copy", &o, &d) == OK);
    if (!d) return;
    /* An error is met at its batch, with its message. */
    EXPECT(prefetch_open(d, 4, 0, 0, 3, failing, NULL, &p) == OK);
    for (int i = 0; i < FAILS_AT; i++)
        EXPECT(prefetch_next(p, &b) == OK && b.B == 4);
    EXPECT(prefetch_next(p, &b) == ERR_ARG && strstr(last_error(), "sample 1000000") != NULL);
    EXPECT(prefetch_next(p, &b) == ERR_ARG);
    prefetch_close(p);
    /* Rows past the last sample are empty. */
    EXPECT(prefetch_open(d, 4, 0, 2, 2, NULL, NULL, &p) == OK);
    EXPECT(prefetch_next(p, &b) == OK && b.row[3].T == 130);
    EXPECT(prefetch_next(p, &b) == OK && b.row[2].T == 130 && b.row[3].T == 0);
    EXPECT(b.T == 130 && b.tokens[3 * 130] == d->pad && b.targets[3 * 130] == IGNORE);
    prefetch_close(p);
    dataset_close(d);
}
