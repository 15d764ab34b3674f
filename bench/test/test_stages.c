/* SPDX-License-Identifier: MIT
 *
 * test_stages.c — the stages of the model one by one: what the shared gradient check cannot see.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "tiny.h"
#include "worse.h"

/* Run an operation with the scratch it asks for, full of NaN. */
static status run_dirty(op_fn *f, args *a)
{
    size_t need = 0;
    a->need = &need;
    TRY(f(a));
    a->need = NULL;
    a->work = need ? aligned_alloc(256, (need + 255) / 256 * 256) : NULL;
    if (need && !a->work) return fail(ERR_MEMORY, "test: out of memory");
    for (size_t i = 0; i < need / sizeof(double); i++)
        ((double *)a->work)[i] = NAN;
    status s = f(a);
    free(a->work);
    a->work = NULL;
    return s;
}

/* --- dropout ----------------------------------------------------------------------------- */

void selftest_dropout(selftest *t)
{
    enum { N = 100003 };
    static double x[N], y[N], again[N];
    args a = {.in = {x}, .out = {y}, .d = {.B = 1, .T = N, .C = 1}, .p = params_default()};
    fill_normal(x, N, 3);
    a.p.rate = 0.3;
    a.p.seed = UINT64_C(0x123456789abcdef0);
    a.p.site = 4;
    a.p.step = 5;
    EXPECT(run_dirty(dropout_ref, &a) == OK);
    int kept = 0, wrong = 0;
    const uint32_t threshold = (uint32_t)(0.3 * 4294967296.0);
    for (int i = 0; i < N; i++) {
        uint32_t word[4];
        philox4x32((uint32_t[]){0x9abcdef0, 0x12345678}, (uint32_t[]){(uint32_t)i / 4, 0, 4, 5},
                   word);
        const int keep = word[i % 4] >= threshold;
        kept += keep;
        wrong += y[i] != (keep ? x[i] * (1 / 0.7) : 0);
    }
    EXPECT(wrong == 0);
    EXPECT_NEAR(kept / (double)N, 0.7, 5 * sqrt(0.21 / N));

    a.out[0] = again;
    a.p.step = 6;
    EXPECT(run_dirty(dropout_ref, &a) == OK);
    int both = 0;
    for (int i = 0; i < N; i++)
        both += y[i] != 0 && again[i] != 0;
    EXPECT_NEAR(both / (double)N, 0.49, 5 * sqrt(0.25 / N));

    a.p.rate = 0;
    EXPECT(run_dirty(dropout_ref, &a) == OK && memcmp(x, again, sizeof x) == 0);
    a.p.rate = 1;
    EXPECT(run_dirty(dropout_ref, &a) == ERR_ARG);
}

/* A part of a step, its samples cut to a shorter T, sees the masks of the whole. */
void selftest_dropout_parts(selftest *t)
{
    enum { B = 5, T = 7, C = 3, FIRST = 2, SHORT = 4 };
    double x[B * T * C], whole[B * T * C], part[B * T * C];
    args a = {.in = {x}, .out = {whole}, .d = {.B = B, .T = T, .C = C}, .p = params_default()};
    fill_normal(x, B * T * C, 3);
    a.p.rate = 0.4;
    EXPECT(run_dirty(dropout_ref, &a) == OK);
    a.in[0] = x + FIRST * T * C;
    a.out[0] = part;
    a.d.B = B - FIRST;
    a.p.first_row = FIRST;
    EXPECT(run_dirty(dropout_ref, &a) == OK);
    EXPECT(memcmp(part, whole + FIRST * T * C, sizeof(double[(B - FIRST) * T * C])) == 0);
    a.d.B = 1;
    a.d.T = SHORT;
    a.p.whole_T = T;
    for (int b = 0; b < B; b++) {
        a.in[0] = x + b * T * C;
        a.p.first_row = b;
        EXPECT(run_dirty(dropout_ref, &a) == OK);
        EXPECT(memcmp(part, whole + b * T * C, sizeof(double[SHORT * C])) == 0);
    }
}

/* --- leaky average ----------------------------------------------------------------------- */

enum { LB = 2, LT = 9, LH = 3, LD = 4, LN = LB * LT * LH * LD };

static double leaky_objective(const double *x, const double *theta, const double *g)
{
    double s[LN], sum = 0;
    args a = {.in = {x, theta}, .out = {s}, .d = {.B = LB, .T = LT, .H = LH, .D = LD}};
    if (run_dirty(leaky_average_ref, &a) != OK) return NAN;
    for (int i = 0; i < LN; i++)
        sum += g[i] * s[i];
    return sum;
}

void selftest_leaky_forms(selftest *t)
{
    double x[LN], s[LN], g[LN], dx[LN], dtheta[LH], theta[LH] = {0.05, -0.2, 0.0};
    fill_normal(x, LN, 4);
    fill_normal(g, LN, 5);
    args a = {.in = {x, theta}, .out = {s}, .d = {.B = LB, .T = LT, .H = LH, .D = LD}};
    EXPECT(run_dirty(leaky_average_ref, &a) == OK);
    for (int b = 0; b < LB; b++)
        for (int h = 0; h < LH; h++)
            for (int e = 0; e < LD; e++)
                for (int q = 0; q < LT; q++) {
                    /* sum over a row of the T x T matrix, and the weighted mean of the WKV form
                     * with w = -lambda, u = lambda times its denominator */
                    const double lambda = 10 * fabs(theta[h]);
                    double row = 0, up, down = exp(lambda);
                    up = exp(lambda) * x[((b * LT + q) * LH + h) * LD + e];
                    for (int j = 0; j <= q; j++)
                        row += exp(-lambda * (q - j)) * x[((b * LT + j) * LH + h) * LD + e];
                    for (int j = 0; j < q; j++) {
                        up += exp(-lambda * (q - 1 - j)) * x[((b * LT + j) * LH + h) * LD + e];
                        down += exp(-lambda * (q - 1 - j));
                    }
                    const double got = s[((b * LT + q) * LH + h) * LD + e];
                    EXPECT_NEAR(got, row, 1e-13);
                    EXPECT_NEAR(got, up / down * (down * exp(-lambda)), 1e-13);
                }

    args back = {.in = {theta, s, g}, .out = {dx, dtheta}, .d = a.d};
    EXPECT(run_dirty(leaky_average_grad_ref, &back) == OK);
    for (int h = 0; h < 2; h++) {
        double more[LH], less[LH];
        const double step = 1e-5;
        memcpy(more, theta, sizeof more);
        memcpy(less, theta, sizeof less);
        more[h] += step;
        less[h] -= step;
        const double slope =
            (leaky_objective(x, more, g) - leaky_objective(x, less, g)) / (2 * step);
        EXPECT_NEAR(dtheta[h], slope, 1e-6 * (1 + fabs(slope)));
    }
    EXPECT(dtheta[2] == 0); /* sign(0) = 0 */
    for (int i = 0; i < LN; i += 7) {
        const double at = x[i], step = 1e-3;
        x[i] = at + step;
        double slope = leaky_objective(x, theta, g);
        x[i] = at - step;
        slope = (slope - leaky_objective(x, theta, g)) / (2 * step);
        x[i] = at;
        EXPECT_NEAR(dx[i], slope, 1e-9 * (1 + fabs(slope)));
    }

    /* lambda = 0.5 */
    double k[4] = {1, 2, -1, 0.5}, half = 0.05, want[] = {1, 2.60653066, 0.58094076, 0.85235838};
    args four = {.in = {k, &half}, .out = {s}, .d = {.B = 1, .T = 4, .H = 1, .D = 1}};
    EXPECT(run_dirty(leaky_average_ref, &four) == OK);
    for (int i = 0; i < 4; i++)
        EXPECT_NEAR(s[i], want[i], 5e-9);
}

/* --- norms ------------------------------------------------------------------------------- */

void selftest_unit_norm(selftest *t)
{
    enum { R = 4, D = 3 };
    double x[R * D] = {3, 0, 4, 0, 0, 0, 3e-200, 0, 4e-200, 1e200, 0, 0}, y[R * D], norm[R];
    args a = {.in = {x}, .out = {y, norm}, .d = {.R = R, .D = D}, .p = params_default()};
    a.p.eps = 1e-12;
    EXPECT(run_dirty(unit_norm_ref, &a) == OK);
    EXPECT_NEAR(y[0], 0.6, 1e-15);
    EXPECT(y[3] == 0 && norm[1] == 0);
    EXPECT_NEAR(norm[2] / 5e-200, 1, 1e-15);
    EXPECT_NEAR(y[6], 3e-188, 1e-202);
    EXPECT(y[9] == 1);

    /* below eps: x / eps, and no projection in the gradient */
    double dy[R * D], dx[R * D];
    fill_normal(dy, R * D, 6);
    args back = {.in = {y, norm, dy}, .out = {dx}, .d = a.d, .p = a.p};
    EXPECT(run_dirty(unit_norm_grad_ref, &back) == OK);
    for (int e = 0; e < D; e++)
        EXPECT_NEAR(dx[3 + e], dy[3 + e] / 1e-12, 1e-3);
    EXPECT_NEAR(3 * dx[0] + 4 * dx[2], 0, 1e-14);

    a.p.eps_add = 1;
    a.p.eps = 1;
    EXPECT(run_dirty(unit_norm_ref, &a) == OK);
    EXPECT_NEAR(y[2], 4.0 / 6, 1e-15);
}

/* --- attention --------------------------------------------------------------------------- */

enum { AB = 2, AT = 70, AH = 2, AD = 5, AN = AB * AT * AH * AD, AP = AB * AH * AT * AT };

static double ak[AN], av[AN], ag[AN], ap[AP], astat[AB * AH * AT * STATS];

/* Weights are 0 on keys that are not visible, and sum to 1 where there are any. */
static void expect_visible(selftest *t, int lag)
{
    int hidden = 0;
    double error = 0;
    for (int row = 0; row < AB * AH * AT; row++) {
        const int q = row % AT;
        double total = 0;
        for (int j = 0; j < AT; j++) {
            hidden += j > q - lag && ap[row * AT + j] != 0;
            total += ap[row * AT + j];
        }
        error = worse(error, fabs(total - (q >= lag)));
    }
    EXPECT(hidden == 0);
    EXPECT_NEAR(error, 0, 1e-14);
}

/* The gradient that computes the weights again is the gradient that finds what the forward kept, to
 * the bit; one array for dq and dk receives the sum. */
static void expect_one_gradient(selftest *t, const args *a, const double *o, void *kept)
{
    static double dk[3][AN], dv[3][AN], dq[2][AN], dbeta[3][AH];
    for (int i = 0; i < 3; i++) {
        args b = *a;
        b.keep = i == 0 ? kept : NULL;
        b.in[4] = o;
        b.in[5] = astat;
        b.in[6] = ag;
        b.out[0] = i == 2 ? dk[i] : dq[i];
        b.out[1] = dk[i];
        b.out[2] = dv[i];
        b.out[3] = dbeta[i];
        EXPECT(run_dirty(attention_grad_ref, &b) == OK);
        EXPECT(memcmp(dv[0], dv[i], sizeof dv[0]) == 0);
        EXPECT(memcmp(dbeta[0], dbeta[i], sizeof dbeta[0]) == 0);
    }
    EXPECT(memcmp(dq[0], dq[1], sizeof dq[0]) == 0 && memcmp(dk[0], dk[1], sizeof dk[0]) == 0);
    double error = 0;
    for (int i = 0; i < AN; i++)
        error = worse(error, fabs(dk[2][i] - dq[0][i] - dk[0][i]));
    EXPECT_NEAR(error, 0, 1e-13);
}

/* The bytes that attention would like to keep. */
static size_t keeps(const args *a)
{
    size_t need = 0, keep = 0;
    args ask = *a;
    ask.need = &need;
    ask.keep_need = &keep;
    return attention_ref(&ask) == OK ? keep : 0;
}

/* The samples of a step one by one, cut to a shorter T, are those of the whole, masks included. */
static void expect_parts(selftest *t, const args *a, const double *o)
{
    enum { SHORT = AT - 2 };
    static double part[AN];
    for (int b = 0; b < AB; b++) {
        args one = *a;
        const double *from[3] = {ak, ak, av};
        for (int i = 0; i < 3; i++)
            one.in[i] = from[i] + b * AT * AH * AD;
        one.out[0] = part;
        one.out[1] = NULL;
        one.d.B = 1;
        one.d.T = SHORT;
        one.p.first_row = b;
        one.p.whole_T = AT;
        EXPECT(run_dirty(attention_ref, &one) == OK);
        EXPECT(memcmp(part, o + b * AT * AH * AD, sizeof(double[SHORT * AH * AD])) == 0);
    }
}

void selftest_attention(selftest *t)
{
    static double o[AN], again[AN], kept[AP];
    double beta[AH] = {1.3, 0.7};
    fill_normal(ak, AN, 7);
    fill_normal(av, AN, 8);
    fill_normal(ag, AN, 9);
    for (int lag = 0; lag <= 2; lag++) {
        args a = {.in = {ak, ak, av, beta}, .out = {o, astat}, .p = params_default()};
        a.d = (dims){.B = AB, .T = AT, .H = AH, .D = AD};
        a.p.lag = lag;
        a.p.scale = 0.5;
        a.transform = OP_entmax;
        args w = a;
        w.in[2] = beta;
        w.out[0] = ap;
        w.out[1] = NULL;
        EXPECT(run_dirty(attention_weights_ref, &w) == OK);
        expect_visible(t, lag);
        EXPECT(keeps(&a) == sizeof kept);
        for (int dropped = 0; dropped < 2; dropped++) {
            a.p.rate = dropped ? 0.2 : 0;
            a.keep = kept;
            EXPECT(run_dirty(attention_ref, &a) == OK);
            expect_one_gradient(t, &a, o, kept);
            for (int i = 0; i < AH * AD && lag > 0; i++)
                EXPECT(o[i] == 0);
            /* what is kept, and wanted, changes no output */
            a.keep = NULL;
            a.out[0] = again;
            a.out[1] = NULL;
            EXPECT(run_dirty(attention_ref, &a) == OK && memcmp(o, again, sizeof o) == 0);
            a.out[0] = o;
            a.out[1] = astat;
            expect_parts(t, &a, o);
        }
    }
    args wrong = {.in = {ak, ak, av}, .out = {o}, .transform = OP_linear, .p = params_default()};
    wrong.d = (dims){.B = 1, .T = 1, .H = 1, .D = 1};
    EXPECT(run_dirty(attention_ref, &wrong) == ERR_ARG && strstr(last_error(), "linear"));
    wrong.transform = OP_kernel_regression;
    EXPECT(run_dirty(attention_weights_ref, &wrong) == ERR_ARG);
}

/* The samples of a step one by one, cut to a shorter T, read the slots as in the whole. */
void selftest_persistent_parts(selftest *t)
{
    enum { B = 3, T = 5, H = 2, D = 4, M = 9, SHORT = 3, ROW = H * D, SLOTS = H * M * D };
    double q[B * T * ROW], mk[SLOTS], mv[SLOTS], whole[B * T * ROW], part[B * T * ROW];
    args a = {.in = {q, mk, mv}, .out = {whole}, .p = params_default()};
    fill_normal(q, B * T * ROW, 11);
    fill_normal(mk, SLOTS, 12);
    fill_normal(mv, SLOTS, 13);
    a.d = (dims){.B = B, .T = T, .H = H, .D = D, .M = M};
    a.transform = OP_sparsemax;
    a.p.rate = 0.3;
    EXPECT(run_dirty(persistent_memory_ref, &a) == OK);
    a.out[0] = part;
    a.d.B = 1;
    a.d.T = SHORT;
    a.p.whole_T = T;
    for (int b = 0; b < B; b++) {
        a.in[0] = q + b * T * ROW;
        a.p.first_row = b;
        EXPECT(run_dirty(persistent_memory_ref, &a) == OK);
        EXPECT(memcmp(part, whole + b * T * ROW, sizeof(double[SHORT * ROW])) == 0);
    }
}

/* --- losses, optimiser, schedules -------------------------------------------------------- */

void selftest_loss_and_step(selftest *t)
{
    double z[6] = {1, 2, 3, 800, -800, 0}, loss[2], lse[2], dz[6], one[2] = {1, 1};
    int32_t target[2] = {2, -1}, wrong[2] = {3, 0};
    args a = {.in = {z, target}, .out = {loss, lse}, .d = {.R = 2, .V = 3}};
    EXPECT(run_dirty(cross_entropy_ref, &a) == OK);
    EXPECT_NEAR(loss[0], log(exp(-2) + exp(-1) + 1), 1e-15);
    EXPECT(loss[1] == 0 && lse[1] == 800);
    args b = {.in = {z, target, lse, one}, .out = {dz}, .d = a.d};
    EXPECT(run_dirty(cross_entropy_grad_ref, &b) == OK);
    EXPECT_NEAR(dz[0] + dz[1] + dz[2], 0, 1e-15);
    EXPECT(dz[3] == 0 && dz[4] == 0 && dz[5] == 0);
    a.in[1] = wrong;
    EXPECT(run_dirty(cross_entropy_ref, &a) == ERR_DATA && strstr(last_error(), "-1..2, got 3"));
    args e = {.in = {wrong, z}, .out = {dz}, .d = {.R = 2, .C = 1, .V = 3}};
    EXPECT(run_dirty(embedding_ref, &e) == ERR_DATA && strstr(last_error(), "0..2, got 3"));

    /* two updates by hand; the gradient (3,4) of norm 5 is clipped to norm 1 */
    double w[2] = {1, -2}, g[2] = {3, 4}, m[2] = {0}, v[2] = {0}, norm;
    args n = {.in = {g}, .out = {&norm}, .d = {.N = 2}};
    EXPECT(run_dirty(global_norm_ref, &n) == OK && norm == 5);
    args s = {.in = {w, g, m, v, &norm}, .out = {w, m, v}, .d = {.N = 2}, .p = params_default()};
    s.p.lr = 0.1;
    double want = 1, first = 0, second = 0;
    for (int i = 1; i <= 2; i++) {
        const double clipped = 3 * (1 / (5 + 1e-6));
        s.p.update = i;
        EXPECT(run_dirty(adamw_ref, &s) == OK);
        first = 0.9 * first + 0.1 * clipped;
        second = 0.95 * second + 0.05 * clipped * clipped;
        want = want - 0.1 * 0.1 * want -
               0.1 * (first / (1 - pow(0.9, i))) / (sqrt(second / (1 - pow(0.95, i))) + 1e-8);
        EXPECT_NEAR(w[0], want, 1e-15);
    }
    /* a norm that is not finite is no step */
    const double was[] = {w[0], m[0], v[0]};
    for (int i = 0; i < 2; i++) {
        norm = i ? INFINITY : NAN;
        EXPECT(run_dirty(adamw_ref, &s) == OK && w[0] == was[0]);
        EXPECT(m[0] == was[1] && v[0] == was[2]);
    }
    s.p.update = 0;
    EXPECT(run_dirty(adamw_ref, &s) == ERR_ARG);
}

void selftest_schedules(selftest *t)
{
    const double lr = 5e-3, min = 1e-4;
    EXPECT(schedule_cosine(0, lr, min, 2000, 80000) == 0);
    EXPECT_NEAR(schedule_cosine(1, lr, min, 2000, 80000), 2.5e-6, 1e-18);
    EXPECT_NEAR(schedule_cosine(1999, lr, min, 2000, 80000), 4.9975e-3, 1e-15);
    EXPECT_NEAR(schedule_cosine(2000, lr, min, 2000, 80000), 5e-3, 1e-15);
    EXPECT_NEAR(schedule_cosine(41000, lr, min, 2000, 80000), 2.55e-3, 1e-15);
    EXPECT_NEAR(schedule_cosine(80000, lr, min, 2000, 80000), 1e-4, 1e-15);
    EXPECT(schedule_cosine(80001, lr, min, 2000, 80000) == min);
    /* n = 1000: 32 steps an epoch */
    EXPECT_NEAR(schedule_regbench(0, 1e-4, 640, 6400), 1e-6, 1e-18);
    EXPECT_NEAR(schedule_regbench(639, 1e-4, 640, 6400), 9.98453e-5, 5e-11);
    EXPECT_NEAR(schedule_regbench(640, 1e-4, 640, 6400), 9.77975e-5, 5e-11);
    EXPECT_NEAR(schedule_regbench(3200, 1e-4, 640, 6400), 5.5e-5, 1e-18);
    EXPECT_NEAR(schedule_regbench(6400, 1e-4, 640, 6400), 1e-5, 1e-18);
}

void selftest_ref_backend(selftest *t)
{
    const backend *b = &ref_backend;
    void *p = NULL;
    double x[3] = {1, 2, 3}, y[3];
    device_facts f;
    EXPECT(b->devices() == 1 && b->facts(&f) == OK && f.units >= 1);
    EXPECT(b->alloc(&p, sizeof x) == OK && (uintptr_t)p % 256 == 0);
    EXPECT(b->poison(p, 3, F64) == OK && isnan(((double *)p)[2]));
    EXPECT(b->poison(p, 3, I32) == OK && ((int32_t *)p)[2] == INT32_MIN);
    EXPECT(b->put(p, x, 3, F64) == OK && b->get(y, p, 3, F64) == OK && y[2] == 3);
    EXPECT(b->put(p, x, 3, BF16) == ERR_ARG && b->sync() == OK);
    args a = {.in = {p}, .out = {y}, .d = {.N = 3}};
    double seconds = -1;
    EXPECT(b->time(global_norm_ref, &a, &seconds) == OK && seconds >= 0);
    EXPECT_NEAR(y[0], sqrt(14), 1e-15);
    b->release(p);
    b->release(NULL);
}
