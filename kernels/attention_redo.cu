/* SPDX-License-Identifier: MIT
 *
 * attention_redo — the rows of attention that the lists do not serve (attention_gather.cuh): more
 * candidates than there is room for, or a query or key that is not finite.
 *
 *     c_j = scale <q,k_j>,   p = pi(c; beta),   o = sum_j p_j v_j,   j <= t - lag
 *
 * A block takes a row of the queue and keeps its scores in memory; the rule of the row kernel
 * solves it there (row.cuh). Exact in float, whatever the support, and slow: all keys are read
 * three times.
 */
#include "attention_redo.cuh"

struct redo_call {
    gather_sizes s;
    gather_rule rule;
    row_queue again;
    float *scores;
    const void *q, *k, *v;
    void *o;
    float *stat;
};

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
        redo_solved x;
        with_rule(a.rule, [&](auto rule) {
            x = solve_scores(scores, keys, head_beta(a.rule, head % a.s.H), rule, g);
        });
        if (stat && threadIdx.x == 0) put_stat(stat, 0, x.m, x.norm, (float)x.arg, (float)x.count);
        for (int j = threadIdx.x; a.rule.drop && j < keys; j += REDO_THREADS)
            scores[j] *= kept_share(a.rule, a.s, head, t, j);
        __syncthreads();
        if (a.v) mix_keys<T, D>(scores, (const T *)a.v + first, step, keys, (T *)a.o + at, room);
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
