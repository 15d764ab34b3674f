/* SPDX-License-Identifier: MIT
 *
 * claims.c — verb check: the paper's theorems (claims.def), on cosines of random unit keys.
 *
 * For unit keys |u_j|^2 = 2 (1 - c_j), u the difference of key and query; the kernel side is
 * reference/kernel_regression.c, which shares no code with the transforms. Source: model 1.3 to
 * 1.6, 1.11.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "claims.h"
#include "op/one_row.h"
#include "order.h"
#include "rng.h"

enum { LONGEST = 4096, WIDTH = 16 };

/* One row, and two answers to compare. */
typedef struct claim {
    int64_t n;
    double beta;
    params p;
    double c[LONGEST], left[LONGEST], right[LONGEST];
    double stat[STATS];
    double error;
    op_id replaced; /* computed by `by`, for the tests of the claims */
    op_fn *by;
} claim;

static const int64_t lengths[] = {1, 2, 17, 512, 4096};
static const double alphas[] = {1.05, 1.25, 1.3, 4.0 / 3, 1.5, 1.8, 2};
static const double betas[] = {0.5, 1, 2.718281828459045, 10, 100};

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static op_fn *transform_of(const claim *q, op_id id)
{
    return id == q->replaced ? q->by : op_at(id)->ref;
}

static status weigh_row(claim *q, op_id id, double *p)
{
    return row_weights(transform_of(q, id), &q->p, q->beta, q->c, q->n, p, q->stat);
}

/* Kernel regression with bandwidth h and exponent r, into right. */
static status regress(claim *q, double h, double r)
{
    params p = q->p;
    p.exponent = r;
    return row_weights(transform_of(q, OP_kernel_regression), &p, h, q->c, q->n, q->right, NULL);
}

static double square_distance(double c)
{
    return 2 * (1 - c);
}

static void compare_sides(claim *q)
{
    q->error = worse(q->error, farthest(q->left, q->right, q->n));
}

/* A row of cosines of n keys with one query. */
static void cosines(claim *q, uint64_t seed)
{
    double query[WIDTH], other[WIDTH];
    rng r = rng_sample(seed, 4, 0, (uint64_t)q->n);
    for (int64_t j = -1; j < q->n; j++) {
        double norm = 0, dot = 0;
        for (int i = 0; i < WIDTH; i++) {
            other[i] = rng_normal(&r);
            norm += other[i] * other[i];
        }
        for (int i = 0; i < WIDTH; i++) {
            if (j < 0) query[i] = other[i] / sqrt(norm);
            dot += query[i] * other[i] / sqrt(norm);
        }
        if (j >= 0) q->c[j] = dot;
    }
}

/* Run `one` on every length and beta. */
static status each_row(claim *q, status (*one)(claim *q))
{
    for (int i = 0; i < COUNT(lengths); i++)
        for (int b = 0; b < COUNT(betas); b++) {
            q->n = lengths[i];
            q->beta = betas[b];
            cosines(q, 7 + (uint64_t)b);
            TRY(one(q));
        }
    return OK;
}

static status each_alpha(claim *q, status (*one)(claim *q))
{
    for (int i = 0; i < COUNT(alphas); i++) {
        q->p.alpha = alphas[i];
        TRY(each_row(q, one));
    }
    return OK;
}

static double adaptive_square(const claim *q)
{
    return square_distance(q->stat[STAT_MAX]) +
           2 / (q->p.alpha - 1) * q->stat[STAT_NORM] / (q->beta * q->beta);
}

static status one_compact(claim *q)
{
    TRY(weigh_row(q, OP_entmax, q->left));
    TRY(regress(q, sqrt(adaptive_square(q)), 1 / (q->p.alpha - 1)));
    compare_sides(q);
    return OK;
}

static status claim_compact_kernel(claim *q)
{
    return each_alpha(q, one_compact);
}

static status one_auto(claim *q)
{
    const double r = 1 / (q->p.alpha - 1);
    TRY(weigh_row(q, OP_entmax, q->left));
    const double h2 = adaptive_square(q), want = pow(2 * r / (q->beta * q->beta * h2), r);
    double sum = 0;
    for (int64_t j = 0; j < q->n; j++)
        sum += square_distance(q->c[j]) < h2 ? pow(1 - square_distance(q->c[j]) / h2, r) : 0;
    /* both sides are powers of 1 - |u|^2/h^2, whose rounding r and a small base amplify */
    const double amplified = 1 + r * h2 * q->beta * q->beta / (2 * r * q->stat[STAT_NORM]);
    q->error = worse(q->error, fabs(sum / want - 1) / amplified);
    return OK;
}

static status claim_auto_norm(claim *q)
{
    return each_alpha(q, one_auto);
}

static status one_gaussian(claim *q)
{
    TRY(weigh_row(q, OP_softmax, q->left));
    TRY(regress(q, 1 / q->beta, INFINITY));
    compare_sides(q);
    return OK;
}

static status claim_gaussian(claim *q)
{
    return each_row(q, one_gaussian);
}

static status one_fixed(claim *q)
{
    const double b2 = q->beta * q->beta, rest = 1 - 1 / b2;
    const double h2 = q->p.form == NORMRELU_PAPER         ? 1 / b2
                      : q->p.form == NORMRELU_CODE_MATRIX ? 1 + rest * rest
                                                          : 2;
    TRY(weigh_row(q, OP_normrelu, q->left));
    TRY(regress(q, sqrt(h2), 1));
    compare_sides(q);
    return OK;
}

static status claim_fixed_kernel(claim *q)
{
    for (int form = NORMRELU_PAPER; form <= NORMRELU_CODE_EFT; form++) {
        q->p.form = (normrelu_form)form;
        TRY(each_row(q, one_fixed));
    }
    return OK;
}

static status one_anchored(claim *q)
{
    TRY(weigh_row(q, OP_relumax, q->left));
    const double margin = 2 * q->p.relumax_b / pow(q->beta, q->p.relumax_power);
    TRY(regress(q, sqrt(square_distance(q->stat[STAT_MAX]) + margin), 1));
    compare_sides(q);
    return OK;
}

static status claim_anchored_kernel(claim *q)
{
    for (int i = 0; i < 4; i++) {
        q->p.relumax_power = i % 2 ? 4 : 2;
        q->p.relumax_b = i / 2 ? 0.5 : 1;
        TRY(each_row(q, one_anchored));
    }
    return OK;
}

/* The k-th largest cosine (1-based). */
static double kth(claim *q, int64_t k)
{
    memcpy(q->right, q->c, (size_t)q->n * sizeof *q->c);
    qsort(q->right, (size_t)q->n, sizeof *q->right, descending);
    return q->right[k - 1];
}

static status one_nearest_gaussian(claim *q)
{
    const double last = kth(q, q->p.k < q->n ? q->p.k : q->n);
    double sum = 0;
    TRY(weigh_row(q, OP_topk_softmax, q->left));
    TRY(regress(q, 1 / q->beta, INFINITY));
    for (int64_t j = 0; j < q->n; j++) {
        if (q->c[j] < last) q->right[j] = 0;
        sum += q->right[j];
    }
    for (int64_t j = 0; j < q->n; j++)
        q->right[j] /= sum;
    compare_sides(q);
    return OK;
}

static status each_k(claim *q, status (*one)(claim *q))
{
    static const int64_t tops[] = {1, 4, 16, 5000};
    for (int i = 0; i < COUNT(tops); i++) {
        q->p.k = tops[i];
        TRY(each_row(q, one));
    }
    return OK;
}

static status claim_nearest_gaussian(claim *q)
{
    return each_k(q, one_nearest_gaussian);
}

static status one_nearest_box(claim *q)
{
    const int64_t k = q->p.k < q->n ? q->p.k : q->n;
    const double radius = square_distance(kth(q, k)),
                 next = k < q->n ? square_distance(kth(q, k + 1)) : radius + 1;
    TRY(weigh_row(q, OP_topk_uniform, q->left));
    TRY(regress(q, sqrt((radius + next) / 2), 0));
    compare_sides(q);
    return OK;
}

static status claim_nearest_box(claim *q)
{
    return each_k(q, one_nearest_box);
}

static status one_sparsemax(claim *q)
{
    q->p.alpha = 2;
    TRY(weigh_row(q, OP_sparsemax, q->left));
    TRY(weigh_row(q, OP_entmax, q->right));
    compare_sides(q);
    return OK;
}

static status claim_sparsemax(claim *q)
{
    return each_row(q, one_sparsemax);
}

static status one_solver(claim *q)
{
    q->p.solver = SOLVER_AUTO;
    TRY(weigh_row(q, OP_entmax, q->left));
    for (int s = SOLVER_SORT; s <= SOLVER_ORDER; s++) {
        if (s == SOLVER_ORDER && q->p.alpha < 2) continue;
        q->p.solver = (entmax_solver)s;
        TRY(weigh_row(q, OP_entmax, q->right));
        compare_sides(q);
    }
    return OK;
}

static status claim_one_solution(claim *q)
{
    return each_alpha(q, one_solver);
}

/* |entmax - softmax|_1 at alpha = 1 + 2e-5 over ten times that at 1 + 2e-6 is 1. */
static status one_limit(claim *q)
{
    double l1[2] = {0, 0};
    TRY(weigh_row(q, OP_softmax, q->right));
    for (int i = 0; i < 2; i++) {
        q->p.alpha = 1 + (i ? 2e-6 : 2e-5);
        TRY(weigh_row(q, OP_entmax, q->left));
        for (int64_t j = 0; j < q->n; j++)
            l1[i] += fabs(q->left[j] - q->right[j]);
    }
    if (l1[0] < 1e-9) return OK; /* one key, or one that has it all */
    q->error = worse(q->error, fabs(l1[0] / (10 * l1[1]) - 1));
    return OK;
}

static status claim_to_softmax(claim *q)
{
    return each_row(q, one_limit);
}

static status one_all(claim *q)
{
    q->p.k = q->n;
    TRY(weigh_row(q, OP_softmax, q->left));
    TRY(weigh_row(q, OP_topk_softmax, q->right));
    compare_sides(q);
    return OK;
}

static status claim_all_selected(claim *q)
{
    return each_row(q, one_all);
}

static const op_id smooth[] = {OP_softmax, OP_sparsemax, OP_entmax, OP_relumax};

/* n p_j against 1 */
static status claim_wide(claim *q)
{
    for (int i = 0; i < COUNT(lengths); i++)
        for (int f = 0; f < COUNT(smooth) + 2; f++) {
            q->n = lengths[i];
            q->beta = 1e-5;
            q->p.form = f == COUNT(smooth) ? NORMRELU_PAPER : NORMRELU_CODE_MATRIX;
            cosines(q, 7);
            TRY(weigh_row(q, f < COUNT(smooth) ? smooth[f] : OP_normrelu, q->left));
            for (int64_t j = 0; j < q->n; j++) {
                q->left[j] *= (double)q->n;
                q->right[j] = 1;
            }
            compare_sides(q);
        }
    return OK;
}

static status claim_narrow(claim *q)
{
    for (int i = 0; i < COUNT(lengths); i++)
        for (int f = 0; f < COUNT(smooth); f++) {
            const int64_t ties =
                (lengths[i] + 99) / 100; /* every hundredth key, above the others */
            q->n = lengths[i];
            q->beta = 1e4;
            cosines(q, 7);
            for (int64_t j = 0; j < q->n; j++) {
                q->right[j] = j % 100 == 0 ? 1.0 / (double)ties : 0;
                if (j % 100 == 0) q->c[j] = 1.5;
            }
            TRY(weigh_row(q, smooth[f], q->left));
            compare_sides(q);
        }
    return OK;
}

static status claim_onset(claim *q)
{
    q->n = 3;
    q->beta = 1;
    for (int i = 0; i < COUNT(alphas); i++)
        for (int above = 0; above < 2; above++) {
            q->p.alpha = alphas[i];
            q->c[1] = 0;
            q->c[0] = -1 / (alphas[i] - 1) * (above ? 1 + 1e-9 : 1 - 1e-3);
            q->c[2] = q->c[0] - 1;
            TRY(weigh_row(q, OP_entmax, q->left));
            const double *p = q->left, sum = p[0] + p[1] + p[2];
            const int one_hot = p[1] == 1 && p[0] == 0 && p[2] == 0;
            /* near alpha = 1 the second weight is too small to be seen in the first */
            const int visible = pow(1e-3, 1 / (alphas[i] - 1)) > 1e-15;
            const int two = p[0] >= 0 && p[2] == 0 && fabs(sum - 1) <= 1e-15;
            if (!(above ? one_hot : two && !(visible && one_hot))) q->error = INFINITY;
        }
    return OK;
}

static const struct row {
    const char *name;
    double tol;
    status (*check)(claim *q);
    const char *about;
} rows[] = {
#define CLAIM(name, tol, about) {#name, tol, claim_##name, about},
#include "claims.def"
#undef CLAIM
};

const char *claim_name(int i)
{
    return i < COUNT(rows) ? rows[i].name : NULL;
}

const char *claim_about(const char *name)
{
    for (int i = 0; i < COUNT(rows); i++)
        if (strcmp(rows[i].name, name) == 0) return rows[i].about;
    return NULL;
}

status claim_error(const char *name, op_id replaced, op_fn *by, double *error, double *tol)
{
    int i = 0;
    while (i < COUNT(rows) && strcmp(rows[i].name, name) != 0)
        i++;
    if (i == COUNT(rows)) return fail(ERR_ARG, "claim: \"%s\": expected a row of claims.def", name);
    claim *q = calloc(1, sizeof *q);
    if (!q) return fail(ERR_MEMORY, "claim: no memory");
    q->p = params_default();
    q->replaced = replaced;
    q->by = by;
    const status s = rows[i].check(q);
    *error = q->error;
    *tol = rows[i].tol;
    free(q);
    return s;
}

status check_claim(check *k, const char *name)
{
    match m = {.at = NO_SPOT};
    TRY(claim_error(name, OP_none, NULL, &m.error, &m.tol));
    m.limit = m.tol;
    snprintf(m.tensor, sizeof m.tensor, "%s", name);
    check_report(k, "claim", name, &m);
    return OK;
}
