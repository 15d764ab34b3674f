/* SPDX-License-Identifier: MIT
 *
 * grad.cuh — the skeleton of the backward of a row transform:
 * beta (R), p (R,N), stat (R,4), dp = G (R,N) -> dc (R,N), dbeta (R).
 *
 * Teams as in row.cuh. A thread holds its entries of p in registers and those of G, as they are
 * stored, in shared memory that only it touches, so that both are read once; rows too long for
 * that, and those of a rule that rereads, are read again in every pass. A rule:
 *
 *     rereads                 true: its code is too long to be repeated for each of ITEMS entries
 *     begin(row)              constants that need no pass
 *     key(p)                  what the first pass leaves in place of p: 0 where p is
 *     solve(pair, team, row)  finds the row's constants; its last pass is pair.first
 *     grad(key, G, j)         dc_j
 *     dbeta(row)              its sums are taken by solve
 *
 * G is read as 0 where p = 0: keys without weight may hold anything there. Sums of G are taken
 * relative to G at STAT_ARG, the reference key: where it holds nearly all the weight the others'
 * gradients would drown in its rounding.
 */
#ifndef MOSAIC_GRAD_CUH
#define MOSAIC_GRAD_CUH

#include "row.cuh"

/* What a backward may know of its row: stat, and p and G at STAT_ARG (1 and 0 if there is none). */
struct grad_facts {
    float beta, norm, p_max, G_max;
    int arg;
    uint32_t r;
    bool real, broken; /* a row at all; a NaN row */
};

/* p in registers, G in shared memory: pack v of thread i is kept[v * blockDim.x + i]. */
template <typename T, int W, class Rule> struct resident_pair {
    enum { packs = ITEMS / W };
    const Rule &rule;
    resident<T, W> p;
    T *kept; /* W = 1: entry v of thread i is kept[v * blockDim.x] */

    template <class Team>
    __device__ resident_pair(const Team &g, const Rule &rule_) : rule(rule_), p(g)
    {
    }
    /* Both are on their way: `arrived` before the first pass. */
    __device__ __forceinline__ void open(const T *p_row, const T *g_row, int live, uint4 *memory)
    {
        if constexpr (W > 1) {
            kept = (T *)(memory + threadIdx.x);
            p.fetch(g_row, live, (uint4 *)kept);
        } else {
            kept = (T *)memory + threadIdx.x;
#pragma unroll
            for (int v = 0; v < packs; v++)
                if (p.first + v * p.step < live) kept[v * blockDim.x] = g_row[p.first + v * p.step];
        }
        const T *from = p_row + p.first;
#pragma unroll
        for (int v = 0; v < packs; v++, from += p.step) {
            const bool there = p.first + v * p.step < live;
            if constexpr (W > 1)
                unpack(there ? __ldcs((const uint4 *)from) : make_uint4(0, 0, 0, 0), p.x + v * W,
                       T());
            else
                p.x[v] = there ? widen(*from) : 0.0f;
        }
        if (live % W == 0) return;
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
            if (p.first + i / W * p.step + i % W >= live) p.x[i] = 0.0f;
    }
    __device__ __forceinline__ void arrived() const
    {
        copies_arrived();
    }
    /* G is read again too: nothing less than a barrier keeps it from being kept. */
    __device__ __forceinline__ void forget()
    {
        p.forget();
        __syncwarp();
    }
    __device__ __forceinline__ void pack_at(int v, float *G) const
    {
        if constexpr (W > 1)
            unpack(((const uint4 *)kept)[v * blockDim.x], G, T());
        else
            G[0] = widen(kept[v * blockDim.x]);
#pragma unroll
        for (int i = 0; i < W; i++)
            if (!(p.x[v * W + i] > 0.0f)) G[i] = 0.0f;
    }
    /* f(p, key, G_j, j, chain), once */
    template <class F> __device__ __forceinline__ void first(F f)
    {
        raw([&](float &x, float G, int j, int chain) {
            const float key = rule.key(x);
            f(x, key, G, j, chain);
            x = key;
        });
    }
    /* f(p, G_j, j, chain), before `first` */
    template <class F> __device__ __forceinline__ void raw(F f)
    {
#pragma unroll
        for (int v = 0; v < packs; v++) {
            float G[W];
            pack_at(v, G);
#pragma unroll
            for (int i = 0; i < W; i++)
                f(p.x[v * W + i], G[i], p.first + v * p.step + i, (v * W + i) % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *row, int n, F f) const
    {
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = p.first + v * p.step;
            float G[W];
            pack_at(v, G);
#pragma unroll
            for (int i = 0; i < W; i++)
                G[i] = f(p.x[v * W + i], G[i], j + i);
            if (j < n) {
                if constexpr (W == 1)
                    row[j] = narrow<T>(G[0]);
                else
                    store_pack(row + j, G);
            }
        }
    }
};

template <typename T, class Rule> struct streamed_pair {
    enum { unroll = 4 };
    const Rule &rule;
    const T *p_row, *g_row;
    int live, start, step;

    template <class Team>
    __device__ streamed_pair(const Team &g, const Rule &rule_)
        : rule(rule_), start(g.rank), step(g.size)
    {
    }
    __device__ __forceinline__ void open(const T *p_row_, const T *g_row_, int live_, uint4 *)
    {
        p_row = p_row_, g_row = g_row_, live = live_;
    }
    __device__ __forceinline__ void arrived() const
    {
    }
    __device__ __forceinline__ void forget()
    {
    }
    template <class F> __device__ __forceinline__ void raw(F f) const
    {
        for (int64_t j = start; j < live; j += unroll * step) {
            float p[unroll], G[unroll];
#pragma unroll
            for (int i = 0; i < unroll; i++) {
                const int64_t k = j + i * step;
                p[i] = k < live ? widen(p_row[k]) : 0.0f;
                G[i] = k < live && p[i] > 0.0f ? widen(g_row[k]) : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < unroll; i++)
                f(p[i], G[i], (int)(j + i * step), i % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void first(F f) const
    {
        raw([&](float p, float G, int j, int chain) { f(p, rule.key(p), G, j, chain); });
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
        for (int64_t j = start; j < n; j += step) {
            const float p = j < live ? widen(p_row[j]) : 0.0f;
            out[j] = narrow<T>(f(rule.key(p), p > 0.0f ? widen(g_row[j]) : 0.0f, (int)j));
        }
    }
};

template <typename T> struct backward_call {
    const float *beta;
    const T *p;
    const float *stat;
    const T *dp;
    T *dc;
    float *dbeta;
    const int32_t *live;
    uint32_t rows;
    int n, size;
};

template <typename T, class Team, class Pair, class Rule>
__device__ __forceinline__ void backward_row(const backward_call<T> &a, const Rule &constants)
{
    __shared__ typename Team::slots_type slots;
    extern __shared__ uint4 memory[];
    Rule rule = constants;
    Team g(a.size, &slots);
    Pair t(g, rule);
    const uint32_t r = g.row();
    const bool real = r < a.rows;
    const int64_t at = real ? (int64_t)r * a.n : 0;
    const float *stat = a.stat + (real ? (int64_t)r * STATS : 0);
    const int live = !real ? 0 : a.live ? a.live[r] : a.n;
    const float top = stat[STAT_MAX], norm = stat[STAT_NORM];
    const int arg = real ? (int)stat[STAT_ARG] : -1, ref = max(arg, 0);
    t.open(a.p + at, a.dp + at, live, memory);
    Team::meet();
    const float p_ref = widen(a.p[at + ref]), G_ref = widen(a.dp[at + ref]);
    const bool broken = isnan(top), idle = broken || arg < 0;
    const grad_facts row = {real && a.beta ? a.beta[r] : 1.0f,
                            idle ? 1.0f : norm,
                            idle ? 1.0f : p_ref,
                            idle ? 0.0f : G_ref,
                            arg,
                            r,
                            real,
                            broken};
    rule.begin(row);
    t.arrived();
    rule.solve(t, g, row);
    t.forget();
    T *dc = a.dc + at;
    if (real && idle)
        for (int j = g.rank; j < a.n; j += g.size)
            dc[j] = narrow<T>(broken && j < live ? NAN : 0.0f);
    else if (real)
        t.store(dc, a.n, [&](float key, float G, int j) { return rule.grad(key, G, j); });
    if (a.dbeta && real && g.rank == 0) a.dbeta[r] = broken ? NAN : idle ? 0.0f : rule.dbeta(row);
}

template <typename T, class Team, class Pair, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1)
    row_backward(const backward_call<T> a, const Rule constants)
{
    if constexpr (Team::here) backward_row<T, Team, Pair, Rule>(a, constants);
}

template <typename T, class Team, class Rule>
status launch_streamed(const backward_call<T> &b, const Rule &rule, void *stream, const char *what)
{
    return launch_rows<Team>(row_backward<T, Team, streamed_pair<T, Rule>, Rule>, b, rule, 0,
                             stream, what);
}

template <typename T, class Team, class Rule>
status launch_backward(const backward_call<T> &b, const Rule &rule, void *stream, const char *what)
{
    enum { W = pack<T>::width };
    const size_t bytes = ITEMS * sizeof(T);
    if constexpr (Rule::rereads)
        return launch_streamed<T, Team>(b, rule, stream, what);
    else if (!rows_aligned<T>(b.n, b.p, b.dp) || (uintptr_t)b.dc % 16)
        return launch_rows<Team>(row_backward<T, Team, resident_pair<T, 1, Rule>, Rule>, b, rule,
                                 bytes, stream, what);
    else
        return launch_rows<Team>(row_backward<T, Team, resident_pair<T, W, Rule>, Rule>, b, rule,
                                 bytes, stream, what);
}

template <typename T, class Rule> status backward_rows(const args *a, const char *what, Rule rule)
{
    backward_call<T> b = {IN(float, 0), IN(T, 1),         IN(float, 2), IN(T, 3),
                          OUT(T, 0),    OUT(float, 1),    a->live,      (uint32_t)a->d.R,
                          (int)a->d.N,  team_size(a->d.N)};
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!b.rows) return OK;
    const size_t bytes = Rule::rereads ? 0 : ITEMS * sizeof(T);
    if (b.size && b.size <= WARP) return launch_backward<T, lane_team>(b, rule, a->stream, what);
    if (b.size && block_fits(b.size, bytes))
        return launch_backward<T, block_team>(b, rule, a->stream, what);
    b.size = wide_team_size(b.n, bytes);
    if (b.size) return launch_backward<T, wide_team>(b, rule, a->stream, what);
    b.size = MAX_THREADS;
    return launch_streamed<T, block_team>(b, rule, a->stream, what);
}

/* The key of the smallest weight, where alpha-entmax above 2 answers most; p = 1 if it is none. */
struct least_key {
    float p, G;
    int j;
};

template <class Pair, class Team> __device__ least_key find_least(Pair &t, Team &g)
{
    float p = INFINITY, G = 0.0f;
    int at = INT32_MAX;
    t.raw([&](float x, float G_j, int j, int) {
        if (!(x > 0.0f && x < p)) return;
        p = x, G = G_j, at = j;
    });
    const float least = -g.max(-p);
    const int j = g.first_and_count(p == least ? at : INT32_MAX, 0).x;
    return least_key{fminf(least, 1.0f), g.sum(at == j ? G : 0.0f), j};
}

/* --- what normalised ReLU and ReLUmax share -------------------------------------------------- */

/* 1/x to 2^-40, without the call that a division is; not finite where x is 0, infinite or NaN. */
__device__ __forceinline__ double reciprocal(double x)
{
    double y;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
    return fma(y, fma(-x, y, 1.0), y);
}

/* With the reference key's G_ref and sums over the support,
 *     gap = sum p (G - G_ref) + G_ref (sum p - 1) = sum p G - G_ref
 *     plain = sum (G - mean),   weighted = sum p (G - mean),   mean = G_ref + gap
 * in double: they are differences of up to N terms that nearly cancel. */
struct centred {
    double gap, plain, weighted;
};

template <class Pair, class Team> __device__ centred centre(Pair &t, Team &g, float ref_G)
{
    double pG = 0, P = 0, sum = 0;
    int count = 0;
    t.first([&](float p, float, float G, int, int) {
        if (!(p > 0.0f)) return;
        const double d = G - ref_G;
        pG += p * d;
        P += p;
        sum += d;
        count++;
    });
    pG = g.sum(pG), P = g.sum(P), sum = g.sum(sum), count = g.count(count);
    const double gap = pG + ref_G * (P - 1);
    return centred{gap, sum - count * gap, pG - gap * P};
}

#endif
