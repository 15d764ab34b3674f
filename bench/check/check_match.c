/* SPDX-License-Identifier: MIT
 *
 * check_match.c — verb check: an implementation against the reference (match.h), and the laws
 * (laws.h) of an implementation.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "op/inputs.h"
#include "laws.h"

/* A filled call of the case at hand. */
static status open_case(check *k, call **c)
{
    const dims d = match_dims(k->at.op, k->at.n, k->at.rows);
    TRY(call_create(c, k->at.op, k->at.impl, &d, &k->at.v.p, k->at.type));
    (*c)->a.transform = k->at.v.transform;
    status s = inputs_fill(*c, k->at.input, k->at.beta, k->at.seed);
    if (s != OK) {
        call_destroy(*c);
        *c = NULL;
    }
    return s;
}

/* Run c again and again: the same bits as in its host outputs, or an infinite error. */
static status check_repeats(call *c, int times, match *m)
{
    double *first[MAX_TENSORS] = {0};
    status s = OK;
    *m = (match){.tensor = "repeat", .at = NO_SPOT};
    for (int i = 0; i < c->sig.outputs; i++) {
        const size_t bytes = (size_t)c->out_count[i] * sizeof **first;
        if (!(first[i] = malloc(bytes))) s = fail(ERR_MEMORY, "repeat: no memory");
        if (first[i]) memcpy(first[i], c->out[i], bytes);
    }
    for (int t = 0; s == OK && t < times; t++) {
        if ((s = call_run(c)) == OK) s = call_get(c);
        for (int i = 0; s == OK && i < c->sig.outputs; i++)
            for (int64_t j = 0; j < c->out_count[i]; j++) {
                const double got = ((double *)c->out[i])[j];
                if (memcmp(&first[i][j], &got, sizeof got) != 0)
                    worst_at(&m->error, &m->at, INFINITY, (spot){-1, j, first[i][j], got});
            }
    }
    for (int i = 0; i < c->sig.outputs; i++)
        free(first[i]);
    return s;
}

/* Every output but the first may be unwanted: the first alone must still match. */
static status alone(call *c, match *m)
{
    match all[MAX_TENSORS];
    int count = 0;
    c->omit_out = ~1u;
    status s = call_once(c);
    if (s == OK) s = match_call(c, all, &count);
    c->omit_out = 0;
    if (s != OK) return s;
    *m = all[0];
    snprintf(m->tensor, sizeof m->tensor, "%.20s alone", c->sig.out[0].name);
    return OK;
}

/* The worst of some outputs, under a name of its own. */
static void worst_of(const match *all, int count, match *m, const char *name)
{
    *m = all[0];
    for (int i = 1; i < count; i++)
        if (match_verdict(&all[i]) > match_verdict(m)) *m = all[i];
    snprintf(m->tensor, sizeof m->tensor, "%s", name);
}

/* The gradient without its last output, which has a kernel of its own: the worst of the others. */
static status without_last(call *c, match *m)
{
    match all[MAX_TENSORS];
    char name[20];
    int count = 0;
    c->omit_out = 1u << (c->sig.outputs - 1);
    status s = call_once(c);
    if (s == OK) s = match_call(c, all, &count);
    c->omit_out = 0;
    if (s != OK) return s;
    snprintf(name, sizeof name, "no %s", c->sig.out[c->sig.outputs - 1].name);
    worst_of(all, count, m, name);
    return OK;
}

/* The inputs of a gradient that have the same name in its forward go there; 0 if one is missing. */
static int inputs_back(call *f, const call *g)
{
    for (int i = 0; i < f->sig.inputs; i++) {
        const void *from = call_in(g, f->sig.in[i].name);
        if (!from) return 0;
        memcpy(f->in[i], from, (size_t)f->in_count[i] * host_size(&f->sig.in[i]));
    }
    return 1;
}

/* The gradient that finds what a forward kept, and made. *kept: 0 if that keeps nothing. */
static status after_forward(call *g, const impl *im, match *m, int *kept)
{
    const op *forward = op_at(im->op);
    match all[MAX_TENSORS];
    char name[40];
    int count = 0;
    call *f;
    *kept = 0;
    if (strcmp(im->name, g->impl->name) == 0)
        snprintf(name, sizeof name, "after its forward");
    else
        snprintf(name, sizeof name, "after forward %s", im->name);
    TRY(call_beside(&f, g, forward, im, &g->a.d));
    status s = inputs_back(f, g) ? call_keep(g, f, kept) : OK;
    if (s == OK && *kept) {
        s = call_get(f);
        call_outputs_on(f, g);
        if (s == OK) s = call_once(g);
        if (s == OK) s = match_call(g, all, &count);
        if (s == OK) worst_of(all, count, m, name);
    }
    call_destroy(f);
    return s;
}

/* ... each forward that keeps what this gradient reads, one after the other. */
static status after_forwards(check *k, call *g)
{
    const op *forward = op_forward(g->op);
    const impl *im;
    for (int i = 0; forward && (im = impl_at(i)); i++) {
        match m;
        int kept;
        if (im->op != forward->id || !impls_combine(im, g->impl) || impl_declines(im, &g->a))
            continue;
        TRY(after_forward(g, im, &m, &kept));
        if (kept) check_report(k, "match", g->op->name, &m);
    }
    return OK;
}

/* A stage has one family of inputs and is repeated the more often: 20 runs of every kernel. */
status check_match(check *k)
{
    call *c;
    match matches[MAX_TENSORS + 3] = {0};
    int count = 0;
    TRY(open_case(k, &c));
    const int rows = op_is_transform(c->op) || op_is_transform_grad(c->op);
    status s = call_once(c);
    if (s == OK) s = match_call(c, matches, &count);
    if (s == OK) s = check_repeats(c, rows ? 2 : 19, &matches[count++]);
    if (s == OK && c->sig.outputs > 1) s = alone(c, &matches[count++]);
    if (s == OK && rows && c->sig.outputs > 2) s = without_last(c, &matches[count++]);
    for (int i = 0; s == OK && i < count; i++)
        check_report(k, "match", k->at.op->name, &matches[i]);
    if (s == OK) s = after_forwards(k, c);
    call_destroy(c);
    return s;
}

static void law_reported(void *user, const char *law, double error, double tol, const spot *at)
{
    match m = {.error = error, .tol = tol, .limit = tol, .at = *at};
    snprintf(m.tensor, sizeof m.tensor, "%s", law);
    check_report(user, "law", ((check *)user)->at.op->name, &m);
}

status check_law(check *k)
{
    call *c;
    TRY(open_case(k, &c));
    status s = laws_check(c, k->at.seed, law_reported, k);
    call_destroy(c);
    return s;
}
