/* SPDX-License-Identifier: MIT
 *
 * cross_entropy — loss_r = lse_r - z_r[target_r], lse_r = ln sum_v exp(z_rv).
 *
 *     dz_rv = dloss_r (exp(z_rv - lse_r) - 1[v = target_r])
 *
 * z (R, V), target (R) -> loss, lse (R). A target outside 0..V-1 (the code is -1) is not scored:
 * its loss and its row of dz are 0, its lse is not. One read of z, with a running maximum and sum
 * per thread, the next packs in flight; the backward is one read and one write. A row is cut into
 * packs at 16-byte boundaries, so that any V runs at speed; the order of its sum depends on how it
 * lies to them. Short rows are cut as one stretch of many, which a block brings to shared memory,
 * and have one order. dz may be z. NaN or +inf in a row: its loss is NaN. Source: model 2.1.
 */
#include "stage.cuh"

enum { THREADS = 256, AHEAD = 4 };   /* AHEAD: packs in flight per thread               */
enum { SHORT = 512, NARROW = 2048 }; /* V to which many rows, one row, share a warp      */
enum { PART = 40 };                  /* elements per lane of a short row                */
enum { STRETCH = 8192 };             /* elements of a block of the backward, short rows  */

/* sum_v exp(z_v) = s exp(m) */
struct running {
    float m, s;
};

/* e^x for x <= 0; below 2^-126 it is 0. */
__device__ static float exponential(float x)
{
    return power_of_two(x * LOG2_E);
}

/* s of x at the common maximum m, which may be that of no entries. */
__device__ static float rescaled(running x, float m)
{
    return x.m == -INFINITY && m == m ? 0 : x.s * exponential(x.m - m);
}

/* N values added. */
template <int N> __device__ static running added(running x, const float (&v)[N])
{
    float m = x.m;
#pragma unroll
    for (int u = 0; u < N; u++)
        m = max_nan(m, v[u]);
    float s = x.s * exponential(x.m - m);
#pragma unroll
    for (int u = 0; u < N; u++)
        s += exponential(v[u] - m);
    return running{m, m == -INFINITY ? 0 : s};
}

/* Over `lanes` neighbouring lanes. */
__device__ static running team_join(running x, int lanes)
{
    const float m = team_max(x.m, lanes);
    return running{m, team_sum(rescaled(x, m), lanes)};
}

/* Over the blockDim.x threads of a row, a warp or the block. */
__device__ static running row_join(running x)
{
    __shared__ running room[WARP];
    const int lane = threadIdx.x % WARP;
    x = team_join(x, WARP);
    if (blockDim.x <= WARP) return x;
    if (lane == 0) room[threadIdx.x / WARP] = x;
    __syncthreads();
    return team_join(lane < (int)blockDim.x / WARP ? room[lane] : running{-INFINITY, 0}, WARP);
}

/* A stretch of elements from p on: `head` of them, packs of 16 aligned bytes, a tail. */
template <typename T> struct stretch {
    enum { VEC = packed<T>::width };
    const T *p;
    int head, packs, edges; /* elements, packs, elements outside of packs */
    __device__ stretch(const T *p_, int count) : p(p_)
    {
        head = min(count, outset() ? VEC - outset() : 0);
        packs = (count - head) / VEC;
        edges = count - packs * VEC;
    }
    /* Elements between the 16-byte boundary and p. */
    __device__ int outset() const
    {
        return (int)((uintptr_t)p % 16 / sizeof(T));
    }
    /* Where a pack begins, and where the i-th element outside of them is. */
    __device__ int at(int pack) const
    {
        return head + pack * VEC;
    }
    __device__ int edge(int i) const
    {
        return i < head ? i : i + packs * VEC;
    }
    __device__ packed<T> get(int pack, float absent) const
    {
        if (pack < packs) return packed<T>{*(const uint4 *)(p + at(pack))};
        float x[VEC];
#pragma unroll
        for (int k = 0; k < VEC; k++)
            x[k] = absent;
        return packed_of<T>(x);
    }
};

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(const T *z, const int32_t *target, float *loss, float *lse, int64_t R,
                         int V)
{
    enum { VEC = packed<T>::width };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const T *p = z + row * V;
    const stretch<T> all(p, row < R ? V : 0); /* every lane of a warp takes part in its sums */
    packed<T> next[AHEAD];
    running x = {-INFINITY, 0};
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
        next[u] = all.get((int)(threadIdx.x + u * blockDim.x), -INFINITY);
    if ((int)threadIdx.x < all.edges) x = running{widen(p[all.edge(threadIdx.x)]), 1};
    for (int i = threadIdx.x; i < all.packs; i += AHEAD * blockDim.x) {
        float v[AHEAD * VEC];
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            unpack(next[u].raw, v + u * VEC, T());
            next[u] = all.get((int)(i + (AHEAD + u) * blockDim.x), -INFINITY);
        }
        x = added(x, v);
    }
    x = row_join(x);
    if (threadIdx.x == 0 && row < R) {
        const int t = target[row];
        const float log_s = logf(x.s);
        /* m - z first: it is exact where the loss is small */
        loss[row] = t >= 0 && t < V ? x.m - widen(p[t]) + log_s : 0;
        if (lse) lse[row] = x.m + log_s;
    }
}

/* What the backward wants of a row; target -1: not scored. */
struct __align__(16) scored
{
    float lse, g;
    int target;
};
__device__ static scored scored_row(const int32_t *target, const float *lse, const float *dloss,
                                    int64_t row, int V)
{
    const int t = target[row];
    const bool known = t >= 0 && t < V;
    return scored{lse[row], known ? dloss[row] : 0, known ? t : -1};
}
__device__ static float slope(float z, const scored &row, int v)
{
    const float w = exponential(z - row.lse);
    return row.target < 0 ? 0 : row.g * (v == row.target ? w - 1 : w);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_grad_kernel(const T *z, const int32_t *target, const float *lse,
                              const float *dloss, T *dz, int64_t R, int V, bool same_frame)
{
    enum { VEC = packed<T>::width };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= R) return;
    const stretch<T> all(z + row * V, V);
    T *d = dz + row * V;
    const scored facts = scored_row(target, lse, dloss, row, V);
    if ((int)threadIdx.x < all.edges) {
        const int v = all.edge(threadIdx.x);
        d[v] = narrow<T>(slope(widen(all.p[v]), facts, v));
    }
    for (int i = threadIdx.x; i < all.packs; i += AHEAD * blockDim.x) {
        packed<T> r[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
            r[u] = all.get((int)(i + u * blockDim.x), 0);
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int pack = (int)(i + u * blockDim.x), v = all.at(pack);
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = slope(r[u][k], facts, v + k);
            if (pack < all.packs) store_some(d + v, packed_of<T>(o), VEC, same_frame);
        }
    }
}

/* Quads of a short row in shared memory, V values and then -inf: an odd multiple of `lanes`, so
 * that the lanes of a warp, a quad each, read different banks. */
static int quads_of(int V, int lanes)
{
    const int quads = (V + 3) / 4;
    return quads + ((lanes - quads) & (2 * lanes - 1));
}

/* Brings rows of V to room[][width], a stretch cut into packs; in quads where the rows allow it:
 * single stores of packs meet in the same banks. */
template <typename T>
__device__ static void bring(float *room, const stretch<T> &all, int V, int width)
{
    enum { VEC = packed<T>::width };
    const float by_V = 1 / (float)V;
    const bool quads = V % 4 == 0 && all.outset() == 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < all.packs && quads; i += THREADS) {
        const packed<T> x = all.get(i, 0);
#pragma unroll
        for (int k = 0; k < VEC; k += 4) {
            const int e = i * VEC + k, r = (int)(((float)e + 0.5f) * by_V);
            *(float4 *)(room + e + r * (width - V)) =
                make_float4(x[k], x[k + 1], x[k + 2], x[k + 3]);
        }
    }
    for (int i = threadIdx.x; i < all.packs && !quads; i += THREADS) {
        const packed<T> x = all.get(i, 0);
        const int e = all.at(i), r = (int)(((float)e + 0.5f) * by_V);
        float *to = room + e + r * (width - V);
        int left = (r + 1) * V - e; /* in this row */
#pragma unroll
        for (int k = 0; k < VEC; k++) {
            if (k == left) left += V, to += width - V;
            to[k] = x[k];
        }
    }
    if ((int)threadIdx.x < all.edges) {
        const int e = all.edge(threadIdx.x);
        room[e / V * width + e % V] = widen(all.p[e]);
    }
}

/* THREADS >> shift rows a block, brought to shared memory as one stretch; 1 << shift lanes a row.
 */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_short_kernel(const T *z, const int32_t *target, float *loss, float *lse,
                               int64_t R, int V, int shift, int quads)
{
    extern __shared__ float4 room[];
    const int lanes = 1 << shift, r = threadIdx.x >> shift, lane = threadIdx.x & (lanes - 1);
    const int64_t first = (int64_t)blockIdx.x * (THREADS >> shift);
    const int rows = (int)min(R - first, (int64_t)(THREADS >> shift));
    const int t = r < rows ? target[first + r] : -1;
    const float4 *row = room + r * quads;
    for (int v = V + lane; v < 4 * quads; v += lanes)
        ((float *)row)[v] = -INFINITY;
    bring((float *)room, stretch<T>(z + first * V, rows * V), V, 4 * quads);
    __syncthreads();
    running x = {-INFINITY, 0};
    int q = lane;
    for (; q + lanes < quads; q += 2 * lanes) {
        const float4 a = row[q], b = row[q + lanes];
        const float v[] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        x = added(x, v);
    }
    const float v[] = {row[q].x, row[q].y, row[q].z, row[q].w};
    x = team_join(added(x, v), lanes);
    if (lane == 0 && r < rows) {
        const float log_s = logf(x.s);
        loss[first + r] = t >= 0 && t < V ? x.m - ((const float *)row)[t] + log_s : 0;
        if (lse) lse[first + r] = x.m + log_s;
    }
}

/* `rows` rows a block, as one stretch. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_grad_short_kernel(const T *z, const int32_t *target, const float *lse,
                                    const float *dloss, T *dz, int64_t R, int V, int rows,
                                    bool same_frame)
{
    enum { VEC = packed<T>::width };
    extern __shared__ scored facts[];
    const int64_t first = (int64_t)blockIdx.x * rows;
    const int here = (int)min(R - first, (int64_t)rows);
    const stretch<T> all(z + first * V, here * V);
    T *d = dz + first * V;
    for (int r = threadIdx.x; r < here; r += THREADS)
        facts[r] = scored_row(target, lse, dloss, first + r, V);
    __syncthreads();
    if ((int)threadIdx.x < all.edges) {
        const int e = all.edge(threadIdx.x);
        d[e] = narrow<T>(slope(widen(all.p[e]), facts[e / V], e % V));
    }
    for (int i = threadIdx.x; i < all.packs; i += AHEAD * THREADS) {
        packed<T> x[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
            x[u] = all.get(i + u * THREADS, 0);
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int pack = i + u * THREADS, e = all.at(pack);
            if (pack >= all.packs) break;
            unsigned r = (unsigned)e / (unsigned)V;
            int v = e - (int)r * V;
            scored row = facts[r];
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++, v++) {
                if (v == V) v = 0, row = facts[++r];
                o[k] = slope(x[u][k], row, v);
            }
            store_some(d + e, packed_of<T>(o), VEC, same_frame);
        }
    }
}

/* A warp per row while rows are narrow, a block per row above. */
static dim3 threads_of(int64_t V)
{
    return V <= NARROW ? dim3(WARP, THREADS / WARP) : dim3(THREADS);
}

static status check(const char *what, const args *a)
{
    return a->d.V < INT32_MAX / 2 ? OK : fail(ERR_ARG, "%s: V: expected below 2^30", what);
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of(V);
    const T *z = IN(T, 0);
    const int32_t *target = IN(int32_t, 1);
    float *loss = OUT(float, 0), *lse = OUT(float, 1);
    if (R == 0) return OK;
    TRY(check("cross_entropy", a));
    if (V <= SHORT) {
        int shift = 0;
        while (PART << shift < V)
            shift++;
        const int rows = THREADS >> shift, quads = quads_of((int)V, 1 << shift);
        cross_entropy_short_kernel<T>
            <<<(unsigned)ceil_div(R, rows), THREADS, sizeof(float4) * rows * quads, stream_of(a)>>>(
                z, target, loss, lse, R, (int)V, shift, quads);
    } else {
        cross_entropy_kernel<T><<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
            z, target, loss, lse, R, (int)V);
    }
    return launched("cross_entropy");
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of(V);
    const T *z = IN(T, 0);
    const int32_t *target = IN(int32_t, 1);
    const float *lse = IN(float, 2), *dloss = IN(float, 3);
    T *dz = OUT(T, 0);
    const bool same_frame = (uintptr_t)z % 16 == (uintptr_t)dz % 16;
    if (R == 0) return OK;
    TRY(check("cross_entropy_grad", a));
    if (V <= SHORT) {
        const int rows = V > 8 ? STRETCH / (int)V : STRETCH / 8;
        cross_entropy_grad_short_kernel<T>
            <<<(unsigned)ceil_div(R, rows), THREADS, sizeof(scored) * rows, stream_of(a)>>>(
                z, target, lse, dloss, dz, R, (int)V, rows, same_frame);
    } else {
        cross_entropy_grad_kernel<T>
            <<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
                z, target, lse, dloss, dz, R, (int)V, same_frame);
    }
    return launched("cross_entropy_grad");
}

extern "C" status cross_entropy_online(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "cross_entropy", run, a);
}

extern "C" status cross_entropy_grad_online(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "cross_entropy_grad", run_grad, a);
}
