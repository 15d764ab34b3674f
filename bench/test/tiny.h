/* SPDX-License-Identifier: MIT
 *
 * tiny.h — what the tests of models share: a tiny model, random numbers and tokens, the
 * number of threads.
 */
#ifndef MOSAIC_TINY_H
#define MOSAIC_TINY_H

#include <omp.h>
#include <stdio.h>

#include "pipeline.h"
#include "rng.h"
#include "selftest.h"

enum { TINY_V = 7 };

/* V = 7, d = 8, H = 2, L = 2, M = 5. */
static inline mosaic_config tiny(void)
{
    mosaic_config c = config_default();
    c.V = TINY_V;
    c.d = 8;
    c.H = 2;
    c.L = 2;
    c.M = 5;
    c.T = 16;
    return c;
}

/* Normal numbers. */
static inline void fill_normal(double *x, int64_t n, uint64_t seed)
{
    rng r = {seed};
    for (int64_t i = 0; i < n; i++)
        x[i] = rng_normal(&r);
}

static inline void draw_tokens(int32_t *tokens, int64_t n, int64_t vocabulary, uint64_t seed)
{
    rng r = {seed};
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)rng_below(&r, (uint64_t)vocabulary);
}

/* One step, seen through: gradient, apply (o NULL: only reported) and the report. */
static inline status model_step(const model *on, mosaic *m, const batch *b, uint64_t seed,
                                int64_t dropout_step, const optimizer *o, int64_t update,
                                step_report *r)
{
    int ready = 0;
    *r = (step_report){0};
    TRY(on->gradient(m, b, seed, dropout_step));
    TRY(on->apply(m, o, update));
    TRY(on->collect(m, 1, r, &ready));
    return ready ? OK : fail(ERR_DEVICE, "%s: expected the report of a step", on->name);
}

/* A model of c with parameters of seed 11; 0, told, if it cannot be made. */
static inline int at_config(selftest *t, mosaic **m, const mosaic_config *c)
{
    status s = mosaic_ref.create(m, c, NULL);
    if (s == OK) s = model_initialise(&mosaic_ref, *m, 11);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    EXPECT(s == OK && *m);
    return s == OK;
}

/* Use n threads, and say how many it were. */
static inline int use_threads(int n)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
}

#endif
