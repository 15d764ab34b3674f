/* SPDX-License-Identifier: MIT
 *
 * probe.h — an open dataset with room for one sample and its logits, for the tests of the tasks.
 */
#ifndef MOSAIC_PROBE_H
#define MOSAIC_PROBE_H

#include "selftest.h"
#include "task.h"

typedef struct probe {
    dataset *d;
    sample s;
    double *logits; /* [T][vocab] */
    double *loss;   /* [T], of probe_score */
    int32_t *argmax;
    /* the lines the sample was made of, taken from x and y alone */
    const int32_t *src, *trg;
    int64_t S, R, first; /* first: position of the first target of trg */
} probe;

/* Expects the dataset to open; returns 0 (and counts a failure) if it does not. */
int probe_open(selftest *t, probe *p, const char *task, const data_options *o);
/* Load sample i; 0 if that failed. */
int probe_sample(selftest *t, probe *p, int64_t i);
/* Logits that are certain of `id` at position t. */
void probe_say(probe *p, int64_t t, int32_t id);
/* Score the logits of the sample. */
status probe_score(probe *p, metrics *all);
/* Mean of a metric; NaN if it is not there. */
double probe_mean(const metrics *all, const char *name);
void probe_close(probe *p);

#endif
