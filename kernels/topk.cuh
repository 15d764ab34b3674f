/* SPDX-License-Identifier: MIT
 *
 * topk.cuh — exactly min(k, keys) largest entries of a row, the lowest indices among equals: the
 * last one selected, (t, j), and then entry i is selected if x_i > t, or x_i = t and i <= j.
 *
 * Method: if in each of the W warps of the row ceil(k/W) of the threads' maxima reach a value, k
 * entries of the row reach it. The entries that do are few: they are listed, and an entry's rank is
 * the number of listed entries before it. Where they do not fit the list (k large, too few maxima)
 * the whole row is narrowed, by bisection on the value until little more than k entries are left,
 * then by taking off the lowest value with all its equals; if k falls among equals, their index is
 * bisected. Entries enter the list in no fixed order, which no result depends on.
 */
#ifndef MOSAIC_TOPK_CUH
#define MOSAIC_TOPK_CUH

#include "row.cuh"

enum { BOUND_STEPS = 5, EXCESS = 16, LISTED = 4 /* entries of the list per lane */ };

struct selection {
    float t;
    int j, taken;

    __device__ __forceinline__ bool has(float x, int i) const
    {
        return x > t || (x == t && i <= j);
    }
};

/* A value that k of the maxima in this warp reach, or -inf. */
__device__ __forceinline__ float reached(const team &g, const row_facts &row, int64_t k)
{
    const int begin = (int)threadIdx.x % WARP / g.width * g.width;
    const unsigned lanes = ALL_LANES >> (WARP - g.width) << begin;
    float low = fminf(fminf(row.top[0], row.top[1]), fminf(row.top[2], row.top[3]));
    float high = fmaxf(fmaxf(row.top[0], row.top[1]), fmaxf(row.top[2], row.top[3]));
    for (int o = g.width / 2; o; o >>= 1) {
        low = fminf(low, __shfl_xor_sync(ALL_LANES, low, o));
        high = fmaxf(high, __shfl_xor_sync(ALL_LANES, high, o));
    }
    if (k == 1) return high;
    if (k > CHAINS * g.width) return -INFINITY;
    for (int step = 0; step < BOUND_STEPS; step++) {
        const float middle = 0.5f * (low + high);
        int count = 0;
#pragma unroll
        for (int i = 0; i < CHAINS; i++)
            count += __popc(__ballot_sync(ALL_LANES, row.top[i] >= middle) & lanes);
        if (count >= k)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* A team's list: `capacity` values, their indices, and how many. */
struct short_list {
    float *x;
    int *j, *n, capacity;
};

/* The selection from the entries >= low, of which there are at least s->taken, for the teams that
 * ask. False if the list did not hold them. */
template <class Tile>
__device__ bool rank_list(const Tile &t, team &g, bool asks, float low, const short_list &l,
                          selection *s)
{
    if (g.rank == 0) *l.n = 0;
    g.sync();
    t.each([&](float x, int j, int) {
        if (!(x >= low) || !asks) return;
        const int i = atomicAdd(l.n, 1);
        if (i < l.capacity) l.x[i] = x, l.j[i] = j;
    });
    g.sync();
    const int n = *l.n;
    if (asks && n <= l.capacity)
        for (int e = g.rank; e < n; e += g.size) {
            const float x = l.x[e];
            const int j = l.j[e];
            int before = 0;
            for (int i = 0; i < n; i++) before += l.x[i] > x || (l.x[i] == x && l.j[i] < j);
            if (before == s->taken - 1) l.n[1] = __float_as_int(x), l.n[2] = j;
        }
    g.sync();
    if (!asks || n > l.capacity) return false;
    s->t = __int_as_float(l.n[1]), s->j = l.n[2];
    return true;
}

/* The lowest value >= low and how many entries equal it. */
template <class Source> __device__ sum2 lowest(const Source &t, team &g, float low)
{
    sum2 s = {INFINITY, 0.0f};
    t.each([&](float x, int, int) {
        if (!(x >= low) || x > s.a) return;
        s.b = x < s.a ? 1.0f : s.b + 1.0f;
        s.a = x;
    });
    return g.fold(s, sum2{INFINITY, 0.0f}, [](sum2 x, sum2 y) {
        return sum2{fminf(x.a, y.a), (x.a <= y.a ? x.b : 0.0f) + (y.a <= x.a ? y.b : 0.0f)};
    });
}

/* The index of the entry number `need` among those equal to t, for the teams that ask. */
template <class Source>
__device__ int index_of(const Source &t, team &g, bool asks, int need, int n, float value)
{
    int low = -1, high = n - 1;
    while (g.any(asks && high - low > 1)) {
        const int middle = low + (high - low) / 2;
        int count = 0;
        t.each([&](float x, int j, int) { count += x == value && j <= middle; });
        if (g.count(count) >= need)
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* Narrow the `count` entries >= low to s->taken of them, for the teams that ask. */
template <class Source>
__device__ void narrow_to(const Source &t, team &g, bool asks, float low, int count, int n,
                          selection *s)
{
    float high = 0.0f;
    int need = 0;
    bool open = asks, tied = false;
    for (int step = 0; g.any(open); step++) {
        const float middle = 0.5f * (low + high);
        const bool halve = open && count - s->taken > EXCESS && middle > low && middle < high;
        if (step % 4 < 3 && g.any(halve)) {
            int above = 0;
            t.each([&](float x, int, int) { above += x >= middle; });
            above = g.count(above);
            if (halve && above >= s->taken)
                low = middle, count = above;
            else if (halve)
                high = middle;
            continue;
        }
        const sum2 edge = lowest(t, g, low);
        const int equal = (int)edge.b;
        if (!open) continue;
        if (count - equal < s->taken) {
            s->t = edge.a;
            need = s->taken - (count - equal);
            tied = need < equal;
            open = false;
        } else {
            count -= equal;
            low = __int_as_float(__float_as_int(edge.a) - 1); /* edge < 0: the next float above */
        }
    }
    if (!g.any(tied)) return;
    const int j = index_of(t, g, tied, need, n, s->t);
    if (tied) s->j = j;
}

template <class Tile>
__device__ selection select_largest(const Tile &t, team &g, const row_facts &row, int64_t k, int n)
{
    __shared__ float listed_x[LISTED * WARP_BLOCK];
    __shared__ int listed_j[LISTED * WARP_BLOCK], listed_n[3 * WARP_BLOCK / 4];
    const int at = (int)threadIdx.x / g.size;
    const int capacity = LISTED * (g.warps > 1 ? WARP_BLOCK : g.width);
    const short_list l = {listed_x + at * capacity, listed_j + at * capacity, listed_n + 3 * at,
                          capacity};
    float bound = reached(g, row, (k + g.warps - 1) / g.warps);
    if (g.warps > 1) bound = -g.max(-bound);
    selection s = {-3.40282347e+38f, INT32_MAX, (int)k};
    const bool found =
        rank_list(t, g, !row.idle && bound > -INFINITY && k <= capacity, bound, l, &s);
    if (!g.any(!row.idle && !found)) return s;
    int keys = 0;
    float least = 0.0f;
    t.each([&](float x, int, int) {
        keys += x > -INFINITY;
        if (x > -INFINITY) least = fminf(least, x);
    });
    keys = g.count(keys);
    least = -g.max(-least);
    if (!found) s.taken = (int)(k < keys ? k : keys);
    narrow_to(t, g, !row.idle && !found && k < keys, least, keys, n, &s);
    return s;
}

#endif
