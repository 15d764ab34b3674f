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
#include "softmax.cuh"

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

extern "C" status softmax_rows(const args *a)
{
    return BY_TYPE(a->type, "softmax", forward_rows, a, "softmax", softmax_rule());
}

extern "C" status softmax_grad_rows(const args *a)
{
    return BY_TYPE(a->type, "softmax_grad", backward_rows, a, "softmax_grad", softmax_grad_rule());
}
