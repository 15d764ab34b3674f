/* SPDX-License-Identifier: MIT
 *
 * topk_uniform — the mean over the k nearest keys: a boxcar kernel of k-nearest-neighbour radius.
 *
 *     p_j = 1[j in K] / |K|,   K the min(k, keys) entries of largest score, the lowest indices
 *     among equals;   piecewise constant: every gradient is zero
 *
 * Source: model 1.7.
 */
#include "topk.cuh"

struct topk_uniform_rule {
    __device__ __forceinline__ void begin(float, float)
    {
    }
    __device__ __forceinline__ float term(float) const
    {
        return 1.0f;
    }
    __device__ __forceinline__ float norm(float taken) const
    {
        return taken;
    }
};

extern "C" status topk_uniform_rows(const args *a)
{
    return BY_TYPE(a->type, "topk_uniform", topk_rows, a, "topk_uniform", topk_uniform_rule());
}

/* One block per row: zeros; NaN over the live entries of a row whose statistics are NaN. */
template <typename T>
__global__ void flat(T *dc, float *dbeta, const float *stat, const int32_t *live, int n)
{
    const int64_t r = blockIdx.x;
    const bool broken = isnan(stat[r * STATS + STAT_MAX]);
    const int end = !broken ? 0 : live ? live[r] : n;
    for (int j = (int)threadIdx.x; j < n; j += (int)blockDim.x)
        dc[r * n + j] = narrow<T>(j < end ? NAN : 0.0f);
    if (dbeta && threadIdx.x == 0) dbeta[r] = broken ? NAN : 0.0f;
}

template <typename T> static status flat_rows(const args *a)
{
    flat<T><<<(unsigned)a->d.R, 128, 0, (cudaStream_t)a->stream>>>(
        OUT(T, 0), OUT(float, 1), IN(float, 2), a->live, (int)a->d.N);
    return launched("topk_uniform_grad");
}

extern "C" status topk_uniform_grad_rows(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit("topk_uniform_grad", a));
    return a->d.R ? BY_TYPE(a->type, "topk_uniform_grad", flat_rows, a) : OK;
}
