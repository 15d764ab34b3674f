/* SPDX-License-Identifier: MIT
 *
 * stage.cuh — what the kernels of the model stages share: packs of 16 bytes, sums over a team of
 * lanes, and the fixed-order second stage of every reduction over rows.
 *
 * Numerics: storage float, bf16 or fp16, arithmetic float. A pack is 16 bytes of a row; where a
 * row is not 16-byte aligned in every tensor (`wide` is 0) a pack is moved element by element.
 */
#ifndef MOSAIC_STAGE_CUH
#define MOSAIC_STAGE_CUH

#include "common.cuh"

/* 16 bytes of a row, kept as stored. */
template <typename T> struct __align__(16) packed {
    enum { width = pack<T>::width };
    T v[width];
    __device__ __forceinline__ float operator[](int k) const
    {
        return widen(v[k]);
    }
    __device__ __forceinline__ void set(int k, float x)
    {
        v[k] = narrow<T>(x);
    }
};

/* The pack at p, of which `left` elements exist; the others are 0. */
template <typename T> __device__ inline packed<T> load_some(const T *p, int64_t left, bool wide)
{
    packed<T> r;
    if (wide && left >= packed<T>::width) return *(const packed<T> *)p;
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        r.v[k] = k < left ? p[k] : narrow<T>(0);
    return r;
}

template <typename T>
__device__ inline void store_some(T *p, const packed<T> &r, int64_t left, bool wide)
{
    if (wide && left >= packed<T>::width) {
        *(packed<T> *)p = r;
        return;
    }
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        if (k < left) p[k] = r.v[k];
}

/* Sum over `lanes` neighbouring lanes, a power of two <= 32; the whole warp takes part. */
__device__ inline float team_sum(float x, int lanes)
{
    for (int o = lanes / 2; o > 0; o /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, o);
    return x;
}
__device__ inline float team_max(float x, int lanes)
{
    for (int o = lanes / 2; o > 0; o /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, o));
    return x;
}

/* The sum of (x, y) over the threads of one row: blockDim.x of them, a warp or the whole block.
 * `room` is 2 x 32 pairs of shared memory; calls alternate `turn` between 0 and 1, which saves the
 * second barrier. Every thread receives the sum. */
__device__ inline float2 row_sum(float2 s, float2 (*room)[WARP], int turn)
{
    s.x = team_sum(s.x, WARP);
    s.y = team_sum(s.y, WARP);
    if (blockDim.x == WARP) return s;
    const int warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
    if (lane == 0) room[turn][threadIdx.x / WARP] = s;
    __syncthreads();
    s = lane < warps ? room[turn][lane] : make_float2(0, 0);
    s.x = team_sum(s.x, WARP);
    s.y = team_sum(s.y, WARP);
    return s;
}

/* Lanes of a team for rows of n packs: the smallest power of two >= n, at most a warp. */
static inline int team_lanes(int64_t n)
{
    int lanes = 1;
    while (lanes < WARP && lanes < n)
        lanes *= 2;
    return lanes;
}

static inline bool aligned16(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

/* Scratch is handed out in pieces of multiples of 256 bytes. */
static inline size_t padded(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static inline cudaStream_t stream_of(const args *a)
{
    return (cudaStream_t)a->stream;
}

#define NO_SCRATCH(a)                                                                              \
    if ((a)->need) {                                                                               \
        *(a)->need = 0;                                                                            \
        return OK;                                                                                 \
    }

/* out[h] = factor[h] * scale * sum_i sum_j in[i][h][j], i < n, h < H, j < m, always in the same
 * order, in double. factor may be NULL. */
void sum_heads(float *out, const float *in, int64_t n, int64_t H, int64_t m, const float *factor,
               double scale, cudaStream_t stream);
/* out[c] = sum_i in[i][c], i < n, c < C, row stride `stride`, always in the same order. */
void sum_columns(float *out, const float *in, int64_t n, int64_t C, int64_t stride,
                 cudaStream_t stream);

#endif
