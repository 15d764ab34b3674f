/* SPDX-License-Identifier: MIT
 *
 * order.cuh — alpha-entmax for alpha > 2, where r = 1/(alpha-1) < 1: a weight near the threshold
 * depends on z - tau far below the precision of z, so the smallest weight y = p_(K) is the unknown.
 * With the gaps d_j = -x_j, s = (alpha-1) beta^2 and D = d_(K),
 *
 *     K the keys with d_j <= D,  D the largest with  sum_{d_j < D} (s (D - d_j))^r < 1
 *     p_j = (y^(alpha-1) + s (D - d_j))^r,   y where d_j = D;   sum_j p_j = 1
 *
 * Method: the first sum grows with D, which is found bit by bit; D of the maxima of the groups is a
 * bound on that of the row, and only groups that it reaches are summed. The second is convex in y,
 * of slope sum_j (y/p_j)^(alpha-2): Newton falls to its root from 1/K.
 * Source: model 1.3, solver 4.
 */
#ifndef MOSAIC_ORDER_CUH
#define MOSAIC_ORDER_CUH

#include "row.cuh"

enum { MOST_STEPS = 64 };

struct order_rule {
    enum { compact = 1, shifted = 1 };
    double a;
    float scale, r, edge, last, floor, inverse, omega;

    /* v^r for v >= 0 */
    __device__ __forceinline__ float root(float v) const
    {
        return exp2f(r * log2f(v));
    }
    /* The longest D with sum(D) < 1, where sum(D) is of (s (D - d_j))^r over this thread's share. */
    template <class Team, class Sum>
    __device__ __forceinline__ float longest(Team &g, Sum sum)
    {
        int reach = 0;
#pragma unroll 1
        for (int bit = 30; bit >= 0; bit--) {
            const float D = __int_as_float(reach | 1 << bit);
            if (g.sum(sum(D)) < 1.0f && D < INFINITY) reach |= 1 << bit;
        }
        return __int_as_float(reach);
    }
    template <class Tile, class Team>
    __device__ void find_edge(const Tile &t, Team &g, const row_facts &row)
    {
        const float most = longest(g, [&](float D) {
            float s = 0.0f;
#pragma unroll
            for (int i = 0; i < GROUPS; i++)
                if (-row.top[i] < D) s += root(scale * (D + row.top[i]));
            return s;
        });
        edge = most;
        const float D = longest(g, [&](float D) {
            float s[CHAINS] = {0, 0, 0, 0};
            t.each_of(
                row.top, [&](float x) { return reaches(x); },
                [&](float x, int, int chain) {
                    if (-x < D) s[chain] += root(scale * (D + x));
                });
            return folded(s);
        });
        float furthest = -INFINITY;
        t.each_of(
            row.top, [&](float x) { return reaches(x); },
            [&](float x, int, int) {
                if (-x <= D) furthest = fmaxf(furthest, -x);
            });
        edge = g.max(furthest);
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        int keys = 0;
        float sum = 1.0f;
        scale = clamp_scale((float)(a * row.beta * row.beta));
        r = (float)(1.0 / a);
        find_edge(t, g, row);
        t.each_of(
            row.top, [&](float x) { return reaches(x); },
            [&](float x, int, int) { keys += reaches(x); });
        keys = g.count(keys);
        last = 1.0f / (float)max(keys, 1);
        inverse = 1.0f;
#pragma unroll 1
        for (int step = 0; step < MOST_STEPS; step++) {
            float s[CHAINS] = {0, 0, 0, 0}, slope[CHAINS] = {0, 0, 0, 0};
            floor = powf(last, (float)a);
            const float log_last = log2f(last), power = (float)(a - 1);
            t.each_of(
                row.top, [&](float x) { return reaches(x); },
                [&](float x, int, int chain) {
                    if (!reaches(x)) return;
                    const float w = weight(x, 0);
                    s[chain] += w;
                    slope[chain] += exp2f(power * (log_last - log2f(w)));
                });
            const sum2 f = g.sum(folded(s), folded(slope));
            sum = f.a;
            const bool more = !row.idle && sum > 1.0f + 2 * ULP;
            if (!g.any(more)) break;
            if (more) last = fmaxf(last - (sum - 1.0f) / f.b, 0.0f);
        }
        inverse = 1.0f / sum;
        omega = floor + scale * edge;
    }
    __device__ __forceinline__ bool reaches(float x) const
    {
        return -x <= edge;
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        float w = 0.0f;
        if (-x == edge)
            w = last;
        else if (-x < edge)
            w = fmaxf(root(floor + scale * (edge + x)), last);
        return w * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

#endif
