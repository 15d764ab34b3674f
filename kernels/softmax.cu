/* SPDX-License-Identifier: MIT
 *
 * softmax — the Gaussian kernel of bandwidth 1/beta on unit-norm keys.
 *
 *     p_j = exp(s_j - s_max) / Z,   s = beta^2 c
 *     dc_j = beta^2 g_j,   g_j = p_j (G_j - sum_i p_i G_i)
 *     dbeta = (2/beta) sum_j g_j (s_j - s_max),   s_j - s_max = ln(p_j / p_max)
 *
 * Method: exp as 2^(x log2 e), its scale folded into beta^2; one read, one write (row.cuh).
 * Source: model 1.1, 1.2.
 */
#include "grad.cuh"

static const float LN_2 = 0.693147181f;

struct softmax_rule {
    enum { compact = 0, shifted = 1 };
    float k, inverse, log_z;

    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        float z[CHAINS] = {0, 0, 0, 0};
        k = clamp_scale((float)(1.4426950408889634 * row.beta * row.beta));
        t.each([&](float x, int, int chain) { z[chain] += power_of_two(k * x); });
        const float Z = g.sum(folded(z));
        inverse = 1.0f / Z;
        log_z = logf(Z);
    }
    __device__ float weight(float x, int) const
    {
        return power_of_two(k * x) * inverse;
    }
    __device__ float norm() const
    {
        return log_z;
    }
};

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

extern "C" status softmax_rows(const args *a)
{
    return BY_TYPE(a->type, "softmax", forward_rows, a, "softmax", softmax_rule());
}

extern "C" status softmax_grad_rows(const args *a)
{
    return BY_TYPE(a->type, "softmax_grad", backward_rows, a, "softmax_grad", softmax_grad_rule());
}
