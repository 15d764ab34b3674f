/* SPDX-License-Identifier: MIT
 *
 * row.cuh — the skeleton of the row transforms: c (R,N) -> p (R,N), stat (R,4).
 *
 * A team of threads owns a row: 4 to 32 lanes of a warp up to N = 1024, a block of warps up to
 * 32,768, the blocks of a cluster up to 262,144, where the card has clusters. Each thread keeps
 * ITEMS entries in registers as float, so that a row is read once and written once however many
 * passes its solver makes
 * (`resident`); it arrives by way of shared memory, which takes no registers while it is under way.
 * Longer rows, and those that the card's shared memory does not hold, are read again in every pass
 * (`streamed`). Entries move in packs of 16 bytes (W
 * entries) if all rows are aligned to that, else one by one. A transform is a small struct, its
 * rule:
 *
 *     solve(tile, team, row)  finds the row's constants; the tile holds x_j = c_j - m <= 0,
 *                             or c_j itself if the rule is not `shifted`
 *     weight(x, j)            p_j, 0 for x = -inf
 *     reaches(x)              false: no entry up to x weighs anything; asked if `compact`
 *     norm()                  STAT_NORM
 *
 * A thread knows the maximum of each GROUP of its entries. With a compact kernel few entries weigh,
 * and most groups need no more than that maximum.
 *
 * Entries that do not exist (beyond live, and -inf) are x = -inf. Control flow around a team's
 * reductions is the same for all threads of a warp (team in a warp) or of the block: loops end by
 * team::any.
 */
#ifndef MOSAIC_ROW_CUH
#define MOSAIC_ROW_CUH

#include <type_traits>

#include "team.cuh"

enum { MAX_STEPS = 64 }; /* of a solver */

/* What a rule may know of its row. top: the largest x_j of each group of this thread. idle: no
 * keys, or NaN. */
struct row_facts {
    float beta, m, top[GROUPS];
    bool idle;
};

/* The row in registers. Thread `rank` owns the packs rank, rank + size, ... of the row. */
template <typename T, int W> struct resident {
    enum { packs = ITEMS / W, shared = W > 1 ? ITEMS * sizeof(T) : 0 }; /* bytes per thread */
    typedef typename std::conditional<W == 1, T, uint4>::type word;
    float x[ITEMS];
    int first, step; /* index of the first entry of pack 0, and from pack to pack */

    template <class Team> __device__ resident(const Team &g) : first(g.rank * W), step(g.size * W)
    {
    }
    /* Start moving a row into this thread's share of shared memory. */
    __device__ __forceinline__ void fetch(const T *row, int live, uint4 *buffer) const
    {
        if constexpr (W > 1) {
            const T *from = row + first;
            uint32_t to = (uint32_t)__cvta_generic_to_shared(buffer);
            const uint32_t stride = blockDim.x * 16;
#pragma unroll
            for (int v = 0; v < packs; v++, from += step, to += stride)
                if (first + v * step < live) copy_async(to, from);
        }
    }
    /* Take the row fetched before; what lies beyond live becomes `absent`. */
    __device__ __forceinline__ void take(const T *row, int live, const uint4 *buffer, float absent)
    {
        if constexpr (W > 1) copies_arrived();
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            if constexpr (W == 1) {
                x[v] = j < live ? widen(row[j]) : absent;
            } else {
                unpack(buffer[v * blockDim.x], x + v * W, T());
                if (j + W > live)
#pragma unroll
                    for (int i = 0; i < W; i++)
                        if (j + i >= live) x[v * W + i] = absent;
            }
        }
    }
    __device__ __forceinline__ void open(const T *row, int live, uint4 *buffer, float absent)
    {
        fetch(row, live, buffer);
        take(row, live, buffer, absent);
    }
    __device__ __forceinline__ void subtract(float m)
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            x[i] -= m;
    }
    /* Makes later passes compute from x, and indices from first and step, again: what a pass
     * computed would need as many registers as x itself if the compiler kept it. */
    __device__ __forceinline__ void forget()
    {
        asm volatile("" : "+r"(first), "+r"(step));
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            asm volatile("" : "+f"(x[i]));
    }
    /* The index in the row of entry i of this thread; it grows with i. */
    __device__ __forceinline__ int index(int i) const
    {
        return first + i / W * step + i % W;
    }
    __device__ __forceinline__ void maxima(float *top) const
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            top[i / GROUP] = max_nan(top[i / GROUP], x[i]);
    }
    /* f(x_j, j, chain): chain < CHAINS names one of several accumulators. */
    template <class F> __device__ __forceinline__ void each(F f) const
    {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            f(x[i], index(i), i % CHAINS);
    }
    /* The same for the groups whose maximum `reaches`. */
    template <class Reaches, class F>
    __device__ __forceinline__ void each_of(const float *top, Reaches reaches, F f) const
    {
#pragma unroll
        for (int g = 0; g < GROUPS; g++)
            if (reaches(top[g]))
#pragma unroll
                for (int i = g * GROUP; i < (g + 1) * GROUP; i++)
                    f(x[i], index(i), i % CHAINS);
    }
    /* The first index of a value, or INT32_MAX. */
    __device__ __forceinline__ int find(const float *top, float value) const
    {
        int at = ITEMS;
#pragma unroll
        for (int g = GROUPS - 1; g >= 0; g--)
            if (top[g] == value)
#pragma unroll
                for (int i = (g + 1) * GROUP - 1; i >= g * GROUP; i--)
                    if (x[i] == value) at = i;
        return at < ITEMS ? index(at) : INT32_MAX;
    }
    /* f of the groups whose maximum `reaches`, 0 of the others. */
    template <class Reaches, class F>
    __device__ __forceinline__ void store(T *row, int n, const float *top, Reaches reaches,
                                          F f) const
    {
        T *to = row + first;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            word w[GROUP / W] = {};
            if (reaches(top[g]))
#pragma unroll
                for (int v = 0; v < GROUP / W; v++) {
                    float y[W];
#pragma unroll
                    for (int i = 0; i < W; i++) {
                        const int at = g * GROUP + v * W + i;
                        y[i] = f(x[at], index(at));
                    }
                    if constexpr (W == 1)
                        w[v] = narrow<T>(y[0]);
                    else
                        w[v] = repack(y, T());
                }
#pragma unroll
            for (int v = 0; v < GROUP / W; v++, to += step)
                if (index(g * GROUP + v * W) < n) {
                    if constexpr (W == 1)
                        *to = w[v];
                    else
                        store_word(to, w[v]);
                }
        }
    }
};

/* The row in memory, read again by every pass. */
template <typename T> struct streamed {
    enum { unroll = 8 };
    const T *row;
    int live, first, step;
    float m, absent;

    __device__ streamed(const block_team &g) : first(g.rank), step(g.size)
    {
    }
    __device__ __forceinline__ void open(const T *row_, int live_, uint4 *, float absent_)
    {
        row = row_, live = live_, m = 0, absent = absent_;
    }
    __device__ __forceinline__ void subtract(float m_)
    {
        m = m_;
    }
    __device__ __forceinline__ void forget()
    {
    }
    __device__ __forceinline__ float at(int64_t j) const
    {
        return (j < live ? widen(row[j]) : absent) - m;
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int64_t j = first; j < live; j += unroll * step) {
            float x[unroll];
#pragma unroll
            for (int i = 0; i < unroll; i++)
                x[i] = at(j + i * step);
#pragma unroll
            for (int i = 0; i < unroll; i++)
                f(x[i], (int)(j + i * step), i % CHAINS);
        }
    }
    __device__ __forceinline__ void maxima(float *top) const
    {
        each([&](float x, int, int chain) { top[chain] = max_nan(top[chain], x); });
    }
    template <class Reaches, class F>
    __device__ __forceinline__ void each_of(const float *, Reaches, F f) const
    {
        each(f);
    }
    __device__ __forceinline__ int find(const float *, float value) const
    {
        int at = INT32_MAX;
        each([&](float x, int j, int) {
            if (x == value) at = min(at, j);
        });
        return at;
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
#pragma unroll 4
        for (int64_t j = first; j < n; j += step)
            out[j] = narrow<T>(f(at(j), (int)j));
    }
    template <class Reaches, class F>
    __device__ __forceinline__ void store(T *out, int n, const float *, Reaches, F f) const
    {
        store(out, n, f);
    }
};

template <typename T> struct forward_call {
    const T *c;
    const float *beta;
    T *p;
    float *stat;
    const int32_t *live;
    uint32_t rows;
    int n, size; /* entries and threads of a row */
};

__device__ __forceinline__ void put_stat(float *stat, uint32_t r, float m, float norm, float arg,
                                         float count)
{
    stat += (int64_t)r * STATS;
    stat[STAT_MAX] = m;
    stat[STAT_NORM] = norm;
    stat[STAT_ARG] = arg;
    stat[STAT_COUNT] = count;
}

/* One row: p, and stat if wanted. t holds the row's c. */
template <typename T, class Tile, class Team, class Rule>
__device__ __forceinline__ void forward_row(const forward_call<T> &a, Tile &t, Team &g, Rule rule,
                                            uint32_t r, int live, float beta)
{
    const bool real = r < a.rows;
    row_facts row = {beta, 0.0f, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, false};
    t.maxima(row.top);
    const float own = max_nan(max_nan(row.top[0], row.top[1]), max_nan(row.top[2], row.top[3]));
    row.m = g.max(own);
    const bool broken = !(row.m < INFINITY);
    row.idle = broken || row.m == -INFINITY;
    const float peak = row.idle ? 0.0f : row.m, shift = Rule::shifted ? peak : 0.0f;
    if (Rule::shifted) {
        t.subtract(shift);
#pragma unroll
        for (int i = 0; i < GROUPS; i++)
            row.top[i] -= shift;
    }
    rule.solve(t, g, row);
    t.forget();
    int count = 0;
    T *p = a.p + (int64_t)r * a.n;
    if (real && row.idle)
        for (int j = g.rank; j < a.n; j += g.size)
            p[j] = narrow<T>(broken && j < live ? NAN : 0.0f);
    else if (real)
        t.store(
            p, a.n, row.top,
            [&](float x) {
                if constexpr (Rule::compact) return rule.reaches(x);
                return true;
            },
            [&](float x, int j) {
                const float w = rule.weight(x, j);
                count += w > 0.0f;
                return w;
            });
    if (!a.stat) return;
    const int arg = own == row.m ? t.find(row.top, peak - shift) : INT32_MAX;
    const int2 s = g.first_and_count(arg, count);
    if (g.rank != 0 || !real) return;
    put_stat(a.stat, r, broken ? NAN : peak,
             broken     ? NAN
             : row.idle ? 0.0f
                        : rule.norm(),
             row.idle ? -1.0f : (float)s.x, row.idle ? 0.0f : (float)s.y);
}

/* Shared memory of a block: what the tiles of its threads want. */
template <typename T, class Team, class Tile, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1) row_forward(const forward_call<T> a, Rule rule)
{
    if constexpr (Team::here) {
        __shared__ typename Team::slots_type slots;
        extern __shared__ uint4 memory[];
        Team g(a.size, &slots);
        Tile t(g);
        const uint32_t r = g.row();
        const bool real = r < a.rows;
        const int live = !real ? 0 : a.live ? a.live[r] : a.n;
        const float beta = real && a.beta ? a.beta[r] : 1.0f;
        t.open(a.c + (int64_t)r * a.n, live, memory + threadIdx.x, -INFINITY);
        Team::meet();
        forward_row<T>(a, t, g, rule, r, live, beta);
    }
}

static inline status rows_fit(const char *what, const args *a)
{
    if (a->d.R < 0 || a->d.R > INT32_MAX || a->d.N < 1 || a->d.N > 1 << 24)
        return fail(ERR_ARG, "%s: R %lld, N %lld: expected R < 2^31, 1 <= N <= 2^24 (STAT_ARG)",
                    what, (long long)a->d.R, (long long)a->d.N);
    return OK;
}

/* Threads of a team for rows of n entries, so many to a thread; 0 if they do not fit. */
static inline int team_size(int64_t n, int items = ITEMS)
{
    for (int size = 4; size <= WARP; size *= 2)
        if (n <= (int64_t)size * items) return size;
    const int64_t size = ceil_div(n, (int64_t)WARP * items) * WARP;
    return size <= MAX_THREADS ? (int)size : 0;
}

/* Whether every row of n entries of T from each of these begins on a pack. */
template <typename T> static inline bool rows_aligned(int64_t n, const void *x, const void *y)
{
    return n % pack<T>::width == 0 && ((uintptr_t)x | (uintptr_t)y) % 16 == 0;
}

/* Whether a block of so many threads, each with so many bytes of shared memory, runs on this card.
 */
static inline bool block_fits(int threads, size_t bytes)
{
    const size_t slots = sizeof(warp_slots<CLUSTER * WARP>);
    return card_here().shared >= (int64_t)((size_t)threads * bytes + slots);
}

/* Threads of a team for longer rows, so many bytes of shared memory to a thread; 0 if they do not
 * fit, or this card has no clusters. */
static inline int wide_team_size(int64_t n, size_t bytes)
{
    const int64_t size = ceil_div(n, (int64_t)CLUSTER * WARP * ITEMS) * CLUSTER * WARP;
    if (size > CLUSTER * MAX_THREADS || card_here().sm < 90) return 0;
    return block_fits((int)size / CLUSTER, bytes) ? (int)size : 0;
}

/* A kernel over rows of call.size threads each, with `bytes` of shared memory per thread. */
template <class Team, class Call, class Rule>
status launch_rows(void (*kernel)(Call, Rule), const Call &call, const Rule &rule, size_t bytes,
                   void *stream, const char *what)
{
    const int threads = call.size > WARP ? call.size / Team::blocks : WARP_BLOCK;
    cudaLaunchAttribute cluster = {};
    cudaLaunchConfig_t config = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {Team::blocks, 1, 1};
    config.gridDim = (unsigned)ceil_div((int64_t)call.rows * call.size, threads); /* team::row */
    config.blockDim = (unsigned)threads;
    config.dynamicSmemBytes = bytes * (size_t)threads;
    config.stream = (cudaStream_t)stream;
    config.attrs = &cluster;
    config.numAttrs = Team::blocks > 1;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)config.dynamicSmemBytes),
             what);
    CUDA_TRY(cudaLaunchKernelEx(&config, kernel, call, rule), what);
    return launched(what);
}

template <typename T, class Team, class Rule>
status launch_forward(const forward_call<T> &f, const Rule &rule, void *stream, const char *what)
{
    typedef resident<T, 1> entries;
    typedef resident<T, pack<T>::width> packs;
    if (rows_aligned<T>(f.n, f.c, f.p))
        return launch_rows<Team>(row_forward<T, Team, packs, Rule>, f, rule, packs::shared, stream,
                                 what);
    return launch_rows<Team>(row_forward<T, Team, entries, Rule>, f, rule, entries::shared, stream,
                             what);
}

template <typename T, class Rule> status forward_rows(const args *a, const char *what, Rule rule)
{
    forward_call<T> f = {IN(T, 0), IN(float, 1),     OUT(T, 0),   OUT(float, 1),
                         a->live,  (uint32_t)a->d.R, (int)a->d.N, team_size(a->d.N)};
    const size_t bytes = rows_aligned<T>(f.n, f.c, f.p) ? resident<T, pack<T>::width>::shared : 0;
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!f.rows) return OK;
    if (f.size && f.size <= WARP) return launch_forward<T, lane_team>(f, rule, a->stream, what);
    if (f.size && block_fits(f.size, bytes))
        return launch_forward<T, block_team>(f, rule, a->stream, what);
    f.size = wide_team_size(f.n, bytes);
    if (f.size) return launch_forward<T, wide_team>(f, rule, a->stream, what);
    f.size = MAX_THREADS;
    return launch_rows<block_team>(row_forward<T, block_team, streamed<T>, Rule>, f, rule, 0,
                                   a->stream, what);
}

#endif
