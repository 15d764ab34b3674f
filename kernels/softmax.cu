/* SPDX-License-Identifier: MIT
 *
 * softmax — the Gaussian kernel of bandwidth 1/beta on unit-norm keys.
 *
 *     p_j = exp(x_j) / Z,   x_j = beta^2 (c_j - m),   Z = sum_j exp(x_j)
 *
 * Method: exp as 2^(x log2 e), its scale folded into beta^2; one read, one write (row.cuh).
 * Source: model 1.1, 1.2.
 */
#include "row.cuh"

struct softmax_rule {
    float k, inverse, log_z;

    template <class Tile>
    __device__ void solve(const Tile &t, team &g, float beta, float, bool)
    {
        float z[CHAINS] = {0, 0, 0, 0};
        k = fminf(fmaxf(beta * beta * 1.44269504f, FLT_MIN), FLT_MAX);
        t.each([&](float x, int, int chain) { z[chain] += power_of_two(k * x); });
        const float Z = g.sum(folded(z), 0.0f).a;
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
