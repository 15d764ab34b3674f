/* SPDX-License-Identifier: MIT
 *
 * attention — every position reads the values of the positions it may see.
 *
 *     c_tj = scale <q_t,k_j>,   p_t = pi(c_t; beta) on N(t) = {0 .. t - lag},
 *     o_t = sum_j p~_tj v_j,    p~ = dropout(p)
 *     G_tj = <do_t,v_j> with the mask of p~,   A = scale dc(G; p),
 *     dq_t = sum_j A_tj k_j,   dk_j = sum_t A_tj q_t,   dv_j = sum_t p~_tj do_t,
 *     dbeta = sum over the rows of the head
 *
 * q, k, v (B,T,H,D), beta (H) or NULL -> o (B,T,H,D), p (B,H,T,T), stat (B,H,T,S).
 * q and k may be one array; if dq and dk are, it receives the sum of both. The gradient given no p
 * or no stat computes them again. pi is args.weights, its gradient args.weights_grad. Reads lag,
 * scale, rate, seed, site, step; element ((b H + h) T + t) T + j of p is dropped as in dropout.cu.
 * Method: matrices of scores in memory, products by cuBLAS, the row transform in float between.
 * Products run over all keys: what lies beyond N(t) has weight 0 and must be finite.
 * Source: model 2.6, 2.7.
 */
#include "matmul.cuh"
#include "weigh.cuh"

enum { THREADS = 256 };

/* live[r] = |N(t)|, beta[r] = beta_h for r = (b H + h) T + t. */
static __global__ void __launch_bounds__(THREADS)
    rows_kernel(int32_t *live, float *row_beta, const float *beta, int64_t R, int64_t H, int64_t T,
                int64_t lag)
{
    const int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x, seen = r % T + 1 - lag;
    if (r >= R) return;
    live[r] = (int32_t)(seen > 0 ? seen : 0);
    row_beta[r] = beta ? beta[r / T % H] : 1;
}

/* The scratch of one call. */
typedef struct frame {
    matmul m;
    weigher w;
    void *product;
    int32_t *live;
    float *beta, *dbeta;
    size_t bytes;
} frame;

static status frame_of(const args *a, const char *what, frame *f)
{
    const int64_t rows = a->d.B * a->d.H * a->d.T;
    char *work = (char *)a->work;
    if (a->p.lag < 0) return fail(ERR_ARG, "%s: lag: expected >= 0", what);
    f->product = work;
    f->bytes = MATMUL_WORK;
    f->live = (int32_t *)(work + f->bytes);
    f->bytes += padded(sizeof(int32_t) * (size_t)rows);
    f->beta = (float *)(work + f->bytes);
    f->bytes += padded(sizeof(float) * (size_t)rows);
    f->dbeta = (float *)(work + f->bytes);
    f->bytes += padded(sizeof(float) * (size_t)rows);
    f->w.what = what;
    f->w.R = rows, f->w.N = a->d.T;
    f->w.forward = a->weights, f->w.backward = a->weights_grad;
    f->w.live = f->live, f->w.beta = f->beta;
    f->w.call = a;
    return weigher_plan(&f->w, work, &f->bytes);
}

static status begin(const args *a, frame *f, const float *beta)
{
    TRY(matmul_begin(&f->m, f->w.what, a->type, f->product, a->stream));
    if (f->w.R == 0) return OK;
    rows_kernel<<<(unsigned)ceil_div(f->w.R, THREADS), THREADS, 0, stream_of(a)>>>(
        f->live, f->beta, beta, f->w.R, a->d.H, a->d.T, a->p.lag);
    return launched(f->w.what);
}

/* Sample b of a tensor (B,T,H,D), a batch of H matrices (T,D); and of scores (B,H,T,T). */
static matrix heads(const args *a, const void *p, int64_t b, int transposed)
{
    const int64_t HD = a->d.H * a->d.D;
    const char *at = (const char *)p + (size_t)(b * a->d.T * HD) * dtype_size(a->type);
    return matrix{at, a->type, HD, a->d.D, transposed};
}
static matrix scores(const args *a, const void *p, dtype type, int64_t b, int transposed)
{
    const int64_t T = a->d.T;
    const char *at = (const char *)p + (size_t)(b * a->d.H * T * T) * dtype_size(type);
    return matrix{at, type, T, T * T, transposed};
}

/* y_b = scale x w^T (T,T) in float */
static status score(const args *a, const frame *f, float *y, const void *x, const void *w,
                    double scale)
{
    const int64_t T = a->d.T;
    for (int64_t b = 0; b < a->d.B; b++)
        TRY(multiply(&f->m, T, T, a->d.D, scale, heads(a, x, b, 0), heads(a, w, b, 1),
                     scores(a, y, F32, b, 0), 0, a->d.H));
    return OK;
}

/* y_b = scale p x (T,D), or p^T x; added to what y holds if `add`. */
static status mix(const args *a, const frame *f, void *y, const void *p, int transposed,
                  const void *x, double scale, int add)
{
    const int64_t T = a->d.T;
    for (int64_t b = 0; b < a->d.B; b++)
        TRY(multiply(&f->m, T, a->d.D, T, scale, scores(a, p, a->type, b, transposed),
                     heads(a, x, b, 0), heads(a, y, b, 0), add, a->d.H));
    return OK;
}

extern "C" status attention_cublas(const args *a)
{
    frame f = {};
    const void *mixed;
    if (!a->weights) return fail(ERR_ARG, "attention: weights: expected a transform of the scores");
    TRY(frame_of(a, "attention", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(begin(a, &f, IN(float, 3)));
    TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    TRY(weigh(&f.w, a->out[1], OUT(float, 2), &mixed));
    return mix(a, &f, a->out[0], mixed, 0, a->in[2], 1, 0);
}

extern "C" status attention_grad_cublas(const args *a)
{
    frame f = {};
    const float *weights, *stat;
    const void *mixed, *dc, *p = a->in[4], *g = a->in[6];
    TRY(frame_of(a, "attention_grad", &f));
    if (a->need) {
        *a->need = f.bytes;
        return OK;
    }
    TRY(begin(a, &f, IN(float, 3)));
    if (!p || !a->in[5]) TRY(score(a, &f, f.w.a, a->in[0], a->in[1], a->p.scale));
    TRY(weigh_again(&f.w, p, IN(float, 5), &weights, &stat, &mixed));
    if (a->out[2]) TRY(mix(a, &f, a->out[2], mixed, 1, g, 1, 0));
    TRY(score(a, &f, f.w.a, g, a->in[2], 1));
    TRY(weigh_grad(&f.w, weights, stat, a->out[3] ? f.dbeta : NULL, &dc));
    TRY(mix(a, &f, a->out[0], dc, 0, a->in[1], a->p.scale, 0));
    if (a->out[1]) TRY(mix(a, &f, a->out[1], dc, 1, a->in[0], a->p.scale, a->out[1] == a->out[0]));
    if (a->out[3]) sum_heads(OUT(float, 3), f.dbeta, a->d.B, a->d.H, a->d.T, NULL, 1, stream_of(a));
    return launched("attention_grad");
}
