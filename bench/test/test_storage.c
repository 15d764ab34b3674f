/* SPDX-License-Identifier: MIT
 *
 * test_storage.c — the comparison knows rounding from error: a backend on the host keeps tensors as
 * float, or rounded to bfloat16 or half precision. The reference behind it passes; moved by 1e-6 in
 * float32 it is marginal, by 5e-6 wrong. The arithmetic of three kernels passes in float as well,
 * but fails without what makes it exact: entmax and ReLUmax (kernels/newton.cuh, relumax.cu)
 * without what the rounding of the slope leaves, normReLU (normrelu.cu) with distances from the
 * maximum.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/inputs.h"
#include "selftest.h"
#include "test_check.h"

static float bf16_round(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isfinite(f)) bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float f16_round(double x)
{
    int e;
    if (x == 0 || !isfinite(x)) return (float)x;
    if (fabs(x) >= 65520) return x < 0 ? -INFINITY : INFINITY;
    frexp(x, &e);
    e = e - 11 < -24 ? -24 : e - 11; /* of the last place */
    return (float)ldexp(nearbyint(ldexp(x, -e)), e);
}

static float rounded(double x, dtype type)
{
    return type == BF16 ? bf16_round(x) : type == F16 ? f16_round(x) : (float)x;
}

static int host_devices(void)
{
    return 1;
}

static status host_alloc(void **p, size_t bytes)
{
    return ref_backend.alloc(p, 2 * bytes); /* 16 bits rest in a float here */
}

static status host_put(void *to, const void *from, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = ((const int32_t *)from)[i];
        else
            ((float *)to)[i] = rounded(((const double *)from)[i], type);
    }
    return OK;
}

static status host_get(void *to, const void *from, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = ((const int32_t *)from)[i];
        else
            ((double *)to)[i] = ((const float *)from)[i];
    }
    return OK;
}

static status host_poison(void *to, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = INT32_MIN;
        else
            ((float *)to)[i] = NAN;
    }
    return OK;
}

static status host_sync(void)
{
    return OK;
}

static void host_release(void *p)
{
    ref_backend.release(p);
}

static const backend host = {.name = "host",
                             .devices = host_devices,
                             .alloc = host_alloc,
                             .release = host_release,
                             .put = host_put,
                             .get = host_get,
                             .poison = host_poison,
                             .sync = host_sync};

/* The reference on float tensors: c beta -> p stat, with p moved by `defect`. */
static status through_float(const args *a, op_fn *f, double defect)
{
    const size_t rows = (size_t)a->d.R, all = rows * (size_t)a->d.N;
    double *x = malloc((2 * all + (1 + STATS) * rows) * sizeof *x);
    double *c = x, *p = x + all, *beta = x + 2 * all, *stat = beta + rows;
    args b = *a;
    if (a->need) return free(x), *a->need = 0, OK;
    if (!x) return fail(ERR_MEMORY, "test: no memory");
    host_get(c, a->in[0], all, F32);
    for (size_t r = 0; r < rows; r++)
        beta[r] = a->in[1] ? IN(float, 1)[r] : 1;
    b.in[0] = c;
    b.in[1] = beta;
    b.out[0] = p;
    b.out[1] = stat;
    b.type = F64;
    status s = f(&b);
    for (size_t j = 0; j < all; j++)
        p[j] *= 1 + defect;
    host_put(a->out[0], p, all, a->type);
    if (a->out[1]) host_put(a->out[1], stat, STATS * rows, F32);
    free(x);
    return s;
}

static status float_right(const args *a)
{
    return through_float(a, sparsemax_ref, 0);
}

static status float_wrong(const args *a)
{
    return through_float(a, sparsemax_ref, 5e-6);
}

static status float_nearly(const args *a)
{
    return through_float(a, sparsemax_ref, 1e-6);
}

/* ---- Newton in float ------------------------------------------------------------------------ */

enum { THREADS = 1024 };

/* F = sum_j y_j^r and G = sum_j y_j^(r-1), y_j = [1 + k (c_j - m)]_+, in the order of a team. */
static float newton_sum(const float *c, int64_t n, float m, float k, float r, float *G)
{
    float F[THREADS] = {0}, low[THREADS] = {0};
    for (int64_t j = 0; j < n; j++) {
        const float y = fmaf(k, c[j] - m, 1);
        if (!(y > 0)) continue;
        F[j % THREADS] += powf(y, r);
        low[j % THREADS] += powf(y, r - 1);
    }
    for (int step = 1; step < THREADS; step *= 2)
        for (int i = 0; i < THREADS; i += 2 * step) {
            F[i] += F[i + step];
            low[i] += low[i + step];
        }
    *G = low[0];
    return F[0];
}

static void newton_row(const float *c, int64_t n, float m, const params *q, float beta, int refine,
                       float *p)
{
    const float a = (float)(q->alpha - 1), r = 1 / a;
    const float scale = (float)((q->alpha - 1) * beta * beta);
    float w = 1, k, F, G, rest = 0;
    for (int step = 0; step < 64; step++) {
        k = fminf(fmaxf(scale / w, 0x1p-126f), 0x1.fffffep127f);
        F = newton_sum(c, n, m, k, r, &G);
        const float gap = w - powf(F, -a), next = w - F / G * gap;
        if (!(fabsf(gap) > 0x1p-23f * w && next < w)) break;
        w = next;
    }
    w = scale / k;
    const float rho = fmaf(w, powf(w, r - 1) * F, -1) + r * fmaf(-w, k, scale) / scale;
    if (refine && fabsf(rho) < 0.5f) {
        rest = k * (F / G * rho * a);
        F -= F * (1 - F / G) * rho;
    }
    for (int64_t j = 0; j < n; j++) {
        const float y = fmaf(rest, c[j] - m, fmaf(k, c[j] - m, 1));
        p[j] = y > 0 ? powf(fminf(y, 1), r) / F : 0;
    }
}

static status newton(const args *a, int refine)
{
    TRY(through_float(a, entmax_ref, 0));
    for (int64_t row = 0; !a->need && row < a->d.R; row++) {
        const int64_t N = a->d.N, n = a->live ? a->live[row] : N;
        const float *c = IN(float, 0) + row * N, beta = a->in[1] ? IN(float, 1)[row] : 1;
        float *p = OUT(float, 0) + row * N, m = -INFINITY;
        int idle = 0;
        for (int64_t j = 0; j < n; j++) {
            idle |= isnan(c[j]) || c[j] == INFINITY;
            m = fmaxf(m, c[j]); /* a score, no error */
        }
        if (idle || m == -INFINITY) continue;
        newton_row(c, n, m, &a->p, beta, refine, p);
        for (int64_t j = 0; j < n; j++)
            p[j] = rounded(p[j], a->type);
    }
    return OK;
}

static status newton_refined(const args *a)
{
    return newton(a, 1);
}

static status newton_plain(const args *a)
{
    return newton(a, 0);
}

/* The worst error of p and stat, infinite if the support differs. The first key of every row is put
 * 1e-4 to one side of `edge`, if that is a number. */
static double error_of(const impl *i, const char *family, dims d, const params *p, double beta,
                       double edge, dtype type)
{
    match m[MAX_TENSORS];
    double error = 0;
    int count = 0;
    call *c;
    if (call_create(&c, op_at(i->op), i, &d, p, type) != OK) return INFINITY;
    if (inputs_fill(c, family, beta, 7) != OK) error = INFINITY;
    for (int64_t r = 0; r < d.R && !isnan(edge); r++)
        ((double *)call_in(c, "c"))[r * d.N] = edge + (r / 8 % 2 ? 1e-4 : -1e-4);
    if (call_once(c) != OK || match_call(c, m, &count) != OK) error = INFINITY;
    for (int k = 0; k < count; k++)
        error = worse(error, m[k].support ? INFINITY : m[k].error);
    call_destroy(c);
    return error;
}

/* Of long rows, most of whose keys lie at the threshold for some beta. */
static double long_error(const impl *i, double alpha)
{
    params p = params_default();
    p.alpha = alpha;
    return error_of(i, "spike", (dims){.R = 8, .N = 16384}, &p, 0, NAN, F32);
}

void selftest_check_newton(selftest *t)
{
    const op *o = op_find("entmax");
    const impl refined = tested(OP_entmax, "refined", newton_refined, &host);
    const impl plain = tested(OP_entmax, "plain", newton_plain, &host);
    static const dtype types[] = {F32, BF16, F16};
    static const double alphas[] = {2, 1.75, 1.5, 4 / 3.0, 1.25, 1.1};
    for (int i = 0; i < 3; i++) {
        EXPECT(law_failures(o, &refined, types[i]) == 0);
        EXPECT(match_failures(o, &refined, types[i], MARGINAL) == 0);
    }
    for (int i = 0; i < 6; i++)
        EXPECT(long_error(&refined, alphas[i]) <= 4);
    EXPECT(long_error(&plain, 2) > 30);
}

/* ---- normReLU in float ---------------------------------------------------------------------- */

/* From the maximum or, as kernels/normrelu.cu, from the threshold; A > 0. False: no support. */
static int normrelu_row(const float *c, int64_t n, float m, double A, double b, int from_threshold,
                        float *p, float *stat)
{
    float sum = 0, t = from_threshold ? (float)(-b / A) : m;
    if (!(fabsf(t) < 1e30f)) t = 0;
    const double most = A * m + b, unit = fmax(most, A * 1e-38);
    const float slope = (float)(A / unit), level = (float)((A * t + b) / unit);
    if (!(most > 0)) return 0;
    stat[STAT_COUNT] = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = fminf(fmaxf(fmaf(slope, c[j] - t, level), 0), 1);
        sum += p[j];
    }
    for (int64_t j = 0; j < n; j++) {
        p[j] /= sum;
        stat[STAT_COUNT] += p[j] > 0;
    }
    stat[STAT_NORM] = (float)(unit * sum);
    return 1;
}

static status normrelu(const args *a, int from_threshold)
{
    TRY(through_float(a, normrelu_ref, 0));
    for (int64_t r = 0; !a->need && r < a->d.R; r++) {
        const int64_t N = a->d.N, n = a->live ? a->live[r] : N;
        const float *c = IN(float, 0) + r * N, beta = a->in[1] ? IN(float, 1)[r] : 1;
        const double b2 = (double)beta * beta;
        float *p = OUT(float, 0) + r * N, *stat = OUT(float, 1) + r * STATS;
        double A = 2 * b2, b = 1 - 2 * b2;
        if (a->p.form == NORMRELU_CODE_MATRIX) A *= b2;
        if (a->p.form == NORMRELU_CODE_EFT) A = 1, b = 0;
        if (stat[STAT_ARG] < 0 || !(stat[STAT_MAX] < INFINITY) || stat[STAT_NORM] == 0) continue;
        if (!normrelu_row(c, n, stat[STAT_MAX], A, b, from_threshold, p, stat)) continue;
        for (int64_t j = 0; j < n; j++)
            p[j] = rounded(p[j], a->type);
    }
    return OK;
}

static status normrelu_threshold(const args *a)
{
    return normrelu(a, 1);
}

static status normrelu_maximum(const args *a)
{
    return normrelu(a, 0);
}

void selftest_check_normrelu(selftest *t)
{
    const impl threshold = tested(OP_normrelu, "threshold", normrelu_threshold, &host);
    const impl maximum = tested(OP_normrelu, "maximum", normrelu_maximum, &host);
    static const normrelu_form forms[] = {NORMRELU_PAPER, NORMRELU_CODE_MATRIX, NORMRELU_CODE_EFT};
    static const dtype types[] = {F32, BF16, F16};
    const dims d = {.R = 64, .N = 4096};
    params p = params_default();
    for (int f = 0; input_name(f); f++)
        for (int k = 0; k < 9; k++) {
            p.form = forms[k % 3];
            EXPECT(error_of(&threshold, input_name(f), (dims){.R = 16, .N = 33}, &p, 0, NAN,
                            types[k / 3]) <= 4);
        }
    p.form = NORMRELU_PAPER;
    EXPECT(error_of(&threshold, "gauss", d, &p, 1, 0.5, F32) <= 4);
    EXPECT(error_of(&maximum, "gauss", d, &p, 1, 0.5, F32) == INFINITY);
}

/* ---- ReLUmax in float ----------------------------------------------------------------------- */

static status relumax(const args *a, int refine)
{
    TRY(through_float(a, relumax_ref, 0));
    for (int64_t r = 0; !a->need && r < a->d.R; r++) {
        const float *c = IN(float, 0) + r * a->d.N, beta = a->in[1] ? IN(float, 1)[r] : 1;
        const double steep = (double)beta * beta / a->p.relumax_b;
        const float k = (float)steep, rest = refine ? (float)(steep - k) : 0;
        float *p = OUT(float, 0) + r * a->d.N, m = -INFINITY, sum = 0;
        for (int64_t j = 0; j < a->d.N; j++)
            m = fmaxf(m, c[j]); /* a score, no error */
        for (int64_t j = 0; j < a->d.N; j++) {
            p[j] = fmaxf(fmaf(rest, c[j] - m, fmaf(k, c[j] - m, 1)), 0);
            sum += p[j];
        }
        for (int64_t j = 0; j < a->d.N; j++)
            p[j] = rounded(p[j] / sum, a->type);
    }
    return OK;
}

static status relumax_refined(const args *a)
{
    return relumax(a, 1);
}

static status relumax_plain(const args *a)
{
    return relumax(a, 0);
}

void selftest_check_relumax(selftest *t)
{
    const impl refined = tested(OP_relumax, "refined", relumax_refined, &host);
    const impl plain = tested(OP_relumax, "plain", relumax_plain, &host);
    const dims d = {.R = 8, .N = 1024};
    const params p = params_default();
    EXPECT(error_of(&refined, "spike", d, &p, 1.00019, NAN, F32) <= 10);
    EXPECT(error_of(&plain, "spike", d, &p, 1.00019, NAN, F32) > 30);
}

void selftest_check_storage(selftest *t)
{
    const op *o = op_find("sparsemax");
    const impl good = tested(OP_sparsemax, "right", float_right, &host);
    const impl wrong = tested(OP_sparsemax, "wrong", float_wrong, &host);
    const impl nearly = tested(OP_sparsemax, "nearly", float_nearly, &host);
    EXPECT(law_failures(o, &good, F32) == 0);
    EXPECT(law_failures(o, &good, BF16) == 0);
    EXPECT(law_failures(o, &good, F16) == 0);
    EXPECT(law_failures(o, &wrong, F32) > 0);
    EXPECT(match_failures(o, &good, F32, MARGINAL) == 0);
    EXPECT(match_failures(o, &good, BF16, MARGINAL) == 0);
    EXPECT(match_failures(o, &good, F16, MARGINAL) == 0);
    EXPECT(match_failures(o, &nearly, F32, MARGINAL) > 0);
    EXPECT(match_failures(o, &nearly, F32, FAIL) == 0);
    EXPECT(match_failures(o, &wrong, F32, FAIL) > 0);
}
