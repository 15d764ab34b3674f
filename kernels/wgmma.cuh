/* SPDX-License-Identifier: MIT
 *
 * wgmma.cuh — what compute capability 9.0a adds to a tensor product, each instruction in a function
 * of its name: tiles of a tensor on their way to shared memory (TMA), the barrier that counts them
 * in (mbarrier), the product of two tiles by four warps (wgmma).
 *
 * A tile is `rows` rows of one head, D columns of a 16-bit type; a row of up to 64 columns is a
 * line of 32, 64 or 128 bytes, one of 128 columns two lines in two tiles that follow each other.
 * Lines are swizzled within themselves, which tensor map and descriptor both say: nobody else needs
 * to know it.
 *
 * Three rules, or the compiler serialises the products: nobody touches an accumulator between
 * multiply and multiplied; a product is under no branch that depends on the thread; none is under
 * way where a loop turns back.
 */
#ifndef MOSAIC_WGMMA_CUH
#define MOSAIC_WGMMA_CUH

#include <cuda.h>

#include "common.cuh"

enum { WARPGROUP = 128, PRODUCT_ROWS = 64, PRODUCT_KEYS = 64, LINE_COLUMNS = 64 };

/* Lines, and bytes of one, of a row of D columns; bytes of a tile. */
template <int D> struct line {
    enum { count = D > LINE_COLUMNS ? D / LINE_COLUMNS : 1, bytes = 2 * (D / count) };
};
static __host__ __device__ constexpr int tile_bytes(int rows, int D)
{
    return rows * D * 2;
}

/* --- arrivals -------------------------------------------------------------------------------- */

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* A phase of a barrier ends when `arrivals` threads have arrived and the bytes that they announced
 * have too. Phases alternate in parity from 0 on. */
__device__ __forceinline__ void barrier_open(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}
/* Makes open barriers known to the copy engine; then the block synchronises. */
__device__ __forceinline__ void barriers_opened()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ bool barrier_passed(uint32_t barrier, uint32_t parity)
{
    uint32_t passed;
    asm volatile("{\n\t"
                 ".reg .pred p;\n\t"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                 "selp.u32 %0, 1, 0, p;\n\t"
                 "}"
                 : "=r"(passed)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return passed;
}
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    while (!barrier_passed(barrier, parity))
        ;
}

/* --- tiles ----------------------------------------------------------------------------------- */

/* Columns [column,column+box) of rows [t,t+box) of head h of sample b to shared memory; rows beyond
 * T arrive as zeros. One thread. */
__device__ __forceinline__ void tile_load(uint32_t shared, const CUtensorMap *map, uint32_t barrier,
                                          int column, int h, int t, int b)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared),
                 "l"((uint64_t)map), "r"(barrier), "r"(column), "r"(h), "r"(t), "r"(b)
                 : "memory");
}

/* A whole tile of `rows` rows. */
template <int D>
__device__ __forceinline__ void tile_load_rows(uint32_t shared, const CUtensorMap *map,
                                               uint32_t barrier, int rows, int h, int t, int b)
{
#pragma unroll
    for (int i = 0; i < line<D>::count; i++)
        tile_load(shared + i * rows * line<D>::bytes, map, barrier, i * LINE_COLUMNS, h, t, b);
}

/* --- products -------------------------------------------------------------------------------- */

/* How a product reads a tile whose rows are lines, from a shared address on: the address, 8 lines
 * from one group of eight to the next, and the swizzle. The address is in the low half alone: what
 * lies some bytes after adds to it. */
__device__ __forceinline__ uint32_t tile_start(uint32_t shared)
{
    return (shared & 0x3ffff) >> 4 | 1u << 16;
}
template <int D> __device__ __forceinline__ uint64_t tile_descriptor(uint32_t start, int bytes)
{
    const uint32_t swizzle = line<D>::bytes == 128 ? 1 : line<D>::bytes == 64 ? 2 : 3;
    uint64_t d;
    asm("mov.b64 %0, {%1, %2};"
        : "=l"(d)
        : "r"(start + (uint32_t)(bytes >> 4)), "r"(8u * line<D>::bytes >> 4 | swizzle << 30));
    return d;
}

__device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All committed products but the last LATER are done. */
template <int LATER> __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LATER) : "memory");
}
/* Nothing below is computed from what these registers held above. */
template <int N> __device__ __forceinline__ void multiplied(float (&s)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(s[i])::"memory");
}

/* s = a b^T, or s + a b^T if `add`, of 64 rows of a and 64 rows of b, 16 columns each. Thread i of
 * the four warps holds s of rows 16 (i / 32) + i % 32 / 4 + 8 r and columns 8 g + 2 (i % 4) + c in
 * s[4 g + 2 r + c]. */
#define MULTIPLY(type)                                                                             \
    asm volatile(                                                                                  \
        "{\n\t"                                                                                    \
        ".reg .pred p;\n\t"                                                                        \
        "setp.ne.b32 p, %34, 0;\n\t"                                                               \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " "                            \
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                  \
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "        \
        "%32, %33, p, 1, 1, 0, 0;\n\t"                                                             \
        "}"                                                                                        \
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]),      \
          "+f"(s[7]), "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]),  \
          "+f"(s[14]), "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]),            \
          "+f"(s[20]), "+f"(s[21]), "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]),            \
          "+f"(s[26]), "+f"(s[27]), "+f"(s[28]), "+f"(s[29]), "+f"(s[30]), "+f"(s[31])             \
        : "l"(a), "l"(b), "r"((int)add))

__device__ __forceinline__ void multiply(float (&s)[32], uint64_t a, uint64_t b, bool add, bf16)
{
    MULTIPLY("bf16");
}
__device__ __forceinline__ void multiply(float (&s)[32], uint64_t a, uint64_t b, bool add, fp16)
{
    MULTIPLY("f16");
}
#undef MULTIPLY

/* Start s = q k^T of 64 rows of each over D columns; rows_q and rows_k are those of the whole
 * tiles, q and k their starts. Ends with a commit. */
template <typename T, int D>
__device__ __forceinline__ void multiply_rows(float (&s)[32], uint32_t q, int rows_q, uint32_t k,
                                              int rows_k)
{
    enum { STEP = 32, PER_LINE = line<D>::bytes / STEP }; /* bytes of 16 columns */
    products_begin();
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        const int at = i % PER_LINE * STEP, tile = i / PER_LINE * line<D>::bytes;
        multiply(s, tile_descriptor<D>(q, tile * rows_q + at),
                 tile_descriptor<D>(k, tile * rows_k + at), i > 0, T());
    }
    products_commit();
}

/* --- host ------------------------------------------------------------------------------------ */

/* Describes x (B,T,H,D), 16-bit, as tiles of `rows` rows of one head: lines of up to 64 columns. */
static inline status tile_map(CUtensorMap *map, const char *what, const void *x, dtype type,
                              const dims *d, int rows)
{
    typedef CUresult encode_fn(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                               const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                               const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                               CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static encode_fn *encode;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    if (!encode)
        CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, 12000,
                                                  cudaEnableDefault, &found),
                 what);
    if (!encode) return fail(ERR_DEVICE, "%s: expected a driver with cuTensorMapEncodeTiled", what);
    const cuuint64_t D = (cuuint64_t)d->D, H = (cuuint64_t)d->H, T = (cuuint64_t)d->T;
    const cuuint64_t sizes[] = {D, H, T, (cuuint64_t)d->B};
    const cuuint64_t strides[] = {2 * D, 2 * D * H, 2 * D * H * T};
    const cuuint32_t columns = D > 64 ? 64 : (cuuint32_t)D;
    const cuuint32_t box[] = {columns, 1, (cuuint32_t)rows, 1}, steps[] = {1, 1, 1, 1};
    const CUresult r = encode(
        map, type == BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
        (void *)(uintptr_t)x, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        columns == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
        : columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                        : CU_TENSOR_MAP_SWIZZLE_32B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? OK : fail(ERR_DEVICE, "%s: tensor map: error %d", what, (int)r);
}

#endif
