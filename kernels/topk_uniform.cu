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
    enum { keeps_list = 0, shifted = 1 };
    int64_t count;
    int n;
    float share;
    selection s;

    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        s = select_largest(t, g, row, count, n);
        share = 1.0f / (float)s.taken;
    }
    __device__ float weight(float x, int j) const
    {
        return s.has(x, j) ? share : 0.0f;
    }
    __device__ float norm() const
    {
        return (float)s.taken;
    }
};

extern "C" status topk_uniform_rows(const args *a)
{
    topk_uniform_rule rule = {};
    if (a->p.k < 1)
        return fail(ERR_ARG, "topk_uniform: k is %lld: expected k >= 1", (long long)a->p.k);
    rule.count = a->p.k;
    rule.n = (int)a->d.N;
    return BY_TYPE(a->type, "topk_uniform", forward_rows, a, "topk_uniform", rule);
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
