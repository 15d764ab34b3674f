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
    float k, m;

    __device__ __forceinline__ void begin(float beta, float most)
    {
        k = clamp_scale((float)(1.4426950408889634 * beta * beta));
        m = most;
    }
    __device__ __forceinline__ float term(float x) const
    {
        return power_of_two(k * (x - m));
    }
    __device__ __forceinline__ float norm(float Z) const
    {
        return logf(Z);
    }
};

extern "C" status topk_softmax_rows(const args *a)
{
    return BY_TYPE(a->type, "topk_softmax", topk_rows, a, "topk_softmax", topk_softmax_rule());
}

extern "C" status topk_softmax_grad_rows(const args *a)
{
    return softmax_grad_rows(a);
}
