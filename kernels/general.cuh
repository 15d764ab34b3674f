/* SPDX-License-Identifier: MIT
 *
 * general.cuh — alpha-entmax for any 1 < alpha < 2, and its backward for any alpha > 1.
 *
 * Forward: the Newton iteration of power.cuh with theta = ln p_max for the unknown, so that
 * alpha -> 1 costs no accuracy. With a = alpha-1, omega = e^(a theta), u_j = -a beta^2 x_j / omega,
 *
 *     e_j = exp(log1p(-u_j) / a)  where u_j < 1,   F = sum e_j,   G = sum e_j / (1 - u_j)
 *     theta <- theta + log1p(-h) / a,   h = -(F/G) expm1(-a (theta + ln F)),   p_j = e_j / F
 *
 * which falls monotonically from 0 and becomes theta <- -ln F, softmax, as a -> 0. The keys inside
 * the bound that the threads' maxima give contain the support; where they are few they are listed,
 * and the logarithms are theirs alone.
 *
 * Backward: as in power.cuh with w = p^(2-alpha). With t_j = a ln(p_j/p_max) held in place of p_j,
 *
 *     w_j / w_max = exp(t_j (1-a)/a),   s_j - s_max = omega expm1(t_j) / a
 *
 * and the reference key that of the largest w: j* for alpha <= 2, the smallest weight above.
 */
#ifndef MOSAIC_GENERAL_CUH
#define MOSAIC_GENERAL_CUH

#include "power.cuh"

static const float LOG2_E = 1.44269504f;

struct general_rule {
    enum { keeps_list = 1 };
    float a, scale, k, exponent, inverse, omega;

    /* e_j, and e_j / (1 - u_j) to *g; both 0 outside the bound. */
    __device__ __forceinline__ float bounded(float x, float *g) const
    {
        const float u = -k * x;
        float e = 0.0f;
        *g = 0.0f;
        if (u < 1.0f) {
            e = power_of_two(log1pf(-u) * exponent);
            *g = __fdividef(e, 1.0f - u);
        }
        return e;
    }
    __device__ __forceinline__ void steepen(float theta)
    {
        k = clamp_scale(__fdividef(scale, expf(a * theta)));
    }
    /* One step from theta; *mass is ln sum_j p_j at theta. */
    __device__ __forceinline__ float step_from(float theta, const sum2 &s, float *mass) const
    {
        *mass = theta + logf(s.a);
        return theta + __fdividef(log1pf(__fdividef(s.a, s.b) * expm1f(-a * *mass)), a);
    }
    template <class Source>
    __device__ void newton(const Source &t, team &g, float theta, bool idle)
    {
        sum2 s;
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0}, mass;
            steepen(theta);
            t.each([&](float x, int, int chain) {
                float q;
                F[chain] += bounded(x, &q);
                G[chain] += q;
            });
            s = g.sum(folded(F), folded(G));
            const float next = step_from(theta, s, &mass);
            const bool more = !idle && mass > SETTLED && next < theta;
            if (!g.any(more)) break;
            if (more) theta = next;
        }
        inverse = 1.0f / s.a;
        omega = expf(-a * logf(s.a));
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        float theta = 0.0f, mass;
        scale = (float)((double)a * row.beta * row.beta);
        exponent = LOG2_E / a;
#pragma unroll 1
        for (int step = 0; step < PART_STEPS - 1; step++) {
            float F = 0.0f, G = 0.0f, q;
            steepen(theta);
#pragma unroll
            for (int i = 0; i < CHAINS; i++) {
                F += bounded(row.top[i], &q);
                G += q;
            }
            const float next = step_from(theta, g.part(F, G), &mass);
            if (mass > 0.0f && next < theta) theta = next;
        }
        if (g.warps > 1) theta = -g.max(-theta);
        steepen(theta);
        const survivors<false> list(t, -1.000001f / k, row.kept);
        const bool full = g.count(!list.whole) > 0;
        if (g.any(full && !row.idle))
            newton(t, g, theta, row.idle);
        else
            newton(list, g, theta, row.idle);
    }
    __device__ float weight(float x, int) const
    {
        float g;
        return bounded(x, &g) * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

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
