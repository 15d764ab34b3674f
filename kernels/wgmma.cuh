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
template <int D> struct tile_line {
    enum { count = D > LINE_COLUMNS ? D / LINE_COLUMNS : 1, bytes = 2 * (D / count) };
};
static __host__ __device__ constexpr int tile_bytes(int rows, int D)
{
    return rows * D * 2;
}

/* --- arrivals -------------------------------------------------------------------------------- */

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
    for (int i = 0; i < tile_line<D>::count; i++)
        tile_load(shared + i * rows * tile_line<D>::bytes, map, barrier, i * LINE_COLUMNS, h, t, b);
}

/* `bytes` bytes, a multiple of 16 as both addresses are. One thread. */
__device__ __forceinline__ void bytes_load(uint32_t shared, const void *from, uint32_t bytes,
                                           uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
                 : "memory");
}

/* --- products -------------------------------------------------------------------------------- */

/* How a product reads a tile whose rows are lines, from a shared address on: the address, 8 lines
 * from one group of eight to the next, and the swizzle. The address is in the low half alone: what
 * lies some bytes after adds to it. */
__device__ __forceinline__ uint32_t tile_start(uint32_t shared)
{
    return (shared & 0x3ffff) >> 4 | 1u << 16;
}
/* Of a tile of `rows` rows that is read down its columns: with the way to the columns of the second
 * line too. */
template <int D> __device__ __forceinline__ uint32_t tile_start_down(uint32_t shared, int rows)
{
    return (shared & 0x3ffff) >> 4 | (uint32_t)(rows * tile_line<D>::bytes) >> 4 << 16;
}
template <int D> __device__ __forceinline__ uint64_t tile_descriptor(uint32_t start, int bytes)
{
    const uint32_t swizzle = tile_line<D>::bytes == 128 ? 1 : tile_line<D>::bytes == 64 ? 2 : 3;
    uint64_t d;
    asm("mov.b64 %0, {%1, %2};"
        : "=l"(d)
        : "r"(start + (uint32_t)(bytes >> 4)), "r"(8u * tile_line<D>::bytes >> 4 | swizzle << 30));
    return d;
}

/* x of the warp, which the compiler is not to compute again in every tile. */
__device__ __forceinline__ uint32_t warp_value(uint32_t x)
{
    return __shfl_sync(ALL_LANES, x, 0);
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
template <int N, int M> __device__ __forceinline__ void multiplied(uint32_t (&a)[N][M])
{
#pragma unroll
    for (int i = 0; i < N * M; i++)
        asm volatile("" : "+r"(a[i / M][i % M])::"memory");
}

/* s = a b^T, or s + a b^T if `add`, of 64 rows of a and N rows of b, 16 columns each. Thread i of
 * the four warps holds s of rows 16 (i / 32) + i % 32 / 4 + 8 r and columns 8 g + 2 (i % 4) + c in
 * s[4 g + 2 r + c], N / 2 numbers. DOWN: the 16 columns are 16 rows of the tile that the descriptor
 * describes, and its columns are the rows of the operand.
 * multiply_held: a in registers, as two such groups of eight columns of s, rounded, are:
 * a[2 g + r] has columns 8 g + 2 (i % 4) and the next. */
#define LIST_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define LIST_16 LIST_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define LIST_32                                                                                    \
    LIST_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LIST_64                                                                                    \
    LIST_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "   \
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SUMS_8(i)                                                                                  \
    "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]),    \
        "+f"(s[i + 6]), "+f"(s[i + 7])
#define SUMS_16(i) SUMS_8(i), SUMS_8(i + 8)
#define SUMS_32(i) SUMS_16(i), SUMS_16(i + 16)
#define SUMS_64(i) SUMS_32(i), SUMS_32(i + 32)

#define PRODUCT(N, list, type, a, b, add, down)                                                    \
    "{\n\t"                                                                                        \
    ".reg .pred p;\n\t"                                                                            \
    "setp.ne.b32 p, " add ", 0;\n\t"                                                               \
    "wgmma.mma_async.sync.aligned.m64n" N "k16.f32." type "." type " {" list "}, " a ", " b        \
    ", p, 1, 1, " down ";\n\t"                                                                     \
    "}"

/* R numbers of a thread, N = 2 R; n0 ... n6 name the operands after them. */
#define MULTIPLY(R, N, T, type, n0, n1, n2, n3, n4, n5, n6)                                        \
    template <int DOWN_A = 0, int DOWN_B = 0>                                                      \
    __device__ __forceinline__ void multiply(float(&s)[R], uint64_t a, uint64_t b, bool add, T)    \
    {                                                                                              \
        asm volatile(PRODUCT(N, LIST_##R, type, n0, n1, n2, n3 ", " n4)                            \
                     : SUMS_##R(0)                                                                 \
                     : "l"(a), "l"(b), "r"((int)add), "n"(DOWN_A), "n"(DOWN_B));                   \
    }                                                                                              \
    template <int DOWN_B = 0>                                                                      \
    __device__ __forceinline__ void multiply_held(float(&s)[R], const uint32_t(&a)[4], uint64_t b, \
                                                  bool add, T)                                     \
    {                                                                                              \
        asm volatile(PRODUCT(N, LIST_##R, type, "{" n0 ", " n1 ", " n2 ", " n3 "}", n4, n5, n6)    \
                     : SUMS_##R(0)                                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add),          \
                       "n"(DOWN_B));                                                               \
    }
#define MULTIPLY_16(R, N, ...)                                                                     \
    MULTIPLY(R, N, bf16, "bf16", __VA_ARGS__) MULTIPLY(R, N, fp16, "f16", __VA_ARGS__)
MULTIPLY_16(8, "16", "%8", "%9", "%10", "%11", "%12", "%13", "%14")
MULTIPLY_16(16, "32", "%16", "%17", "%18", "%19", "%20", "%21", "%22")
MULTIPLY_16(32, "64", "%32", "%33", "%34", "%35", "%36", "%37", "%38")
MULTIPLY_16(64, "128", "%64", "%65", "%66", "%67", "%68", "%69", "%70")
#undef MULTIPLY_16
#undef MULTIPLY
#undef PRODUCT
#undef SUMS_64
#undef SUMS_32
#undef SUMS_16
#undef SUMS_8
#undef LIST_64
#undef LIST_32
#undef LIST_16
#undef LIST_8

/* Start s = q k^T of 64 rows of q and 2 R of k over D columns; rows_q and rows_k are those of the
 * whole tiles, q and k their starts. Ends with a commit. */
template <typename T, int D, int R>
__device__ __forceinline__ void multiply_rows(float (&s)[R], uint32_t q, int rows_q, uint32_t k,
                                              int rows_k)
{
    enum { STEP = 32, PER_LINE = tile_line<D>::bytes / STEP }; /* bytes of 16 columns */
    products_begin();
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        const int at = i % PER_LINE * STEP, tile = i / PER_LINE * tile_line<D>::bytes;
        multiply(s, tile_descriptor<D>(q, tile * rows_q + at),
                 tile_descriptor<D>(k, tile * rows_k + at), i > 0, T());
    }
    products_commit();
}

/* The same of 64 rows that registers hold: 16 columns in each of q. */
template <typename T, int D, int R>
__device__ __forceinline__ void multiply_held_rows(float (&s)[R], const uint32_t (&q)[D / 16][4],
                                                   uint32_t k, int rows_k)
{
    enum { STEP = 32, PER_LINE = tile_line<D>::bytes / STEP };
    products_begin();
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        multiply_held(s, q[i],
                      tile_descriptor<D>(k, i % PER_LINE * STEP +
                                                i / PER_LINE * tile_line<D>::bytes * rows_k),
                      i > 0, T());
    products_commit();
}

/* Start o += p v of 64 rows of p, rounded and held in registers, and the 16 STEPS rows of D columns
 * of the tile v that starts at `v` (tile_start_down). Ends with a commit. */
template <typename T, int D, int STEPS>
__device__ __forceinline__ void multiply_add_down(float (&o)[D / 2], const uint32_t (&p)[STEPS][4],
                                                  uint32_t v)
{
    products_begin();
#pragma unroll
    for (int i = 0; i < STEPS; i++)
        multiply_held<1>(o, p[i], tile_descriptor<D>(v, i * 16 * tile_line<D>::bytes), true, T());
    products_commit();
}

/* --- host ------------------------------------------------------------------------------------ */

/* A tensor as boxes of its two outer and its inner dimensions; sizes from the inner one on. */
static inline status box_map(CUtensorMap *map, const char *what, const void *x,
                             CUtensorMapDataType type, int bytes, const cuuint64_t (&sizes)[4],
                             const cuuint32_t (&box)[4], CUtensorMapSwizzle swizzle)
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
    const cuuint64_t row = (cuuint64_t)bytes * sizes[0];
    const cuuint64_t strides[] = {row, row * sizes[1], row * sizes[1] * sizes[2]};
    const cuuint32_t steps[] = {1, 1, 1, 1};
    const CUresult r =
        encode(map, type, 4, (void *)(uintptr_t)x, sizes, strides, box, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? OK : fail(ERR_DEVICE, "%s: tensor map: error %d", what, (int)r);
}

/* Describes x (B,T,H,D), 16-bit, as tiles of `rows` rows of one head: lines of up to 64 columns. */
static inline status tile_map(CUtensorMap *map, const char *what, const void *x, dtype type,
                              const dims *d, int rows)
{
    const cuuint64_t sizes[] = {(cuuint64_t)d->D, (cuuint64_t)d->H, (cuuint64_t)d->T,
                                (cuuint64_t)d->B};
    const cuuint32_t columns = d->D > 64 ? 64 : (cuuint32_t)d->D;
    const cuuint32_t box[] = {columns, 1, (cuuint32_t)rows, 1};
    return box_map(map, what, x,
                   type == BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                   2, sizes, box,
                   columns == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
                   : columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                   : CU_TENSOR_MAP_SWIZZLE_32B);
}

/* Describes x (groups, rows, words) as boxes of so many words of some rows of a group. */
static inline status word_map(CUtensorMap *map, const char *what, const uint32_t *x, int64_t groups,
                              int64_t rows, int64_t words, int box_rows, int box_words)
{
    const cuuint64_t sizes[] = {(cuuint64_t)words, 1, (cuuint64_t)rows, (cuuint64_t)groups};
    const cuuint32_t box[] = {(cuuint32_t)box_words, 1, (cuuint32_t)box_rows, 1};
    return box_map(map, what, x, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, sizes, box,
                   CU_TENSOR_MAP_SWIZZLE_NONE);
}

#endif
