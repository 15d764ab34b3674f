/* SPDX-License-Identifier: MIT
 *
 * attention — every position reads the values of the positions it may see.
 *
 *     forward   c_tj = scale <q_t,k_j>,   p_t = pi(c_t; beta) on N(t) = {0 .. t - lag},
 *               o_t = sum_j p~_tj v_j,    p~ = dropout(p)
 *     backward  G_tj = <do_t,v_j> with the mask of p~,  A = scale dc(G; p),
 *               dq_t = sum_j A_tj k_j,  dk_j = sum_t A_tj q_t,  dv_j = sum_t p~_tj do_t,
 *               dbeta = sum over the rows of the head
 *
 * q, k, v (B,T,H,D), beta (H) or NULL -> o (B,T,H,D), stat (B,H,T,S), that of the transform.
 * q and k may be the same array; if dq and dk are, it receives the sum of both.
 * pi is args.transform with the same params. Reads lag, scale, and rate, seed, site, step,
 * first_row, whole_T: where rate > 0, weight (t,j) of head h of sample b is dropped as element
 * ((b' H + h) T' + t) T' + j of dropout.c, b' = first_row + b, T' = whole_T.
 * Keeps p (B,H,T,T); the gradient without it, or without stat, computes the weights again from q
 * and k, to the same bits. It reads no o: the transform's gradient starts from p and G.
 * Method: strips of rows of one head, so that scores stay in the cache; products of matmul.h over
 * the keys that the strip can see.
 * Source: model 2.6, 2.7.
 */
#include "matmul.h"
#include "stage.h"

#include <string.h>

/* The scratch is one slab for each of at most SLABS heads in flight, the last element of `live`
 * and the partial sums of dbeta. */
enum { SLABS = 32, STRIP = 64, LINE = 8 };

typedef struct plan {
    int64_t heads, slabs, rows; /* heads: B H; rows: of a strip */
    int64_t slab;               /* doubles of a slab */
    int32_t *live;
    double *partial, *slabs_at;
} plan;

static plan plan_of(const args *a, int tiles, size_t *bytes)
{
    const int64_t T = a->d.T, heads = a->d.B * a->d.H;
    plan s = {.heads = heads, .slabs = heads < SLABS ? heads : SLABS};
    s.rows = T < STRIP ? T : T > 4096 ? STRIP / 4 : STRIP;
    s.slab = (s.rows * (tiles * T + STATS + 2) + LINE - 1) / LINE * LINE;
    const int64_t live = (T / 2 + LINE) / LINE * LINE, partial = (heads + LINE - 1) / LINE * LINE;
    *bytes = (size_t)(live + partial + s.slabs * s.slab) * sizeof(double);
    if (a->need) return s; /* there is no scratch yet */
    s.live = a->work;
    s.partial = (double *)a->work + live;
    s.slabs_at = s.partial + partial;
    return s;
}

static status check(const char *name, const args *a)
{
    TRY(transform_check(name, a->transform));
    if (a->p.lag < 0) return fail(ERR_ARG, "%s: lag: expected >= 0", name);
    if (!(a->p.rate >= 0 && a->p.rate < 1))
        return fail(ERR_ARG, "%s: rate: expected 0 <= rate < 1, got %g", name, a->p.rate);
    return OK;
}

void attention_live(const args *a, int32_t *live)
{
    for (int64_t t = 0; t < a->d.T; t++)
        live[t] = (int32_t)(t + 1 > a->p.lag ? t + 1 - a->p.lag : 0);
}

/* Dropout of rows [t,t+rows) of one head, the first `keys` columns, and of G in place if given. */
static void drop(const args *a, int64_t head, int64_t t, int64_t rows, int64_t keys,
                 const double *p, double *dropped, double *G)
{
    const int64_t T = a->d.T, whole = params_whole_T(&a->p, T);
    const int64_t row = (a->p.first_row * a->d.H + head) * whole + t;
    for (int64_t r = 0; r < rows; r++)
        dropout_slice(&a->p, (row + r) * whole, keys, p + r * T, dropped + r * T,
                      G ? G + r * T : NULL, G ? G + r * T : NULL);
}

/* Where row t of a head begins in a tensor (B,T,H,D); its rows are H D apart. */
static int64_t offset(const args *a, int64_t head, int64_t t)
{
    const int64_t b = head / a->d.H, h = head % a->d.H;
    return ((b * a->d.T + t) * a->d.H + h) * a->d.D;
}

status attention_rows(const args *a, const double *beta, const int32_t *live, int64_t head,
                      int64_t t, int64_t rows, double *c, double *row_beta, double *p, double *stat)
{
    const int64_t T = a->d.T, D = a->d.D, step = a->d.H * D, keys = live[t + rows - 1];
    const view q = {IN(double, 0) + offset(a, head, t), step, 1};
    const view k = {IN(double, 1) + offset(a, head, 0), 1, step};
    matmul(rows, keys, D, q, k, c, T, 0);
    for (int64_t r = 0; r < rows; r++) {
        row_beta[r] = beta ? beta[head % a->d.H] : 1;
        for (int64_t j = 0; j < keys && a->p.scale != 1; j++)
            c[r * T + j] *= a->p.scale;
    }
    args f = {.in = {c, row_beta}, .out = {p, stat}, .live = live + t, .p = a->p};
    f.d = (dims){.R = rows, .N = T};
    return reference_of(a->transform)(&f);
}

/* One strip: rows of one head from t on. */
typedef status strip_fn(const args *a, const plan *s, double *slab, int64_t head, int64_t t);

/* Every strip of every head; the strips of a head in order, in the same slab. */
static status each_strip(const args *a, const plan *s, strip_fn *one, const char *name)
{
    status result = OK;
/* one head by itself: the threads share its products and rows instead */
#pragma omp parallel for schedule(dynamic) if (s->slabs > 1)
    for (int64_t i = 0; i < s->slabs; i++)
        for (int64_t head = i; head < s->heads; head += s->slabs)
            for (int64_t t = 0; t < a->d.T; t += s->rows) {
                status got = one(a, s, s->slabs_at + i * s->slab, head, t);
                if (got == OK) continue;
#pragma omp critical
                result = got;
            }
    return result == OK ? OK : fail(result, "%s: weights: %s", name, status_text(result));
}

static status strip(const args *a, const plan *s, double *slab, int64_t head, int64_t t)
{
    const int64_t T = a->d.T, D = a->d.D, step = a->d.H * D;
    const int64_t rows = T - t < s->rows ? T - t : s->rows, keys = s->live[t + rows - 1];
    double *c = slab, *dropped = slab + rows * T, *stat = slab + 2 * rows * T;
    double *beta = stat + rows * STATS, *p = dropped;
    const view v = {IN(double, 2) + offset(a, head, 0), step, 1};
    if (a->keep) p = (double *)a->keep + (head * T + t) * T;
    if (OUT(double, 1)) stat = OUT(double, 1) + (head * T + t) * STATS;

    TRY(attention_rows(a, IN(double, 3), s->live, head, t, rows, c, beta, p, stat));
    if (a->p.rate > 0) {
        drop(a, head, t, rows, keys, p, dropped, NULL);
        p = dropped;
    }
    matmul(rows, D, keys, (view){p, T, 1}, v, OUT(double, 0) + offset(a, head, t), step, 0);
    return OK;
}

static size_t kept_bytes(const args *a)
{
    return (size_t)(a->d.B * a->d.H * a->d.T * a->d.T) * sizeof(double);
}

status attention_ref(const args *a)
{
    size_t bytes;
    const plan s = plan_of(a, 2, &bytes);
    if (a->need) {
        *a->need = bytes;
        if (a->keep_need) *a->keep_need = kept_bytes(a);
        return OK;
    }
    TRY(check("attention", a));
    attention_live(a, s.live);
    return each_strip(a, &s, strip, "attention");
}

static status strip_grad(const args *a, const plan *s, double *slab, int64_t head, int64_t t)
{
    const int64_t T = a->d.T, D = a->d.D, step = a->d.H * D;
    const int64_t rows = T - t < s->rows ? T - t : s->rows, keys = s->live[t + rows - 1];
    double *G = slab, *dc = G + rows * T, *own = dc + rows * T, *own_stat = own + rows * T;
    double *dbeta = own_stat + rows * STATS, *beta = dbeta + rows, *dropped = dc;
    const double *p = own, *stat = own_stat;
    const int64_t here = offset(a, head, t), first = offset(a, head, 0);
    const double *q = IN(double, 0) + here, *k = IN(double, 1) + first;
    const double *v = IN(double, 2) + first, *g = IN(double, 6) + here;
    const double *kept = a->keep;
    double *dq = OUT(double, 0) + here, *dk = OUT(double, 1), *dv = OUT(double, 2);

    if (kept && IN(double, 5)) {
        p = kept + (head * T + t) * T;
        stat = IN(double, 5) + (head * T + t) * STATS;
    } else {
        TRY(attention_rows(a, IN(double, 3), s->live, head, t, rows, G, beta, own, own_stat));
    }
    const double *weight = p;
    matmul(rows, keys, D, (view){g, step, 1}, (view){v, 1, step}, G, T, 0);
    if (a->p.rate > 0) {
        drop(a, head, t, rows, keys, p, dropped, G);
        weight = dropped;
    }
    if (dv) matmul(keys, D, rows, (view){weight, 1, T}, (view){g, step, 1}, dv + first, step, 1);
    for (int64_t r = 0; r < rows; r++)
        beta[r] = IN(double, 3) ? IN(double, 3)[head % a->d.H] : 1;
    args f = {.in = {beta, p, stat, G}, .out = {dc, dbeta}, .live = s->live + t, .p = a->p};
    f.d = (dims){.R = rows, .N = T};
    TRY(reference_of(gradient_of(a->transform))(&f));
    for (int64_t r = 0; r < rows; r++) {
        s->partial[head] += dbeta[r];
        for (int64_t j = 0; j < keys && a->p.scale != 1; j++)
            dc[r * T + j] *= a->p.scale;
    }
    matmul(rows, D, keys, (view){dc, T, 1}, (view){k, step, 1}, dq, step, 1);
    if (dk) matmul(keys, D, rows, (view){dc, 1, T}, (view){q, step, 1}, dk + first, step, 1);
    return OK;
}

status attention_grad_ref(const args *a)
{
    size_t bytes;
    const plan s = plan_of(a, 3, &bytes);
    if (a->need) return *a->need = bytes, OK;
    TRY(check("attention_grad", a));
    const size_t size = (size_t)(a->d.B * a->d.T * a->d.H * a->d.D) * sizeof(double);
    for (int i = 0; i < 3; i++)
        if (OUT(double, i)) memset(OUT(double, i), 0, size);
    attention_live(a, s.live);
    memset(s.partial, 0, (size_t)s.heads * sizeof(double));
    TRY(each_strip(a, &s, strip_grad, "attention_grad"));
    double *dbeta = OUT(double, 3);
    for (int64_t h = 0; h < a->d.H && dbeta; h++) {
        dbeta[h] = 0;
        for (int64_t b = 0; b < a->d.B; b++)
            dbeta[h] += s.partial[b * a->d.H + h];
    }
    return OK;
}
