/* SPDX-License-Identifier: MIT
 *
 * matmul.h — the project's matrix product. Each element of the result is one chain
 *
 *     c <- fma(a_ik, b_kj, c),   k = 0, 1, 2, ...
 *
 * so that its bits depend on nothing but the operands: not on blocking, threads, vector width,
 * compiler or machine.
 */
#ifndef MOSAIC_MATMUL_H
#define MOSAIC_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element (i,j) of a matrix is x[i*row + j*col]; swapping row and col transposes it. */
typedef struct view {
    const double *x;
    ptrdiff_t row, col;
} view;

/* C (m,n), rows ldc apart, = A (m,k) B (k,n), or += if add. C overlaps neither operand. */
void matmul(int64_t m, int64_t n, int64_t k, view a, view b, double *c, ptrdiff_t ldc, int add);

/* The micro-kernel in use: "avx512f", "avx2" or "c"; the widest that this machine has, unless a
 * test asks for another. */
const char *matmul_kernel(void);
/* Use the kernel of that name from now on, NULL for the widest; 0 if this machine has none such.
 * Not while a product runs. */
int matmul_use(const char *name);

#ifdef __cplusplus
}
#endif
#endif
