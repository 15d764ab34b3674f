/* SPDX-License-Identifier: MIT
 *
 * check.c — verb check: loops over the rows of the lists, and the report.
 *
 * One row per comparison goes to stdout (and to out=); failed rows are told again last (tell.c).
 * Exit code: 1 if a row fails; 77 if nothing could run here, with the reason.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "claims.h"
#include "golden.h"
#include "op/inputs.h"
#include "stop.h"
#include "tabular.h"

void check_report(check *k, const char *what, const char *about, const match *m)
{
    const check_case *c = &k->at;
    const verdict v = match_verdict(m);
    check_row row = {.rows = c->rows, .n = c->n, .alpha = NAN, .error = m->error, .tol = m->tol};
    snprintf(row.what, sizeof row.what, "%s", what);
    snprintf(row.op, sizeof row.op, "%s", about);
    snprintf(row.impl, sizeof row.impl, "%s",
             c->impl    ? c->impl->name
             : k->model ? k->model
                        : "ref");
    snprintf(row.type, sizeof row.type, "%s", type_name(c->type));
    if (*c->v.label)
        snprintf(row.subject, sizeof row.subject, "%.15s %s", m->tensor, c->v.label);
    else
        snprintf(row.subject, sizeof row.subject, "%s", m->tensor);
    snprintf(row.input, sizeof row.input, "%s", c->input ? c->input : "");
    if (c->op && (c->op->reads & P_alpha)) row.alpha = c->alpha;
    if (c->op && (c->op->reads & P_k)) row.k = c->k;
    row.seed = (int64_t)c->seed;
    row.support = m->support;
    snprintf(row.verdict, sizeof row.verdict, "%s", verdict_text(v));
    results_print(CHECK, &row, k->rows == 0);
    if (k->written == OK) k->written = results_append(k->file, CHECK, &row);
    k->rows++;
    k->failed += v == FAIL;
    k->marginal += v == MARGINAL;
    if (v == FAIL) check_note_fail(k, &row, m);
}

/* ---- loops --------------------------------------------------------------------------------- */

typedef status part(check *k);

static const int64_t law_lengths[] = {1, 2, 3, 17, 33, 257, 1000};
static const int64_t kernel_law_lengths[] = {1, 2, 31, 33, 255, 1000, 4097};
static const int64_t call_lengths[] = {1, 2, 33}; /* of what is no transform */
static const int64_t kernel_lengths[] = {1,    2,    31,   32,    33,    255,
                                         1000, 1024, 4097, 16384, 50304, 131072};
static const int64_t grad_lengths[] = {1, 2, 7, 17};

#define LENGTHS(list) (list), sizeof(list) / sizeof *(list)

/* Run the case at hand. One that an implementation refuses is a failed row like any other; without
 * memory or device nothing after it means anything. */
static status run_case(check *k, const words *w, part *run)
{
    const check_case *c = &k->at;
    const dims d = match_dims(c->op, c->n, c->rows);
    const args a = {.d = d, .p = c->v.p, .type = c->type, .transform = c->v.transform};
    const char *why = impl_declines(c->impl, &a);
    match m = {.error = INFINITY, .at = NO_SPOT};
    TRY(stop_check());
    if (d.B == 0) return OK; /* a length that no check affords */
    if (why || impl_passed_over(w, c->impl, &a)) {
        k->declined++;
        if (why) snprintf(k->why, sizeof k->why, "%s", why);
        return OK;
    }
    check_running(k, k->what);
    const status s = run(k);
    if (s == OK || s == ERR_MEMORY || s == ERR_DEVICE || s == ERR_STOPPED) return s;
    fprintf(stderr, "mosaic check: %s\n", last_error());
    snprintf(m.tensor, sizeof m.tensor, "%s", status_text(s));
    check_report(k, k->what, k->at.op->name, &m);
    return OK;
}

/* Run a part over the input families. */
static status each_input(check *k, const words *w, part *run)
{
    for (int i = 0; input_name(i); i++) {
        k->at.input = input_name(i);
        if (word_chooses(w, "input", k->at.input) && input_applies(k->at.input, k->at.op))
            TRY(run_case(k, w, run));
    }
    return OK;
}

/* ... over the variants of the operation, for each alpha, k and beta asked for. */
static status each_variant(check *k, const words *w, part *run)
{
    const op *o = k->at.op;
    const int64_t alphas = o->reads & P_alpha ? word_count(w, "alpha") : 1;
    const int64_t tops = o->reads & P_k ? word_count(w, "k") : 1;
    const int64_t betas = word_given(w, "beta") ? word_count(w, "beta") : 1;
    for (int64_t i = 0; i < alphas * tops * betas; i++) {
        k->at.alpha = word_real_at(w, "alpha", i % alphas);
        k->at.k = word_int_at(w, "k", i / alphas % tops);
        k->at.beta = word_given(w, "beta") ? word_real_at(w, "beta", i / alphas / tops) : 0;
        for (int v = 0; check_variant(o, v, k->at.alpha, k->at.k, &k->at.v); v++)
            TRY(run == check_grad ? run_case(k, w, run) : each_input(k, w, run));
    }
    return OK;
}

/* ... over the lengths: those asked for, or those of the list. */
static status each_length(check *k, const words *w, const char *what, part *run,
                          const int64_t *list, size_t count)
{
    k->what = what;
    const int given = word_given(w, "n");
    for (int64_t i = 0; i < (given ? word_count(w, "n") : (int64_t)count); i++) {
        k->at.n = given ? word_int_at(w, "n", i) : list[i];
        k->at.rows = word_int(w, "rows");
        TRY(each_variant(k, w, run));
    }
    return OK;
}

static status check_impl(check *k, const words *w)
{
    const check_case *c = &k->at;
    const int reference = c->impl->reference;
    const int laws = word_chooses(w, "what", "law"), transform = op_is_transform(c->op);
    if (laws && !transform) TRY(each_length(k, w, "law", check_law, LENGTHS(call_lengths)));
    if (laws && transform && reference)
        TRY(each_length(k, w, "law", check_law, LENGTHS(law_lengths)));
    if (laws && transform && !reference)
        TRY(each_length(k, w, "law", check_law, LENGTHS(kernel_law_lengths)));
    if (word_chooses(w, "what", "grad") && reference && op_grad(c->op))
        TRY(each_length(k, w, "grad", check_grad, LENGTHS(grad_lengths)));
    if (word_chooses(w, "what", "match") && !reference)
        TRY(each_length(k, w, "match", check_match, LENGTHS(kernel_lengths)));
    return OK;
}

/* Every implementation asked for, in every type. *absent: why one could not run. */
static status check_impls(check *k, const words *w, const char **absent)
{
    const impl *im;
    progress bar;
    int64_t all = 0, done = 0;
    for (int i = 0; (im = impl_at(i)); i++)
        all += impl_chosen(w, im) && !impl_absent(im);
    progress_start(&bar, "check", all);
    if (isatty(STDOUT_FILENO)) bar.terminal = -1; /* the rows are there */
    for (int i = 0; (im = impl_at(i)); i++) {
        if (!impl_chosen(w, im)) continue;
        if (impl_absent(im)) {
            *absent = impl_absent(im);
            continue;
        }
        progress_step(&bar, done++, op_name(im->op));
        dtype type;
        for (int t = 0; (type = impl_type(w, im, t)) != I32; t++) {
            k->at = (check_case){.op = op_at(im->op), .impl = im, .type = type};
            k->at.seed = (uint64_t)word_int(w, "seed");
            TRY(check_impl(k, w));
        }
    }
    progress_end(&bar);
    return OK;
}

static status check_claims(check *k, const words *w)
{
    k->at = (check_case){.type = F64, .alpha = NAN};
    for (int i = 0; claim_name(i); i++)
        if (word_chooses(w, "claim", claim_name(i))) {
            TRY(stop_check());
            TRY(check_claim(k, claim_name(i)));
        }
    return OK;
}

typedef struct golden_sink {
    check *check;
    const char *file; /* without folders */
} golden_sink;

static void golden_reported(void *user, const char *what, double error, double tol)
{
    const golden_sink *g = user;
    match m = {.error = error, .tol = tol, .limit = tol, .at = NO_SPOT};
    snprintf(m.tensor, sizeof m.tensor, "%s", what);
    check_report(g->check, "golden", g->file, &m);
}

/* Every file, for one type of a model. */
static status check_files(check *k, const words *w, const model *on, dtype type)
{
    const golden_subject who = golden_subject_of(on, type);
    k->at = (check_case){.type = type, .alpha = NAN};
    for (int64_t i = 0; i < word_count(w, "golden"); i++) {
        const char *path = word_text_at(w, "golden", i), *slash = strrchr(path, '/');
        golden_sink g = {k, slash ? slash + 1 : path};
        k->golden = path;
        check_running(k, "golden");
        const int64_t before = k->rows;
        TRY(stop_check());
        TRY(golden_file(path, &who, golden_reported, &g));
        if (k->rows == before) return fail(ERR_DATA, "%s: expected at least one case", path);
    }
    k->golden = NULL;
    return OK;
}

/* By the reference, or by a model of a device in the types asked for. */
static status check_golden(check *k, const words *w, const char **absent)
{
    const model *on;
    const char *name = word_text(w, "backend");
    if (strcmp(name, "ref") == 0) return check_files(k, w, &mosaic_ref, F64);
    if (!backend_at(1) || backend_at(1)->devices() == 0) {
        *absent = backend_at(1) ? "this machine has no device" : "this build has no CUDA";
        return OK;
    }
    TRY(model_find(name, &on));
    k->model = on->name;
    for (int type = F32; type < I32; type++)
        if (word_chooses(w, "type", type_name((dtype)type)))
            TRY(check_files(k, w, on, (dtype)type));
    return OK;
}

static status check_all(check *k, const words *w, const char **absent)
{
    if (word_given(w, "golden")) TRY(check_golden(k, w, absent));
    if (word_given(w, "golden") && !word_given(w, "what")) return OK;
    TRY(check_impls(k, w, absent));
    if (word_chooses(w, "what", "claim") && (word_given(w, "claim") || !word_given(w, "op")) &&
        (word_chooses(w, "impl", "ref") || word_chooses(w, "impl", "auto")))
        TRY(check_claims(k, w));
    return OK;
}

int verb_check(const words *w)
{
    check k = {0};
    const char *absent = NULL;
    status s = results_create(&k.file, word_text(w, "out"), w);
    if (s != OK) return status_exit(s);
    check_catch_crashes();
    stop_watch(NULL);
    tabular_format(word_text(w, "format"));
    s = check_all(&k, w, &absent);
    if (s == OK) s = k.written;
    if (s == ERR_STOPPED && k.rows > 0) (void)results_save(k.file, 0);
    status closed = results_close(k.file, s == OK && k.rows > 0);
    if (s == OK) s = closed;
    tabular_end();
    check_tell_fails(&k);
    free(k.fails.text);
    stop_end("check", "", "");
    if (s != OK) return status_exit(s);
    if (k.rows == 0 && absent) {
        fprintf(stderr, "mosaic check: skipped: %s\n", absent);
        return EXIT_SKIP;
    }
    if (k.rows == 0 && *k.why) {
        fprintf(stderr, "mosaic check: skipped: %s\n", k.why);
        return EXIT_SKIP;
    }
    if (k.rows == 0) return usage_error("check: nothing to check for these words");
    fprintf(stderr, "mosaic check: %lld rows, %lld failed, %lld marginal%s%s%s%s\n",
            (long long)k.rows, (long long)k.failed, (long long)k.marginal,
            absent ? "; kernels skipped: " : "", absent ? absent : "", *k.why ? "; declined: " : "",
            k.why);
    return k.failed ? EXIT_CHECK : EXIT_GOOD;
}
