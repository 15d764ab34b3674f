/* SPDX-License-Identifier: MIT
 *
 * softmax.cuh — the rule of the gradient of softmax; see softmax.cu.
 */
#ifndef MOSAIC_SOFTMAX_CUH
#define MOSAIC_SOFTMAX_CUH

#include "grad.cuh"

static const float LN_2 = 0.693147181f;

struct softmax_grad_rule {
    enum { rereads = 0 };
    float b2, gap, moment, log_max, ref_G;

    __device__ void begin(const grad_facts &row)
    {
        b2 = row.beta * row.beta;
        log_max = __log2f(row.p_max);
        ref_G = row.G_max;
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    /* gap = sum_j p_j G_j - G_ref = sum_j p_j d_j + G_ref (sum_j p_j - 1),   d_j = G_j - G_ref */
    template <class Pair, class Team> __device__ void solve(Pair &t, Team &g, const grad_facts &)
    {
        float s[CHAINS] = {0, 0, 0, 0}, P[CHAINS] = {0, 0, 0, 0}, pld = 0.0f, pl = 0.0f;
        t.first([&](float p, float, float G, int, int chain) {
            const float d = G - ref_G, l = p > 0.0f ? p * (__log2f(p) - log_max) : 0.0f;
            s[chain] = fmaf(p, d, s[chain]);
            P[chain] += p;
            pld = fmaf(l, d, pld);
            pl += l;
        });
        const sum2 m = g.sum(folded(s), folded(P)), l = g.sum(pld, pl);
        gap = fmaf(ref_G, m.b - 1.0f, m.a);
        moment = l.a - gap * l.b;
    }
    __device__ __forceinline__ float grad(float p, float G, int) const
    {
        return b2 * (p * ((G - ref_G) - gap));
    }
    __device__ float dbeta(const grad_facts &row) const
    {
        return 2.0f / row.beta * LN_2 * moment;
    }
};

#endif
