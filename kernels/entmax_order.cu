/* SPDX-License-Identifier: MIT
 *
 * entmax_order — alpha-entmax for alpha > 2, where r = 1/(alpha-1) < 1: a weight near the threshold
 * depends on z - tau far below the precision of z, so the smallest weight y = p_(K) is the unknown.
 * With the gaps d_j = -x_j, s = (alpha-1) beta^2 and D = d_(K),
 *
 *     K the keys with d_j <= D,  D the largest with  sum_{d_j < D} (s (D - d_j))^r < 1
 *     p_j = (y^(alpha-1) + s (D - d_j))^r,   y where d_j = D;   sum_j p_j = 1
 *
 * Method: the first sum grows with D and is 1 between the D of one key, 1/s, and that of as many
 * equal keys as there are within 1/s. The bits between are bisected until no key is left there. The
 * second is convex in y, of slope sum_j (y/p_j)^(alpha-2): Newton falls to its root from 1/K.
 * Groups whose maximum is beyond D are left out. Source: model 1.3, solver 4.
 */
#include "entmax.cuh"
#include "row.cuh"

struct order_rule {
    enum { compact = 1, shifted = 1 };
    double a;
    float scale, r, edge, last, log_last, floor, inverse, omega;

    template <class Tile, class Team, class F>
    __device__ __forceinline__ int count(const Tile &t, Team &g, const row_facts &row, F counts)
    {
        int n = 0;
        t.each_of(
            row.top, [&](float x) { return reaches(x); },
            [&](float x, int, int) { n += counts(-x); });
        return g.count(n);
    }
    /* edge, the gap D of the last key of the support. */
    template <class Tile, class Team>
    __device__ __forceinline__ void find_edge(const Tile &t, Team &g, const row_facts &row)
    {
        edge = 1.0f / scale;
        const int within = count(t, g, row, [&](float d) { return d <= edge; });
        float low = edge * exp2f((float)-a * log2f((float)max(within, 1)));
        float left = (float)count(t, g, row, [&](float d) { return d > low && d <= edge; });
#pragma unroll 1
        for (;;) {
            /* of low < d <= edge it is not known whether they are in the support */
            const int between = (__float_as_int(edge) - __float_as_int(low)) / 2;
            const bool more = !row.idle && left > 0.0f && between > 0;
            if (!g.any(more)) break;
            const float D = __int_as_float(__float_as_int(low) + between);
            float s[CHAINS] = {0, 0, 0, 0}, beyond = 0.0f;
            t.each_of(
                row.top, [&](float x) { return reaches(x); },
                [&](float x, int, int chain) {
                    const float v = scale * (D + x);
                    s[chain] += v > 0.0f ? power_of_two(r * logarithm(v)) : 0.0f;
                    beyond += -x > D && -x <= edge ? 1.0f : 0.0f;
                });
            const sum2 f = g.sum(folded(s), beyond);
            const bool inside = f.a < 1.0f;
            if (more && inside) low = D, left = f.b;
            if (more && !inside) edge = D, left -= f.b;
        }
        float furthest = 0.0f;
        t.each_of(
            row.top, [&](float x) { return reaches(x); },
            [&](float x, int, int) {
                if (-x <= low) furthest = fmaxf(furthest, -x);
            });
        edge = g.max(furthest);
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        const float power = (float)(a - 1);
        float sum = 1.0f;
        scale = clamp_scale((float)(a * row.beta * row.beta));
        r = (float)(1.0 / a);
        find_edge(t, g, row);
        last = 1.0f / (float)max(count(t, g, row, [&](float d) { return d <= edge; }), 1);
        inverse = 1.0f;
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float s[CHAINS] = {0, 0, 0, 0}, slope[CHAINS] = {0, 0, 0, 0};
            log_last = log2f(last);
            floor = powf(last, (float)a);
            t.each_of(
                row.top, [&](float x) { return reaches(x); },
                [&](float x, int, int chain) {
                    const float l = log_weight(x);
                    s[chain] += weighted(x, l);
                    slope[chain] += reaches(x) ? power_of_two(power * (log_last - l)) : 0.0f;
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
    /* log2 of the weight of a key of the support, before it is normalised. */
    __device__ __forceinline__ float log_weight(float x) const
    {
        return fmaxf(r * logarithm(fmaf(scale, edge + x, floor)), log_last);
    }
    __device__ __forceinline__ float weighted(float x, float log_w) const
    {
        return !reaches(x) ? 0.0f : -x == edge ? last : power_of_two(log_w);
    }
    __device__ __forceinline__ bool reaches(float x) const
    {
        return -x <= edge;
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        return weighted(x, log_weight(x)) * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

status entmax_order(const args *a)
{
    order_rule rule = {};
    rule.a = a->p.alpha - 1;
    return BY_TYPE(a->type, "entmax", forward_rows, a, "entmax", rule);
}
