/* SPDX-License-Identifier: MIT
 *
 * team.cuh — the threads that own a row together (some lanes of a warp, or a whole block), their
 * reductions, and the short list of entries that each of them may keep.
 *
 * Reductions are butterflies: addition and maximum commute, so every thread ends with the same bits
 * and no order depends on timing.
 */
#ifndef MOSAIC_TEAM_CUH
#define MOSAIC_TEAM_CUH

#include "common.cuh"

enum {
    ITEMS = 32,         /* entries of a row per thread                  */
    CHAINS = 4,         /* accumulators per thread of a sum over a row  */
    SLOTS = 16,         /* entries of a thread's list                   */
    MAX_THREADS = 1024, /* of a row                                     */
    WARP_BLOCK = 128    /* threads of a block whose teams are in a warp */
};

struct sum2 {
    float a, b;
};

/* Double-buffered: a warp that is one reduction ahead writes the other half. */
struct team_slots {
    sum2 half[2][WARP];
};

struct team {
    int size, rank; /* threads of the row, this one among them */
    int width;      /* of those, in one warp                   */
    int warps;      /* > 1: the team is the block              */
    int span;       /* the power of two >= warps               */
    int turn;
    team_slots *slots;

    __device__ team(int size_, team_slots *slots_)
        : size(size_), rank((int)threadIdx.x % size_), width(size_ < WARP ? size_ : WARP),
          warps(size_ / width), span(1), turn(0), slots(slots_)
    {
        while (span < warps) span *= 2;
    }

    template <class Op> __device__ __forceinline__ sum2 fold(sum2 x, sum2 zero, Op op)
    {
        for (int o = width / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        if (warps == 1) return x;
        sum2 *slot = slots->half[turn ^= 1];
        if (rank % WARP == 0) slot[rank / WARP] = x;
        __syncthreads();
        const int other = rank & (span - 1);
        x = other < warps ? slot[other] : zero;
        for (int o = span / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        return x;
    }
    __device__ sum2 sum(float a, float b)
    {
        return fold(sum2{a, b}, sum2{0, 0},
                    [](sum2 x, sum2 y) { return sum2{x.a + y.a, x.b + y.b}; });
    }
    __device__ float sum(float a)
    {
        return fold(sum2{a, 0}, sum2{0, 0}, [](sum2 x, sum2 y) { return sum2{x.a + y.a, 0}; }).a;
    }
    /* A double travels as its two halves. */
    __device__ double sum(double a)
    {
        const sum2 s = fold(split(a), sum2{0, 0},
                            [](sum2 x, sum2 y) { return split(whole(x) + whole(y)); });
        return whole(s);
    }
    __device__ float max(float a)
    {
        return fold(sum2{a, 0}, sum2{-INFINITY, 0}, [](sum2 x, sum2 y) {
                   return sum2{max_nan(x.a, y.a), 0};
               }).a;
    }
    __device__ int count(int a)
    {
        return __float_as_int(fold(sum2{__int_as_float(a), 0}, sum2{0, 0}, [](sum2 x, sum2 y) {
                                  return sum2{__int_as_float(__float_as_int(x.a) +
                                                             __float_as_int(y.a)),
                                              0};
                              }).a);
    }
    /* The smallest i and the sum of n. */
    __device__ int2 first_and_count(int i, int n)
    {
        const sum2 s =
            fold(sum2{__int_as_float(i), __int_as_float(n)}, sum2{__int_as_float(INT32_MAX), 0},
                 [](sum2 x, sum2 y) {
                     return sum2{__int_as_float(min(__float_as_int(x.a), __float_as_int(y.a))),
                                 __int_as_float(__float_as_int(x.b) + __float_as_int(y.b))};
                 });
        return make_int2(__float_as_int(s.a), __float_as_int(s.b));
    }
    /* Sum over the threads of the row in this warp: no barrier. */
    __device__ __forceinline__ sum2 part(float a, float b) const
    {
        for (int o = width / 2; o; o >>= 1) {
            a += __shfl_xor_sync(ALL_LANES, a, o);
            b += __shfl_xor_sync(ALL_LANES, b, o);
        }
        return sum2{a, b};
    }
    /* Makes shared memory written by the team visible to it. */
    __device__ __forceinline__ void sync() const
    {
        if (warps > 1)
            __syncthreads();
        else
            __syncwarp();
    }
    /* Whether to go round again; `more` must be the same in all threads of a team. */
    __device__ __forceinline__ bool any(bool more) const
    {
        return warps > 1 ? more : __any_sync(ALL_LANES, more);
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

/* The entries of a thread that passed a bound, read instead of the row. */
struct survivors {
    const float *slot;
    int n;
    bool whole; /* false: some did not fit */

    template <class Tile>
    __device__ __forceinline__ survivors(const Tile &t, float bound, float *kept)
        : slot(kept), n(0), whole(true)
    {
        t.each([&](float x, int, int) {
            if (!(x >= bound)) return;
            if (n == SLOTS) {
                whole = false;
                return;
            }
            kept[n * blockDim.x] = x;
            n++;
        });
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int i = 0; i < n; i++) f(slot[i * blockDim.x], 0, 0);
    }
};

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

/* 2^x to 2 units in the last place; results below 2^-126 become 0. */
__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 16 bytes from global to shared memory that need no register on the way; the thread that asked
 * for them may read them once they have arrived. */
__device__ __forceinline__ void copy_async(uint4 *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global)
                 : "memory");
}
__device__ __forceinline__ void copies_arrived()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

#endif
