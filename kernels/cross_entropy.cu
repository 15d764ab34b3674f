/* SPDX-License-Identifier: MIT
 *
 * cross_entropy — loss_r = lse_r - z_r[target_r], lse_r = ln sum_v exp(z_rv).
 *
 *     dz_rv = dloss_r (exp(z_rv - lse_r) - 1[v = target_r])
 *
 * z (R, V), target (R) -> loss, lse (R). A target outside 0..V-1 (the code is -1) is not scored:
 * its loss and its row of dz are 0, its lse is not. One read of z, with a running maximum and sum
 * per thread; the backward is one read and one write. Packs are cut from the 16-byte frame in which
 * a row lies, so that any V runs at speed. dz may be z. NaN or +inf in a row: its loss is NaN.
 * Source: model 2.1.
 */
#include "stage.cuh"

enum { BLOCK = 1024, ROWS = 8, AHEAD = 16, NARROW = 2048 }; /* AHEAD: elements in flight */

/* sum_v exp(z_v) = s exp(m) */
struct running {
    float m, s;
};

__device__ static running join(running a, running b)
{
    const float m = max_nan(a.m, b.m);
    if (m == -INFINITY) return a;
    return running{m, a.s * expf(a.m - m) + b.s * expf(b.m - m)};
}

__device__ static running team_join(running x)
{
    for (int o = WARP / 2; o > 0; o /= 2)
        x = join(x, running{__shfl_xor_sync(ALL_LANES, x.m, o), __shfl_xor_sync(ALL_LANES, x.s, o)});
    return x;
}

/* Over the blockDim.x threads of a row, a warp or the block. */
__device__ static running row_join(running x)
{
    __shared__ running room[WARP];
    x = team_join(x);
    if (blockDim.x == WARP) return x;
    const int lane = threadIdx.x % WARP;
    if (lane == 0) room[threadIdx.x / WARP] = x;
    __syncthreads();
    return team_join(lane < (int)blockDim.x / WARP ? room[lane] : running{-INFINITY, 0});
}

/* Elements [j, j + width) of the frame of a row of V; those outside are `absent`. */
template <typename T>
__device__ static packed<T> load_framed(const T *row, int64_t j, int64_t V, float absent)
{
    __align__(16) T e[packed<T>::width];
    if (j >= 0) return load_some(row + j, V - j, true, absent);
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        e[k] = j + k >= 0 && j + k < V ? row[j + k] : narrow<T>(absent);
    return packed<T>{*(const uint4 *)e};
}

template <typename T> __device__ static int64_t frame_start(const T *row)
{
    return -(int64_t)((uintptr_t)row % 16 / sizeof(T));
}

template <typename T>
static __global__ void __launch_bounds__(BLOCK)
    cross_entropy_kernel(const T *z, const int32_t *target, float *loss, float *lse, int64_t R,
                         int64_t V)
{
    enum { VEC = packed<T>::width, UNROLL = AHEAD / VEC };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= R) return; /* whole warps */
    const T *p = z + row * V;
    const int64_t step = (int64_t)blockDim.x * VEC;
    running x = {-INFINITY, 0};
    for (int64_t j = frame_start(p) + threadIdx.x * VEC; j < V; j += UNROLL * step) {
        packed<T> r[UNROLL];
        float m = x.m;
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            r[u] = load_framed(p, j + u * step, V, -INFINITY);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                m = max_nan(m, r[u][k]);
        if (m == -INFINITY) continue;
        float s = x.s * expf(x.m - m);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                s += expf(r[u][k] - m);
        x = running{m, s};
    }
    x = row_join(x);
    if (threadIdx.x == 0) {
        const int64_t t = target[row];
        const float log_s = logf(x.s);
        /* (m - z) is exact or nearly so where the loss is small */
        loss[row] = t >= 0 && t < V ? x.m - widen(p[t]) + log_s : 0;
        if (lse) lse[row] = x.m + log_s;
    }
}

template <typename T>
static __global__ void __launch_bounds__(BLOCK)
    cross_entropy_grad_kernel(const T *z, const int32_t *target, const float *lse,
                              const float *dloss, T *dz, int64_t R, int64_t V, bool same_frame)
{
    enum { VEC = packed<T>::width, UNROLL = AHEAD / VEC };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= R) return;
    const T *p = z + row * V;
    T *d = dz + row * V;
    const int64_t step = (int64_t)blockDim.x * VEC, t = target[row];
    const bool scored = t >= 0 && t < V;
    const float l = lse[row], g = scored ? dloss[row] : 0;
    for (int64_t j = frame_start(p) + threadIdx.x * VEC; j < V; j += UNROLL * step) {
        packed<T> r[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            r[u] = load_framed(p, j + u * step, V, 0);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int64_t at = j + u * step;
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float w = expf(r[u][k] - l);
                o[k] = scored ? g * (at + k == t ? w - 1 : w) : 0;
            }
            if (at >= 0) {
                store_some(d + at, packed_of<T>(o), V - at, same_frame);
                continue;
            }
#pragma unroll
            for (int k = 0; k < VEC; k++)
                if (at + k >= 0 && at + k < V) d[at + k] = narrow<T>(o[k]);
        }
    }
}

/* A warp per row while rows are short, a block per row above. */
static dim3 threads_of(int64_t V)
{
    return V <= NARROW ? dim3(WARP, ROWS) : dim3(BLOCK);
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of(V);
    if (R == 0) return OK;
    cross_entropy_kernel<T><<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        IN(T, 0), IN(int32_t, 1), OUT(float, 0), OUT(float, 1), R, V);
    return launched("cross_entropy");
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of(V);
    const T *z = IN(T, 0);
    T *dz = OUT(T, 0);
    if (R == 0) return OK;
    cross_entropy_grad_kernel<T><<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        z, IN(int32_t, 1), IN(float, 2), IN(float, 3), dz, R, V,
        (uintptr_t)z % 16 == (uintptr_t)dz % 16);
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
