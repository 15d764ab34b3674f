/* SPDX-License-Identifier: MIT
 *
 * entmax — alpha-entmax, alpha > 1; on unit-norm keys the kernel (1 - |u|^2/h^2)^r with
 * r = 1/(alpha-1) and h^2 = |u_min|^2 + 2 r omega / beta^2.
 *
 *     p_j = [z_j - tau]_+^r,   z = (alpha-1) beta^2 c,   tau such that sum_j p_j = 1
 *     omega = z_max - tau = p_max^(alpha-1)   is the unknown,   d_j = z_max - z_j   are the data
 *     g_j = w_j (G_j - sum_i w_i G_i / W),   w = p^(2-alpha) on the support,   dc_j = beta^2 g_j,
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max),
 *     dalpha = sum_j G_j dp_j/dalpha,   dp_j/dalpha =
 *         (p_j - w_j/W) / (alpha-1)^2 - (p_j ln p_j - w_j/W sum_i p_i ln p_i) / (alpha-1)
 *
 * c (R,N), beta (R) -> p (R,N), stat (R,4) with STAT_NORM = omega.
 * Method: params.solver (entmax_solver in spec.h). Only gaps d < 1 can carry weight; they are
 * gathered in the row of p. The weights are (1 - d/omega)^r over their sum, through log1p, so that
 * alpha -> 1 costs no accuracy; alpha - 1 < 1e-6 is softmax. Above 2 the unknown is the smallest
 * weight, which omega - d would lose. adasplash5 is not divided by its sum.
 * The backward knows p alone: s_j - s_max = omega ((p_j/p_max)^(alpha-1) - 1) / (alpha-1).
 * Source: Peters et al. 2019; model 1.3.
 */
#include "row.h"

/* The gaps of one row below 1, and what the solvers find. */
typedef struct problem {
    double *d;
    int64_t count, keys;      /* gaps; keys of the row, gaps or not            */
    double a, r;              /* alpha - 1; 1/a, exactly 1, 2, 3 if it is that */
    double omega;             /* z_max - tau                                   */
    double last, floor, edge; /* order: the smallest weight p_(K), p_(K)^a, and its gap */
} problem;

static double power(double x, double r)
{
    return r == 1 ? x : r == 2 ? x * x : r == 3 ? x * x * x : pow(x, r);
}

static double excess(const problem *q, double omega)
{
    double sum = -1;
    for (int64_t j = 0; j < q->count; j++)
        if (q->d[j] < omega) sum += power(omega - q->d[j], q->r);
    return sum;
}

/* Sort the gaps and keep the support: the longest prefix with sum_{j<=k} (d_k - d_j)^r < 1. */
static void keep_support(problem *q)
{
    int64_t low = 1, high = q->count;
    sort_ascending(q->d, q->count);
    while (low < high) {
        const int64_t k = (low + high + 1) / 2;
        double sum = 0;
        for (int64_t j = 0; j < k; j++)
            sum += power(q->d[k - 1] - q->d[j], q->r);
        if (sum < 1)
            low = k;
        else
            high = k - 1;
    }
    q->count = low;
}

/* r = 1, 2, 3 on the support: with mu = mean z and x = mu - tau,
 *     r=1  x = 1/K      r=2  x^2 = 1/K - M2      r=3  x^3 + 3 M2 x + M3 - 1/K = 0 (Cardano)
 * and one Newton step, which repairs what the moments cancelled. */
static void closed_form(problem *q)
{
    const double K = (double)q->count;
    double mean = 0, M2 = 0, M3 = 0, x = 1 / K, slope = 0;
    for (int64_t j = 0; j < q->count; j++)
        mean += q->d[j] / K;
    for (int64_t j = 0; j < q->count; j++) {
        const double delta = mean - q->d[j];
        M2 += delta * delta / K;
        M3 += delta * delta * delta / K;
    }
    if (q->r == 2) x = sqrt(fmax(0, 1 / K - M2));
    if (q->r == 3) {
        const double half = (M3 - 1 / K) / 2, root = sqrt(half * half + M2 * M2 * M2);
        const double y = cbrt(half > 0 ? -half - root : -half + root);
        x = y == 0 ? 0 : y - M2 / y;
    }
    q->omega = x + mean;
    for (int64_t j = 0; j < q->count; j++)
        if (q->d[j] < q->omega) slope += q->r == 1 ? 1 : q->r * power(q->omega - q->d[j], q->r - 1);
    if (slope > 0) q->omega -= excess(q, q->omega) / slope;
}

/* S(theta) = sum_j p_j and its slope at theta = ln p_max: increasing and convex for r >= 1. */
static double mass(const problem *q, double theta, double *slope)
{
    const double shrink = exp(-q->a * theta);
    double sum = 0;
    *slope = 0;
    for (int64_t j = 0; j < q->count; j++) {
        const double x = q->d[j] * shrink;
        if (!(x < 1)) continue;
        const double p = exp(theta + q->r * log1p(-x));
        sum += p;
        *slope += p / (1 - x);
    }
    return sum;
}

/* Newton from theta = 0 descends monotonically; it ends when rounding stops the descent. */
static void newton(problem *q)
{
    double theta = 0, low = -log((double)q->keys), high = 0, slope;
    for (int step = 0; step < 64; step++) {
        const double next = theta - (mass(q, theta, &slope) - 1) / slope;
        if (!(next < theta)) {
            q->omega = exp(q->a * theta);
            return;
        }
        theta = next;
    }
    for (int step = 0; step < 60; step++) {
        const double middle = (low + high) / 2;
        if (mass(q, middle, &slope) < 1)
            low = middle;
        else
            high = middle;
    }
    q->omega = exp(q->a * high);
}

/* tau in [z_max - 1, z_max - n^(1-alpha)], which is omega from 1 down to n^(1-alpha). */
static void bisect(problem *q)
{
    double width = 1 - pow((double)q->keys, -q->a);
    q->omega = 1;
    for (int step = 0; step < 60; step++) {
        width /= 2;
        if (excess(q, q->omega - width) >= 0) q->omega -= width;
    }
}

/* On the support, y = p_(K) in (0, 1/K] with sum_j (y^a + (d_K - d_j))^r = 1, halved until the
 * interval holds no number. */
static void order(problem *q)
{
    keep_support(q);
    q->edge = q->d[q->count - 1];
    double low = 0, high = 1 / (double)q->count;
    for (double y; y = low + (high - low) / 2, low < y && y < high;) {
        const double ya = pow(y, q->a);
        double sum = 0;
        for (int64_t j = 0; j < q->count; j++)
            sum += q->d[j] == q->edge ? y : pow(ya + (q->edge - q->d[j]), q->r);
        if (sum < 1)
            low = y;
        else
            high = y;
    }
    q->last = high;
    q->floor = pow(high, q->a);
    q->omega = q->floor + q->edge;
}

/* Five Halley steps on tau (here on -omega), each kept only inside the bracket it has left. */
static void adasplash5(problem *q)
{
    double low = -1, high = -pow((double)q->keys, -q->a), tau = (low + high) / 2;
    for (int step = 0; step < 5; step++) {
        double f = -1, f1 = 0, f2 = 0;
        for (int64_t j = 0; j < q->count; j++) {
            const double t = -q->d[j] - tau;
            if (!(t > 0)) continue;
            f += power(t, q->r);
            f1 -= q->r * pow(t, q->r - 1);
            f2 += q->r * (q->r - 1) * pow(t, q->r - 2);
        }
        if (f > 0) low = tau;
        if (f < 0) high = tau;
        const double halley = tau - 2 * f * f1 / (2 * f1 * f1 - f * f2);
        tau = halley > low - 1e-6 && halley < high + 1e-6 ? halley : (low + high) / 2;
    }
    q->omega = -tau;
}

static int is_polynomial(double r)
{
    return r == 1 || r == 2 || r == 3;
}

static void solve(problem *q, entmax_solver solver)
{
    switch (solver) {
    case SOLVER_AUTO:
    case SOLVER_SORT:
        keep_support(q);
        if (is_polynomial(q->r))
            closed_form(q);
        else
            newton(q);
        break;
    case SOLVER_NEWTON:
        newton(q);
        break;
    case SOLVER_BISECT:
        bisect(q);
        break;
    case SOLVER_ORDER:
        order(q);
        break;
    case SOLVER_ADASPLASH5:
        adasplash5(q);
        break;
    }
}

/* The weight of a key at gap d; but for order and adasplash5, up to the factor p_max. */
static double weight(const problem *q, entmax_solver solver, double d)
{
    if (solver == SOLVER_ORDER)
        return d > q->edge ? 0 : d == q->edge ? q->last : pow(q->floor + (q->edge - d), q->r);
    if (!(d < q->omega)) return 0;
    if (solver == SOLVER_ADASPLASH5) return power(q->omega - d, q->r);
    return is_polynomial(q->r) ? power(1 - d / q->omega, q->r) : exp(q->r * log1p(-d / q->omega));
}

/* alpha - 1 < 1e-6: exp(s - s_max) / Z and omega = Z^(1-alpha). */
static double softmax_limit(double a, double b2, const double *c, const row *x, double *p,
                            int64_t *count)
{
    for (int64_t j = 0; j < x->n; j++)
        p[j] = exp(b2 * (c[j] - x->max));
    return exp(-a * log(row_normalise(p, x->n, count)));
}

static double entmax_row(double a, double r, entmax_solver solver, double b2, const double *c,
                         const row *x, double *p, int64_t *count)
{
    problem q = {.d = p, .keys = x->keys, .a = a, .r = r};
    for (int64_t j = 0; j < x->n; j++) {
        const double d = a * b2 * (x->max - c[j]);
        if (d < 1) p[q.count++] = d;
    }
    solve(&q, solver);
    for (int64_t j = 0; j < x->n; j++)
        p[j] = weight(&q, solver, a * b2 * (x->max - c[j]));
    if (solver != SOLVER_ADASPLASH5) {
        row_normalise(p, x->n, count);
        return q.omega;
    }
    *count = 0;
    for (int64_t j = 0; j < x->n; j++)
        *count += p[j] > 0;
    return q.omega;
}

/* Bring alpha to its exact r and pick the solver. */
static status prepare(const char *op, const params *p, double *a, double *r, entmax_solver *solver)
{
    if (!(p->alpha > 1 && p->alpha < INFINITY))
        return fail(ERR_ARG, "%s: alpha is %g: expected alpha > 1", op, p->alpha);
    *a = p->alpha - 1;
    for (int k = 1; k <= 3; k++)
        if (fabs(p->alpha - (1 + 1.0 / k)) <= 1e-12) *a = 1.0 / k;
    *r = 1 / *a;
    for (int k = 1; k <= 3; k++)
        if (*a == 1.0 / k) *r = k;
    *solver = p->solver;
    if (*solver == SOLVER_NEWTON && *r < 1)
        return fail(ERR_ARG, "%s: alpha is %g: the newton solver expects alpha <= 2", op, p->alpha);
    if (*solver == SOLVER_ORDER && *r > 1)
        return fail(ERR_ARG, "%s: alpha is %g: the order solver expects alpha >= 2", op, p->alpha);
    if (*solver == SOLVER_AUTO) *solver = is_polynomial(*r) ? SOLVER_SORT : SOLVER_NEWTON;
    if (*solver != SOLVER_BISECT && *solver != SOLVER_ADASPLASH5 && *r < 1) *solver = SOLVER_ORDER;
    return OK;
}

status entmax_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *c = IN(double, 0), *beta = IN(double, 1);
    double *p = OUT(double, 0), *stat = OUT(double, 1);
    double am1, exponent;
    entmax_solver solver;
    if (a->need) return *a->need = 0, OK;
    TRY(prepare("entmax", &a->p, &am1, &exponent, &solver));
    TRY(row_check("entmax", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *cr = c + r * N, b2 = row_beta(beta, r) * row_beta(beta, r);
        double *pr = p + r * N;
        int64_t count;
        row x;
        if (!row_open(a, r, cr, pr, stat, &x)) continue;
        const double omega = am1 < 1e-6 ? softmax_limit(am1, b2, cr, &x, pr, &count)
                                        : entmax_row(am1, exponent, solver, b2, cr, &x, pr, &count);
        row_stat(stat, r, x.max, omega, x.arg, count);
    }
    return OK;
}

/* g in place, and the sum of g_j (s_j - s_max). For alpha > 2 the key of smallest weight has the
 * largest w, without bound: G is then taken relative to that key's, whose own term drops out. */
static double grad_scores(double a, double omega, const double *p, const double *G, int64_t n,
                          int64_t arg, double *g)
{
    int64_t ref = arg;
    for (int64_t j = 0; j < n; j++)
        if (a > 1 && p[j] > 0 && p[j] < p[ref]) ref = j;
    const double base = a > 1 ? G[ref] : 0, w_ref = pow(p[ref], 1 - a);
    double M = a > 1 ? 0 : w_ref * G[ref], others = 0, slope = 0;
    for (int64_t j = 0; j < n; j++) {
        if (!(p[j] > 0) || j == ref) continue;
        g[j] = pow(p[j], 1 - a);
        M += g[j] * (G[j] - base);
        others += g[j];
    }
    const double mean = M / (others + w_ref);
    for (int64_t j = 0; j < n; j++) {
        if (!(p[j] > 0)) continue;
        if (j != ref)
            g[j] *= G[j] - base - mean;
        else
            g[j] = a > 1 ? -M / (others / w_ref + 1) : w_ref * (G[j] - mean);
        slope += g[j] * omega * expm1(a * log(p[j] / p[arg])) / a;
    }
    return slope;
}

/* e^u - 1 - u, by its series where the difference cancels. */
static double expm1_minus(double u)
{
    double term = u, sum = 0;
    if (u > 0.5) return expm1(u) - u;
    for (int k = 2; k < 18; k++)
        sum += term *= u / k;
    return sum;
}

/* sum_j G_j dp_j/dalpha. With L = ln p, x = p^-a - 1, y = x + a L and bars for means under p,
 *     dp_j/dalpha = p_j ((ybar - y_j - a (L_j - Lbar) xbar) / (a^2 (1 + xbar)) - e_j Lbar / a),
 *     e_j = (ybar - y_j + a (L_j - Lbar)) / (1 + xbar) = 1 - w_j / (W p_j),
 * the formula above with the terms in 1/a^2 and 1/a cancelled by hand: y = O(a^2), x, e = O(a). */
static double grad_alpha(double a, const double *p, const double *G, int64_t n, int64_t arg)
{
    double Lbar = 0, xbar = 0, ybar = 0, total = 0;
    for (int64_t j = 0; j < n; j++) {
        if (!(p[j] > 0)) continue;
        const double L = log(p[j]);
        Lbar += p[j] * L;
        xbar += p[j] * expm1(-a * L);
        ybar += p[j] * expm1_minus(-a * L);
    }
    for (int64_t j = 0; j < n; j++) {
        if (!(p[j] > 0)) continue;
        const double L = log(p[j]), y = ybar - expm1_minus(-a * L), l = a * (L - Lbar);
        const double e = (y + l) / (1 + xbar);
        total += (G[j] - G[arg]) * p[j] * ((y - l * xbar) / (a * a * (1 + xbar)) - e * Lbar / a);
    }
    return total;
}

status entmax_grad_ref(const args *a)
{
    const int64_t R = a->d.R, N = a->d.N;
    const double *beta = IN(double, 0), *p = IN(double, 1), *stat = IN(double, 2),
                 *dp = IN(double, 3);
    double *dc = OUT(double, 0), *dbeta = OUT(double, 1), *dalpha = OUT(double, 2);
    double am1, exponent;
    entmax_solver solver;
    if (a->need) return *a->need = 0, OK;
    TRY(prepare("entmax_grad", &a->p, &am1, &exponent, &solver));
    TRY(row_check("entmax_grad", a, beta, 2));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const double *pr = p + r * N, *G = dp + r * N, b = row_beta(beta, r);
        double *dcr = dc + r * N;
        const int open = row_open_grad(a, r, stat, dcr, dbeta);
        if (dalpha) dalpha[r] = isnan(stat[r * STATS + STAT_MAX]) ? NAN : 0;
        if (!open) continue;
        const int64_t n = row_live(a, r), arg = (int64_t)stat[r * STATS + STAT_ARG];
        const double slope = grad_scores(am1, stat[r * STATS + STAT_NORM], pr, G, n, arg, dcr);
        for (int64_t j = 0; j < n; j++)
            dcr[j] *= b * b;
        if (dbeta) dbeta[r] = 2 / b * slope;
        if (dalpha) dalpha[r] = grad_alpha(am1, pr, G, n, arg);
    }
    return OK;
}
