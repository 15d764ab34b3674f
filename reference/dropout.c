/* SPDX-License-Identifier: MIT
 *
 * dropout — zero each value with probability `rate`, scale the others by 1/(1-rate).
 *
 *     y_i = x_i m_i / (1-rate),   m_i = 1 iff word_(i mod 4) >= floor(rate 2^32)
 *     words = Philox4x32-10(key = seed, counter = (i/4 low, i/4 high, site, step))
 *
 * x (B,T,C) -> y (B,T,C); x may be y. i = ((first_row + b) whole_T + t) C + c is the place of a
 * value in the tensor of the whole step, of which a call may see some samples, cut to a shorter T.
 * The backward is the same operation applied to dy: the mask is a function of (seed, site, step, i)
 * alone. Reads rate, seed, site, step, first_row, whole_T.
 * Source: Srivastava et al. 2014; Salmon et al. 2011.
 */
#include "stage.h"

enum { GROUPS = 16 };

/* philox4x32 of GROUPS counters at once, an element of the arrays each: the loops vectorise. */
static void words(const params *p, uint64_t group, uint32_t out[4 * GROUPS])
{
    uint32_t k0 = (uint32_t)p->seed, k1 = (uint32_t)(p->seed >> 32), x[4][GROUPS];
    for (int q = 0; q < GROUPS; q++) {
        x[0][q] = (uint32_t)(group + (uint64_t)q);
        x[1][q] = (uint32_t)((group + (uint64_t)q) >> 32);
        x[2][q] = p->site;
        x[3][q] = p->step;
    }
    for (int round = 0; round < 10; round++) {
        for (int q = 0; q < GROUPS; q++) {
            const uint64_t a = UINT64_C(0xD2511F53) * x[0][q], b = UINT64_C(0xCD9E8D57) * x[2][q];
            x[0][q] = (uint32_t)(b >> 32) ^ x[1][q] ^ k0;
            x[2][q] = (uint32_t)(a >> 32) ^ x[3][q] ^ k1;
            x[1][q] = (uint32_t)b;
            x[3][q] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int q = 0; q < GROUPS; q++)
        for (int w = 0; w < 4; w++)
            out[4 * q + w] = x[w][q];
}

void dropout_slice(const params *p, int64_t first, int64_t count, const double *x, double *y,
                   const double *x2, double *y2)
{
    enum { BLOCK = 4 * GROUPS };
    const uint32_t threshold = (uint32_t)(p->rate * 0x1p32);
    const double kept = 1 / (1 - p->rate);
    uint32_t word[BLOCK];
    int64_t from = first % 4;
    for (int64_t i = 0; i < count; from = 0) {
        const int64_t room = BLOCK - from, n = count - i < room ? count - i : room;
        words(p, (uint64_t)(first + i) / 4, word);
        for (int64_t e = 0; e < n; e++)
            y[i + e] = word[from + e] >= threshold ? x[i + e] * kept : 0;
        for (int64_t e = 0; e < n && x2; e++)
            y2[i + e] = word[from + e] >= threshold ? x2[i + e] * kept : 0;
        i += n;
    }
}

status dropout_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const int64_t N = a->d.T * a->d.C, whole = params_whole_T(&a->p, a->d.T) * a->d.C;
    const int64_t piece = 1 << 14, pieces = (N + piece - 1) / piece;
    const double *x = IN(double, 0);
    double *y = OUT(double, 0);
    if (!(a->p.rate >= 0 && a->p.rate < 1))
        return fail(ERR_ARG, "dropout: rate: expected 0 <= rate < 1, got %g", a->p.rate);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->d.B * pieces; i++) {
        const int64_t b = i / pieces, at = i % pieces * piece;
        const int64_t count = N - at < piece ? N - at : piece;
        dropout_slice(&a->p, (a->p.first_row + b) * whole + at, count, x + b * N + at,
                      y + b * N + at, NULL, NULL);
    }
    return OK;
}
