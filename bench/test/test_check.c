/* SPDX-License-Identifier: MIT
 *
 * test_check.c — the checks can fail. Wrong transforms and gradients go through the laws, the
 * comparison with the reference and the differences, and each must be caught by those that claim to
 * see it; the right ones must pass.
 */
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "op/inputs.h"
#include "check/check.h"
#include "check/claims.h"
#include "check/laws.h"
#include "selftest.h"
#include "test_check.h"

enum { ROWS = 16, KEYS = 33 };

/* The rows that are wrong: a check that counts only the first or only the last is no check. */
static int64_t wrong_from = 0, wrong_to = ROWS;

/* ---- wrong transforms: the reference, then the defect --------------------------------------- */

static int64_t live_keys(const args *a, int64_t r)
{
    return a->live ? a->live[r] : a->d.N;
}

/* The live key of row r with the smallest (sign < 0) or largest positive weight; -1 if none. */
static int64_t key_of(const args *a, int64_t r, int sign)
{
    const double *p = OUT(double, 0) + r * a->d.N;
    int64_t best = -1;
    for (int64_t j = 0; j < live_keys(a, r); j++)
        if (p[j] > 0 && (best < 0 || sign * (p[j] - p[best]) > 0)) best = j;
    return best;
}

static void divide_by_sum(const args *a, int64_t r)
{
    double *p = OUT(double, 0) + r * a->d.N, sum = 0;
    for (int64_t j = 0; j < live_keys(a, r); j++)
        sum += p[j];
    for (int64_t j = 0; j < live_keys(a, r) && sum > 0; j++)
        p[j] /= sum;
}

#define EACH_ROW(f)                                                                                \
    TRY(f(a));                                                                                     \
    if (a->need) return OK;                                                                        \
    double *p = OUT(double, 0);                                                                    \
    const int64_t N = a->d.N;                                                                      \
    for (int64_t r = wrong_from; r < a->d.R && r < wrong_to; r++)

static status right(const args *a)
{
    return sparsemax_ref(a);
}

static status threshold_off(const args *a) /* tau too large by 1e-9, not divided by the sum */
{
    EACH_ROW(sparsemax_ref)
    for (int64_t j = 0; j < N; j++)
        if (p[r * N + j] > 0) p[r * N + j] = fmax(0, p[r * N + j] - 1e-9);
    return OK;
}

static status threshold_hidden(const args *a) /* the same, hidden by the division */
{
    EACH_ROW(sparsemax_ref)
    {
        for (int64_t j = 0; j < N; j++)
            if (p[r * N + j] > 0) p[r * N + j] = fmax(0, p[r * N + j] - 1e-9);
        divide_by_sum(a, r);
    }
    return OK;
}

static status support_short(const args *a) /* the last key of the support is dropped */
{
    EACH_ROW(sparsemax_ref)
    {
        const int64_t last = key_of(a, r, -1);
        if (last < 0 || last == key_of(a, r, 1)) continue;
        p[r * N + last] = 0;
        divide_by_sum(a, r);
    }
    return OK;
}

static status unnormalised(const args *a)
{
    EACH_ROW(sparsemax_ref)
    for (int64_t j = 0; j < N; j++)
        p[r * N + j] *= 1 + 1e-9;
    return OK;
}

static status not_a_number(const args *a) /* in one entry of the last row */
{
    EACH_ROW(sparsemax_ref)
    if (r == wrong_to - 1) p[r * N] = NAN;
    return OK;
}

static status nan_repaired(const args *a)
{
    EACH_ROW(sparsemax_ref)
    for (int64_t j = 0; j < N; j++)
        if (isnan(p[r * N + j])) p[r * N + j] = 1 / (double)N;
    return OK;
}

static status past_live(const args *a) /* something is left beyond live */
{
    EACH_ROW(sparsemax_ref)
    if (live_keys(a, r) < N) p[r * N + N - 1] = 1e-30;
    return OK;
}

static status reads_past_live(const args *a)
{
    const double *c = IN(double, 0);
    EACH_ROW(sparsemax_ref)
    if (live_keys(a, r) < N && !(c[r * N + N - 1] < INFINITY)) p[r * N] *= 1.01;
    return OK;
}

static status position_matters(const args *a)
{
    EACH_ROW(sparsemax_ref)
    {
        p[r * N] *= 0.99;
        divide_by_sum(a, r);
    }
    return OK;
}

static status level_matters(const args *a) /* not shift invariant */
{
    const double *c = IN(double, 0);
    EACH_ROW(sparsemax_ref)
    if (fabs(c[r * N]) > 8.5 && p[r * N] < 1) p[r * N] *= 1.001;
    return OK;
}

static status wrong_order(const args *a) /* the two extreme keys of the support change places */
{
    EACH_ROW(sparsemax_ref)
    {
        const int64_t first = key_of(a, r, 1), last = key_of(a, r, -1);
        if (first < 0) continue;
        const double swap = p[r * N + first];
        p[r * N + first] = p[r * N + last];
        p[r * N + last] = swap;
    }
    return OK;
}

static status never_zero(const args *a)
{
    EACH_ROW(sparsemax_ref)
    for (int64_t j = 0; j < live_keys(a, r); j++)
        p[r * N + j] += 1e-17;
    return OK;
}

static status restless(const args *a) /* another answer every time */
{
    static int calls;
    calls++;
    EACH_ROW(sparsemax_ref)
    p[r * N] *= 1 + calls % 3 * 0x1p-52;
    return OK;
}

static status needs_stat(const args *a) /* another answer where stat is not wanted */
{
    EACH_ROW(sparsemax_ref)
    if (!a->out[1]) p[r * N] += 1e-9;
    return OK;
}

static status needs_beta(const args *a) /* another answer where beta is all ones, not given */
{
    EACH_ROW(sparsemax_ref)
    if (!a->in[1]) p[r * N] += 1e-9;
    return OK;
}

#define EACH_STAT                                                                                  \
    EACH_ROW(sparsemax_ref)                                                                        \
    if (a->out[1])

static status no_count(const args *a)
{
    EACH_STAT OUT(double, 1)[r * STATS + STAT_COUNT] = 0;
    (void)p, (void)N;
    return OK;
}

static status no_maximum(const args *a)
{
    EACH_STAT OUT(double, 1)[r * STATS + STAT_MAX] = 0;
    (void)p, (void)N;
    return OK;
}

static status last_maximum(const args *a) /* the highest index that attains it */
{
    const double *c = IN(double, 0);
    EACH_STAT
    {
        double *stat = OUT(double, 1) + r * STATS;
        for (int64_t j = 0; j < live_keys(a, r); j++)
            if (c[r * N + j] == stat[STAT_MAX] && stat[STAT_ARG] >= 0) stat[STAT_ARG] = (double)j;
    }
    (void)p;
    return OK;
}

static status norm_off(const args *a)
{
    EACH_STAT OUT(double, 1)[r * STATS + STAT_NORM] *= 1 + 1e-9;
    (void)p, (void)N;
    return OK;
}

static status answers_nothing(const args *a) /* no word about scratch */
{
    return a->need ? OK : sparsemax_ref(a);
}

static status computes_at_once(const args *a) /* where it is only asked for scratch */
{
    args now = *a;
    now.need = NULL;
    TRY(sparsemax_ref(&now));
    if (a->need) *a->need = 0;
    return OK;
}

static status writes_inputs(const args *a)
{
    EACH_ROW(sparsemax_ref)
    ((double *)(uintptr_t)a->in[0])[r * N] += 1;
    (void)p;
    return OK;
}

static status last_index(const args *a) /* top-k: the highest index among equals */
{
    const double *c = IN(double, 0);
    EACH_ROW(topk_uniform_ref)
    for (int64_t j = 0; j + 1 < live_keys(a, r); j++)
        if (p[r * N + j] > 0 && p[r * N + j + 1] == 0 && c[r * N + j] == c[r * N + j + 1]) {
            p[r * N + j + 1] = p[r * N + j];
            p[r * N + j] = 0;
        }
    return OK;
}

static status one_too_many(const args *a) /* top-k: k + 1 keys */
{
    EACH_ROW(topk_uniform_ref)
    {
        args more = *a;
        more.p.k++;
        more.d.R = 1;
        more.in[0] = IN(double, 0) + r * N;
        more.in[1] = a->in[1] ? IN(double, 1) + r : NULL;
        more.out[0] = p + r * N;
        more.out[1] = NULL;
        more.live = a->live ? a->live + r : NULL;
        TRY(topk_uniform_ref(&more));
    }
    return OK;
}

/* The laws that it breaks (twin where a row is right), and whether the comparison with the
 * reference sees it. */
static const struct defect {
    op_id of;
    op_fn *run;
    const char *name, *laws;
    int match;
} defects[] = {
    {OP_sparsemax, threshold_off, "threshold_off", "simplex far twin", 1},
    {OP_sparsemax, threshold_hidden, "threshold_hidden", "stat twin", 1},
    {OP_sparsemax, support_short, "support_short", "order permute twin", 1},
    {OP_sparsemax, unnormalised, "unnormalised", "simplex far twin", 1},
    {OP_sparsemax, not_a_number, "not_a_number", "rows simplex order permute far twin", 1},
    {OP_sparsemax, nan_repaired, "nan_repaired", "rows", 1},
    {OP_sparsemax, past_live, "past_live", "rows simplex tail far", 1},
    {OP_sparsemax, reads_past_live, "reads_past_live", "tail", 1},
    {OP_sparsemax, position_matters, "position_matters", "order permute twin", 1},
    {OP_sparsemax, level_matters, "level_matters", "shift", 1},
    {OP_sparsemax, wrong_order, "wrong_order", "order permute twin", 1},
    {OP_sparsemax, never_zero, "never_zero", "rows far twin", 1},
    {OP_sparsemax, restless, "restless", "repeat optional shift", 0},
    {OP_sparsemax, needs_stat, "needs_stat", "optional", 0},
    {OP_sparsemax, needs_beta, "needs_beta", "optional", 0},
    {OP_sparsemax, no_count, "no_count", "stat", 1},
    {OP_sparsemax, no_maximum, "no_maximum", "stat", 1},
    {OP_sparsemax, last_maximum, "last_maximum", "stat", 1},
    {OP_sparsemax, norm_off, "norm_off", "stat", 1},
    {OP_sparsemax, answers_nothing, "answers_nothing", "need", 0},
    {OP_sparsemax, computes_at_once, "computes_at_once", "need", 0},
    {OP_sparsemax, writes_inputs, "writes_inputs", "repeat", 0},
    {OP_topk_uniform, last_index, "last_index", "order selection twin", 1},
    {OP_topk_uniform, one_too_many, "one_too_many", "selection twin", 1},
};

impl tested(op_id id, const char *name, op_fn *run, const backend *where)
{
    return (impl){.op = id,
                  .name = name,
                  .idea = "",
                  .run = run,
                  .where = where,
                  .types = where == &ref_backend ? TYPE_BIT(F64) : FLOATS,
                  .transforms = ANY_TRANSFORM};
}

static char broken[256]; /* the laws that failed, each in blanks */

static int is_broken(const char *law)
{
    char word[32];
    snprintf(word, sizeof word, " %s ", law);
    return strstr(broken, word) != NULL;
}

static void law_counted(void *user, const char *law, double error, double tol, const spot *at)
{
    const size_t end = strlen(broken);
    (void)at;
    if (error <= tol) return;
    ++*(int *)user;
    if (!is_broken(law)) snprintf(broken + end, sizeof broken - end, " %s ", law);
}

int law_failures(const op *o, const impl *i, dtype type)
{
    int failures = 0;
    const dims d = {.R = ROWS, .N = KEYS};
    const params p = call_params(o);
    for (int f = 0; input_name(f); f++) {
        call *c;
        if (call_create(&c, o, i, &d, &p, type) != OK) return -1;
        if (inputs_fill(c, input_name(f), 0, 7) != OK ||
            laws_check(c, 7, law_counted, &failures) != OK)
            failures = -1000000;
        call_destroy(c);
    }
    return failures;
}

int match_failures(const op *o, const impl *i, dtype type, verdict least)
{
    int failures = 0, count = 0;
    match m[MAX_TENSORS];
    const dims d = {.R = ROWS, .N = KEYS};
    const params p = call_params(o);
    for (int f = 0; input_name(f); f++) {
        call *c;
        if (call_create(&c, o, i, &d, &p, type) != OK) return -1;
        if (inputs_fill(c, input_name(f), 0, 7) != OK || call_once(c) != OK ||
            match_call(c, m, &count) != OK)
            failures = -1000000;
        for (int k = 0; k < count; k++)
            failures += match_verdict(&m[k]) >= least;
        call_destroy(c);
    }
    return failures;
}

/* One defect in all rows, in all but the first, or in all but the last. */
static void expect_defect_seen(selftest *t, const struct defect *d, int but)
{
    const impl wrong = tested(d->of, "wrong", d->run, &ref_backend);
    char laws[80], *at = laws;
    broken[0] = '\0';
    wrong_from = but == 1;
    wrong_to = ROWS - (but == 2);
    law_failures(op_at(d->of), &wrong, F64);
    const int matches = match_failures(op_at(d->of), &wrong, F64, FAIL);
    strcpy(laws, d->laws);
    for (char *law; (law = strtok(at, " ")); at = NULL)
        if (but || strcmp(law, "twin") != 0) selftest_expect(t, is_broken(law), d->name, but, law);
    selftest_expect(t, d->match ? matches > 0 : matches == 0, d->name, but, "match");
    wrong_from = 0;
    wrong_to = ROWS;
}

void selftest_check_power(selftest *t)
{
    const impl good = tested(OP_sparsemax, "right", right, &ref_backend);
    EXPECT(law_failures(op_find("sparsemax"), &good, F64) == 0);
    EXPECT(match_failures(op_find("sparsemax"), &good, F64, MARGINAL) == 0);
    for (size_t i = 0; i < sizeof defects / sizeof *defects; i++)
        for (int but = 0; but < 3; but++)
            expect_defect_seen(t, &defects[i], but);
}

/* ---- laws of every operation ------------------------------------------------------------------
 */

static status wants_dbeta(const args *a) /* dc is another where dbeta is not wanted */
{
    TRY(sparsemax_grad_ref(a));
    if (!a->need && !a->out[1]) OUT(double, 0)[0] += 1;
    return OK;
}

static status refuses_less(const args *a)
{
    if (!a->need && !a->out[1]) return fail(ERR_ARG, "expected dbeta");
    return sparsemax_grad_ref(a);
}

static status writes_dbeta(const args *a) /* wanted or not */
{
    if (!a->need && !a->out[1]) raise(SIGSEGV);
    return sparsemax_grad_ref(a);
}

static int gradient_breaks(op_fn *f)
{
    const impl wrong = tested(OP_sparsemax_grad, "wrong", f, &ref_backend);
    broken[0] = '\0';
    return law_failures(op_at(OP_sparsemax_grad), &wrong, F64);
}

/* A crash says in which law, and ends the process as crashes do. */
static void expect_crash_told(selftest *t)
{
    int ends[2], how = 0;
    char said[200] = "";
    EXPECT(pipe(ends) == 0);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        omp_set_num_threads(1); /* the others did not come along */
        check_catch_crashes();
        gradient_breaks(writes_dbeta);
        _exit(0);
    }
    close(ends[1]);
    EXPECT(child > 0 && waitpid(child, &how, 0) == child && !(WIFEXITED(how) && !WEXITSTATUS(how)));
    EXPECT(read(ends[0], said, sizeof said - 1) > 0 && strstr(said, "in law optional"));
    close(ends[0]);
}

/* What a failed row says at the end, in one line. */
static void expect_fail_told(selftest *t)
{
    int ends[2];
    const int before = dup(STDERR_FILENO);
    char said[800] = "";
    variant v = {0};
    check k = {.at = {.op = op_at(OP_entmax), .impl = impl_reference(OP_entmax), .v = v, .n = 17}};
    match m = {
        .tensor = "simplex", .error = 0.5, .tol = 1e-15, .limit = 1e-15, .at = {3, 7, 1, 1.5}};
    k.at.alpha = 1.25, k.at.input = "ties", k.at.seed = 7;
    EXPECT(pipe(ends) == 0);
    dup2(ends[1], STDERR_FILENO);
    check_report(&k, "law", "entmax", &m);
    check_tell_fails(&k);
    dup2(before, STDERR_FILENO);
    close(before), close(ends[1]);
    EXPECT(read(ends[0], said, sizeof said - 1) > 0 && k.failed == 1);
    close(ends[0]);
    free(k.fails.text);
    EXPECT(
        strcmp(said,
               "FAIL: law simplex of entmax/ref: p >= 0, sum p = 1, 0 beyond live, a lone key "
               "weighs exactly 1: error 0.5, at most 1e-15, row 3, entry 7, expected 1, got 1.5; "
               "repeat: mosaic check what=law op=entmax impl=ref n=17 alpha=1.25 input=ties "
               "seed=7\n") == 0);
}

void selftest_call_laws(selftest *t)
{
    expect_fail_told(t);
    EXPECT(gradient_breaks(sparsemax_grad_ref) == 0);
    EXPECT(gradient_breaks(wants_dbeta) > 0 && is_broken("optional"));
    EXPECT(gradient_breaks(refuses_less) < 0);
    expect_crash_told(t);
    EXPECT(law_about("need") && !law_about("nothing"));
}

/* ---- theorems -------------------------------------------------------------------------------- */

/* A transform that is wrong in one key of the first call, or of every other; or in its statistics.
 */
static struct {
    op_fn *ref;
    int calls, first, last_key, nan, stat;
} lie;

static status lying(const args *a)
{
    TRY(lie.ref(a));
    if (a->need || (lie.calls++ == 0) != lie.first) return OK;
    const int64_t N = a->d.N;
    double *wrong =
        lie.stat ? OUT(double, 1) + STAT_NORM : OUT(double, 0) + (lie.last_key ? N - 1 : 0);
    *wrong = lie.nan ? NAN : *wrong + 1e-3;
    return OK;
}

static int lie_is_seen(const char *claim, op_id of)
{
    double error = 0, tol = 0;
    lie.ref = op_at(of)->ref;
    lie.calls = 0;
    return claim_error(claim, of, lying, &error, &tol) == OK && !(error <= tol);
}

/* Every theorem sees every lie about each of its transforms. */
void selftest_claims_power(selftest *t)
{
    static const struct {
        const char *claim;
        op_id of;
        int later; /* the first call is one key, which weighs 1 whatever is said about it */
    } rows[] = {
        {"compact_kernel", OP_entmax, 0},
        {"compact_kernel", OP_kernel_regression, 0},
        {"auto_norm", OP_entmax, 0},
        {"gaussian", OP_softmax, 0},
        {"gaussian", OP_kernel_regression, 0},
        {"fixed_kernel", OP_normrelu, 0},
        {"fixed_kernel", OP_kernel_regression, 0},
        {"anchored_kernel", OP_relumax, 0},
        {"anchored_kernel", OP_kernel_regression, 0},
        {"nearest_gaussian", OP_topk_softmax, 0},
        {"nearest_gaussian", OP_kernel_regression, 1},
        {"nearest_box", OP_topk_uniform, 0},
        {"nearest_box", OP_kernel_regression, 0},
        {"sparsemax", OP_sparsemax, 0},
        {"sparsemax", OP_entmax, 0},
        {"one_solution", OP_entmax, 0},
        {"to_softmax", OP_entmax, 0},
        {"to_softmax", OP_softmax, 0},
        {"all_selected", OP_topk_softmax, 0},
        {"all_selected", OP_softmax, 0},
        {"wide", OP_softmax, 0},
        {"wide", OP_sparsemax, 0},
        {"wide", OP_entmax, 0},
        {"wide", OP_relumax, 0},
        {"wide", OP_normrelu, 0},
        {"narrow", OP_softmax, 0},
        {"narrow", OP_sparsemax, 0},
        {"narrow", OP_entmax, 0},
        {"narrow", OP_relumax, 0},
        {"onset", OP_entmax, 0},
    };
    enum { COUNT = sizeof rows / sizeof *rows };
    for (int i = 0; claim_name(i); i++) {
        double error, tol;
        int asked = 0;
        EXPECT(claim_error(claim_name(i), OP_none, NULL, &error, &tol) == OK && error <= tol);
        for (int j = 0; j < COUNT; j++)
            asked += strcmp(rows[j].claim, claim_name(i)) == 0;
        selftest_expect(t, asked > 0, __FILE__, __LINE__, claim_name(i));
    }
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < 3; k++) { /* first; later, NaN in front; later, at the end */
            lie.first = k == 0 && !rows[i].later;
            lie.nan = k == 1;
            lie.last_key = k == 2;
            lie.stat = strcmp(rows[i].claim, "auto_norm") == 0; /* it asks nothing else */
            selftest_expect(t, lie_is_seen(rows[i].claim, rows[i].of), rows[i].claim, k,
                            op_name(rows[i].of));
        }
}

/* ---- wrong gradients --------------------------------------------------------------------------
 */

static status without_beta(const args *a) /* dc lacks the factor beta^2 */
{
    const double *beta = IN(double, 0);
    TRY(entmax_grad_ref(a));
    if (a->need) return OK;
    for (int64_t j = 0; j < a->d.R * a->d.N; j++)
        OUT(double, 0)[j] /= beta[j / a->d.N] * beta[j / a->d.N];
    return OK;
}

static status half_dbeta(const args *a)
{
    TRY(entmax_grad_ref(a));
    for (int64_t r = 0; !a->need && r < a->d.R; r++)
        OUT(double, 1)[r] *= 0.5;
    return OK;
}

static status signed_dalpha(const args *a)
{
    TRY(entmax_grad_ref(a));
    for (int64_t r = 0; !a->need && r < a->d.R; r++)
        OUT(double, 2)[r] *= -1;
    return OK;
}

static int difference_failures(op_fn *gradient)
{
    const impl i = tested(OP_entmax_grad, "wrong", gradient, &ref_backend);
    const op *o = op_find("entmax");
    const dims d = {.R = 6, .N = 9};
    const params p = call_params(o);
    int failures = 0;
    call *f = NULL, *g = NULL;
    if (call_create(&f, o, impl_reference(OP_entmax), &d, &p, F64) != OK ||
        call_create(&g, op_grad(o), &i, &d, &p, F64) != OK ||
        inputs_fill(f, "unit", 1.5, 7) != OK ||
        differences_check(f, g, 7, law_counted, &failures) != OK)
        failures = -1000000;
    call_destroy(f);
    call_destroy(g);
    return failures;
}

void selftest_grad_power(selftest *t)
{
    EXPECT(difference_failures(entmax_grad_ref) == 0);
    EXPECT(difference_failures(without_beta) == 1);
    EXPECT(difference_failures(half_dbeta) == 1);
    EXPECT(difference_failures(signed_dalpha) == 1);
}

/* A problem of more than 2^22 values repeats its rows; the comparison still sees every row. */
static status last_row(const args *a)
{
    TRY(softmax_ref(a));
    if (!a->need) OUT(double, 0)[(a->d.R - 1) * a->d.N] *= 1.001;
    return OK;
}

void selftest_check_large(selftest *t)
{
    const dims d = {.R = 1500, .N = 4096};
    const params p = params_default();
    const impl wrong = tested(OP_softmax, "wrong", last_row, &ref_backend);
    for (int bad = 0; bad < 2; bad++) {
        call *c;
        match m[MAX_TENSORS];
        int count = 0;
        EXPECT(call_create(&c, op_find("softmax"), bad ? &wrong : impl_reference(OP_softmax), &d,
                           &p, F64) == OK);
        if (!c) return;
        EXPECT(inputs_fill(c, "gauss", 1, 7) == OK);
        EXPECT(c->distinct == 1024);
        EXPECT(call_once(c) == OK && match_call(c, m, &count) == OK && count == 2);
        EXPECT((match_verdict(&m[0]) == PASS) == !bad);
        call_destroy(c);
    }
}

/* ---- the scale of the error of a gradient ------------------------------------------------------
 */

/* The gradient of some rule, whose dbeta is wrong by this factor. */
static struct {
    op_fn *ref;
    double factor;
} bent;

static status bent_dbeta(const args *a)
{
    TRY(bent.ref(a));
    for (int64_t r = 0; !a->need && a->out[1] && r < a->d.R; r++)
        OUT(double, 1)[r] *= bent.factor;
    return OK;
}

/* The verdict on dbeta of one row. */
static verdict dbeta_verdict(const op *o, const char *family, int64_t n, double factor)
{
    const impl wrong = tested(o->id, "bent", bent_dbeta, &ref_backend);
    const dims d = {.R = 1, .N = n};
    const params p = call_params(o);
    match m[MAX_TENSORS] = {0};
    int count = 0;
    call *c = NULL;
    bent.ref = o->ref;
    bent.factor = factor;
    /* where more than one key has weight */
    const double beta = o->id == OP_normrelu_grad ? 0.6 : strcmp(family, "unit") == 0 ? 2 : 0.5;
    m[1].error = INFINITY;
    if (call_create(&c, o, &wrong, &d, &p, F64) == OK && inputs_fill(c, family, beta, 7) == OK &&
        call_once(c) == OK)
        match_call(c, m, &count);
    call_destroy(c);
    return match_verdict(&m[1]);
}

/* However long a row is, a gradient that is right passes and one that is 0 is seen, whatever the
 * row numbers of its transform are; measured as of a rule of its own, so is one that is wrong by a
 * hundredth. */
void selftest_gradient_scale(selftest *t)
{
    static const char *const families[] = {"unit", "scores"};
    static const int64_t lengths[] = {33, 1000, 10000, 100000};
    for (int i = 0; transform_at(i) != OP_none; i++) {
        op o = *op_grad(op_at(transform_at(i)));
        if (o.kind == UNIFORM) continue; /* its gradient is 0 */
        for (int own = 0; own < 2; own++) {
            if (own) o.kind = OTHER_RULE;
            for (int j = 0; j < 8; j++) {
                const char *family = families[j % 2];
                const int64_t n = lengths[j / 2];
                /* normalised ReLU of wide scores has no bandwidth left to answer to */
                if (strcmp(o.name, "normrelu_grad") == 0 && j % 2) continue;
                selftest_expect(t, dbeta_verdict(&o, family, n, 1) == PASS, o.name, (int)n, family);
                selftest_expect(t, dbeta_verdict(&o, family, n, 0) == FAIL, o.name, (int)n, family);
                if (own)
                    selftest_expect(t, dbeta_verdict(&o, family, n, 1.01) == FAIL, o.name, (int)n,
                                    family);
            }
        }
    }
}
