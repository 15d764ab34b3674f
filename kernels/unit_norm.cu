/* SPDX-License-Identifier: MIT
 *
 * unit_norm — rows of length one.
 *
 *     y = x / max(|x|, eps)   or, with eps_add,   y = x / (|x| + eps)
 *     dx = (dy - y <y,dy>) / |x|,   |x| < eps: dx = dy / eps
 *     eps_add: dx = (dy - y <y,dy> (|x| + eps)/|x|) / (|x| + eps),   x = 0: dx = dy / eps
 *
 * x (R, D) -> y (R, D), norm (R) = |x|. Reads eps, eps_add. A team of at most 32 lanes per
 * row, two rows in flight; each lane keeps its first pack, which is all of the row up to 128
 * floats; what lies beyond is read twice, the second time from the cache.
 * Source: model 2.4.
 */
#include "stage.cuh"

enum { THREADS = 256, ROWS = 2 };

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    unit_norm_kernel(const T *x, T *y, float *norm, int64_t R, int64_t D, int lanes,
                     norm_rule rule, bool wide)
{
    enum { VEC = packed<T>::width };
    const int teams = THREADS / lanes, lane = threadIdx.x % lanes;
    const int64_t row0 = (int64_t)blockIdx.x * teams * ROWS + threadIdx.x / lanes;
    const int64_t at = (int64_t)lane * VEC, step = (int64_t)lanes * VEC;
    packed<T> first[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams;
        first[i] = load_some(x + row * D + at, row < R ? D - at : 0, wide);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, width = row < R ? D : 0;
        const float n = team_length(lanes, [&](float scale, float *top) {
            float sum = 0;
            for (int64_t c = at; c < width; c += step) {
                const packed<T> r =
                    c == at ? first[i] : load_some(x + row * D + c, D - c, wide);
#pragma unroll
                for (int k = 0; k < VEC; k++) {
                    const float u = r[k] * scale;
                    *top = fmaxf(*top, fabsf(u));
                    sum += u * u;
                }
            }
            return sum;
        });
        const float f = 1 / divisor(rule, n);
        for (int64_t c = at; c < width; c += step) {
            const packed<T> r = c == at ? first[i] : load_some(x + row * D + c, D - c, wide);
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = r[k] * f;
            store_some(y + row * D + c, packed_of<T>(o), D - c, wide);
        }
        if (norm && lane == 0 && row < R) norm[row] = n;
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    unit_norm_grad_kernel(const T *y, const float *norm, const T *dy, T *dx, int64_t R, int64_t D,
                          int lanes, norm_rule rule, bool wide)
{
    enum { VEC = packed<T>::width };
    const int teams = THREADS / lanes, lane = threadIdx.x % lanes;
    const int64_t row0 = (int64_t)blockIdx.x * teams * ROWS + threadIdx.x / lanes;
    const int64_t at = (int64_t)lane * VEC, step = (int64_t)lanes * VEC;
    packed<T> py[ROWS], pd[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, left = row < R ? D - at : 0;
        py[i] = load_some(y + row * D + at, left, wide);
        pd[i] = load_some(dy + row * D + at, left, wide);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, base = row * D, width = row < R ? D : 0;
        float dot = 0;
        for (int64_t c = at; c < width; c += step) {
            const packed<T> u = c == at ? py[i] : load_some(y + base + c, D - c, wide);
            const packed<T> d = c == at ? pd[i] : load_some(dy + base + c, D - c, wide);
#pragma unroll
            for (int k = 0; k < VEC; k++)
                dot += u[k] * d[k];
        }
        dot = team_sum(dot, lanes);
        const float n = row < R ? norm[row] : 1;
        const float by = divisor(rule, n), f = 1 / by;
        const float along = is_flat(rule, n) ? 0 : dot * (by / n);
        for (int64_t c = at; c < width; c += step) {
            const packed<T> u = c == at ? py[i] : load_some(y + base + c, D - c, wide);
            const packed<T> d = c == at ? pd[i] : load_some(dy + base + c, D - c, wide);
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = (d[k] - u[k] * along) * f;
            store_some(dx + base + c, packed_of<T>(o), D - c, wide);
        }
    }
}

static unsigned blocks_of(int64_t R, int lanes)
{
    return (unsigned)ceil_div(R, (int64_t)THREADS / lanes * ROWS);
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *x = IN(T, 0);
    T *y = OUT(T, 0);
    const int lanes = team_lanes(ceil_div(D, packed<T>::width));
    const bool wide = D % packed<T>::width == 0 && aligned16(x) && aligned16(y);
    if (R == 0) return OK;
    unit_norm_kernel<T><<<blocks_of(R, lanes), THREADS, 0, stream_of(a)>>>(
        x, y, OUT(float, 1), R, D, lanes, norm_rule_of(&a->p), wide);
    return launched("unit_norm");
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *y = IN(T, 0), *dy = IN(T, 2);
    T *dx = OUT(T, 0);
    const int lanes = team_lanes(ceil_div(D, packed<T>::width));
    const bool wide = D % packed<T>::width == 0 && aligned16(y) && aligned16(dy) && aligned16(dx);
    if (R == 0) return OK;
    unit_norm_grad_kernel<T><<<blocks_of(R, lanes), THREADS, 0, stream_of(a)>>>(
        y, IN(float, 1), dy, dx, R, D, lanes, norm_rule_of(&a->p), wide);
    return launched("unit_norm_grad");
}

extern "C" status unit_norm_team(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "unit_norm", run, a);
}

extern "C" status unit_norm_grad_team(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "unit_norm_grad", run_grad, a);
}
