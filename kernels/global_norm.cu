/* SPDX-License-Identifier: MIT
 *
 * global_norm — norm = sqrt(sum_i g_i^2) of a buffer that concatenates any number of tensors.
 *
 * g (N) -> norm (1). Two stages in double: a fixed number of blocks leaves one partial sum each,
 * one block adds them in order. The squares of floats are exact in double and cannot overflow.
 */
#include "stage.cuh"

enum { THREADS = 512, BLOCKS = 1024, UNROLL = 4 };

__device__ static double sum_doubles(double s)
{
    __shared__ double room[THREADS];
    room[threadIdx.x] = s;
    for (int o = THREADS / 2; o > 0; o /= 2) {
        __syncthreads();
        if (threadIdx.x < o) room[threadIdx.x] += room[threadIdx.x + o];
    }
    return room[0];
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    squares(const T *g, double *partial, int64_t N, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t stride = (int64_t)gridDim.x * THREADS * VEC;
    double s = 0;
    for (int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VEC; at < N;
         at += UNROLL * stride) {
        packed<T> r[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            r[u] = load_some(g + at + u * stride, N - at - u * stride, wide);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                s += (double)r[u][k] * r[u][k];
    }
    s = sum_doubles(s);
    if (threadIdx.x == 0) partial[blockIdx.x] = s;
}

static __global__ void __launch_bounds__(THREADS)
    root(const double *partial, int blocks, float *norm)
{
    double s = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS)
        s += partial[i];
    s = sum_doubles(s);
    if (threadIdx.x == 0) *norm = (float)sqrt(s);
}

template <typename T> static status run(const args *a)
{
    const T *g = IN(T, 0);
    const int64_t full = ceil_div(a->d.N, THREADS * packed<T>::width);
    const int blocks = full < BLOCKS ? (int)full : (int)BLOCKS;
    if (blocks > 0)
        squares<T>
            <<<blocks, THREADS, 0, stream_of(a)>>>(g, (double *)a->work, a->d.N, aligned16(g));
    root<<<1, THREADS, 0, stream_of(a)>>>((const double *)a->work, blocks, OUT(float, 0));
    return launched("global_norm");
}

extern "C" status global_norm_pairwise(const args *a)
{
    if (a->need) {
        *a->need = BLOCKS * sizeof(double);
        return OK;
    }
    return BY_TYPE(a->type, "global_norm", run, a);
}
