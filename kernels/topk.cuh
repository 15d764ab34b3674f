/* SPDX-License-Identifier: MIT
 *
 * topk.cuh — weights of exactly min(k, keys) largest entries of a row, the lowest indices among
 * equals. A rule says what a selected entry weighs before the weights are divided by their sum Z:
 *
 *     begin(beta, m)   the row's scale and maximum
 *     term(x)          p_j Z of c_j = x
 *     norm(Z)          STAT_NORM
 *
 * Method: the row goes to shared memory, zeros are written while it arrives, and k weights into
 * them: those of a short list (short_list.cuh), summed in the order of their ranks. Where too many
 * entries compete for the list (k large, many equals) the row is searched (select.cuh) and written
 * as a whole.
 */
#ifndef MOSAIC_TOPK_CUH
#define MOSAIC_TOPK_CUH

#include "row.cuh"
#include "select.cuh"
#include "short_list.cuh"

/* k entries reach a bound that `maxima` of the tops of `warps` of a row's warps reach. */
template <class Rule> struct topk_rule {
    Rule weigh;
    int k, maxima, warps;
};

/* The weights of the first `taken` of the list; the first warp of the row. */
template <typename T, class Rule, class Code>
__device__ __forceinline__ void put_ranked(const forward_call<T> &a, const team &g,
                                           const Rule &rule, uint32_t r, float m,
                                           const short_list<Code> &l, int taken)
{
    T *p = a.p + (int64_t)r * a.n;
    float z = 0.0f, count = 0.0f;
    for (int e = g.rank; e < taken; e += g.width) {
        const float w = rule.term(Code::value(l.ranked[e]));
        z += w;
        count += w > 0.0f;
    }
    const sum2 s = g.sum_in_warp(z, count);
    const float inverse = 1.0f / s.a;
    for (int e = g.rank; e < taken; e += g.width)
        p[Code::index(l.ranked[e])] = narrow<T>(rule.term(Code::value(l.ranked[e])) * inverse);
    if (a.stat && taken && g.rank == 0)
        put_stat(a.stat, r, m, rule.norm(s.a), (float)Code::index(l.ranked[0]), s.b);
}

/* The whole row, for the teams that ask. */
template <typename T, class Row, class Rule>
__device__ __forceinline__ void put_selected(const forward_call<T> &a, const Row &t, team &g,
                                             const Rule &rule, bool asks, uint32_t r, float m,
                                             int k)
{
    const selection s = select_largest(t, g, asks, k, m, a.n);
    float z[CHAINS] = {0, 0, 0, 0};
    int arg = INT32_MAX, count = 0;
    t.each([&](float x, int j, int chain) {
        if (s.has(x, j)) z[chain] += rule.term(x);
        if (x == m) arg = min(arg, j);
    });
    const float Z = g.sum(folded(z)), inverse = 1.0f / Z;
    if (asks)
        t.store(a.p + (int64_t)r * a.n, a.n, [&](float x, int j) {
            const float w = s.has(x, j) ? rule.term(x) * inverse : 0.0f;
            count += w > 0.0f;
            return w;
        });
    const int2 first = g.first_and_count(arg, count);
    if (a.stat && asks && g.rank == 0)
        put_stat(a.stat, r, m, rule.norm(Z), (float)first.x, (float)first.y);
}

/* Shared memory of a block: the words of its threads, then the lists of its teams. */
template <typename T, class Row, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1)
    topk_forward(const forward_call<T> a, topk_rule<Rule> rule)
{
    typedef typename code_of<Row>::type code;
    __shared__ team::slots_type slots;
    __shared__ int came[WARP_BLOCK / 4];
    extern __shared__ uint4 memory[];
    team g(a.size, &slots);
    Row t(g);
    const int at = g.warps > 1 ? 0 : (int)threadIdx.x >> (__ffs(a.size) - 1);
    const int capacity = list_capacity(a.size);
    typename code::word *lists =
        (typename code::word *)(memory + blockDim.x * (Row::items * sizeof(T) / 16));
    lists += 2 * at * capacity;
    const short_list<code> l = {lists, lists + capacity, came + at, capacity};
    const uint32_t r = g.row();
    const bool real = r < a.rows, few = rule.k <= capacity;
    const int live = !real ? 0 : a.live ? a.live[r] : a.n;
    const float beta = real && a.beta ? a.beta[r] : 1.0f;
    T *p = a.p + (int64_t)r * a.n;
    t.fetch(a.c + (int64_t)r * a.n, live, memory + threadIdx.x);
    if (real && few) t.clear(p, a.n);
    empty_list(g, l);
    t.arrive(live);
    float top[Row::tops];
    t.maxima(top);
    const sum2 s = find_bound(g, top, rule.maxima, rule.warps);
    const float m = s.a, bound = fmaxf(s.b, LOWEST);
    const bool broken = !(m < INFINITY), idle = broken || m == -INFINITY;
    const bool asks = !idle && few && (s.b > -INFINITY || live <= capacity);
    bool found = false;
    rule.weigh.begin(beta, idle ? 0.0f : m);
    if (g.any(asks)) {
        int n;
        found = list_entries(t, g, asks ? bound : INFINITY, l, &n) && asks;
        const int taken = found ? min(rule.k, n) : 0;
        rank_list(g, l, found ? n : 0, taken);
        if (g.rank < WARP) put_ranked(a, g, rule.weigh, r, m, l, taken);
    }
    if (real && idle) {
        t.store(p, a.n, [&](float, int j) { return broken && j < live ? NAN : 0.0f; });
        const float none = broken ? NAN : 0.0f;
        if (a.stat && g.rank == 0) put_stat(a.stat, r, none, none, -1.0f, 0.0f);
    }
    const bool left = !idle && !found;
    if (g.any(left)) put_selected(a, t, g, rule.weigh, left, r, m, rule.k);
}

template <typename T, class Row, class Rule>
status launch_topk(const forward_call<T> &f, const Rule &weigh, int k, void *stream,
                   const char *what)
{
    /* the list is shortest if all of few warps, or half of many, reach the bound */
    const int warps = f.size > WARP ? f.size / WARP : 1;
    const int maxima = (int)ceil_div(warps < 8 ? k : 2 * (int64_t)k, warps);
    const topk_rule<Rule> rule = {weigh, k, maxima, (int)ceil_div(k, maxima)};
    const int64_t lists = 2 * (int64_t)sizeof(typename code_of<Row>::type::word);
    const int64_t bytes = ceil_div(lists * list_capacity(f.size), f.size);
    return launch_rows<team>(topk_forward<T, Row, Rule>, f, rule,
                             Row::items * sizeof(T) + (size_t)bytes, stream, what);
}

template <typename T, class Rule> status topk_rows(const args *a, const char *what, Rule weigh)
{
    enum { W = pack<T>::width };
    if (a->p.k < 1) return fail(ERR_ARG, "%s: k is %lld: expected k >= 1", what, (long long)a->p.k);
    forward_call<T> f = {IN(T, 0), IN(float, 1),     OUT(T, 0),   OUT(float, 1),
                         a->live,  (uint32_t)a->d.R, (int)a->d.N, MAX_THREADS};
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!f.rows) return OK;
    const int k = (int)(a->p.k < f.n ? a->p.k : f.n);
    const int size = team_size(f.n, WORDS * W); /* of a list at most 16 bytes an entry */
    if (f.n > LONGEST ||
        (size > WARP &&
         !block_fits(size, WORDS * 16 + (size_t)ceil_div(16 * list_capacity(size), size))))
        return launch_topk<T, distant_row<T>>(f, weigh, k, a->stream, what);
    f.size = size;
    if (!rows_aligned<T>(f.n, f.c, f.p))
        return launch_topk<T, shared_row<T, 1, WORDS>>(f, weigh, k, a->stream, what);
    /* four threads have too few maxima unless every word counts */
    if (f.size == 4) return launch_topk<T, shared_row<T, W, WORDS>>(f, weigh, k, a->stream, what);
    return launch_topk<T, shared_row<T, W, WORDS / 2>>(f, weigh, k, a->stream, what);
}

#endif
