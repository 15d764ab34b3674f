/* SPDX-License-Identifier: MIT
 *
 * time.c — verb time: how long one call takes with a cold cache, and whether its answer is right.
 *
 * A point is checked first: a problem of at most 2^20 values per tensor is compared with the
 * reference; if that fails there is a verdict and no time. Then the leading axis is repeated up to
 * `elements` values and the large problem is sampled (measure.h). Afterwards the first and the last
 * copy of the repeated part must carry the very bits of the checked answer, so a kernel that is
 * right when small and wrong when large has no time either. Where answers do not repeat
 * (op_repeats) the large problem itself is compared with the reference. The gradient of alpha,
 * which training at a fixed alpha has no use for, is left out unless dalpha=1.
 */
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/call.h"
#include "op/inputs.h"
#include "check/match.h"
#include "stop.h"
#include "tabular.h"
#include "verb.h"

enum { MOST_SAMPLES = 1000, CHECKED = 1 << 20 };

/* A problem of one implementation, small enough to check, and its large twin. */
typedef struct problem {
    call *small, *large; /* the same call if nothing is repeated */
    char axis;           /* letter of the repeated axis, or 0    */
} problem;

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

/* Copy every input of the small call over and over into the large one. */
static status repeat_inputs(const problem *p)
{
    const call *small = p->small;
    call *large = p->large;
    const backend *where = large->impl->where;
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
    size_t need = 0;
    args ask = call_args(large);
    ask.need = &need;
    TRY(large->impl->run(&ask));
    need = (need + 255) / 256 * 256;
    if (need) TRY(large->impl->where->alloc(&large->a.work, need));
    large->work_bytes = need;
    return large->impl->where->sync();
}

static status open_problem(problem *p, const op *o, const impl *im, const dims *d, const params *q,
                           dtype type, unsigned omit, const char *family, double beta,
                           uint64_t seed)
{
    dims small = *d;
    *p = (problem){0};
    p->axis = op_repeats(o);
    if (p->axis) {
        int64_t *at = dims_axis(&small, p->axis);
        call *whole = NULL;
        /* The largest tensor decides how much of the axis can be checked. */
        TRY(call_create(&whole, o, im, d, q, type));
        int64_t keep = *at / (whole->in_count[call_largest(whole)] / CHECKED + 1);
        /* Whole eights of rows are whole 16-byte words: the copies are as aligned as the first, and
         * where a row is cut into words may decide the order of its sums. */
        if (keep > 8) keep -= keep % 8;
        *at = keep > 1 ? keep : 1;
        if (*at == *dims_axis(&whole->a.d, p->axis))
            p->small = whole;
        else
            p->large = whole;
    }
    if (!p->small) TRY(call_create(&p->small, o, im, &small, q, type));
    p->small->omit_out = omit;
    if (p->large) p->large->omit_out = omit;
    TRY(inputs_fill(p->small, family, beta, seed));
    TRY(call_once(p->small));
    if (p->large) return repeat_inputs(p);
    p->large = p->small;
    return OK;
}

static void close_problem(problem *p)
{
    if (p->large != p->small) call_destroy(p->large);
    call_destroy(p->small);
}

/* The part of an output that starts at value `from`, against the checked answer, bit for bit. */
static status same_bits(const problem *p, int i, int64_t from, double *host, int *same)
{
    const call *small = p->small;
    int64_t n = small->out_count[i];
    const dtype type = tensor_type(&small->sig.out[i], small->a.type);
    const char *there = p->large->a.out[i];
    TRY(small->impl->where->get(host, there + (size_t)from * dtype_size(type), (size_t)n, type));
    *same &= memcmp(host, small->out[i], (size_t)n * sizeof *host) == 0;
    return OK;
}

/* After the timing: first and last copy of every output along the repeated axis. */
static status recheck(const problem *p, int *same)
{
    *same = 1;
    for (int i = 0; i < p->small->sig.outputs; i++) {
        const tensor *t = &p->small->sig.out[i];
        int64_t part = p->small->out_count[i], all = p->large->out_count[i];
        if (t->storage == 'i' || (p->axis && *t->shape != p->axis)) continue;
        if (p->small->omit_out >> i & 1) continue;
        double *host = malloc((size_t)part * sizeof *host);
        if (!host) return fail(ERR_MEMORY, "time: out of memory");
        status s = same_bits(p, i, 0, host, same);
        if (s == OK && all > part) s = same_bits(p, i, (all / part - 1) * part, host, same);
        free(host);
        TRY(s);
    }
    return OK;
}

static status one_sample(void *user, double *seconds)
{
    const call *c = user;
    const args a = call_args(c);
    return c->impl->where->time(c->impl->run, &a, seconds);
}

/* The outputs that the words do not ask for, as bits. */
static unsigned unwanted(const words *w, const op *o)
{
    signature s;
    const int dalpha = signature_parse(o->signature, &s) == OK ? signature_out(&s, "dalpha") : -1;
    return dalpha < 0 || word_int(w, "dalpha") ? 0 : 1u << dalpha;
}

static status time_point(timing *t, const op *o, const impl *im, const dims *d, const params *q,
                         dtype type, time_row *row)
{
    problem p;
    match matches[MAX_TENSORS];
    int count = 0, same = 1;
    int64_t samples = 0;
    verdict worst = PASS;
    status s = open_problem(&p, o, im, d, q, type, unwanted(t->w, o), row->input,
                            word_real(t->w, "beta"), (uint64_t)word_int(t->w, "seed"));
    if (s == OK) s = match_call(p.small, matches, &count);
    row->error = 0;
    for (int i = 0; s == OK && i < count; i++) {
        verdict v = match_verdict(&matches[i]);
        if (v > worst) worst = v;
        row->error = worse(row->error, matches[i].error);
    }
    if (s == OK && worst != FAIL) {
        row->bytes = call_bytes(p.large);
        row->work = o->flop(d, q);
        s = measure(&t->protocol, one_sample, p.large, t->samples, &samples);
        if (s == OK) s = recheck(&p, &same);
        if (!same) {
            worst = FAIL;
            samples = 0;
        }
    }
    snprintf(row->verdict, sizeof row->verdict, "%s", verdict_text(worst));
    close_problem(&p);
    return s == OK ? timing_emit(t, row, samples) : s;
}

static int64_t elements_of(const timing *t, const impl *im)
{
    int64_t given = word_int(t->w, "elements");
    return given ? given : impl_on_device(im) ? 1 << 27 : 1 << 18;
}

/* Does a problem get no row because the implementation does not take it, or is passed over? */
static int declined(timing *t, const impl *im, const dims *d, dtype type)
{
    const char *why = impl_declines(im, d, type, OP_softmax);
    if (why) snprintf(t->why, sizeof t->why, "%s", why);
    return why || impl_passed_over(t->w, im, d, type, OP_softmax);
}

/* A problem too large for a device is declined like one that an implementation does not take. */
static status fits_device(timing *t, const impl *im, const time_row *row, status s)
{
    if (s != ERR_MEMORY || !impl_on_device(im)) return s;
    snprintf(t->why, sizeof t->why, "%s/%s n=%lld: %.100s", row->op, row->impl, (long long)row->n,
             last_error());
    fprintf(stderr, "time: skipped: %s\n", t->why);
    return OK;
}

/* All lengths and parameters of one implementation in one storage, on one family of inputs. */
static status time_family(timing *t, const op *o, const impl *im, dtype type, const char *family,
                          double copy)
{
    const words *w = t->w;
    int64_t alphas = (o->reads & P_alpha) ? word_count(w, "alpha") : 1;
    int64_t ks = (o->reads & P_k) ? word_count(w, "k") : 1;
    for (int64_t i = 0; i < word_count(w, "n"); i++)
        for (int64_t j = 0; j < alphas * ks; j++) {
            params q = call_params(o);
            int64_t n = word_int_at(w, "n", i);
            dims d = call_dims(o, n, elements_of(t, im));
            if (declined(t, im, &d, type)) continue;
            TRY(stop_check());
            time_row row = {.n = n, .alpha = NAN, .seed = word_int(w, "seed"), .copy = copy};
            row.rows = d.R > 1 ? d.R : d.B * d.T;
            if (o->reads & P_alpha) row.alpha = q.alpha = word_real_at(w, "alpha", j);
            if (o->reads & P_k) row.k = q.k = word_int_at(w, "k", j);
            snprintf(row.op, sizeof row.op, "%s", o->name);
            snprintf(row.impl, sizeof row.impl, "%s", im->name);
            snprintf(row.type, sizeof row.type, "%s", type_name(type));
            snprintf(row.input, sizeof row.input, "%s", family);
            TRY(fits_device(t, im, &row, time_point(t, o, im, &d, &q, type, &row)));
        }
    return OK;
}

/* The stages have one family. */
static status time_impl(timing *t, const op *o, const impl *im, dtype type, double copy)
{
    for (int64_t i = 0; i < word_count(t->w, "input"); i++) {
        const char *family = word_text_at(t->w, "input", i);
        if (!input_applies(family, o)) return time_family(t, o, im, type, "gauss", copy);
        TRY(time_family(t, o, im, type, family, copy));
    }
    return OK;
}

/* Walk the implementations that the words choose. */
static status time_ops(timing *t, const backend *where, double copy, const char **absent)
{
    for (int i = 0; impl_at(i); i++) {
        const impl *im = impl_at(i);
        if (!impl_chosen(t->w, im)) continue;
        if (impl_absent(im)) {
            *absent = impl_absent(im);
            continue;
        }
        if (im->where != where) continue;
        dtype type;
        for (int k = 0; (type = impl_type(t->w, im, k)) != I32; k++)
            TRY(time_impl(t, op_at(im->op), im, type, copy));
    }
    return OK;
}

static status time_backends(timing *t, const char **absent)
{
    const backend *seen[8];
    int count = 0;
    for (int i = 0; impl_at(i) && count < 8; i++) {
        const impl *im = impl_at(i);
        int known = impl_absent(im) != NULL || !impl_chosen(t->w, im);
        for (int j = 0; j < count; j++)
            known |= seen[j] == im->where;
        if (!known) seen[count++] = im->where;
    }
    for (int j = 0; j < count; j++) {
        double copy;
        char name[64];
        TRY(seen[j]->copy_rate(&copy));
        snprintf(name, sizeof name, "copy_%s", seen[j]->name);
        TRY(results_attribute_number(t->r, name, copy));
        if (!getenv("MOSAIC_QUIET"))
            fprintf(stderr, "time: %s copies %.1f GB/s\n", seen[j]->name, 1e-9 * copy);
        TRY(time_ops(t, seen[j], copy, absent));
    }
    /* Nothing ran: find out whether something is only absent. */
    return count ? OK : time_ops(t, NULL, NAN, absent);
}

int verb_time(const words *w)
{
    timing t = {.w = w, .protocol = {.warmups = 3, .most = MOST_SAMPLES, .spread = 0.01}};
    const char *absent = NULL;
    t.protocol.least =
        word_int(w, "samples") < MOST_SAMPLES ? word_int(w, "samples") : MOST_SAMPLES;
    t.protocol.seconds = word_real(w, "seconds");
    t.samples = malloc(MOST_SAMPLES * sizeof *t.samples);
    status s = t.samples ? results_create(&t.r, word_text(w, "out"), w)
                         : fail(ERR_MEMORY, "time: out of memory");
    stop_watch(NULL);
    tabular_format(word_text(w, "format"));
    if (s == OK && word_given(w, "task"))
        s = time_tasks(&t);
    else if (s == OK)
        s = time_backends(&t, &absent);
    if (s == ERR_STOPPED && t.printed > 0) (void)results_save(t.r, 0);
    status closed = results_close(t.r, s == OK && t.printed > 0);
    tabular_end();
    free(t.samples);
    stop_end("time", "", "");
    if (s != OK || closed != OK) return status_exit(s != OK ? s : closed);
    if (t.printed > 0) return EXIT_GOOD;
    const char *why = absent ? absent : *t.why ? t.why : NULL;
    fprintf(stderr, "mosaic: time: nothing to time here: %s\n",
            why ? why : "no implementation has both this op and this impl");
    return why ? EXIT_SKIP : EXIT_USAGE;
}
