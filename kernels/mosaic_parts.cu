/* SPDX-License-Identifier: MIT
 *
 * mosaic_parts — see mosaic_parts.cuh. All are bound by memory or by their launch. Sums over rows
 * have two stages in a fixed order: partial sums here, sum_heads after.
 */
#include "mosaic_parts.cuh"

#include <float.h>
#include <math.h>

enum { THREADS = 256, SUM_THREADS = 1024, CHUNK = 64, CHUNKS = 1024 };

static const char what[] = "mosaic";

static unsigned blocks_of(int64_t n)
{
    return (unsigned)ceil_div(n, THREADS);
}

/* The i-th thread of a grid of THREADS each. */
__device__ static int64_t self()
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

/* --- element by element ---------------------------------------------------------------------- */

struct plus {
    __device__ float operator()(float x, float y) const
    {
        return x + y;
    }
};

/* gelu(x) = x/2 (1 + tanh(u)),   u = sqrt(2/pi) (x + 0.044715 x^3) */
static const float STEEP = 0.797884561f, BEND = 0.044715f;
struct gelu {
    __device__ float operator()(float x, float) const
    {
        return 0.5f * x * (1 + tanhf(STEEP * (x + BEND * x * x * x)));
    }
};
struct gelu_slope {
    __device__ float operator()(float dy, float x) const
    {
        const float t = tanhf(STEEP * (x + BEND * x * x * x));
        return dy * (0.5f * (1 + t) + 0.5f * x * (1 - t * t) * STEEP * (1 + 3 * BEND * x * x));
    }
};

template <typename T, class F>
static __global__ void __launch_bounds__(THREADS)
    map_kernel(T *z, const T *x, const T *y, int64_t n, int64_t period, F f, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t at = self() * VEC, left = n - at, first = period < n ? at % period : at;
    if (left <= 0) return;
    const packed<T> px = load_some(x + at, left, wide);
    packed<T> py = wide ? load_some(y + first, left, true) : px;
    float o[VEC];
#pragma unroll
    for (int k = 0; k < VEC; k++)
        o[k] = f(px[k], wide ? py[k] : k < left ? widen(y[(at + k) % period]) : 0);
    store_some(z + at, packed_of<T>(o), left, wide);
}

template <typename T, class F>
static status map(cudaStream_t on, void *z, const void *x, const void *y, int64_t n, int64_t period,
                  F f)
{
    enum { VEC = packed<T>::width };
    const bool wide = aligned16(z) && aligned16(x) && aligned16(y) && period % VEC == 0;
    if (!on || n == 0) return OK;
    map_kernel<T, F><<<blocks_of(ceil_div(n, VEC)), THREADS, 0, on>>>(
        (T *)z, (const T *)x, (const T *)y, n, period, f, wide);
    return launched(what);
}

status part_add(cudaStream_t on, dtype type, void *z, const void *x, const void *y, int64_t n,
                int64_t period)
{
    return BY_TYPE(type, what, map, on, z, x, y, n, period, plus());
}

status part_gelu(cudaStream_t on, dtype type, void *y, const void *x, int64_t n)
{
    return BY_TYPE(type, what, map, on, y, x, x, n, n, gelu());
}

status part_gelu_grad(cudaStream_t on, dtype type, void *dx, const void *dy, const void *x,
                      int64_t n)
{
    return BY_TYPE(type, what, map, on, dx, dy, x, n, n, gelu_slope());
}

status part_accumulate(cudaStream_t on, float *y, const float *x, int64_t n)
{
    return map<float>(on, y, y, x, n, n, plus());
}

static __global__ void __launch_bounds__(THREADS) fill_kernel(float *y, float value, int64_t n)
{
    if (self() < n) y[self()] = value;
}

status part_fill(cudaStream_t on, float *y, float value, int64_t n)
{
    if (on && n > 0) fill_kernel<<<blocks_of(n), THREADS, 0, on>>>(y, value, n);
    return launched(what);
}

/* --- by head, by column ---------------------------------------------------------------------- */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    scale_heads_kernel(T *y, const T *x, const float *factor, int64_t n, unsigned row, unsigned D,
                       bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t at = self() * VEC, left = n - at;
    if (left <= 0) return;
    const unsigned c = (unsigned)(at % row);
    const packed<T> p = load_some(x + at, left, wide);
    float o[VEC];
    if (wide) {
        const float f = factor[c / D];
#pragma unroll
        for (int k = 0; k < VEC; k++)
            o[k] = f * p[k];
    } else {
#pragma unroll
        for (int k = 0; k < VEC; k++)
            o[k] = factor[(c + k) % row / D] * p[k];
    }
    store_some(y + at, packed_of<T>(o), left, wide);
}

template <typename T>
static status scale_heads(cudaStream_t on, void *y, const void *x, const float *factor, int64_t R,
                          int64_t H, int64_t D)
{
    enum { VEC = packed<T>::width };
    const int64_t n = R * H * D;
    if (!on || n == 0) return OK;
    scale_heads_kernel<T><<<blocks_of(ceil_div(n, VEC)), THREADS, 0, on>>>(
        (T *)y, (const T *)x, factor, n, (unsigned)(H * D), (unsigned)D,
        aligned16(x) && aligned16(y) && D % VEC == 0);
    return launched(what);
}

status part_scale_heads(cudaStream_t on, dtype type, void *y, const void *x, const float *factor,
                        int64_t R, int64_t H, int64_t D)
{
    return BY_TYPE(type, what, scale_heads, on, y, x, factor, R, H, D);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    bias_kernel(T *y, const float *bias, int64_t n, unsigned N, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t at = self() * VEC, left = n - at;
    if (left <= 0) return;
    const unsigned c = (unsigned)(at % N);
    const packed<T> p = load_some(y + at, left, wide);
    float o[VEC];
#pragma unroll
    for (int k = 0; k < VEC; k++)
        o[k] = p[k] + bias[(c + k) % N];
    store_some(y + at, packed_of<T>(o), left, wide);
}

template <typename T>
static status bias(cudaStream_t on, void *y, const float *b, int64_t R, int64_t N)
{
    enum { VEC = packed<T>::width };
    if (!on || R * N == 0) return OK;
    bias_kernel<T><<<blocks_of(ceil_div(R * N, VEC)), THREADS, 0, on>>>((T *)y, b, R * N,
                                                                        (unsigned)N, aligned16(y));
    return launched(what);
}

status part_bias(cudaStream_t on, dtype type, void *y, const float *b, int64_t R, int64_t N)
{
    return BY_TYPE(type, what, bias, on, y, b, R, N);
}

static int64_t chunk_rows(int64_t R)
{
    const int64_t rows = ceil_div(R, CHUNKS);
    return rows > CHUNK ? rows : (int64_t)CHUNK;
}

int64_t dot_chunks(int64_t R)
{
    return ceil_div(R, chunk_rows(R));
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    dots_kernel(float *part, const T *x, const T *y, int64_t R, int64_t C, int64_t rows, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t c = self() * VEC, first = blockIdx.y * rows;
    const int64_t last = first + rows < R ? first + rows : R;
    if (c >= C) return;
    float s[VEC] = {0};
#pragma unroll 4
    for (int64_t r = first; r < last; r++) {
        const packed<T> p = load_some(x + r * C + c, C - c, wide);
        const packed<T> q = y ? load_some(y + r * C + c, C - c, wide) : p;
#pragma unroll
        for (int k = 0; k < VEC; k++)
            s[k] += y ? p[k] * q[k] : p[k];
    }
    for (int k = 0; k < VEC && c + k < C; k++)
        part[blockIdx.y * C + c + k] = s[k];
}

template <typename T>
static status dots(cudaStream_t on, float *part, const void *x, const void *y, int64_t R, int64_t C)
{
    enum { VEC = packed<T>::width };
    if (!on || R * C == 0) return OK;
    const dim3 blocks(blocks_of(ceil_div(C, VEC)), (unsigned)dot_chunks(R));
    dots_kernel<T><<<blocks, THREADS, 0, on>>>(part, (const T *)x, (const T *)y, R, C,
                                               chunk_rows(R),
                                               C % VEC == 0 && aligned16(x) && aligned16(y));
    return launched(what);
}

status part_dots(cudaStream_t on, dtype type, float *part, const void *x, const void *y, int64_t R,
                 int64_t C)
{
    return BY_TYPE(type, what, dots, on, part, x, y, R, C);
}

/* --- convolutions ---------------------------------------------------------------------------- */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    unfold_kernel(T *to, const T *x, int64_t n, int64_t T_, int64_t d, int64_t K, int64_t shift)
{
    const int64_t e = self(), i = e / K % d, row = e / K / d, t = row % T_;
    const int64_t at = t - (K - 1 - shift) + e % K;
    if (e < n) to[e] = at >= 0 && at < T_ ? x[(row - t + at) * d + i] : narrow<T>(0);
}

template <typename T>
static status unfold(cudaStream_t on, void *to, const void *x, int64_t R, int64_t T_, int64_t d,
                     int64_t K, int64_t shift)
{
    const int64_t n = R * d * K;
    if (on && n > 0)
        unfold_kernel<T>
            <<<blocks_of(n), THREADS, 0, on>>>((T *)to, (const T *)x, n, T_, d, K, shift);
    return launched(what);
}

status part_unfold(cudaStream_t on, dtype type, void *to, const void *x, int64_t R, int64_t T,
                   int64_t d, int64_t K, int64_t shift)
{
    return BY_TYPE(type, what, unfold, on, to, x, R, T, d, K, shift);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    fold_kernel(T *x, const T *from, int64_t n, int64_t T_, int64_t d, int64_t K, int64_t shift,
                bool add)
{
    const int64_t e = self(), i = e % d, row = e / d, t = row % T_;
    if (e >= n) return;
    float s = add ? widen(x[e]) : 0;
    for (int64_t k = 0; k < K; k++) {
        const int64_t at = t + (K - 1 - shift) - k;
        if (at >= 0 && at < T_) s += widen(from[((row - t + at) * d + i) * K + k]);
    }
    x[e] = narrow<T>(s);
}

template <typename T>
static status fold(cudaStream_t on, void *x, const void *from, int64_t R, int64_t T_, int64_t d,
                   int64_t K, int64_t shift, int add)
{
    if (on && R * d > 0)
        fold_kernel<T><<<blocks_of(R * d), THREADS, 0, on>>>((T *)x, (const T *)from, R * d, T_, d,
                                                             K, shift, add != 0);
    return launched(what);
}

status part_fold(cudaStream_t on, dtype type, void *x, const void *from, int64_t R, int64_t T,
                 int64_t d, int64_t K, int64_t shift, int add)
{
    return BY_TYPE(type, what, fold, on, x, from, R, T, d, K, shift, add);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    sum_samples_kernel(float *grad, const T *x, int64_t B, int64_t n, int64_t whole)
{
    const int64_t i = self();
    double s = 0;
    if (i >= whole) return;
    for (int64_t b = 0; b < B && i < n; b++)
        s += widen(x[b * n + i]);
    grad[i] = (float)s;
}

template <typename T>
static status sum_samples(cudaStream_t on, float *grad, const void *x, int64_t B, int64_t n,
                          int64_t whole)
{
    if (on && whole > 0)
        sum_samples_kernel<T>
            <<<blocks_of(whole), THREADS, 0, on>>>(grad, (const T *)x, B, n, whole);
    return launched(what);
}

status part_sum_samples(cudaStream_t on, dtype type, float *grad, const void *x, int64_t B,
                        int64_t n, int64_t whole)
{
    return BY_TYPE(type, what, sum_samples, on, grad, x, B, n, whole);
}

/* --- numbers per head ------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(THREADS)
    scalars_kernel(float *scalar, float *gate, const float *kappa, const float *nu,
                   const float *coef, int64_t H, bool clamp, int64_t banks)
{
    const int64_t h = self();
    if (h >= H) return;
    if (kappa) {
        const double k = 10 * (double)kappa[h], b = exp(k > 5 ? 5 : k);
        const float b2 = (float)(b * b);
        if (!(b2 >= FLT_MIN)) *gate = NAN;
        scalar[BETA * H + h] = b2 >= FLT_MIN ? (float)b : NAN;
        scalar[BETA2 * H + h] = b2;
    }
    if (nu) {
        const double e = exp(10 * (double)nu[h]);
        scalar[NU * H + h] = clamp && nu[h] > 0.5f ? 0.5f : nu[h];
        scalar[SCALE * H + h] = (float)((clamp && e > 5 ? 5 : e) / (double)banks);
    }
    scalar[COEF * H + h] = coef ? coef[h] : 1;
}

status part_scalars(cudaStream_t on, float *scalar, float *gate, const float *kappa,
                    const float *nu, const float *coef, int64_t H, int clamp, int64_t banks)
{
    if (on)
        scalars_kernel<<<blocks_of(H), THREADS, 0, on>>>(scalar, gate, kappa, nu, coef, H,
                                                         clamp != 0, banks);
    return launched(what);
}

static __global__ void __launch_bounds__(THREADS)
    kappa_grad_kernel(float *dkappa, const float *kappa, const float *slope, const float *raw,
                      double factor, bool frozen, int64_t H)
{
    const int64_t h = self();
    if (h >= H) return;
    const bool passes = 10 * (double)kappa[h] <= 5 && !frozen;
    dkappa[h] = passes ? (float)(factor * slope[h] * raw[h]) : 0;
}

status part_kappa_grad(cudaStream_t on, float *dkappa, const float *kappa, const float *slope,
                       const float *raw, double factor, int frozen, int64_t H)
{
    if (on)
        kappa_grad_kernel<<<blocks_of(H), THREADS, 0, on>>>(dkappa, kappa, slope, raw, factor,
                                                            frozen != 0, H);
    return launched(what);
}

static __global__ void __launch_bounds__(THREADS)
    clamp_grad_kernel(float *dnu, const float *nu, double limit, int64_t H)
{
    if (self() < H && 10 * (double)nu[self()] > limit) dnu[self()] = 0;
}

status part_clamp_grad(cudaStream_t on, float *dnu, const float *nu, double limit, int64_t H)
{
    if (on) clamp_grad_kernel<<<blocks_of(H), THREADS, 0, on>>>(dnu, nu, limit, H);
    return launched(what);
}

/* A thread walks one channel of one sample, from t = 0 on: a_{t+1} = rho (a_t + rho s_{t-1}). */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    wkv_kernel(float *terms, const float *theta, const T *s, const T *ds, int64_t B, int64_t T_,
               int64_t H, int64_t D)
{
    const int64_t line = self(), d = H * D, b = line / d, c = line % d;
    if (line >= B * d) return;
    const double lambda = 10 * fabs((double)theta[c / D]), rho = exp(-lambda);
    double du = 0, dw = 0, before = 0, age = 0; /* before: rho s_{t-1} */
    for (int64_t at = b * T_ * d + c; at < (b + 1) * T_ * d; at += d) {
        const double g = widen(ds[at]), x = widen(s[at]);
        du += g * (x - before);
        dw += g * age;
        age = rho * (age + before);
        before = rho * x;
    }
    terms[line] = (float)(-lambda * dw + du);
}

template <typename T>
static status wkv_terms(cudaStream_t on, float *terms, const float *theta, const void *s,
                        const void *ds, int64_t B, int64_t T_, int64_t H, int64_t D)
{
    if (on && B * H * D > 0)
        wkv_kernel<T><<<blocks_of(B * H * D), THREADS, 0, on>>>(terms, theta, (const T *)s,
                                                                (const T *)ds, B, T_, H, D);
    return launched(what);
}

status part_wkv_terms(cudaStream_t on, dtype type, float *terms, const float *theta, const void *s,
                      const void *ds, int64_t B, int64_t T, int64_t H, int64_t D)
{
    return BY_TYPE(type, what, wkv_terms, on, terms, theta, s, ds, B, T, H, D);
}

/* --- the end of a step ----------------------------------------------------------------------- */

static __global__ void __launch_bounds__(SUM_THREADS)
    sum_losses_kernel(double *sum, const float *loss, int64_t R, bool add)
{
    __shared__ double room[SUM_THREADS];
    double s = 0;
#pragma unroll 4
    for (int64_t r = threadIdx.x; r < R; r += SUM_THREADS)
        s += loss[r];
    room[threadIdx.x] = s;
    for (int o = SUM_THREADS / 2; o > 0; o /= 2) {
        __syncthreads();
        if (threadIdx.x < o) room[threadIdx.x] += room[threadIdx.x + o];
    }
    if (threadIdx.x == 0) *sum = room[0] + (add ? *sum : 0);
}

status part_sum_losses(cudaStream_t on, double *sum, const float *loss, int64_t R, int add)
{
    if (on) sum_losses_kernel<<<1, SUM_THREADS, 0, on>>>(sum, loss, R, add != 0);
    return launched(what);
}

static __global__ void close_step_kernel(outcome *told, float *gate, const double *sum,
                                         const float *norm, double divisor)
{
    const double loss = *sum / divisor + *gate;
    told->loss = loss;
    told->norm = *norm;
    *gate = isfinite(loss) ? *norm : NAN;
}

status part_close_step(cudaStream_t on, outcome *told, float *gate, const double *sum,
                       const float *norm, int64_t divisor)
{
    if (on) close_step_kernel<<<1, 1, 0, on>>>(told, gate, sum, norm, (double)divisor);
    return launched(what);
}

/* --- argmax ---------------------------------------------------------------------------------- */

/* A warp per row. */
static __global__ void __launch_bounds__(THREADS)
    argmax_kernel(int32_t *argmax, const float *z, int64_t R, int V)
{
    const int64_t row = self() / WARP;
    const int lane = threadIdx.x % WARP;
    float best = -INFINITY;
    int at = INT32_MAX;
    bool none = false;
    if (row >= R) return;
#pragma unroll 4
    for (int v = lane; v < V; v += WARP) {
        const float x = z[row * V + v];
        none = none || isnan(x);
        if (x > best || at == INT32_MAX) best = x, at = v;
    }
    for (int o = WARP / 2; o > 0; o /= 2) {
        const float x = __shfl_xor_sync(ALL_LANES, best, o);
        const int v = __shfl_xor_sync(ALL_LANES, at, o);
        if (v != INT32_MAX && (at == INT32_MAX || x > best || (x == best && v < at)))
            best = x, at = v;
    }
    none = __any_sync(ALL_LANES, none);
    if (lane == 0) argmax[row] = none ? -1 : at;
}

status part_argmax(cudaStream_t on, int32_t *argmax, const float *z, int64_t R, int64_t V)
{
    if (on && R > 0) argmax_kernel<<<blocks_of(R * WARP), THREADS, 0, on>>>(argmax, z, R, (int)V);
    return launched(what);
}
