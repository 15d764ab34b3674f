/* SPDX-License-Identifier: MIT
 *
 * persistent memory — attention over M learned slots, the same for every position and sample.
 *
 *     forward   s_tm = <q_t, mk_m>,  p_t = softmax(s_t),  z_t = sum_m p~_tm mv_m,  p~ = dropout(p)
 *     backward  G_tm = <dz_t, mv_m> with the mask of p~,   ds = p (G - sum_m p G)
 *               dq_t = sum_m ds_tm mk_m,   dmk_m = sum ds_tm q_t,   dmv_m = sum p~_tm dz_t
 *
 * q (B,T,H,D), mk, mv (H,M,D) -> z (B,T,H,D), stat (B,T,H,S), that of the transform. The bandwidth
 * is in q = beta^2 k. args.transform (softmax in every published model) has beta = 1. Reads rate,
 * seed, site, step, first_row, whole_T: where rate > 0, weight m of row (b,t,h) is dropped as
 * element ((b' T' + t) H + h) M + m of dropout.c, b' = first_row + b, T' = whole_T.
 * The gradient's z and stat may be NULL: it reads neither.
 * Method: strips of rows of one head; the gradient has heads in parallel, each over its strips in
 * order, and recomputes the scores for the row statistics that a transform's gradient reads.
 * Source: Zhang et al. 2025; model 2.8.
 */
#include "matmul.h"
#include "stage.h"

#include <string.h>

enum { SLABS = 32, STRIP = 32, LINE = 8 };

typedef struct plan {
    int64_t slabs, rows, strips, slab; /* rows of a strip, strips of a sample, doubles of a slab */
} plan;

static plan plan_of(const args *a, int64_t jobs, int tiles)
{
    const int64_t T = a->d.T, M = a->d.M;
    plan s = {.slabs = jobs < SLABS ? jobs : SLABS, .rows = T < STRIP ? T : STRIP};
    s.strips = s.rows > 0 ? (T + s.rows - 1) / s.rows : 0;
    s.slab = (s.rows * (tiles * M + STATS) + LINE - 1) / LINE * LINE;
    return s;
}

static status check(const char *name, const args *a)
{
    TRY(transform_check(name, a->transform));
    if (!(a->p.rate >= 0 && a->p.rate < 1))
        return fail(ERR_ARG, "%s: rate: expected 0 <= rate < 1, got %g", name, a->p.rate);
    return OK;
}

/* Dropout of `rows` rows of M whose first is row (b,t,h), and of G in place if given. Rows lie M
 * apart. */
static void drop(const args *a, int64_t b, int64_t h, int64_t t, int64_t rows, const double *p,
                 double *dropped, double *G)
{
    const int64_t M = a->d.M, H = a->d.H, whole = params_whole_T(&a->p, a->d.T);
    const int64_t row = ((a->p.first_row + b) * whole + t) * H + h;
    for (int64_t r = 0; r < rows; r++)
        dropout_slice(&a->p, (row + r * H) * M, M, p + r * M, dropped + r * M, G ? G + r * M : NULL,
                      G ? G + r * M : NULL);
}

/* Scores and weights of `rows` rows; returns in c, p, stat (rows M apart). */
static status weigh(const args *a, const double *q, int64_t rows, const double *mk, double *c,
                    double *p, double *stat)
{
    const int64_t M = a->d.M, D = a->d.D;
    matmul(rows, M, D, (view){q, a->d.H * D, 1}, (view){mk, 1, D}, c, M, 0);
    args f = {.in = {c}, .out = {p, stat}, .d = {.R = rows, .N = M}, .p = a->p};
    return reference_of(a->transform)(&f);
}

static status strip(const args *a, double *slab, int64_t b, int64_t h, int64_t t, int64_t rows)
{
    const int64_t M = a->d.M, D = a->d.D, H = a->d.H, row = (b * a->d.T + t) * H + h;
    double *c = slab, *p = slab + rows * M, *stat = p + rows * M, *all = OUT(double, 1);
    TRY(weigh(a, IN(double, 0) + row * D, rows, IN(double, 1) + h * M * D, c, p, stat));
    for (int64_t r = 0; r < rows && all; r++)
        memcpy(all + (row + r * H) * STATS, stat + r * STATS, STATS * sizeof *stat);
    if (a->p.rate > 0) drop(a, b, h, t, rows, p, p, NULL);
    matmul(rows, D, M, (view){p, M, 1}, (view){IN(double, 2) + h * M * D, D, 1},
           OUT(double, 0) + row * D, H * D, 0);
    return OK;
}

status persistent_memory_ref(const args *a)
{
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H;
    const plan s = plan_of(a, B * H, 2);
    if (a->need) return *a->need = (size_t)(s.slabs * s.slab) * sizeof(double), OK;
    TRY(check("persistent_memory", a));
    status result = OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s.slabs; i++)
        for (int64_t head = i; head < B * H; head += s.slabs)
            for (int64_t t = 0; t < T; t += s.rows) {
                const int64_t rows = T - t < s.rows ? T - t : s.rows;
                status got = strip(a, (double *)a->work + i * s.slab, head / H, head % H, t, rows);
                if (got == OK) continue;
#pragma omp critical
                result = got;
            }
    if (result != OK) return fail(result, "persistent_memory: weights: %s", status_text(result));
    return OK;
}

static status strip_grad(const args *a, double *slab, int64_t b, int64_t h, int64_t t, int64_t rows)
{
    const int64_t M = a->d.M, D = a->d.D, H = a->d.H, row = (b * a->d.T + t) * H + h;
    const double *q = IN(double, 0) + row * D, *dz = IN(double, 5) + row * D;
    const double *mk = IN(double, 1) + h * M * D, *mv = IN(double, 2) + h * M * D;
    double *G = slab, *p = G + rows * M, *ds = p + rows * M, *stat = ds + rows * M;
    double *dmk = OUT(double, 1), *dmv = OUT(double, 2);

    TRY(weigh(a, q, rows, mk, G, p, stat));
    matmul(rows, M, D, (view){dz, H * D, 1}, (view){mv, 1, D}, G, M, 0);
    double *weight = p;
    if (a->p.rate > 0) {
        weight = ds; /* until it is computed */
        drop(a, b, h, t, rows, p, weight, G);
    }
    if (dmv) matmul(M, D, rows, (view){weight, 1, M}, (view){dz, H * D, 1}, dmv + h * M * D, D, 1);
    args f = {.in = {NULL, p, stat, G}, .out = {ds}, .d = {.R = rows, .N = M}, .p = a->p};
    TRY(reference_of(gradient_of(a->transform))(&f));
    matmul(rows, D, M, (view){ds, M, 1}, (view){mk, D, 1}, OUT(double, 0) + row * D, H * D, 0);
    if (dmk) matmul(M, D, rows, (view){ds, 1, M}, (view){q, H * D, 1}, dmk + h * M * D, D, 1);
    return OK;
}

status persistent_memory_grad_ref(const args *a)
{
    const int64_t B = a->d.B, T = a->d.T, H = a->d.H;
    const plan s = plan_of(a, H, 3);
    if (a->need) return *a->need = (size_t)(s.slabs * s.slab) * sizeof(double), OK;
    TRY(check("persistent_memory_grad", a));
    const size_t size = (size_t)(H * a->d.M * a->d.D) * sizeof(double);
    for (int i = 1; i < 3; i++)
        if (OUT(double, i)) memset(OUT(double, i), 0, size);
    status result = OK;
#pragma omp parallel for schedule(dynamic) if (H > 1)
    for (int64_t i = 0; i < s.slabs; i++)
        for (int64_t h = i; h < H; h += s.slabs)
            for (int64_t n = 0; n < B * s.strips; n++) {
                const int64_t t = n % s.strips * s.rows, rows = T - t < s.rows ? T - t : s.rows;
                status got =
                    strip_grad(a, (double *)a->work + i * s.slab, n / s.strips, h, t, rows);
                if (got == OK) continue;
#pragma omp critical
                result = got;
            }
    if (result != OK)
        return fail(result, "persistent_memory_grad: weights: %s", status_text(result));
    return OK;
}
