/* SPDX-License-Identifier: MIT
 *
 * timing.h — the two halves of verb time: operations (time.c) and generators (time_tasks.c).
 */
#ifndef MOSAIC_TIMING_H
#define MOSAIC_TIMING_H

#include "measure.h"
#include "store/results.h"
#include "yardstick.h"

/* Where timed rows go: a TSV line each, and the file. */
typedef struct timing {
    const words *w;
    results *r;
    int printed;     /* rows */
    int noisy;       /* rows whose quartiles are far apart (is_noisy of statistics.h) */
    char why[200];   /* the last problem that was declined, for the user */
    double *samples; /* room for sampling.most */
    sampling protocol;
    yardstick yard; /* beside each sample, if `beside` has room for it */
    double *beside;
    struct answers *known;   /* what the reference said last, shared by implementations */
    struct key_stream *keys; /* of input=trained, once they are read */
    /* The rate of products last measured: operations a second, where and in which storage. */
    double products;
    const backend *products_of;
    dtype products_in;
} timing;

/* Fill the statistics of a row from t->samples[0..count), print and store it. */
status timing_emit(timing *t, time_row *row, int64_t count);
/* Rows for the generators named by task=, story text and BPE. */
status time_tasks(timing *t);

#endif
