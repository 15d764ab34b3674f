/* SPDX-License-Identifier: MIT
 *
 * team.cuh — the threads that own a row together and their reductions: lanes of a warp
 * (`lane_team`), a block of several warps (`block_team`), one or the other (`team`, whose code is
 * longer), or the blocks of a cluster (`wide_team`).
 *
 * Reductions are butterflies: addition and maximum commute, so every thread ends with the same bits
 * and no order depends on timing. Two sums over whole warps share one butterfly: each half of the
 * warp folds one of them. Integers and maxima of whole warps are reduced in one instruction. What a
 * warp found it puts into its slot in the shared memory of every block of the team, so that one
 * barrier is enough.
 */
#ifndef MOSAIC_TEAM_CUH
#define MOSAIC_TEAM_CUH

#include <cooperative_groups.h>

#include "card.cuh"
#include "common.cuh"

/* Below compute capability 9.0 there are no clusters: kernels of wide teams are empty there, and
 * wide_team_size asks for none. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define CLUSTERS 0
#else
#define CLUSTERS 1
#endif

enum {
    ITEMS = 32, /* entries of a row per thread                  */
    CHAINS = 4, /* accumulators per thread of a sum over a row  */
    GROUPS = 4, /* of a thread's entries, each with its maximum */
    GROUP = ITEMS / GROUPS,
    CLUSTER = 8,        /* blocks of a wide team                        */
    MAX_THREADS = 1024, /* of a block                                   */
    WARP_BLOCK = 128    /* threads of a block whose teams are in a warp */
};

struct sum2 {
    float a, b;
};

/* Double-buffered: a warp that is one reduction ahead writes the other half. Aligned, so that one
 * bit of an address is the half. */
template <int WARPS> struct __align__(2 * WARPS * sizeof(sum2)) warp_slots
{
    sum2 half[2][WARPS];
};

enum team_kind { LANES, WARPS, LANES_OR_WARPS };

template <int BLOCKS, team_kind KIND> struct team_of {
    enum { blocks = BLOCKS, here = BLOCKS == 1 || CLUSTERS };
    typedef warp_slots<BLOCKS * WARP> slots_type;
    int size, rank; /* threads of the row, this one among them: 4, 8, 16, or a multiple of 32 */
    int width;      /* of those, in one warp                   */
    int warps;      /* > 1: the team is its blocks             */
    int span;       /* the power of two >= warps, at most WARP */
    uint32_t room;  /* shared address of the half in use       */

    __device__ team_of(int size_, slots_type *slots)
        : size(size_), rank(threadIdx.x), width(WARP), warps(size_ / WARP), span(WARP),
          room((uint32_t)__cvta_generic_to_shared(slots))
    {
        asm volatile("" : "+r"(room)); /* else it is computed for every reduction again */
        if constexpr (BLOCKS > 1) {
#if CLUSTERS
            const auto cluster = cooperative_groups::this_cluster();
            rank += (int)(cluster.block_rank() * blockDim.x);
            cluster.barrier_arrive();
#endif
        } else if (KIND == LANES || (KIND == LANES_OR_WARPS && size <= WARP)) {
            width = size, warps = span = 1;
            rank &= size - 1;
        } else {
            span = 1 << (WARP - __clz(warps - 1));
        }
    }
    /* Before the first reduction: the shared memory of blocks may be written once they run. */
    __device__ __forceinline__ static void meet()
    {
#if CLUSTERS
        if constexpr (BLOCKS > 1) cooperative_groups::this_cluster().barrier_wait();
#endif
    }
    __device__ __forceinline__ static int lane()
    {
        return (int)(threadIdx.x % WARP);
    }
    /* Whether the team is within a warp. */
    __device__ __forceinline__ bool in_warp() const
    {
        return KIND == LANES || (KIND == LANES_OR_WARPS && warps == 1);
    }
    /* Whether the team's lanes are reduced by shuffles. A lane_team's always are, though 32 could
     * be in one instruction: where that is the other side of a branch without a barrier, ptxas 13.0
     * put it under a predicate of something else (a wrong dbeta of normalised ReLU in bf16). */
    __device__ __forceinline__ bool narrow() const
    {
        return KIND == LANES || width < WARP;
    }
    /* The row of this team: its blocks have one, or a block has WARP_BLOCK / size of them. */
    __device__ __forceinline__ uint32_t row() const
    {
        const int shift = __ffs(width) - 1;
        return in_warp() ? blockIdx.x * (WARP_BLOCK >> shift) + (threadIdx.x >> shift)
                         : blockIdx.x / BLOCKS;
    }
    /* The slots of all warps of the team, each as an X. */
    template <class X> __device__ __forceinline__ X *slots() const
    {
        return (X *)__cvta_shared_to_generic(room);
    }
    __device__ __forceinline__ void other_half()
    {
        room ^= sizeof(sum2) * BLOCKS * WARP;
    }
    /* x to *slot of this block, by the threads whose `to` is 0; of all blocks, by those whose `to`
     * is the block's rank. Then all have written. */
    template <class X> __device__ __forceinline__ void put(X *slot, X x, int to) const
    {
        if constexpr (BLOCKS > 1) {
#if CLUSTERS
            const auto cluster = cooperative_groups::this_cluster();
            if (to < BLOCKS) *cluster.map_shared_rank(slot, to) = x;
            cluster.sync();
#endif
        } else {
            if (to == 0) *slot = x;
            __syncthreads();
        }
    }
    /* The warp of this thread among those of the team. */
    __device__ __forceinline__ int warp() const
    {
        return (int)((BLOCKS > 1 ? (unsigned)rank : threadIdx.x) / WARP);
    }
    /* The slots of all warps of the team, this one's holding x: the same in all its lanes. */
    template <class X> __device__ __forceinline__ const X *exchange(X x)
    {
        other_half();
        put(slots<X>() + warp(), x, lane());
        return slots<X>();
    }
    template <class Op> __device__ __forceinline__ sum2 fold(sum2 x, sum2 zero, Op op)
    {
        for (int o = width / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        if (in_warp()) return x;
        const sum2 *slot = exchange(x);
        const int other = rank & (span - 1);
        x = other < warps ? slot[other] : zero;
        for (int e = 1; e < BLOCKS; e++)
            x = op(x, other + e * WARP < warps ? slot[other + e * WARP] : zero);
        for (int o = span / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        return x;
    }
    /* Whether this thread is in the upper half of the team's lanes of its warp. */
    __device__ __forceinline__ bool upper() const
    {
        return threadIdx.x & width >> 1;
    }
    /* Over those lanes: the upper half of them gets the sum of b, the lower that of a. */
    __device__ __forceinline__ float half_sums(float a, float b) const
    {
        float x = upper() ? b : a;
        x += __shfl_xor_sync(ALL_LANES, upper() ? a : b, width >> 1);
#pragma unroll
        for (int o = WARP / 4; o; o >>= 1)
            if (2 * o < width) x += __shfl_xor_sync(ALL_LANES, x, o);
        return x;
    }
    __device__ __forceinline__ sum2 both(float x) const
    {
        const float y = __shfl_xor_sync(ALL_LANES, x, width >> 1);
        return upper() ? sum2{y, x} : sum2{x, y};
    }
    __device__ __forceinline__ sum2 sum_in_warp(float a, float b) const
    {
        return both(half_sums(a, b));
    }
    __device__ __forceinline__ sum2 sum(float a, float b)
    {
        float x = half_sums(a, b);
        if (in_warp()) return both(x);
        other_half();
        const int i = threadIdx.x % (WARP / 2);
        float *slot = slots<float>() + upper();
        put(slot + 2 * warp(), x, i);
        slot += 2 * i;
        x = i < warps ? slot[0] : 0.0f;
#pragma unroll
        for (int e = 1; e < 2 * BLOCKS; e++)
            if (i + e * (WARP / 2) < warps) x += slot[e * WARP];
#pragma unroll
        for (int o = WARP / 4; o; o >>= 1)
            x += __shfl_xor_sync(ALL_LANES, x, o);
        return both(x);
    }
    __device__ __forceinline__ float sum(float a)
    {
        return sum(a, 0.0f).a;
    }
    /* The largest, NaN if any is; NaN must be the canonical one, as max_nan makes it. */
    __device__ __forceinline__ float max(float a)
    {
        if (narrow()) {
#pragma unroll
            for (int o = WARP / 2; o; o >>= 1)
                if (o < width) a = max_nan(a, __shfl_xor_sync(ALL_LANES, a, o));
            return a;
        }
        int i = __reduce_max_sync(ALL_LANES, ordered(__float_as_int(a)));
        if (!in_warp()) {
            const int *slot = exchange(i);
            i = slot[min(lane(), warps - 1)];
#pragma unroll
            for (int e = 1; e < BLOCKS; e++)
                i = ::max(i, slot[min(lane() + e * WARP, warps - 1)]);
            i = __reduce_max_sync(ALL_LANES, i);
        }
        return __int_as_float(ordered(i));
    }
    /* What warp lane() + 32 e brought to the reduction before, if that was `max`; -inf: no warp. */
    __device__ __forceinline__ float warp_max(int e) const
    {
        const int i = lane() + e * WARP;
        return i < warps ? __int_as_float(ordered(slots<int>()[i])) : -INFINITY;
    }
    /* The bits of floats as integers of the same order, and back. */
    __device__ static int ordered(int bits)
    {
        return bits ^ (bits >> 31 & INT32_MAX);
    }
    __device__ int count(int a)
    {
        return first_and_count(0, a).y;
    }
    /* The smallest i and the sum of n. */
    __device__ __forceinline__ int2 first_and_count(int i, int n)
    {
        if (narrow()) {
#pragma unroll
            for (int o = WARP / 2; o; o >>= 1)
                if (o < width) {
                    i = min(i, __shfl_xor_sync(ALL_LANES, i, o));
                    n += __shfl_xor_sync(ALL_LANES, n, o);
                }
            return make_int2(i, n);
        }
        i = __reduce_min_sync(ALL_LANES, i);
        n = __reduce_add_sync(ALL_LANES, n);
        if (in_warp()) return make_int2(i, n);
        const int2 *slot = exchange(make_int2(i, n));
        i = INT32_MAX, n = 0;
#pragma unroll
        for (int e = 0; e < BLOCKS; e++) {
            const int2 x =
                lane() + e * WARP < warps ? slot[lane() + e * WARP] : make_int2(INT32_MAX, 0);
            i = min(i, x.x), n += x.y;
        }
        return make_int2(__reduce_min_sync(ALL_LANES, i), __reduce_add_sync(ALL_LANES, n));
    }
    /* A double travels as its two halves. */
    __device__ double sum(double a)
    {
        const sum2 s =
            fold(split(a), sum2{0, 0}, [](sum2 x, sum2 y) { return split(whole(x) + whole(y)); });
        return whole(s);
    }
    /* Makes shared memory written by the team, which is in one block, visible to it. */
    __device__ __forceinline__ void sync() const
    {
        static_assert(BLOCKS == 1, "a wide team meets in exchange");
        if (in_warp())
            __syncwarp();
        else
            __syncthreads();
    }
    /* Whether to go round again; `more` must be the same in all threads of a team. */
    __device__ __forceinline__ bool any(bool more) const
    {
        return in_warp() ? __any_sync(ALL_LANES, more) : more;
    }

    __device__ static sum2 split(double x)
    {
        return sum2{__int_as_float(__double2loint(x)), __int_as_float(__double2hiint(x))};
    }
    __device__ static double whole(sum2 x)
    {
        return __hiloint2double(__float_as_int(x.b), __float_as_int(x.a));
    }
};

typedef team_of<1, LANES> lane_team;
typedef team_of<1, WARPS> block_team;
typedef team_of<1, LANES_OR_WARPS> team;
typedef team_of<CLUSTER, WARPS> wide_team;

/* --- arithmetic ------------------------------------------------------------------------------ */

/* Four chains of a sum, folded pairwise. */
template <typename F> __device__ __forceinline__ F folded(const F (&s)[CHAINS])
{
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* A score scale as float: positive and finite, so that it times 0 is 0 and times -inf is -inf. */
__device__ __forceinline__ float clamp_scale(float k)
{
    return fminf(fmaxf(k, 1.17549435e-38f), 3.40282347e+38f);
}

#endif
