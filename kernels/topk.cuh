/* SPDX-License-Identifier: MIT
 *
 * topk.cuh — exactly min(k, keys) largest entries of a row, the lowest indices among equals: the
 * last one selected, (t, j), and then entry i is selected if x_i > t, or x_i = t and i <= j.
 *
 * Method: a threshold with at least k of the threads' maxima above it has k entries above it. The
 * entries that reach it are few; each thread lists its own, and the list is narrowed by bisection
 * on the value until it holds little more than k, then by taking off the lowest value with all its
 * equals. If k falls among equals, their index is bisected. Rows whose entries do not fit the lists
 * (k large, or not enough maxima) are narrowed the same way, entry by entry.
 */
#ifndef MOSAIC_TOPK_CUH
#define MOSAIC_TOPK_CUH

#include "row.cuh"

enum { BOUND_STEPS = 6, EXCESS = 16 };

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
    float low = fminf(fminf(row.top[0], row.top[1]), fminf(row.top[2], row.top[3])), high = 0.0f;
    if (k > CHAINS * g.width) return -INFINITY;
    for (int o = g.width / 2; o; o >>= 1) low = fminf(low, __shfl_xor_sync(ALL_LANES, low, o));
    for (int step = 0; step < BOUND_STEPS; step++) {
        const float middle = 0.5f * (low + high);
        float count = 0.0f;
#pragma unroll
        for (int i = 0; i < CHAINS; i++) count += row.top[i] >= middle ? 1.0f : 0.0f;
        if (g.part(count, 0.0f).a >= (float)k)
            low = middle;
        else
            high = middle;
    }
    return low;
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
    float bound = reached(g, row, k);
    if (g.warps > 1) bound = g.max(bound);
    const survivors<true> list(t, bound, row.kept);
    const sum2 listed = g.sum((float)list.n, list.whole ? 0.0f : 1.0f);
    const bool fits = bound > -INFINITY && listed.b == 0.0f;
    selection s = {-3.40282347e+38f, INT32_MAX, (int)k};
    if (g.any(!row.idle && fits))
        narrow_to(list, g, !row.idle && fits, bound, (int)listed.a, n, &s);
    if (!g.any(!row.idle && !fits)) return s;
    int keys = 0;
    float least = 0.0f;
    t.each([&](float x, int, int) {
        keys += x > -INFINITY;
        if (x > -INFINITY) least = fminf(least, x);
    });
    keys = g.count(keys);
    least = -g.max(-least);
    if (!fits) s.taken = (int)(k < keys ? k : keys);
    narrow_to(t, g, !row.idle && !fits && k < keys, least, keys, n, &s);
    return s;
}

#endif
