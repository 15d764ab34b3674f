/* SPDX-License-Identifier: MIT
 *
 * grad.cuh — the skeleton of the backward of a row transform:
 * beta (R), p (R,N), stat (R,4), dp = G (R,N) -> dc (R,N), dbeta (R).
 *
 * Teams as in row.cuh. A thread holds its entries of p in registers and those of G, as they are
 * stored, in shared memory that only it touches, so that both are read once; rows too long for
 * that are read again in every pass. A rule:
 *
 *     begin(row)              constants that need no pass
 *     key(p)                  what is held in place of p: a function of p that passes share
 *     has(key)                p > 0
 *     solve(pair, team, row)  finds the row's constants
 *     grad(key, G, j, slope)  dc_j; adds the share of the entry in dbeta to *slope
 *     dbeta(sum)              from the sum of those shares
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
    int64_t r;
    bool real, broken; /* a row at all; a NaN row */
};

/* p in registers, G in shared memory: pack v of thread i is kept[v * blockDim.x + i]. */
template <typename T, int W, class Rule> struct resident_pair {
    enum { packs = ITEMS / W };
    const Rule &rule;
    resident<T, W> p;
    T *kept; /* W = 1: entry v of thread i is kept[v * blockDim.x] */

    __device__ resident_pair(const team &g, const Rule &rule_) : rule(rule_), p(g)
    {
    }
    __device__ __forceinline__ void open(const T *p_row, const T *g_row, int live, uint4 *memory)
    {
        if constexpr (W > 1) {
            kept = (T *)(memory + threadIdx.x);
            p.fetch(g_row, live, (uint4 *)kept);
        } else {
            kept = (T *)memory + threadIdx.x;
#pragma unroll
            for (int v = 0; v < packs; v++)
                if (p.first + v * p.step < live)
                    kept[v * blockDim.x] = g_row[p.first + v * p.step];
        }
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = p.first + v * p.step;
            if constexpr (W > 1) {
                uint4 raw = make_uint4(0, 0, 0, 0);
                if (j < live) raw = __ldcs((const uint4 *)(p_row + j));
                unpack(raw, p.x + v * W, T());
                if (j + W > live)
#pragma unroll
                    for (int i = 0; i < W; i++)
                        if (j + i >= live) p.x[v * W + i] = 0.0f;
            } else {
                p.x[v] = j < live ? widen(p_row[j]) : 0.0f;
            }
        }
#pragma unroll
        for (int i = 0; i < ITEMS; i++) p.x[i] = rule.key(p.x[i]);
        copies_arrived();
    }
    __device__ __forceinline__ void forget()
    {
        p.forget();
    }
    __device__ __forceinline__ void pack_at(int v, float *G) const
    {
        if constexpr (W > 1)
            unpack(((const uint4 *)kept)[v * blockDim.x], G, T());
        else
            G[0] = widen(kept[v * blockDim.x]);
#pragma unroll
        for (int i = 0; i < W; i++)
            if (!rule.has(p.x[v * W + i])) G[i] = 0.0f;
    }
    /* f(key, G_j, j, chain) */
    template <class F> __device__ __forceinline__ void each(F f) const
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
                G[i] = f(p.x[v * W + i], G[i], j + i, (v * W + i) % CHAINS);
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
    int live, first, step;

    __device__ streamed_pair(const team &g, const Rule &rule_)
        : rule(rule_), first(g.rank), step(g.size)
    {
    }
    __device__ __forceinline__ void open(const T *p_row_, const T *g_row_, int live_, uint4 *)
    {
        p_row = p_row_, g_row = g_row_, live = live_;
    }
    __device__ __forceinline__ void forget()
    {
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int64_t j = first; j < live; j += unroll * step) {
            float x[unroll], G[unroll];
#pragma unroll
            for (int i = 0; i < unroll; i++) {
                const int64_t k = j + i * step;
                x[i] = rule.key(k < live ? widen(p_row[k]) : 0.0f);
                G[i] = k < live && rule.has(x[i]) ? widen(g_row[k]) : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < unroll; i++) f(x[i], G[i], (int)(j + i * step), i % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
        for (int64_t j = first; j < n; j += step) {
            const float x = rule.key(j < live ? widen(p_row[j]) : 0.0f);
            const float G = rule.has(x) ? widen(g_row[j]) : 0.0f;
            out[j] = narrow<T>(f(x, G, (int)j, 0));
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
    int64_t rows;
    int n, size;
};

template <typename T, class Pair, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1)
    row_backward(const backward_call<T> a, Rule constants)
{
    __shared__ team_slots slots;
    extern __shared__ uint4 memory[];
    Rule rule = constants;
    team g(a.size, &slots);
    Pair t(g, rule);
    const int64_t r = blockIdx.x * (int64_t)(blockDim.x / a.size) + threadIdx.x / a.size;
    const bool real = r < a.rows;
    const int64_t at = real ? r * a.n : 0;
    const float *stat = a.stat + (real ? r * STATS : 0);
    const int live = !real ? 0 : a.live ? a.live[r] : a.n;
    const int arg = real ? (int)stat[STAT_ARG] : -1;
    const bool broken = isnan(stat[STAT_MAX]), idle = broken || arg < 0;
    const grad_facts row = {real && a.beta ? a.beta[r] : 1.0f,
                            idle ? 1.0f : stat[STAT_NORM],
                            idle ? 1.0f : widen(a.p[at + arg]),
                            idle ? 0.0f : widen(a.dp[at + arg]),
                            arg,
                            r,
                            real,
                            broken};
    rule.begin(row);
    t.open(a.p + at, a.dp + at, idle ? 0 : live, memory);
    rule.solve(t, g, row);
    t.forget();
    T *dc = a.dc + at;
    float slope[CHAINS] = {0, 0, 0, 0};
    if (real && idle)
        for (int j = g.rank; j < a.n; j += g.size)
            dc[j] = narrow<T>(broken && j < live ? NAN : 0.0f);
    else if (real)
        t.store(dc, a.n, [&](float key, float G, int j, int chain) {
            return rule.grad(key, G, j, slope + chain);
        });
    if (!a.dbeta) return;
    const float sum = g.sum(folded(slope));
    if (real && g.rank == 0) a.dbeta[r] = broken ? NAN : idle ? 0.0f : rule.dbeta(sum);
}

template <typename T, class Rule> status backward_rows(const args *a, const char *what, Rule rule)
{
    backward_call<T> b = {IN(float, 0),  IN(T, 1), IN(float, 2), IN(T, 3),    OUT(T, 0),
                          OUT(float, 1), a->live,  a->d.R,       (int)a->d.N, team_size(a->d.N)};
    enum { W = pack<T>::width };
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!b.rows) return OK;
    if (!b.size) {
        b.size = MAX_THREADS;
        return launch_rows(row_backward<T, streamed_pair<T, Rule>, Rule>, b, rule, 0, a->stream,
                           what);
    }
    if (!rows_aligned<T>(b.n, b.p, b.dp) || (uintptr_t)b.dc % 16)
        return launch_rows(row_backward<T, resident_pair<T, 1, Rule>, Rule>, b, rule,
                           ITEMS * sizeof(T), a->stream, what);
    return launch_rows(row_backward<T, resident_pair<T, W, Rule>, Rule>, b, rule, ITEMS * sizeof(T),
                       a->stream, what);
}

/* --- what normalised ReLU and ReLUmax share -------------------------------------------------- */

/* With the reference key's G_ref and sums over the support,
 *     gap = sum p (G - G_ref) + G_ref (sum p - 1) = sum p G - G_ref
 *     plain = sum (G - mean),   weighted = sum p (G - mean),   mean = G_ref + gap
 * in double: they are differences of up to N terms that nearly cancel. */
struct centred {
    double gap, plain, weighted;
};

template <class Pair> __device__ centred centre(const Pair &t, team &g, float ref_G)
{
    double pG = 0, P = 0, sum = 0;
    int count = 0;
    t.each([&](float p, float G, int, int) {
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
