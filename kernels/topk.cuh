/* SPDX-License-Identifier: MIT
 *
 * topk.cuh — exactly min(k, keys) largest entries of a row, the lowest indices among equals: the
 * last one selected, (t, j), and then entry i is selected if x_i > t, or x_i = t and i <= j.
 *
 * Method: bisection on the threshold, first by value, then over the bits of the floats, with a count
 * of the entries above it in every step. If k <= the lanes of a warp, the smallest of its lanes'
 * maxima is a lower end with k entries above. It ends when the count is k; when the entries left
 * fit a short list, which is ranked by (value, index) at once; or when no float is left between the
 * ends: then k cuts through equal entries, and their index is bisected.
 */
#ifndef MOSAIC_TOPK_CUH
#define MOSAIC_TOPK_CUH

#include "row.cuh"

enum { LIST = 64, VALUE_STEPS = 10, LIST_STEPS = 5, MAX_TEAMS = WARP_BLOCK / 4 };

struct short_list {
    int n, last_j;
    float last_x;
    float x[LIST];
    int j[LIST];
};

struct selection {
    float t;
    int j, taken;

    __device__ __forceinline__ bool has(float x, int i) const
    {
        return x > t || (x == t && i <= j);
    }
};

/* The entry of rank `taken` among those >= t, at most LIST of them; for the teams that ask. */
template <class Tile>
__device__ void rank_list(const Tile &t, team &g, bool asks, selection *s)
{
    __shared__ short_list lists[MAX_TEAMS];
    short_list *l = lists + threadIdx.x / g.size;
    if (g.rank == 0) l->n = 0;
    g.sync();
    t.each([&](float x, int j, int) {
        if (!asks || !(x >= s->t)) return;
        const int i = atomicAdd(&l->n, 1);
        l->x[i] = x;
        l->j[i] = j;
    });
    g.sync();
    for (int e = g.rank; e < l->n; e += g.size) {
        const float x = l->x[e];
        const int j = l->j[e];
        int before = 0;
        for (int i = 0; i < l->n; i++)
            before += l->x[i] > x || (l->x[i] == x && l->j[i] < j);
        if (before == s->taken - 1) l->last_x = x, l->last_j = j;
    }
    g.sync();
    if (asks) s->t = l->last_x, s->j = l->last_j;
}

/* The index of the equal entry number `need`, for the teams that ask. */
template <class Tile>
__device__ void bisect_index(const Tile &t, team &g, bool asks, int need, int n, selection *s)
{
    int low = -1, high = n - 1;
    while (g.any(asks && high - low > 1)) {
        const int middle = low + (high - low) / 2;
        int count = 0;
        t.each([&](float x, int j, int) { count += x == s->t && j <= middle; });
        count = g.count(count, 0).x;
        if (count >= need)
            high = middle;
        else
            low = middle;
    }
    if (asks) s->j = high;
}

template <class Tile>
__device__ selection select_largest(const Tile &t, team &g, const row_facts &row, int64_t k, int n)
{
    int keys = 0, in_low = INT32_MAX, in_high = 0;
    float least = 0.0f, bound = -row.top;
    t.each([&](float x, int, int) {
        keys += x > -INFINITY;
        if (x > -INFINITY) least = fminf(least, x);
    });
    keys = g.count(keys, 0).x;
    for (int o = g.width / 2; o; o >>= 1)
        bound = fmaxf(bound, __shfl_xor_sync(ALL_LANES, bound, o));
    const sum2 ends = g.max(-least, k <= g.width ? -bound : -INFINITY);
    selection s = {-FLT_MAX, INT32_MAX, (int)(k < keys ? k : keys)};
    bool open = !row.idle && k < keys;
    /* Ends of the bisection as bits of -x: `low` has at least k entries, `high` has fewer. */
    int low = __float_as_int(fminf(ends.a, ends.b > -INFINITY ? -ends.b : INFINITY)), high = -1;
    const bool cut = open;
    open = open && low - high > 1;
    for (int step = 0; g.any(open); step++) {
        const float value = 0.5f * (__int_as_float(low) + __int_as_float(max(high, 0)));
        int middle = step < VALUE_STEPS ? __float_as_int(value) : high + (low - high) / 2;
        middle = max(high + 1, min(low - 1, middle));
        const float threshold = -__int_as_float(middle);
        int count = 0;
        t.each([&](float x, int, int) { count += x >= threshold; });
        count = g.count(count, 0).x;
        if (!open) continue;
        if (count >= s.taken)
            low = middle, in_low = count;
        else
            high = middle, in_high = count;
        open = in_low != s.taken && low - high > 1 && !(step >= LIST_STEPS && in_low <= LIST);
    }
    if (cut) s.t = -__int_as_float(low);
    const bool listed = cut && in_low != s.taken && in_low <= LIST;
    const bool tied = cut && in_low > LIST && in_low != s.taken;
    if (g.any(listed)) rank_list(t, g, listed, &s);
    if (g.any(tied)) bisect_index(t, g, tied, s.taken - in_high, n, &s);
    return s;
}

#endif
