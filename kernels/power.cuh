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

/* x^(-1/r) for x >= 1 */
template <int r> __device__ __forceinline__ float inverse_root(float x)
{
    if constexpr (r == 1)
        return 1.0f / x;
    else if constexpr (r == 2)
        return 1.0f / sqrtf(x);
    else if constexpr (r == 3)
        return 1.0f / cbrtf(x);
    else
        return powf(x, -1.0f / r);
}

enum { PART_STEPS = 3, MAX_STEPS = 64 };
static const float SETTLED = 1.1920929e-7f; /* 2^-23 */

template <int r> struct power_rule {
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
#pragma unroll 1
        for (int step = 0; step < PART_STEPS; step++) {
            float F = 0.0f, G = 0.0f;
            k = clamp_scale(scale / w);
            add(row.top, &F, &G);
            const sum2 s = g.part(F, G);
            const float gap = w - inverse_root<r>(s.a);
            if (gap > 0.0f) w -= s.a / s.b * gap;
        }
        if (g.warps > 1) w = -g.max(-w, 0.0f).a;
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0};
            k = clamp_scale(scale / w);
            t.each([&](float x, int, int chain) { add(x, F + chain, G + chain); });
            const sum2 s = g.sum(folded(F), folded(G));
            omega = inverse_root<r>(s.a);
            inverse = 1.0f / s.a;
            const float gap = w - omega, next = w - s.a / s.b * gap;
            const bool more = !row.idle && gap > SETTLED * w && next < w;
            if (!g.any(more)) break;
            if (more) w = next;
        }
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

/* p^(1/3) to a unit in the last place: 2^(log2(p)/3) and one Newton step. */
__device__ __forceinline__ float cube_root(float p)
{
    const float y = power_of_two(__log2f(p) * (1.0f / 3.0f)), yy = y * y;
    return y - fmaf(yy, y, -p) * __fdividef(1.0f / 3.0f, yy);
}

/* v = p^(alpha-1), the kernel's own argument up to a constant, and w = p^(2-alpha) = p / v. */
template <int r> struct power_grad_rule {
    float b2, share, ref_p, ref_G, ref_g, ref_v, factor;
    int ref;

    __device__ __forceinline__ static void parts(float p, float *v, float *w)
    {
        if constexpr (r == 1) {
            *v = p;
            *w = 1.0f;
        } else if constexpr (r == 2) {
            *v = *w = square_root(p);
        } else if constexpr (r == 3) {
            *v = cube_root(p);
            *w = *v * *v;
        } else {
            *v = power_of_two(__log2f(p) * (1.0f / r));
            *w = __fdividef(p, *v);
        }
    }
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &row)
    {
        float A[CHAINS] = {0, 0, 0, 0}, V[CHAINS] = {0, 0, 0, 0}, ref_w;
        b2 = row.beta * row.beta;
        ref = row.arg, ref_p = row.p_max, ref_G = row.G_max;
        parts(ref_p, &ref_v, &ref_w);
        factor = 2.0f / row.beta * (float)r * row.norm / ref_v;
        t.each([&](float p, float G, int j, int chain) {
            float v, w;
            parts(p, &v, &w);
            if (!(p > 0.0f) || j == ref) w = 0.0f;
            A[chain] = fmaf(w, G - ref_G, A[chain]);
            V[chain] += w;
        });
        const sum2 s = g.sum(folded(A), folded(V));
        share = s.a / (ref_w + s.b);
        ref_g = -s.a / (1.0f + s.b / ref_w);
    }
    __device__ float score_grad(float p, float G, float *v) const
    {
        float w;
        parts(p, v, &w);
        return p > 0.0f ? w * ((G - ref_G) - share) : 0.0f;
    }
    __device__ float grad(float p, float G, int j) const
    {
        float v;
        return b2 * (j == ref ? ref_g : score_grad(p, G, &v));
    }
    __device__ float slope(float p, float G, int) const
    {
        float v;
        const float g = score_grad(p, G, &v);
        return p > 0.0f ? factor * g * (v - ref_v) : 0.0f;
    }
};

#endif
