/* SPDX-License-Identifier: MIT
 *
 * value_mix — each position peeks at the next one, then unit norm and a learned scale.
 *
 *     u_t = a x_t + (1-a) x_{t+1},  x_T = 0;   y_t = e^{10 nu} u_t / n'_t,  n_t = |u_t|
 *     n' = max(n, eps), or n + eps if eps_add
 *     du_t = (e^{10 nu} dy_t - y_t <y_t,dy_t> e^{-10 nu} n'/n) / n'   (n < eps or n = 0: first
 * term) dx_t = a du_t + (1-a) du_{t-1},   da = sum <du_t, x_t - x_{t+1}>,   dnu = 10 sum <dy_t,
 * y_t>
 *
 * x (B,T,H,D), coef a (H), nu (H) -> y (B,T,H,D), norm n (B,T,H). Reads eps, eps_add.
 * A team of lanes walks RUN positions of one head, a batch of them in flight, and hands x_{t+1}
 * (backward: du_t) on in registers, so that each row is read from memory once; neighbouring teams
 * take neighbouring heads. Entries beyond a lane's first pack are read again from the cache.
 * da and dnu: one partial sum per team, added in order.
 * Source: Zhang et al. 2025; model 2.5.
 */
#include "stage.cuh"

enum { THREADS = 256, RUN = 16, AHEAD = 16 }; /* AHEAD: entries of a lane in flight */

typedef struct grid {
    int64_t B, T, H, D;
    int64_t runs; /* of one sequence */
    int lanes;
    norm_rule rule;
    bool wide;
} grid;

/* The run of a team: row t of it begins at base + t * step. */
typedef struct walk {
    int64_t h, t0, t1, base, step, row;
    int64_t col, cols; /* first column of this lane; D, or 0 for a team without work */
} walk;

__device__ static walk walk_of(const grid &g, int width)
{
    const int64_t team = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / g.lanes;
    const int64_t run = team / g.H % g.runs, b = team / g.H / g.runs;
    walk w;
    w.h = team % g.H;
    w.t0 = run * RUN;
    w.t1 = w.t0 + RUN < g.T ? w.t0 + RUN : g.T;
    w.step = g.H * g.D;
    w.base = b * g.T * w.step + w.h * g.D;
    w.row = b * g.T * g.H + w.h;
    w.col = (int64_t)(threadIdx.x % g.lanes) * width;
    w.cols = b < g.B ? g.D : 0;
    return w;
}

template <typename T>
__device__ static packed<T> at(const T *p, const grid &g, const walk &w, int64_t t, int64_t c)
{
    return load_some(p + w.base + t * w.step + c, t >= 0 && t < g.T ? w.cols - c : 0, g.wide);
}

/* Sum of (by u)^2 over one pack, u = a p + (1-a) q; top rises to the largest |by u|. */
template <typename T>
__device__ static float squares(const packed<T> &p, const packed<T> &q, float a, float by)
{
    float sum = 0;
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++) {
        const float u = by * (a * p[k] + (1 - a) * q[k]);
        sum += u * u;
    }
    return sum;
}

template <typename T>
__device__ static packed<T> mixed(const packed<T> &p, const packed<T> &q, float a, float f)
{
    float o[packed<T>::width];
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        o[k] = f * (a * p[k] + (1 - a) * q[k]);
    return packed_of<T>(o);
}

template <typename T, bool LONG>
static __global__ void __launch_bounds__(THREADS, 2)
    value_mix_kernel(const T *x, const float *coef, const float *nu, T *y, float *norm, grid g)
{
    enum { VEC = packed<T>::width, BATCH = AHEAD / VEC };
    const walk w = walk_of(g, VEC);
    const int64_t stride = (int64_t)g.lanes * VEC;
    const float a = coef[w.h], scale = expf(10 * nu[w.h]);
    packed<T> now = at(x, g, w, w.t0, w.col);
    for (int64_t t0 = w.t0; t0 < w.t0 + RUN; t0 += BATCH) {
        packed<T> ahead[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            ahead[i] = at(x, g, w, t0 + i + 1, w.col);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int64_t t = t0 + i, cols = t < w.t1 ? w.cols : 0;
            const float n = vector_length([&](float by) {
                float sum = squares(now, ahead[i], a, by);
                for (int64_t c = w.col + stride; LONG && c < cols; c += stride)
                    sum += squares(at(x, g, w, t, c), at(x, g, w, t + 1, c), a, by);
                return team_sum(sum, g.lanes);
            });
            const float f = scale / divisor(g.rule, n);
            T *row = y + w.base + t * w.step;
            if (w.col < cols) {
                store_some(row + w.col, mixed(now, ahead[i], a, f), g.D - w.col, g.wide);
                if (norm && w.col == 0) norm[w.row + t * g.H] = n;
            }
            for (int64_t c = w.col + stride; LONG && c < cols; c += stride)
                store_some(row + c, mixed(at(x, g, w, t, c), at(x, g, w, t + 1, c), a, f), g.D - c,
                           g.wide);
            now = ahead[i];
        }
    }
}

/* du_t = first dy_t - second y_t */
typedef struct projection {
    float first, second;
} projection;

template <typename T> __device__ static float dot(const packed<T> &p, const packed<T> &q)
{
    float s = 0;
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        s += p[k] * q[k];
    return s;
}

__device__ static float norm_at(const float *norm, const grid &g, const walk &w, int64_t t)
{
    return w.cols > 0 && t >= 0 && t < g.T ? norm[w.row + t * g.H] : 1;
}

/* The projection of row t of length n, of which this lane holds the packs y0 and dy0; `along`
 * receives <y_t, dy_t>. Rows that do not exist are 0 and project to 0. */
template <typename T, bool LONG>
__device__ static projection project(const T *y, const T *dy, float n, const grid &g, const walk &w,
                                     int64_t t, const packed<T> &y0, const packed<T> &dy0,
                                     float scale, float *along)
{
    const int64_t stride = (int64_t)g.lanes * packed<T>::width;
    float s = dot(y0, dy0);
    for (int64_t c = w.col + stride; LONG && c < w.cols; c += stride)
        s += dot(at(y, g, w, t, c), at(dy, g, w, t, c));
    s = team_sum(s, g.lanes);
    *along = s;
    return projection{scale / divisor(g.rule, n), is_flat(g.rule, n) ? 0 : s / (scale * n)};
}

/* One pack of dx_t; `before` holds du_{t-1} and receives du_t. Returns its part of da. */
template <typename T>
__device__ static float unmix(packed<T> *dx, const packed<T> &y, const packed<T> &dy,
                              const packed<T> &x, const packed<T> &next, projection p, float a,
                              float *before)
{
    float o[packed<T>::width], s = 0;
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++) {
        const float du = p.first * dy[k] - p.second * y[k];
        s += du * (x[k] - next[k]);
        o[k] = a * du + (1 - a) * before[k];
        before[k] = du;
    }
    *dx = packed_of<T>(o);
    return s;
}

template <typename T, bool LONG>
static __global__ void __launch_bounds__(THREADS, 2)
    value_mix_grad_kernel(const T *x, const float *coef, const float *nu, const T *y,
                          const float *norm, const T *dy, T *dx, float *part, grid g)
{
    enum { VEC = packed<T>::width, BATCH = AHEAD / VEC };
    const walk w = walk_of(g, VEC);
    const int64_t stride = (int64_t)g.lanes * VEC;
    const float a = coef[w.h], scale = expf(10 * nu[w.h]);
    float along_mix = 0, along_nu = 0, along, before[VEC];
    packed<T> now = at(x, g, w, w.t0, w.col), o;
    packed<T> y0 = at(y, g, w, w.t0 - 1, w.col), dy0 = at(dy, g, w, w.t0 - 1, w.col);
    projection last = project<T, LONG>(y, dy, norm_at(norm, g, w, w.t0 - 1), g, w, w.t0 - 1, y0,
                                       dy0, scale, &along);
#pragma unroll
    for (int k = 0; k < VEC; k++)
        before[k] = last.first * dy0[k] - last.second * y0[k];
    for (int64_t t0 = w.t0; t0 < w.t0 + RUN; t0 += BATCH) {
        packed<T> ahead[BATCH], yt[BATCH], dyt[BATCH];
        float n[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            ahead[i] = at(x, g, w, t0 + i + 1, w.col);
            yt[i] = at(y, g, w, t0 + i, w.col);
            dyt[i] = at(dy, g, w, t0 + i, w.col);
            n[i] = norm_at(norm, g, w, t0 + i);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int64_t t = t0 + i, cols = t < w.t1 ? w.cols : 0;
            const projection p =
                project<T, LONG>(y, dy, n[i], g, w, t, yt[i], dyt[i], scale, &along);
            T *row = dx + w.base + t * w.step;
            if (w.col < cols) {
                along_nu += along;
                along_mix += unmix(&o, yt[i], dyt[i], now, ahead[i], p, a, before);
                store_some(row + w.col, o, g.D - w.col, g.wide);
            }
            for (int64_t c = w.col + stride; LONG && c < cols; c += stride) {
                float du[VEC];
                y0 = at(y, g, w, t - 1, c), dy0 = at(dy, g, w, t - 1, c);
#pragma unroll
                for (int k = 0; k < VEC; k++)
                    du[k] = last.first * dy0[k] - last.second * y0[k];
                along_mix += unmix(&o, at(y, g, w, t, c), at(dy, g, w, t, c), at(x, g, w, t, c),
                                   at(x, g, w, t + 1, c), p, a, du);
                store_some(row + c, o, g.D - c, g.wide);
            }
            now = ahead[i];
            last = p;
        }
    }
    along_mix = team_sum(along_mix, g.lanes);
    if (w.cols > 0 && w.col == 0) {
        const int64_t team = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / g.lanes;
        part[team] = along_mix;
        part[g.B * g.runs * g.H + team] = along_nu;
    }
}

template <typename T> static grid grid_of(const args *a, bool aligned)
{
    const dims d = a->d;
    grid g = {d.B,
              d.T,
              d.H,
              d.D,
              ceil_div(d.T, RUN),
              team_lanes(ceil_div(d.D, packed<T>::width)),
              norm_rule_of(&a->p),
              aligned && d.D % packed<T>::width == 0};
    return g;
}

/* Whether a row is more than one pack per lane. */
template <typename T> static bool is_long(const grid &g)
{
    return g.D > (int64_t)g.lanes * packed<T>::width;
}

static unsigned blocks_of(const grid &g)
{
    return (unsigned)ceil_div(g.B * g.runs * g.H * g.lanes, THREADS);
}

template <typename T> static status run(const args *a)
{
    const T *x = IN(T, 0);
    T *y = OUT(T, 0);
    const grid g = grid_of<T>(a, aligned16(x) && aligned16(y));
    if (blocks_of(g) == 0) return OK;
    const auto kernel = is_long<T>(g) ? value_mix_kernel<T, true> : value_mix_kernel<T, false>;
    kernel<<<blocks_of(g), THREADS, 0, stream_of(a)>>>(x, IN(float, 1), IN(float, 2), y,
                                                       OUT(float, 1), g);
    return launched("value_mix");
}

template <typename T> static status run_grad(const args *a)
{
    const T *x = IN(T, 0), *y = IN(T, 3), *dy = IN(T, 5);
    T *dx = OUT(T, 0);
    const grid g = grid_of<T>(a, aligned16(x) && aligned16(y) && aligned16(dy) && aligned16(dx));
    float *part = (float *)a->work;
    const auto kernel =
        is_long<T>(g) ? value_mix_grad_kernel<T, true> : value_mix_grad_kernel<T, false>;
    if (blocks_of(g) > 0)
        kernel<<<blocks_of(g), THREADS, 0, stream_of(a)>>>(x, IN(float, 1), IN(float, 2), y,
                                                           IN(float, 4), dy, dx, part, g);
    const int64_t n = g.B * g.runs;
    if (a->out[1]) sum_heads(OUT(float, 1), part, n, g.H, 1, NULL, 1, stream_of(a));
    if (a->out[2]) sum_heads(OUT(float, 2), part + n * g.H, n, g.H, 1, NULL, 10, stream_of(a));
    return launched("value_mix_grad");
}

extern "C" status value_mix_run(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "value_mix", run, a);
}

extern "C" status value_mix_grad_run(const args *a)
{
    if (a->need) {
        *a->need = 2 * sizeof(float) * (size_t)(a->d.B * ceil_div(a->d.T, RUN) * a->d.H);
        return OK;
    }
    return BY_TYPE(a->type, "value_mix_grad", run_grad, a);
}
