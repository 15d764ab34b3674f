/* SPDX-License-Identifier: MIT
 *
 * short_list.cuh — the k largest entries of a row by rank, where few entries compete.
 *
 * Method: if k of the maxima of disjoint groups of entries reach a bound, k entries of the row do,
 * and the k largest are among the entries that do. These are listed, and the rank of each is the
 * number of listed entries before it. They enter the list in no fixed order, which no rank depends
 * on. With N(0, 1) scores and k = 16 the list holds 19 to 34 entries, N = 256 ... 32768.
 */
#ifndef MOSAIC_SHORT_LIST_CUH
#define MOSAIC_SHORT_LIST_CUH

#include "shared_row.cuh"

enum { BOUND_STEPS = 5 };

/* --- entries as numbers ---------------------------------------------------------------------- */

/* The code of an entry is larger the earlier it is selected: the bits U of its value V, turned so
 * that they ascend with it, then the complement of its index. Never 0, and half the range of Word
 * is left free, so that the sign of a difference tells which is larger. */
template <typename V, typename U, typename Word, int index_bits> struct entry_code {
    typedef Word word;
    enum { sign = 8 * sizeof(U) - 1, last = (1 << index_bits) - 1 };

    __device__ __forceinline__ static word of(float x, int j)
    {
        const V value = narrow<V>(x + 0.0f); /* -0 equals 0 */
        U bits;
        memcpy(&bits, &value, sizeof bits);
        bits ^= bits >> sign ? (U)~0u : (U)(1u << sign);
        return (word)bits << index_bits | (word)(last - j);
    }
    __device__ __forceinline__ static float value(word code)
    {
        U bits = (U)(code >> index_bits);
        V x;
        bits ^= bits >> sign ? (U)(1u << sign) : (U)~0u;
        memcpy(&x, &bits, sizeof x);
        return widen(x);
    }
    __device__ __forceinline__ static int index(word code)
    {
        return last - (int)(code & last);
    }
};

/* 16-bit values of rows in shared memory take 32 bits. */
template <class Row> struct code_of {
    typedef entry_code<float, uint32_t, uint64_t, 24> type;
};
template <int W, int tops> struct code_of<shared_row<bf16, W, tops>> {
    typedef entry_code<bf16, uint16_t, uint32_t, 15> type;
};
template <int W, int tops> struct code_of<shared_row<fp16, W, tops>> {
    typedef entry_code<fp16, uint16_t, uint32_t, 15> type;
};
static_assert(LONGEST <= 1 << 15, "the index of an entry in shared memory has 15 bits");

/* --- the bound ------------------------------------------------------------------------------- */

/* Of `width` neighbouring lanes with C values each: the largest, and a value that k of them reach,
 * by bisection from the smallest; -inf if fewer than k are keys. */
template <int C> __device__ sum2 reached(const float (&x)[C], int width, int k)
{
    const unsigned first = threadIdx.x % WARP & (unsigned)-width;
    const unsigned lanes = ALL_LANES >> (WARP - width) << first;
    float low = INFINITY, most = -INFINITY;
#pragma unroll
    for (int i = 0; i < C; i++) {
        low = fminf(low, x[i] > -INFINITY ? x[i] : INFINITY);
        most = max_nan(most, x[i]);
    }
    for (int o = width / 2; o; o >>= 1) {
        low = fminf(low, __shfl_xor_sync(ALL_LANES, low, o));
        most = max_nan(most, __shfl_xor_sync(ALL_LANES, most, o));
    }
    const auto reaching = [&](float value) {
        int count = 0;
#pragma unroll
        for (int i = 0; i < C; i++)
            count += __popc(__ballot_sync(ALL_LANES, x[i] >= value) & lanes);
        return count;
    };
    const bool enough = reaching(low) >= k;
    float high = most;
#pragma unroll 1
    for (int step = 0; step < BOUND_STEPS; step++) {
        const float middle = 0.5f * low + 0.5f * high;
        if (reaching(middle) >= k)
            low = middle;
        else
            high = middle;
    }
    return sum2{most, k == 1 ? most : enough ? low : -INFINITY};
}

/* The maximum of the row, and a value that in `warps` of its warps `maxima` of the tops reach, or
 * -inf. */
template <int C> __device__ sum2 find_bound(team &g, const float (&top)[C], int maxima, int warps)
{
    sum2 s = reached(top, g.width, maxima);
    if (g.warps == 1) return s;
    const sum2 *slot = g.exchange(s);
    const int other = g.rank & (g.span - 1);
    s = other < g.warps ? slot[other] : sum2{-INFINITY, -INFINITY};
    for (int o = g.span / 2; o; o >>= 1)
        s.a = max_nan(s.a, __shfl_xor_sync(ALL_LANES, s.a, o));
    const float own[1] = {s.b};
    return sum2{s.a, reached(own, g.span, warps).b};
}

/* --- the list -------------------------------------------------------------------------------- */

/* A team's list: the codes as they came, then zeros; by rank; how many came. */
template <class Code> struct short_list {
    typename Code::word *came, *ranked;
    int *n, capacity;
};

/* Entries of the list of a team: some times those that compete for k = 16. */
static __host__ __device__ __forceinline__ int list_capacity(int size)
{
    return size < WARP ? 64 : size == WARP ? 128 : 512;
}

template <class Code>
__device__ __forceinline__ void empty_list(const team &g, const short_list<Code> &l)
{
    enum { per_store = sizeof(uint4) / sizeof(typename Code::word) };
#pragma unroll 1
    for (int e = g.rank; e < l.capacity / per_store; e += g.size)
        ((uint4 *)l.came)[e] = uint4();
    if (g.rank == 0) *l.n = 0;
    g.sync();
}

/* List the entries >= bound: how many there are, and false if they do not fit. */
template <class Code, class Row>
__device__ __forceinline__ bool list_entries(const Row &t, const team &g, float bound,
                                             const short_list<Code> &l, int *n)
{
    typename Code::word *to;
    t.reaching(
        bound,
        [&](int own) {
            const int at = atomicAdd(l.n, own);
            to = l.came + at;
            return at + own <= l.capacity;
        },
        [&](float x, int j) { *to++ = Code::of(x, j); });
    g.sync();
    *n = *l.n;
    return *n <= l.capacity;
}

/* Rank the entries first, first + size, ..., C of them at a time. What does not exist is 0, and
 * comes last. */
template <int C, class Code>
__device__ __forceinline__ void rank_entries(const team &g, const short_list<Code> &l, int first,
                                             int n, int k)
{
    typename Code::word own[C];
    int before[C];
#pragma unroll
    for (int c = 0; c < C; c++) {
        const int e = first + c * g.size;
        own[c] = e < n ? l.came[e] : 0;
        before[c] = 0;
    }
#pragma unroll 1
    for (int i = 0; i < n; i += 4)
#pragma unroll
        for (int o = 0; o < 4; o++)
#pragma unroll
            for (int c = 0; c < C; c++)
                before[c] += (int)((own[c] - l.came[i + o]) >> (8 * sizeof own[c] - 1));
#pragma unroll
    for (int c = 0; c < C; c++)
        if (before[c] < k) l.ranked[before[c]] = own[c];
}

/* The first k of the n entries of the list by rank. */
template <class Code>
__device__ __forceinline__ void rank_list(const team &g, const short_list<Code> &l, int n, int k)
{
    enum { MANY = 3 };
    if (!__any_sync(ALL_LANES, n > g.size))
        rank_entries<1>(g, l, g.rank, n, k);
    else
        for (int e = g.rank; e < n; e += MANY * g.size)
            rank_entries<MANY>(g, l, e, n, k);
    g.sync();
}

#endif
