/* SPDX-License-Identifier: MIT
 *
 * match_terms.c — the size of what a gradient sums, for a transform whose rule nobody here knows
 * (OTHER_RULE).
 *
 * A gradient f(x) of numbers x_i (beta, p, stat, dp) is moved by x_i df/dx_i when x_i moves by
 * itself, so
 *
 *     scale_r = |x_i df_r/dx_i|_2 over i
 *
 * is the root of the sum of the squares of its terms, those that cancel included: a computation
 * that rounds each number once errs by u scale_r. With random signs e_i its square is the mean of
 * ((f_r(x + h e x) - f_r(x)) / h)^2, here of DRAWS draws by the reference. It grows with a row as
 * the gradient does, whatever the row numbers of the transform mean.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match.h"
#include "rng.h"

enum { DRAWS = 8 };
#define STEP 0x1p-16

/* Every number by STEP of itself, up or down; which key is largest and how many there are stay. */
static void move_inputs(call *to, const call *from, rng *r)
{
    for (int i = 0; i < from->sig.inputs; i++) {
        const int stat = strcmp(from->sig.in[i].name, "stat") == 0;
        const double *x = from->in[i];
        double *y = to->in[i];
        for (int64_t j = 0; j < from->in_count[i]; j++) {
            const int count = stat && j % STATS >= STAT_ARG;
            y[j] = count ? x[j] : x[j] * (rng_u64(r) >> 63 ? 1 + STEP : 1 - STEP);
        }
    }
}

status match_terms(const call *g, int output, double *scale)
{
    const int64_t R = g->a.d.R, width = g->out_count[output] / R;
    const double *here = g->out[output];
    rng r = rng_sample(7, 4, (uint64_t)output, (uint64_t)width);
    call *moved;
    TRY(call_beside(&moved, g, g->op, impl_reference(g->op->id), &g->a.d));
    memcpy(moved->live, g->live, (size_t)R * sizeof *g->live);
    moved->use_live = g->use_live;
    moved->omit_in = g->omit_in;
    memset(scale, 0, (size_t)R * sizeof *scale);
    status s = OK;
    for (int draw = 0; s == OK && draw < DRAWS; draw++) {
        move_inputs(moved, g, &r);
        s = call_once(moved);
        const double *there = moved->out[output];
        for (int64_t j = 0; s == OK && j < g->out_count[output]; j++) {
            const double change = (there[j] - here[j]) / STEP;
            if (!isnan(change)) scale[j / width] += change * change / DRAWS;
        }
    }
    for (int64_t i = 0; i < R; i++)
        scale[i] = sqrt(scale[i]);
    call_destroy(moved);
    return s;
}

double match_row_terms(const op *gradient, const params *p, double beta, int64_t n,
                       const double *weights, const double *stat, const double *dp)
{
    const dims d = {.R = 1, .N = n};
    double scale = NAN;
    call *g;
    if (n < 1) return 0;
    if (call_create(&g, gradient, impl_reference(gradient->id), &d, p, F64) != OK) return NAN;
    memcpy(call_in(g, "beta"), &beta, sizeof beta);
    memcpy(call_in(g, "p"), weights, (size_t)n * sizeof *weights);
    memcpy(call_in(g, "stat"), stat, STATS * sizeof *stat);
    memcpy(call_in(g, "dp"), dp, (size_t)n * sizeof *dp);
    const int output = signature_out(&g->sig, "dbeta");
    if (call_once(g) != OK || match_terms(g, output, &scale) != OK) scale = NAN;
    call_destroy(g);
    return scale;
}
