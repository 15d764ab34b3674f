/* SPDX-License-Identifier: MIT
 *
 * scores — see scores.cuh.
 */
#include "scores.cuh"

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

status score_plan(const args *a, const char *what, score_frame *f)
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
    const int64_t T = a->d.T, whole = params_whole_T(&a->p, T);
    f->w.masks = mask_map_of(a->p.first_row * a->d.H, T, whole, T, whole);
    f->w.live = f->live, f->w.beta = f->beta;
    f->w.call = a;
    return weigher_plan(&f->w, work, &f->bytes);
}

status score_begin(const args *a, score_frame *f, const float *beta)
{
    TRY(matmul_begin(&f->m, f->w.what, a->type, f->product, a->stream));
    if (f->w.R == 0) return OK;
    rows_kernel<<<(unsigned)ceil_div(f->w.R, THREADS), THREADS, 0, stream_of(a)>>>(
        f->live, f->beta, beta, f->w.R, a->d.H, a->d.T, a->p.lag);
    return launched(f->w.what);
}

/* The B H matrices of a call are a batch for each sample or for each head, whichever is fewer
 * calls; the i-th batch of a tensor (B,T,H,D), matrices (T,D), or of scores (B,H,T,T). */
static int64_t batches(const args *a)
{
    return a->d.H < a->d.B ? a->d.H : a->d.B;
}
static int64_t batch_size(const args *a)
{
    return a->d.H < a->d.B ? a->d.B : a->d.H;
}
static matrix batch_of(const args *a, const void *p, dtype type, int64_t i, int64_t sample,
                       int64_t head, int64_t ld, int transposed)
{
    const bool heads = a->d.H < a->d.B;
    const char *at = (const char *)p + (size_t)(i * (heads ? head : sample)) * dtype_size(type);
    return matrix{at, type, ld, heads ? sample : head, transposed};
}
static matrix heads(const args *a, const void *p, int64_t i, int transposed)
{
    const int64_t HD = a->d.H * a->d.D;
    return batch_of(a, p, a->type, i, a->d.T * HD, a->d.D, HD, transposed);
}
static matrix scores(const args *a, const void *p, dtype type, int64_t i, int transposed)
{
    const int64_t T = a->d.T;
    return batch_of(a, p, type, i, a->d.H * T * T, T * T, T, transposed);
}

status score(const args *a, const score_frame *f, float *y, const void *x, const void *w,
             double scale)
{
    const int64_t T = a->d.T;
    for (int64_t i = 0; i < batches(a); i++)
        TRY(multiply(&f->m, T, T, a->d.D, scale, heads(a, x, i, 0), heads(a, w, i, 1),
                     scores(a, y, F32, i, 0), 0, batch_size(a)));
    return OK;
}

status score_mix(const args *a, const score_frame *f, void *y, const void *p, int transposed,
                 const void *x, double scale, int add)
{
    const int64_t T = a->d.T;
    for (int64_t i = 0; i < batches(a); i++)
        TRY(multiply(&f->m, T, a->d.D, T, scale, scores(a, p, a->type, i, transposed),
                     heads(a, x, i, 0), heads(a, y, i, 0), add, batch_size(a)));
    return OK;
}
