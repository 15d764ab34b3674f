/* SPDX-License-Identifier: MIT
 *
 * philox.cuh — the words that decide what dropout keeps.
 *
 *     value i is kept iff word_(i mod 4) >= floor(rate 2^32)
 *     words = Philox4x32-10(key = seed, counter = (i/4 low, i/4 high, site, step))
 *
 * Source: Salmon et al. 2011.
 */
#ifndef MOSAIC_PHILOX_CUH
#define MOSAIC_PHILOX_CUH

#include "common.cuh"

enum { PHILOX_ROUNDS = 10 };

typedef struct philox_masks {
    uint32_t key[PHILOX_ROUNDS][2]; /* of each round */
    uint32_t site, step, threshold;
    float kept; /* 1 / (1 - rate) */
} philox_masks;

/* ERR_ARG unless 0 <= rate < 1. */
static inline status rate_fits(const params *p, const char *what)
{
    if (!(p->rate >= 0 && p->rate < 1))
        return fail(ERR_ARG, "%s: rate: expected 0 <= rate < 1, got %g", what, p->rate);
    return OK;
}

static inline philox_masks philox_masks_of(const params *p)
{
    philox_masks m = {};
    m.site = p->site, m.step = p->step;
    m.threshold = (uint32_t)(p->rate * 4294967296.0);
    m.kept = (float)(1 / (1 - p->rate));
    for (uint32_t round = 0; round < PHILOX_ROUNDS; round++) {
        m.key[round][0] = (uint32_t)p->seed + round * 0x9E3779B9u;
        m.key[round][1] = (uint32_t)(p->seed >> 32) + round * 0xBB67AE85u;
    }
    return m;
}

static const uint32_t PHILOX_0 = 0xD2511F53u, PHILOX_1 = 0xCD9E8D57u;

__device__ __forceinline__ uint4 philox_rounds(const philox_masks &m, uint4 c, int first)
{
#pragma unroll
    for (int round = first; round < PHILOX_ROUNDS; round++) {
        const uint64_t a = (uint64_t)PHILOX_0 * c.x, b = (uint64_t)PHILOX_1 * c.z;
        c = make_uint4((uint32_t)(b >> 32) ^ c.y ^ m.key[round][0], (uint32_t)b,
                       (uint32_t)(a >> 32) ^ c.w ^ m.key[round][1], (uint32_t)a);
    }
    return c;
}
/* The words of values 4 group ... 4 group + 3. */
__device__ __forceinline__ uint4 philox(const philox_masks &m, uint64_t group)
{
    return philox_rounds(m, make_uint4((uint32_t)group, (uint32_t)(group >> 32), m.site, m.step),
                         0);
}

/* The words of counters that follow each other and have the same upper word. What the first two
 * rounds make of the words that do not change is made once; the product of the first with the
 * lowest word, from one counter to the next, is a sum. */
struct philox_run {
    uint64_t product;
    uint32_t y, z, w; /* after round 1; z and y lack what the lowest word adds */

    __device__ __forceinline__ philox_run(const philox_masks &m, uint32_t high)
    {
        const uint64_t b = (uint64_t)PHILOX_1 * m.site;
        const uint64_t a = (uint64_t)PHILOX_0 * ((uint32_t)(b >> 32) ^ high ^ m.key[0][0]);
        product = 0;
        y = (uint32_t)b ^ m.key[1][0], z = (uint32_t)(a >> 32) ^ m.key[1][1], w = (uint32_t)a;
    }
    __device__ __forceinline__ void seek(uint32_t low)
    {
        product = (uint64_t)PHILOX_0 * low;
    }
    __device__ __forceinline__ uint4 next(const philox_masks &m)
    {
        const uint64_t b = (uint64_t)PHILOX_1 * ((uint32_t)(product >> 32) ^ m.step ^ m.key[0][1]);
        const uint4 c = make_uint4((uint32_t)(b >> 32) ^ y, (uint32_t)b, z ^ (uint32_t)product, w);
        product += PHILOX_0;
        return philox_rounds(m, c, 2);
    }
};

/* Shifts into `bits` from below whether a value is kept. Two instructions: a sum with carry. */
__device__ __forceinline__ uint32_t with_bit(uint32_t bits, uint32_t word, const philox_masks &m)
{
    const uint64_t twice = (uint64_t)bits << 32;
    return (uint32_t)(((twice | word) + (twice | (0u - m.threshold))) >> 32);
}
__device__ __forceinline__ uint32_t with_bits(uint32_t bits, const uint4 &w, const philox_masks &m)
{
    bits = with_bit(with_bit(bits, w.x, m), w.y, m);
    return with_bit(with_bit(bits, w.z, m), w.w, m);
}

__device__ __forceinline__ uint32_t word_of(const uint4 &w, int i)
{
    return i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w;
}

#endif
