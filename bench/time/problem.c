/* SPDX-License-Identifier: MIT
 *
 * problem.c — see problem.h.
 *
 * The part that is checked has at most CHECKED values per tensor, and the reference computes of it
 * as many heads as the question affords, at least one. The other heads, and the other copies
 * along the leading axis (op_repeats), are the same inputs again and must have the same bits, so a
 * kernel that is right when small and wrong when large has no time. Where answers do not repeat,
 * the large problem itself is the one that is checked.
 */
#include "problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/inputs.h"

enum { CHECKED = 1 << 20 };

int op_mixes(const op *o)
{
    return o->kind == ATTENTION || o->kind == MEMORY;
}

/* --- sizes ------------------------------------------------------------------------------------ */

static int64_t largest_input(const op *o, const dims *d)
{
    signature s;
    int64_t most = 1;
    if (signature_parse(o->signature, &s) != OK) return most;
    for (int i = 0; i < s.inputs; i++) {
        const int64_t count = shape_count(s.in[i].shape, d);
        if (count > most) most = count;
    }
    return most;
}

static int64_t at_least_one(int64_t n)
{
    return n > 1 ? n : 1;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The checked part; *heads: how many of its heads differ. */
static dims checked_part(const op *o, const question *ask, char axis, int64_t *heads)
{
    const dims *whole = &ask->d;
    dims part = *whole, one = *whole;
    *heads = whole->H;
    if (axis) {
        int64_t *at = dims_axis(&part, axis);
        int64_t kept = *at / (largest_input(o, whole) / CHECKED + 1);
        /* Whole eights of rows are whole 16-byte words: the copies are as aligned as the first, and
         * where a row is cut into words may decide the order of its sums. */
        if (kept > 8) kept -= kept % 8;
        *at = at_least_one(kept);
    }
    if (!op_mixes(o) || axis != 'B') return part;
    one.B = one.H = 1;
    const double cost = o->flop(&one, &ask->p);
    const int64_t most =
        cost < ask->afforded ? (int64_t)(ask->afforded / (cost > 1 ? cost : 1)) : 1;
    part.B = smaller(part.B, at_least_one(most / part.H));
    *heads = smaller(part.H, at_least_one(most / part.B));
    return part;
}

/* --- calls ------------------------------------------------------------------------------------ */

/* What training does not ask an operation for. */
static void leave_out(call *c, const question *ask)
{
    const int dalpha = signature_out(&c->sig, "dalpha");
    const int to = signature_out(&c->sig, "stat"), from = signature_in(&c->sig, "stat");
    if (dalpha >= 0 && !ask->dalpha) c->omit_out |= 1u << dalpha;
    if (!op_mixes(c->op) || !ask->keep) return;
    if (to >= 0) c->omit_out |= 1u << to;
    if (from >= 0) c->omit_in |= 1u << from;
}

static status make_call(call **c, const question *ask, const op *o, const impl *im, const dims *d)
{
    TRY(call_create(c, o, im, d, &ask->p, ask->type));
    (*c)->a.transform = ask->transform;
    (*c)->keys = ask->keys;
    leave_out(*c, ask);
    if (ask->tied && signature_in(&(*c)->sig, "k") >= 0) call_tie(*c);
    return OK;
}

static status make_side(side *s, const question *ask, const op *o, const impl *im, const dims *part,
                        int64_t heads)
{
    dims few = *part;
    few.H = heads;
    TRY(make_call(&s->seen, ask, o, im, &few));
    s->small = s->seen;
    if (heads < part->H) TRY(make_call(&s->small, ask, o, im, part));
    s->large = s->small;
    if (memcmp(part, &ask->d, sizeof *part) != 0) TRY(make_call(&s->large, ask, o, im, &ask->d));
    return OK;
}

static void close_side(side *s)
{
    if (s->large != s->small) call_destroy(s->large);
    if (s->small != s->seen) call_destroy(s->small);
    call_destroy(s->seen);
    *s = (side){0};
}

void problem_close(problem *p)
{
    close_side(&p->before);
    close_side(&p->main);
}

/* --- heads ------------------------------------------------------------------------------------ */

/* A tensor as `outer` times its heads times `inner` bytes; one without heads is one head. */
typedef struct split {
    int64_t outer, few, all;
    size_t inner;
} split;

static split split_of(const tensor *t, const dims *few, const dims *all)
{
    const char *at = strchr(t->shape, 'H');
    char before[sizeof t->shape];
    if (!at) return (split){1, 1, 1, (size_t)shape_count(t->shape, all) * host_size(t)};
    snprintf(before, sizeof before, "%.*s", (int)(at - t->shape), t->shape);
    return (split){shape_count(before, all), few->H, all->H,
                   (size_t)shape_count(at + 1, all) * host_size(t)};
}

/* The few heads over and over. */
static void spread_heads(const split *x, const void *few, void *all)
{
    for (int64_t i = 0; i < x->outer * x->all; i++) {
        const int64_t from = i / x->all * x->few + i % x->all % x->few;
        memcpy((char *)all + (size_t)i * x->inner, (const char *)few + (size_t)from * x->inner,
               x->inner);
    }
}

/* The first heads; 0 if the others are not the same over and over. */
static int gather_heads(const split *x, const void *all, void *few)
{
    int same = 1;
    for (int64_t i = 0; i < x->outer * x->all; i++) {
        const int64_t to = i / x->all * x->few + i % x->all % x->few;
        const char *from = (const char *)all + (size_t)i * x->inner;
        char *there = (char *)few + (size_t)to * x->inner;
        if (i % x->all < x->few)
            memcpy(there, from, x->inner);
        else
            same &= memcmp(there, from, x->inner) == 0;
    }
    return same;
}

static void spread_inputs(const side *s)
{
    const call *few = s->seen;
    call *all = s->small;
    if (few == all) return;
    for (int i = 0; i < few->sig.inputs; i++) {
        const split x = split_of(&few->sig.in[i], &few->a.d, &all->a.d);
        spread_heads(&x, few->in[i], all->in[i]);
    }
}

/* What the small call saw and answered, of the heads that differ. */
static int gather_answer(const side *s)
{
    call *few = s->seen;
    const call *all = s->small;
    int same = 1;
    if (few == all) return 1;
    for (int i = 0; i < few->sig.inputs; i++) {
        const split x = split_of(&few->sig.in[i], &few->a.d, &all->a.d);
        same &= gather_heads(&x, all->in[i], few->in[i]);
    }
    for (int i = 0; i < few->sig.outputs; i++) {
        const split x = split_of(&few->sig.out[i], &few->a.d, &all->a.d);
        if (!(few->omit_out >> i & 1)) same &= gather_heads(&x, all->out[i], few->out[i]);
    }
    return same;
}

/* --- the small problem ------------------------------------------------------------------------ */

static status fill_seen(const problem *p)
{
    const question *ask = &p->ask;
    call *f = p->before.seen, *g = p->main.seen;
    TRY(inputs_fill(f ? f : g, ask->input, ask->beta, ask->seed));
    if (f) inputs_from(g, f, ask->seed);
    return OK;
}

static int keeps_between(const problem *p)
{
    return p->ask.keep && op_mixes(p->main.seen->op);
}

/* A forward by itself, with room for what it keeps. */
static status run_forward(const problem *p, call *f)
{
    int kept;
    TRY(call_put(f));
    if (keeps_between(p)) TRY(call_keeps(f, &kept));
    TRY(call_run(f));
    return call_get(f);
}

static status run_small(const problem *p)
{
    call *f = p->before.small, *g = p->main.small;
    if (!f && !op_forward(g->op)) return run_forward(p, g);
    if (!f) return call_once(g);
    TRY(run_forward(p, f));
    call_hand(g, f);
    call_outputs_on(f, g);
    return call_once(g);
}

/* --- the large problem ------------------------------------------------------------------------ */

/* The first `done` bytes over and over, up to `all`: what stands there doubles. */
static status repeat_bytes(const backend *where, char *there, size_t done, size_t all)
{
    while (done < all) {
        size_t part = done < all - done ? done : all - done;
        TRY(where->move(there + done, there, part));
        done += part;
    }
    return OK;
}

/* Copy every input of the small call over and over into the large one, and get its scratch. */
static status repeat_inputs(const side *s, int keep)
{
    const call *small = s->small;
    call *large = s->large;
    const backend *where = large->impl->where;
    int kept;
    for (int i = 0; i < small->sig.inputs; i++) {
        const dtype type = tensor_type(&small->sig.in[i], small->a.type);
        char *there = (char *)(uintptr_t)large->a.in[i];
        TRY(where->put(there, small->in[i], (size_t)small->in_count[i], type));
        TRY(repeat_bytes(where, there, (size_t)small->in_count[i] * dtype_size(type),
                         (size_t)large->in_count[i] * dtype_size(type)));
    }
    if (small->use_live) {
        char *there = large->live_there;
        size_t done = (size_t)small->a.d.R * sizeof(int32_t);
        size_t all = (size_t)large->a.d.R * sizeof(int32_t);
        TRY(where->put(there, small->live, (size_t)small->a.d.R, I32));
        TRY(repeat_bytes(where, there, done, all));
        large->a.live = large->live_there;
    }
    TRY(call_ready(large));
    if (keep) TRY(call_keeps(large, &kept));
    return where->sync();
}

/* The outputs of a forward to the inputs of its gradient, where they lie. */
static status move_outputs(const call *f, call *g)
{
    const backend *where = f->impl->where;
    for (int i = 0; i < f->sig.outputs; i++) {
        const int to = signature_in(&g->sig, f->sig.out[i].name);
        const dtype type = tensor_type(&f->sig.out[i], f->a.type);
        if (to < 0 || f->omit_out >> i & 1) continue;
        TRY(where->move((void *)(uintptr_t)g->a.in[to], f->a.out[i],
                        (size_t)f->out_count[i] * dtype_size(type)));
    }
    return where->sync();
}

static status make_large(problem *p)
{
    side *first = &p->before;
    if (p->main.large == p->main.small) return OK;
    if (first->seen) TRY(repeat_inputs(first, keeps_between(p)));
    TRY(repeat_inputs(&p->main, keeps_between(p) && !op_forward(p->main.large->op)));
    if (!first->seen) return OK;
    TRY(call_run(first->large));
    call_hand(p->main.large, first->large);
    TRY(move_outputs(first->large, p->main.large));
    if (p->ask.both) return OK;
    call_destroy(first->large); /* it has done its part, and others want the room */
    first->large = first->small;
    return OK;
}

/* Who computes one of them. */
static const impl *impl_of(const question *ask, const op *o)
{
    if (o == ask->op) return ask->impl;
    return ask->beside && ask->beside->op == o->id ? ask->beside : impl_beside(ask->impl, o);
}

/* The forward and the gradient of a problem; *first NULL if there is one operation. */
static status find_ops(const question *ask, const op **first, const op **last)
{
    const op *forward = op_forward(ask->op);
    *first = NULL;
    *last = ask->op;
    if (ask->both) {
        *first = ask->op;
        *last = op_grad(ask->op);
        if (!*last || !impl_of(ask, *last))
            return fail(ERR_ARG, "%s/%s: pass=both: has no gradient", ask->op->name,
                        ask->impl->name);
    } else if (forward && op_mixes(forward) && ask->keep && impl_of(ask, forward)) {
        *first = forward;
    }
    return OK;
}

static status make_problem(problem *p)
{
    const question *ask = &p->ask;
    const op *first, *last;
    int64_t heads;
    TRY(find_ops(ask, &first, &last));
    p->axis = op_repeats(last);
    const dims part = checked_part(last, ask, p->axis, &heads);
    TRY(make_side(&p->main, ask, last, impl_of(ask, last), &part, heads));
    if (first) TRY(make_side(&p->before, ask, first, impl_of(ask, first), &part, heads));
    TRY(fill_seen(p));
    if (first) spread_inputs(&p->before);
    spread_inputs(&p->main);
    TRY(run_small(p));
    return make_large(p);
}

status problem_open(problem *p, const question *ask)
{
    *p = (problem){.ask = *ask};
    const status s = make_problem(p);
    if (s != OK) problem_close(p);
    return s;
}

/* --- answers ---------------------------------------------------------------------------------- */

void answers_free(answers *a)
{
    call_destroy(a->before);
    call_destroy(a->main);
    *a = (answers){0};
}

/* Does the reference know this question? That of attention reads no output of the forward. */
static int same_inputs(const call *c, const call *ref)
{
    if (!ref || ref->op != c->op || ref->a.transform != c->a.transform ||
        ref->omit_in != c->omit_in || ref->tied != c->tied || ref->use_live != c->use_live)
        return 0;
    if (memcmp(&ref->a.d, &c->a.d, sizeof c->a.d) != 0 ||
        memcmp(&ref->a.p, &c->a.p, sizeof c->a.p) != 0 ||
        memcmp(ref->live, c->live, (size_t)c->a.d.R * sizeof *c->live) != 0)
        return 0;
    for (int i = 0; i < c->sig.inputs; i++) {
        const char *name = c->sig.in[i].name;
        const int unread = op_mixes(c->op) && (strcmp(name, "o") == 0 || strcmp(name, "z") == 0);
        if (unread || c->omit_in >> i & 1) continue;
        if (memcmp(ref->in[i], c->in[i], (size_t)c->in_count[i] * host_size(&c->sig.in[i])) != 0)
            return 0;
    }
    return 1;
}

static status find_answer(const call *c, call **known)
{
    if (same_inputs(c, *known)) return OK;
    call_destroy(*known);
    *known = NULL;
    return match_reference(c, known);
}

static status find_answers(const problem *p, answers *known)
{
    const call *c = p->main.seen;
    if (p->ask.both) TRY(find_answer(p->before.seen, &known->before));
    if (same_inputs(c, known->main)) return OK;
    TRY(find_answer(c, &known->main));
    known->of = (support){NAN, NAN, NAN};
    return c->op->kind == ATTENTION ? support_measure(c, &known->of) : OK;
}

status problem_check(const problem *p, answers *known, match *matches, int *count, int *same)
{
    int first = 0, last = 0;
    *same = gather_answer(&p->main);
    if (p->ask.both) *same &= gather_answer(&p->before);
    const status s = find_answers(p, known);
    if (s != OK) {
        answers_free(known);
        return s;
    }
    if (p->ask.both) TRY(match_against(p->before.seen, known->before, matches, &first));
    TRY(match_against(p->main.seen, known->main, matches + first, &last));
    *count = first + last;
    return OK;
}

/* A forward and its gradient as one call. */
typedef struct pair {
    args first, second; /* first is what the backend is told of */
    op_fn *forward, *gradient;
} pair;

static status run_pair(const args *a)
{
    const pair *both = (const pair *)(const void *)a;
    TRY(both->forward(&both->first));
    return both->gradient(&both->second);
}

/* The gradient reads what the forward writes. */
static pair pair_of(const problem *p)
{
    const call *f = p->before.large, *g = p->main.large;
    pair both = {call_args(f), call_args(g), f->impl->run, g->impl->run};
    both.first.keep = g->a.keep;
    for (int i = 0; i < f->sig.outputs; i++) {
        const int to = signature_in(&g->sig, f->sig.out[i].name);
        if (to >= 0 && both.second.in[to]) both.second.in[to] = both.first.out[i];
    }
    return both;
}

status problem_sample(void *user, double *seconds)
{
    const problem *p = user;
    const call *c = p->main.large;
    if (p->ask.both) {
        const pair both = pair_of(p);
        return c->impl->where->time(run_pair, &both.first, seconds);
    }
    const args a = call_args(c);
    return c->impl->where->time(c->impl->run, &a, seconds);
}

/* The part of an output that starts at value `from`, against the checked answer, bit for bit. */
static status same_bits(const side *s, int i, int64_t from, double *host, int *same)
{
    const call *small = s->small;
    int64_t n = small->out_count[i];
    const dtype type = tensor_type(&small->sig.out[i], small->a.type);
    const char *there = s->large->a.out[i];
    TRY(small->impl->where->get(host, there + (size_t)from * dtype_size(type), (size_t)n, type));
    *same &= memcmp(host, small->out[i], (size_t)n * sizeof *host) == 0;
    return OK;
}

/* First and last copy of every output along the repeated axis. */
static status recheck_side(const side *s, char axis, int *same)
{
    for (int i = 0; i < s->small->sig.outputs; i++) {
        const tensor *t = &s->small->sig.out[i];
        int64_t part = s->small->out_count[i], all = s->large->out_count[i];
        if (t->storage == 'i' || (axis && *t->shape != axis)) continue;
        if (s->small->omit_out >> i & 1) continue;
        double *host = malloc((size_t)part * sizeof *host);
        if (!host) return fail(ERR_MEMORY, "time: out of memory");
        status got = same_bits(s, i, 0, host, same);
        if (got == OK && all > part) got = same_bits(s, i, (all / part - 1) * part, host, same);
        free(host);
        TRY(got);
    }
    return OK;
}

status problem_recheck(const problem *p, int *same)
{
    *same = 1;
    if (p->ask.both) TRY(recheck_side(&p->before, p->axis, same));
    return recheck_side(&p->main, p->axis, same);
}

status problem_redone(const problem *p, double *share)
{
    const call *c = p->ask.both ? p->before.large : p->main.large;
    const args a = call_args(c);
    return impl_redone(c->impl, &a, share);
}

double problem_bytes(const problem *p)
{
    return (p->ask.both ? call_bytes(p->before.large) : 0) + call_bytes(p->main.large);
}

double problem_work(const problem *p)
{
    const question *ask = &p->ask;
    const op *gradient = ask->both ? op_grad(ask->op) : NULL;
    return ask->op->flop(&ask->d, &ask->p) + (gradient ? gradient->flop(&ask->d, &ask->p) : 0);
}
