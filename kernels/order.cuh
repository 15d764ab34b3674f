/* SPDX-License-Identifier: MIT
 *
 * order.cuh — alpha-entmax for alpha > 2, where r = 1/(alpha-1) < 1: a weight near the threshold
 * depends on z - tau far below the precision of z, so the smallest weight y = p_(K) is the unknown.
 * With the gaps d_j = -x_j, s = (alpha-1) beta^2 and D = d_(K),
 *
 *     K the keys with d_j <= D,  D the largest with  sum_{d_j < D} (s (D - d_j))^r < 1
 *     p_j = (y^(alpha-1) + s (D - d_j))^r,   y where d_j = D;   sum_j p_j = 1
 *
 * Method: the sum is monotone in D and in y: D bit by bit, y by halving (0, 1/K].
 * Source: model 1.3, solver 4.
 */
#ifndef MOSAIC_ORDER_CUH
#define MOSAIC_ORDER_CUH

#include "row.cuh"

enum { HALVINGS = 48 };

struct order_rule {
    enum { keeps_list = 0, shifted = 1 };
    double a;
    float scale, r, edge, last, floor, inverse, omega;

    /* v^r for v >= 0 */
    __device__ __forceinline__ float root(float v) const
    {
        return exp2f(r * log2f(v));
    }
    template <class Tile> __device__ void find_edge(const Tile &t, team &g)
    {
        int reach = 0;
#pragma unroll 1
        for (int bit = 30; bit >= 0; bit--) {
            const int longer = reach | 1 << bit;
            const float D = __int_as_float(longer);
            float s[CHAINS] = {0, 0, 0, 0};
            t.each([&](float x, int, int chain) {
                if (-x < D) s[chain] += root(scale * (D + x));
            });
            if (g.sum(folded(s)) < 1.0f && D < INFINITY) reach = longer;
        }
        const float D = __int_as_float(reach);
        edge = -INFINITY;
        t.each([&](float x, int, int) {
            if (-x <= D) edge = fmaxf(edge, -x);
        });
        edge = g.max(edge);
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        int keys = 0;
        scale = clamp_scale((float)(a * row.beta * row.beta));
        r = (float)(1.0 / a);
        find_edge(t, g);
        t.each([&](float x, int, int) { keys += -x <= edge; });
        keys = g.count(keys);
        float low = 0.0f, high = 1.0f / (float)max(keys, 1);
#pragma unroll 1
        for (int step = 0; step <= HALVINGS; step++) {
            float s[CHAINS] = {0, 0, 0, 0};
            last = step < HALVINGS ? low + 0.5f * (high - low) : high;
            floor = powf(last, (float)a);
            inverse = 1.0f;
            t.each([&](float x, int j, int chain) { s[chain] += weight(x, j); });
            const float sum = g.sum(folded(s));
            if (step == HALVINGS)
                inverse = 1.0f / sum;
            else if (sum < 1.0f)
                low = last;
            else
                high = last;
        }
        omega = floor + scale * edge;
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        float w = 0.0f;
        if (-x == edge)
            w = last;
        else if (-x < edge)
            w = root(floor + scale * (edge + x));
        return w * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

#endif
