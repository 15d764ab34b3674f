/* SPDX-License-Identifier: MIT
 *
 * method_call.c — a row transform by the name of a method, without struct args: what a program in
 * another language calls (mosaic.h). The operation is the reference of the method's transform, or
 * whichever function of that signature the caller brings.
 */
#include "mosaic.h"
#include "stage.h"

static status call_method(op_fn *run, op_fn *reference, const method *m, const rows_call *x,
                          args *a)
{
    a->d = (dims){.R = x->R, .N = x->N};
    a->p = m->p;
    a->type = run ? (dtype)x->type : F64;
    a->work = x->work;
    a->need = x->need;
    if (x->R < 1 || x->N < 1)
        return fail(ERR_ARG, "%s: expected rows and entries, got %lld x %lld", m->name,
                    (long long)x->R, (long long)x->N);
    return (run ? run : reference)(a);
}

status method_weights(op_fn *run, const char *name, const rows_call *x, const void *c,
                      const void *beta, void *p, void *stat)
{
    method m;
    TRY(method_find(name, &m));
    args a = {.in = {c, beta}, .out = {p, stat}};
    return call_method(run, reference_of(m.op), &m, x, &a);
}

status method_gradient(op_fn *run, const char *name, const rows_call *x, const void *beta,
                       const void *p, const void *stat, const void *dp, void *dc, void *dbeta)
{
    method m;
    TRY(method_find(name, &m));
    args a = {.in = {beta, p, stat, dp}, .out = {dc, dbeta}};
    return call_method(run, reference_of(gradient_of(m.op)), &m, x, &a);
}
