/* SPDX-License-Identifier: MIT
 *
 * test_identities.c — the transforms against each other and against calculus: solvers agree,
 * transforms are compact kernels, entmax tends to softmax, gradients are derivatives.
 */
#include <math.h>
#include <string.h>

#include "mosaic.h"
#include "rng.h"
#include "selftest.h"
#include "transforms.h"
#include "worse.h"

enum { WIDEST = 4096 };

static double l1(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += fabs(x[j] - y[j]);
    return sum;
}

static method entmax_method(double alpha, entmax_solver solver)
{
    method m = {.op = OP_entmax, .p = params_default()};
    m.p.alpha = alpha;
    m.p.solver = solver;
    return m;
}

static void normal_row(uint64_t seed, double *c, int64_t n)
{
    rng r = {seed};
    for (int64_t j = 0; j < n; j++)
        c[j] = rng_normal(&r);
}

/* Cosines of one random unit vector of width D with n others. */
static void cosine_row(uint64_t seed, double *c, int64_t n)
{
    enum { D = 16 };
    double q[D], k[D];
    rng r = {seed};
    for (int64_t j = -1; j < n; j++) {
        double norm = 0, dot = 0;
        for (int i = 0; i < D; i++) {
            k[i] = rng_normal(&r);
            norm += k[i] * k[i];
        }
        for (int i = 0; i < D; i++) {
            k[i] /= sqrt(norm);
            if (j < 0) q[i] = k[i];
            dot += q[i] * k[i];
        }
        if (j >= 0) c[j] = dot;
    }
}

/* Every solver finds the same weights; sparsemax is entmax at 2; five AdaSplash steps do not. */
void selftest_solvers(selftest *t)
{
    static const double alphas[] = {1.05, 1.1, 1.25, 4.0 / 3.0, 1.5, 1.75, 2};
    static const int64_t sizes[] = {1, 2, 17, 512, 4096};
    static double c[WIDEST], p[WIDEST], q[WIDEST];
    const method sparse = {.op = OP_sparsemax, .p = params_default()};
    double beta = 0.7;
    for (int i = 0; i < 5; i++, beta *= 1.7) {
        const int64_t n = sizes[i];
        normal_row(5 + (uint64_t)i, c, n);
        for (int k = 0; k < 7; k++) {
            method m = entmax_method(alphas[k], SOLVER_NEWTON);
            EXPECT(weigh(&m, beta, c, n, p, NULL) == OK);
            for (int s = SOLVER_AUTO; s <= SOLVER_ORDER; s++) {
                if (s == SOLVER_ORDER && alphas[k] < 2) continue;
                m.p.solver = (entmax_solver)s;
                EXPECT(weigh(&m, beta, c, n, q, NULL) == OK);
                EXPECT_NEAR(farthest(p, q, n), 0, 1e-13);
            }
        }
        EXPECT(weigh(&sparse, beta, c, n, q, NULL) == OK);
        EXPECT_NEAR(farthest(p, q, n), 0, 1e-14);
        for (int k = 3; k < 5; k++) {
            double sum = 0;
            const method m = entmax_method(alphas[k], SOLVER_ADASPLASH5);
            EXPECT(weigh(&m, beta, c, n, q, NULL) == OK);
            for (int64_t j = 0; j < n; j++)
                sum += q[j];
            EXPECT_NEAR(sum, 1, 1.3e-2);
        }
    }
}

/* One near key and thousands just inside the threshold, where moments cancel and any error of tau
 * counts once per key: weights against bisection in long double. */
void selftest_crowded_threshold(selftest *t)
{
    static const char *const names[] = {"epanechnikov", "entmax:2",    "biweight",
                                        "triweight",    "entmax:1.25", "entmax:1.75"};
    static double c[WIDEST], p[WIDEST];
    for (int i = 0; i < 6; i++)
        for (int wide = 0; wide < 2; wide++) {
            rng r = {3};
            method m;
            long double low = 0, high = 1;
            double error = 0;
            EXPECT(method_find(names[i], &m) == OK);
            const long double a = m.p.alpha - 1.0L;
            c[0] = 0;
            for (int j = 1; j < WIDEST; j++)
                c[j] = -(0.9 + (wide ? 1e-1 : 1e-3) * rng_uniform(&r)) / (m.p.alpha - 1);
            for (int step = 0; step < 66; step++) {
                const long double omega = (low + high) / 2;
                long double sum = 0;
                for (int j = 0; j < WIDEST; j++)
                    if (omega + a * c[j] > 0) sum += powl(omega + a * c[j], 1 / a);
                if (sum < 1)
                    low = omega;
                else
                    high = omega;
            }
            EXPECT(weigh(&m, 1, c, WIDEST, p, NULL) == OK);
            for (int j = 0; j < WIDEST; j++) {
                const long double x = high + a * c[j], want = x > 0 ? powl(x, 1 / a) : 0;
                error = worse(error, (double)fabsl(p[j] - want));
            }
            EXPECT_NEAR(error, 0, 5e-14);
        }
}

/* alpha > 2: on the support p^(alpha-1) - z is one constant, off it z lies below that threshold. */
void selftest_order_solver(selftest *t)
{
    static const double alphas[] = {2.1, 2.5, 3, 5, 50};
    static double c[512], p[512];
    for (int k = 0; k < 5; k++)
        for (int spread = 0; spread < 4; spread++) {
            const double beta = pow(10, -spread), a = alphas[k] - 1;
            const method m = entmax_method(alphas[k], SOLVER_AUTO);
            double stat[STATS], sum = 0;
            normal_row(21, c, 512);
            EXPECT(weigh(&m, beta, c, 512, p, stat) == OK);
            const double m0 = stat[STAT_MAX], omega = stat[STAT_NORM];
            for (int j = 0; j < 512; j++) {
                const double above = omega - a * beta * beta * (m0 - c[j]);
                sum += p[j];
                if (p[j] > 0) EXPECT_NEAR(pow(p[j], a), above, 4e-16);
                if (p[j] == 0) EXPECT(above <= 4e-16);
            }
            EXPECT_NEAR(sum, 1, 1e-14);
        }
}

/* Sections 1.3-1.5: |p - Nadaraya-Watson(h)| <= 1e-12 at the bandwidth each transform implies. */
static void expect_kernel(selftest *t, const double *c, int64_t n, double r, double h2,
                          const double *p)
{
    static double q[WIDEST];
    params kernel = params_default();
    kernel.exponent = r;
    EXPECT(row_weights(kernel_regression_ref, &kernel, sqrt(h2), c, n, q, NULL) == OK);
    EXPECT_NEAR(farthest(p, q, n), 0, 1e-12);
}

void selftest_nadaraya_watson(selftest *t)
{
    static const double alphas[] = {1.05, 1.25, 1.3, 4.0 / 3.0, 1.5, 1.8, 2, 3};
    static const double betas[] = {0.5, 1, 2.718281828459045, 10, 100};
    static const int64_t sizes[] = {1, 2, 17, 512, 4096};
    static double c[WIDEST], p[WIDEST];
    double stat[STATS];
    method m;
    for (int i = 0; i < 25; i++) {
        const int64_t n = sizes[i / 5];
        const double beta = betas[i % 5], b2 = beta * beta;
        cosine_row(31 + (uint64_t)i, c, n);
        for (int k = 0; k < 8; k++) {
            const double r = 1 / (alphas[k] - 1);
            m = entmax_method(alphas[k], SOLVER_AUTO);
            EXPECT(weigh(&m, beta, c, n, p, stat) == OK);
            const double near = 2 * (1 - stat[STAT_MAX]);
            expect_kernel(t, c, n, r, near + 2 * r / b2 * stat[STAT_NORM], p);
        }
        const double near = 2 * (1 - stat[STAT_MAX]);
        EXPECT(method_find("softmax", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, INFINITY, 1 / b2, p);
        EXPECT(method_find("relumax", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, 1, near + 2 / b2, p);
        EXPECT(method_find("relumax4", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, 1, near + 2 / (b2 * b2), p);
        EXPECT(method_find("norm_relu", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, 1, 1 / b2, p);
        EXPECT(method_find("norm_relu_matrix", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, 1, 1 + (1 - 1 / b2) * (1 - 1 / b2), p);
        EXPECT(method_find("norm_relu_eft", &m) == OK && weigh(&m, beta, c, n, p, NULL) == OK);
        expect_kernel(t, c, n, 1, 2, p);
    }
}

/* |entmax - softmax| in L1 shrinks like alpha - 1, at the rate dp/dalpha = p (mean L^2 - L^2) / 2
 * with L = ln p; on 512 scores of deviation 3 it is near 6e-5 at alpha = 1 + 1e-5. */
void selftest_softmax_limit(selftest *t)
{
    static double c[512], soft[512], p[512];
    const method softmax = {.op = OP_softmax, .p = params_default()};
    double mean = 0, rate = 0;
    normal_row(41, c, 512);
    for (int j = 0; j < 512; j++)
        c[j] *= 3;
    EXPECT(weigh(&softmax, 1, c, 512, soft, NULL) == OK);
    for (int j = 0; j < 512; j++)
        mean += soft[j] * log(soft[j]) * log(soft[j]);
    for (int j = 0; j < 512; j++)
        rate += soft[j] / 2 * fabs(mean - log(soft[j]) * log(soft[j]));
    for (double a = 1e-3; a > 1.5e-6; a /= 10) {
        const method m = entmax_method(1 + a, SOLVER_AUTO);
        EXPECT(weigh(&m, 1, c, 512, p, NULL) == OK);
        EXPECT_NEAR(l1(p, soft, 512) / (rate * a), 1, 10 * a + 1e-7);
    }
    EXPECT(rate > 3 && rate < 12);
    method m = entmax_method(1 + 1e-7, SOLVER_AUTO);
    EXPECT(weigh(&m, 1, c, 512, p, NULL) == OK && memcmp(p, soft, sizeof p) == 0);

    double G[512], dc[512], stat[STATS], dbeta, dalpha, want = 0;
    m = entmax_method(1 + 2e-6, SOLVER_AUTO);
    normal_row(42, G, 512);
    EXPECT(weigh(&m, 1, c, 512, p, stat) == OK);
    EXPECT(pull(&m, 1, p, stat, G, 512, dc, &dbeta, &dalpha) == OK);
    for (int j = 0; j < 512; j++)
        want += G[j] * soft[j] / 2 * (mean - log(soft[j]) * log(soft[j]));
    EXPECT_NEAR(dalpha / want, 1, 1e-4);
}

/* <G, p> with one input moved: cosine j, beta (j = -1) or alpha (j = -2). */
static double moved(const method *m, double beta, const double *c, int n, const double *G, int j,
                    double by)
{
    double x[64], p[64], sum = 0;
    method changed = *m;
    memcpy(x, c, (size_t)n * sizeof *c);
    if (j >= 0) x[j] += by;
    if (j == -1) beta += by;
    if (j == -2) changed.p.alpha += by;
    if (weigh(&changed, beta, x, n, p, NULL) != OK) return NAN;
    for (int i = 0; i < n; i++)
        sum += G[i] * p[i];
    return sum;
}

static void differentiate(selftest *t, const method *m, double beta, const double *c, int n)
{
    double G[64], p[64], stat[STATS], dc[64], dbeta = NAN, dalpha = NAN, norm = 0;
    normal_row(51, G, n);
    EXPECT(weigh(m, beta, c, n, p, stat) == OK);
    EXPECT(pull(m, beta, p, stat, G, n, dc, &dbeta, &dalpha) == OK);
    for (int j = 0; j < n; j++)
        norm += dc[j] * dc[j];
    norm = fmax(1, sqrt(norm));
    const int last = m->op == OP_entmax ? -2 : -1;
    for (int j = last; j < n; j++) {
        const double step = 3e-5, got = j >= 0 ? dc[j] : j == -1 ? dbeta : dalpha;
        const double slope =
            (8 * (moved(m, beta, c, n, G, j, step) - moved(m, beta, c, n, G, j, -step)) -
             (moved(m, beta, c, n, G, j, 2 * step) - moved(m, beta, c, n, G, j, -2 * step))) /
            (12 * step);
        EXPECT_NEAR(got / norm, slope / norm, 1e-8);
    }
}

void selftest_transform_gradients(selftest *t)
{
    static const char *const names[] = {
        "softmax",      "epanechnikov",     "biweight",      "triweight",  "entmax:1.02",
        "entmax:1.1",   "entmax:1.75",      "entmax:2",      "entmax:2.5", "entmax:4",
        "norm_relu",    "norm_relu_matrix", "norm_relu_eft", "relumax",    "relumax4",
        "top3_softmax", "top3_uniform",     "top16_softmax"};
    double c[16];
    method m;
    for (int n = 1; n <= 16; n += 5)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            EXPECT(method_find(names[i], &m) == OK);
            cosine_row(60 + (uint64_t)n, c, n);
            differentiate(t, &m, 0.8, c, n);
            differentiate(t, &m, 1.3, c, n);
        }
    EXPECT(method_find("norm_relu", &m) == OK);
    for (int rule = EMPTY_UNIFORM; rule <= EMPTY_ARGMAX; rule++) {
        m.p.empty = (empty_rule)rule;
        differentiate(t, &m, 20, c, 16);
    }
    m.p.form = NORMRELU_AFFINE;
    m.p.slope = 1.7;
    m.p.offset = 0.2;
    differentiate(t, &m, 1.3, c, 16);
    EXPECT(method_find("relumax", &m) == OK);
    m.p.relumax_b = 0.4;
    differentiate(t, &m, 1.3, c, 16);
}
