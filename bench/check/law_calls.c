/* SPDX-License-Identifier: MIT
 *
 * law_calls.c — the laws of every operation, of the conventions of spec.h: need, repeat, optional
 * (laws.def).
 */
#include <stdlib.h>

#include "law.h"

/* Every wanted output of the last run against `want`, bit for bit; the bits of a kernel may differ
 * where it has another way to compute less, but then each value is still there. */
static void compare_outputs(law_state *s, double *error, double *const *want, int exact)
{
    const call *c = s->c;
    for (int i = 0; i < c->sig.outputs; i++) {
        const double *got = c->out[i];
        if (c->omit_out >> i & 1) continue;
        const int64_t width = c->out_count[i] / (c->out_count[i] % s->R == 0 ? s->R : 1);
        for (int64_t j = 0; j < c->out_count[i]; j++) {
            const int same =
                exact ? same_number(got[j], want[i][j]) : isnan(got[j]) == isnan(want[i][j]);
            if (!same) law_found(s, error, INFINITY, j / width, j % width, want[i][j], got[j]);
        }
    }
}

/* The question must be answered, with keep_need or without, and nothing be written. */
status law_need(law_state *s, double *error)
{
    call *c = s->c;
    const backend *b = c->impl->where;
    const size_t unanswered = (size_t)-1;
    for (int keep = 0; keep < 2; keep++) {
        size_t need = unanswered, kept = 0;
        for (int i = 0; i < c->sig.outputs; i++)
            TRY(b->poison(c->a.out[i], (size_t)c->out_count[i],
                          tensor_type(&c->sig.out[i], c->a.type)));
        args a = call_args(c);
        a.need = &need;
        a.keep_need = keep ? &kept : NULL;
        TRY(c->impl->run(&a));
        TRY(b->sync());
        if (need == unanswered) *error = INFINITY;
        TRY(call_get(c));
        for (int i = 0; i < c->sig.outputs; i++)
            for (int64_t j = 0; j < c->out_count[i]; j++) {
                const double got = ((double *)c->out[i])[j];
                if (!isnan(got)) law_found(s, error, INFINITY, i, j, NAN, got);
            }
    }
    return OK;
}

static status inputs_stayed(law_state *s, double *error, const call *c, int i)
{
    const tensor *t = &c->sig.in[i];
    const int64_t count = c->in_count[i];
    void *now = malloc((size_t)count * host_size(t));
    if (!now) return fail(ERR_MEMORY, "laws: no memory");
    const status got =
        c->impl->where->get(now, c->a.in[i], (size_t)count, tensor_type(t, c->a.type));
    for (int64_t j = 0; got == OK && j < count; j++) {
        const int whole = t->storage == 'i';
        const double is = whole ? ((int32_t *)now)[j] : ((double *)now)[j];
        const double was = whole ? ((int32_t *)c->in[i])[j] : ((double *)c->in[i])[j];
        if (!same_number(is, was)) law_found(s, error, INFINITY, -1, j, was, is);
    }
    free(now);
    return got;
}

status law_repeat(law_state *s, double *error)
{
    call *c = s->c;
    const int kernel = impl_on_device(c->impl) && op_is_transform(c->op);
    for (int times = kernel ? 19 : 1; times > 0; times--) {
        TRY(call_once(c));
        compare_outputs(s, error, s->first, 1);
    }
    for (int i = 0; i < c->sig.inputs; i++)
        TRY(inputs_stayed(s, error, c, i));
    return OK;
}

static status without(law_state *s, double *error, unsigned omitted)
{
    call *c = s->c;
    c->omit_out = omitted;
    const status t = call_once(c);
    const int exact = !impl_on_device(c->impl) || op_is_transform(c->op);
    if (t == OK) compare_outputs(s, error, s->first, exact);
    c->omit_out = 0;
    return t;
}

/* The outputs of c as they are, to be compared with those of another call. */
static status keep_outputs(const call *c, double **kept)
{
    for (int i = 0; i < c->sig.outputs; i++) {
        const size_t bytes = (size_t)c->out_count[i] * sizeof(double);
        if (!(kept[i] = malloc(bytes))) return fail(ERR_MEMORY, "laws: no memory");
        memcpy(kept[i], c->out[i], bytes);
    }
    return OK;
}

/* With ones in beta, and all live; then without either. */
static status as_default(law_state *s, double *error, int at)
{
    call *c = s->c;
    double *beta = c->in[at], *ones[MAX_TENSORS] = {0};
    for (int64_t i = 0; i < c->in_count[at]; i++)
        beta[i] = 1;
    for (int64_t r = 0; r < c->a.d.R; r++)
        c->live[r] = (int32_t)c->a.d.N;
    c->use_live = op_is_transform(c->op) || op_is_transform_grad(c->op);
    status t = call_once(c);
    if (t == OK) t = keep_outputs(c, ones);
    c->use_live = 0;
    c->omit_in = 1u << at;
    if (t == OK) t = call_once(c);
    if (t == OK) compare_outputs(s, error, ones, 1);
    c->omit_in = 0;
    for (int i = 0; i < c->sig.outputs; i++)
        free(ones[i]);
    return t;
}

status law_optional(law_state *s, double *error)
{
    call *c = s->c;
    const int at = signature_in(&c->sig, "beta");
    const unsigned all = (1u << c->sig.outputs) - 2;
    for (int i = 1; i < c->sig.outputs; i++)
        TRY(without(s, error, 1u << i));
    if (c->sig.outputs > 2) TRY(without(s, error, all));
    if (at < 0 || s->use_live) return OK;
    const size_t bytes = (size_t)c->in_count[at] * sizeof(double);
    double *kept = malloc(bytes);
    if (!kept) return fail(ERR_MEMORY, "laws: no memory");
    memcpy(kept, c->in[at], bytes);
    const status t = as_default(s, error, at);
    memcpy(c->in[at], kept, bytes);
    free(kept);
    return t;
}
