/* SPDX-License-Identifier: MIT
 *
 * test_transforms.c — the row transforms of reference/: worked values, the special rows of the
 * contract, names, and bits that depend on neither threads nor compiler.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <omp.h>

#include "mosaic.h"
#include "rng.h"
#include "selftest.h"
#include "transforms.h"

static const double e = 2.718281828459045;

/* Section 1.9: p, and for entmax tau and h; NAN where the table has none. */
void selftest_worked_row(selftest *t)
{
    static const double c[4] = {0.90, 0.88, 0.50, -0.20};
    static const struct {
        const char *method;
        double p[4], tau, h;
    } rows[] = {
        {"softmax", {0.52220376, 0.45046335, 0.02717875, 0.00015414}, NAN, NAN},
        {"entmax:1.25", {0.54375165, 0.45604229, 0.00020606, 0}, 0.80382045, 1.06288186},
        {"entmax:1.3", {0.54541038, 0.45458962, 0, 0}, 1.16133129, 0.97581044},
        {"triweight", {0.54647347, 0.45352653, 0, 0}, 1.39915044, 0.92944794},
        {"biweight", {0.55217715, 0.44782285, 0, 0}, 2.58198901, 0.77605615},
        {"epanechnikov", {0.57389056, 0.42610944, 0, 0}, 6.07625993, 0.59610006},
        {"entmax:2", {0.57389056, 0.42610944, 0, 0}, 6.07625993, 0.59610006},
        {"relumax", {0.53989300, 0.46010700, 0, 0}, NAN, NAN},
        {"relumax4", {1, 0, 0, 0}, NAN, NAN},
        {"norm_relu", {0.25, 0.25, 0.25, 0.25}, NAN, NAN},
        {"norm_relu_matrix", {0.40696067, 0.39644248, 0.19659685, 0}, NAN, NAN},
        {"norm_relu_eft", {0.39473684, 0.38596491, 0.21929825, 0}, NAN, NAN},
        {"top2_softmax", {0.53687819, 0.46312181, 0, 0}, NAN, NAN},
        {"top2_uniform", {0.5, 0.5, 0, 0}, NAN, NAN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double p[4], stat[STATS];
        method m;
        EXPECT(method_find(rows[i].method, &m) == OK);
        EXPECT(weigh(&m, e, c, 4, p, stat) == OK);
        int64_t count = 0;
        for (int j = 0; j < 4; j++) {
            EXPECT_NEAR(p[j], rows[i].p[j], 6e-9);
            EXPECT(rows[i].p[j] > 0 || p[j] == 0);
            count += p[j] > 0;
        }
        EXPECT(stat[STAT_MAX] == 0.90 && stat[STAT_ARG] == 0 && stat[STAT_COUNT] == (double)count);
        if (isnan(rows[i].tau)) continue;
        const double a = m.p.alpha - 1, omega = stat[STAT_NORM];
        EXPECT_NEAR(a * e * e * 0.90 - omega, rows[i].tau, 6e-9);
        EXPECT_NEAR(sqrt(2 * (1 - 0.90) + 2 / a * omega / (e * e)), rows[i].h, 6e-9);
    }
    double p[4], stat[STATS];
    method m;
    EXPECT(method_find("norm_relu", &m) == OK && weigh(&m, e, c, 4, p, stat) == OK);
    EXPECT(stat[STAT_NORM] == 0);
    m.p.empty = EMPTY_ZERO;
    EXPECT(weigh(&m, e, c, 4, p, stat) == OK && p[0] == 0 && p[3] == 0 && stat[STAT_COUNT] == 0);
    m.p.empty = EMPTY_ARGMAX;
    EXPECT(weigh(&m, e, c, 4, p, stat) == OK && p[0] == 1 && p[1] == 0 && stat[STAT_COUNT] == 1);
    EXPECT(method_find("norm_relu_matrix", &m) == OK && weigh(&m, e, c, 4, p, stat) == OK);
    EXPECT_NEAR(stat[STAT_NORM], 207.63322756, 6e-9);
}

static void fill_nan(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = NAN;
}

/* Section 1.0, one method: absent rows, one key, NaN and infinities, equal scores, dead entries. */
static void special(selftest *t, const char *name)
{
    enum { R = 8, N = 6 };
    static const int32_t live[R] = {0, 1, 5, 5, 5, 5, 4, 6};
    double c[R * N], beta[R], G[R * N], p[R * N], stat[R * STATS], dc[R * N], db[R], da[R];
    method m;
    EXPECT(method_find(name, &m) == OK);
    for (int i = 0; i < R * N; i++) {
        const int r = i / N, j = i % N;
        c[i] = j < live[r] ? 0.95 - 0.03 * ((j * 3) % 5) : NAN;
        G[i] = j < live[r] ? 0.1 * j - 0.2 * r : NAN;
        beta[r] = 1.1;
    }
    c[2 * N + 1] = NAN;
    c[3 * N + 4] = INFINITY;
    c[4 * N + 2] = -INFINITY;
    for (int j = 0; j < N; j++) {
        c[5 * N + j] = -INFINITY;
        c[7 * N + j] = 0.4;
        if (j < 4) c[6 * N + j] = c[4 * N + j + (j > 1)]; /* row 4 without its third key */
    }
    args a = {.in = {c, beta}, .out = {p, stat}, .d = {.R = R, .N = N}, .live = live, .p = m.p};
    fill_nan(p, R * N);
    fill_nan(stat, R * STATS);
    EXPECT(op_at(m.op)->ref(&a) == OK);
    args b = {.in = {beta, p, stat, G}, .out = {dc, db, da}, .d = a.d, .live = live, .p = m.p};
    fill_nan(dc, R * N);
    fill_nan(db, R);
    fill_nan(da, R);
    EXPECT(op_grad(op_at(m.op))->ref(&b) == OK);
    for (int r = 0; r < R; r++) {
        double sum = 0, *pr = p + r * N, *dcr = dc + r * N;
        for (int j = live[r]; j < N; j++)
            EXPECT(pr[j] == 0 && dcr[j] == 0);
        for (int j = 0; j < live[r]; j++) {
            sum += pr[j];
            EXPECT((r == 2 || r == 3) == isnan(pr[j]));
            EXPECT((r == 2 || r == 3) == isnan(dcr[j]));
        }
        if (m.op == OP_entmax) EXPECT((r == 2 || r == 3) == isnan(da[r]));
        if (r == 2 || r == 3) {
            EXPECT(isnan(db[r]));
            continue;
        }
        EXPECT_NEAR(sum, r == 0 || r == 5 ? 0 : 1, 1e-15);
        EXPECT(isfinite(db[r]));
        if (r == 0 || r == 5) {
            EXPECT(stat[r * STATS + STAT_MAX] == 0 && stat[r * STATS + STAT_NORM] == 0);
            EXPECT(stat[r * STATS + STAT_ARG] == -1 && stat[r * STATS + STAT_COUNT] == 0);
            EXPECT(db[r] == 0);
            for (int j = 0; j < N; j++)
                EXPECT(dcr[j] == 0);
        }
    }
    EXPECT(p[N] == 1 && dc[N] == 0 && db[1] == 0);
    for (int j = 0; j < 5; j++) {
        if (j == 2) EXPECT(p[4 * N + j] == 0 && dc[4 * N + j] == 0);
        if (j != 2) EXPECT_NEAR(p[4 * N + j], p[6 * N + j - (j > 2)], 1e-15);
    }
    const int top = strncmp(name, "top", 3) == 0 && m.p.k < N ? (int)m.p.k : N;
    for (int j = 0; j < N; j++)
        EXPECT_NEAR(p[7 * N + j], j < top ? 1.0 / top : 0, 1e-16);
    for (int bad = 0; bad < 3; bad++) {
        beta[3] = bad == 0 ? 0 : bad == 1 ? -1 : NAN;
        EXPECT(op_at(m.op)->ref(&a) == ERR_ARG && op_grad(op_at(m.op))->ref(&b) == ERR_ARG);
    }
}

void selftest_special_rows(selftest *t)
{
    for (int i = 0; method_name(i); i++)
        special(t, method_name(i));
    special(t, "entmax:1.1");
    special(t, "entmax:3");
    special(t, "entmax:1.0000001");
    special(t, "top2_softmax");
    special(t, "top3_uniform");

    /* Ties at the k-th score go to the lowest indices. */
    static const double c[5] = {0.1, 0.7, 0.3, 0.7, 0.7};
    double p[5];
    method m;
    EXPECT(method_find("top2_uniform", &m) == OK && weigh(&m, 1, c, 5, p, NULL) == OK);
    EXPECT(p[0] == 0 && p[1] == 0.5 && p[2] == 0 && p[3] == 0.5 && p[4] == 0);
    EXPECT(method_find("top2_softmax", &m) == OK && weigh(&m, 1, c, 5, p, NULL) == OK);
    EXPECT(p[1] == 0.5 && p[3] == 0.5 && p[4] == 0);
    m.p.k = 0;
    EXPECT(weigh(&m, 1, c, 5, p, NULL) == ERR_ARG);
    EXPECT(method_find("biweight", &m) == OK);
    m.p.alpha = 1;
    EXPECT(weigh(&m, 1, c, 5, p, NULL) == ERR_ARG);
    m.p.alpha = 2.5, m.p.solver = SOLVER_NEWTON;
    EXPECT(weigh(&m, 1, c, 5, p, NULL) == ERR_ARG);
    m.p.alpha = 1.5;
    m.p.solver = SOLVER_ORDER;
    EXPECT(weigh(&m, 1, c, 5, p, NULL) == ERR_ARG);
    EXPECT(method_find("relumax", &m) == OK);
    m.p.relumax_power = 3;
    EXPECT(weigh(&m, 1, c, 5, p, NULL) == ERR_ARG);
}

/* Of equal scores the lowest indices are taken, by the definition: a key is among the k if fewer
 * than k come before it. Long rows and large k, where a selection may change its method. */
void selftest_selection(selftest *t)
{
    enum { N = 700 };
    static const int64_t tops[] = {1, 2, 31, 32, 33, 99, 100, 101, 128, 150, 333, 699, 700, 5000};
    static double c[N], p[2][N];
    for (int levels = 1; levels <= 25; levels += 8)
        for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) {
            params q = params_default();
            rng r = {levels};
            int wrong = 0;
            q.k = tops[i];
            for (int j = 0; j < N; j++)
                c[j] = (double)rng_below(&r, (uint64_t)levels) / 8;
            EXPECT(row_weights(topk_uniform_ref, &q, 1, c, N, p[0], NULL) == OK);
            EXPECT(row_weights(topk_softmax_ref, &q, 1, c, N, p[1], NULL) == OK);
            for (int j = 0; j < N; j++) {
                int64_t before = 0;
                for (int other = 0; other < N; other++)
                    before += c[other] > c[j] || (c[other] == c[j] && other < j);
                wrong += (p[0][j] > 0) != (before < q.k) || (p[1][j] > 0) != (before < q.k);
            }
            EXPECT(wrong == 0);
        }
}

/* |sum p - 1| within 4 ulp sqrt(n) on rows of 16384, and exact zeros beside them. */
void selftest_long_rows(selftest *t)
{
    enum { N = 16384 };
    static double c[N], p[N];
    static const char *const more[] = {"entmax:1.01", "entmax:1.1", "entmax:1.75", "entmax:3"};
    for (int i = 0; i < 4 || method_name(i - 4); i++) {
        rng r = {7};
        method m;
        double sum = 0;
        EXPECT(method_find(i < 4 ? more[i] : method_name(i - 4), &m) == OK);
        for (int j = 0; j < N; j++)
            c[j] = 2 * rng_uniform(&r) - 1;
        EXPECT(weigh(&m, e, c, N, p, NULL) == OK);
        for (int j = 0; j < N; j++) {
            sum += p[j];
            EXPECT(p[j] >= 0);
        }
        EXPECT_NEAR(sum, 1, 4 * DBL_EPSILON * sqrt(N));
    }
}

/* FNV of everything a method computes on rows drawn from one stream. */
static uint64_t bits(selftest *t, uint64_t hash, const char *name, entmax_solver solver)
{
    enum { R = 48, N = 131 };
    static double c[R * N], beta[R], G[R * N], p[R * N], stat[R * STATS], dc[R * N], db[R], da[R];
    static int32_t live[R];
    rng r = {11};
    method m;
    EXPECT(method_find(name, &m) == OK);
    m.p.solver = solver;
    for (int i = 0; i < R; i++) {
        live[i] = (int32_t)rng_below(&r, N + 1);
        beta[i] = 0.25 + 4 * rng_uniform(&r);
    }
    for (int i = 0; i < R * N; i++) {
        c[i] = 2 * rng_uniform(&r) - 1;
        G[i] = 2 * rng_uniform(&r) - 1;
    }
    memset(da, 0, sizeof da);
    args a = {.in = {c, beta}, .out = {p, stat}, .d = {.R = R, .N = N}, .live = live, .p = m.p};
    args b = {.in = {beta, p, stat, G}, .out = {dc, db, da}, .d = a.d, .live = live, .p = m.p};
    EXPECT(op_at(m.op)->ref(&a) == OK && op_grad(op_at(m.op))->ref(&b) == OK);
    hash = fnv1a(hash, p, sizeof p);
    hash = fnv1a(hash, stat, sizeof stat);
    hash = fnv1a(hash, dc, sizeof dc);
    return fnv1a(fnv1a(hash, db, sizeof db), da, sizeof da);
}

/* The transforms whose arithmetic is + - * / sqrt alone, forward and backward. */
static uint64_t bits_plain(selftest *t)
{
    static const char *const names[] = {"epanechnikov",  "norm_relu", "norm_relu_matrix",
                                        "norm_relu_eft", "relumax",   "relumax4",
                                        "top16_uniform"};
    uint64_t hash = FNV_OFFSET;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        hash = bits(t, hash, names[i], SOLVER_AUTO);
    return hash;
}

/* Those that call exp, log, pow, log1p, expm1, cbrt. */
static uint64_t bits_libm(selftest *t)
{
    static const char *const names[] = {"softmax",     "biweight",    "triweight", "top16_softmax",
                                        "entmax:1.05", "entmax:1.75", "entmax:2"};
    uint64_t hash = FNV_OFFSET;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int s = SOLVER_AUTO; s <= SOLVER_ADASPLASH5; s++)
            if (s != SOLVER_ORDER) hash = bits(t, hash, names[i], (entmax_solver)s);
    return bits(t, hash, "entmax:3", SOLVER_AUTO);
}

static uint64_t libm_of_transforms(void)
{
    uint64_t hash = FNV_OFFSET;
    rng r = {3};
    for (int i = 0; i < 10000; i++) {
        const double x = rng_uniform(&r), y = rng_uniform(&r);
        const double v[] = {exp(-20 * x),    log(x),         pow(x, 20 * y), pow(x, y - 1),
                            log1p(-x * 0.9), expm1(-20 * x), cbrt(x - y)};
        hash = fnv1a(hash, v, sizeof v);
    }
    return hash;
}

void selftest_transform_threads(selftest *t)
{
    const uint64_t plain = bits_plain(t), libm = bits_libm(t);
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        EXPECT(bits_plain(t) == plain && bits_libm(t) == libm);
    }
    omp_set_num_threads(before);
}

/* The same bits from gcc and clang at any optimisation level. */
void selftest_transform_bits(selftest *t)
{
    EXPECT(bits_plain(t) == UINT64_C(0x453710c45fe9806a));
}

void selftest_transform_bits_libm(selftest *t)
{
    if (libm_of_transforms() != UINT64_C(0x70433b6c82839d2d)) {
        selftest_skip(t, "another libm than the one whose bits are recorded");
        return;
    }
    EXPECT(bits_libm(t) == UINT64_C(0x432d062764fd5c28));
}

void selftest_method_names(selftest *t)
{
    method m;
    for (int i = 0; method_name(i); i++) {
        EXPECT(method_find(method_name(i), &m) == OK && strcmp(m.name, method_name(i)) == 0);
        EXPECT(op_grad(op_at(m.op)) && m.label[0] && m.colour[0] == '#');
    }
    EXPECT(method_name(-1) == NULL);
    EXPECT(method_find("entmax:4/3", &m) == OK && m.p.alpha == 4.0 / 3.0);
    EXPECT(m.op == OP_entmax && strcmp(m.label, "4/3-entmax") == 0);
    EXPECT(method_find("entmax:2", &m) == OK && m.op == OP_entmax && m.p.alpha == 2);
    EXPECT(method_find("top7_softmax", &m) == OK && m.p.k == 7 && m.op == OP_topk_softmax);
    EXPECT(method_find("top999_uniform", &m) == OK && m.p.k == 999);
    EXPECT(m.op == OP_topk_uniform);
    EXPECT(method_find("relumax4", &m) == OK && m.p.relumax_power == 4);
    EXPECT(method_find("norm_relu_eft", &m) == OK && m.p.form == NORMRELU_CODE_EFT);
    static const char *const bad[] = {
        "",
        "Softmax",
        "softmax ",
        "uniform",
        "entmax",
        "entmax:",
        "entmax:1",
        "entmax:0.5",
        "entmax:nan",
        "entmax:inf",
        "entmax:1e9x",
        "entmax:0x2",
        "entmax:-2",
        "entmax:4/0",
        "entmax:3/4",
        "entmax:1.5 ",
        "entmax:+1.5",
        "entmax:4/3/2",
        "top_softmax",
        "top0_softmax",
        "top-1_softmax",
        "top04_uniform",
        "top4",
        "top4_softmaxx",
        "top4_relumax",
        "top99999999999999999999_softmax",
        "a name far too long to be one, whatever family it might belong to"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT(method_find(bad[i], &m) == ERR_ARG && !strchr(last_error(), '\n'));
    EXPECT(method_find("sofmax", &m) == ERR_ARG && strstr(last_error(), "mean softmax?"));
    EXPECT(method_find("biwieght", &m) == ERR_ARG && strstr(last_error(), "mean biweight?"));
    EXPECT(method_find("relu_max", &m) == ERR_ARG && strstr(last_error(), "mean relumax?"));
    /* a parameter that has no switch is set by its name, where the transform reads it */
    mosaic_config c = config_default();
    EXPECT(method_find("norm_relu", &c.method) == OK);
    EXPECT(config_set(&c, "slope", "2.5") == OK && c.method.p.slope == 2.5);
    EXPECT(config_set(&c, "slope", "x") == ERR_ARG && config_set(&c, "lag", "0") == ERR_ARG);
    EXPECT(config_set(&c, "alpha", "2") == ERR_ARG && strstr(last_error(), "normrelu"));
}
