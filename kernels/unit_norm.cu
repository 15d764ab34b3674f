/* SPDX-License-Identifier: MIT
 *
 * unit_norm — rows of length one.
 *
 *     y = x / max(|x|, eps)   or, with eps_add,   y = x / (|x| + eps)
 *     dx = (dy - y <y,dy>) / |x|,   |x| < eps: dx = dy / eps
 *     eps_add: dx = (dy - y <y,dy> (|x| + eps)/|x|) / (|x| + eps),   x = 0: dx = dy / eps
 *
 * x (R, D) -> y (R, D), norm (R) = |x|. Reads eps, eps_add. A team of at most 32 lanes per
 * row; a row of up to one pack per lane has another row in flight beside it, a longer one lies in
 * registers up to 8 packs per lane, and what lies beyond is read again from the cache.
 * Source: model 2.4.
 */
#include "stage.cuh"

enum { THREADS = 256, MOST_HELD = 8 };

/* The packs of one row that a lane keeps, and the place of the others. */
template <typename T, int HELD> struct held {
    packed<T> p[HELD];
    __device__ void read(const T *row, int64_t at, int64_t step, int64_t width, bool wide)
    {
#pragma unroll
        for (int i = 0; i < HELD; i++)
            p[i] = load_some(row + at + i * step, width - at - i * step, wide);
    }
};

/* f(pack, column) for the packs of x at a lane's columns. */
template <typename T, int HELD, typename F>
__device__ static void each(const held<T, HELD> &h, const T *row, int64_t at, int64_t step,
                            int64_t width, bool wide, F f)
{
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (at + i * step < width) f(h.p[i], at + i * step);
    for (int64_t c = at + HELD * step; HELD == MOST_HELD && c < width; c += step)
        f(load_some(row + c, width - c, wide), c);
}
/* f(pack of x, pack of y, column) */
template <typename T, int HELD, typename F>
__device__ static void each(const held<T, HELD> &h, const held<T, HELD> &g, const T *x, const T *y,
                            int64_t at, int64_t step, int64_t width, bool wide, F f)
{
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (at + i * step < width) f(h.p[i], g.p[i], at + i * step);
    for (int64_t c = at + HELD * step; HELD == MOST_HELD && c < width; c += step)
        f(load_some(x + c, width - c, wide), load_some(y + c, width - c, wide), c);
}

template <typename T, int HELD, int ROWS>
static __global__ void __launch_bounds__(THREADS)
    unit_norm_kernel(const T *x, T *y, float *norm, int64_t R, int64_t D, int lanes, norm_rule rule,
                     bool wide)
{
    enum { VEC = packed<T>::width };
    const int teams = THREADS / lanes, lane = threadIdx.x % lanes;
    const int64_t row0 = (int64_t)blockIdx.x * teams * ROWS + threadIdx.x / lanes;
    const int64_t at = (int64_t)lane * VEC, step = (int64_t)lanes * VEC;
    held<T, HELD> h[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams;
        h[i].read(x + row * D, at, step, row < R ? D : 0, wide);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, width = row < R ? D : 0;
        const float n = team_length(lanes, [&](float scale, float *top) {
            float sum = 0;
            each(h[i], x + row * D, at, step, width, wide, [&](const packed<T> &p, int64_t) {
#pragma unroll
                for (int k = 0; k < VEC; k++) {
                    const float u = p[k] * scale;
                    *top = fmaxf(*top, fabsf(u));
                    sum += u * u;
                }
            });
            return sum;
        });
        const float f = 1 / divisor(rule, n);
        each(h[i], x + row * D, at, step, width, wide, [&](const packed<T> &p, int64_t c) {
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = p[k] * f;
            store_some(y + row * D + c, packed_of<T>(o), D - c, wide);
        });
        if (norm && lane == 0 && row < R) norm[row] = n;
    }
}

template <typename T, int HELD, int ROWS>
static __global__ void __launch_bounds__(THREADS)
    unit_norm_grad_kernel(const T *y, const float *norm, const T *dy, T *dx, int64_t R, int64_t D,
                          int lanes, norm_rule rule, bool wide)
{
    enum { VEC = packed<T>::width };
    const int teams = THREADS / lanes, lane = threadIdx.x % lanes;
    const int64_t row0 = (int64_t)blockIdx.x * teams * ROWS + threadIdx.x / lanes;
    const int64_t at = (int64_t)lane * VEC, step = (int64_t)lanes * VEC;
    held<T, HELD> hy[ROWS], hd[ROWS];
    float n[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, width = row < R ? D : 0;
        hy[i].read(y + row * D, at, step, width, wide);
        hd[i].read(dy + row * D, at, step, width, wide);
        n[i] = row < R ? norm[row] : 1;
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * teams, base = row * D, width = row < R ? D : 0;
        float dot = 0;
        each(hy[i], hd[i], y + base, dy + base, at, step, width, wide,
             [&](const packed<T> &u, const packed<T> &d, int64_t) {
#pragma unroll
                 for (int k = 0; k < VEC; k++)
                     dot += u[k] * d[k];
             });
        dot = team_sum(dot, lanes);
        const float by = divisor(rule, n[i]), f = 1 / by;
        const float along = is_flat(rule, n[i]) ? 0 : dot * (by / n[i]);
        each(hy[i], hd[i], y + base, dy + base, at, step, width, wide,
             [&](const packed<T> &u, const packed<T> &d, int64_t c) {
                 float o[VEC];
#pragma unroll
                 for (int k = 0; k < VEC; k++)
                     o[k] = (d[k] - u[k] * along) * f;
                 store_some(dx + base + c, packed_of<T>(o), D - c, wide);
             });
    }
}

static unsigned blocks_of(int64_t R, int lanes, int rows)
{
    return (unsigned)ceil_div(R, (int64_t)THREADS / lanes * rows);
}

/* Whether a row is one pack per lane: then two rows are in flight. */
template <typename T> static bool is_short(int64_t D)
{
    return D <= WARP * packed<T>::width;
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *x = IN(T, 0);
    T *y = OUT(T, 0);
    const int lanes = team_lanes(ceil_div(D, packed<T>::width)), rows = is_short<T>(D) ? 2 : 1;
    const bool wide = D % packed<T>::width == 0 && aligned16(x) && aligned16(y);
    const auto kernel = rows == 2 ? unit_norm_kernel<T, 1, 2> : unit_norm_kernel<T, MOST_HELD, 1>;
    if (R == 0) return OK;
    kernel<<<blocks_of(R, lanes, rows), THREADS, 0, stream_of(a)>>>(
        x, y, OUT(float, 1), R, D, lanes, norm_rule_of(&a->p), wide);
    return launched("unit_norm");
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *y = IN(T, 0), *dy = IN(T, 2);
    T *dx = OUT(T, 0);
    const int lanes = team_lanes(ceil_div(D, packed<T>::width)), rows = is_short<T>(D) ? 2 : 1;
    const bool wide = D % packed<T>::width == 0 && aligned16(y) && aligned16(dy) && aligned16(dx);
    const auto kernel =
        rows == 2 ? unit_norm_grad_kernel<T, 1, 2> : unit_norm_grad_kernel<T, MOST_HELD, 1>;
    if (R == 0) return OK;
    kernel<<<blocks_of(R, lanes, rows), THREADS, 0, stream_of(a)>>>(
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
