/* SPDX-License-Identifier: MIT
 *
 * general_grad.cuh — the backward of alpha-entmax for any alpha > 1, as in power_grad.cuh.
 * With a = alpha-1, t_j = a ln(p_j/p_max) is held in place of p_j:
 *
 *     w_j / w_max = exp(t_j (1-a)/a),   s_j - s_max = omega expm1(t_j) / a
 *
 * and the reference key is that of the largest w: j* for alpha <= 2, the smallest weight above.
 * Source: model 1.3.
 */
#ifndef MOSAIC_GENERAL_GRAD_CUH
#define MOSAIC_GENERAL_GRAD_CUH

#include "grad.cuh"
#include "newton.cuh"

/* e^t - 1 for t <= 0, to two units in the last place */
__device__ __forceinline__ float expm1_negative(float t)
{
    float q = 1.0f / 5040.0f;
    q = fmaf(q, t, 1.0f / 720.0f);
    q = fmaf(q, t, 1.0f / 120.0f);
    q = fmaf(q, t, 1.0f / 24.0f);
    q = fmaf(q, t, 1.0f / 6.0f);
    q = fmaf(q, t, 0.5f);
    q = fmaf(q * t, t, t);
    return t > -0.35f ? q : power_of_two(t * LOG2_E) - 1.0f;
}

struct general_grad_rule {
    float a, over_max, exponent, w_max, b2, share, ref_G, ref_g, ref_t, factor;
    int ref;

    __device__ void begin(const grad_facts &row)
    {
        over_max = 1.0f / row.p_max;
        exponent = (1.0f - a) / a * LOG2_E;
        w_max = powf(row.p_max, 1.0f - a);
        b2 = row.beta * row.beta;
        factor = 2.0f / row.beta * row.norm / a;
        ref = row.arg, ref_G = row.G_max, ref_t = 0.0f;
    }
    __device__ __forceinline__ float key(float p) const
    {
        return a * logf(p * over_max);
    }
    __device__ __forceinline__ bool has(float t) const
    {
        return t > -INFINITY;
    }
    template <class Pair> __device__ void find_smallest(const Pair &t, team &g)
    {
        float least = 0.0f, G = 0.0f;
        int first = INT32_MAX;
        t.each([&](float x, float, int, int) {
            if (has(x)) least = fminf(least, x);
        });
        ref_t = -g.max(-least);
        t.each([&](float x, float, int j, int) {
            if (x == ref_t) first = min(first, j);
        });
        ref = g.first_and_count(first, 0).x;
        t.each([&](float, float G_j, int j, int) {
            if (j == ref) G = G_j;
        });
        ref_G = g.sum(G);
    }
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &)
    {
        float A[CHAINS] = {0, 0, 0, 0}, V[CHAINS] = {0, 0, 0, 0};
        if (a > 1.0f) find_smallest(t, g);
        t.each([&](float x, float G, int j, int chain) {
            const float w = has(x) && j != ref ? power_of_two(x * exponent) : 0.0f;
            A[chain] = fmaf(w, G - ref_G, A[chain]);
            V[chain] += w;
        });
        const sum2 s = g.sum(folded(A), folded(V));
        const float ref_w = power_of_two(ref_t * exponent);
        share = s.a / (ref_w + s.b);
        ref_g = -w_max * s.a / (1.0f + s.b / ref_w);
    }
    __device__ __forceinline__ float grad(float x, float G, int j, float *slope) const
    {
        if (!has(x)) return 0.0f;
        const float w = w_max * power_of_two(x * exponent);
        const float g = j == ref ? ref_g : w * ((G - ref_G) - share);
        *slope = fmaf(g, expm1_negative(x), *slope);
        return b2 * g;
    }
    __device__ float dbeta(float sum) const
    {
        return factor * sum;
    }
};

#endif
