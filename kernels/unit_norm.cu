/* SPDX-License-Identifier: MIT
 *
 * unit_norm — rows of length one.
 *
 *     y = x / max(|x|, eps)   or, with eps_add,   y = x / (|x| + eps)
 *     dx = (dy - y <y,dy>) / |x|,   |x| < eps: dx = dy / eps
 *     eps_add: dx = (dy - y <y,dy> (|x| + eps)/|x|) / (|x| + eps),   x = 0: dx = dy / eps
 *
 * x (R, D) -> y (R, D), norm (R) = |x|; eps <= 0 stands for 1e-12. A team of at most 32 lanes per
 * row, two rows in flight; each lane keeps its first pack, which is all of the row up to 128
 * floats; what lies beyond is read twice, the second time from the cache. The sum of squares is
 * taken again, exactly scaled, where it could leave the range of float.
 * Source: model 2.4.
 */
#include "stage.cuh"

enum { THREADS = 256, ROWS = 2 };

typedef struct norm_rule {
    float eps;
    bool add;
} norm_rule;

/* |row|: `first` is this lane's pack at column `at`, the others follow every `step` columns. */
template <typename T>
__device__ static float length(const packed<T> &first, const T *row, int64_t at, int64_t step,
                               int64_t D, int lanes, bool wide)
{
    enum { VEC = packed<T>::width };
    float scale = 1, sum = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        float top = 0;
        sum = 0;
        for (int64_t c = at; c < at + 1 || c < D; c += step) {
            packed<T> r = c == at ? first : load_some(row + c, D - c, wide);
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                float s = r[k] * scale;
                top = fmaxf(top, fabsf(s));
                sum += s * s;
            }
        }
        sum = team_sum(sum, lanes);
        top = team_max(top, lanes);
        if (attempt == 0) scale = top > 0x1p40f ? 0x1p-100f : top < 0x1p-40f ? 0x1p100f : 1;
        if (!__any_sync(ALL_LANES, scale != 1)) break;
    }
    return sqrtf(sum) / scale;
}

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
        const float n = length(first[i], x + row * D, at, step, width, lanes, wide);
        const float f = 1 / (rule.add ? n + rule.eps : fmaxf(n, rule.eps));
        for (int64_t c = at; c < width; c += step) {
            packed<T> r = c == at ? first[i] : load_some(x + row * D + c, D - c, wide);
#pragma unroll
            for (int k = 0; k < VEC; k++)
                r.set(k, r[k] * f);
            store_some(y + row * D + c, r, D - c, wide);
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
        const float div = rule.add ? n + rule.eps : fmaxf(n, rule.eps);
        const bool flat = rule.add ? n == 0 : n < rule.eps;
        const float along = flat ? 0 : rule.add ? dot * (div / n) : dot, f = 1 / div;
        for (int64_t c = at; c < width; c += step) {
            const packed<T> u = c == at ? py[i] : load_some(y + base + c, D - c, wide);
            packed<T> d = c == at ? pd[i] : load_some(dy + base + c, D - c, wide);
#pragma unroll
            for (int k = 0; k < VEC; k++)
                d.set(k, (d[k] - u[k] * along) * f);
            store_some(dx + base + c, d, D - c, wide);
        }
    }
}

static norm_rule rule_of(const params *p)
{
    norm_rule r = {p->eps > 0 ? (float)p->eps : 1e-12f, p->eps_add != 0};
    return r;
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
        x, y, OUT(float, 1), R, D, lanes, rule_of(&a->p), wide);
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
        y, IN(float, 1), dy, dx, R, D, lanes, rule_of(&a->p), wide);
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
