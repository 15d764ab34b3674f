/* SPDX-License-Identifier: MIT
 *
 * test_vast.c — scores near the largest number that a type holds: every law holds there, and every
 * gradient is a number.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check/check.h"
#include "check/laws.h"
#include "op/inputs.h"
#include "rng.h"
#include "selftest.h"

enum { ROWS = 16, KEYS = 33 };

/* Row by row another mixture of what a type can just hold, and of small scores. */
static void vast_scores(call *c, double largest)
{
    rng r = rng_sample(7, 5, 0, 0);
    double *x = call_in(c, "c");
    for (int64_t i = 0; i < c->in_count[0]; i++) {
        const double u = rng_uniform(&r), z = rng_normal(&r);
        const int64_t row = i / c->a.d.N;
        const double size = largest * (row & 2 ? 1 : 0.5 + 0.5 * u);
        const double vast = row & 8 || (!(row & 1) && u < 0.5) ? -size : size;
        x[i] = row & 4 && u < 0.9 ? z : vast;
    }
}

typedef struct tally {
    int failures;
    int falling;  /* a line that falls: larger scores weigh less */
    char law[32]; /* the first that failed */
} tally;

static void law_tallied(void *user, const char *law, double error, double tol, const spot *at)
{
    tally *all = user;
    (void)at;
    if (error <= tol) return;
    if (all->falling && (strcmp(law, "order") == 0 || strcmp(law, "far") == 0)) return;
    if (all->failures++ == 0) snprintf(all->law, sizeof all->law, "%s", law);
}

static void gradient_tallied(tally *all, const call *c, const impl *back)
{
    call *g;
    if (call_beside(&g, c, op_grad(c->op), back, &c->a.d) != OK) return;
    inputs_from(g, c, 7);
    if (call_once(g) != OK) all->failures++;
    for (int i = 0; i < g->sig.outputs; i++)
        for (int64_t j = 0; j < g->out_count[i]; j++)
            if (!isfinite(((double *)g->out[i])[j]))
                law_tallied(all, g->sig.out[i].name, INFINITY, 0, NULL);
    call_destroy(g);
}

static tally vast_tally(const impl *im, const params *p)
{
    const op *o = op_at(im->op);
    const dims d = {.R = ROWS, .N = KEYS};
    tally all = {.falling = p->form == NORMRELU_AFFINE && p->slope <= 0};
    call *c;
    if (call_create(&c, o, im, &d, p, F32) != OK) return (tally){1, 0, "call"};
    if (inputs_fill(c, "gauss", 0, 7) != OK) all.failures++;
    vast_scores(c, im->reference ? 0x1.fffffffffffffp1023 : 0x1.fffffep127);
    if (laws_check(c, 7, law_tallied, &all) != OK) all = (tally){1, 0, "laws"};
    if (op_grad(o) && call_once(c) == OK)
        gradient_tallied(&all, c, impl_find(op_grad(o)->id, im->name));
    call_destroy(c);
    return all;
}

static void expect_vast(selftest *t, const impl *im, double alpha)
{
    const op *o = op_at(im->op);
    variant v;
    for (int n = 0; check_variant(o, n, alpha, 3, &v); n++) {
        const int line = o->kind == NORMRELU && v.p.form == NORMRELU_AFFINE;
        for (int way = 0; way < (line ? 3 : 1); way++) {
            if (way) v.p.slope = way == 1 ? -0.7 : 0, v.p.offset = 1;
            const tally all = vast_tally(im, &v.p);
            selftest_expect(t, all.failures == 0, o->name, n, all.law);
        }
    }
}

/* Every reference, and the kernels of normalised ReLU, which sum what may be as large. */
void selftest_vast_scores(selftest *t)
{
    static const double alphas[] = {1.1, 4.0 / 3, 1.5, 2, 3};
    const impl *im;
    for (int i = 0; (im = impl_at(i)); i++) {
        const op *o = op_at(im->op);
        if (!op_is_transform(o) || impl_absent(im)) continue;
        if (!im->reference && o->kind != NORMRELU) continue;
        for (int a = 0; a < (o->reads & P_alpha ? 5 : 1); a++)
            expect_vast(t, im, alphas[a]);
    }
}
