/* SPDX-License-Identifier: MIT
 *
 * power_grad.cuh — the backward of alpha-entmax with r = 1/(alpha-1) a small integer.
 *
 *     A = sum_{j != ref} w_j (G_j - G_ref),   V = sum_{j != ref} w_j,   w = p^(2-alpha)
 *     g_j = w_j (G_j - G_ref - A / (w_ref + V)),   g_ref = -A / (1 + V / w_ref),   dc = beta^2 g
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max)
 *     s_j - s_max = omega ((p_j/p_max)^(alpha-1) - 1) / (alpha-1)
 *
 * with ref = j*, which keeps a single key at exactly zero.
 * Source: model 1.3.
 */
#ifndef MOSAIC_POWER_GRAD_CUH
#define MOSAIC_POWER_GRAD_CUH

#include "grad.cuh"
#include "newton.cuh"

/* p^(1/2) to a unit in the last place. */
__device__ __forceinline__ float square_root(float p)
{
    float y;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(p));
    return y;
}

/* p^(1/r) for p > 0: 2^(log2(p)/r) and, where y^(r-1) cannot underflow, one Newton step that makes
 * it good to a unit in the last place. */
template <int r> __device__ __forceinline__ float root(float p)
{
    const float y = power_of_two(__log2f(p) * (1.0f / r)), q = power<r - 1>(y);
    return p > 1e-30f ? fmaf(fmaf(-q, y, p), __fdividef(1.0f / r, q), y) : y;
}

/* Held in place of p: v = p^(alpha-1) = p^(1/r), of which w = v^(r-1). `measured`: scale
 * s_j - s_max by omega / v_max, which is 1 but for the rounding of p. */
template <int r> struct power_grad_rule {
    bool measured;
    float b2, share, ref_G, ref_g, ref_v, factor;
    int ref;

    __device__ void begin(const grad_facts &row)
    {
        b2 = row.beta * row.beta;
        ref = row.arg, ref_G = row.G_max, ref_v = key(row.p_max);
        factor = 2.0f / row.beta * (float)r * (measured ? row.norm / ref_v : 1.0f);
    }
    __device__ __forceinline__ float key(float p) const
    {
        return r == 1 ? p : r == 2 ? square_root(p) : p > 0.0f ? root<r>(p) : 0.0f;
    }
    __device__ __forceinline__ bool has(float v) const
    {
        return v > 0.0f;
    }
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &)
    {
        float A[CHAINS] = {0, 0, 0, 0}, V[CHAINS] = {0, 0, 0, 0};
        t.each([&](float v, float G, int j, int chain) {
            const float w = has(v) && j != ref ? power<r - 1>(v) : 0.0f;
            A[chain] = fmaf(w, G - ref_G, A[chain]);
            V[chain] += w;
        });
        const sum2 s = g.sum(folded(A), folded(V));
        const float ref_w = power<r - 1>(ref_v);
        share = s.a / (ref_w + s.b);
        ref_g = -s.a / (1.0f + s.b / ref_w);
    }
    __device__ __forceinline__ float grad(float v, float G, int j, float *slope) const
    {
        const float g = j == ref    ? ref_g
                        : has(v) ? power<r - 1>(v) * ((G - ref_G) - share)
                                 : 0.0f;
        *slope = fmaf(g, v - ref_v, *slope);
        return b2 * g;
    }
    __device__ float dbeta(float sum) const
    {
        return factor * sum;
    }
};

#endif
