/* SPDX-License-Identifier: MIT
 *
 * row.cuh — the skeleton of the row transforms: c (R,N) -> p (R,N), stat (R,4).
 *
 * A team of threads owns a row: 4 to 32 lanes of a warp up to N = 1024, whole warps (a block) above.
 * Each thread keeps ITEMS entries in registers as float, so that a row is read once and written
 * once however many passes its solver makes (`resident`); rows too long for 1024 threads are read
 * again in every pass (`streamed`). A transform is a small struct, its rule:
 *
 *     solve(tile, team, row)  finds the row's constants; the tile holds x_j = c_j - m <= 0
 *     weight(x, j)            p_j, 0 for x = -inf
 *     norm()                  STAT_NORM
 *
 * Entries that do not exist (beyond live, and -inf) are x = -inf. Any alignment: packs of 16 bytes
 * are cut from an aligned frame that begins `shift` entries before the row; only the first and the
 * last pack of a row can be partial. Control flow around a team's reductions is the same for all
 * threads of a warp (team in a warp) or of the block: loops end by team::any.
 */
#ifndef MOSAIC_ROW_CUH
#define MOSAIC_ROW_CUH

#include <float.h>

#include "common.cuh"

enum { ITEMS = 32, MAX_THREADS = 1024, WARP_BLOCK = 128, CHAINS = 4 };

struct sum2 {
    float a, b;
};

/* Double-buffered: a warp that is one reduction ahead writes the other half. */
struct team_slots {
    sum2 half[2][WARP];
};

struct team {
    int size, rank;  /* threads of the row, this one among them */
    int width;       /* of those, in one warp                   */
    int warps;       /* > 1: the team is the block              */
    int turn;
    team_slots *slots;

    __device__ team(int size_, team_slots *slots_)
        : size(size_), rank((int)threadIdx.x % size_), width(size_ < WARP ? size_ : WARP),
          warps(size_ / width), turn(0), slots(slots_)
    {
    }

    template <class Op> __device__ sum2 fold(sum2 x, sum2 zero, Op op)
    {
        for (int o = width / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        if (warps == 1) return x;
        const int lane = rank % WARP;
        sum2 *slot = slots->half[turn ^= 1];
        if (lane == 0) slot[rank / WARP] = x;
        __syncthreads();
        x = lane < warps ? slot[lane] : zero;
#pragma unroll
        for (int o = WARP / 2; o; o >>= 1)
            x = op(x, sum2{__shfl_xor_sync(ALL_LANES, x.a, o), __shfl_xor_sync(ALL_LANES, x.b, o)});
        return x;
    }
    __device__ sum2 sum(float a, float b)
    {
        return fold(sum2{a, b}, sum2{0, 0},
                    [](sum2 x, sum2 y) { return sum2{x.a + y.a, x.b + y.b}; });
    }
    __device__ sum2 max(float a, float b)
    {
        return fold(sum2{a, b}, sum2{-INFINITY, -INFINITY}, [](sum2 x, sum2 y) {
            return sum2{max_nan(x.a, y.a), max_nan(x.b, y.b)};
        });
    }
    /* Counts stay exact to 2^31. */
    __device__ int2 count(int a, int b)
    {
        const sum2 s = fold(sum2{__int_as_float(a), __int_as_float(b)}, sum2{0, 0},
                            [](sum2 x, sum2 y) {
                                return sum2{
                                    __int_as_float(__float_as_int(x.a) + __float_as_int(y.a)),
                                    __int_as_float(__float_as_int(x.b) + __float_as_int(y.b))};
                            });
        return make_int2(__float_as_int(s.a), __float_as_int(s.b));
    }
    /* The smallest i and the sum of n. */
    __device__ int2 first_and_count(int i, int n)
    {
        const sum2 s = fold(sum2{__int_as_float(i), __int_as_float(n)},
                            sum2{__int_as_float(INT32_MAX), 0}, [](sum2 x, sum2 y) {
                                return sum2{
                                    __int_as_float(
                                        min(__float_as_int(x.a), __float_as_int(y.a))),
                                    __int_as_float(__float_as_int(x.b) + __float_as_int(y.b))};
                            });
        return make_int2(__float_as_int(s.a), __float_as_int(s.b));
    }
    /* Sum over the threads of the row in this warp: no barrier. */
    __device__ sum2 part(float a, float b) const
    {
        for (int o = width / 2; o; o >>= 1) {
            a += __shfl_xor_sync(ALL_LANES, a, o);
            b += __shfl_xor_sync(ALL_LANES, b, o);
        }
        return sum2{a, b};
    }
    /* Makes shared memory written by the team visible to it. */
    __device__ void sync() const
    {
        if (warps > 1)
            __syncthreads();
        else
            __syncwarp();
    }
    /* Whether to go round again; `more` must be the same in all threads of a team. */
    __device__ bool any(bool more) const
    {
        return warps > 1 ? more : __any_sync(ALL_LANES, more);
    }
};

/* Entries before p in its 16-byte frame. */
template <typename T> __device__ __forceinline__ int frame_shift(const T *p)
{
    return (int)((uintptr_t)p % 16 / sizeof(T));
}

/* Entries [j, j + width) of a row of n, those outside being `absent`. */
template <typename T>
__device__ __forceinline__ void load_partial(const T *row, int64_t j, int64_t n, float absent,
                                             float *x)
{
#pragma unroll
    for (int i = 0; i < pack<T>::width; i++)
        x[i] = j + i >= 0 && j + i < n ? widen(row[j + i]) : absent;
}
template <typename T>
__device__ __forceinline__ void store_any(T *row, int64_t j, int64_t n, const float *x)
{
    if (j >= 0 && j + pack<T>::width <= n && (uintptr_t)(row + j) % 16 == 0) {
        store_pack(row + j, x);
        return;
    }
#pragma unroll
    for (int i = 0; i < pack<T>::width; i++)
        if (j + i >= 0 && j + i < n) row[j + i] = narrow<T>(x[i]);
}

/* What a rule may know of its row. top: the largest x_j of this thread. idle: no keys, or NaN. */
struct row_facts {
    float beta, m, top;
    bool idle;
};

/* The row in registers. Thread `rank` owns the packs rank, rank + size, ... of the frame. */
template <typename T> struct resident {
    enum { width = pack<T>::width, packs = ITEMS / width };
    float x[ITEMS];
    int first, step; /* index of the first entry of pack 0, and from pack to pack */

    __device__ __forceinline__ void open(const T *row, int live, const team &g,
                                         float absent = -INFINITY)
    {
        uint4 raw[packs];
        bool ragged = false;
        first = g.rank * width - frame_shift(row);
        step = g.size * width;
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            if (j >= 0 && j + width <= live) raw[v] = __ldcs((const uint4 *)(row + j));
        }
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            const bool whole = j >= 0 && j + width <= live;
            ragged |= !whole && j < live && j + width > 0;
            unpack(raw[v], x + v * width, T());
#pragma unroll
            for (int i = 0; i < width; i++)
                if (!whole) x[v * width + i] = absent;
        }
        if (!ragged) return;
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            if (!(j >= 0 && j + width <= live))
                load_partial(row, j, live, absent, x + v * width);
        }
    }
    __device__ __forceinline__ void subtract(float m)
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++) x[i] -= m;
    }
    /* Makes later passes compute from x again: what a pass computed would need as many registers
     * as x itself if the compiler kept it. */
    __device__ __forceinline__ void forget()
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++) asm volatile("" : "+f"(x[i]));
    }
    /* f(x_j, j, chain): chain < CHAINS names one of several accumulators. */
    template <class F> __device__ __forceinline__ void each(F f) const
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            f(x[i], first + i / width * step + i % width, i % CHAINS);
    }
    template <class F> __device__ __forceinline__ void store(T *row, int n, F f) const
    {
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            float y[width];
#pragma unroll
            for (int i = 0; i < width; i++) y[i] = f(x[v * width + i], j + i);
            if (j < n) store_any(row, j, n, y);
        }
    }
};

/* The row in memory, read again by every pass. */
template <typename T> struct streamed {
    enum { width = pack<T>::width };
    const T *row;
    int live, first, step;
    float m;

    __device__ __forceinline__ void open(const T *row_, int live_, const team &g)
    {
        row = row_, live = live_, m = 0;
        first = g.rank * width - frame_shift(row);
        step = g.size * width;
    }
    __device__ __forceinline__ void subtract(float m_)
    {
        m = m_;
    }
    __device__ __forceinline__ void forget()
    {
    }
    __device__ __forceinline__ void at(int64_t j, float *x) const
    {
        if (j >= 0 && j + width <= live)
            load_pack(row + j, x);
        else
            load_partial(row, j, live, -INFINITY, x);
#pragma unroll
        for (int i = 0; i < width; i++) x[i] -= m;
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int64_t j = first; j < live; j += step) {
            float x[width];
            at(j, x);
#pragma unroll
            for (int i = 0; i < width; i++) f(x[i], (int)j + i, i % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
        for (int64_t j = first; j < n; j += step) {
            float x[width];
            at(j, x);
#pragma unroll
            for (int i = 0; i < width; i++) x[i] = f(x[i], (int)j + i);
            store_any(out, j, n, x);
        }
    }
};

/* A score scale as float: positive and finite, so that it times 0 is 0 and times -inf is -inf. */
__device__ __forceinline__ float clamp_scale(float k)
{
    return fminf(fmaxf(k, FLT_MIN), FLT_MAX);
}

/* 2^x to 2 units in the last place; results below 2^-126 become 0. */
__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Four chains of a sum, folded pairwise. */
__device__ __forceinline__ float folded(const float (&s)[CHAINS])
{
    return (s[0] + s[1]) + (s[2] + s[3]);
}

template <typename T> struct forward_call {
    const T *c;
    const float *beta;
    T *p;
    float *stat;
    const int32_t *live;
    int64_t rows;
    int n, size; /* entries and threads of a row */
};

/* STAT_ARG and STAT_COUNT: a pass over the threads that hold the maximum, one over all. */
template <class Tile, class Rule>
__device__ void write_stat(const Tile &t, team &g, const Rule &rule, float m, bool holds_max,
                           bool idle, bool real, float *stat)
{
    int arg = INT32_MAX, count = 0;
    if (holds_max)
        t.each([&](float x, int j, int) {
            if (x == 0.0f) arg = min(arg, j);
        });
    t.each([&](float x, int j, int) { count += rule.weight(x, j) > 0.0f; });
    const int2 s = g.first_and_count(arg, count);
    if (g.rank != 0 || !real) return;
    stat[STAT_MAX] = m < INFINITY ? (idle ? 0.0f : m) : NAN;
    stat[STAT_NORM] = m < INFINITY ? (idle ? 0.0f : rule.norm()) : NAN;
    stat[STAT_ARG] = idle ? -1.0f : (float)s.x;
    stat[STAT_COUNT] = idle ? 0.0f : (float)s.y;
}

template <typename T, class Tile, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1) row_forward(const forward_call<T> a, Rule rule)
{
    __shared__ team_slots slots;
    team g(a.size, &slots);
    const int64_t r = blockIdx.x * (int64_t)(blockDim.x / a.size) + threadIdx.x / a.size;
    const bool real = r < a.rows;
    const int live = !real ? 0 : a.live ? a.live[r] : a.n;
    Tile t;
    t.open(a.c + (real ? r * a.n : 0), live, g);
    float own = -INFINITY;
    t.each([&](float x, int, int) { own = max_nan(own, x); });
    const float m = g.max(own, 0.0f).a;
    const bool broken = !(m < INFINITY), idle = broken || m == -INFINITY;
    t.subtract(idle ? 0.0f : m);
    rule.solve(t, g, row_facts{real && a.beta ? a.beta[r] : 1.0f, m, own - m, idle});
    t.forget();
    if (a.stat)
        write_stat(t, g, rule, m, own == m, idle, real, a.stat + (real ? r * STATS : 0));
    t.forget();
    if (!real) return;
    T *p = a.p + r * a.n;
    if (idle)
        for (int j = g.rank; j < a.n; j += g.size)
            p[j] = narrow<T>(broken && j < live ? NAN : 0.0f);
    else
        t.store(p, a.n, [&](float x, int j) { return rule.weight(x, j); });
}

/* Threads of a team for rows of `span` entries; 0 if they do not fit in registers. */
static inline int team_size(int64_t span)
{
    for (int size = 4; size <= WARP; size *= 2)
        if (span <= (int64_t)size * ITEMS) return size;
    const int64_t size = ceil_div(span, (int64_t)WARP * ITEMS) * WARP;
    return size <= MAX_THREADS ? (int)size : 0;
}

/* Entries of the longest frame: N, and one pack less one more if rows begin inside packs. */
static inline int64_t frame_span(int64_t n, size_t element, const void *x)
{
    const int64_t width = 16 / (int64_t)element;
    const bool aligned = n % width == 0 && (uintptr_t)x % 16 == 0;
    return aligned ? n : n + width - 1;
}

static inline status rows_fit(const char *what, const args *a)
{
    if (a->d.R < 0 || a->d.R > INT32_MAX || a->d.N < 1 || a->d.N > 1 << 24)
        return fail(ERR_ARG, "%s: R %lld, N %lld: expected R < 2^31, 1 <= N <= 2^24 (STAT_ARG)",
                    what, (long long)a->d.R, (long long)a->d.N);
    return OK;
}

template <typename T, class Rule> status forward_rows(const args *a, const char *what, Rule rule)
{
    forward_call<T> f = {IN(T, 0),  IN(float, 1), OUT(T, 0),     OUT(float, 1),
                         a->live, a->d.R,       (int)a->d.N, 0};
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!f.rows) return OK;
    cudaStream_t stream = (cudaStream_t)a->stream;
    f.size = team_size(frame_span(f.n, sizeof(T), f.c));
    if (f.size) {
        const int threads = f.size > WARP ? f.size : WARP_BLOCK;
        const unsigned blocks = (unsigned)ceil_div(f.rows, threads / f.size);
        row_forward<T, resident<T>, Rule><<<blocks, threads, 0, stream>>>(f, rule);
    } else {
        f.size = MAX_THREADS;
        row_forward<T, streamed<T>, Rule><<<(unsigned)f.rows, MAX_THREADS, 0, stream>>>(f, rule);
    }
    return launched(what);
}

#endif
