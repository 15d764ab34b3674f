/* SPDX-License-Identifier: MIT
 *
 * select.cuh — the last of the k largest entries of a row, the lowest indices among equals,
 * whatever the row and k: the pair (t, j); entry i is selected if x_i > t, or x_i = t and i <= j.
 *
 * Method: bisection on the value until little more than k entries are left, then taking off the
 * lowest value with all its equals; if k falls among equals, their index is bisected.
 */
#ifndef MOSAIC_SELECT_CUH
#define MOSAIC_SELECT_CUH

#include "team.cuh"

enum { EXCESS = 16 /* entries over k from which on values are taken off one by one */ };
static const float LOWEST = -3.40282347e+38f;

struct selection {
    float t;
    int j, taken;

    __device__ __forceinline__ bool has(float x, int i) const
    {
        return x > t || (x == t && i <= j);
    }
};

/* The next float above x, |x| < infinity. */
__device__ __forceinline__ float next_above(float x)
{
    const int bits = __float_as_int(x + 0.0f); /* of -0 those of 0 */
    return __int_as_float(bits < 0 ? bits - 1 : bits + 1);
}

/* The lowest value >= low and how many entries equal it. */
template <class Row> __device__ sum2 lowest(const Row &t, team &g, float low)
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
template <class Row>
__device__ int index_of(const Row &t, team &g, bool asks, int need, int n, float value)
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

/* Narrow the `count` entries from low to high, all from low on, to s->taken of them, for the teams
 * that ask. */
template <class Row>
__device__ void narrow_to(const Row &t, team &g, bool asks, float low, float high, int count, int n,
                          selection *s)
{
    int need = 0;
    bool open = asks, tied = false;
    for (int step = 0; g.any(open); step++) {
        const float middle = 0.5f * low + 0.5f * high;
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
            low = next_above(edge.a);
        }
    }
    if (!g.any(tied)) return;
    const int j = index_of(t, g, tied, need, n, s->t);
    if (tied) s->j = j;
}

/* The selection of the k largest of a row of n entries with maximum m, for the teams that ask. */
template <class Row>
__device__ selection select_largest(const Row &t, team &g, bool asks, int k, float m, int n)
{
    int keys = 0;
    float least = INFINITY;
    t.each([&](float x, int, int) {
        keys += x > -INFINITY;
        if (x > -INFINITY) least = fminf(least, x);
    });
    keys = g.count(keys);
    least = -g.max(-least);
    selection s = {LOWEST, INT32_MAX, min(k, keys)};
    narrow_to(t, g, asks && k < keys, least, m, keys, n, &s);
    return s;
}

#endif
