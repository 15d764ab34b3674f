/* SPDX-License-Identifier: MIT
 *
 * time.c — verb time: how long one call takes with a cold cache, and whether its answer is right.
 *
 * A point (problem.h) is checked first, on a part of the problem, against the reference; if that
 * fails there is a verdict and no time. Then the large problem is sampled (measure.h), and has no
 * time either unless it carries the very bits of the checked answer. The gradient of alpha, which
 * training at a fixed alpha has no use for, is left out unless dalpha=1.
 *
 * Beside the time stands a floor, which no implementation can pass: the least traffic of the call
 * at the rate of a copy, and of a forward of attention the products of its scores at the rate of a
 * product by itself, both measured in the same run.
 */
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conditions.h"
#include "op/inputs.h"
#include "problem.h"
#include "stop.h"
#include "tabular.h"
#include "trained_keys.h"
#include "verb.h"

enum { MOST_SAMPLES = 1000 };

/* --- the rate of products --------------------------------------------------------------------- */

static status sample_call(void *user, double *seconds)
{
    const call *c = user;
    const args a = call_args(c);
    return c->impl->where->time(c->impl->run, &a, seconds);
}

/* Operations a second of the default implementation of a product of n x n matrices. */
static status measure_products(const impl *im, dtype type, double *rate)
{
    const op *o = op_at(OP_linear);
    const sampling protocol = {.warmups = 2, .least = 5, .most = 5, .spread = 1, .seconds = 10};
    const int64_t n = impl_on_device(im) ? 4096 : 256;
    const dims d = {.B = 1, .T = 1, .H = 1, .D = 1, .C = n, .R = n, .N = n, .V = 1, .M = 1};
    const params p = call_params(o);
    double samples[5];
    int64_t count = 0;
    summary of;
    call *c;
    TRY(call_create(&c, o, im, &d, &p, type));
    status s = inputs_fill(c, "gauss", 1, 7);
    if (s == OK) s = call_put(c);
    if (s == OK) s = measure(&protocol, sample_call, c, samples, &count);
    if (s == OK) s = summarize(samples, count, &of);
    call_destroy(c);
    if (s == OK) *rate = o->flop(&d, &p) / of.median;
    return s;
}

/* The same where `im` runs, in this storage: once a run, an attribute of the file; NaN where there
 * are no products. */
static status product_rate(timing *t, const impl *im, dtype type, double *rate)
{
    char name[64];
    const impl *by;
    *rate = NAN;
    if (t->products_of == im->where && t->products_in == type) return *rate = t->products, OK;
    for (int i = 0; (by = impl_at(i)); i++)
        if (by->op == OP_linear && by->where == im->where && by->types & TYPE_BIT(type)) break;
    if (!by) return OK;
    TRY(measure_products(by, type, rate));
    t->products = *rate;
    t->products_of = im->where;
    t->products_in = type;
    snprintf(name, sizeof name, "products_%s_%s", im->where->name, type_name(type));
    return results_attribute_number(t->r, name, *rate);
}

static status find_floor(timing *t, const problem *p, time_row *row)
{
    const question *ask = &p->ask;
    double rate, scores;
    row->floor = row->bytes / row->copy;
    if (ask->op->id != OP_attention) return OK;
    TRY(product_rate(t, ask->impl, ask->type, &rate));
    scores = ask->op->flop(&ask->d, &ask->p) / 2 / rate;
    if (scores > row->floor) row->floor = scores;
    return OK;
}

/* --- one point -------------------------------------------------------------------------------- */

/* The worst verdict and the largest error. */
static status judge_point(timing *t, const problem *p, time_row *row, verdict *worst)
{
    match matches[2 * MAX_TENSORS];
    int count = 0, same = 1;
    TRY(problem_check(p, t->known, matches, &count, &same));
    row->support_mean = t->known->of.mean;
    row->support_max = t->known->of.most;
    row->tiles = t->known->of.tiles;
    *worst = same ? PASS : FAIL;
    row->error = 0;
    for (int i = 0; i < count; i++) {
        const verdict v = match_verdict(&matches[i]);
        if (v > *worst) *worst = v;
        row->error = worse(row->error, matches[i].error);
    }
    return OK;
}

/* With a yardstick beside each sample where one was asked for. */
static status sample_problem(timing *t, problem *p, int64_t *samples)
{
    beside both = {.y = &t->yard,
                   .sample = problem_sample,
                   .user = p,
                   .warmups = t->protocol.warmups,
                   .seconds = t->beside};
    if (!t->beside) return measure(&t->protocol, problem_sample, p, t->samples, samples);
    if (t->yard.where != p->ask.impl->where) {
        yardstick_close(&t->yard);
        TRY(yardstick_open(&t->yard, p->ask.impl->where));
    }
    return measure(&t->protocol, beside_sample, &both, t->samples, samples);
}

static status time_problem(timing *t, problem *p, time_row *row, int64_t *samples)
{
    verdict worst;
    int same = 1;
    TRY(judge_point(t, p, row, &worst));
    if (worst != FAIL) {
        row->bytes = problem_bytes(p);
        row->work = problem_work(p);
        TRY(find_floor(t, p, row));
        TRY(sample_problem(t, p, samples));
        TRY(problem_redone(p, &row->redone));
        TRY(problem_recheck(p, &same));
    }
    if (!same) {
        worst = FAIL;
        *samples = 0;
    }
    snprintf(row->verdict, sizeof row->verdict, "%s", verdict_text(worst));
    return OK;
}

static status time_point(timing *t, const question *ask, time_row *row)
{
    problem p;
    int64_t samples = 0;
    TRY(problem_open(&p, ask));
    status s = time_problem(t, &p, row, &samples);
    problem_close(&p);
    return s == OK ? timing_emit(t, row, samples) : s;
}

/* --- the points ------------------------------------------------------------------------------- */

static int64_t elements_of(const timing *t, const impl *im)
{
    int64_t given = word_int(t->w, "elements");
    return given ? given : impl_on_device(im) ? 1 << 27 : 1 << 18;
}

/* Sizes by the words. B T of attention is `tokens` where that is given; so many are the rows of
 * persistent memory. */
static dims dims_of(const timing *t, const op *o, const impl *im, int64_t n)
{
    const int64_t tokens = word_int(t->w, "tokens"), given = word_int(t->w, "batch");
    dims d = call_dims(o, n, elements_of(t, im));
    if (!op_mixes(o)) return d;
    if (word_int(t->w, "heads")) d.H = word_int(t->w, "heads");
    if (word_int(t->w, "width")) d.D = word_int(t->w, "width");
    if (given) d.B = given;
    if (o->kind == MEMORY && tokens)
        d.T = tokens > d.B ? tokens / d.B : 1;
    else if (!given && tokens)
        d.B = tokens > d.T ? tokens / d.T : 1;
    return d;
}

/* What an implementation is asked whether it takes. */
static args problem_args(const question *ask)
{
    return (args){.d = ask->d, .p = ask->p, .type = ask->type, .transform = ask->transform};
}

/* The gradient or forward that goes with an implementation: the automatic choice with the automatic
 * choice. */
static const impl *find_beside(const question *ask)
{
    const args a = problem_args(ask);
    const op *other = op_grad(ask->op) ? op_grad(ask->op) : op_forward(ask->op);
    const impl *im = ask->impl;
    if (!other) return NULL;
    if (im == impl_default(im->op, im->where, &a)) return impl_default(other->id, im->where, &a);
    return impl_beside(im, other);
}

/* Does a problem get no row because the implementation does not take it, or is passed over? */
static int declined(timing *t, const question *ask)
{
    const args a = problem_args(ask);
    const char *why = impl_declines(ask->impl, &a);
    char alone[100];
    snprintf(alone, sizeof alone, "%s/%s has no gradient", ask->op->name, ask->impl->name);
    if (!why && ask->both)
        why = op_grad(ask->op) && ask->beside ? impl_declines(ask->beside, &a) : alone;
    if (why) snprintf(t->why, sizeof t->why, "%s", why);
    return why || impl_passed_over(t->w, ask->impl, &a);
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

/* What the row says of the question. */
static time_row row_of(const timing *t, const question *ask, unsigned reads, int64_t n, double copy)
{
    const dims *d = &ask->d;
    const int mixes = op_mixes(ask->op);
    time_row row = {.n = n, .alpha = NAN, .seed = word_int(t->w, "seed"), .copy = copy};
    row.rows = d->R > 1 ? d->R : d->B * d->T;
    row.floor = row.support_mean = row.support_max = row.tiles = row.redone = NAN;
    if (reads & P_alpha) row.alpha = ask->p.alpha;
    if (reads & P_k) row.k = ask->p.k;
    const args a = problem_args(ask);
    row.automatic = ask->impl == impl_default(ask->op->id, ask->impl->where, &a);
    if (mixes) row.batch = d->B, row.heads = d->H, row.width = d->D;
    snprintf(row.op, sizeof row.op, "%s", ask->op->name);
    snprintf(row.impl, sizeof row.impl, "%s", ask->impl->name);
    if (ask->both && strcmp(ask->impl->name, ask->beside->name) != 0)
        snprintf(row.impl, sizeof row.impl, "%s+%s", ask->impl->name, ask->beside->name);
    snprintf(row.type, sizeof row.type, "%s", type_name(ask->type));
    snprintf(row.input, sizeof row.input, "%s", ask->input);
    snprintf(row.transform, sizeof row.transform, "%s", mixes ? op_name(ask->transform) : "");
    snprintf(row.pass, sizeof row.pass, "%s", ask->both ? "both" : "each");
    return row;
}

/* A point by every implementation of the backend that the words choose, one behind the other. */
static status time_impls(timing *t, question *ask, const backend *where, unsigned reads, int64_t n,
                         double copy)
{
    const impl *im;
    for (int i = 0; (im = impl_at(i)); i++) {
        if (im->op != ask->op->id || im->where != where || !impl_chosen(t->w, im)) continue;
        ask->impl = im;
        ask->d = dims_of(t, ask->op, im, n);
        if (sequence_applies(ask->input, ask->op))
            ask->p.scale = sequence_scale(ask->input, ask->d.D);
        ask->beside = find_beside(ask);
        if (declined(t, ask)) continue;
        TRY(stop_check());
        time_row row = row_of(t, ask, reads, n, copy);
        TRY(fits_device(t, im, &row, time_point(t, ask, &row)));
    }
    return OK;
}

/* ... of all lengths, alpha and k of a question. */
static status time_lengths(timing *t, question *ask, const backend *where, unsigned reads,
                           double copy)
{
    const words *w = t->w;
    const int64_t alphas = reads & P_alpha ? word_count(w, "alpha") : 1;
    const int64_t ks = reads & P_k ? word_count(w, "k") : 1;
    for (int64_t i = 0; i < word_count(w, "n"); i++)
        for (int64_t j = 0; j < alphas * ks; j++) {
            if (reads & P_alpha) ask->p.alpha = word_real_at(w, "alpha", j % alphas);
            if (reads & P_k) ask->p.k = word_int_at(w, "k", j / alphas);
            TRY(time_impls(t, ask, where, reads, word_int_at(w, "n", i), copy));
        }
    return OK;
}

/* ... for each transform of the scores, if the operation has some. */
static status time_transforms(timing *t, question *ask, const backend *where, double copy)
{
    const words *w = t->w;
    const int any = (ask->op->reads & P_TRANSFORM) != 0;
    for (int64_t i = 0; i < (any ? word_count(w, "transform") : 1); i++) {
        const op *transform = any ? op_find(word_text_at(w, "transform", i)) : op_at(OP_softmax);
        ask->transform = transform->id;
        TRY(time_lengths(t, ask, where, ask->op->reads | (any ? transform->reads : 0), copy));
    }
    return OK;
}

/* The keys of input=trained, as long as the longest sequence; read when they are first asked for.
 */
static status find_keys(timing *t, question *ask)
{
    int64_t longest = 1;
    ask->keys = NULL;
    if (strcmp(ask->input, "trained") != 0) return OK;
    for (int64_t i = 0; i < word_count(t->w, "n"); i++)
        if (word_int_at(t->w, "n", i) > longest) longest = word_int_at(t->w, "n", i);
    if (!t->keys) TRY(trained_keys_read(&t->keys, word_text(t->w, "from"), longest));
    ask->keys = t->keys;
    return OK;
}

/* ... on a family of inputs, an operation by itself or with its gradient behind it. */
static status time_family(timing *t, const op *o, const backend *where, dtype type,
                          const char *family, double copy)
{
    const words *w = t->w;
    question ask = {.op = o, .type = type, .p = call_params(o), .input = family};
    ask.keep = (int)word_int(w, "keep");
    ask.tied = o->kind == ATTENTION && word_int(w, "tied");
    ask.dalpha = (int)word_int(w, "dalpha");
    ask.beta = word_real(w, "beta");
    ask.seed = (uint64_t)word_int(w, "seed");
    /* the heads of a trained model differ more than those of a family */
    ask.afforded = strcmp(family, "trained") == 0 ? 0x1p38 : 0x1p35;
    ask.p.lag = word_int(w, "lag");
    TRY(find_keys(t, &ask));
    for (int64_t i = 0; i < word_count(w, "pass"); i++) {
        ask.both = strcmp(word_text_at(w, "pass", i), "both") == 0;
        TRY(time_transforms(t, &ask, where, copy));
    }
    return OK;
}

/* ... on every family that means something for it; where none was asked for there is one. */
static status time_families(timing *t, const op *o, const backend *where, dtype type, double copy)
{
    int timed = 0;
    for (int64_t i = 0; i < word_count(t->w, "input"); i++) {
        const char *family = word_text_at(t->w, "input", i);
        if (!input_applies(family, o)) continue;
        TRY(time_family(t, o, where, type, family, copy));
        timed = 1;
    }
    return timed ? OK : time_family(t, o, where, type, "gauss", copy);
}

/* Every operation that an implementation of the backend is chosen for, in every storage. */
static status time_ops(timing *t, const backend *where, double copy)
{
    const op *o;
    const impl *im;
    for (int i = 0; (o = op_at(i)); i++) {
        int at = 0;
        while ((im = impl_at(at)) &&
               !(im->op == o->id && im->where == where && impl_chosen(t->w, im)))
            at++;
        dtype type;
        for (int k = 0; im && (type = impl_type(t->w, im, k)) != I32; k++)
            TRY(time_families(t, o, where, type, copy));
    }
    return OK;
}

/* *absent: why an implementation that was asked for cannot run here. */
static status time_backends(timing *t, const char **absent)
{
    const backend *seen[8];
    int count = 0;
    for (int i = 0; impl_at(i) && count < 8; i++) {
        const impl *im = impl_at(i);
        if (!impl_chosen(t->w, im)) continue;
        int known = impl_absent(im) != NULL;
        if (known) *absent = impl_absent(im);
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
        TRY(time_ops(t, seen[j], copy));
    }
    return OK;
}

/* Do the words choose an implementation that runs on a device here? */
static int any_on_device(const words *w)
{
    const impl *im;
    for (int i = 0; !word_given(w, "task") && (im = impl_at(i)); i++)
        if (impl_on_device(im) && impl_chosen(w, im) && !impl_absent(im)) return 1;
    return 0;
}

static void tell_noise(const timing *t)
{
    if (t->noisy > 0 && !getenv("MOSAIC_QUIET"))
        fprintf(stderr,
                "time: %d of %d points are noisy: quartiles further apart than %.0f %% of the "
                "median\n",
                t->noisy, t->printed, 100 * NOISY_SHARE);
}

int verb_time(const words *w)
{
    answers known = {0};
    timing t = {
        .w = w, .known = &known, .protocol = {.warmups = 3, .most = MOST_SAMPLES, .spread = 0.01}};
    const char *absent = NULL;
    t.protocol.least =
        word_int(w, "samples") < MOST_SAMPLES ? word_int(w, "samples") : MOST_SAMPLES;
    t.protocol.seconds = word_real(w, "seconds");
    t.samples = malloc(MOST_SAMPLES * sizeof *t.samples);
    const int yard = (int)word_int(w, "yardstick") && !word_given(w, "task");
    if (yard) t.beside = malloc(MOST_SAMPLES * sizeof *t.beside);
    status s = t.samples && (t.beside || !yard) ? results_create(&t.r, word_text(w, "out"), w)
                                                : fail(ERR_MEMORY, "time: out of memory");
    stop_watch(NULL);
    tabular_format(word_text(w, "format"));
    if (s == OK) s = conditions_note(t.r, "before", any_on_device(w));
    if (s == OK && word_given(w, "task"))
        s = time_tasks(&t);
    else if (s == OK)
        s = time_backends(&t, &absent);
    if (s == OK) s = conditions_note(t.r, "after", any_on_device(w));
    if (s == ERR_STOPPED && t.printed > 0) (void)results_save(t.r, 0);
    status closed = results_close(t.r, s == OK && t.printed > 0);
    tabular_end();
    free(t.samples);
    free(t.beside);
    yardstick_close(&t.yard);
    trained_keys_free(t.keys);
    answers_free(&known);
    stop_end("time", "", "");
    if (s != OK || closed != OK) return status_exit(s != OK ? s : closed);
    tell_noise(&t);
    if (t.printed > 0) return EXIT_GOOD;
    const char *why = absent ? absent : *t.why ? t.why : NULL;
    fprintf(stderr, "mosaic: time: nothing to time here: %s\n",
            why ? why : "no implementation has both this op and this impl");
    return why ? EXIT_SKIP : EXIT_USAGE;
}
