/* SPDX-License-Identifier: MIT
 *
 * dropout — zero each value with probability `rate`, scale the others by 1/(1-rate).
 *
 *     y_i = x_i m_i / (1-rate),   m_i = 1 iff word_(i mod 4) >= floor(rate 2^32)
 *     words = Philox4x32-10(key = seed, counter = (i/4 low, i/4 high, site, step))
 *
 * x (N) -> y (N); x may be y. The backward is the same operation applied to dy: the mask is a
 * function of (seed, site, step, i) alone. Reads rate, seed, site, step.
 * Source: Srivastava et al. 2014; Salmon et al. 2011.
 */
#include "stage.h"

#include "rng.h"

void dropout_slice(const params *p, int64_t first, int64_t count, const double *x, double *y)
{
    const uint64_t threshold = (uint64_t)(p->rate * 0x1p32);
    const double kept = 1 / (1 - p->rate);
    const uint32_t key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
    uint32_t word[4];
    for (int64_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)(first + i), group = at / 4;
        if (i == 0 || at % 4 == 0)
            philox4x32(key,
                       (uint32_t[]){(uint32_t)group, (uint32_t)(group >> 32), p->site, p->step},
                       word);
        y[i] = word[at % 4] >= threshold ? x[i] * kept : 0;
    }
}

status dropout_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t N = a->d.N, piece = 1 << 14, pieces = (N + piece - 1) / piece;
    const double *x = IN(double, 0);
    double *y = OUT(double, 0);
    if (!(a->p.rate >= 0 && a->p.rate < 1))
        return fail(ERR_ARG, "dropout: rate: expected 0 <= rate < 1, got %g", a->p.rate);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        int64_t at = i * piece, count = N - at < piece ? N - at : piece;
        dropout_slice(&a->p, at, count, x + at, y + at);
    }
    return OK;
}
