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

status score(const args *a, const score_frame *f, float *y, const void *x, const void *w,
             double scale)
{
    const int64_t T = a->d.T;
    for (int64_t b = 0; b < a->d.B; b++)
        TRY(multiply(&f->m, T, T, a->d.D, scale, heads(a, x, b, 0), heads(a, w, b, 1),
                     scores(a, y, F32, b, 0), 0, a->d.H));
    return OK;
}

status score_mix(const args *a, const score_frame *f, void *y, const void *p, int transposed,
                 const void *x, double scale, int add)
{
    const int64_t T = a->d.T;
    for (int64_t b = 0; b < a->d.B; b++)
        TRY(multiply(&f->m, T, a->d.D, T, scale, scores(a, p, a->type, b, transposed),
                     heads(a, x, b, 0), heads(a, y, b, 0), add, a->d.H));
    return OK;
}
