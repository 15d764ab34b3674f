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

/* 16 bytes of a row, kept as stored: half the registers of floats for the 16-bit types. */
template <typename T> struct packed {
    enum { width = pack<T>::width };
    uint4 raw;
    __device__ __forceinline__ float operator[](int k) const
    {
        float x[width];
        unpack(raw, x, T());
        return x[k];
    }
};

template <typename T> __device__ __forceinline__ packed<T> packed_of(const float *x)
{
    return packed<T>{repack(x, T())};
}

/* The pack at p, of which `left` elements exist; the others are `absent`. */
template <typename T>
__device__ __forceinline__ packed<T> load_some(const T *p, int64_t left, bool wide,
                                               float absent = 0)
{
    __align__(16) T e[packed<T>::width];
    if (wide && left >= packed<T>::width) return packed<T>{*(const uint4 *)p};
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        e[k] = narrow<T>(absent);
    if (left > 0)
#pragma unroll
        for (int k = 0; k < packed<T>::width; k++)
            if (k < left) e[k] = p[k];
    return packed<T>{*(const uint4 *)e};
}

template <typename T>
__device__ __forceinline__ void store_some(T *p, const packed<T> &r, int64_t left, bool wide)
{
    if (wide && left >= packed<T>::width) return store_word(p, r.raw);
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        if (k < left) p[k] = narrow<T>(r[k]);
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
        x = max_nan(x, __shfl_xor_sync(ALL_LANES, x, o));
    return x;
}

/* The length of a vector. squares(scale) is the sum of its (scale u)^2, the same in all threads
 * that share it; it is called again, with an exact scale, where the squares could leave the range
 * of float. */
template <typename F> __device__ inline float vector_length(F squares)
{
    float scale = 1, sum = squares(1.0f);
    if (sum > 0x1p100f) scale = 0x1p-100f;
    if (sum < 0x1p-80f) scale = 0x1p100f;
    if (__any_sync(ALL_LANES, scale != 1)) sum = squares(scale);
    return sqrtf(sum) / scale;
}

/* What a vector of length n is divided by, and whether its projection is left out. */
typedef struct norm_rule {
    float eps;
    bool add;
} norm_rule;
__device__ inline float divisor(norm_rule r, float n)
{
    const float by = r.add ? n + r.eps : n < r.eps ? r.eps : n;
    return by == 0 ? 1 : by;
}
__device__ inline bool is_flat(norm_rule r, float n)
{
    return r.add ? n == 0 : n < r.eps || n == 0;
}
static inline norm_rule norm_rule_of(const params *p)
{
    norm_rule r = {(float)p->eps, p->eps_add != 0};
    return r;
}

/* The sums of N values, a power of two, over the threads of one row: blockDim.x of them, a team or
 * whole warps, at most 16. While lanes remain to be halved, each half keeps half of the values.
 * `room` is 2 x N x 16 floats of shared memory; calls alternate `turn` between 0 and 1, which saves
 * the second barrier. Every thread receives the sums. */
template <int N>
__device__ inline void row_sums(float (&s)[N], float (*room)[N][WARP / 2], int turn)
{
    enum { EACH = WARP / N }; /* lanes that end with the same value */
    if (blockDim.x < WARP) {
#pragma unroll
        for (int i = 0; i < N; i++)
            s[i] = team_sum(s[i], blockDim.x);
        return;
    }
    const int lane = threadIdx.x % WARP, which = lane / EACH;
#pragma unroll
    for (int n = N, o = WARP / 2; o >= EACH; n /= 2, o /= 2)
#pragma unroll
        for (int i = 0; i < n / 2; i++) {
            const float give = lane & o ? s[i] : s[i + n / 2];
            s[i] = (lane & o ? s[i + n / 2] : s[i]) + __shfl_xor_sync(ALL_LANES, give, o);
        }
#pragma unroll
    for (int o = EACH / 2; o > 0; o /= 2)
        s[0] += __shfl_xor_sync(ALL_LANES, s[0], o);
    if (blockDim.x > WARP) {
        if (lane % EACH == 0) room[turn][which][threadIdx.x / WARP] = s[0];
        __syncthreads();
        s[0] = 0;
#pragma unroll
        for (int i = 0; i < WARP / 2; i += EACH)
            if (i + lane % EACH < (int)blockDim.x / WARP)
                s[0] += room[turn][which][i + lane % EACH];
#pragma unroll
        for (int o = EACH / 2; o > 0; o /= 2)
            s[0] += __shfl_xor_sync(ALL_LANES, s[0], o);
    }
    const float mine = s[0];
#pragma unroll
    for (int i = 0; i < N; i++)
        s[i] = __shfl_sync(ALL_LANES, mine, i * EACH);
}

/* Lanes of a team for rows of n packs: the smallest power of two >= n, at most a warp. */
static inline int team_lanes(int64_t n)
{
    int lanes = 1;
    while (lanes < WARP && lanes < n)
        lanes *= 2;
    return lanes;
}

/* A row over the threads of equal threadIdx.y, of which each keeps its first HELD packs. */
enum { MOST_HELD = 8, ROW_THREADS = 512, ROW_BLOCK = 256 };

template <typename T, int HELD> struct held_row {
    packed<T> p[HELD];
    const T *row;
    int64_t n;
    bool wide;
    __device__ void read(const T *row_, int64_t n_, bool wide_)
    {
        row = row_, n = n_, wide = wide_;
#pragma unroll
        for (int i = 0; i < HELD; i++)
            p[i] = at(threadIdx.x + (int64_t)i * blockDim.x);
    }
    /* The same of packs that f(column) makes and leaves in the row. */
    template <typename F> __device__ void make(const T *row_, int64_t n_, bool wide_, F f)
    {
        row = row_, n = n_, wide = wide_;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int64_t c = (threadIdx.x + (int64_t)i * blockDim.x) * packed<T>::width;
            p[i] = c < n ? f(c) : packed<T>{make_uint4(0, 0, 0, 0)};
        }
        for (int64_t i = threadIdx.x + (int64_t)HELD * blockDim.x;
             HELD == MOST_HELD && i * packed<T>::width < n; i += blockDim.x)
            f(i * packed<T>::width);
    }
    __device__ packed<T> at(int64_t pack_index) const
    {
        const int64_t c = pack_index * packed<T>::width;
        return load_some(row + c, n - c, wide);
    }
    /* f(pack, column) for every pack of this thread. */
    template <typename F> __device__ void each(F f) const
    {
        each_with(*this, [&](const packed<T> &q, const packed<T> &, int64_t c) { f(q, c); });
    }
    /* f(pack, pack of the other row, column) */
    template <typename F> __device__ void each_with(const held_row &other, F f) const
    {
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int64_t c = (threadIdx.x + (int64_t)i * blockDim.x) * packed<T>::width;
            if (c < n) f(p[i], other.p[i], c);
        }
        for (int64_t i = threadIdx.x + (int64_t)HELD * blockDim.x;
             HELD == MOST_HELD && i * packed<T>::width < n; i += blockDim.x)
            f(at(i), other.at(i), i * packed<T>::width);
    }
};

/* A block for such rows: a team of lanes for each of many short ones, else some warps for one. */
static inline dim3 row_block(int64_t packs)
{
    const int lanes = team_lanes(packs);
    if (packs <= MOST_HELD * WARP) return dim3(lanes, ROW_BLOCK / lanes);
    return dim3(packs <= MOST_HELD * WARP * 4 ? WARP * 4 : (int)ROW_THREADS);
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
/* first[c] = sum_i in[i][0][c] and second[c] = sum_i in[i][1][c], i < n, c < C, always in the same
 * order, in double; either may be NULL. */
void sum_columns(float *first, float *second, const float *in, int64_t n, int64_t C,
                 cudaStream_t stream);

/* y = x in a storage type;  y = x, or y + x if `add`, from one. */
status to_storage(dtype type, void *y, const float *x, int64_t n, cudaStream_t stream);
status from_storage(dtype type, float *y, const void *x, int64_t n, int add, cudaStream_t stream);

#endif
