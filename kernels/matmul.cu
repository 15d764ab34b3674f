/* SPDX-License-Identifier: MIT
 *
 * matmul — see matmul.cuh. A row-major product y = x w is the column-major y^T = w^T x^T, and a
 * row-major matrix is already stored as its column-major transpose: the operands change places.
 *
 * Which of its kernels computes a product best, cublasLt finds out on the host in 100 us, and loads
 * it in 2 ms if it is a new one; and a batch of variable lengths makes a new size of every part. So
 * algorithms are kept, by what they depend on with every size rounded up by at most a SIXTEENTH; an
 * exact size that the kept one does not take is asked about by itself. The answer for a rounded
 * size is a function of it, so that the bits of a product do not depend on the products before it.
 */
#include <cublasLt.h> /* first: its parameters would shadow names of spec.h */

#include "matmul.cuh"

#include <stdlib.h>
#include <string.h>

enum { DEVICES = 16, KEPT = 1024, SIXTEENTH = 16, ALIGNED = 16 };
enum side { LEFT, RIGHT, RESULT, SIDES };

/* A matrix as cublasLt sees it: column-major. */
typedef struct stored {
    int64_t type, transposed, rows, cols, ld, step;
    int64_t aligned; /* of its address, in bytes, at most ALIGNED */
} stored;

/* What an algorithm depends on. All of one size: compared and hashed as it lies in memory. */
typedef struct problem {
    int64_t compute, batch;
    stored side[SIDES];
} problem;

typedef struct known {
    problem of, taken; /* taken: the last exact problem that it takes */
    int valid;
    cublasLtMatmulAlgo_t algorithm;
} known;

struct products {
    cublasLtHandle_t handle;
    known kept[KEPT]; /* by hash: the last of those that share a place */
};

typedef struct description {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t side[SIDES];
} description;

#define LT_TRY(call)                                                                               \
    do {                                                                                           \
        const cublasStatus_t s_ = (call);                                                          \
        if (s_ != CUBLAS_STATUS_SUCCESS) return s_;                                                \
    } while (0)

static status failed(const char *what, cublasStatus_t s)
{
    return fail(ERR_DEVICE, "%s: cuBLAS: %s", what, cublasLtGetStatusString(s));
}

/* --- problems -------------------------------------------------------------------------------- */

static cudaDataType data_type(int64_t t)
{
    return t == F32 ? CUDA_R_32F : t == BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* The largest power of two that divides n, at most `most`. */
static int64_t power_in(int64_t n, int64_t most)
{
    const int64_t p = n & -n;
    return p == 0 || p > most ? most : p;
}

/* rows, cols: of the operand, not of what is stored. */
static stored store_of(matrix x, int64_t rows, int64_t cols, int64_t batch)
{
    const int64_t stored_rows = x.transposed ? cols : rows;
    const int64_t stored_cols = x.transposed ? rows : cols;
    const int64_t aligned = power_in((int64_t)(uintptr_t)x.p, ALIGNED);
    return stored{x.type, x.transposed,           stored_cols, stored_rows,
                  x.ld,   batch > 1 ? x.step : 0, aligned};
}

static cublasComputeType_t compute_of(const matmul *m, dtype type)
{
    return type != F32 ? CUBLAS_COMPUTE_32F
           : m->tf32   ? CUBLAS_COMPUTE_32F_FAST_TF32
                       : CUBLAS_COMPUTE_32F_PEDANTIC;
}

static int64_t rounded(int64_t n)
{
    int64_t grain = 1;
    while (2 * grain * SIXTEENTH <= n)
        grain *= 2;
    return ceil_div(n, grain) * grain;
}

/* The least number from `least` on that is aligned as `given` is, and no better. */
static int64_t aligned_as(int64_t given, int64_t least, int64_t type)
{
    const int64_t most = ALIGNED / (int64_t)dtype_size((dtype)type), unit = power_in(given, most);
    const int64_t n = ceil_div(least, unit) * unit;
    return unit < most && n % (2 * unit) == 0 ? n + unit : n;
}

static problem rounded_problem(const problem *p)
{
    problem q = *p;
    q.batch = rounded(p->batch);
    for (stored &s : q.side) {
        s.rows = rounded(s.rows);
        s.cols = rounded(s.cols);
        if (s.ld < s.rows) s.ld = aligned_as(s.ld, s.rows, s.type);
        if (s.step >= s.ld) s.step = aligned_as(s.step, s.ld * s.cols, s.type);
    }
    return q;
}

static cublasStatus_t describe_side(cublasLtMatrixLayoutOpaque_t *layout, const stored *s,
                                    int64_t batch)
{
    const int32_t count = (int32_t)batch;
    LT_TRY(cublasLtMatrixLayoutInit(layout, data_type(s->type), (uint64_t)s->rows,
                                    (uint64_t)s->cols, s->ld));
    if (batch == 1) return CUBLAS_STATUS_SUCCESS;
    LT_TRY(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                            sizeof count));
    return cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                            &s->step, sizeof s->step);
}

static cublasStatus_t describe(const problem *p, description *d)
{
    const cublasOperation_t left = p->side[LEFT].transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = p->side[RIGHT].transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(cublasLtMatmulDescInit(&d->product, (cublasComputeType_t)p->compute, CUDA_R_32F));
    LT_TRY(cublasLtMatmulDescSetAttribute(&d->product, CUBLASLT_MATMUL_DESC_TRANSA, &left,
                                          sizeof left));
    LT_TRY(cublasLtMatmulDescSetAttribute(&d->product, CUBLASLT_MATMUL_DESC_TRANSB, &right,
                                          sizeof right));
    for (int i = 0; i < SIDES; i++)
        LT_TRY(describe_side(&d->side[i], &p->side[i], p->batch));
    return CUBLAS_STATUS_SUCCESS;
}

/* --- algorithms ------------------------------------------------------------------------------ */

/* Partial sums meet in float or not at all, and in a fixed order. */
static cublasStatus_t prefer(const problem *p, cublasLtMatmulPreferenceOpaque_t *likes)
{
    static const cublasLtMatmulPreferenceAttributes_t aligned[SIDES] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES};
    const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint64_t work = MATMUL_WORK;
    LT_TRY(cublasLtMatmulPreferenceInit(likes));
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(likes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &work, sizeof work));
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(likes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &sums, sizeof sums));
    for (int i = 0; i < SIDES; i++) {
        const uint32_t bytes = (uint32_t)p->side[i].aligned;
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(likes, aligned[i], &bytes, sizeof bytes));
        if (i == RESULT)
            LT_TRY(cublasLtMatmulPreferenceSetAttribute(
                likes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &bytes, sizeof bytes));
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t ask(cublasLtHandle_t handle, const problem *p, cublasLtMatmulAlgo_t *best)
{
    cublasLtMatmulPreferenceOpaque_t likes;
    cublasLtMatmulHeuristicResult_t found = {};
    description d;
    int count = 0;
    LT_TRY(prefer(p, &likes));
    LT_TRY(describe(p, &d));
    LT_TRY(cublasLtMatmulAlgoGetHeuristic(handle, &d.product, &d.side[LEFT], &d.side[RIGHT],
                                          &d.side[RESULT], &d.side[RESULT], &likes, 1, &found,
                                          &count));
    if (count == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    *best = found.algo;
    return found.state;
}

static size_t place_of(const problem *p)
{
    const uint64_t *word = (const uint64_t *)p;
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof *p / sizeof *word; i++)
        h = (h ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 32;
    return (size_t)(h % KEPT);
}

/* The algorithm of the rounded problem; not valid: it has none. */
static known *kept_algorithm(struct products *all, const problem *p)
{
    const problem q = rounded_problem(p);
    known *k = &all->kept[place_of(&q)];
    if (memcmp(&k->of, &q, sizeof q) != 0) {
        *k = known{q, {}, 0, {}};
        k->valid = ask(all->handle, &q, &k->algorithm) == CUBLAS_STATUS_SUCCESS;
    }
    return k;
}

static int takes(cublasLtHandle_t handle, known *k, const problem *p, description *d)
{
    cublasLtMatmulHeuristicResult_t found = {};
    if (!k->valid) return 0;
    if (memcmp(&k->taken, p, sizeof *p) == 0) return 1;
    if (cublasLtMatmulAlgoCheck(handle, &d->product, &d->side[LEFT], &d->side[RIGHT],
                                &d->side[RESULT], &d->side[RESULT], &k->algorithm,
                                &found) != CUBLAS_STATUS_SUCCESS ||
        found.workspaceSize > MATMUL_WORK)
        return 0;
    k->taken = *p;
    return 1;
}

/* --- products -------------------------------------------------------------------------------- */

/* Those of a thread and device, kept for the life of the thread: creating a handle allocates. */
static status products_of(const char *what, struct products **here)
{
    static thread_local struct products *all[DEVICES];
    int device;
    CUDA_TRY(cudaGetDevice(&device), what);
    if (device >= DEVICES)
        return fail(ERR_DEVICE, "%s: device %d: expected one below %d", what, device, (int)DEVICES);
    if (!all[device]) {
        struct products *one = (struct products *)calloc(1, sizeof *one);
        if (!one) return fail(ERR_MEMORY, "%s: out of memory", what);
        const cublasStatus_t s = cublasLtCreate(&one->handle);
        if (s != CUBLAS_STATUS_SUCCESS) {
            free(one);
            return failed(what, s);
        }
        all[device] = one;
    }
    *here = all[device];
    return OK;
}

static status begin(matmul *m, const char *what, dtype type, int tf32, void *work, void *stream)
{
    if (type != F32 && type != BF16 && type != F16)
        return fail(ERR_ARG, "%s: type %d: expected F32, BF16 or F16", what, (int)type);
    m->what = what;
    m->tf32 = tf32;
    m->work = work;
    m->stream = stream;
    return products_of(what, &m->products);
}

status matmul_begin(matmul *m, const char *what, dtype type, void *work, void *stream)
{
    return begin(m, what, type, 0, work, stream);
}

status matmul_begin_tf32(matmul *m, const char *what, dtype type, void *work, void *stream)
{
    return begin(m, what, type, 1, work, stream);
}

/* A sum of nothing. */
static status clear(const matmul *m, int64_t rows, int64_t cols, matrix y, int64_t batch)
{
    const size_t size = dtype_size(y.type);
    for (int64_t i = 0; i < batch; i++)
        CUDA_TRY(cudaMemset2DAsync((char *)y.p + (size_t)(i * y.step) * size, (size_t)y.ld * size,
                                   0, (size_t)cols * size, (size_t)rows, (cudaStream_t)m->stream),
                 m->what);
    return OK;
}

status multiply(const matmul *m, int64_t rows, int64_t cols, int64_t inner, double scale, matrix x,
                matrix w, matrix y, int add, int64_t batch)
{
    const float alpha = (float)scale, beta = add ? 1 : 0;
    const cublasLtHandle_t handle = m->products->handle;
    if (rows == 0 || cols == 0 || batch == 0) return OK;
    if (inner == 0) return add ? OK : clear(m, rows, cols, y, batch);
    const problem p = {compute_of(m, x.type),
                       batch,
                       {store_of(w, inner, cols, batch), store_of(x, rows, inner, batch),
                        store_of(y, rows, cols, batch)}};
    description d;
    cublasLtMatmulAlgo_t own;
    cublasStatus_t s = describe(&p, &d);
    if (s != CUBLAS_STATUS_SUCCESS) return failed(m->what, s);
    known *k = kept_algorithm(m->products, &p);
    const cublasLtMatmulAlgo_t *algorithm = &k->algorithm;
    if (!takes(handle, k, &p, &d)) {
        algorithm = &own;
        s = ask(handle, &p, &own);
        if (s != CUBLAS_STATUS_SUCCESS) return failed(m->what, s);
    }
    s = cublasLtMatmul(handle, &d.product, &alpha, w.p, &d.side[LEFT], x.p, &d.side[RIGHT], &beta,
                       y.p, &d.side[RESULT], (void *)y.p, &d.side[RESULT], algorithm, m->work,
                       MATMUL_WORK, (cudaStream_t)m->stream);
    return s == CUBLAS_STATUS_SUCCESS ? OK : failed(m->what, s);
}
