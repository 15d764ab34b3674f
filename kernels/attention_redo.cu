/* SPDX-License-Identifier: MIT
 *
 * attention_redo — the rows of attention that the lists do not serve (attention_gather.cuh): more
 * candidates than there is room for, or a query or key that is not finite.
 *
 *     c_j = scale <q,k_j>,   p = pi(c; beta),   o = sum_j p_j v_j,   j <= t - lag
 *
 * A block takes a row of the queue and keeps its scores in memory; the rule of the row kernel solves
 * it there (row.cuh). Exact in float, whatever the support, and slow: all keys are read three times.
 */
#include "attention_gather.cuh"

enum { REDO_THREADS = 512 };

struct redo_call {
    gather_sizes s;
    gather_rule rule;
    row_queue again;
    float *scores;
    const void *q, *k, *v;
    void *o;
    float *stat;
};

/* scores[j] = scale <q,k_j>, j < keys; q (D) in shared memory. */
template <typename T, int D>
static __device__ __forceinline__ void score_keys(const float *q, const T *k, int64_t step, int keys,
                                                  float scale, float *scores)
{
    for (int j = threadIdx.x; j < keys; j += REDO_THREADS) {
        float s = 0.0f;
#pragma unroll 1
        for (int e = 0; e < D; e += pack<T>::width) {
            float x[pack<T>::width];
            unpack(*(const uint4 *)(k + j * step + e), x, T());
#pragma unroll
            for (int c = 0; c < pack<T>::width; c++)
                s = fmaf(q[e + c], x[c], s);
        }
        scores[j] = s * scale;
    }
}

/* The weights in place of the scores of a row, and its numbers. */
template <class Rule>
static __device__ __forceinline__ void solve_scores(float *scores, int keys, float beta, Rule rule,
                                                    block_team &g, float *stat)
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
    if (!stat || threadIdx.x) return;
    if (row.idle)
        put_stat(stat, 0, none, none, -1.0f, 0.0f);
    else
        put_stat(stat, 0, row.m, rule.norm(), (float)s.x, (float)s.y);
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
}

template <typename T, int D>
static __global__ void __launch_bounds__(REDO_THREADS) redo_kernel(const redo_call a)
{
    __shared__ block_team::slots_type slots;
    __shared__ float q[D], room[REDO_THREADS];
    const int64_t step = (int64_t)a.s.H * D, padded_T = (int64_t)a.s.tiles * SCAN_ROWS;
    float *scores = a.scores + (int64_t)blockIdx.x * a.s.T;
    for (int i = blockIdx.x; i < *a.again.count; i += gridDim.x) {
        const int64_t row = a.again.rows[i];
        const int head = (int)(row / padded_T), t = (int)(row % padded_T);
        const int keys = max(t + 1 - a.s.lag, 0);
        const int64_t at = row_offset(a.s, head, t), first = row_offset(a.s, head, 0);
        block_team g(REDO_THREADS, &slots);
        __syncthreads();
        if (threadIdx.x < D) q[threadIdx.x] = widen(((const T *)a.q)[at + threadIdx.x]);
        __syncthreads();
        score_keys<T, D>(q, (const T *)a.k + first, step, keys, a.rule.scale, scores);
        __syncthreads();
        float *stat = a.stat ? a.stat + ((int64_t)head * a.s.T + t) * STATS : NULL;
        with_rule(a.rule, [&](auto rule) {
            solve_scores(scores, keys, head_beta(a.rule, head % a.s.H), rule, g, stat);
        });
        __syncthreads();
        if (a.v)
            mix_keys<T, D>(scores, (const T *)a.v + first, step, keys, (T *)a.o + at, room);
    }
}

template <typename T>
static status redo_of(const args *a, const char *what, const gather_plan *p, const redo_call &r)
{
    const auto kernel = p->s.D == 16   ? redo_kernel<T, 16>
                        : p->s.D == 32 ? redo_kernel<T, 32>
                        : p->s.D == 64 ? redo_kernel<T, 64>
                                       : redo_kernel<T, 128>;
    kernel<<<(unsigned)p->blocks, REDO_THREADS, 0, stream_of(a)>>>(r);
    return launched(what);
}

status gather_redo(const args *a, const char *what, const gather_plan *p, float *stat,
                   const void *v, void *o)
{
    const redo_call r = {p->s, p->rule, p->again, p->scores, a->in[0], a->in[1], v, o, stat};
    return a->type == BF16 ? redo_of<bf16>(a, what, p, r) : redo_of<fp16>(a, what, p, r);
}
