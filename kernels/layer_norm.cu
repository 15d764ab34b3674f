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
 * registers. Short rows are loaded to registers while the row before is summed; long ones, where a
 * block is one row and few blocks fit, come by way of shared memory. One slab makes the row sums
 * itself, more slabs take them from a pass before. The parts of the blocks are added in order.
 * layer_norm.cuh: the same kernels make x on the way, and add to dx. Source: Ba et al. 2016.
 */
#include "layer_norm.cuh"

enum { THREADS = 256, GRAD_COLS = 8 };
/* The backward of rows longer than LONG takes them from a ring of STAGES slots. It runs as many
 * blocks as so many warps on each of 132 multiprocessors are, on every device, so that the order of
 * the sums is the same; its registers are bounded to let them in. */
enum { LONG = 1024, STAGES = 2, UNITS = 132, FEW_WARPS = 24, RING_WARPS = 32 };

/* x = base + dropout(out) */
template <typename T> struct incoming_row {
    const T *base, *out;
    T *x;
    drop_mask m;
    bool drops, wide;
    int64_t count;

    __device__ packed<T> operator()(int64_t at, int64_t left) const
    {
        const packed<T> p = load_some(base + at, left, wide), q = load_some(out + at, left, wide);
        float o[packed<T>::width];
        if (drops) drop_pack<T>(o, m, at, count, q);
#pragma unroll
        for (int k = 0; k < packed<T>::width; k++)
            o[k] = p[k] + (drops ? o[k] : q[k]);
        const packed<T> sum = packed_of<T>(o);
        store_some(x + at, sum, left, wide);
        return sum;
    }
};

template <typename T, int HELD, bool JOINED>
static __global__ void __launch_bounds__(ROW_THREADS)
    layer_norm_kernel(const T *x, const float *w, const float *b, T *y, float *mean, float *rstd,
                      int64_t R, int64_t C, float eps, bool wide, incoming_row<T> in)
{
    enum { VEC = packed<T>::width };
    __shared__ float room[2][1][WARP / 2];
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const int64_t width = row < R ? C : 0; /* every lane of a warp takes part in its sums */
    held_row<T, HELD> h;
    if (JOINED)
        h.make(x + row * C, width, wide, [&](int64_t c) { return in(row * C + c, C - c); });
    else
        h.read(x + row * C, width, wide);
    float sum[1] = {0}, square[1] = {0};
    h.each([&](const packed<T> &p, int64_t) {
#pragma unroll
        for (int k = 0; k < VEC; k++)
            sum[0] += p[k];
    });
    row_sums(sum, room, 0);
    const float mu = sum[0] / (float)C;
    h.each([&](const packed<T> &p, int64_t c) {
#pragma unroll
        for (int k = 0; k < VEC; k++)
            square[0] += c + k < C ? (p[k] - mu) * (p[k] - mu) : 0;
    });
    row_sums(square, room, 1);
    const float r = 1 / sqrtf(square[0] / (float)C + eps);
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
    __shared__ float room[2][2][WARP / 2];
    const int64_t row = blockIdx.x;
    const float mu = mean[row], r = rstd[row];
    float s[2] = {0, 0};
    for (int64_t c = (int64_t)threadIdx.x * VEC; c < C; c += (int64_t)blockDim.x * VEC) {
        const packed<T> px = load_some(x + row * C + c, C - c, wide);
        const packed<T> pd = load_some(dy + row * C + c, C - c, wide);
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            const float e = c + k < C ? w[c + k] * pd[k] : 0;
            s[0] += e;
            s[1] += e * (px[k] - mu) * r;
        }
    }
    row_sums(s, room, 0);
    if (threadIdx.x == 0) sums[row] = make_float2(s[0], s[1]);
}

/* dx, with what is added to it, and its dropout; not PARTED: dx alone. */
template <typename T, bool PARTED> struct outgoing {
    T *dx, *dropped;
    const T *plus;
    drop_mask m;
    bool wide;
    int64_t count;

    __device__ packed<T> added(int64_t at, int64_t left) const
    {
        return load_some(plus + at, PARTED && plus ? left : 0, wide);
    }
    __device__ void store(float (&o)[packed<T>::width], const packed<T> &add, int64_t at,
                          int64_t left) const
    {
#pragma unroll
        for (int k = 0; k < packed<T>::width; k++)
            if (PARTED && plus) o[k] += add[k];
        const packed<T> sum = packed_of<T>(o);
        store_some(dx + at, sum, left, wide);
        if (!PARTED || !dropped || left <= 0) return;
        drop_pack<T>(o, m, at, count, sum);
        store_some(dropped + at, packed_of<T>(o), left, wide);
    }
};

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
                             const float (&db)[HELD][VEC], int64_t col, int step, const int *left,
                             int64_t C)
{
    const int width = blockDim.x * GRAD_COLS;
#pragma unroll
    for (int i = 0; i < HELD; i++)
#pragma unroll
        for (int k = 0; k < VEC; k++)
            if (blockDim.y > 1) {
                float *f = fold + threadIdx.y * 2 * width + col + i * step + k;
                f[0] = dw[i][k], f[width] = db[i][k];
            } else if (k < left[i]) {
                float *f = mine + col + i * step + k;
                f[0] = dw[i][k], f[C] = db[i][k];
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

/* Every gridDim.x * blockDim.y-th row, of at most LONG columns. part: what `leave` leaves of every
 * block. */
template <typename T, bool PARTED>
static __global__ void __launch_bounds__(FEW_WARPS *WARP)
    layer_norm_grad_kernel(const T *x, const float *w, const float *mean, const float *rstd,
                           const T *dy, float *part, int64_t R, int64_t C, bool wide,
                           outgoing<T, PARTED> out)
{
    enum { VEC = packed<T>::width, HELD = GRAD_COLS / VEC };
    __shared__ float room[2][2][WARP / 2];
    extern __shared__ float fold[];
    float pw[HELD][VEC], dw[HELD][VEC], db[HELD][VEC];
    const int64_t stride = (int64_t)gridDim.x * blockDim.y;
    int64_t col[HELD];
    const float by_C = 1 / (float)C;
    int turn = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        col[i] = ((int64_t)i * blockDim.x + threadIdx.x) * VEC;
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
        packed<T> add[HELD];
        next.read(x, dy, mean, rstd, row + stride, R, C, col, wide);
#pragma unroll
        for (int i = 0; i < HELD; i++)
            add[i] = out.added(row * C + col[i], row < R ? C - col[i] : 0);
        float s[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < HELD; i++)
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float h = (now.x[i][k] - now.mu) * now.r, e = pw[i][k] * now.dy[i][k];
                s[0] += e;
                s[1] += e * h;
                dw[i][k] += h * now.dy[i][k];
                db[i][k] += now.dy[i][k];
            }
        row_sums(s, room, turn);
        const float a = -now.r * s[0] * by_C, b = -now.r * now.r * s[1] * by_C;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = (now.x[i][k] - now.mu) * b + (pw[i][k] * now.dy[i][k] * now.r + a);
            out.store(o, add[i], row * C + col[i], row < R ? C - col[i] : 0);
        }
    }
    int left[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++)
        left[i] = (int)min(C - col[i], (int64_t)VEC);
    leave<VEC, HELD>(part + (int64_t)blockIdx.x * 2 * C, fold, dw, db, col[0], blockDim.x * VEC,
                     left, C);
}

/* A thread's packs of x and dy of the rows to come, in STAGES slots of shared memory. */
template <typename T> struct incoming {
    enum { VEC = packed<T>::width, HELD = GRAD_COLS / VEC };
    uint4 *slot; /* [STAGES][2][HELD][threads], from this thread's place on */
    int threads, step, next;
    const T *x, *dy; /* the first pack of the row asked for next */
    bool wide;

    __device__ uint4 *place(int stage, int tensor, int i) const
    {
        return slot + ((stage * 2 + tensor) * HELD + i) * threads;
    }
    /* Ask for the packs of a row, of which left[] columns exist, and move on by `stride`. */
    __device__ void ask(const int *left, bool exists, int64_t stride)
    {
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            uint4 *px = place(next, 0, i), *pd = place(next, 1, i);
            if (wide && exists && left[i] > 0) {
                copy_async(px, x + i * step);
                copy_async(pd, dy + i * step);
            } else {
                *px = load_some(x + i * step, exists ? left[i] : 0, false).raw;
                *pd = load_some(dy + i * step, exists ? left[i] : 0, false).raw;
            }
        }
        close_group();
        x += stride, dy += stride;
        next = next == STAGES - 1 ? 0 : next + 1;
    }
};

/* Every gridDim.x-th row of the slab blockIdx.y, for rows wider than LONG. sums NULL: the slab is
 * the row. part: what `leave` leaves of every block. */
template <typename T, bool PARTED>
static __global__ void __launch_bounds__(ROW_THREADS, RING_WARPS *WARP / ROW_THREADS)
    layer_norm_grad_ring_kernel(const T *x, const float *w, const float *mean, const float *rstd,
                                const T *dy, const float2 *sums, float *part, int64_t R, int64_t C,
                                bool wide, outgoing<T, PARTED> out)
{
    enum { VEC = packed<T>::width, HELD = GRAD_COLS / VEC };
    __shared__ float room[2][2][WARP / 2];
    extern __shared__ uint4 ring[];
    float pw[HELD][VEC], dw[HELD][VEC], db[HELD][VEC];
    const int64_t rows = gridDim.x;
    const int64_t col = ((int64_t)blockIdx.y * HELD * blockDim.x + threadIdx.x) * VEC;
    const int step = blockDim.x * VEC;
    int64_t row = blockIdx.x;
    int turn = 0, now = 0, left[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        left[i] = (int)min(C - col - i * step, (int64_t)VEC);
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            pw[i][k] = k < left[i] ? w[col + i * step + k] : 0;
            dw[i][k] = db[i][k] = 0;
        }
    }
    const int64_t at = row * C + col;
    incoming<T> in = {ring + threadIdx.x, (int)blockDim.x, step, 0, x + at, dy + at, wide};
    for (int s = 0; s + 1 < STAGES; s++)
        in.ask(left, row + s * rows < R, rows * C);
    const float by_C = 1 / (float)C;
    float next_mu = row < R ? mean[row] : 0, next_r = row < R ? rstd[row] : 0;
    for (; row < R; row += rows, turn ^= 1) {
        const float mu = next_mu, r = next_r;
        packed<T> add[HELD];
#pragma unroll
        for (int i = 0; i < HELD; i++)
            add[i] = out.added(row * C + col + i * step, left[i]);
        float s[2] = {0, 0};
        groups_arrived<STAGES - 2>();
        next_mu = row + rows < R ? mean[row + rows] : 0;
        next_r = row + rows < R ? rstd[row + rows] : 0;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const packed<T> px = {*in.place(now, 0, i)}, pd = {*in.place(now, 1, i)};
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float h = (px[k] - mu) * r, e = pw[i][k] * pd[k];
                s[0] += e;
                s[1] += e * h;
                dw[i][k] += h * pd[k];
                db[i][k] += pd[k];
            }
        }
        in.ask(left, row + (STAGES - 1) * rows < R, rows * C); /* to where the row before lay */
        if (sums)
            s[0] = sums[row].x, s[1] = sums[row].y;
        else
            row_sums(s, room, turn);
        const float a = -r * s[0] * by_C, b = -r * r * s[1] * by_C;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const packed<T> px = {*in.place(now, 0, i)}, pd = {*in.place(now, 1, i)};
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                o[k] = (px[k] - mu) * b + (pw[i][k] * pd[k] * r + a);
            }
            out.store(o, add[i], row * C + col + i * step, left[i]);
        }
        now = now == STAGES - 1 ? 0 : now + 1;
    }
    leave<VEC, HELD>(part + (int64_t)blockIdx.x * 2 * C, NULL, dw, db, col, step, left, C);
}

/* The dropout of the rows of a call. */
static drop_mask mask_of_rows(const args *a, int vec)
{
    const mask_map map =
        mask_map_of(a->p.first_row, a->d.T, params_whole_T(&a->p, a->d.T), a->d.C, a->d.C);
    return mask_of(&a->p, &map, vec, true);
}

template <typename T, bool JOINED> static status launch(const args *a, const incoming_row<T> &in)
{
    const int64_t R = a->d.R, C = a->d.C, packs = ceil_div(C, packed<T>::width);
    const dim3 threads = row_block(packs);
    const int64_t held = ceil_div(packs, threads.x);
    const auto kernel = held <= 1   ? layer_norm_kernel<T, 1, JOINED>
                        : held <= 2 ? layer_norm_kernel<T, 2, JOINED>
                        : held <= 4 ? layer_norm_kernel<T, 4, JOINED>
                                    : layer_norm_kernel<T, MOST_HELD, JOINED>;
    if (R == 0 || C == 0) return OK;
    kernel<<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        in.x, IN(float, 1), IN(float, 2), OUT(T, 0), OUT(float, 1), OUT(float, 2), R, C,
        (float)a->p.eps, in.wide, in);
    return launched("layer_norm");
}

template <typename T> static status run(const args *a, const joined *j)
{
    enum { VEC = packed<T>::width };
    incoming_row<T> in = {};
    in.x = (T *)IN(T, 0);
    in.wide = a->d.C % VEC == 0 && aligned16(in.x) && aligned16(a->out[0]) && aligned16(a->in[1]) &&
              aligned16(a->in[2]);
    if (!j) return launch<T, false>(a, in);
    in.base = (const T *)j->base, in.out = (const T *)j->out;
    in.wide = in.wide && aligned16(j->base) && aligned16(j->out);
    in.m = mask_of_rows(a, VEC);
    in.drops = a->p.rate > 0;
    in.count = a->d.R * a->d.C;
    return launch<T, true>(a, in);
}

extern "C" status layer_norm_registers(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "layer_norm", run, a, NULL);
}

status layer_norm_join(const args *a, const joined *j)
{
    TRY(rate_fits(&a->p, "layer_norm"));
    return BY_TYPE(a->type, "layer_norm", run, a, j);
}

/* The launch of the backward. */
typedef struct plan {
    dim3 threads;
    int blocks;
    int64_t slabs;
    size_t shared, part, bytes; /* shared memory; scratch of the partial sums; all scratch */
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
    p.shared = C > LONG          ? dtype_size(a->type) * STAGES * 2 * GRAD_COLS * (size_t)tx
               : p.threads.y > 1 ? sizeof(float) * 2 * GRAD_COLS * THREADS
                                 : 0;
    const int warps = C > LONG ? RING_WARPS : FEW_WARPS;
    const int most = UNITS * (warps * WARP / (int)(p.threads.x * p.threads.y));
    const int64_t rows = ceil_div(R, p.threads.y);
    p.blocks = rows < most ? (int)rows : most;
    p.part = padded(sizeof(float) * 2 * (size_t)(C * p.blocks));
    p.bytes = p.part + (p.slabs > 1 ? padded(sizeof(float2) * (size_t)R) : 0);
    return p;
}

template <typename T, bool PARTED>
static status launch_grad(const args *a, const outgoing<T, PARTED> &out)
{
    const int64_t R = a->d.R, C = a->d.C;
    const T *x = IN(T, 0), *dy = IN(T, 4);
    const float *w = IN(float, 1), *mean = IN(float, 2), *rstd = IN(float, 3);
    const plan p = plan_of(a);
    const cudaStream_t stream = stream_of(a);
    float *part = (float *)a->work;
    float2 *sums = p.slabs > 1 ? (float2 *)((char *)a->work + p.part) : NULL;
    if (C == 0) return OK;
    if (R > 0 && sums)
        row_sums_kernel<T>
            <<<(unsigned)R, ROW_THREADS, 0, stream>>>(x, w, mean, rstd, dy, sums, C, out.wide);
    const dim3 blocks(p.blocks, (unsigned)p.slabs);
    if (C > LONG)
        CUDA_TRY(cudaFuncSetAttribute(layer_norm_grad_ring_kernel<T, PARTED>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10),
                 "layer_norm_grad: shared memory");
    if (R > 0 && C > LONG)
        layer_norm_grad_ring_kernel<T, PARTED><<<blocks, p.threads, p.shared, stream>>>(
            x, w, mean, rstd, dy, sums, part, R, C, out.wide, out);
    else if (R > 0)
        layer_norm_grad_kernel<T, PARTED><<<blocks, p.threads, p.shared, stream>>>(
            x, w, mean, rstd, dy, part, R, C, out.wide, out);
    sum_columns(OUT(float, 1), OUT(float, 2), part, p.blocks, C, stream);
    return launched("layer_norm_grad");
}

template <typename T> static status run_grad(const args *a, const parted *to)
{
    enum { VEC = packed<T>::width };
    const bool wide = a->d.C % VEC == 0 && aligned16(a->in[0]) && aligned16(a->in[4]) &&
                      aligned16(a->out[0]) &&
                      (!to || (aligned16(to->plus) && aligned16(to->dropped)));
    const int64_t count = a->d.R * a->d.C;
    if (!to) return launch_grad(a, outgoing<T, false>{OUT(T, 0), NULL, NULL, {}, wide, count});
    return launch_grad(a, outgoing<T, true>{OUT(T, 0), (T *)to->dropped, (const T *)to->plus,
                                            mask_of_rows(a, VEC), wide, count});
}

static status grad(const args *a, const parted *to)
{
    if (a->need) {
        *a->need = plan_of(a).bytes;
        return OK;
    }
    return BY_TYPE(a->type, "layer_norm_grad", run_grad, a, to);
}

extern "C" status layer_norm_grad_registers(const args *a)
{
    return grad(a, NULL);
}

status layer_norm_grad_part(const args *a, const parted *to)
{
    TRY(rate_fits(&a->p, "layer_norm_grad"));
    return grad(a, to);
}
