/* SPDX-License-Identifier: MIT
 *
 * dropout — zero each value with probability `rate`, scale the others by 1/(1-rate).
 *
 *     y_i = x_i m_i / (1-rate),   m_i = 1 iff word_(i mod 4) >= floor(rate 2^32)
 *     words = Philox4x32-10(key = seed, counter = (i/4 low, i/4 high, site, step))
 *
 * x (N) -> y (N); y may be x. One thread draws the words of one 16-byte pack (one or two counters)
 * and moves it: one read and one write per element.
 * Source: Srivastava et al. 2014; Salmon et al. 2011.
 */
#include "stage.cuh"

enum { THREADS = 256 };

typedef struct masks {
    uint32_t key[2], site, step, threshold;
    float kept;
} masks;

__device__ static uint4 philox(const masks &m, uint64_t group)
{
    uint4 c = make_uint4((uint32_t)group, (uint32_t)(group >> 32), m.site, m.step);
    uint32_t k0 = m.key[0], k1 = m.key[1];
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c.x, b = (uint64_t)0xCD9E8D57u * c.z;
        c = make_uint4((uint32_t)(b >> 32) ^ c.y ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c.w ^ k1,
                       (uint32_t)a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    dropout_kernel(const T *x, T *y, int64_t N, masks m, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (at >= N) return;
    const packed<T> r = load_some(x + at, N - at, wide);
    float o[VEC];
#pragma unroll
    for (int g = 0; g < VEC / 4; g++) {
        const uint4 w = philox(m, (uint64_t)at / 4 + g);
        o[4 * g + 0] = w.x >= m.threshold ? r[4 * g + 0] * m.kept : 0;
        o[4 * g + 1] = w.y >= m.threshold ? r[4 * g + 1] * m.kept : 0;
        o[4 * g + 2] = w.z >= m.threshold ? r[4 * g + 2] * m.kept : 0;
        o[4 * g + 3] = w.w >= m.threshold ? r[4 * g + 3] * m.kept : 0;
    }
    store_some(y + at, packed_of<T>(o), N - at, wide);
}

template <typename T> static status run(const args *a)
{
    const int64_t N = a->d.N;
    const T *x = IN(T, 0);
    T *y = OUT(T, 0);
    const masks m = {{(uint32_t)a->p.seed, (uint32_t)(a->p.seed >> 32)},
                     a->p.site,
                     a->p.step,
                     (uint32_t)(a->p.rate * 4294967296.0),
                     (float)(1 / (1 - a->p.rate))};
    if (N == 0) return OK;
    dropout_kernel<T>
        <<<(unsigned)ceil_div(N, THREADS * packed<T>::width), THREADS, 0, stream_of(a)>>>(
            x, y, N, m, aligned16(x) && aligned16(y));
    return launched("dropout");
}

extern "C" status dropout_philox(const args *a)
{
    NO_SCRATCH(a);
    if (!(a->p.rate >= 0 && a->p.rate < 1))
        return fail(ERR_ARG, "dropout: rate: expected 0 <= rate < 1, got %g", a->p.rate);
    return BY_TYPE(a->type, "dropout", run, a);
}
