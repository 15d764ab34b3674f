/* SPDX-License-Identifier: MIT
 *
 * matmul — see matmul.cuh. A row-major product y = x w is the column-major y^T = w^T x^T, and a
 * row-major matrix is already stored as its column-major transpose: the operands change places.
 */
#include <cublas_v2.h> /* first: its parameters would shadow names of spec.h */

#include "matmul.cuh"

static const char *cause(cublasStatus_t s)
{
    return cublasGetStatusString(s);
}

static cudaDataType data_type(dtype t)
{
    return t == F32 ? CUDA_R_32F : t == BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* One handle per thread and device, kept for the life of the thread: creating one allocates. */
static status handle_of(const char *what, cublasHandle_t *handle)
{
    enum { DEVICES = 16 };
    static thread_local cublasHandle_t handles[DEVICES];
    int device;
    CUDA_TRY(cudaGetDevice(&device), what);
    if (device >= DEVICES)
        return fail(ERR_DEVICE, "%s: device %d: expected one below %d", what, device, (int)DEVICES);
    if (!handles[device]) {
        cublasStatus_t s = cublasCreate(&handles[device]);
        if (s != CUBLAS_STATUS_SUCCESS)
            return fail(ERR_DEVICE, "%s: cuBLAS handle: %s", what, cause(s));
    }
    *handle = handles[device];
    return OK;
}

static cublasMath_t math_of(dtype type, int tf32)
{
    if (type != F32)
        return (cublasMath_t)(CUBLAS_DEFAULT_MATH |
                              CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
    return tf32 ? CUBLAS_DEFAULT_MATH : CUBLAS_PEDANTIC_MATH;
}

static status begin(matmul *m, const char *what, dtype type, int tf32, void *work, void *stream)
{
    if (type != F32 && type != BF16 && type != F16)
        return fail(ERR_ARG, "%s: type %d: expected F32, BF16 or F16", what, (int)type);
    m->what = what;
    m->tf32 = tf32;
    cublasHandle_t handle = NULL;
    TRY(handle_of(what, &handle));
    m->handle = handle;
    cublasStatus_t s = cublasSetStream(handle, (cudaStream_t)stream);
    if (s == CUBLAS_STATUS_SUCCESS) s = cublasSetWorkspace(handle, work, MATMUL_WORK);
    if (s == CUBLAS_STATUS_SUCCESS) s = cublasSetMathMode(handle, math_of(type, tf32));
    return s == CUBLAS_STATUS_SUCCESS ? OK : fail(ERR_DEVICE, "%s: cuBLAS: %s", what, cause(s));
}

status matmul_begin(matmul *m, const char *what, dtype type, void *work, void *stream)
{
    return begin(m, what, type, 0, work, stream);
}

status matmul_begin_tf32(matmul *m, const char *what, dtype type, void *work, void *stream)
{
    return begin(m, what, type, 1, work, stream);
}

status multiply(const matmul *m, int64_t rows, int64_t cols, int64_t inner, double scale, matrix x,
                matrix w, matrix y, int add, int64_t batch)
{
    const float alpha = (float)scale, beta = add ? 1 : 0;
    const cublasComputeType_t compute = x.type != F32 ? CUBLAS_COMPUTE_32F
                                        : m->tf32     ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                      : CUBLAS_COMPUTE_32F_PEDANTIC;
    if (rows == 0 || cols == 0 || batch == 0) return OK;
    cublasStatus_t s = cublasGemmStridedBatchedEx_64(
        (cublasHandle_t)m->handle, w.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        x.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, cols, rows, inner, &alpha, w.p, data_type(w.type),
        w.ld, w.step, x.p, data_type(x.type), x.ld, x.step, &beta, (void *)y.p, data_type(y.type),
        y.ld, y.step, batch, compute, CUBLAS_GEMM_DEFAULT);
    return s == CUBLAS_STATUS_SUCCESS ? OK : fail(ERR_DEVICE, "%s: cuBLAS: %s", m->what, cause(s));
}
