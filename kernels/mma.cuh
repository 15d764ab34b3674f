/* SPDX-License-Identifier: MIT
 *
 * mma.cuh — products of small matrices by the lanes of a warp, on tensor cores.
 *
 *     C (16,8) += A (16,K) B (K,8),   K = 16 for bf16 and fp16, 8 for float;   C in float
 *
 * A float product is three of tf32: x = high + low, both of 11 bits, and low low is left out, so
 * that it is right to about 2^-23 of |A||B|.
 *
 * Lane l = 4 g + t of a warp holds, of C, rows g and g + 8 and columns 2 t and 2 t + 1:
 * c[0], c[1] of row g, c[2], c[3] of row g + 8. Operands are loaded from tiles in shared memory,
 * rows of `stride` elements that begin on 16 bytes; eight rows fall into different banks if the
 * stride is an odd number of 16-byte words. A row of C can be the row of the next A (`a_of_c`):
 * for float the columns of C then stand for the k of the product in another order, which `b_down`
 * follows.
 * Source: PTX ISA, fragments of mma.m16n8k16 and mma.m16n8k8, ldmatrix.
 */
#ifndef MOSAIC_MMA_CUH
#define MOSAIC_MMA_CUH

#include "common.cuh"

/* K of a product, and the blocks of 8 columns of C that make an A of it. */
template <typename T> struct mma_shape {
    enum { K = 32 / sizeof(T), blocks = K / 8 };
};

struct fragment_a {
    uint32_t r[4];
};
/* Two B beside each other: columns 0-7 in r[0], r[1], columns 8-15 in r[2], r[3]. */
struct fragment_b {
    uint32_t r[4];
};

/* Four 8 x 8 matrices of 16-bit elements (8 x 4 of 32-bit ones); lanes 8 i .. 8 i + 7 name the rows
 * of matrix i by their address in shared memory. */
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

/* A (16,K): rows of the tile at `corner`. */
template <typename T> __device__ __forceinline__ fragment_a a_along(const T *corner, int stride)
{
    const int lane = (int)(threadIdx.x % WARP);
    fragment_a f;
    load_matrices(
        f.r, shared_address(corner + (lane % 16) * stride + lane / 16 * (mma_shape<T>::K / 2)));
    return f;
}
/* Two B (K,8) whose columns are 16 rows of the tile: B_kn = tile[n][k]. */
template <typename T> __device__ __forceinline__ fragment_b b_along(const T *corner, int stride)
{
    const int lane = (int)(threadIdx.x % WARP);
    fragment_b f;
    load_matrices(f.r, shared_address(corner + (lane / 16 * 8 + lane % 8) * stride +
                                      lane / 8 % 2 * (mma_shape<T>::K / 2)));
    return f;
}
/* Two B (K,8) whose rows are rows of the tile: B_kn = tile[k][n], in the order of `a_of_c`. */
template <typename T> __device__ __forceinline__ fragment_b b_down(const T *corner, int stride)
{
    const int lane = (int)(threadIdx.x % WARP);
    fragment_b f;
    load_transposed(f.r, shared_address(corner + lane % 16 * stride + lane / 16 * 8));
    return f;
}
template <> __device__ __forceinline__ fragment_b b_down(const float *corner, int stride)
{
    const int lane = (int)(threadIdx.x % WARP);
    const float *at = corner + lane % 4 * 2 * stride + lane / 4;
    fragment_b f;
    f.r[0] = __float_as_uint(at[0]), f.r[1] = __float_as_uint(at[stride]);
    f.r[2] = __float_as_uint(at[8]), f.r[3] = __float_as_uint(at[stride + 8]);
    return f;
}

/* A from mma_shape::blocks blocks of C, rounded to T. */
__device__ __forceinline__ fragment_a a_of_c(const float (*c)[4], float)
{
    return fragment_a{{__float_as_uint(c[0][0]), __float_as_uint(c[0][2]), __float_as_uint(c[0][1]),
                       __float_as_uint(c[0][3])}};
}
template <typename T> __device__ __forceinline__ fragment_a a_of_c(const float (*c)[4], T t)
{
    return fragment_a{{pair(c[0][0], c[0][1], t), pair(c[0][2], c[0][3], t),
                       pair(c[1][0], c[1][1], t), pair(c[1][2], c[1][3], t)}};
}

/* --- products -------------------------------------------------------------------------------- */

/* mma_T: C += A B, and first_T: C = A B, which needs no zeros in C, of a 16-bit type that PTX calls
 * `kind`; a product of them is one pass. */
#define MMA_16(T, kind)                                                                            \
    __device__ __forceinline__ void mma_##T(float(&c)[4], const fragment_a &a, uint32_t b0,        \
                                            uint32_t b1)                                           \
    {                                                                                              \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." kind "." kind ".f32 {%0, %1, %2, %3}, "       \
            "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                        \
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                       \
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b0), "r"(b1));               \
    }                                                                                              \
    __device__ __forceinline__ void first_##T(float(&c)[4], const fragment_a &a, uint32_t b0,      \
                                              uint32_t b1)                                         \
    {                                                                                              \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." kind "." kind ".f32 {%0, %1, %2, %3}, "       \
            "{%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"                                    \
            : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])                                       \
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b0), "r"(b1), "f"(0.0f));    \
    }                                                                                              \
    __device__ __forceinline__ void multiply_pass(float(&c)[4], const fragment_a &a, uint32_t b0,  \
                                                  uint32_t b1, int, bool first, T)                 \
    {                                                                                              \
        if (first)                                                                                 \
            first_##T(c, a, b0, b1);                                                               \
        else                                                                                       \
            mma_##T(c, a, b0, b1);                                                                 \
    }
MMA_16(bf16, "bf16")
MMA_16(fp16, "f16")
#undef MMA_16

/* The bits of a tf32 are those of a float; the last 13 are not looked at. */
__device__ __forceinline__ void mma_tf32(float (&c)[4], const fragment_a &a, uint32_t b0,
                                         uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b0), "r"(b1));
}

/* The nearest tf32 to x, and to what that leaves. An infinity leaves NaN. */
__device__ __forceinline__ uint32_t high_part(uint32_t x)
{
    return (x + 0x1000u) & 0xffffe000u;
}
__device__ __forceinline__ uint32_t low_part(uint32_t x)
{
    return high_part(__float_as_uint(__uint_as_float(x) - __uint_as_float(high_part(x))));
}

/* A product in passes over all of K, small parts first. Tensor cores truncate a sum at the size it
 * has, so what is large is summed outside of them. */
template <typename T> struct mma_passes {
    enum { count = sizeof(T) == 4 ? 2 : 1 };
};
/* first: c holds nothing yet. */
__device__ __forceinline__ void multiply_pass(float (&c)[4], const fragment_a &a, uint32_t b0,
                                              uint32_t b1, int pass, bool first, float)
{
    fragment_a high, low;
    if (first) c[0] = c[1] = c[2] = c[3] = 0;
#pragma unroll
    for (int i = 0; i < 4; i++)
        high.r[i] = high_part(a.r[i]), low.r[i] = low_part(a.r[i]);
    if (pass == 0) {
        mma_tf32(c, low, high_part(b0), high_part(b1));
        mma_tf32(c, high, low_part(b0), low_part(b1));
    } else {
        float sum[4] = {0, 0, 0, 0};
        mma_tf32(sum, high, high_part(b0), high_part(b1));
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[i] += sum[i];
    }
}
template <typename T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const fragment_a &a, uint32_t b0,
                                             uint32_t b1, T t)
{
#pragma unroll
    for (int pass = 0; pass < mma_passes<T>::count; pass++)
        multiply_pass(c, a, b0, b1, pass, false, t);
}

/* All bits set if the top bit of byte n of x is, else none. In PTX, for __byte_perm repeats no
 * signs.
 */
template <int N> __device__ __forceinline__ uint32_t sign_of_byte(uint32_t x)
{
    uint32_t y;
    asm("prmt.b32 %0, %1, %1, %2;" : "=r"(y) : "r"(x), "n"(0x8888 + N * 0x1111));
    return y;
}

/* The lower and the upper half: all bits set if the top bit of byte n of even, of odd is, else
 * none. n is known when compiled. */
__device__ __forceinline__ uint32_t signs_of_bytes(uint32_t even, uint32_t odd, int n)
{
    uint32_t y;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(y) : "r"(even), "r"(odd), "r"(0xcc88 + n * 0x1111));
    return y;
}

/* --- tiles ------------------------------------------------------------------------------------ */

/* 16 bytes of a tile, of which the first `bytes` come from global memory and the others are 0. */
__device__ __forceinline__ void copy_async_part(void *shared, const void *global, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes)
                 : "memory");
}

#endif
