/* SPDX-License-Identifier: MIT
 *
 * tiny.c — see tiny.h.
 */
#include "tiny.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

mosaic_config tiny(void)
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

void fill_normal(double *x, int64_t n, uint64_t seed)
{
    rng r = {seed};
    for (int64_t i = 0; i < n; i++)
        x[i] = rng_normal(&r);
}

void draw_tokens(int32_t *tokens, int64_t n, int64_t vocabulary, uint64_t seed)
{
    rng r = {seed};
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)rng_below(&r, (uint64_t)vocabulary);
}

double model_tolerance(const model *on)
{
    static const struct {
        const char *model;
        double tol;
    } rows[] = {{"ref", 0}, {"cuda", 1e-5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(on->name, rows[i].model) == 0) return rows[i].tol;
    return 0;
}

int model_open(selftest *t, const model *on, const mosaic_config *c, const placement *where,
               struct mosaic **m)
{
    status s = on->create(m, c, where);
    if (s == ERR_DEVICE) return 0;
    if (s == OK) s = model_initialise(on, *m, 11);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    EXPECT(s == OK && *m);
    return s == OK;
}

status model_step(const model *on, struct mosaic *m, const batch *b, uint64_t seed,
                  int64_t dropout_step, const optimizer *o, int64_t update, step_report *r)
{
    int ready = 0;
    *r = (step_report){0};
    TRY(on->gradient(m, b, seed, dropout_step));
    TRY(on->apply(m, o, update));
    TRY(on->collect(m, 1, r, &ready));
    return ready ? OK : fail(ERR_DEVICE, "%s: expected the report of a step", on->name);
}

double *slot_get(selftest *t, const model *on, struct mosaic *m, slot s, int64_t *count)
{
    parameter_info info;
    int64_t total = 0, at = 0;
    for (int64_t i = 0; i < on->parameters(m); i++)
        if (on->info(m, i, &info) == OK) total += info.count;
    double *values = malloc((size_t)total * sizeof *values);
    status good = values ? OK : ERR_MEMORY;
    for (int64_t i = 0; good == OK && i < on->parameters(m); i++) {
        if ((good = on->info(m, i, &info)) != OK) break;
        good = on->get(m, i, s, values + at);
        at += info.count;
    }
    EXPECT(good == OK);
    *count = total;
    if (good == OK) return values;
    free(values);
    return NULL;
}

void slot_put(selftest *t, const model *on, struct mosaic *m, slot s, const double *values)
{
    parameter_info info;
    for (int64_t i = 0; i < on->parameters(m); i++) {
        EXPECT(on->info(m, i, &info) == OK && on->put(m, i, s, values) == OK);
        values += info.count;
    }
}

/* Index of a tensor, its place and size; -1 if there is none. */
static int64_t find(const model *on, const struct mosaic *m, const char *name, int64_t *at,
                    int64_t *count)
{
    parameter_info info;
    *at = *count = 0;
    for (int64_t i = 0; i < on->parameters(m) && on->info(m, i, &info) == OK; i++) {
        *count = info.count;
        if (strcmp(info.name, name) == 0) return i;
        *at += info.count;
    }
    return -1;
}

int64_t tensor_at(selftest *t, const model *on, const struct mosaic *m, const char *name)
{
    int64_t at, count;
    const int64_t i = find(on, m, name, &at, &count);
    if (i < 0) fprintf(stderr, "%s: no tensor %s\n", on->name, name);
    EXPECT(i >= 0);
    return i < 0 ? 0 : at;
}

void tensor_fill(selftest *t, const model *on, struct mosaic *m, const char *name, double value)
{
    int64_t at, count;
    const int64_t i = find(on, m, name, &at, &count);
    double *values = malloc((size_t)count * sizeof *values);
    for (int64_t e = 0; values && e < count; e++)
        values[e] = value;
    EXPECT(i >= 0 && values && on->put(m, i, SLOT_VALUE, values) == OK);
    free(values);
}

void expect_close(selftest *t, const char *what, const double *got, const double *want, int64_t n,
                  double tol)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    const int close =
        tol > 0 ? sqrt(error) <= tol * sqrt(size) : memcmp(got, want, (size_t)n * sizeof *got) == 0;
    if (!close) fprintf(stderr, "%s: off by %g of %g\n", what, sqrt(error), sqrt(size));
    EXPECT(close);
}

int use_threads(int n)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
}
