/* SPDX-License-Identifier: MIT
 *
 * evaluate.h — the one loop over samples that `train` and `eval` share: any predictor on any
 * dataset, teacher-forced or greedy. Samples are scored apart and merged in index order, so the
 * numbers depend neither on the threads nor on how many samples are predicted at once.
 */
#ifndef MOSAIC_EVALUATE_H
#define MOSAIC_EVALUATE_H

#include "mosaic.h"
#include "store/results.h"
#include "task.h"

/* A model, or a baseline that the task knows. */
typedef struct predictor {
    const char *name;  /* transform or baseline: column `method`                      */
    const char *where; /* column `backend`                                            */
    const model *on;   /* NULL: a baseline                                            */
    struct mosaic *m;
    int order; /* baseline: ORACLE, CHANCE, or n of the n-gram                */
    int64_t layers, width, seed, step;
    WORDS_ config; /* column `config` */
} predictor;

enum { ORACLE = -1, CHANCE = 0 };

/* Padded positions that cutting a batch must spare (prefetch_plan.apart). */
static inline int64_t worth_a_call(const model *on, const struct mosaic *m)
{
    return on->call / on->config(m)->d;
}

/* A row of baselines.def. ERR_ARG for another name. */
status baseline_find(const char *name, int64_t data_seed, predictor *p);

/* What each sample adds to a metric: of the i-th metric the sums and counts of the samples from
 * i * samples on. */
typedef struct scores {
    double *sum, *count;
    int64_t samples;
} scores;
void scores_free(scores *s);

typedef struct evaluation {
    int64_t samples; /* the first so many; 0: all                   */
    int64_t rows;    /* samples of a batch; 0: by their length      */
    int greedy;      /* 1: own predictions as input after the prompt */
    scores *each;    /* out, unless NULL: the caller frees it       */
    int64_t done;    /* out: samples evaluated                      */
} evaluation;

/* Scores of a predictor on an open dataset. Greedy: only the proportions, since a cross-entropy
 * under the model's own prefix says nothing. ERR_ARG if the task has no such baseline or decoding.
 */
status evaluate(const predictor *p, const dataset *d, evaluation *e, metrics *all);

/* each: the metric of the row alone; NULL if it was not asked for. */
typedef status eval_sink(void *user, const eval_row *row, const scores *each);
/* One row of /eval for each metric. */
status evaluate_rows(const predictor *p, const dataset *d, const evaluation *e, const metrics *all,
                     eval_sink *sink, void *user);

#endif
