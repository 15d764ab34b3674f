/* SPDX-License-Identifier: MIT
 *
 * device.cu — the CUDA backend: memory with conversion at the border (the host speaks double and
 * int32), poison, errors as one line each, and time: one call between two events with a cold
 * last-level cache, the flush outside the window.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.cuh"

static int cuda_devices(void)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return count;
}

/* dst[i] = word + i * stride, modulo 2^32 */
__global__ void fill_words(uint32_t *dst, size_t count, uint32_t word, uint32_t stride)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count;
         i += gridDim.x * (size_t)blockDim.x)
        dst[i] = word + (uint32_t)i * stride;
}

static status no_devices(cudaError_t e)
{
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetLastError();
    if (e == cudaSuccess || e == cudaErrorNoDevice || driver == 0)
        return fail(ERR_ARG, "this machine has no GPU: expected backend=ref");
    if (e == cudaErrorInsufficientDriver)
        return fail(ERR_DEVICE,
                    "the driver knows CUDA %d.%d, this build is of %d.%d: expected a newer driver, "
                    "or backend=ref",
                    driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return fail(ERR_DEVICE, "the GPU cannot be used (%s): expected backend=ref",
                cudaGetErrorString(e));
}

/* Has this build code for the card, and the card room to begin? */
static status cuda_ready(void)
{
    int count = 0, device;
    cudaFuncAttributes found;
    cudaDeviceProp p;
    const cudaError_t seen = cudaGetDeviceCount(&count);
    if (seen != cudaSuccess || count == 0) return no_devices(seen);
    CUDA_TRY(cudaGetDevice(&device), "ready: current device");
    CUDA_TRY(cudaGetDeviceProperties(&p, device), "ready: properties");
    const cudaError_t e = cudaFuncGetAttributes(&found, (const void *)fill_words);
    if (e == cudaSuccess) return OK;
    (void)cudaGetLastError();
    if (e == cudaErrorMemoryAllocation)
        return fail(ERR_MEMORY, "%.64s: no memory is left: expected backend=ref, or to wait",
                    p.name);
    if (p.major < 8) /* mma.cuh */
        return fail(ERR_DEVICE,
                    "%.64s has compute capability %d.%d: expected 8.0 or newer, or backend=ref",
                    p.name, p.major, p.minor);
    return fail(ERR_DEVICE,
                "this build has no code for %.64s (%s): expected one made with "
                "-DCMAKE_CUDA_ARCHITECTURES=%d%d, or backend=ref",
                p.name, cudaGetErrorString(e), p.major, p.minor);
}

static status cuda_facts(device_facts *f)
{
    cudaDeviceProp p;
    int device, driver, runtime;
    memset(f, 0, sizeof *f);
    CUDA_TRY(cudaGetDevice(&device), "facts: current device");
    CUDA_TRY(cudaGetDeviceProperties(&p, device), "facts: properties");
    CUDA_TRY(cudaDriverGetVersion(&driver), "facts: driver version");
    CUDA_TRY(cudaRuntimeGetVersion(&runtime), "facts: runtime version");
    snprintf(f->name, sizeof f->name, "%.127s", p.name);
    snprintf(f->driver, sizeof f->driver, "CUDA %d.%d", driver / 1000, driver % 1000 / 10);
    snprintf(f->runtime, sizeof f->runtime, "CUDA %d.%d", runtime / 1000, runtime % 1000 / 10);
    f->sm = p.major * 10 + p.minor;
    f->units = p.multiProcessorCount;
    f->memory = (double)p.totalGlobalMem;
    f->cache = (double)p.l2CacheSize;
    return OK;
}

static status cuda_alloc(void **p, size_t bytes)
{
    *p = NULL;
    cudaError_t e = cudaMalloc(p, bytes ? bytes : 1);
    if (e == cudaSuccess) return OK;
    (void)cudaGetLastError();
    return fail(ERR_MEMORY, "alloc: %zu bytes on the device: %s", bytes, cudaGetErrorString(e));
}

static void cuda_release(void *p)
{
    (void)cudaFree(p);
}

/* One number between host and storage. Double to 16 bits goes straight, not by way of float:
 * two roundings are not one. */
static void encode(void *dst, size_t i, double x, dtype type)
{
    switch (type) {
    case F64:
        ((double *)dst)[i] = x;
        break;
    case F32:
        ((float *)dst)[i] = (float)x;
        break;
    case BF16:
        ((bf16 *)dst)[i] = __double2bfloat16(x);
        break;
    case F16:
        ((fp16 *)dst)[i] = __double2half(x);
        break;
    case I32:
        break;
    }
}

static double decode(const void *src, size_t i, dtype type)
{
    switch (type) {
    case F64:
        return ((const double *)src)[i];
    case F32:
        return ((const float *)src)[i];
    case BF16:
        return __bfloat162float(((const bf16 *)src)[i]);
    case F16:
        return __half2float(((const fp16 *)src)[i]);
    case I32:
        break;
    }
    return 0;
}

static status cuda_put(void *dst, const void *src, size_t count, dtype type)
{
    const size_t bytes = count * dtype_size(type);
    if (type == I32 || type == F64) {
        CUDA_TRY(cudaMemcpy(dst, src, bytes, cudaMemcpyHostToDevice), "put");
        return OK;
    }
    void *staged = malloc(bytes ? bytes : 1);
    if (!staged) return fail(ERR_MEMORY, "put: %zu bytes on the host", bytes);
    for (size_t i = 0; i < count; i++)
        encode(staged, i, ((const double *)src)[i], type);
    const cudaError_t e = cudaMemcpy(dst, staged, bytes, cudaMemcpyHostToDevice);
    free(staged);
    CUDA_TRY(e, "put");
    return OK;
}

static status cuda_move(void *dst, const void *src, size_t bytes)
{
    CUDA_TRY(cudaMemcpy(dst, src, bytes, cudaMemcpyDeviceToDevice), "move");
    return OK;
}

static status cuda_get(void *dst, const void *src, size_t count, dtype type)
{
    const size_t bytes = count * dtype_size(type);
    if (type == I32 || type == F64) {
        CUDA_TRY(cudaMemcpy(dst, src, bytes, cudaMemcpyDeviceToHost), "get");
        return OK;
    }
    void *staged = malloc(bytes ? bytes : 1);
    if (!staged) return fail(ERR_MEMORY, "get: %zu bytes on the host", bytes);
    const cudaError_t e = cudaMemcpy(staged, src, bytes, cudaMemcpyDeviceToHost);
    if (e == cudaSuccess)
        for (size_t i = 0; i < count; i++)
            ((double *)dst)[i] = decode(staged, i, type);
    free(staged);
    CUDA_TRY(e, "get");
    return OK;
}

/* All bits set is a NaN in every floating type. */
static status cuda_poison(void *dst, size_t count, dtype type)
{
    if (type != I32) {
        CUDA_TRY(cudaMemset(dst, 0xff, count * dtype_size(type)), "poison");
        return OK;
    }
    if (!count) return OK;
    fill_words<<<256, 256>>>((uint32_t *)dst, count, 0x80000000u, 0);
    return launched("poison");
}

static status cuda_sync(void)
{
    CUDA_TRY(cudaDeviceSynchronize(), "device");
    return OK;
}

/* What a timed call needs: made by the first one of a process and kept to its end, as the driver
 * takes it back then. Allocations between samples would be work of the device beside the timed. */
typedef struct stopwatch {
    void *flush; /* writes the last-level cache over: more than twice its size */
    size_t bytes;
    cudaEvent_t begin, end;
} stopwatch;

static status make_stopwatch(stopwatch *w)
{
    device_facts f;
    TRY(cuda_facts(&f));
    w->bytes = (size_t)(2.5 * f.cache) + (64u << 20);
    if (!w->begin) CUDA_TRY(cudaEventCreate(&w->begin), "time: event");
    if (!w->end) CUDA_TRY(cudaEventCreate(&w->end), "time: event");
    return cuda_alloc(&w->flush, w->bytes);
}

static status cuda_time(op_fn *f, const args *a, double *seconds)
{
    static stopwatch w;
    const cudaStream_t stream = (cudaStream_t)a->stream;
    float ms;
    if (!w.flush) TRY(make_stopwatch(&w));
    CUDA_TRY(cudaMemsetAsync(w.flush, 0x5a, w.bytes, stream), "time: flush");
    CUDA_TRY(cudaEventRecord(w.begin, stream), "time: event");
    TRY(f(a));
    CUDA_TRY(cudaEventRecord(w.end, stream), "time: event");
    CUDA_TRY(cudaEventSynchronize(w.end), "time: the timed call");
    CUDA_TRY(cudaEventElapsedTime(&ms, w.begin, w.end), "time: elapsed");
    *seconds = 1e-3 * ms;
    return OK;
}

/* The copy of copy_rate as an operation, so that it is timed the way every kernel is. */
static status copy_op(const args *a)
{
    CUDA_TRY(cudaMemcpyAsync(a->out[0], a->in[0], (size_t)a->d.N, cudaMemcpyDeviceToDevice,
                             (cudaStream_t)a->stream),
             "copy");
    return OK;
}

static int ascending(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static status cuda_copy_rate(double *bytes_per_second)
{
    enum { SAMPLES = 15 };
    const size_t bytes = (size_t)512 << 20;
    double seconds[SAMPLES];
    void *from = NULL, *to = NULL;
    status s = cuda_alloc(&from, bytes);
    if (s == OK) s = cuda_alloc(&to, bytes);
    if (s == OK) { /* a copy of equal words can run faster than one of data */
        fill_words<<<1024, 256>>>((uint32_t *)from, bytes / 4, 1, 2654435761u);
        s = launched("copy_rate");
    }
    args a;
    memset(&a, 0, sizeof a);
    a.in[0] = from, a.out[0] = to, a.d.N = (int64_t)bytes;
    for (int i = 0; s == OK && i < SAMPLES; i++)
        s = cuda_time(copy_op, &a, &seconds[i]);
    cuda_release(from);
    cuda_release(to);
    if (s != OK) return s;
    qsort(seconds, SAMPLES, sizeof *seconds, ascending);
    *bytes_per_second = 2.0 * (double)bytes / seconds[SAMPLES / 2];
    return OK;
}

extern "C" const backend cuda_backend = {
    "cuda",   cuda_devices, cuda_ready,  cuda_facts, cuda_alloc, cuda_release,  cuda_put,
    cuda_get, cuda_move,    cuda_poison, cuda_sync,  cuda_time,  cuda_copy_rate};
