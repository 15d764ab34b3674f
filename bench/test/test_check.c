/* SPDX-License-Identifier: MIT
 *
 * test_check.c — the checks can fail. Wrong transforms and gradients go through the laws, the
 * comparison with the reference and the differences, and each must be caught by those that claim to
 * see it; the right ones must pass.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/inputs.h"
#include "check/laws.h"
#include "selftest.h"
#include "test_check.h"

enum { ROWS = 16, KEYS = 33 };

/* ---- wrong transforms: the reference, then the defect --------------------------------------- */

static int64_t live_of(const args *a, int64_t r)
{
    return a->live ? a->live[r] : a->d.N;
}

/* The live key of row r with the smallest (sign < 0) or largest positive weight; -1 if none. */
static int64_t key_of(const args *a, int64_t r, int sign)
{
    const double *p = OUT(double, 0) + r * a->d.N;
    int64_t best = -1;
    for (int64_t j = 0; j < live_of(a, r); j++)
        if (p[j] > 0 && (best < 0 || sign * (p[j] - p[best]) > 0)) best = j;
    return best;
}

static void divide_by_sum(const args *a, int64_t r)
{
    double *p = OUT(double, 0) + r * a->d.N, sum = 0;
    for (int64_t j = 0; j < live_of(a, r); j++)
        sum += p[j];
    for (int64_t j = 0; j < live_of(a, r) && sum > 0; j++)
        p[j] /= sum;
}

#define EACH_ROW(f)                                                                                \
    TRY(f(a));                                                                                     \
    if (a->need) return OK;                                                                        \
    double *p = OUT(double, 0);                                                                    \
    const int64_t N = a->d.N;                                                                      \
    for (int64_t r = 0; r < a->d.R; r++)

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
    if (r == a->d.R - 1) p[r * N] = NAN;
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
    if (live_of(a, r) < N) p[r * N + N - 1] = 1e-30;
    return OK;
}

static status reads_past_live(const args *a)
{
    const double *c = IN(double, 0);
    EACH_ROW(sparsemax_ref)
    if (live_of(a, r) < N && !(c[r * N + N - 1] < INFINITY)) p[r * N] *= 1.01;
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
    for (int64_t j = 0; j < live_of(a, r); j++)
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
    for (int64_t j = 0; j + 1 < live_of(a, r); j++)
        if (p[r * N + j] > 0 && p[r * N + j + 1] == 0 && c[r * N + j] == c[r * N + j + 1]) {
            p[r * N + j + 1] = p[r * N + j];
            p[r * N + j] = 0;
        }
    return OK;
}

static status one_too_many(const args *a) /* top-k: k + 1 keys */
{
    args more = *a;
    more.p.k++;
    return topk_uniform_ref(&more);
}

/* What sees it: L the laws, M the comparison with the reference. */
static const struct defect {
    op_id of;
    op_fn *run;
    const char *seen;
} defects[] = {
    {OP_sparsemax, threshold_off, "LM"},    {OP_sparsemax, threshold_hidden, "M"},
    {OP_sparsemax, support_short, "LM"},    {OP_sparsemax, unnormalised, "LM"},
    {OP_sparsemax, not_a_number, "LM"},     {OP_sparsemax, nan_repaired, "LM"},
    {OP_sparsemax, past_live, "LM"},        {OP_sparsemax, reads_past_live, "LM"},
    {OP_sparsemax, position_matters, "LM"}, {OP_sparsemax, level_matters, "LM"},
    {OP_sparsemax, wrong_order, "LM"},      {OP_sparsemax, never_zero, "LM"},
    {OP_sparsemax, restless, "L"},          {OP_sparsemax, writes_inputs, "L"},
    {OP_topk_uniform, last_index, "LM"},    {OP_topk_uniform, one_too_many, "LM"},
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

static void law_counted(void *user, const char *law, double error, double tol)
{
    (void)law;
    *(int *)user += !(error <= tol);
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

void selftest_check_power(selftest *t)
{
    const impl good = tested(OP_sparsemax, "right", right, &ref_backend);
    EXPECT(law_failures(op_find("sparsemax"), &good, F64) == 0);
    EXPECT(match_failures(op_find("sparsemax"), &good, F64, MARGINAL) == 0);
    for (size_t i = 0; i < sizeof defects / sizeof *defects; i++) {
        const struct defect *d = &defects[i];
        const impl wrong = tested(d->of, "wrong", d->run, &ref_backend);
        const int laws = law_failures(op_at(d->of), &wrong, F64);
        const int matches = match_failures(op_at(d->of), &wrong, F64, FAIL);
        selftest_expect(t, strchr(d->seen, 'L') ? laws > 0 : laws == 0, __FILE__, (int)i, "laws");
        selftest_expect(t, strchr(d->seen, 'M') ? matches > 0 : matches == 0, __FILE__, (int)i,
                        "match");
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
