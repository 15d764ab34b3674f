/* SPDX-License-Identifier: MIT
 *
 * resident.cuh — attention of short sequences (tile.cuh) with what it reads of a head resident in
 * shared memory, and wgmma: what its kernels share.
 *
 * A block has a head. Each of its warpgroups takes 64 rows at a time and walks over the tiles of 64
 * keys that they see, as often as the rule has it: the scores of a tile are computed anew in every
 * sweep, for tensor cores do that while other warpgroups look at theirs. Nobody waits for anybody
 * but for the tiles of its head to arrive. The parts of the sequence are dealt out so that, under a
 * causal mask, everybody walks equally far.
 */
#ifndef MOSAIC_RESIDENT_CUH
#define MOSAIC_RESIDENT_CUH

#include "warpgroup.cuh"
#include "wgmma.cuh"

enum {
    RESIDENT_T = 512, /* the longest sequence */
    RESIDENT_TILES = RESIDENT_T / TILE_KEYS
};

/* How a sequence is dealt out to the `groups` warpgroups of a block: parts of 64 rows in `turns`.
 */
struct resident_deal {
    int parts, groups, turns;

    /* The part of a warpgroup in a turn, from the early to the late ones, or none if negative. */
    __device__ __forceinline__ int part(int group, int turn) const
    {
        const int back = turns - 1 - turn, from = back * groups;
        return parts - 1 - from - (back % 2 ? groups - 1 - group : group);
    }
};
static inline resident_deal resident_deal_of(int64_t T, int most)
{
    resident_deal d = {};
    d.parts = (int)ceil_div(T, TILE_KEYS);
    d.groups = (d.parts + 1) / 2 < most ? (d.parts + 1) / 2 : most;
    d.turns = (d.parts + d.groups - 1) / d.groups;
    return d;
}

/* Describes a tensor of the call, of the layout of its rows. */
static inline dtype stored_as(bf16)
{
    return BF16;
}
static inline dtype stored_as(fp16)
{
    return F16;
}
template <typename T>
static status resident_map(CUtensorMap *map, const char *what, const void *x, const tile_call *f)
{
    dims d = {};
    if (!f->wide) return fail(ERR_ARG, "%s: a tensor: expected one that begins on 16 bytes", what);
    d.B = ceil_div(f->first_group + f->groups, f->H), d.T = f->N, d.H = f->H, d.D = f->D;
    return tile_map(map, what, x, stored_as(T()), &d, TILE_KEYS);
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* Where in a tile of 64 rows of D columns 8 columns of a row stand, in bytes: lines are swizzled by
 * 16 bytes within 128. */
template <int D> __device__ __forceinline__ uint32_t tile_place_of(int row, int eight)
{
    enum { BYTES = tile_line<D>::bytes, EIGHTS = BYTES / 16 };
    const uint32_t at = (uint32_t)(row * BYTES + eight % EIGHTS * 16);
    return (uint32_t)(eight / EIGHTS * TILE_KEYS * BYTES) + (at ^ (at >> 7 & (EIGHTS - 1)) << 4);
}

/* The rows of a tile that the warp has, as operands of a product. */
template <int D> __device__ __forceinline__ void hold_rows(uint32_t (&q)[D / 16][4], uint32_t tile)
{
    const int lane = threadIdx.x % WARP, row = (int)(threadIdx.x % WARPGROUP) / WARP * 16;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
        load_matrices(q[k], tile + tile_place_of<D>(row + lane % 16, 2 * k + lane / 16));
}

/* Start s = q k^T of held rows and the 64 of the tile that starts at k. Ends with a commit. */
template <typename T, int D>
__device__ __forceinline__ void multiply_held_rows(float (&s)[32], const uint32_t (&q)[D / 16][4],
                                                   uint32_t k)
{
    enum { BYTES = tile_line<D>::bytes, STEPS = BYTES / 32 };
    products_begin();
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        multiply_held(s, q[i],
                      tile_descriptor<D>(k, i / STEPS * TILE_KEYS * BYTES + i % STEPS * 32), i > 0,
                      T());
    products_commit();
}

/* Number e, of 16, of row i, of 2, among what a thread has of 64 x 64 scores; and its column. */
__device__ __forceinline__ float &number(float (&s)[32], int i, int e)
{
    return s[e / 2 * 4 + 2 * i + e % 2];
}
__device__ __forceinline__ float number(const float (&s)[32], int i, int e)
{
    return s[e / 2 * 4 + 2 * i + e % 2];
}
__device__ __forceinline__ int lane_column(int e)
{
    return e / 2 * 8 + e % 2 + 2 * (int)(threadIdx.x % 4);
}

/* 0 for the weights of two rows that dropout does not keep, or for their gradients. */
__device__ __forceinline__ void drop_held(float (&s)[32], const uint2 (&kept)[2])
{
    const int lane = 2 * (int)(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 16; e++) {
            const uint32_t word = e < 8 ? kept[i].x : kept[i].y;
            number(s, i, e) = kept_or_0(number(s, i, e), word << (7 - e % 2 - lane), e / 2 % 4);
        }
}

/* s rounded, as the operand of a product. */
template <typename T>
__device__ __forceinline__ void round_held(uint32_t (&p)[4][4], const float (&s)[32])
{
#pragma unroll
    for (int i = 0; i < 16; i++)
        p[i / 4][i % 4] = pair(s[2 * i], s[2 * i + 1], T());
}

/* Whether x holds in any thread of the warpgroup. `votes`: 8 words of its own; calls alternate
 * `turn` between 0 and 1, which saves a second barrier. */
__device__ __forceinline__ bool any_of_group(bool x, uint32_t *votes, int &turn)
{
    const int group = (int)threadIdx.x / WARPGROUP, warp = (int)threadIdx.x % WARPGROUP / WARP;
    uint32_t *mine = votes + 4 * turn;
    const bool here = __any_sync(ALL_LANES, x);
    if (threadIdx.x % WARP == 0) mine[warp] = here;
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"((int)WARPGROUP) : "memory");
    const uint4 all = *(const uint4 *)mine;
    turn ^= 1;
    return (all.x | all.y | all.z | all.w) != 0;
}

/* x and y, numbers 4 g + 2 r and the next of two neighbouring groups of eight columns, g even, of a
 * row of an accumulator, to that row if it is real: 8 bytes a lane. `row` begins with column 8 g.
 */
template <typename T>
__device__ __forceinline__ void store_groups(T *row, bool real, float x0, float x1, float y0,
                                             float y1)
{
    const int t = threadIdx.x % 4, odd = t % 2;
    const uint32_t x = pair(x0, x1, T()), y = pair(y0, y1, T());
    const uint32_t got = __shfl_xor_sync(ALL_LANES, odd ? x : y, 1);
    if (real) *(uint2 *)(row + odd * 8 + t / 2 * 4) = odd ? make_uint2(got, y) : make_uint2(x, got);
}

#endif
#endif
