/* SPDX-License-Identifier: MIT
 *
 * twin.h — what a model says of a batch, and how near to it another one must be.
 *
 * Models in other arithmetic than the reference's agree with it as far as the question is a fair
 * one: where a selection of keys nearly ties, or a gradient is a small difference of large terms,
 * rounding the parameters alone moves the answer. Twins measure that: the reference with parameters
 * moved by one rounding. A tensor must be within a tolerance of its own, or within TWIN_ROOM of the
 * farthest twin, whichever is more.
 */
#ifndef MOSAIC_TWIN_H
#define MOSAIC_TWIN_H

#include "backends.h"
#include "selftest.h"

enum { TWINS = 4, TWIN_ROOM = 64 };

/* The answer to a batch: logits, loss, and every gradient, tensor after tensor. */
typedef struct answer {
    double *logits, *gradient;
    int64_t logit_count, count;
    double loss;
} answer;

/* How far the farthest twin is, relative to the norm: of the logits, and of each tensor. */
typedef struct spread {
    double logits, loss, *gradient;
} spread;

/* Of dropout_step < 0 with dropout off. 0, told, if it cannot be had. */
int answer_of(selftest *t, const model *on, struct mosaic *m, const batch *b, int64_t dropout_step,
              answer *a);
void answer_free(answer *a);

/* Of the reference `ref`, whose parameters are moved by a relative `rounding` and put back. */
int spread_of(selftest *t, struct mosaic *ref, const batch *b, int64_t dropout_step,
              const answer *want, double rounding, spread *s);
void spread_free(spread *s);

/* |got - want| / |want|, or |got| where want is 0; NaN where either is. */
double distance_of(const double *got, const double *want, int64_t n);
/* Is a tensor at this distance near enough? Told if it is not. */
void expect_near_twins(selftest *t, const char *what, const char *tensor, double distance,
                       double tol, double twins);
/* Logits, loss and every gradient of a model are those of the reference. */
void expect_answer(selftest *t, const char *what, const struct mosaic *ref, const answer *got,
                   const answer *want, const spread *s, double tol);

#endif
