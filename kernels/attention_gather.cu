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
 *     mix       the warp, row by row: what weighs to the row's list, and o_t = sum_j p~_tj v_j
 *               (attention_rows.cuh)
 *
 * A row that finds no room, that may see what is not finite, or whose group has no candidates goes
 * to the queue (attention_redo.cu).
 */
#include "attention_gather.cuh"
#include "attention_rows.cuh"
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
    int start[GROUP_ROWS], count[GROUP_ROWS];
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

/* The list of a lane of a group. */
struct lane_list {
    const float4 *quads;
    const uint32_t *marks;
    int n;
};
static __device__ __forceinline__ lane_list list_of(const finish_call &a, int64_t group)
{
    const int lane = threadIdx.x % WARP;
    const int64_t at = group * a.s.room * WARP + lane;
    return lane_list{a.found.quads + at, a.found.marks + at, a.found.used[group * WARP + lane]};
}

enum { LISTED_AT_ONCE = 4 }; /* quads */

/* How many candidates of its two rows, lane / 4 and 8 more, are above their bounds. */
static __device__ __forceinline__ int2 count_candidates(const lane_list &l, float tau0, float tau1)
{
    int2 n = make_int2(0, 0);
#pragma unroll 1
    for (int i = 0; i < l.n; i += LISTED_AT_ONCE) {
        float4 s[LISTED_AT_ONCE];
#pragma unroll
        for (int c = 0; c < LISTED_AT_ONCE; c++)
            s[c] = l.quads[min(i + c, l.n - 1) * WARP];
#pragma unroll
        for (int c = 0; c < LISTED_AT_ONCE; c++)
            if (i + c < l.n) {
                n.x += (s[c].x > tau0) + (s[c].y > tau0);
                n.y += (s[c].z > tau1) + (s[c].w > tau1);
            }
    }
    return n;
}

/* Sum of x over the lanes of this one's four, and of those before it. */
static __device__ __forceinline__ int sum_before(int x, int *before)
{
    const int lane = threadIdx.x % 4;
    int sum = x;
#pragma unroll
    for (int o = 1; o < 4; o *= 2) {
        const int other = __shfl_up_sync(ALL_LANES, sum, o, 4);
        if (lane >= o) sum += other;
    }
    *before = sum - x;
    return __shfl_sync(ALL_LANES, sum, 3, 4);
}

/* Those candidates to the pool, from at.x and at.y on; a row that is not there: tau = INFINITY. */
static __device__ __forceinline__ void fill_pool(finish_room &m, const lane_list &l, int tile_keys,
                                                 float tau0, float tau1, int2 at)
{
    const int lane = threadIdx.x % WARP, names = tile_keys / 8;
    const uint32_t *marks = l.marks;
    uint32_t bits = 0, next = l.n ? *marks : 0;
    int first = 0;
#pragma unroll 1
    for (int i = 0; i < l.n; i += LISTED_AT_ONCE) {
        float4 s[LISTED_AT_ONCE];
#pragma unroll
        for (int c = 0; c < LISTED_AT_ONCE; c++)
            s[c] = l.quads[min(i + c, l.n - 1) * WARP];
#pragma unroll
        for (int c = 0; c < LISTED_AT_ONCE; c++) {
            if (i + c >= l.n) break;
            if (!bits) {
                first = (int)(next >> names) * tile_keys + lane % 4 * 2;
                bits = next & ((1u << names) - 1);
                marks += WARP;
                if (i + c + 1 < l.n) next = *marks;
            }
            const uint32_t key = (uint32_t)(first + (__ffs((int)bits) - 1) * 8);
            bits &= bits - 1;
            if (s[c].x > tau0) m.x[at.x] = s[c].x, m.key[at.x++] = key;
            if (s[c].y > tau0) m.x[at.x] = s[c].y, m.key[at.x++] = key + 1;
            if (s[c].z > tau1) m.x[at.y] = s[c].z, m.key[at.y++] = key;
            if (s[c].w > tau1) m.x[at.y] = s[c].w, m.key[at.y++] = key + 1;
        }
    }
    __syncwarp();
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
    const uint32_t number =
        blockIdx.x * FINISH_WARPS + threadIdx.x / WARP; /* few: gather's limits */
    const uint32_t groups = a.s.tiles * SCAN_GROUPS;
    const int64_t group = number;
    const int lane = threadIdx.x % WARP;
    if (group >= group_count(a.s)) return;
    const int head = (int)(number / groups), first_t = (int)(number % groups) * GROUP_ROWS;
    const int own = first_t + lane % GROUP_ROWS; /* the row of this lane */
    if (first_t >= a.s.T) return;

    const float tau = a.found.bound[group * GROUP_ROWS + lane % GROUP_ROWS];
    const lane_list list = list_of(a, group);
    const float beta = head_beta(a.rule, head % a.s.H);
    const T *v = (const T *)a.v + (a.v ? row_offset(a.s, head, 0) : 0);
    const int64_t step = (int64_t)a.s.H * D;
    int listed_here = 0;

    const int keys = own < a.s.T ? max(own + 1 - a.s.lag, 0) : 0;
    const int broken = first_broken(a, head, first_t / SCAN_ROWS);
    float tau0 = __shfl_sync(ALL_LANES, tau, lane / 4);
    float tau1 = __shfl_sync(ALL_LANES, tau, lane / 4 + 8);
    const int2 mine = count_candidates(list, tau0, tau1);
    int2 before;
    const int all0 = sum_before(mine.x, &before.x), all1 = sum_before(mine.y, &before.y);
    const int low = __shfl_sync(ALL_LANES, all0, lane % 8 * 4);
    const int high = __shfl_sync(ALL_LANES, all1, lane % 8 * 4);
    const int found = lane % GROUP_ROWS < 8 ? low : high;
    /* a row that has keys has candidates */
    const bool left_out = keys > 0 && (isnan(tau) || broken < keys || !found || found > POOL);
    const unsigned out = __ballot_sync(ALL_LANES, left_out);
    if (lane < GROUP_ROWS) m.count[lane] = left_out || !keys ? 0 : found;
    if (left_out && lane < GROUP_ROWS) {
        push(a.again, group * GROUP_ROWS + lane);
        if (a.lists.span) a.lists.span[group * GROUP_ROWS + lane] = LONG_ROW;
    }
    if (out >> lane / 4 & 1) tau0 = INFINITY; /* none of its candidates go to the pool */
    if (out >> (lane / 4 + 8) & 1) tau1 = INFINITY;
    __syncwarp();

    for (int first = 0, end; first < GROUP_ROWS; first = end) {
        int total = 0;
        for (end = first; end < GROUP_ROWS && total + m.count[end] <= POOL; end++) {
            if (lane == 0) m.start[end] = total;
            total += m.count[end];
        }
        __syncwarp();
        const int r0 = lane / 4, r1 = r0 + 8;
        const bool here0 = r0 >= first && r0 < end, here1 = r1 >= first && r1 < end;
        const int2 to =
            make_int2(here0 ? m.start[r0] + before.x : 0, here1 ? m.start[r1] + before.y : 0);
        if (total)
            fill_pool(m, list, a.s.keys, here0 ? tau0 : INFINITY, here1 ? tau1 : INFINITY, to);
        const int pair = lane / 2; /* the row of this pair of lanes */
        const bool here = pair >= first && pair < end;
        const int at = here ? m.start[pair] : 0, size = here ? m.count[pair] : 0;
        const int64_t row = (int64_t)head * a.s.T + first_t + pair;
        float *stat = a.stat ? a.stat + row * STATS : NULL;
        if (total)
            with_rule(a.rule, [&](auto rule) { solve_row(a, m, rule, at, size, beta, stat); });
        if (stat && here && size == 0 && lane % 2 == 0 && first_t + pair < a.s.T &&
            !(out >> pair & 1))
            put_stat(stat, 0, 0.0f, 0.0f, -1.0f, 0.0f);
        for (int r = first; r < end && first_t + r < a.s.T; r++) {
            if (out >> r & 1) continue;
            const int weighs = keep_support(a, m, m.start[r], m.count[r], group, r, &listed_here);
            if (!a.v) continue;
            if (a.rule.drop) drop_row(a, m, m.start[r], weighs, head, first_t + r);
            const int from = m.start[r];
            row_sum o = {};
            add_rows<2, T, D>(
                o, v, [&](int i) { return (int64_t)m.key[from + i] * (uint32_t)step; },
                [&](int i) { return m.x[from + i]; }, weighs);
            put_row<T, D>((T *)a.o + row_offset(a.s, head, first_t + r), o);
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

/* Slots of the lists of candidates and entries of those of the rows: a few times what rows of
 * normal scores have. A list that has room for all keys of a row is not full. */
static void lists_of(const gather_rule *g, gather_sizes *s)
{
    int slots = s->T > 8192 ? 128 : 64, entries = 128;
    if (g->kind == NORM_1) slots = 64, entries = 48;
    if (g->kind >= TOP_SOFTMAX) slots = 128, entries = g->k;
    if (g->kind <= NORM_REAL && g->r > 2.5f) slots = 256, entries = 320;
    s->keys = scan_keys(s->D);
    const int all = (int)ceil_div(s->T, 8) + s->keys / 8 + 1;
    for (s->room = 32; s->room < slots && s->room < all; s->room *= 2)
        ;
    s->list = GROUP_ROWS * (s->T < entries ? s->T : entries);
}

/* `count` values of a part of the scratch, or of what is kept. */
template <typename X> static X *part(char *base, size_t *bytes, int64_t count)
{
    X *at = base ? (X *)(base + *bytes) : NULL;
    *bytes += padded(sizeof(X) * (size_t)count);
    return at;
}

/* The first address from x on that is a multiple of `size`, a power of two. */
template <typename X> static X *aligned(X *x, size_t size)
{
    return (X *)(((uintptr_t)x + size - 1) / size * size);
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
    /* the lists of a group are not to cross a multiple of 4 GB: aligned to their size */
    const int64_t slots = (groups + 1) * s->room * WARP;
    p->found.quads = part<float4>(work, &p->bytes, slots);
    p->found.marks = part<uint32_t>(work, &p->bytes, slots);
    p->found.quads = aligned(p->found.quads, sizeof(float4) * (size_t)s->room * WARP);
    p->found.marks = aligned(p->found.marks, sizeof(uint32_t) * (size_t)s->room * WARP);
    p->found.used = part<int>(work, &p->bytes, groups * WARP);
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
