/* SPDX-License-Identifier: MIT
 *
 * convert — between float and the storage types: y_i = x_i, or y_i + x_i. One thread per 16 bytes
 * of the floats.
 */
#include "stage.cuh"

enum { THREADS = 256 };

template <typename To, typename From>
static __global__ void __launch_bounds__(THREADS)
    convert_kernel(To *y, const From *x, int64_t n, bool add)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 4;
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (at + k < n) y[at + k] = narrow<To>(widen(x[at + k]) + (add ? widen(y[at + k]) : 0));
}

template <typename To, typename From>
static status convert(To *y, const From *x, int64_t n, bool add, cudaStream_t stream)
{
    if (n > 0)
        convert_kernel<To, From>
            <<<(unsigned)ceil_div(n, 4 * THREADS), THREADS, 0, stream>>>(y, x, n, add);
    return launched("convert");
}

template <typename T> static status to(void *y, const float *x, int64_t n, cudaStream_t stream)
{
    return convert<T, float>((T *)y, x, n, false, stream);
}

template <typename T>
static status from(float *y, const void *x, int64_t n, int add, cudaStream_t stream)
{
    return convert<float, T>(y, (const T *)x, n, add != 0, stream);
}

status to_storage(dtype type, void *y, const float *x, int64_t n, cudaStream_t stream)
{
    return BY_TYPE(type, "convert", to, y, x, n, stream);
}

status from_storage(dtype type, float *y, const void *x, int64_t n, int add, cudaStream_t stream)
{
    return BY_TYPE(type, "convert", from, y, x, n, add, stream);
}
