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
 * which falls monotonically from 0 and becomes theta <- -ln F, softmax, as a -> 0. Logarithms are
 * taken of keys inside the current bound alone.
 *
 * Backward: as in power.cuh with w = p^(2-alpha), the reference key being that of the largest w.
 * With L = ln p, y_j = L_j^2 q(-a L_j), q(u) = (e^u - 1 - u)/u^2, and bars for means under p,
 *
 *     dp_j/dalpha = p_j ((ybar - y_j)(1 - a Lbar) - a (L_j - Lbar) ybar) / (1 - a Lbar + a^2 ybar)
 *
 * is the derivative of model 1.3 with its terms in 1/a^2 and 1/a cancelled by hand.
 */
#ifndef MOSAIC_GENERAL_CUH
#define MOSAIC_GENERAL_CUH

#include "power.cuh"

static const float LOG2_E = 1.44269504f;

struct general_rule {
    float a, k, exponent, inverse, omega;

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
    /* One step from theta; *mass is ln sum_j p_j at theta. */
    __device__ __forceinline__ float step_from(float theta, const sum2 &s, float *mass) const
    {
        *mass = theta + logf(s.a);
        return theta + log1pf(s.a / s.b * expm1f(-a * *mass)) / a;
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        const float scale = (float)((double)a * row.beta * row.beta);
        float theta = 0.0f, mass;
        exponent = LOG2_E / a;
#pragma unroll 1
        for (int step = 0; step < PART_STEPS; step++) {
            float F, G;
            k = clamp_scale(scale / expf(a * theta));
            F = bounded(row.top, &G);
            const float next = step_from(theta, g.part(F, G), &mass);
            if (mass > 0.0f && next < theta) theta = next;
        }
        if (g.warps > 1) theta = -g.max(-theta, 0.0f).a;
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0};
            k = clamp_scale(scale / expf(a * theta));
            t.each([&](float x, int, int chain) {
                float q;
                F[chain] += bounded(x, &q);
                G[chain] += q;
            });
            const sum2 s = g.sum(folded(F), folded(G));
            const float next = step_from(theta, s, &mass);
            inverse = 1.0f / s.a;
            omega = expf(-a * logf(s.a));
            const bool more = !row.idle && mass > SETTLED && next < theta;
            if (!g.any(more)) break;
            if (more) theta = next;
        }
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

/* (e^u - 1 - u) / u^2 for u >= 0 */
__device__ __forceinline__ float second_order(float u)
{
    if (u > 1.0f) return (expm1f(u) - u) / (u * u);
    float q = 1.0f / 3628800.0f;
    q = fmaf(q, u, 1.0f / 362880.0f);
    q = fmaf(q, u, 1.0f / 40320.0f);
    q = fmaf(q, u, 1.0f / 5040.0f);
    q = fmaf(q, u, 1.0f / 720.0f);
    q = fmaf(q, u, 1.0f / 120.0f);
    q = fmaf(q, u, 1.0f / 24.0f);
    q = fmaf(q, u, 1.0f / 6.0f);
    return fmaf(q, u, 0.5f);
}

struct general_grad_rule {
    float a;
    float *dalpha;
    float b2, share, ref_G, ref_g, over_max, factor;
    int ref;

    /* p^(1-a), by the smaller exponent */
    __device__ __forceinline__ float root_weight(float p) const
    {
        const float l = log2f(p);
        return a <= 0.5f ? p * exp2f(-a * l) : exp2f((1.0f - a) * l);
    }
    template <class Pair> __device__ void find_smallest(const Pair &t, team &g, float *ref_p)
    {
        float least = -INFINITY, G = 0.0f;
        int first = INT32_MAX;
        t.each([&](float p, float, int, int) {
            if (p > 0.0f) least = fmaxf(least, -p);
        });
        *ref_p = -g.max(least, 0.0f).a;
        t.each([&](float p, float, int j, int) {
            if (p == *ref_p) first = min(first, j);
        });
        ref = g.first_and_count(first, 0).x;
        t.each([&](float, float G_j, int j, int) {
            if (j == ref) G = G_j;
        });
        ref_G = g.sum(G, 0.0f).a;
    }
    template <class Pair>
    __device__ void alpha_grad(const Pair &t, team &g, const grad_facts &row) const
    {
        float l[CHAINS] = {0, 0, 0, 0}, y[CHAINS] = {0, 0, 0, 0}, d[CHAINS] = {0, 0, 0, 0};
        t.each([&](float p, float, int, int chain) {
            if (!(p > 0.0f)) return;
            const float L = logf(p);
            l[chain] += p * L;
            y[chain] += p * (L * L * second_order(-a * L));
        });
        const sum2 bar = g.sum(folded(l), folded(y));
        const float scale = 1.0f - a * bar.a;
        t.each([&](float p, float G, int, int chain) {
            if (!(p > 0.0f)) return;
            const float L = logf(p), Y = L * L * second_order(-a * L);
            d[chain] += (G - row.G_max) * p * ((bar.b - Y) * scale - a * (L - bar.a) * bar.b);
        });
        const float total = g.sum(folded(d), 0.0f).a / (scale + a * a * bar.b);
        if (row.real && g.rank == 0)
            dalpha[row.r] = row.broken ? NAN : row.arg < 0 ? 0.0f : total;
    }
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &row)
    {
        float A[CHAINS] = {0, 0, 0, 0}, V[CHAINS] = {0, 0, 0, 0}, ref_p = row.p_max;
        b2 = row.beta * row.beta;
        ref = row.arg, ref_G = row.G_max;
        over_max = 1.0f / row.p_max;
        factor = 2.0f / row.beta * row.norm / a;
        if (a > 1.0f) find_smallest(t, g, &ref_p);
        t.each([&](float p, float G, int j, int chain) {
            if (!(p > 0.0f) || j == ref) return;
            const float w = root_weight(p);
            A[chain] = fmaf(w, G - ref_G, A[chain]);
            V[chain] += w;
        });
        const sum2 s = g.sum(folded(A), folded(V));
        const float ref_w = root_weight(ref_p);
        share = s.a / (ref_w + s.b);
        ref_g = -s.a / (1.0f + s.b / ref_w);
        if (dalpha) alpha_grad(t, g, row);
    }
    __device__ float score_grad(float p, float G, int j) const
    {
        return j == ref ? ref_g : p > 0.0f ? root_weight(p) * ((G - ref_G) - share) : 0.0f;
    }
    __device__ float grad(float p, float G, int j) const
    {
        return b2 * score_grad(p, G, j);
    }
    __device__ float slope(float p, float G, int j) const
    {
        if (!(p > 0.0f)) return 0.0f;
        return factor * score_grad(p, G, j) * expm1f(a * logf(p * over_max));
    }
};

#endif
