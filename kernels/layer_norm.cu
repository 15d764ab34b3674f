/* SPDX-License-Identifier: MIT
 *
 * layer_norm — y = (x - mean) rstd w + b over the C entries of a row.
 *
 *     mean = sum x / C,   rstd = 1 / sqrt(sum (x - mean)^2 / C + eps)
 *     h = (x - mean) rstd,   e = w dy
 *     dx = rstd (e - sum e / C - h sum(e h) / C),   dw = sum_r h dy,   db = sum_r dy
 *
 * x (R, C), w, b (C; b NULL: 0) -> y (R, C), mean, rstd (R). Reads eps.
 * Forward: a team of lanes or a block holds a row in registers, one read and one write, variance
 * about the mean; what exceeds 8 packs for each of 512 threads is read again from the cache.
 * Backward: a block owns a slab of columns for many rows and keeps its part of dw and db in
 * registers, and loads a row while it sums the one before; one slab makes the row sums itself, more
 * slabs take them from a pass before. The parts of the blocks are added in order.
 * Source: Ba et al. 2016.
 */
#include "stage.cuh"

enum { ROW_THREADS = 512, MOST_HELD = 8, THREADS = 256, GRAD_COLS = 8 };
/* The backward runs as many blocks as 24 warps on each of 132 multiprocessors are, on every device,
 * so that the order of the sums is the same; its registers are bounded to let them in. */
enum { UNITS = 132, RESIDENT = 24 * WARP };

/* A row of which each thread keeps its first HELD packs. */
template <typename T, int HELD> struct held_row {
    packed<T> p[HELD];
    const T *row;
    int64_t C;
    bool wide;
    __device__ void read(const T *row_, int64_t C_, bool wide_)
    {
        row = row_, C = C_, wide = wide_;
#pragma unroll
        for (int i = 0; i < HELD; i++)
            p[i] = at(threadIdx.x + (int64_t)i * blockDim.x);
    }
    __device__ packed<T> at(int64_t pack_index) const
    {
        const int64_t c = pack_index * packed<T>::width;
        return load_some(row + c, C - c, wide);
    }
    /* f(pack, column) for every pack of this thread. */
    template <typename F> __device__ void each(F f) const
    {
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int64_t c = (threadIdx.x + (int64_t)i * blockDim.x) * packed<T>::width;
            if (c < C) f(p[i], c);
        }
        for (int64_t i = threadIdx.x + (int64_t)HELD * blockDim.x;
             HELD == MOST_HELD && i * packed<T>::width < C; i += blockDim.x)
            f(at(i), i * packed<T>::width);
    }
};

template <typename T, int HELD>
static __global__ void __launch_bounds__(ROW_THREADS)
    layer_norm_kernel(const T *x, const float *w, const float *b, T *y, float *mean, float *rstd,
                      int64_t R, int64_t C, float eps, bool wide)
{
    enum { VEC = packed<T>::width };
    __shared__ float2 room[2][WARP];
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const int64_t width = row < R ? C : 0; /* every lane of a warp takes part in its sums */
    held_row<T, HELD> h;
    h.read(x + row * C, width, wide);
    float sum = 0, square = 0;
    h.each([&](const packed<T> &p, int64_t) {
#pragma unroll
        for (int k = 0; k < VEC; k++)
            sum += p[k];
    });
    const float mu = row_sum(make_float2(sum, 0), room, 0).x / (float)C;
    h.each([&](const packed<T> &p, int64_t c) {
#pragma unroll
        for (int k = 0; k < VEC; k++)
            square += c + k < C ? (p[k] - mu) * (p[k] - mu) : 0;
    });
    const float r = 1 / sqrtf(row_sum(make_float2(square, 0), room, 1).x / (float)C + eps);
    h.each([&](const packed<T> &p, int64_t c) {
        const packed<float> none = {};
        float o[VEC];
#pragma unroll
        for (int k = 0; k < VEC; k += 4) {
            const packed<float> pw = load_some(w + c + k, C - c - k, wide);
            const packed<float> pb = b ? load_some(b + c + k, C - c - k, wide) : none;
#pragma unroll
            for (int i = 0; i < 4; i++)
                o[k + i] = (p[k + i] - mu) * r * pw[i] + pb[i];
        }
        store_some(y + row * C + c, packed_of<T>(o), C - c, wide);
    });
    if (threadIdx.x == 0 && row < R) {
        if (mean) mean[row] = mu;
        if (rstd) rstd[row] = r;
    }
}

/* sums[row] = (sum e, sum e h), for rows wider than a slab. */
template <typename T>
static __global__ void __launch_bounds__(ROW_THREADS)
    row_sums_kernel(const T *x, const float *w, const float *mean, const float *rstd, const T *dy,
                    float2 *sums, int64_t C, bool wide)
{
    enum { VEC = packed<T>::width };
    __shared__ float2 room[2][WARP];
    const int64_t row = blockIdx.x;
    const float mu = mean[row], r = rstd[row];
    float2 s = make_float2(0, 0);
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < C; c += (int64_t)blockDim.x * VEC) {
        const packed<T> px = load_some(x + row * C + c, C - c, wide);
        const packed<T> pd = load_some(dy + row * C + c, C - c, wide);
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            const float e = c + k < C ? w[c + k] * pd[k] : 0;
            s.x += e;
            s.y += e * (px[k] - mu) * r;
        }
    }
    s = row_sum(s, room, 0);
    if (threadIdx.x == 0) sums[row] = s;
}

/* The packs of one row at this thread's columns, with its mean and rstd. */
template <typename T, int HELD> struct row_pair {
    packed<T> x[HELD], dy[HELD];
    float mu, r;
    __device__ void read(const T *px, const T *pdy, const float *mean, const float *rstd,
                         int64_t row, int64_t R, int64_t C, const int64_t *col, bool wide)
    {
        mu = row < R ? mean[row] : 0;
        r = row < R ? rstd[row] : 0;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int64_t left = row < R ? C - col[i] : 0;
            x[i] = load_some(px + row * C + col[i], left, wide);
            dy[i] = load_some(pdy + row * C + col[i], left, wide);
        }
    }
};

/* The block's sums of h dy and of dy, 2 x C floats, to `mine`; the rows of threads of a block are
 * first added in `fold`, [blockDim.y][2][blockDim.x * GRAD_COLS] of shared memory. */
template <int VEC, int HELD>
__device__ static void leave(float *mine, float *fold, const float (&dw)[HELD][VEC],
                             const float (&db)[HELD][VEC], const int64_t (&col)[HELD], int64_t C)
{
    const int width = blockDim.x * GRAD_COLS;
#pragma unroll
    for (int i = 0; i < HELD; i++)
#pragma unroll
        for (int k = 0; k < VEC; k++)
            if (blockDim.y > 1) {
                float *f = fold + threadIdx.y * 2 * width + col[i] + k;
                f[0] = dw[i][k], f[width] = db[i][k];
            } else if (col[i] + k < C) {
                mine[col[i] + k] = dw[i][k];
                mine[C + col[i] + k] = db[i][k];
            }
    if (blockDim.y == 1) return;
    __syncthreads();
    for (int c = threadIdx.y * blockDim.x + threadIdx.x; c < 2 * width; c += THREADS) {
        float s = 0;
        for (int j = 0; j < (int)blockDim.y; j++)
            s += fold[j * 2 * width + c];
        if (c % width < C) mine[c / width * C + c % width] = s;
    }
}

/* Every gridDim.x * blockDim.y-th row of the slab blockIdx.y. sums NULL: the slab is the row.
 * part: what `leave` leaves of every block. */
template <typename T>
static __global__ void __launch_bounds__(RESIDENT)
    layer_norm_grad_kernel(const T *x, const float *w, const float *mean, const float *rstd,
                           const T *dy, const float2 *sums, T *dx, float *part, int64_t R,
                           int64_t C, bool wide)
{
    enum { VEC = packed<T>::width, HELD = GRAD_COLS / VEC };
    __shared__ float2 room[2][WARP];
    extern __shared__ float fold[];
    float pw[HELD][VEC], dw[HELD][VEC], db[HELD][VEC];
    const int64_t stride = (int64_t)gridDim.x * blockDim.y;
    int64_t col[HELD];
    int turn = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        col[i] = (((int64_t)blockIdx.y * HELD + i) * blockDim.x + threadIdx.x) * VEC;
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            pw[i][k] = col[i] + k < C ? w[col[i] + k] : 0;
            dw[i][k] = db[i][k] = 0;
        }
    }
    row_pair<T, HELD> next;
    next.read(x, dy, mean, rstd, (int64_t)blockIdx.x * blockDim.y + threadIdx.y, R, C, col, wide);
    for (int64_t row0 = (int64_t)blockIdx.x * blockDim.y; row0 < R; row0 += stride, turn ^= 1) {
        const row_pair<T, HELD> now = next;
        const int64_t row = row0 + threadIdx.y;
        next.read(x, dy, mean, rstd, row + stride, R, C, col, wide);
        float2 s = make_float2(0, 0);
#pragma unroll
        for (int i = 0; i < HELD; i++)
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float h = (now.x[i][k] - now.mu) * now.r, e = pw[i][k] * now.dy[i][k];
                s.x += e;
                s.y += e * h;
                dw[i][k] += h * now.dy[i][k];
                db[i][k] += now.dy[i][k];
            }
        s = sums ? sums[row] : row_sum(s, room, turn);
        const float a = s.x / (float)C, b = s.y / (float)C;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float h = (now.x[i][k] - now.mu) * now.r;
                o[k] = now.r * (pw[i][k] * now.dy[i][k] - a - h * b);
            }
            store_some(dx + row * C + col[i], packed_of<T>(o), row < R ? C - col[i] : 0, wide);
        }
    }
    leave<VEC, HELD>(part + (int64_t)blockIdx.x * 2 * C, fold, dw, db, col, C);
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C, packs = ceil_div(C, packed<T>::width);
    const T *x = IN(T, 0);
    const float *w = IN(float, 1), *b = IN(float, 2);
    T *y = OUT(T, 0);
    const bool wide =
        C % packed<T>::width == 0 && aligned16(x) && aligned16(y) && aligned16(w) && aligned16(b);
    const int tx = packs <= MOST_HELD * WARP       ? team_lanes(packs)
                   : packs <= MOST_HELD * WARP * 4 ? WARP * 4
                                                   : (int)ROW_THREADS;
    const dim3 threads = tx <= WARP ? dim3(tx, THREADS / tx) : dim3(tx);
    const int64_t held = ceil_div(packs, tx);
    const auto kernel = held <= 1   ? layer_norm_kernel<T, 1>
                        : held <= 2 ? layer_norm_kernel<T, 2>
                        : held <= 4 ? layer_norm_kernel<T, 4>
                                    : layer_norm_kernel<T, MOST_HELD>;
    if (R == 0 || C == 0) return OK;
    kernel<<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        x, w, b, y, OUT(float, 1), OUT(float, 2), R, C, (float)a->p.eps, wide);
    return launched("layer_norm");
}

extern "C" status layer_norm_registers(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "layer_norm", run, a);
}

/* The launch of the backward, the same for every type. */
typedef struct plan {
    dim3 threads;
    int blocks;
    int64_t slabs;
    size_t fold, part, bytes; /* shared memory; scratch of the partial sums; all scratch */
} plan;

static plan plan_of(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C, full = ceil_div(C, GRAD_COLS * WARP) * WARP;
    const int tx = full <= WARP         ? team_lanes(ceil_div(C, GRAD_COLS))
                   : full < ROW_THREADS ? (int)full
                                        : (int)ROW_THREADS;
    plan p;
    p.threads = tx <= WARP ? dim3(tx, THREADS / tx) : dim3(tx);
    p.slabs = ceil_div(C, GRAD_COLS * tx);
    p.fold = p.threads.y > 1 ? sizeof(float) * 2 * GRAD_COLS * THREADS : 0;
    const int most = UNITS * (RESIDENT / (int)(p.threads.x * p.threads.y));
    const int64_t rows = ceil_div(R, p.threads.y);
    p.blocks = rows < most ? (int)rows : most;
    p.part = padded(sizeof(float) * 2 * (size_t)(C * p.blocks));
    p.bytes = p.part + (p.slabs > 1 ? padded(sizeof(float2) * (size_t)R) : 0);
    return p;
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C;
    const T *x = IN(T, 0), *dy = IN(T, 4);
    const float *w = IN(float, 1), *mean = IN(float, 2), *rstd = IN(float, 3);
    T *dx = OUT(T, 0);
    const bool wide = C % packed<T>::width == 0 && aligned16(x) && aligned16(dy) && aligned16(dx);
    const plan p = plan_of(a);
    const cudaStream_t stream = stream_of(a);
    float *part = (float *)a->work;
    float2 *sums = p.slabs > 1 ? (float2 *)((char *)a->work + p.part) : NULL;
    if (C == 0) return OK;
    if (R > 0 && sums)
        row_sums_kernel<T>
            <<<(unsigned)R, ROW_THREADS, 0, stream>>>(x, w, mean, rstd, dy, sums, C, wide);
    if (R > 0)
        layer_norm_grad_kernel<T><<<dim3(p.blocks, (unsigned)p.slabs), p.threads, p.fold, stream>>>(
            x, w, mean, rstd, dy, sums, dx, part, R, C, wide);
    if (a->out[1]) sum_columns(OUT(float, 1), part, p.blocks, C, 2 * C, stream);
    if (a->out[2]) sum_columns(OUT(float, 2), part + C, p.blocks, C, 2 * C, stream);
    return launched("layer_norm_grad");
}

extern "C" status layer_norm_grad_registers(const args *a)
{
    if (a->need) {
        *a->need = plan_of(a).bytes;
        return OK;
    }
    return BY_TYPE(a->type, "layer_norm_grad", run_grad, a);
}
