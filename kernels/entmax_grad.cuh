/* SPDX-License-Identifier: MIT
 *
 * entmax_grad.cuh — the backward of alpha-entmax and of sparsemax. With w = p^(2-alpha) and
 * d_j = G_j - G_ref, where ref = j* keeps a lone key at exactly zero,
 *
 *     g_j = w_j (d_j - share),   share = sum_j w_j d_j / sum_j w_j,   dc = beta^2 g
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max)
 *           = (2/beta) omega / (a p_max^a) sum_j p_j (d_j - share),   a = alpha-1
 *
 * since s_j - s_max = omega ((p_j/p_max)^a - 1)/a, w p^a = p and sum_j g_j = 0. Each way to a
 * weight holds w_j up to a factor, that of the row:
 *
 *     support_weight   alpha = 2       1
 *     root_weight      alpha = 3/2     p^(1/2)
 *     real_weight      alpha < 2       (p/p_max)^(2-alpha)
 *     steep_weight     alpha > 2       (p/p_min)^(2-alpha), which cannot overflow
 *
 * Source: Peters et al. 2019; model 1.3.
 */
#ifndef MOSAIC_ENTMAX_GRAD_CUH
#define MOSAIC_ENTMAX_GRAD_CUH

#include "grad.cuh"

struct support_weight {
    enum { from_smallest = 0 };
    __device__ void begin(float, float)
    {
    }
    __device__ __forceinline__ float of(float p) const
    {
        return p > 0.0f ? 1.0f : 0.0f;
    }
    __device__ float unit() const
    {
        return 1.0f;
    }
};

struct root_weight {
    enum { from_smallest = 0 };
    __device__ void begin(float, float)
    {
    }
    /* to a unit in the last place */
    __device__ __forceinline__ float of(float p) const
    {
        float y;
        asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(p));
        return y;
    }
    __device__ float unit() const
    {
        return 1.0f;
    }
};

struct real_weight {
    enum { from_smallest = 0 };
    float exponent, over_max, factor;

    __device__ void begin(float p_max, float exponent_)
    {
        exponent = exponent_;
        over_max = 1.0f / p_max;
        factor = powf(p_max, exponent);
    }
    /* Logarithms are small where weights are large: rough ones will do. */
    __device__ __forceinline__ float of(float p) const
    {
        return power_of_two(exponent * __log2f(p * over_max));
    }
    __device__ float unit() const
    {
        return factor;
    }
};

struct steep_weight {
    enum { from_smallest = 1 };
    float exponent, over_min, factor, lift;

    __device__ void begin(float p_min, float exponent_)
    {
        exponent = exponent_;
        lift = p_min < 0x1p-100f ? 24.0f : 0.0f; /* 1/p_min may overflow */
        over_min = (lift > 0.0f ? 0x1p-24f : 1.0f) / p_min;
        factor = fminf(powf(p_min, exponent), 3.40282347e+38f);
    }
    __device__ __forceinline__ float of(float p) const
    {
        return p > 0.0f ? power_of_two(exponent * (log2f(p * over_min) + lift)) : 0.0f;
    }
    __device__ float unit() const
    {
        return factor;
    }
};

/* measured: scale s_j - s_max by omega / p_max^a, which is 1 but for the rounding of p. */
template <class Weight> struct entmax_grad_rule {
    enum { rereads = 0 };
    Weight weight;
    bool measured;
    float a, exponent, ref_G, share, moment, scale; /* exponent: 2 - alpha */

    __device__ void begin(const grad_facts &row)
    {
        ref_G = row.G_max;
        weight.begin(row.p_max, exponent);
    }
    __device__ __forceinline__ float key(float p) const
    {
        return weight.of(p);
    }
    template <class Pair, class Team> __device__ void solve(Pair &t, Team &g, const grad_facts &row)
    {
        float A[CHAINS] = {0, 0, 0, 0}, V[CHAINS] = {0, 0, 0, 0}, pd = 0.0f, P = 0.0f;
        if (Weight::from_smallest) {
            const least_key least = find_least(t, g);
            ref_G = least.G;
            weight.begin(least.p, exponent);
        }
        t.first([&](float p, float w, float G, int, int chain) {
            const float d = G - ref_G;
            A[chain] = fmaf(w, d, A[chain]);
            V[chain] += w;
            pd = fmaf(p, d, pd);
            P += p;
        });
        const sum2 s = g.sum(folded(A), folded(V)), m = g.sum(pd, P);
        share = s.a / s.b;
        moment = m.a - share * m.b;
        scale = row.beta * row.beta * weight.unit();
    }
    __device__ __forceinline__ float grad(float w, float G, int) const
    {
        return scale * (w * ((G - ref_G) - share));
    }
    __device__ float dbeta(const grad_facts &row) const
    {
        return 2.0f / row.beta / a * moment * (measured ? row.norm / powf(row.p_max, a) : 1.0f);
    }
};

template <class Weight> static inline entmax_grad_rule<Weight> entmax_grad_of(double alpha)
{
    entmax_grad_rule<Weight> rule = {};
    rule.measured = true;
    rule.a = (float)(alpha - 1);
    rule.exponent = (float)(2 - alpha);
    return rule;
}

#endif
