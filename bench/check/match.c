/* SPDX-License-Identifier: MIT
 *
 * match.c — run the reference beside a finished call and measure the distance of every output.
 */
#include "match.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

verdict match_verdict(const match *m)
{
    if (m->support == 0 && m->error <= m->tol) return PASS;
    return m->support == 0 && m->error <= m->limit ? MARGINAL : FAIL;
}

const char *verdict_text(verdict v)
{
    return v == PASS ? "PASS" : v == MARGINAL ? "MARGINAL" : "FAIL";
}

double unit_arithmetic(dtype t)
{
    return t == F64 ? 0x1p-53 : 0x1p-24;
}

double unit_storage(dtype t)
{
    return t == BF16 ? 0x1p-8 : t == F16 ? 0x1p-11 : 0;
}

double error_beyond_storage(double got, double want, dtype t)
{
    if (isnan(got) || isnan(want)) return isnan(got) && isnan(want) ? 0 : INFINITY;
    if (got == want) return 0;
    const double largest = t == F16 ? 65504 : 0x1.fffffep127; /* beyond it: infinity */
    if (t != F64 && isinf(got) && fabs(want) > largest && (got > 0) == (want > 0)) return 0;
    /* half the spacing of the subnormals */
    const double least = t == F16 ? 0x1p-25 : t == BF16 ? 0x1p-134 : 0;
    return fmax(0, fabs(got - want) - unit_storage(t) * fabs(want) - least);
}

/* A call with the axis along which c repeats itself cut to what differs, if no output sums over
 * it; else one as large as c. */
static status make_reference(const call *c, call **ref)
{
    dims d = c->a.d;
    char letter = c->distinct ? *c->sig.out[0].shape : 0;
    for (int i = 0; i < c->sig.outputs; i++)
        if (*c->sig.out[i].shape != letter) letter = 0;
    if (letter) *dims_axis(&d, letter) = c->distinct;
    return call_beside(ref, c, c->op, impl_reference(c->op->id), &d);
}

/* The reference of c on its inputs, not run yet. */
static status open_reference(const call *c, call **ref)
{
    TRY(make_reference(c, ref));
    call *f = *ref;
    for (int i = 0; i < f->sig.inputs; i++) {
        const size_t size = host_size(&f->sig.in[i]);
        memcpy(f->in[i], c->in[i], (size_t)f->in_count[i] * size);
    }
    memcpy(f->live, c->live, (size_t)f->a.d.R * sizeof *f->live);
    f->use_live = c->use_live;
    f->omit_in = c->omit_in;
    f->tied = c->tied;
    return OK;
}

status match_reference(const call *c, call **ref)
{
    TRY(open_reference(c, ref));
    const status s = call_once(*ref);
    if (s == OK) return OK;
    call_destroy(*ref);
    *ref = NULL;
    return s;
}

/* |x - x*| over a tensor, relative to |x*| or what cancels in it. Of the row numbers only max and
 * norm: which key is largest, and how many weigh something, may turn on the rounding of the scores.
 */
static status match_tensor(const call *c, const call *ref, int i, match *m)
{
    const double *x = c->out[i], *y = ref->out[i];
    const int stat = strcmp(c->sig.out[i].name, "stat") == 0;
    const int64_t R = c->out_count[i] % c->a.d.R == 0 ? c->a.d.R : 1, width = c->out_count[i] / R;
    double difference = 0, norm = 0, largest = 0;
    for (int64_t j = 0; j < c->out_count[i]; j++) {
        const double want = y[j % ref->out_count[i]];
        if (stat && j % STATS >= STAT_ARG && !isnan(x[j])) continue;
        const double e = error_beyond_storage(x[j], want, tensor_type(&c->sig.out[i], c->a.type));
        worst_at(&largest, &m->at, e, (spot){j / width, j % width, want, x[j]});
        difference += e * e;
        norm += isnan(want) ? 0 : want * want;
    }
    const double copies = (double)(c->out_count[i] / ref->out_count[i]);
    const double cancels = match_stage_scale(ref, i);
    if (cancels < 0)
        return fail(ERR_MEMORY, "match: %s: expected memory for its scale", c->sig.out[i].name);
    const double scale = fmax(sqrt(norm), cancels * sqrt(copies));
    m->error = sqrt(difference) / (scale > 0 ? scale : 1);
    m->tol = c->op->tol;
    /* these keep weights or their gradients in the storage type on the way to the output */
    if (c->op->reads & P_TRANSFORM) m->tol += 2 * unit_storage(c->a.type);
    m->limit = m->tol;
    return OK;
}

status match_against(const call *c, const call *ref, match *matches, int *count)
{
    *count = 0;
    for (int i = 0; i < c->sig.outputs; i++) {
        match *m = &matches[*count];
        *m = (match){0};
        snprintf(m->tensor, sizeof m->tensor, "%s", c->sig.out[i].name);
        if (c->omit_out >> i & 1) continue;
        ++*count;
        if (op_is_transform(c->op))
            match_weights(c, ref, i == 0 ? m : NULL, i == 1 ? m : NULL);
        else if (op_is_transform_grad(c->op))
            match_gradient(c, ref, i, m);
        else
            TRY(match_tensor(c, ref, i, m));
    }
    return OK;
}

status match_call(const call *c, match *matches, int *count)
{
    call *ref;
    *count = 0;
    TRY(match_reference(c, &ref));
    const status s = match_against(c, ref, matches, count);
    call_destroy(ref);
    return s;
}
