/* SPDX-License-Identifier: MIT
 *
 * matmul.cuh — row-major batched matrix products by cuBLAS (its cublasLt), for the stages that are
 * one.
 */
#ifndef MOSAIC_MATMUL_CUH
#define MOSAIC_MATMUL_CUH

#include "stage.cuh"

/* Bytes of workspace of a product: what cuBLAS recommends for sm_90. */
enum { MATMUL_WORK = 32 << 20 };

typedef struct matmul {
    struct products *products; /* of this thread and device */
    const char *what;
    int tf32; /* floats are rounded to tf32 */
    void *work, *stream;
} matmul;

/* Row-major with row stride `ld`, one matrix of a batch every `step` elements; with `transposed`
 * the operand is the transpose of what is stored. A result is never transposed. */
typedef struct matrix {
    const void *p;
    dtype type;
    int64_t ld, step;
    int transposed;
} matrix;

/* Make ready for products of operands of `type` on the current device, by this thread. `work`:
 * MATMUL_WORK bytes, aligned to 256. */
status matmul_begin(matmul *m, const char *what, dtype type, void *work, void *stream);
/* The same, with products of floats that may round their factors to tf32. */
status matmul_begin_tf32(matmul *m, const char *what, dtype type, void *work, void *stream);
/* y_i (rows, cols) = scale x_i (rows, inner) w_i (inner, cols), plus the old y_i if `add`,
 * i < batch; x and w have the type of matmul_begin, y the same or float. */
status multiply(const matmul *m, int64_t rows, int64_t cols, int64_t inner, double scale, matrix x,
                matrix w, matrix y, int add, int64_t batch);

#endif
