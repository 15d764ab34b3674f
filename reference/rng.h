/* SPDX-License-Identifier: MIT
 *
 * rng.h — random numbers that are the same on every machine and for any number of threads.
 *
 * Streams (spec of the tasks, section 0.3): counter-keyed, so that any sample is addressable.
 *   mix(z): z ^= z>>30; z *= 0xBF58476D1CE4E5B9; z ^= z>>27; z *= 0x94D049BB133111EB; z ^= z>>31
 *   fold(s,w) = mix((s XOR w) + 0x9E3779B97F4A7C15); key(w1..wm): s = 0, then s = fold(s, wi)
 *   u64: state += 0x9E3779B97F4A7C15, return mix(state)
 * Philox4x32-10 (Salmon et al. 2011): key 0, counter 0 gives 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
 */
#ifndef MOSAIC_RNG_H
#define MOSAIC_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_mix(uint64_t z);
uint64_t rng_fold(uint64_t s, uint64_t word);
/* key(words[0], ..., words[count-1]) */
uint64_t rng_key(const uint64_t *words, size_t count);
/* The stream key(seed, task, split, index) of one sample. */
rng rng_sample(uint64_t seed, uint64_t task, uint64_t split, uint64_t index);
uint64_t rng_u64(rng *r);
/* Unbiased 0..n-1, n >= 1; consumes at least one draw even for n = 1. */
uint64_t rng_below(rng *r, uint64_t n);
/* k distinct values of 0..n-1 in order of acceptance. seen: n bytes of scratch, all 0 on entry and
 * again on return. */
void rng_distinct(rng *r, uint32_t n, uint32_t k, uint32_t *values, uint8_t *seen);
/* Rank 0..n-1 with integer weights floor(1000000/(rank+2)). */
uint32_t rng_zipf(rng *r, uint32_t n);
/* Uniform on [0,1) with 53 bits. */
double rng_uniform(rng *r);
/* Standard normal (Box-Muller, one value per two draws). */
double rng_normal(rng *r);

void philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* FNV-1a, 64 bit; start from FNV_OFFSET. */
#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
uint64_t fnv1a(uint64_t hash, const void *bytes, size_t count);

#ifdef __cplusplus
}
#endif
#endif
