/* SPDX-License-Identifier: MIT
 *
 * tiny.h — what the tests of models share. They run on every row of model_at through the interface
 * of mosaic.h and compare what it computes with the reference; tests of the reference's inside
 * alone include pipeline.h.
 */
#ifndef MOSAIC_TINY_H
#define MOSAIC_TINY_H

#include "backends.h"
#include "selftest.h"

enum { TINY_V = 7 };

/* V = 7, d = 8, H = 2, L = 2, M = 5. */
mosaic_config tiny(void);

void fill_normal(double *x, int64_t n, uint64_t seed);
void draw_tokens(int32_t *tokens, int64_t n, int64_t vocabulary, uint64_t seed);

/* How far a tensor of a model may be from the reference's, relative to its norm; 0: the same bits.
 */
double model_tolerance(const model *on);
/* A model of c with parameters of seed 11. 0 if it cannot be made, which is a failure unless there
 * is no device for it here. */
int model_open(selftest *t, const model *on, const mosaic_config *c, const placement *where,
               struct mosaic **m);
/* One step, seen through: gradient, apply (o NULL: only reported) and the report. */
status model_step(const model *on, struct mosaic *m, const batch *b, uint64_t seed,
                  int64_t dropout_step, const optimizer *o, int64_t update, step_report *r);

/* All numbers of a slot, tensor after tensor (free), and how many; NULL, told, if it fails. */
double *slot_get(selftest *t, const model *on, struct mosaic *m, slot s, int64_t *count);
void slot_put(selftest *t, const model *on, struct mosaic *m, slot s, const double *values);
/* Where a tensor lies among them; a failure, and 0, if there is none of that name. */
int64_t tensor_at(selftest *t, const model *on, const struct mosaic *m, const char *name);
/* Fill a tensor with one value. */
void tensor_fill(selftest *t, const model *on, struct mosaic *m, const char *name, double value);

/* |got - want| <= tol |want|, Euclidean, of numbers that are finite; the same bits if tol is 0. */
void expect_close(selftest *t, const char *what, const double *got, const double *want, int64_t n,
                  double tol);

/* Use n threads, and say how many it were. */
int use_threads(int n);

#endif
