/* SPDX-License-Identifier: MIT
 *
 * sums — the second stage of the reductions over rows: the partial sums that the first stage left
 * in scratch are added in a fixed order, so that a result does not depend on scheduling.
 */
#include "stage.cuh"

/* COLUMNS of a block: a sector of memory, so that few columns are still many blocks. */
enum { SUM_THREADS = 1024, COLUMNS = 8, TURNS = SUM_THREADS / COLUMNS };

static __global__ void __launch_bounds__(SUM_THREADS)
    sum_heads_kernel(float *out, const float *in, int64_t n, int64_t H, int64_t m,
                     const float *factor, double scale)
{
    __shared__ double room[SUM_THREADS];
    const int64_t h = blockIdx.x, count = n * m;
    double s = 0;
#pragma unroll 4
    for (int64_t e = threadIdx.x; e < count; e += SUM_THREADS)
        s += in[(e / m * H + h) * m + e % m];
    room[threadIdx.x] = s;
    for (int o = SUM_THREADS / 2; o > 0; o /= 2) {
        __syncthreads();
        if (threadIdx.x < o) room[threadIdx.x] += room[threadIdx.x + o];
    }
    if (threadIdx.x == 0) out[h] = (float)(room[0] * scale * (factor ? factor[h] : 1));
}

static __global__ void __launch_bounds__(SUM_THREADS)
    sum_columns_kernel(float *first, float *second, const float *in, int64_t n, int64_t C)
{
    __shared__ double room[TURNS][COLUMNS + 1];
    const int64_t c = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    float *out = blockIdx.y ? second : first;
    double s = 0;
    if (!out) return;
    if (c < C) {
#pragma unroll 8
        for (int64_t i = threadIdx.y; i < n; i += TURNS)
            s += in[(2 * i + blockIdx.y) * C + c];
    }
    room[threadIdx.y][threadIdx.x] = s;
    for (int o = TURNS / 2; o > 0; o /= 2) {
        __syncthreads();
        if (threadIdx.y < o) room[threadIdx.y][threadIdx.x] += room[threadIdx.y + o][threadIdx.x];
    }
    if (threadIdx.y == 0 && c < C) out[c] = (float)room[0][threadIdx.x];
}

void sum_heads(float *out, const float *in, int64_t n, int64_t H, int64_t m, const float *factor,
               double scale, cudaStream_t stream)
{
    if (H > 0)
        sum_heads_kernel<<<(unsigned)H, SUM_THREADS, 0, stream>>>(out, in, n, H, m, factor, scale);
}

void sum_columns(float *first, float *second, const float *in, int64_t n, int64_t C,
                 cudaStream_t stream)
{
    if (C > 0)
        sum_columns_kernel<<<dim3((unsigned)ceil_div(C, COLUMNS), 2), dim3(COLUMNS, TURNS), 0,
                             stream>>>(first, second, in, n, C);
}
