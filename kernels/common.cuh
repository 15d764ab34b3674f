/* SPDX-License-Identifier: MIT
 *
 * common.cuh — what every kernel file uses: conversion between storage and float, 16-byte packs,
 * the check after a launch, the switch over storage types. All arithmetic is float; storage is
 * float, bf16 or fp16.
 */
#ifndef MOSAIC_COMMON_CUH
#define MOSAIC_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels.h"

typedef __nv_bfloat16 bf16;
typedef __half fp16;

enum { WARP = 32 };
static const unsigned ALL_LANES = 0xffffffffu;

/* --- host side ------------------------------------------------------------------------------- */

/* OK, or ERR_DEVICE naming the launch that was refused. */
static inline status launched(const char *what)
{
    cudaError_t e = cudaGetLastError();
    return e == cudaSuccess ? OK : fail(ERR_DEVICE, "%s: launch: %s", what, cudaGetErrorString(e));
}

#define CUDA_TRY(call, what)                                                                       \
    do {                                                                                           \
        cudaError_t cuda_try_ = (call);                                                            \
        if (cuda_try_ != cudaSuccess) {                                                            \
            (void)cudaGetLastError();                                                              \
            return fail(ERR_DEVICE, "%s: %s", what, cudaGetErrorString(cuda_try_));                \
        }                                                                                          \
    } while (0)

/* status f<T>(...) for the storage type of a call: return BY_TYPE(a->type, "softmax", f, a, x); */
#define BY_TYPE(type, what, f, ...)                                                                \
    ((type) == F32    ? f<float>(__VA_ARGS__)                                                      \
     : (type) == BF16 ? f<bf16>(__VA_ARGS__)                                                       \
     : (type) == F16  ? f<fp16>(__VA_ARGS__)                                                       \
                      : fail(ERR_ARG, "%s: type %d: expected F32, BF16 or F16", what, (int)(type)))

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* --- storage --------------------------------------------------------------------------------- */

__device__ __forceinline__ float widen(float x)
{
    return x;
}
__device__ __forceinline__ float widen(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ float widen(fp16 x)
{
    return __half2float(x);
}

template <typename T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ fp16 narrow<fp16>(float x)
{
    return __float2half_rn(x);
}
/* What storage takes from x. */
template <typename T> __device__ __forceinline__ float rest_of(float x)
{
    return x - widen(narrow<T>(x));
}

/* Elements of T in 16 bytes. */
template <typename T> struct pack {
    enum { width = 16 / sizeof(T) };
};

/* The elements of one 16-byte word as floats, and back. */
__device__ __forceinline__ void unpack(const uint4 w, float *x, float)
{
    x[0] = __uint_as_float(w.x), x[1] = __uint_as_float(w.y);
    x[2] = __uint_as_float(w.z), x[3] = __uint_as_float(w.w);
}
__device__ __forceinline__ void unpack(const uint4 w, float *x, bf16)
{
    const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __uint_as_float(word[i] << 16);
        x[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
    }
}
__device__ __forceinline__ void unpack(const uint4 w, float *x, fp16)
{
    const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __half2float(__ushort_as_half((unsigned short)(word[i] & 0xffffu)));
        x[2 * i + 1] = __half2float(__ushort_as_half((unsigned short)(word[i] >> 16)));
    }
}
/* a in the lower half: one instruction. */
__device__ __forceinline__ uint32_t pair(float a, float b, bf16)
{
    const __nv_bfloat162 two = __floats2bfloat162_rn(a, b);
    return *(const uint32_t *)&two;
}
__device__ __forceinline__ uint32_t pair(float a, float b, fp16)
{
    const __half2 two = __floats2half2_rn(a, b);
    return *(const uint32_t *)&two;
}
/* The other way. */
__device__ __forceinline__ float2 unpair(uint32_t word, bf16)
{
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}
__device__ __forceinline__ float2 unpair(uint32_t word, fp16)
{
    return make_float2(__half2float(__ushort_as_half((unsigned short)(word & 0xffffu))),
                       __half2float(__ushort_as_half((unsigned short)(word >> 16))));
}
__device__ __forceinline__ uint4 repack(const float *x, float)
{
    return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]),
                      __float_as_uint(x[3]));
}
template <typename T> __device__ __forceinline__ uint4 repack(const float *x, T t)
{
    return make_uint4(pair(x[0], x[1], t), pair(x[2], x[3], t), pair(x[4], x[5], t),
                      pair(x[6], x[7], t));
}

/* One 16-byte store; p must be 16-byte aligned. Said in PTX, because the compiler splits a store
 * whose words it knows one by one (zeros, selects) into four. */
__device__ __forceinline__ void store_word(void *p, const uint4 w)
{
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(w.x), "r"(w.y), "r"(w.z),
                 "r"(w.w)
                 : "memory");
}
template <typename T> __device__ __forceinline__ void store_pack(T *p, const float *x)
{
    store_word(p, repack(x, T()));
}

/* --- arithmetic ------------------------------------------------------------------------------ */

static const float ULP = 1.1920929e-7f; /* 2^-23 */
static const float LOG2_E = 1.44269504f;

/* 2^x to 2 units in the last place; results below 2^-126 become 0. */
__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* log2 x to 2^-22 of itself, near 1 to 2^-22; -inf below 2^-126. */
__device__ __forceinline__ float logarithm(float x)
{
    float l;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(l) : "f"(x));
    return l;
}

/* a / b to 2 units in the last place, 1 / sqrt b to 1; b and 1 / b within 2^-126 ... 2^126. */
__device__ __forceinline__ float quotient(float a, float b)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(b));
    return a * y;
}
__device__ __forceinline__ float inverse_root(float b)
{
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(b));
    return y;
}

/* The larger, NaN if either is NaN. */
__device__ __forceinline__ float max_nan(float a, float b)
{
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

/* --- copies without registers ------------------------------------------------------------------
 */

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes from global to shared memory that need no register on the way; the thread that asked
 * for them may read them once they have arrived. What it asked for since it last closed a group is
 * the next group; copies_arrived waits for all, groups_arrived<n> for all groups but the last n. */
__device__ __forceinline__ void copy_async(uint32_t shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}
__device__ __forceinline__ void copy_async(uint4 *shared, const void *global)
{
    copy_async(shared_address(shared), global);
}
__device__ __forceinline__ void copies_arrived()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}
__device__ __forceinline__ void close_group()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LATER> __device__ __forceinline__ void groups_arrived()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

#endif
