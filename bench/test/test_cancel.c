/* SPDX-License-Identifier: MIT
 *
 * test_cancel.c — gradients of stages whose sums cancel, at the sizes where they do: inputs that
 * are off by the rounding of a float move every output by no more than its tolerance, inputs that
 * are off by 1e-3 move every output by more, unless it is exactly zero.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/inputs.h"
#include "check/match.h"
#include "rng.h"
#include "selftest.h"
#include "test_check.h"

/* The call under test; its reference runs on inputs off by `amount`, relatively. */
static const call *noisy_call;
static double noisy_amount;
static const char *noisy_names; /* of the inputs, each after a blank */

static status noisy(const args *a)
{
    const call *c = noisy_call;
    rng r = rng_sample(3, 1, 0, 0);
    args b = *a;
    double *moved[MAX_TENSORS] = {0};
    status s = OK;
    for (int i = 0; i < c->sig.inputs && !a->need && s == OK; i++) {
        char name[20] = " ";
        strcat(name, c->sig.in[i].name);
        if (!strstr(noisy_names, strcat(name, " "))) continue;
        moved[i] = malloc((size_t)c->in_count[i] * sizeof *moved[i]);
        if (!moved[i]) s = fail(ERR_MEMORY, "test: no memory");
        for (int64_t j = 0; moved[i] && j < c->in_count[i]; j++)
            moved[i][j] = IN(double, i)[j] * (1 + noisy_amount * (2 * rng_uniform(&r) - 1));
        b.in[i] = moved[i];
    }
    if (s == OK) s = c->op->ref(&b);
    for (int i = 0; i < MAX_TENSORS; i++)
        free(moved[i]);
    return s;
}

/* 1 if the output does not pass; negative if the call fails. */
static int failures(const char *name, const char *output, const char *inputs, int64_t n, int eps,
                    double amount)
{
    const op *o = op_find(name);
    const impl i = tested(o->id, "noisy", noisy, &ref_backend);
    const dims d = call_dims(o, n, n * 16);
    params p = call_params(o);
    match m[MAX_TENSORS];
    int count = 0, bad = 0;
    call *c;
    if (eps) p.eps_add = 1, p.eps = 1e-6;
    if (o->kind == ATTENTION) p.lag = 0;
    if (call_create(&c, o, &i, &d, &p, F64) != OK) return -1;
    noisy_call = c, noisy_amount = amount, noisy_names = inputs;
    if (o->reads & P_TRANSFORM) c->a.transform = OP_entmax;
    if (inputs_fill(c, "gauss", 0, 7) != OK || call_once(c) != OK || match_call(c, m, &count) != OK)
        bad = -1;
    for (int k = 0; k < count && bad >= 0; k++)
        bad += strcmp(output, m[k].tensor) == 0 && match_verdict(&m[k]) == FAIL;
    call_destroy(c);
    return bad;
}

void selftest_check_cancel(selftest *t)
{
    static const struct {
        const char *op, *inputs, *output;
        int64_t from; /* shorter, the output may be exactly zero */
    } rows[] = {
        {"unit_norm_grad", " y norm dy ", "dx", 1},
        {"value_mix_grad", " x y norm dy ", "dx", 1},
        {"value_mix_grad", " x y norm dy ", "dcoef", 1},
        {"value_mix_grad", " x y norm dy ", "dnu", 1},
        {"layer_norm_grad", " w rstd dy ", "dx", 2},
        {"layer_norm_grad", " w rstd dy ", "dw", 2},
        {"layer_norm_grad", " w rstd dy ", "db", 1},
        {"leaky_average_grad", " s ds ", "dx", 1},
        {"leaky_average_grad", " s ds ", "dtheta", 2},
        {"cross_entropy_grad", " z lse dloss ", "dz", 1},
        {"attention_grad", " v do ", "dbeta", 33},
    };
    static const int64_t lengths[] = {1, 2, 3, 33, 200};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 10; k++) {
            const char *name = rows[i].op, *in = rows[i].inputs, *out = rows[i].output;
            const int64_t n = lengths[k / 2];
            EXPECT(failures(name, out, in, n, k % 2, 0x1p-24) == 0);
            EXPECT(failures(name, out, in, n, k % 2, 1e-3) == (n >= rows[i].from));
        }
}
