/* SPDX-License-Identifier: MIT
 *
 * rng.c — SplitMix64 streams keyed by words, and Philox4x32-10. The definitions are in rng.h.
 * Sources: Steele et al. 2014 (mix); Salmon et al. 2011 (Philox).
 */
#include "rng.h"

#include <math.h>

#define GAMMA UINT64_C(0x9E3779B97F4A7C15)

uint64_t rng_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t rng_fold(uint64_t s, uint64_t word)
{
    return rng_mix((s ^ word) + GAMMA);
}

uint64_t rng_key(const uint64_t *words, size_t count)
{
    uint64_t s = 0;
    for (size_t i = 0; i < count; i++)
        s = rng_fold(s, words[i]);
    return s;
}

rng rng_sample(uint64_t seed, uint64_t task, uint64_t split, uint64_t index)
{
    return (rng){rng_key((uint64_t[]){seed, task, split, index}, 4)};
}

uint64_t rng_u64(rng *r)
{
    return rng_mix(r->state += GAMMA);
}

uint64_t rng_below(rng *r, uint64_t n)
{
    const uint64_t threshold = (0 - n) % n;
    uint64_t x;
    do
        x = rng_u64(r);
    while (x < threshold);
    return x % n;
}

void rng_distinct(rng *r, uint32_t n, uint32_t k, uint32_t *values, uint8_t *seen)
{
    for (uint32_t i = 0; i < k;) {
        uint32_t x = (uint32_t)rng_below(r, n);
        if (seen[x]) continue;
        seen[x] = 1;
        values[i++] = x;
    }
    for (uint32_t i = 0; i < k; i++)
        seen[values[i]] = 0;
}

uint32_t rng_zipf(rng *r, uint32_t n)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += 1000000 / ((uint64_t)i + 2);
    uint64_t u = rng_below(r, total), upto = 0;
    uint32_t rank = 0;
    for (;; rank++) {
        upto += 1000000 / ((uint64_t)rank + 2);
        if (u < upto) return rank;
    }
}

double rng_uniform(rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

double rng_normal(rng *r)
{
    const double pi = 3.14159265358979323846;
    double u = 1 - rng_uniform(r); /* (0,1]: the logarithm is finite */
    double v = rng_uniform(r);
    return sqrt(-2 * log(u)) * cos(2 * pi * v);
}

void philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * x0, b = UINT64_C(0xCD9E8D57) * x2;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

uint64_t fnv1a(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return hash;
}
