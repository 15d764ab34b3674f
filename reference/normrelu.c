/* SPDX-License-Identifier: MIT
 *
 * normrelu — normalised ReLU: the Epanechnikov kernel of fixed bandwidth on unit-norm keys.
 *
 *     p_j = a_j / S,   a_j = [A c_j + b]_+,   S = sum_j a_j
 *     paper         A = 2 beta^2   b = 1 - 2 beta^2   h^2 = 1/beta^2, h = 1/beta
 *     code_matrix   A = 2 beta^4   b = 1 - 2 beta^2   h^2 = 1 + (1 - 1/beta^2)^2
 *     code_eft      A = 1          b = 0              h^2 = 2; beta has no effect
 *     affine        A = slope      b = offset         beta has no effect
 *     da_j = 1[a_j > 0] (G_j - sum_i p_i G_i) / S,   dc_j = A da_j,
 *     dbeta = sum_j da_j (c_j A' + b'),   A' = dA/dbeta, b' = db/dbeta
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = S.
 * A row with S = 0 follows params.empty: uniform over its keys, all zero, or one at the largest
 * score; its gradients are zero. Masked keys do not exist (the published code lets them leak).
 * Method: a = 1 - beta^2 |u|^2 keeps the bits that A c + b would cancel; the backward reads
 * c_j A' + b' off a_j = S p_j: (2/beta)(a_j - 1) in the paper form, (4/beta)(a_j - 1) + 4 beta in
 * code_matrix. Where the sum is too large for a number, activations are scaled by a power of two
 * first, and STAT_NORM is LARGEST_SUM: gradients to scores are nearly 0 there, and the rest depends
 * on p. Source: model 1.4.
 */
#include "row.h"

static double activation(const params *p, double b2, double c)
{
    double a = 0;
    if (!(c > -INFINITY)) return 0;
    switch (p->form) {
    case NORMRELU_PAPER:
        a = 1 - 2 * b2 * (1 - c);
        break;
    case NORMRELU_CODE_MATRIX:
        a = 1 - 2 * b2 * (1 - b2 * c);
        break;
    case NORMRELU_CODE_EFT:
        a = c;
        break;
    case NORMRELU_AFFINE:
        a = p->slope * c + p->offset;
        break;
    }
    return a > 0 ? a : 0;
}

#define LARGEST_SUM 0x1p960

/* A number m 2^e with 1/2 <= |m| < 1, or 0. */
typedef struct scaled {
    double m;
    int e;
} scaled;

static scaled scaled_product(double x, double y)
{
    int ex, ey, e;
    const double m = frexp(frexp(x, &ex) * frexp(y, &ey), &e);
    return (scaled){m, e + ex + ey};
}

/* [A c + b]_+ of the row over the power of two that is next to the largest |A c| or |b|. */
static void scaled_activations(const params *p, double b2, const double *c, const row *x, double *a)
{
    const int affine = p->form == NORMRELU_AFFINE, eft = p->form == NORMRELU_CODE_EFT;
    const double b = affine ? p->offset : eft ? 0 : 1 - 2 * b2;
    const scaled A = affine ? scaled_product(p->slope, 1)
                     : eft  ? scaled_product(1, 1)
                            : scaled_product(2 * b2, p->form == NORMRELU_PAPER ? 1 : b2);
    int most;
    frexp(b, &most);
    for (int64_t j = 0; j < x->n; j++) {
        const scaled s = scaled_product(A.m, c[j] > -INFINITY ? c[j] : 0);
        if (s.m != 0 && s.e + A.e > most) most = s.e + A.e;
    }
    for (int64_t j = 0; j < x->n; j++) {
        const scaled s = scaled_product(A.m, c[j] > -INFINITY ? c[j] : 0);
        a[j] = ldexp(s.m, s.e + A.e - most) + ldexp(b, -most);
        if (!(c[j] > -INFINITY && a[j] > 0)) a[j] = 0;
    }
}

static int64_t fill_empty(empty_rule rule, const double *c, const row *x, double *p)
{
    const int64_t count = rule == EMPTY_UNIFORM ? x->keys : rule == EMPTY_ARGMAX;
    for (int64_t j = 0; j < x->n; j++)
        if (rule == EMPTY_UNIFORM)
            p[j] = c[j] > -INFINITY ? 1.0 / (double)x->keys : 0;
        else
            p[j] = rule == EMPTY_ARGMAX && j == x->arg;
    return count;
}

status normrelu_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("normrelu", a, beta, 4));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, b2 = row_beta(beta, r) * row_beta(beta, r);
        double *pr = p + r * N, S = 0;
        int64_t count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        for (int64_t j = 0; j < x.n; j++)
            S += pr[j] = activation(&a->p, b2, cr[j]);
        const int vast = !(S <= LARGEST_SUM);
        if (vast) scaled_activations(&a->p, b2, cr, &x, pr);
        if (S > 0)
            S = row_normalise(pr, x.n, &count);
        else
            count = fill_empty(a->p.empty, cr, &x, pr);
        row_stat(stat, r, x.max, vast ? LARGEST_SUM : S, x.arg, count);
    }
    return OK;
}

status normrelu_grad_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *beta = IN(double, 0), *p = IN(double, 1), *stat = IN(double, 2),
                 *dp = IN(double, 3);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1);
    if (a->need) return *a->need = 0, OK;
    TRY(row_check("normrelu_grad", a, beta, 4));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *pr = p + r * N, *G = dp + r * N, b = row_beta(beta, r);
        const double S = stat[r * STATS + STAT_NORM];
        double *dcr = dc + r * N, mean = 0, slope = 0;
        if (!row_open_grad(a, r, stat, dcr, dbeta) || !(S > 0)) continue;
        const int64_t n = row_live(a, r);
        const normrelu_form form = a->p.form;
        const double A = form == NORMRELU_PAPER         ? 2 * b * b
                         : form == NORMRELU_CODE_MATRIX ? 2 * b * b * b * b
                         : form == NORMRELU_CODE_EFT    ? 1
                                                        : a->p.slope;
        for (int64_t j = 0; j < n; j++)
            if (pr[j] > 0) mean += pr[j] * G[j];
        for (int64_t j = 0; j < n; j++) {
            if (!(pr[j] > 0)) continue;
            const double da = (G[j] - mean) / S, over = S * pr[j] - 1;
            dcr[j] = A * da;
            if (form == NORMRELU_PAPER) slope += da * (2 / b * over);
            if (form == NORMRELU_CODE_MATRIX) slope += da * (4 / b * over + 4 * b);
        }
        if (dbeta) dbeta[r] = slope;
    }
    return OK;
}
