/* SPDX-License-Identifier: MIT
 *
 * test_numbers.c — what all numbers come from: random ones, and the matrix product.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "matmul.h"
#include "rng.h"
#include "tiny.h"

/* --- matmul ------------------------------------------------------------------------------ */

enum { SIDE = 70, DEEP = 2000 };

static double ma[SIDE * DEEP], mb[SIDE * DEEP];

/* One product against its definition; bit 0 of kind: add, 1 and 2: transposed, 3: two threads. */
static void expect_product(selftest *t, int m, int n, int k, int kind)
{
    static double c[SIDE * SIDE], want[SIDE * SIDE];
    const int add = kind & 1;
    const view x = kind & 2 ? (view){ma, 1, m} : (view){ma, k, 1};
    const view y = kind & 4 ? (view){mb, 1, k} : (view){mb, n, 1};
    for (int i = 0; i < SIDE * SIDE; i++)
        c[i] = want[i] = add ? i : NAN;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double s = add ? want[i * SIDE + j] : 0;
            for (int p = 0; p < k; p++)
                s = fma(x.x[i * x.row + p * x.col], y.x[p * y.row + j * y.col], s);
            want[i * SIDE + j] = s;
        }
    use_threads(kind & 8 ? 2 : 1);
    matmul(m, n, k, x, y, c, SIDE, add);
    EXPECT(memcmp(c, want, sizeof c) == 0);
}

void selftest_matmul(selftest *t)
{
    static const int sizes[][3] = {{1, 1, 1},    {12, 16, 8},  {13, 17, 257}, {70, 66, 600},
                                   {5, 70, 256}, {70, 3, 300}, {4, 4, 0},     {1, 5, 300},
                                   {1, 69, 70},  {1, 8, 600},  {1, 2000, 70}};
    static const char *const kernels[] = {"avx512f", "avx2", "c"};
    const int threads = use_threads(1);
    fill_normal(ma, SIDE * DEEP, 1);
    fill_normal(mb, SIDE * DEEP, 2);
    EXPECT(matmul_use("c"));
    for (int q = 0; q < 3; q++) {
        if (!matmul_use(kernels[q])) continue; /* not on this processor */
        EXPECT(strcmp(matmul_kernel(), kernels[q]) == 0);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int kind = 0; kind < 16; kind++)
                expect_product(t, sizes[s][0], sizes[s][1], sizes[s][2], kind);
    }
    EXPECT(!matmul_use("none") && matmul_use(NULL));
    use_threads(threads);
}

/* --- random numbers ---------------------------------------------------------------------- */

void selftest_rng(selftest *t)
{
    static const uint64_t ten[] = {7, 7, 5, 7, 0, 4, 4, 4, 7, 7};
    static const uint32_t zipf[] = {0, 0, 0, 0, 2, 0, 0, 4, 2, 2, 0, 0};
    rng r = {0};
    EXPECT(rng_u64(&r) == UINT64_C(0xe220a8397b1dcdaf));
    EXPECT(rng_u64(&r) == UINT64_C(0x6e789e6aa1b965f4));
    EXPECT(rng_u64(&r) == UINT64_C(0x06c45d188009454f));
    r = rng_sample(1, 1, 0x200, 0);
    EXPECT(r.state == UINT64_C(0x23f1ef608313543b));
    for (int i = 0; i < 10; i++)
        EXPECT(rng_below(&r, 10) == ten[i]);
    r.state = 0;
    for (int i = 0; i < 12; i++)
        EXPECT(rng_zipf(&r, 5) == zipf[i]);

    rng one = {5};
    EXPECT(rng_below(&one, 1) == 0 && one.state != 5);

    uint8_t seen[40] = {0};
    uint32_t values[40], sum = 0;
    rng_distinct(&r, 40, 40, values, seen);
    for (int i = 0; i < 40; i++)
        sum += values[i] + seen[i];
    EXPECT(sum == 40 * 39 / 2);

    uint32_t word[4];
    philox4x32((uint32_t[]){0, 0}, (uint32_t[]){0, 0, 0, 0}, word);
    EXPECT(word[0] == 0x6627e8d5 && word[1] == 0xe169c58d && word[2] == 0xbc57ac4c &&
           word[3] == 0x9b00dbd8);
    const uint32_t all = UINT32_MAX;
    philox4x32((uint32_t[]){all, all}, (uint32_t[]){all, all, all, all}, word);
    EXPECT(word[0] == 0x408f276d && word[1] == 0x41c83b0e && word[2] == 0xa20bc7c6 &&
           word[3] == 0x6d5451fd);
    EXPECT(fnv1a(FNV_OFFSET, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));

    double mean = 0, square = 0, uniform = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double x = rng_normal(&r), u = rng_uniform(&r);
        mean += x / n;
        square += x * x / n;
        uniform += u / n;
        if (!(u >= 0 && u < 1)) EXPECT(u >= 0 && u < 1);
    }
    EXPECT_NEAR(mean, 0, 5 / sqrt(n));
    EXPECT_NEAR(square, 1, 5 * sqrt(2.0 / n));
    EXPECT_NEAR(uniform, 0.5, 5 / sqrt(12.0 * n));
}
