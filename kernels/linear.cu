/* SPDX-License-Identifier: MIT
 *
 * linear — y = x W^T by cuBLAS; dx = dy W, dW = dy^T x.
 *
 * x (R, C), w (N, C) -> y (R, N), row-major, which cuBLAS sees as the transposed, column-major
 * matrices. float multiplies in float (pedantic: no TF32); bf16 and fp16 accumulate in float and
 * never reduce in 16 bits. Reproducible: the workspace is the scratch of the call, no atomics.
 */
#include "matmul.cuh"

extern "C" status linear_cublas(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C, N = a->d.N;
    matmul m;
    if (a->need) {
        *a->need = MATMUL_WORK;
        return OK;
    }
    TRY(matmul_begin(&m, "linear", a->type, a->work, a->stream));
    const matrix x = {a->in[0], a->type, C, 0, 0}, w = {a->in[1], a->type, C, 0, 1};
    const matrix y = {a->out[0], a->type, N, 0, 0};
    return multiply(&m, R, N, C, 1, x, w, y, 0, 1);
}

extern "C" status linear_grad_cublas(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C, N = a->d.N;
    matmul m;
    if (a->need) {
        *a->need = MATMUL_WORK;
        return OK;
    }
    TRY(matmul_begin(&m, "linear_grad", a->type, a->work, a->stream));
    const matrix dy = {a->in[2], a->type, N, 0, 0}, w = {a->in[1], a->type, C, 0, 0};
    const matrix dyT = {a->in[2], a->type, N, 0, 1}, x = {a->in[0], a->type, C, 0, 0};
    const matrix dx = {a->out[0], a->type, C, 0, 0}, dw = {a->out[1], a->type, C, 0, 0};
    TRY(multiply(&m, R, C, N, 1, dy, w, dx, 0, 1));
    return a->out[1] ? multiply(&m, N, C, R, 1, dyT, x, dw, 0, 1) : OK;
}
