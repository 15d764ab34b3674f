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

/* The words of values 4 group ... 4 group + 3. */
__device__ __forceinline__ uint4 philox(const philox_masks &m, uint64_t group)
{
    uint4 c = make_uint4((uint32_t)group, (uint32_t)(group >> 32), m.site, m.step);
#pragma unroll
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c.x, b = (uint64_t)0xCD9E8D57u * c.z;
        c = make_uint4((uint32_t)(b >> 32) ^ c.y ^ m.key[round][0], (uint32_t)b,
                       (uint32_t)(a >> 32) ^ c.w ^ m.key[round][1], (uint32_t)a);
    }
    return c;
}
__device__ __forceinline__ uint32_t word_of(const uint4 &w, int i)
{
    return i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w;
}

#endif
