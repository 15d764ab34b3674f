/* SPDX-License-Identifier: MIT
 *
 * power.cuh — alpha-entmax with r = 1/(alpha-1) a small integer: sparsemax is r = 1.
 *
 *     p_j = y_j^r / F,   y_j = [1 + k x_j]_+,   k = (alpha-1) beta^2 / omega,   F = sum_j y_j^r,
 *     omega = z_max - tau the root of omega^r F(omega) = 1;   x_j = c_j - m
 *
 * Method: Newton on the r-norm ||[z - tau]_+||_r - 1, which is convex and decreasing in tau, hence
 * monotone: with G = sum_j y_j^(r-1),
 *
 *     omega <- omega - (F/G) (omega - F^(-1/r))
 *
 * falls from 1 to the root and every iterate is a bound; no power but F^(-1/r), once per row.
 * The root of any subset of the keys is a bound as well: it starts from that of the largest key of
 * each thread, solved in each warp by itself. On equal keys, or one key, a single step is exact.
 * Backward: w_j = p_j^(2-alpha), A = sum_{j != ref} w_j (G_j - G_ref), V = sum_{j != ref} w_j,
 *     g_j = w_j (G_j - G_ref - A / (w_ref + V)),   g_ref = -A / (1 + V / w_ref),
 * with ref = j*, which keeps a single key at exactly zero; dc = beta^2 g,
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max),
 *     s_j - s_max = omega ((p_j/p_max)^(alpha-1) - 1) / (alpha-1)
 */
#ifndef MOSAIC_POWER_CUH
#define MOSAIC_POWER_CUH

#include "grad.cuh"

template <int E> __device__ __forceinline__ float power(float y)
{
    if constexpr (E == 0)
        return 1.0f;
    else if constexpr (E == 1)
        return y;
    else if constexpr (E % 2)
        return power<E - 1>(y) * y;
    else
        return power<E / 2>(y) * power<E / 2>(y);
}

/* x^(-1/r) for x >= 1, to two units in the last place */
template <int r> __device__ __forceinline__ float inverse_root(float x)
{
    if constexpr (r == 1)
        return __fdividef(1.0f, x);
    else if constexpr (r == 2)
        return rsqrtf(x);
    else {
        const float y = power_of_two(__log2f(x) * (-1.0f / r));
        return fmaf(y, fmaf(-x, power<r>(y), 1.0f) * (1.0f / r), y);
    }
}

enum { PART_STEPS = 3, MAX_STEPS = 64 };
static const float SETTLED = 1.1920929e-7f; /* 2^-23 */

template <int r> struct power_rule {
    enum { keeps_list = 0 };
    float k, inverse, omega;

    /* F += y^r, G += y^(r-1) */
    __device__ __forceinline__ void add(float x, float *F, float *G) const
    {
        const float y = __saturatef(fmaf(k, x, 1.0f));
        if constexpr (r == 1) {
            *F += y;
            *G += y > 0.0f ? 1.0f : 0.0f;
        } else {
            const float q = power<r - 1>(y);
            *G += q;
            *F = fmaf(q, y, *F);
        }
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        const float scale = (float)((double)row.beta * row.beta / r);
        float w = 1.0f;
        sum2 s;
#pragma unroll 1
        for (int step = 0; step < PART_STEPS; step++) {
            float F = 0.0f, G = 0.0f;
            k = clamp_scale(__fdividef(scale, w));
#pragma unroll
            for (int i = 0; i < CHAINS; i++) add(row.top[i], &F, &G);
            s = g.part(F, G);
            const float gap = w - inverse_root<r>(s.a);
            if (gap > 0.0f) w -= __fdividef(s.a, s.b) * gap;
        }
        if (g.warps > 1) w = -g.max(-w);
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0};
            k = clamp_scale(__fdividef(scale, w));
            t.each([&](float x, int, int chain) { add(x, F + chain, G + chain); });
            s = g.sum(folded(F), folded(G));
            omega = inverse_root<r>(s.a);
            const float gap = w - omega, next = w - __fdividef(s.a, s.b) * gap;
            const bool more = !row.idle && gap > SETTLED * w && next < w;
            if (!g.any(more)) break;
            if (more) w = next;
        }
        inverse = 1.0f / s.a;
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        return power<r>(__saturatef(fmaf(k, x, 1.0f))) * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

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
