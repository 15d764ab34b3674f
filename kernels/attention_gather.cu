/* SPDX-License-Identifier: MIT
 *
 * attention_gather — attention by the support of its weights (attention_gather.cuh): the calls, and
 * the finish of the forward.
 *
 * A warp finishes a group of 16 rows, as many of them at a time as its room in shared memory takes:
 *
 *     count     candidates of each row above its last bound
 *     fill      their scores and keys, row by row, in the order of the candidates
 *     solve     two lanes a row: the rule of the row kernel (newton.cuh, relumax.cuh, top-k) leaves
 *               the weights in place of the scores
 *     mix       the warp, row by row: what weighs to the row's list, and o_t = sum_j p~_tj v_j, D/8
 *               lanes a key
 *
 * A row that finds no room, that may see what is not finite, or whose group has no candidates goes
 * to the queue (attention_redo.cu).
 */
#include "attention_gather.cuh"
#include "entmax.cuh"
#include "taken.cuh"

enum { FINISH_WARPS = 4, POOL = 768 /* candidates of a warp in shared memory */ };

struct finish_call {
    gather_sizes s;
    gather_rule rule;
    candidates found;
    row_lists lists;
    row_queue again;
    const void *v;
    void *o;
    float *stat;
};

/* Shared memory of a warp. Row r of the group has pool[start[r] ... start[r] + count[r]). */
struct finish_room {
    float x[POOL];
    uint32_t key[POOL];
    int start[GROUP_ROWS], count[GROUP_ROWS], filled[GROUP_ROWS];
};

/* The candidates of a row as the tile of a rule: two lanes share it. */
struct listed {
    const float *x;
    const uint32_t *key;
    int n, first;

    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int i = first; i < n; i += 2)
            f(x[i], (int)key[i], 0);
    }
    template <class Reaches, class F>
    __device__ __forceinline__ void each_of(const float *, Reaches, F f) const
    {
        each(f);
    }
};

/* f(score, key, row of the group, there) for the candidates of a group, 32 quads at a time; the
 * warp stays together. tau: the bound of row lane % 16. */
template <class F>
static __device__ __forceinline__ void each_candidate(const candidates &c, int64_t from, int n,
                                                      float tau, F f)
{
    const int lane = threadIdx.x % WARP;
#pragma unroll 1
    for (int i = 0; i < n; i += WARP) {
        const bool there = i + lane < n;
        const float4 s = there ? c.quads[from + i + lane] : make_float4(0, 0, 0, 0);
        const uint32_t tag = there ? c.tags[from + i + lane] : 0;
        const int row = (int)(tag % WARP / 4), key = (int)(tag / WARP * 8 + tag % 4 * 2);
        const float tau0 = __shfl_sync(ALL_LANES, tau, row);
        const float tau1 = __shfl_sync(ALL_LANES, tau, row + 8);
        f(s.x, key, row, there && s.x > tau0);
        f(s.y, key + 1, row, there && s.y > tau0);
        f(s.z, key, row + 8, there && s.z > tau1);
        f(s.w, key + 1, row + 8, there && s.w > tau1);
    }
}

static __device__ __forceinline__ void count_rows(const finish_call &a, finish_room &m,
                                                  int64_t from, int n, float tau)
{
    const int lane = threadIdx.x % WARP;
    if (lane < GROUP_ROWS) m.count[lane] = 0;
    __syncwarp();
    each_candidate(a.found, from, n, tau, [&](float, int, int row, bool there) {
        if (there) atomicAdd(&m.count[row], 1);
    });
    __syncwarp();
}

/* Rows [first,end) to the pool. */
static __device__ __forceinline__ void fill_rows(const finish_call &a, finish_room &m, int64_t from,
                                                 int n, float tau, int first, int end)
{
    const unsigned lane = threadIdx.x % WARP;
    if (lane < GROUP_ROWS) m.filled[lane] = m.start[lane];
    __syncwarp();
    each_candidate(a.found, from, n, tau, [&](float x, int key, int row, bool there) {
        there = there && row >= first && row < end;
        const unsigned same = __match_any_sync(ALL_LANES, there ? row : -1);
        const unsigned before = same & ((1u << lane) - 1);
        int at = there ? m.filled[row] : 0;
        __syncwarp();
        if (there && !before) m.filled[row] = at + __popc(same);
        at += __popc(before);
        if (there) m.x[at] = x, m.key[at] = (uint32_t)key;
        __syncwarp();
    });
}

/* The weights of a row in place of its scores: two lanes; stat if it is wanted. n = 0: no row. */
template <class Rule>
static __device__ __forceinline__ void solve_row(const finish_call &a, finish_room &m, Rule rule,
                                                 int at, int n, float beta, float *stat)
{
    lane_team g(2, (lane_team::slots_type *)&m);
    float *x = m.x + at;
    const uint32_t *key = m.key + at;
    const listed t = {x, key, n, g.rank};
    row_facts row = {beta, 0.0f, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, n == 0};
    float own = -INFINITY;
    int arg = INT32_MAX, count = 0;
    for (int i = g.rank; i < n; i += 2) {
        x[i] *= a.rule.scale;
        own = fmaxf(own, x[i]);
    }
    row.m = g.max(own);
    for (int i = g.rank; i < n; i += 2) {
        if (x[i] == row.m) arg = min(arg, (int)key[i]);
        x[i] -= row.m;
    }
    row.top[0] = own - row.m;
    __syncwarp();
    rule.solve(t, g, row);
    for (int i = g.rank; i < n; i += 2) {
        const float p = rule.weight(x[i], (int)key[i]);
        x[i] = p;
        count += p > 0.0f;
    }
    const int2 s = g.first_and_count(arg, count);
    if (stat && n && g.rank == 0) put_stat(stat, 0, row.m, rule.norm(), (float)s.x, (float)s.y);
    __syncwarp();
}

/* What weighs of a row moves to the front of its part of the pool, and to its list if there is
 * room; returns how many. */
static __device__ __forceinline__ int keep_support(const finish_call &a, finish_room &m, int at,
                                                   int n, int64_t group, int row, int *listed_here)
{
    const unsigned lane = threadIdx.x % WARP;
    int left = 0;
    for (int i = 0; i < n; i += WARP) {
        const bool there = i + (int)lane < n;
        const float p = there ? m.x[at + i + lane] : 0.0f;
        const uint32_t key = there ? m.key[at + i + lane] : 0;
        const unsigned kept = __ballot_sync(ALL_LANES, p > 0.0f);
        __syncwarp(); /* all have read what others write next */
        const int to = at + left + __popc(kept & ((1u << lane) - 1));
        if (p > 0.0f) m.x[to] = p, m.key[to] = key;
        left += __popc(kept);
        __syncwarp();
    }
    if (!a.lists.span) return left;
    const bool fits = *listed_here + left <= a.s.list;
    uint2 *entries = a.lists.entries + group * a.s.list + *listed_here;
    for (int i = (int)lane; fits && i < left; i += WARP)
        entries[i] = make_uint2(m.key[at + i], __float_as_uint(m.x[at + i]));
    if (lane == 0)
        a.lists.span[group * GROUP_ROWS + row] =
            fits ? (uint32_t)*listed_here | (uint32_t)left << 16 : LONG_ROW;
    *listed_here += fits ? left : 0;
    return left;
}

/* Dropout of the n weights of row t. */
static __device__ __forceinline__ void drop_row(const finish_call &a, finish_room &m, int at, int n,
                                                int head, int t)
{
    for (int i = at + (int)threadIdx.x % WARP; i < at + n; i += WARP)
        m.x[i] *= kept_share(a.rule, a.s, head, t, (int)m.key[i]);
    __syncwarp();
}

/* o_t of n keys of the pool from `at` on. */
template <typename T, int D>
static __device__ __forceinline__ void mix(const T *v, int64_t step, T *o, const finish_room &m,
                                           int at, int n)
{
    enum { W = pack<T>::width, LANES = D / W, KEYS = WARP / LANES };
    const int lane = threadIdx.x % WARP, column = lane % LANES * W;
    float s[W] = {};
    int i = lane / LANES;
    const auto add = [&](float p, const uint4 &w) {
        float x[W];
        unpack(w, x, T());
#pragma unroll
        for (int c = 0; c < W; c++)
            s[c] = fmaf(p, x[c], s[c]);
    };
    const auto row = [&](int e) { return *(const uint4 *)(v + m.key[at + e] * step + column); };
    for (; i + KEYS < n; i += 2 * KEYS) {
        const uint4 w = row(i), next = row(i + KEYS);
        add(m.x[at + i], w);
        add(m.x[at + i + KEYS], next);
    }
    if (i < n) add(m.x[at + i], row(i));
#pragma unroll
    for (int c = 0; c < W; c++)
#pragma unroll
        for (int l = LANES; l < WARP; l *= 2)
            s[c] += __shfl_xor_sync(ALL_LANES, s[c], l);
    if (lane < LANES) store_pack(o + column, s);
}

/* The first key that is not finite among those that a row of this tile may see. */
static __device__ __forceinline__ int first_broken(const finish_call &a, int head, int tile)
{
    int first = INT32_MAX;
    for (int i = threadIdx.x % WARP; i <= tile; i += WARP)
        first = min(first, a.found.broken[head * a.s.tiles + i]);
    return __reduce_min_sync(ALL_LANES, first);
}

template <typename T, int D>
static __global__ void __launch_bounds__(FINISH_WARPS *WARP, 8) finish_kernel(const finish_call a)
{
    __shared__ finish_room rooms[FINISH_WARPS];
    finish_room &m = rooms[threadIdx.x / WARP];
    const int64_t group = (int64_t)blockIdx.x * FINISH_WARPS + threadIdx.x / WARP;
    const int lane = threadIdx.x % WARP;
    if (group >= group_count(a.s)) return;
    const int head = (int)(group / (a.s.tiles * SCAN_GROUPS));
    const int first_t = (int)(group % (a.s.tiles * SCAN_GROUPS)) * GROUP_ROWS;
    const int own = first_t + lane % GROUP_ROWS; /* the row of this lane */
    if (first_t >= a.s.T) return;

    float tau = a.found.bound[group * GROUP_ROWS + lane % GROUP_ROWS];
    const int n = a.found.count[group];
    const int64_t from = group * a.s.room;
    const float beta = head_beta(a.rule, head % a.s.H);
    const T *v = (const T *)a.v + (a.v ? row_offset(a.s, head, 0) : 0);
    const int64_t step = (int64_t)a.s.H * D;
    int listed_here = 0;

    const int keys = own < a.s.T ? max(own + 1 - a.s.lag, 0) : 0;
    const int broken = first_broken(a, head, first_t / SCAN_ROWS);
    count_rows(a, m, from, max(n, 0), tau);
    /* a row that has keys has candidates */
    const int found = m.count[lane % GROUP_ROWS];
    const bool left_out =
        keys > 0 && (n < 0 || isnan(tau) || broken < keys || !found || found > POOL);
    const unsigned out = __ballot_sync(ALL_LANES, left_out);
    __syncwarp();
    if (left_out) tau = INFINITY; /* none of its candidates go to the pool */
    if (left_out && lane < GROUP_ROWS) {
        m.count[lane] = 0;
        push(a.again, group * GROUP_ROWS + lane);
        if (a.lists.span) a.lists.span[group * GROUP_ROWS + lane] = LONG_ROW;
    }
    __syncwarp();

    for (int first = 0, end; first < GROUP_ROWS; first = end) {
        int total = 0;
        for (end = first; end < GROUP_ROWS && total + m.count[end] <= POOL; end++) {
            if (lane == 0) m.start[end] = total;
            total += m.count[end];
        }
        __syncwarp();
        if (total) fill_rows(a, m, from, n, tau, first, end);
        const int mine = lane / 2; /* row of this pair of lanes */
        const bool here = mine >= first && mine < end;
        const int at = here ? m.start[mine] : 0, size = here ? m.count[mine] : 0;
        const int64_t row = (int64_t)head * a.s.T + first_t + mine;
        float *stat = a.stat ? a.stat + row * STATS : NULL;
        if (total)
            with_rule(a.rule, [&](auto rule) { solve_row(a, m, rule, at, size, beta, stat); });
        if (stat && here && size == 0 && lane % 2 == 0 && first_t + mine < a.s.T &&
            !(out >> mine & 1))
            put_stat(stat, 0, 0.0f, 0.0f, -1.0f, 0.0f);
        for (int r = first; r < end && first_t + r < a.s.T; r++) {
            if (out >> r & 1) continue;
            const int weighs = keep_support(a, m, m.start[r], m.count[r], group, r, &listed_here);
            if (!a.v) continue;
            if (a.rule.drop) drop_row(a, m, m.start[r], weighs, head, first_t + r);
            mix<T, D>(v, step, (T *)a.o + row_offset(a.s, head, first_t + r), m, m.start[r],
                      weighs);
        }
        __syncwarp();
    }
}

/* --- host ------------------------------------------------------------------------------------ */

/* alpha, if it is one whose exponent has kernels of multiplications only. */
static gather_kind norm_kind(double alpha)
{
    for (int r = 1; r <= 3; r++)
        if (fabs(alpha - (1 + 1.0 / r)) <= 1e-12) return (gather_kind)(NORM_1 + r - 1);
    return NORM_REAL;
}

static status rule_of(const args *a, const char *what, gather_rule *g)
{
    const params *p = &a->p;
    const double alpha = a->transform == OP_entmax ? p->alpha : 2;
    if (p->lag < 0) return fail(ERR_ARG, "%s: lag: expected >= 0", what);
    TRY(rate_fits(p, what));
    g->scale = (float)p->scale, g->beta = IN(float, 3);
    g->drop = p->rate > 0, g->masks = philox_masks_of(p);
    g->first_row = p->first_row, g->whole_T = params_whole_T(p, a->d.T);
    g->a = 1, g->r = 1, g->k = 1;
    switch (a->transform) {
    case OP_relumax:
        if (p->relumax_power != 2 && p->relumax_power != 4)
            return fail(ERR_ARG, "%s: power is %d: expected 2 or 4", what, p->relumax_power);
        if (!(p->relumax_b > 0 && p->relumax_b < INFINITY))
            return fail(ERR_ARG, "%s: b is %g: expected a positive number", what, p->relumax_b);
        g->kind = MARGIN, g->b = (float)p->relumax_b, g->power = p->relumax_power;
        return OK;
    case OP_topk_softmax:
    case OP_topk_uniform:
        if (p->k < 1) return fail(ERR_ARG, "%s: k is %lld: expected k >= 1", what, (long long)p->k);
        g->kind = a->transform == OP_topk_softmax ? TOP_SOFTMAX : TOP_UNIFORM, g->k = (int)p->k;
        return OK;
    default:
        if (a->transform == OP_entmax) TRY(entmax_check(what, p));
        g->kind = norm_kind(alpha);
        g->a = (float)(alpha - 1), g->r = (float)(1 / (alpha - 1));
        g->settled = g->r < 2               ? ULP
                     : g->kind == NORM_REAL ? 2 * ULP
                                            : 0x1p-12f / sqrtf((float)POOL);
        return OK;
    }
}

/* Quads of candidates and entries of lists, per row: a few times what rows of normal scores have.
 */
static void lists_of(const gather_rule *g, gather_sizes *s)
{
    int quads = 128, entries = 128;
    if (g->kind == NORM_1) quads = 64, entries = 48;
    if (g->kind >= TOP_SOFTMAX) quads = 96, entries = g->k;
    if (g->kind <= NORM_REAL && g->r > 2.5f) quads = 384, entries = 320;
    const int64_t most = 4 * ceil_div(s->T, 8) * 8; /* of 16 rows: 32 lanes each eight keys */
    s->room = (int)(GROUP_ROWS * quads < most ? GROUP_ROWS * quads : most);
    s->list = GROUP_ROWS * (s->T < entries ? s->T : entries);
}

/* `count` values of a part of the scratch, or of what is kept. */
template <typename X> static X *part(char *base, size_t *bytes, int64_t count)
{
    X *at = base ? (X *)(base + *bytes) : NULL;
    *bytes += padded(sizeof(X) * (size_t)count);
    return at;
}

status gather_plan_of(const args *a, const char *what, gather_plan *p)
{
    *p = {};
    gather_sizes *s = &p->s;
    TRY(rule_of(a, what, &p->rule));
    s->B = (int)a->d.B, s->T = (int)a->d.T, s->H = (int)a->d.H, s->D = (int)a->d.D;
    s->lag = (int)(a->p.lag < s->T ? a->p.lag : s->T);
    s->heads = s->B * s->H, s->tiles = (int)ceil_div(s->T, SCAN_ROWS);
    lists_of(&p->rule, s);
    const int64_t groups = group_count(*s), rows = padded_rows(*s);
    char *work = (char *)a->work;
    p->found.quads = part<float4>(work, &p->bytes, groups * s->room);
    p->found.tags = part<uint32_t>(work, &p->bytes, groups * s->room);
    p->found.count = part<int>(work, &p->bytes, groups);
    p->found.bound = part<float>(work, &p->bytes, rows);
    p->found.broken = part<int>(work, &p->bytes, (int64_t)s->heads * s->tiles);
    p->again.rows = part<uint32_t>(work, &p->bytes, rows);
    p->again.count = part<int>(work, &p->bytes, 1);
    p->blocks = (int)(rows < 264 ? rows : 264);
    p->scores = part<float>(work, &p->bytes, (int64_t)p->blocks * s->T);
    char *keep = (char *)a->keep;
    p->lists.span = part<uint32_t>(keep, &p->kept, rows);
    p->lists.entries = part<uint2>(keep, &p->kept, groups * s->list);
    p->lists.stat = part<float>(keep, &p->kept, (int64_t)s->heads * s->T * STATS);
    return OK;
}

template <typename T, int D>
static status finish_of(const args *a, const char *what, const finish_call &f)
{
    finish_kernel<T, D><<<(unsigned)ceil_div(group_count(f.s), FINISH_WARPS), FINISH_WARPS * WARP,
                          0, stream_of(a)>>>(f);
    return launched(what);
}

template <typename T> static status finish_of(const args *a, const char *what, const finish_call &f)
{
    switch (f.s.D) {
    case 16:
        return finish_of<T, 16>(a, what, f);
    case 32:
        return finish_of<T, 32>(a, what, f);
    case 64:
        return finish_of<T, 64>(a, what, f);
    default:
        return finish_of<T, 128>(a, what, f);
    }
}

status gather_forward(const args *a, const char *what, const gather_plan *p, float *stat,
                      const void *v, void *o)
{
    const finish_call f = {p->s, p->rule, p->found, p->lists, p->again, v, o, stat};
    CUDA_TRY(cudaMemsetAsync(p->again.count, 0, sizeof(int), stream_of(a)), what);
    TRY(gather_scan(a, what, p));
    TRY(a->type == BF16 ? finish_of<bf16>(a, what, f) : finish_of<fp16>(a, what, f));
    return gather_redo(a, what, p, stat, v, o);
}

extern "C" status attention_gather(const args *a)
{
    const char *what = "attention";
    gather_plan p;
    TRY(taken(OP_attention, "gather", a));
    TRY(gather_plan_of(a, what, &p));
    if (a->need) {
        *a->need = p.bytes;
        if (a->keep_need) *a->keep_need = p.kept;
        return OK;
    }
    if (p.s.heads == 0) return OK;
    float *stat = p.lists.stat ? p.lists.stat : OUT(float, 1);
    TRY(gather_forward(a, what, &p, stat, a->in[2], a->out[0]));
    if (a->out[1] && stat != a->out[1])
        CUDA_TRY(cudaMemcpyAsync(a->out[1], stat,
                                 sizeof(float) * STATS * (size_t)(p.s.heads * (int64_t)p.s.T),
                                 cudaMemcpyDeviceToDevice, stream_of(a)),
                 what);
    return OK;
}

extern "C" status attention_gather_redone(const args *a, double *share)
{
    gather_plan p;
    int count = 0;
    TRY(gather_plan_of(a, "attention", &p));
    if (p.s.heads > 0)
        CUDA_TRY(cudaMemcpy(&count, p.again.count, sizeof count, cudaMemcpyDeviceToHost),
                 "attention");
    *share = p.s.heads > 0 ? (double)count / ((double)p.s.heads * p.s.T) : 0;
    return OK;
}
