/* SPDX-License-Identifier: MIT
 *
 * check_grad.c — verb check: reference gradients against central differences.
 *
 * For a forward Y(X, alpha) and its gradient row dX(..., dY), every coordinate x of every X:
 *
 *     dX_x  =  sum over outputs of <dY, Y(x + h) - Y(x - h)> / 2h
 *
 * in double; tensors are matched by name. A coordinate is left out where a weight appears or
 * vanishes, or another key becomes the largest, between x - h and x + h: there is a kink. If that
 * is most of them the check fails. Errors are relative to the norm of a row (of the tensor, for the
 * stages), or to the step's own rounding where the gradient vanishes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "op/inputs.h"
#include "laws.h"

/* The forward, and its outputs at x - h and at x. */
typedef struct slope {
    call *f;
    const call *g;
    double *below[MAX_TENSORS], *here[MAX_TENSORS];
    int64_t tried, smooth;
} slope;

static void keep(const call *f, double *const *to)
{
    for (int i = 0; i < f->sig.outputs; i++)
        memcpy(to[i], f->out[i], (size_t)f->out_count[i] * sizeof(double));
}

/* Did the support, or the largest key, stay the same from `below` to the outputs of f? What shows
 * no weights shows at least how many there are. */
static int same_pattern(const slope *s, double *const *other)
{
    const int p = signature_out(&s->f->sig, "p"), stat = signature_out(&s->f->sig, "stat");
    const double *weight = p < 0 ? NULL : s->f->out[p];
    const double *row = stat < 0 ? NULL : s->f->out[stat];
    for (int64_t j = 0; weight && j < s->f->out_count[p]; j++)
        if ((weight[j] > 0) != (other[p][j] > 0)) return 0;
    for (int64_t j = 0; row && j < s->f->out_count[stat]; j += STATS)
        if (row[j + STAT_ARG] != other[stat][j + STAT_ARG] ||
            row[j + STAT_COUNT] != other[stat][j + STAT_COUNT])
            return 0;
    return 1;
}

/* <dY, Y(x+h) - Y(x-h)> over all outputs, or over row r of the weights (r >= 0). */
static double change(const slope *s, int64_t r)
{
    double sum = 0;
    for (int i = 0; i < s->f->sig.outputs; i++) {
        char name[20];
        snprintf(name, sizeof name, "d%s", s->f->sig.out[i].name);
        const double *dy = call_in(s->g, name), *y = s->f->out[i];
        const int64_t first = r < 0 ? 0 : r * s->f->a.d.N;
        const int64_t end = r < 0 ? s->f->out_count[i] : first + s->f->a.d.N;
        for (int64_t j = first; dy && j < end; j++)
            sum += dy[j] * (y[j] - s->below[i][j]);
    }
    return sum;
}

/* The quotient at *x with step h; *smooth is 0 at a kink. NaN is never one. */
static status difference_quotient(slope *s, double *x, double h, double *value, int *smooth)
{
    const double at = *x, up = at + h, down = at - h;
    *x = down;
    status t = call_once(s->f);
    if (t == OK) keep(s->f, s->below);
    *x = up;
    if (t == OK) t = call_once(s->f);
    *x = at;
    TRY(t);
    *value = change(s, -1) / (up - down);
    *smooth = isnan(*value) || (same_pattern(s, s->below) && same_pattern(s, s->here));
    s->tried++;
    s->smooth += *smooth;
    return OK;
}

/* Scores act through slopes up to beta^4: a step that moves the weights by about 1e-5. */
static double step_of(const slope *s, const char *name, int64_t i, int64_t per_row)
{
    const double *beta = call_in(s->f, "beta");
    if (!op_is_transform(s->f->op)) return 1e-5;
    return 1e-5 / fmax(1, pow(beta[i / per_row], strcmp(name, "beta") == 0 ? 3 : 4));
}

/* Compare dX with the quotients, row by row or as one tensor. */
static status check_tensor(slope *s, int input, const double *dx, double *error, spot *where)
{
    const tensor *t = &s->f->sig.in[input];
    double *x = s->f->in[input];
    const int64_t count = s->f->in_count[input];
    const int64_t per_row = op_is_transform(s->f->op) ? count / s->f->a.d.R : count;
    for (int64_t first = 0; first < count; first += per_row) {
        double difference = 0, norm = 0, largest = 0;
        spot at = NO_SPOT;
        const double h = step_of(s, t->name, first, per_row);
        for (int64_t i = first; i < first + per_row; i++) {
            double q;
            int smooth;
            TRY(difference_quotient(s, x + i, h, &q, &smooth));
            if (!smooth && !isnan(dx[i])) continue;
            const int64_t row = op_is_transform(s->f->op) ? first / per_row : -1;
            worst_at(&largest, &at, fabs(dx[i] - q), (spot){row, i - first, q, dx[i]});
            difference += (dx[i] - q) * (dx[i] - q);
            norm += q * q;
        }
        /* rounding of the quotient: u |dY| / h, here a hundredth of what passes */
        worst_at(error, where, sqrt(difference) / fmax(sqrt(norm), 1e-8 / h), at);
    }
    return OK;
}

/* d/dalpha, by row. */
static status check_alpha(slope *s, const double *dalpha, double *error, spot *where)
{
    const double alpha = s->f->a.p.alpha, h = 1e-5 * (alpha - 1) * (alpha - 1);
    s->f->a.p.alpha = alpha - h;
    TRY(call_once(s->f));
    keep(s->f, s->below);
    s->f->a.p.alpha = alpha + h;
    TRY(call_once(s->f));
    s->f->a.p.alpha = alpha;
    for (int64_t r = 0; r < s->f->a.d.R; r++) {
        const double q = change(s, r) / (2 * h);
        const double *p = call_out(s->f, "p"), *now = p + r * s->f->a.d.N;
        int same = 1;
        for (int64_t j = 0; j < s->f->a.d.N; j++)
            same &= (now[j] > 0) == (s->below[0][r * s->f->a.d.N + j] > 0);
        s->tried++;
        s->smooth += same;
        if (same || isnan(q) || isnan(dalpha[r]))
            worst_at(error, where, fabs(dalpha[r] - q) / fmax(fabs(q), 1e-8 / h),
                     (spot){r, -1, q, dalpha[r]});
    }
    return OK;
}

static status check_outputs(slope *s, law_row *emit, void *user)
{
    for (int i = 0; i < s->g->sig.outputs; i++) {
        const char *name = s->g->sig.out[i].name; /* dX */
        const int input = signature_in(&s->f->sig, name + 1);
        double error = 0;
        spot at = NO_SPOT;
        s->tried = s->smooth = 0;
        if (input >= 0)
            TRY(check_tensor(s, input, s->g->out[i], &error, &at));
        else
            TRY(check_alpha(s, s->g->out[i], &error, &at));
        emit(user, name, 2 * s->smooth < s->tried ? INFINITY : error, 1e-6, &at);
    }
    return OK;
}

status differences_check(call *f, call *g, uint64_t seed, law_row *emit, void *user)
{
    slope s = {.f = f, .g = g};
    status t = call_once(f);
    inputs_from(g, f, seed);
    if (t == OK) t = call_once(g);
    for (int i = 0; t == OK && i < f->sig.outputs; i++) {
        s.below[i] = malloc((size_t)f->out_count[i] * sizeof(double));
        s.here[i] = malloc((size_t)f->out_count[i] * sizeof(double));
        if (!s.below[i] || !s.here[i]) t = fail(ERR_MEMORY, "grad: no memory");
    }
    if (t == OK) keep(f, s.here);
    if (t == OK) t = check_outputs(&s, emit, user);
    for (int i = 0; i < MAX_TENSORS; i++) {
        free(s.below[i]);
        free(s.here[i]);
    }
    return t;
}

/* Inputs at which the operation is smooth: cosines, moderate bandwidths. */
static status smooth_inputs(call *f, uint64_t seed)
{
    static const double betas[] = {0.5, 1, 1.5, 2, 2.718281828459045, 4};
    double *beta = call_in(f, "beta");
    TRY(inputs_fill(f, op_is_transform(f->op) ? "unit" : "gauss", 0, seed));
    for (int64_t r = 0; op_is_transform(f->op) && r < f->a.d.R; r++)
        beta[r] = betas[r % 6];
    return OK;
}

static void difference_reported(void *user, const char *name, double error, double tol,
                                const spot *at)
{
    const check *k = user;
    match m = {.error = error, .tol = tol, .limit = tol, .at = *at};
    snprintf(m.tensor, sizeof m.tensor, "%s", name);
    check_report(user, "grad", op_grad(k->at.op)->name, &m);
}

status check_grad(check *k)
{
    const op *grad = op_grad(k->at.op);
    dims d = call_dims(k->at.op, k->at.n, 1);
    call *f = NULL, *g = NULL;
    d.B = d.H = 2;
    if (strstr(k->at.op->signature, ":BTHD")) d.D = 3;
    if (strstr(k->at.op->signature, ":HMD")) d.T = 3;
    if (strstr(k->at.op->signature, ":VC")) d.V = 5;
    d.R = 6;
    k->at.input = NULL;
    status t = call_create(&f, k->at.op, k->at.impl, &d, &k->at.v.p, F64);
    if (t == OK) t = call_create(&g, grad, impl_reference(grad->id), &d, &k->at.v.p, F64);
    if (t == OK) f->a.transform = g->a.transform = k->at.v.transform;
    if (t == OK) t = smooth_inputs(f, k->at.seed);
    if (t == OK) t = differences_check(f, g, k->at.seed, difference_reported, k);
    call_destroy(f);
    call_destroy(g);
    return t;
}
