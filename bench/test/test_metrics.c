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

/* A batch is what was asked for: its samples, longest first, each once, in parts that follow each
 * other and are padded to their own longest; returns how many positions are padded. */
static int64_t expect_batch(selftest *t, const dataset *d, const task_batch *b, int64_t number)
{
    int32_t *room = malloc(2 * (size_t)d->longest * sizeof *room);
    int64_t rows = 0, padded = 0, asked = 0, got = 0;
    const int32_t *at = b->part[0].tokens;
    for (int64_t i = 0; i < b->parts; rows += b->part[i++].B) {
        const task_part *p = &b->part[i];
        EXPECT(p->first == rows && p->B > 0 && p->T == b->row[rows].T && p->tokens == at);
        at += p->B * p->T;
        for (int64_t r = 0; r < p->B; r++) {
            const sample *s = &b->row[rows + r];
            sample again = {.x = room, .y = room + d->longest};
            const size_t bytes = (size_t)s->T * sizeof *room;
            EXPECT(s->x == p->tokens + r * p->T && s->y == p->targets + r * p->T);
            EXPECT(room && d->sample(d, s->index, &again) == OK && again.T == s->T);
            EXPECT(memcmp(s->x, again.x, bytes) == 0 && memcmp(s->y, again.y, bytes) == 0);
            for (int64_t u = s->T; u < p->T; u++)
                EXPECT(s->x[u] == d->pad && s->y[u] == IGNORE);
            padded += p->T - s->T;
        }
    }
    for (int64_t r = 0; r < b->B; r++) {
        asked += scattered(NULL, number, r);
        got += b->row[r].index;
        EXPECT(r == 0 || b->row[r].T <= b->row[r - 1].T);
    }
    EXPECT(rows == ROWS && b->B == ROWS && b->T == b->row[0].T && asked == got);
    free(room);
    return padded;
}

/* Hash of all batches from the fourth on, cut or not; 0 if something about them is wrong. */
static uint64_t hash_batches(selftest *t, dataset *d, int threads, int64_t apart)
{
    const prefetch_plan plan = {.B = ROWS,
                                .first = 3,
                                .count = BATCHES,
                                .apart = apart,
                                .threads = threads,
                                .index = scattered};
    prefetch *p;
    task_batch b;
    uint64_t hash = FNV_OFFSET;
    int batches = 0;
    if (prefetch_open(d, &plan, &p) != OK) return 0;
    for (; prefetch_next(p, &b) == OK && b.B > 0; batches++) {
        const int64_t padded = expect_batch(t, d, &b, 3 + batches);
        EXPECT(apart > 0 || padded == 0);
        EXPECT(apart < UNCUT || b.parts == 1);
        for (int64_t r = 0; r < b.B; r++) {
            hash = fnv1a(hash, b.row[r].x, (size_t)b.row[r].T * sizeof *b.row[r].x);
            hash = fnv1a(hash, b.row[r].y, (size_t)b.row[r].T * sizeof *b.row[r].y);
        }
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
    const uint64_t alone = hash_batches(t, d, 0, UNCUT);
    EXPECT(alone != 0);
    for (int threads = 0; threads < 4; threads += 1 + threads)
        for (int64_t apart = 0; apart < 64; apart = 8 * apart + 1)
            EXPECT(alone == hash_batches(t, d, threads, apart));
    /* Closing early, with workers waiting for room. */
    EXPECT(prefetch_open(d, &(prefetch_plan){.B = ROWS, .threads = 3}, &p) == OK);
    EXPECT(prefetch_next(p, &b) == OK && b.B == ROWS);
    prefetch_close(p);
    prefetch_close(NULL);
    EXPECT(prefetch_open(d, &(prefetch_plan){.B = 0}, &p) == ERR_ARG && p == NULL);
    EXPECT(prefetch_open(d, &(prefetch_plan){.B = 1, .apart = -1}, &p) == ERR_ARG && p == NULL);
    dataset_close(d);

    o.split = SPLIT_TEST;
    o.samples = 7;
    EXPECT(dataset_open("copy", &o, &d) == OK);
    if (!d) return;
    /* An error is met at its batch, with its message. */
    EXPECT(prefetch_open(d, &(prefetch_plan){.B = 4, .threads = 3, .index = failing}, &p) == OK);
    for (int i = 0; i < FAILS_AT; i++)
        EXPECT(prefetch_next(p, &b) == OK && b.B == 4);
    EXPECT(prefetch_next(p, &b) == ERR_ARG && strstr(last_error(), "sample 1000000") != NULL);
    EXPECT(prefetch_next(p, &b) == ERR_ARG);
    prefetch_close(p);
    /* There is no row past the last sample. */
    EXPECT(prefetch_open(d, &(prefetch_plan){.B = 4, .count = 2, .threads = 2}, &p) == OK);
    EXPECT(prefetch_next(p, &b) == OK && b.B == 4 && b.row[3].T == 130 && b.parts == 1);
    EXPECT(prefetch_next(p, &b) == OK && b.B == 3 && b.row[2].T == 130 && b.T == 130);
    prefetch_close(p);
    dataset_close(d);
}
