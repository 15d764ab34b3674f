/* SPDX-License-Identifier: MIT
 *
 * topk_softmax — softmax over the k nearest keys: the Gaussian kernel cut at the k-th distance.
 *
 *     p_j = 1[j in K] exp(s_j - s_max) / Z,   s = beta^2 c,
 *     K the min(k, keys) entries of largest score, the lowest indices among equals
 *
 * No gradient passes through the selection: the backward is softmax's, which is zero where p is.
 * Source: model 1.6.
 */
#include "topk.cuh"

struct topk_softmax_rule {
    enum { keeps_list = 0, shifted = 1 };
    int64_t count;
    int n;
    float k, inverse, log_z;
    selection s;

    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        float z[CHAINS] = {0, 0, 0, 0};
        k = clamp_scale((float)(1.4426950408889634 * row.beta * row.beta));
        s = select_largest(t, g, row, count, n);
        t.each([&](float x, int j, int chain) {
            if (s.has(x, j)) z[chain] += power_of_two(k * x);
        });
        const float Z = g.sum(folded(z));
        inverse = 1.0f / Z;
        log_z = logf(Z);
    }
    __device__ float weight(float x, int j) const
    {
        return s.has(x, j) ? power_of_two(k * x) * inverse : 0.0f;
    }
    __device__ float norm() const
    {
        return log_z;
    }
};

extern "C" status topk_softmax_rows(const args *a)
{
    topk_softmax_rule rule = {};
    if (a->p.k < 1)
        return fail(ERR_ARG, "topk_softmax: k is %lld: expected k >= 1", (long long)a->p.k);
    rule.count = a->p.k;
    rule.n = (int)a->d.N;
    return BY_TYPE(a->type, "topk_softmax", forward_rows, a, "topk_softmax", rule);
}

extern "C" status topk_softmax_grad_rows(const args *a)
{
    return softmax_grad_rows(a);
}
