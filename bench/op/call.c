/* SPDX-License-Identifier: MIT
 *
 * call.c — allocate, move, run: one call of one operation.
 */
#include "call.h"

#include <stdlib.h>
#include <string.h>

static status make_tensor(const call *c, const tensor *t, void **host, void **there, int64_t *count)
{
    *count = shape_count(t->shape, &c->a.d);
    if (*count < 1) return fail(ERR_ARG, "%s: %s: expected positive sizes", c->op->name, t->name);
    *host = calloc((size_t)*count, host_size(t));
    if (!*host)
        return fail(ERR_MEMORY, "%s: %s: no memory for %lld values", c->op->name, t->name,
                    (long long)*count);
    return c->impl->where->alloc(there, (size_t)*count * dtype_size(tensor_type(t, c->a.type)));
}

static status make_tensors(call *c)
{
    for (int i = 0; i < c->sig.inputs; i++) {
        void *there = NULL;
        status s = make_tensor(c, &c->sig.in[i], &c->in[i], &there, &c->in_count[i]);
        c->a.in[i] = there;
        TRY(s);
    }
    for (int i = 0; i < c->sig.outputs; i++)
        TRY(make_tensor(c, &c->sig.out[i], &c->out[i], &c->a.out[i], &c->out_count[i]));
    c->live = calloc((size_t)c->a.d.R, sizeof *c->live);
    if (!c->live) return fail(ERR_MEMORY, "%s: live: no memory", c->op->name);
    return c->impl->where->alloc(&c->live_there, (size_t)c->a.d.R * sizeof *c->live);
}

status call_create(call **out, const op *o, const impl *i, const dims *d, const params *p,
                   dtype type)
{
    *out = NULL;
    const char *absent = impl_absent(i);
    if (absent) return fail(ERR_DEVICE, "%s/%s: %s", o->name, i->name, absent);
    if (d->R < 1) return fail(ERR_ARG, "%s: expected at least one row", o->name);
    call *c = calloc(1, sizeof *c);
    if (!c) return fail(ERR_MEMORY, "%s: no memory", o->name);
    c->op = o;
    c->impl = i;
    c->a.d = *d;
    c->a.p = *p;
    c->a.type = i->types == TYPE_BIT(F64) ? F64 : type;
    c->a.transform = OP_softmax;
    status s = signature_parse(o->signature, &c->sig);
    if (s == OK) s = make_tensors(c);
    if (s != OK) {
        call_destroy(c);
        return s;
    }
    *out = c;
    return OK;
}

void call_destroy(call *c)
{
    if (!c) return;
    const backend *b = c->impl->where;
    for (int i = 0; i < MAX_TENSORS; i++) {
        b->release((void *)(uintptr_t)c->a.in[i]);
        b->release(c->a.out[i]);
        free(c->in[i]);
        free(c->out[i]);
    }
    b->release(c->live_there);
    b->release(c->a.work);
    b->release(c->a.keep);
    free(c->live);
    free(c);
}

status call_beside(call **c, const call *like, const op *o, const impl *i, const dims *d)
{
    TRY(call_create(c, o, i, d, &like->a.p, like->a.type));
    (*c)->a.transform = like->a.transform;
    (*c)->keys = like->keys;
    return OK;
}

void call_tie(call *c)
{
    const int dk = signature_out(&c->sig, "dk");
    c->tied = 1;
    c->omit_in |= 1u << signature_in(&c->sig, "k");
    if (dk >= 0) c->omit_out |= 1u << dk;
}

/* One array where there are two names. */
static void tie(const call *c, args *a)
{
    const int dk = signature_out(&c->sig, "dk");
    a->in[signature_in(&c->sig, "k")] = a->in[signature_in(&c->sig, "q")];
    if (dk >= 0) a->out[dk] = a->out[signature_out(&c->sig, "dq")];
}

args call_args(const call *c)
{
    args a = c->a;
    for (int i = 0; i < MAX_TENSORS; i++) {
        if (c->omit_in >> i & 1) a.in[i] = NULL;
        if (c->omit_out >> i & 1) a.out[i] = NULL;
    }
    if (c->tied) tie(c, &a);
    return a;
}

/* At least `need` bytes at *there, rounded up to whole words. */
static status make_room(const backend *where, size_t need, void **there, size_t *bytes)
{
    if (need <= *bytes) return OK;
    where->release(*there);
    *there = NULL;
    *bytes = 0;
    need = (need + 7) / 8 * 8;
    TRY(where->alloc(there, need));
    *bytes = need;
    return OK;
}

/* Ask for the scratch and get it; *keep: the bytes it would like to keep. */
static status make_work(call *c, size_t *keep)
{
    size_t need = 0;
    args ask = call_args(c);
    *keep = 0;
    ask.need = &need;
    ask.keep_need = keep;
    TRY(c->impl->run(&ask));
    return make_room(c->impl->where, need, &c->a.work, &c->work_bytes);
}

status call_ready(call *c)
{
    size_t keep;
    return make_work(c, &keep);
}

status call_put(call *c)
{
    const backend *b = c->impl->where;
    for (int i = 0; i < c->sig.inputs; i++) {
        const dtype t = tensor_type(&c->sig.in[i], c->a.type);
        void *there = (void *)(uintptr_t)c->a.in[i];
        TRY(b->put(there, c->in[i], (size_t)c->in_count[i], t));
        TRY(b->get(c->in[i], there, (size_t)c->in_count[i], t));
    }
    c->a.live = NULL;
    if (c->use_live) {
        TRY(b->put(c->live_there, c->live, (size_t)c->a.d.R, I32));
        c->a.live = c->live_there;
    }
    TRY(call_ready(c));
    return b->sync();
}

status call_run(call *c)
{
    const backend *b = c->impl->where;
    for (int i = 0; i < c->sig.outputs; i++)
        TRY(b->poison(c->a.out[i], (size_t)c->out_count[i],
                      tensor_type(&c->sig.out[i], c->a.type)));
    const dtype word = c->a.type == F64 ? F64 : F32;
    if (c->work_bytes) TRY(b->poison(c->a.work, c->work_bytes / dtype_size(word), word));
    TRY(b->sync());
    args a = call_args(c);
    TRY(c->impl->run(&a));
    return b->sync();
}

status call_get(call *c)
{
    for (int i = 0; i < c->sig.outputs; i++) {
        if (c->omit_out >> i & 1) continue;
        TRY(c->impl->where->get(c->out[i], c->a.out[i], (size_t)c->out_count[i],
                                tensor_type(&c->sig.out[i], c->a.type)));
    }
    return OK;
}

status call_once(call *c)
{
    TRY(call_put(c));
    TRY(call_run(c));
    return call_get(c);
}

status call_keeps(call *f, int *kept)
{
    size_t need;
    TRY(make_work(f, &need));
    *kept = need > 0;
    if (!*kept) return OK;
    TRY(make_room(f->impl->where, need, &f->a.keep, &f->keep_bytes));
    const dtype word = f->a.type == F64 ? F64 : F32;
    return f->impl->where->poison(f->a.keep, f->keep_bytes / dtype_size(word), word);
}

void call_hand(call *g, call *f)
{
    g->impl->where->release(g->a.keep);
    g->a.keep = f->a.keep;
    g->keep_bytes = f->keep_bytes;
    f->a.keep = NULL;
    f->keep_bytes = 0;
}

status call_keep(call *g, call *f, int *kept)
{
    TRY(call_put(f));
    TRY(call_keeps(f, kept));
    if (!*kept) return OK;
    TRY(call_run(f));
    call_hand(g, f);
    return OK;
}

void call_outputs_on(const call *f, call *g)
{
    for (int i = 0; i < f->sig.outputs; i++) {
        void *to = call_in(g, f->sig.out[i].name);
        if (to) memcpy(to, f->out[i], (size_t)f->out_count[i] * host_size(&f->sig.out[i]));
    }
}

void *call_in(const call *c, const char *name)
{
    int i = signature_in(&c->sig, name);
    return i < 0 ? NULL : c->in[i];
}

void *call_out(const call *c, const char *name)
{
    int i = signature_out(&c->sig, name);
    return i < 0 ? NULL : c->out[i];
}

int call_largest(const call *c)
{
    int largest = 0;
    for (int i = 1; i < c->sig.inputs; i++)
        if (c->in_count[i] > c->in_count[largest]) largest = i;
    return largest;
}

double call_bytes(const call *c)
{
    double bytes = c->use_live ? (double)c->a.d.R * sizeof(int32_t) : 0;
    for (int i = 0; i < c->sig.inputs; i++)
        if (!(c->omit_in >> i & 1))
            bytes +=
                (double)c->in_count[i] * (double)dtype_size(tensor_type(&c->sig.in[i], c->a.type));
    for (int i = 0; i < c->sig.outputs; i++)
        if (!(c->omit_out >> i & 1))
            bytes += (double)c->out_count[i] *
                     (double)dtype_size(tensor_type(&c->sig.out[i], c->a.type));
    return bytes;
}

static int uses(const op *o, const char *shape)
{
    return strstr(o->signature, shape) != NULL;
}

static int64_t quotient(int64_t elements, int64_t part)
{
    return elements / part > 1 ? elements / part : 1;
}

dims call_dims(const op *o, int64_t n, int64_t elements)
{
    const int large = elements >= 1 << 16;
    dims d = {1, 1, large ? 4 : 2, large ? 64 : 8, 1, 1, 1, 1, 1};
    if (uses(o, ":BTHD")) {
        const int64_t width = d.H * d.D;
        if (uses(o, ":HMD")) {
            d.M = n;
            d.T = quotient(elements, d.H * (n > d.D ? n : d.D));
        } else {
            d.T = n;
            d.B = quotient(elements, o->kind == ATTENTION && n > d.D ? d.H * n * n : width * n);
        }
    } else if (uses(o, ":BTC")) {
        d.T = 3;
        d.C = n;
        d.B = quotient(elements, d.T * n);
    } else if (uses(o, ":RD")) {
        d.D = n;
    } else if (uses(o, ":RV")) {
        d.V = n;
    } else if (uses(o, ":NC")) {
        d.C = d.N = n;
    } else if (uses(o, ":RC")) {
        d.C = n;
        d.V = 257;
    } else if (uses(o, ":RN")) {
        d.N = n;
    } else {
        d.N = elements > n ? elements : n;
    }
    if (uses(o, ":R")) d.R = quotient(elements, n);
    return d;
}

params call_params(const op *o)
{
    params p = params_default();
    if (o->kind == STAGE && (o->reads & P_eps)) p.eps = o->reads & P_eps_add ? 1e-12 : 1e-5;
    if (o->kind == NOISE) p.rate = 0.25;
    return p;
}
