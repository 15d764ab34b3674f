/* SPDX-License-Identifier: MIT
 *
 * attention_redo.cuh — a row of attention over all its keys, by a block or, key by key, from what a
 * block found: what the forward (attention_redo.cu) and the backward (attention_gather_grad.cu)
 * share for rows that have no list.
 */
#ifndef MOSAIC_ATTENTION_REDO_CUH
#define MOSAIC_ATTENTION_REDO_CUH

#include "attention_gather.cuh"
#include "entmax_grad.cuh"
#include "softmax.cuh"

enum { REDO_THREADS = 512 };

/* --- scores ---------------------------------------------------------------------------------- */

/* scale <q,k>, q (D) in float, in one order everywhere: equal keys have equal scores. */
template <typename T, int D, class Query>
static __device__ __forceinline__ float score_of(Query q, const T *k, float scale)
{
    enum { W = pack<T>::width };
    float s = 0.0f;
#pragma unroll 1
    for (int e = 0; e < D; e += W) {
        float x[W];
        unpack(*(const uint4 *)(k + e), x, T());
#pragma unroll
        for (int c = 0; c < W; c++)
            s = fmaf(q(e + c), x[c], s);
    }
    return s * scale;
}
template <typename T, int D>
static __device__ __forceinline__ float row_score(const T *q, const T *k, float scale)
{
    return score_of<T, D>([&](int e) { return widen(q[e]); }, k, scale);
}

/* scores[j] = scale <q,k_j>, j < keys; q (D) in shared memory; a block. */
template <typename T, int D>
static __device__ __forceinline__ void score_keys(const float *q, const T *k, int64_t step,
                                                  int keys, float scale, float *scores)
{
    for (int j = threadIdx.x; j < keys; j += REDO_THREADS)
        scores[j] = score_of<T, D>([&](int e) { return q[e]; }, k + j * step, scale);
}

/* o = sum_j p_j v_j: D threads a key, the keys in order. room: REDO_THREADS floats. */
template <typename T, int D>
static __device__ __forceinline__ void mix_keys(const float *p, const T *v, int64_t step, int keys,
                                                T *o, float *room)
{
    enum { KEYS = REDO_THREADS / D };
    const int column = threadIdx.x % D;
    float s = 0.0f;
    for (int j = threadIdx.x / D; j < keys; j += KEYS)
        if (!(p[j] == 0.0f)) s = fmaf(p[j], widen(v[j * step + column]), s);
    room[threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.x < D) {
        for (int i = 1; i < KEYS; i++)
            s += room[threadIdx.x + i * D];
        o[column] = narrow<T>(s);
    }
    __syncthreads();
}

/* --- weights --------------------------------------------------------------------------------- */

struct redo_row {
    int keys;
};

/* What is known of a row once its weights are: as in stat. */
struct redo_solved {
    bool broken, idle;
    float m, norm;
    int arg, count;
};

/* The weights in place of the scores of a row; rule is left with its constants. A block. */
template <class Rule>
static __device__ __forceinline__ redo_solved solve_scores(float *scores, int keys, float beta,
                                                           Rule &rule, block_team &g)
{
    streamed<float> t(g);
    t.open(scores, keys, NULL, -INFINITY);
    row_facts row = {beta, 0.0f, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, false};
    t.maxima(row.top);
    row.m = g.max(max_nan(max_nan(row.top[0], row.top[1]), max_nan(row.top[2], row.top[3])));
    const bool broken = !(row.m < INFINITY);
    row.idle = broken || row.m == -INFINITY;
    const float m = row.idle ? 0.0f : row.m;
    t.subtract(m);
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
        row.top[i] -= m;
    int count = 0, arg = INT32_MAX;
    if (!row.idle) {
        rule.solve(t, g, row);
        arg = t.find(row.top, 0.0f);
    }
    __syncthreads();
    for (int j = threadIdx.x; j < keys; j += REDO_THREADS) {
        const float p = broken ? NAN : row.idle ? 0.0f : rule.weight(scores[j] - m, j);
        scores[j] = p;
        count += p > 0.0f;
    }
    const int2 s = g.first_and_count(arg, count);
    const float none = broken ? NAN : 0.0f;
    if (row.idle) return redo_solved{broken, true, none, none, -1, 0};
    return redo_solved{false, false, m, rule.norm(), s.x, s.y};
}

/* --- gradients ------------------------------------------------------------------------------- */

/* Weights that answer to nothing. */
struct flat_grad_rule {
    enum { rereads = 0 };
    __device__ void begin(const grad_facts &)
    {
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    template <class Pair, class Team> __device__ void solve(Pair &, Team &, const grad_facts &)
    {
    }
    __device__ __forceinline__ float grad(float, float, int) const
    {
        return 0.0f;
    }
    __device__ float dbeta(const grad_facts &) const
    {
        return 0.0f;
    }
};

template <class Weight>
static __device__ __forceinline__ entmax_grad_rule<Weight> entmax_grad_from(const gather_rule &g)
{
    entmax_grad_rule<Weight> rule = {};
    rule.measured = true, rule.a = g.a, rule.exponent = 1.0f - g.a;
    return rule;
}

/* f(rule) of the gradient that belongs to a rule of the forward. */
template <class Power, class F>
static __device__ __forceinline__ void with_grad_rule_of(const gather_rule &g,
                                                         const newton_rule<Power> &, F f)
{
    if constexpr (std::is_same<Power, integer_power<1>>::value)
        f(entmax_grad_from<support_weight>(g));
    else if constexpr (std::is_same<Power, integer_power<2>>::value)
        f(entmax_grad_from<root_weight>(g));
    else
        f(entmax_grad_from<real_weight>(g));
}
template <class F>
static __device__ __forceinline__ void with_grad_rule_of(const gather_rule &g, const relumax_rule &,
                                                         F f)
{
    relumax_grad_rule rule = {};
    rule.b = g.b, rule.power = g.power;
    f(rule);
}
template <class F>
static __device__ __forceinline__ void with_grad_rule_of(const gather_rule &g, const select_rule &,
                                                         F f)
{
    if (g.kind == TOP_SOFTMAX)
        f(softmax_grad_rule{});
    else
        f(flat_grad_rule{});
}
/* f(rule) of the gradient; the exponents that have one rule share its code. */
template <class F> static __device__ __forceinline__ void with_grad_rule(const gather_rule &g, F f)
{
    if (g.kind == NORM_1) f(entmax_grad_from<support_weight>(g));
    if (g.kind == NORM_2) f(entmax_grad_from<root_weight>(g));
    if (g.kind == NORM_3 || g.kind == NORM_REAL) f(entmax_grad_from<real_weight>(g));
    if (g.kind == MARGIN) with_grad_rule_of(g, relumax_rule(), f);
    if (g.kind >= TOP_SOFTMAX) with_grad_rule_of(g, select_rule(), f);
}

/* The constants that the rules of a row found, from which each of its weights and their gradients
 * can be had again. */
struct redo_facts {
    enum { ROOM = 64 };
    float m;
    bool broken, idle;
    __align__(8) char rule[ROOM], grad[ROOM];

    template <class Rule, class Grad>
    __device__ void set(const redo_solved &s, const Rule &r, const Grad &g)
    {
        static_assert(sizeof(Rule) <= ROOM && sizeof(Grad) <= ROOM, "redo_facts: room for a rule");
        m = s.m, broken = s.broken, idle = s.idle;
        memcpy(rule, &r, sizeof r);
        memcpy(grad, &g, sizeof g);
    }
    /* Of key j with score c, and G = <do,v_j>, before dropout. */
    __device__ __forceinline__ void weigh(const gather_rule &kind, float c, float G, int j,
                                          float *p, float *dc) const
    {
        if (idle) {
            *p = *dc = broken ? NAN : 0.0f;
            return;
        }
        with_rule(kind, [&](auto r) {
            with_grad_rule_of(kind, r, [&](auto g) {
                memcpy(&r, rule, sizeof r);
                memcpy(&g, grad, sizeof g);
                *p = r.weight(c - m, j);
                *dc = kind.scale * g.grad(g.key(*p), *p > 0.0f ? G : 0.0f, j);
            });
        });
    }
};

#endif
