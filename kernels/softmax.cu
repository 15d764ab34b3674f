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

struct softmax_rule {
    enum { keeps_list = 0, shifted = 1 };
    float k, inverse, log_z;

    template <class Tile>
    __device__ void solve(const Tile &t, team &g, const row_facts &row)
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
    float b2, gap, mean, over_max, factor;
    int ref;

    __device__ void begin(const grad_facts &row)
    {
        b2 = row.beta * row.beta;
        over_max = 1.0f / row.p_max;
        factor = 2.0f / row.beta;
        ref = row.arg;
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    __device__ __forceinline__ bool has(float p) const
    {
        return p > 0.0f;
    }
    /* gap = sum_j p_j G_j - G_ref = sum_{j != ref} p_j G_j + (p_ref - 1) G_ref */
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &row)
    {
        float s[CHAINS] = {0, 0, 0, 0};
        t.each([&](float p, float G, int j, int chain) { s[chain] += j == ref ? 0.0f : p * G; });
        gap = fmaf(row.p_max - 1.0f, row.G_max, g.sum(folded(s)));
        mean = row.G_max + gap;
    }
    __device__ __forceinline__ float grad(float p, float G, int j, float *slope) const
    {
        if (!has(p)) return 0.0f;
        const float g = p * (j == ref ? -gap : G - mean);
        *slope = fmaf(g, logf(p * over_max), *slope);
        return b2 * g;
    }
    __device__ float dbeta(float sum) const
    {
        return factor * sum;
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
