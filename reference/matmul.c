/* SPDX-License-Identifier: MIT
 *
 * matmul — C = A B in the fixed order of matmul.h.
 *
 * Method: the operands are copied into panels (A: mr rows, B: nr columns, both k-major) of blocks
 * that fit the caches; a micro-kernel keeps an mr x nr tile of C in registers over one block of k.
 * Between blocks of k the tile rests in C, which rounds nothing, so the chain of every element is
 * unbroken. The micro-kernels differ in width only. Threads share the panels of B and divide the
 * rows of C. One row alone (a token of a stream) would waste the tile and the copies: it takes the
 * columns of B as they lie, several vectors of them side by side.
 * Source: Goto & van de Geijn 2008; Van Zee & van de Geijn 2015.
 */
#include "matmul.h"

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define X86
#include <immintrin.h>
#endif

#include "stage.h"

enum { KC = 256, NC = 512, MC = 96, TILE = 12 * 16 };

/* C tile (mr,nr) += A panel B panel over k. */
typedef void micro_fn(int64_t k, const double *a, const double *b, double *c, ptrdiff_t ldc);

/* c (n) += a (k) B (k,n): one row. */
typedef void row_fn(int64_t n, int64_t k, view a, view b, double *c);

typedef struct micro {
    const char *name;
    int mr, nr;
    micro_fn *run;
    row_fn *row;
} micro;

enum { PLAIN_MR = 4, PLAIN_NR = 4 };

static void micro_plain(int64_t k, const double *a, const double *b, double *c, ptrdiff_t ldc)
{
    for (int i = 0; i < PLAIN_MR; i++)
        for (int j = 0; j < PLAIN_NR; j++) {
            double s = c[i * ldc + j];
            for (int64_t p = 0; p < k; p++)
                s = fma(a[p * PLAIN_MR + i], b[p * PLAIN_NR + j], s);
            c[i * ldc + j] = s;
        }
}

static void row_plain(int64_t n, int64_t k, view a, view b, double *c)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t p = 0; p < k; p++)
            c[j] = fma(a.x[p * a.col], b.x[p * b.row + j * b.col], c[j]);
}

#ifdef X86
enum { SIDE_BY_SIDE = 4 }; /* chains of vectors, which wait for no other */

__attribute__((target("avx512f"))) static void row_avx512(int64_t n, int64_t k, view a, view b,
                                                          double *c)
{
    enum { W = 8 };
    const int64_t s = b.col;
    const __m512i lane = _mm512_set_epi64(7 * s, 6 * s, 5 * s, 4 * s, 3 * s, 2 * s, s, 0);
    for (int64_t j = 0; j < n; j += W * SIDE_BY_SIDE) {
        __m512d sum[SIDE_BY_SIDE];
        __mmask8 here[SIDE_BY_SIDE];
        for (int q = 0; q < SIDE_BY_SIDE; q++) {
            const int64_t left = n - j - W * q;
            here[q] = (__mmask8)(left >= W ? 255 : left > 0 ? (1 << left) - 1 : 0);
            sum[q] = _mm512_maskz_loadu_pd(here[q], c + j + W * q);
        }
        for (int64_t p = 0; p < k; p++) {
            const __m512d x = _mm512_set1_pd(a.x[p * a.col]);
            const double *at = b.x + p * b.row + j * s;
            for (int q = 0; q < SIDE_BY_SIDE; q++) {
                const double *from = at + W * q * s;
                const __m512d y =
                    s == 1 ? _mm512_maskz_loadu_pd(here[q], from)
                           : _mm512_mask_i64gather_pd(_mm512_setzero_pd(), here[q], lane, from, 8);
                sum[q] = _mm512_fmadd_pd(x, y, sum[q]);
            }
        }
        for (int q = 0; q < SIDE_BY_SIDE; q++)
            _mm512_mask_storeu_pd(c + j + W * q, here[q], sum[q]);
    }
}

__attribute__((target("avx2,fma"))) static void row_avx2(int64_t n, int64_t k, view a, view b,
                                                         double *c)
{
    enum { W = 4 };
    const int64_t s = b.col;
    const __m256i lane = _mm256_set_epi64x(3 * s, 2 * s, s, 0);
    for (int64_t j = 0; j < n; j += W * SIDE_BY_SIDE) {
        __m256d sum[SIDE_BY_SIDE];
        __m256i here[SIDE_BY_SIDE];
        for (int q = 0; q < SIDE_BY_SIDE; q++) {
            const int64_t left = n - j - W * q;
            here[q] = _mm256_set_epi64x(-(left > 3), -(left > 2), -(left > 1), -(left > 0));
            sum[q] = _mm256_maskload_pd(c + j + W * q, here[q]);
        }
        for (int64_t p = 0; p < k; p++) {
            const __m256d x = _mm256_set1_pd(a.x[p * a.col]);
            const double *at = b.x + p * b.row + j * s;
            for (int q = 0; q < SIDE_BY_SIDE; q++) {
                const double *from = at + W * q * s;
                const __m256d y = s == 1
                                      ? _mm256_maskload_pd(from, here[q])
                                      : _mm256_mask_i64gather_pd(_mm256_setzero_pd(), from, lane,
                                                                 _mm256_castsi256_pd(here[q]), 8);
                sum[q] = _mm256_fmadd_pd(x, y, sum[q]);
            }
        }
        for (int q = 0; q < SIDE_BY_SIDE; q++)
            _mm256_maskstore_pd(c + j + W * q, here[q], sum[q]);
    }
}

__attribute__((target("avx512f"))) static void
micro_avx512(int64_t k, const double *a, const double *b, double *c, ptrdiff_t ldc)
{
    __m512d s[12][2];
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 2; j++)
            s[i][j] = _mm512_loadu_pd(c + i * ldc + 8 * j);
    for (int64_t p = 0; p < k; p++, a += 12, b += 16) {
        const __m512d b0 = _mm512_load_pd(b), b1 = _mm512_load_pd(b + 8);
        for (int i = 0; i < 12; i++) {
            const __m512d x = _mm512_set1_pd(a[i]);
            s[i][0] = _mm512_fmadd_pd(x, b0, s[i][0]);
            s[i][1] = _mm512_fmadd_pd(x, b1, s[i][1]);
        }
    }
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 2; j++)
            _mm512_storeu_pd(c + i * ldc + 8 * j, s[i][j]);
}

__attribute__((target("avx2,fma"))) static void
micro_avx2(int64_t k, const double *a, const double *b, double *c, ptrdiff_t ldc)
{
    __m256d s[6][2];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 2; j++)
            s[i][j] = _mm256_loadu_pd(c + i * ldc + 4 * j);
    for (int64_t p = 0; p < k; p++, a += 6, b += 8) {
        const __m256d b0 = _mm256_load_pd(b), b1 = _mm256_load_pd(b + 4);
        for (int i = 0; i < 6; i++) {
            const __m256d x = _mm256_set1_pd(a[i]);
            s[i][0] = _mm256_fmadd_pd(x, b0, s[i][0]);
            s[i][1] = _mm256_fmadd_pd(x, b1, s[i][1]);
        }
    }
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 2; j++)
            _mm256_storeu_pd(c + i * ldc + 4 * j, s[i][j]);
}
#endif

static const micro plain = {"c", PLAIN_MR, PLAIN_NR, micro_plain, row_plain};
static const micro *asked;

static const micro *choose(const char *name)
{
#ifdef X86
    static const micro avx512 = {"avx512f", 12, 16, micro_avx512, row_avx512};
    static const micro avx2 = {"avx2", 6, 8, micro_avx2, row_avx2};
    if ((!name || strcmp(name, avx512.name) == 0) && __builtin_cpu_supports("avx512f"))
        return &avx512;
    if ((!name || strcmp(name, avx2.name) == 0) && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return &avx2;
#endif
    return !name || strcmp(name, plain.name) == 0 ? &plain : NULL;
}

const char *matmul_kernel(void)
{
    return asked ? asked->name : choose(NULL)->name;
}

int matmul_use(const char *name)
{
    asked = name ? choose(name) : NULL;
    return !name || asked;
}

/* One panel: `width` (at most `full`, the rest zero) lines of x, k-major. `line` and `step` are
 * the strides between lines and along k. */
static void pack(double *to, int width, int full, int64_t k, const double *x, ptrdiff_t line,
                 ptrdiff_t step)
{
    enum { RUN = 8 }; /* numbers of a line copied at once, so that few panel rows are touched */
    if (width < full) memset(to, 0, (size_t)(k * full) * sizeof *to);
    if (line == 1)
        for (int64_t p = 0; p < k; p++)
            for (int i = 0; i < width; i++)
                to[p * full + i] = x[p * step + i];
    else
        for (int64_t at = 0; at < k; at += RUN) {
            const int64_t end = at + RUN < k ? at + RUN : k;
            for (int i = 0; i < width; i++)
                for (int64_t p = at; p < end; p++)
                    to[p * full + i] = x[i * line + p * step];
        }
}

/* Rows [0,m) of C from packed panels of A and B. */
static void block(const micro *u, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                  double *c, ptrdiff_t ldc)
{
    for (int64_t j = 0; j < n; j += u->nr)
        for (int64_t i = 0; i < m; i += u->mr) {
            const double *ap = a + i * k, *bp = b + j * k;
            double *to = c + i * ldc + j, edge[TILE] = {0};
            if (i + u->mr <= m && j + u->nr <= n) {
                u->run(k, ap, bp, to, ldc);
                continue;
            }
            int64_t rows = m - i < u->mr ? m - i : u->mr, cols = n - j < u->nr ? n - j : u->nr;
            for (int64_t r = 0; r < rows; r++)
                memcpy(edge + r * u->nr, to + r * ldc, (size_t)cols * sizeof *edge);
            u->run(k, ap, bp, edge, u->nr);
            for (int64_t r = 0; r < rows; r++)
                memcpy(to + r * ldc, edge + r * u->nr, (size_t)cols * sizeof *edge);
        }
}

static _Thread_local _Alignas(64) double panel_a[MC * KC], panel_b[KC * NC];

static int threads_for(int64_t m, int64_t n, int64_t k)
{
#ifdef _OPENMP
    if (!omp_in_parallel() && (double)m * (double)n * (double)k > 1 << 17)
        return omp_get_max_threads();
#else
    (void)m, (void)n, (void)k;
#endif
    return 1;
}

static void one_row(const micro *u, int64_t n, int64_t k, view a, view b, double *c)
{
    const int threads = threads_for(1, n, k);
    (void)threads;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t j = 0; j < n; j += NC)
        u->row(n - j < NC ? n - j : NC, k, a, (view){b.x + j * b.col, b.row, b.col}, c + j);
}

void matmul(int64_t m, int64_t n, int64_t k, view a, view b, double *c, ptrdiff_t ldc, int add)
{
    if (!add)
        for (int64_t i = 0; i < m; i++)
            memset(c + i * ldc, 0, (size_t)n * sizeof *c);
    if (m == 0 || n == 0 || k == 0) return;
    const micro u = asked ? *asked : *choose(NULL);
    if (m == 1) {
        one_row(&u, n, k, a, b, c);
        return;
    }
    const int threads = threads_for(m, n, k);
    const int64_t share = ((m + threads - 1) / threads + u.mr - 1) / u.mr * u.mr;
    const int64_t mc = share < MC ? share : MC;
    double *const shared_b = panel_b;
    (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    for (int64_t j = 0; j < n; j += NC)
        for (int64_t p = 0; p < k; p += KC) {
            const int64_t nc = n - j < NC ? n - j : NC, kc = k - p < KC ? k - p : KC;
#pragma omp for schedule(static)
            for (int64_t q = 0; q < nc; q += u.nr)
                pack(shared_b + q * kc, (int)(nc - q < u.nr ? nc - q : u.nr), u.nr, kc,
                     b.x + p * b.row + (j + q) * b.col, b.col, b.row);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < m; i += mc) {
                const int64_t rows = m - i < mc ? m - i : mc;
                for (int64_t r = 0; r < rows; r += u.mr)
                    pack(panel_a + r * kc, (int)(rows - r < u.mr ? rows - r : u.mr), u.mr, kc,
                         a.x + (i + r) * a.row + p * a.col, a.row, a.col);
                block(&u, rows, nc, kc, panel_a, shared_b, c + i * ldc + j, ldc);
            }
        }
}
