/* SPDX-License-Identifier: MIT
 *
 * attention_gather_grad — the backward of attention from the lists of its rows
 * (attention_gather.cuh). With G_j = <do,v_j> on the support of a row,
 *
 *     dq_t = scale sum_j dc_tj k_j,   dk_j = scale sum_t dc_tj q_t,   dv_j = sum_t p~_tj do_t
 *
 * where dc(G; p) is the gradient of the row kernel, by its rule.
 *
 *     count     how many entries of each part of the rows a column has, and the place of every
 * entry among them; blocks count in shared memory start     where the entries of each column and
 * part begin; the rows without a list rows      a warp a row: G, dc, dq; row, weight and dc of
 * every entry to its column columns   a warp a column, a block a long one: entries sorted by their
 * row, dk and dv
 *
 * Places within a part are taken in no order, hence the sort: every sum is taken in the order of
 * the rows. A row without a list is done by a block over all keys, and what it adds to a column is
 * computed again there from the constants that its rules found (attention_redo.cuh).
 */
#include "attention_redo.cuh"
#include "taken.cuh"

enum {
    COUNT_THREADS = 512,
    RANGE = 32768, /* columns that a block counts */
    PARTS = 16,    /* of the rows of a head, at most */
    START_THREADS = 1024,
    ROW_WARPS = 8,
    NEAR = 256, /* entries of a row whose G is in shared memory */
    COLUMN_WARPS = 8,
    SHORT = 256, /* entries of a column that a warp sorts */
    LONG_WARPS = 16
};

struct grad_call {
    gather_sizes s;
    gather_rule rule;
    row_lists lists;
    const void *q, *k, *v, *g;
    void *dq, *dk, *dv;
    float *dbeta;      /* of every row, or NULL */
    bool tied;         /* dk is added to dq */
    int parts, spread; /* groups of a part */
    float *G;          /* of every entry */
    uint32_t *place; /* of every entry in its part of the column; then the order of long columns */
    uint64_t *columns; /* entries by column */
    uint32_t *begin; /* (parts,heads,T): first entry of a part of a column, from that of the head */
    uint32_t *first; /* (heads,T+1): of a column */
    uint32_t *bits;  /* (heads,T'/32): rows without a list */
    row_queue again; /* the same */
    row_queue wide;  /* long columns: head T + j */
    redo_facts *facts; /* of every padded row */
};

static __device__ __forceinline__ int64_t head_entries(const gather_sizes &s)
{
    return (int64_t)s.tiles * SCAN_GROUPS * s.list;
}

/* --- an entry of a column -------------------------------------------------------------------- */

/* Row, weight and gradient in 64 bits: 19 of the row, 22 of a float without its sign, 23 of one. */
static __device__ __forceinline__ uint32_t rounded_bits(float x)
{
    const uint32_t bits = __float_as_uint(x);
    return isnan(x) ? 0x7fc00000u : bits + 0x100u;
}
static __device__ __forceinline__ uint64_t column_entry(int t, float p, float dc)
{
    return (uint64_t)t << 45 | (uint64_t)(rounded_bits(p) >> 9) << 23 | rounded_bits(dc) >> 9;
}
static __device__ __forceinline__ int entry_row(uint64_t e)
{
    return (int)(e >> 45);
}
static __device__ __forceinline__ float entry_weight(uint64_t e)
{
    return __uint_as_float((uint32_t)(e >> 23 & 0x3fffff) << 9);
}
static __device__ __forceinline__ float entry_gradient(uint64_t e)
{
    return __uint_as_float((uint32_t)(e & 0x7fffff) << 9);
}

/* --- count ----------------------------------------------------------------------------------- */

static __device__ __forceinline__ int span_count(uint32_t span)
{
    return span == LONG_ROW ? 0 : (int)(span >> 16);
}

/* Block (part, head, range of columns). */
static __global__ void __launch_bounds__(COUNT_THREADS) count_kernel(const grad_call a)
{
    extern __shared__ uint32_t counts[];
    const int part = blockIdx.x, head = blockIdx.y, from = blockIdx.z * RANGE;
    const int columns = min(RANGE, a.s.T - from), lane = threadIdx.x % WARP;
    const int groups = a.s.tiles * SCAN_GROUPS;
    for (int j = threadIdx.x; j < columns; j += COUNT_THREADS)
        counts[j] = 0;
    __syncthreads();
    const int end = min((part + 1) * a.spread, groups);
    for (int g = part * a.spread + threadIdx.x / WARP; g < end; g += COUNT_THREADS / WARP) {
        const int64_t group = (int64_t)head * groups + g;
        const int t = g * GROUP_ROWS + lane;
        const bool row = lane < GROUP_ROWS && t < a.s.T;
        const int n = row ? span_count(a.lists.span[group * GROUP_ROWS + lane]) : 0;
        const int total = __reduce_add_sync(ALL_LANES, n);
        for (int i = lane; i < total; i += WARP) {
            const int64_t e = group * a.s.list + i;
            const int j = (int)a.lists.entries[e].x - from;
            if (j >= 0 && j < columns) a.place[e] = atomicAdd(&counts[j], 1);
        }
    }
    __syncthreads();
    uint32_t *begin = a.begin + ((int64_t)part * a.s.heads + head) * a.s.T + from;
    for (int j = threadIdx.x; j < columns; j += COUNT_THREADS)
        begin[j] = counts[j];
}

/* --- start ----------------------------------------------------------------------------------- */

/* Counts become first entries, a block a head. */
static __global__ void __launch_bounds__(START_THREADS) start_kernel(const grad_call a)
{
    __shared__ uint32_t sums[START_THREADS / WARP];
    const int head = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint32_t before = 0;
    for (int j0 = 0; j0 < a.s.T; j0 += START_THREADS) {
        const int j = j0 + threadIdx.x;
        uint32_t own = 0;
        for (int part = 0; part < a.parts && j < a.s.T; part++)
            own += a.begin[((int64_t)part * a.s.heads + head) * a.s.T + j];
        uint32_t sum = own;
        for (int o = 1; o < WARP; o *= 2) {
            const uint32_t other = __shfl_up_sync(ALL_LANES, sum, o);
            if (lane >= o) sum += other;
        }
        if (lane == WARP - 1) sums[warp] = sum;
        __syncthreads();
        uint32_t at = before;
        for (int w = 0; w < START_THREADS / WARP; w++) {
            if (w < warp) at += sums[w];
            before += sums[w];
        }
        at += sum - own;
        if (j < a.s.T) {
            a.first[(int64_t)head * (a.s.T + 1) + j] = at;
            if (own > SHORT) push(a.wide, (int64_t)head * a.s.T + j);
            for (int part = 0; part < a.parts; part++) {
                uint32_t *begin = a.begin + ((int64_t)part * a.s.heads + head) * a.s.T + j;
                const uint32_t n = *begin;
                *begin = at;
                at += n;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) a.first[(int64_t)head * (a.s.T + 1) + a.s.T] = before;
}

/* The rows without a list: bits and queue, a thread a row. */
static __global__ void __launch_bounds__(START_THREADS) long_rows_kernel(const grad_call a)
{
    const int64_t row = (int64_t)blockIdx.x * START_THREADS + threadIdx.x;
    const int padded_T = a.s.tiles * SCAN_ROWS, t = (int)(row % padded_T);
    const bool is_long = row < padded_rows(a.s) && t < a.s.T && a.lists.span[row] == LONG_ROW;
    const unsigned set = __ballot_sync(ALL_LANES, is_long);
    if (is_long) push(a.again, row);
    if (threadIdx.x % WARP == 0 && row < padded_rows(a.s)) a.bits[row / WARP] = set;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* The entries of a row as the pair of a gradient's rule: a warp shares it. */
template <class Rule> struct kept_pair {
    const Rule &rule;
    const uint2 *entries;
    const float *G;
    int n, lane;

    template <class F> __device__ __forceinline__ void first(F f) const
    {
        for (int i = lane; i < n; i += WARP) {
            const float p = __uint_as_float(entries[i].y);
            f(p, rule.key(p), G[i], (int)entries[i].x, 0);
        }
    }
    template <class F> __device__ __forceinline__ void raw(F f) const
    {
        for (int i = lane; i < n; i += WARP)
            f(__uint_as_float(entries[i].y), G[i], (int)entries[i].x, 0);
    }
};

/* dc in place of G; the slope of beta. */
template <class Rule>
static __device__ __forceinline__ float grade_row(const grad_call &a, Rule rule,
                                                  const uint2 *entries, float *G, int n, float beta,
                                                  const float *stat)
{
    __shared__ lane_team::slots_type slots;
    lane_team g(WARP, &slots);
    const int lane = g.rank, arg = (int)stat[STAT_ARG];
    float p_max = 0.0f, G_max = 0.0f;
    for (int i = lane; i < n; i += WARP)
        if ((int)entries[i].x == arg) p_max = __uint_as_float(entries[i].y), G_max = G[i];
    const unsigned has = __ballot_sync(ALL_LANES, p_max > 0.0f);
    const int from = has ? __ffs((int)has) - 1 : 0;
    p_max = __shfl_sync(ALL_LANES, p_max, from), G_max = __shfl_sync(ALL_LANES, G_max, from);
    const grad_facts row = {beta, stat[STAT_NORM], p_max, G_max, arg, 0, true, false};
    rule.begin(row);
    kept_pair<Rule> t = {rule, entries, G, n, lane};
    rule.solve(t, g, row);
    __syncwarp();
    for (int i = lane; i < n; i += WARP)
        G[i] = a.rule.scale *
               rule.grad(rule.key(__uint_as_float(entries[i].y)), G[i], (int)entries[i].x);
    __syncwarp();
    return rule.dbeta(row);
}

/* Where a row of D values is: D/8 lanes a row, several rows at a time. */
template <typename T, int D> struct row_lanes {
    enum { W = pack<T>::width, LANES = D / W, ROWS = WARP / LANES };
    int which, column;
    __device__ row_lanes() : which(threadIdx.x % WARP / LANES), column((int)threadIdx.x % LANES * W)
    {
    }
    __device__ __forceinline__ static float sum(float x)
    {
#pragma unroll
        for (int o = LANES / 2; o; o /= 2)
            x += __shfl_xor_sync(ALL_LANES, x, o);
        return x;
    }
    /* Over the rows, in a fixed order. */
    __device__ __forceinline__ static void fold(float (&s)[W])
    {
#pragma unroll
        for (int c = 0; c < W; c++)
#pragma unroll
            for (int o = LANES; o < WARP; o *= 2)
                s[c] += __shfl_xor_sync(ALL_LANES, s[c], o);
    }
};

/* G[i] = <do,v_i> of the entries. */
template <typename T, int D>
static __device__ __forceinline__ void dot_rows(const T *g, const T *v, int64_t step,
                                                const uint2 *entries, int n, float *G)
{
    typedef row_lanes<T, D> lanes;
    enum { W = lanes::W, ROWS = lanes::ROWS };
    const lanes l;
    float own[W];
    unpack(*(const uint4 *)(g + l.column), own, T());
    const auto load = [&](int i) {
        return i < n ? *(const uint4 *)(v + entries[i].x * step + l.column)
                     : make_uint4(0, 0, 0, 0);
    };
    const auto dot = [&](const uint4 &w) {
        float x[W], s = 0.0f;
        unpack(w, x, T());
#pragma unroll
        for (int c = 0; c < W; c++)
            s = fmaf(own[c], x[c], s);
        return lanes::sum(s);
    };
    for (int i0 = 0; i0 < n; i0 += 4 * ROWS) {
        uint4 w[4];
#pragma unroll
        for (int u = 0; u < 4; u++)
            w[u] = load(i0 + u * ROWS + l.which);
#pragma unroll
        for (int u = 0; u < 4; u++) {
            const int i = i0 + u * ROWS + l.which;
            const float s = dot(w[u]);
            if (i < n && l.column == 0) G[i] = s;
        }
    }
    __syncwarp();
}

/* dq = sum_i dc_i k_i. */
template <typename T, int D>
static __device__ __forceinline__ void sum_rows(const T *k, int64_t step, const uint2 *entries,
                                                int n, const float *dc, T *dq)
{
    typedef row_lanes<T, D> lanes;
    enum { W = lanes::W, ROWS = lanes::ROWS };
    const lanes l;
    float s[W] = {};
    for (int i0 = 0; i0 < n; i0 += 4 * ROWS) {
        uint4 w[4];
#pragma unroll
        for (int u = 0; u < 4; u++) {
            const int i = i0 + u * ROWS + l.which;
            w[u] = i < n ? *(const uint4 *)(k + entries[i].x * step + l.column)
                         : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int u = 0; u < 4; u++) {
            const int i = i0 + u * ROWS + l.which;
            const float f = i < n ? dc[i] : 0.0f;
            float x[W];
            unpack(w[u], x, T());
#pragma unroll
            for (int c = 0; c < W; c++)
                s[c] = fmaf(f, x[c], s[c]);
        }
    }
    lanes::fold(s);
    if (l.which == 0) store_pack(dq + l.column, s);
}

template <typename T, int D>
static __global__ void __launch_bounds__(ROW_WARPS *WARP) rows_kernel(const grad_call a)
{
    __shared__ float near[ROW_WARPS][NEAR];
    const int64_t row = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    const int padded_T = a.s.tiles * SCAN_ROWS, lane = threadIdx.x % WARP;
    const int head = (int)(row / padded_T), t = (int)(row % padded_T);
    if (row >= padded_rows(a.s) || t >= a.s.T) return;
    const uint32_t span = a.lists.span[row];
    if (span == LONG_ROW) return;
    const int64_t group = row / GROUP_ROWS, e = group * a.s.list + (span & 0xffff);
    const int n = (int)(span >> 16);
    const int64_t r = (int64_t)head * a.s.T + t, step = (int64_t)a.s.H * D;
    const int64_t at = row_offset(a.s, head, t), first = row_offset(a.s, head, 0);
    const uint2 *entries = a.lists.entries + e;
    float *G = n <= NEAR ? near[threadIdx.x / WARP] : a.G + e;
    float slope = 0.0f;
    if (n) {
        dot_rows<T, D>((const T *)a.g + at, (const T *)a.v + first, step, entries, n, G);
        for (int i = lane; a.rule.drop && i < n; i += WARP)
            G[i] *= kept_share(a.rule, a.s, head, t, (int)entries[i].x);
        __syncwarp();
        const float beta = head_beta(a.rule, head % a.s.H);
        with_grad_rule(a.rule, [&](auto rule) {
            slope = grade_row(a, rule, entries, G, n, beta, a.lists.stat + r * STATS);
        });
    }
    sum_rows<T, D>((const T *)a.k + first, step, entries, n, G, (T *)a.dq + at);
    if (a.dbeta && lane == 0) a.dbeta[r] = slope;
    if (!a.columns) return;
    const int part = (int)(group % (a.s.tiles * SCAN_GROUPS)) / a.spread;
    const uint32_t *begin = a.begin + ((int64_t)part * a.s.heads + head) * a.s.T;
    uint64_t *columns = a.columns + head * head_entries(a.s);
    for (int i = lane; i < n; i += WARP) {
        const uint2 w = entries[i];
        const float p = __uint_as_float(w.y) * kept_share(a.rule, a.s, head, t, (int)w.x);
        columns[begin[w.x] + a.place[e + i]] = column_entry(t, p, G[i]);
    }
}

/* --- rows without a list --------------------------------------------------------------------- */

/* dc of a row in place of its G, and the constants of its rules. */
template <class Rule, class Grad>
static __device__ __forceinline__ float grade_scores(const redo_row &x, block_team &g, Rule rule,
                                                     Grad grad, float *p, float *G, float beta,
                                                     float scale, redo_facts *facts)
{
    const redo_solved solved = solve_scores(p, x.keys, beta, rule, g);
    __syncthreads();
    const float none = solved.broken ? NAN : 0.0f;
    float slope = none;
    if (!solved.idle) {
        const grad_facts row = {beta,       solved.norm, p[solved.arg], G[solved.arg],
                                solved.arg, 0,           true,          false};
        __syncthreads();
        grad.begin(row);
        streamed_pair<float, Grad> t(g, grad);
        t.open(p, G, x.keys, NULL);
        grad.solve(t, g, row);
        slope = grad.dbeta(row);
    }
    __syncthreads();
    for (int j = threadIdx.x; j < x.keys; j += REDO_THREADS) {
        const float w = p[j];
        G[j] = solved.idle ? none : scale * grad.grad(grad.key(w), w > 0.0f ? G[j] : 0.0f, j);
    }
    if (threadIdx.x == 0) facts->set(solved, rule, grad);
    __syncthreads();
    return slope;
}

template <typename T, int D>
static __global__ void __launch_bounds__(REDO_THREADS)
    long_row_kernel(const grad_call a, float *room)
{
    __shared__ block_team::slots_type slots;
    __shared__ float q[D], g[D], partial[REDO_THREADS];
    const int64_t step = (int64_t)a.s.H * D, padded_T = (int64_t)a.s.tiles * SCAN_ROWS;
    float *p = room + (int64_t)blockIdx.x * 2 * a.s.T, *G = p + a.s.T;
    for (int i = blockIdx.x; i < *a.again.count; i += gridDim.x) {
        const int64_t row = a.again.rows[i];
        const int head = (int)(row / padded_T), t = (int)(row % padded_T);
        const redo_row x = {max(t + 1 - a.s.lag, 0)};
        const int64_t at = row_offset(a.s, head, t), first = row_offset(a.s, head, 0);
        block_team team(REDO_THREADS, &slots);
        __syncthreads();
        if (threadIdx.x < D) {
            q[threadIdx.x] = widen(((const T *)a.q)[at + threadIdx.x]);
            g[threadIdx.x] = widen(((const T *)a.g)[at + threadIdx.x]);
        }
        __syncthreads();
        score_keys<T, D>(q, (const T *)a.k + first, step, x.keys, a.rule.scale, p);
        score_keys<T, D>(g, (const T *)a.v + first, step, x.keys, 1.0f, G);
        for (int j = threadIdx.x; a.rule.drop && j < x.keys; j += REDO_THREADS)
            G[j] *= kept_share(a.rule, a.s, head, t, j);
        __syncthreads();
        float slope = 0.0f;
        with_rule(a.rule, [&](auto rule) {
            with_grad_rule_of(a.rule, rule, [&](auto grad) {
                slope = grade_scores(x, team, rule, grad, p, G, head_beta(a.rule, head % a.s.H),
                                     a.rule.scale, a.facts + row);
            });
        });
        mix_keys<T, D>(G, (const T *)a.k + first, step, x.keys, (T *)a.dq + at, partial);
        if (a.dbeta && threadIdx.x == 0) a.dbeta[(int64_t)head * a.s.T + t] = slope;
    }
}

/* --- columns --------------------------------------------------------------------------------- */

/* What is summed into a column: rows, weights, gradients, in shared memory. */
struct column_room {
    int t[SHORT];
    float p[SHORT], dc[SHORT];
};

/* dk += sum_i dc_i q_i, dv += sum_i p_i do_i, of this lane's rows and columns. */
template <typename T, int D>
static __device__ __forceinline__ void
add_entries(const T *q, const T *g, int64_t step, const column_room &m, int n,
            float (&dk)[pack<T>::width], float (&dv)[pack<T>::width])
{
    typedef row_lanes<T, D> lanes;
    const lanes l;
    const auto add = [&](float f, const uint4 &w, float(&s)[lanes::W]) {
        float x[lanes::W];
        unpack(w, x, T());
#pragma unroll
        for (int c = 0; c < lanes::W; c++)
            s[c] = fmaf(f, x[c], s[c]);
    };
    for (int i = l.which; i < n; i += lanes::ROWS) {
        const int64_t from = m.t[i] * step + l.column;
        const uint4 a = *(const uint4 *)(q + from), b = *(const uint4 *)(g + from);
        add(m.dc[i], a, dk);
        add(m.p[i], b, dv);
    }
}

static __device__ __forceinline__ void put_entry(column_room &m, int at, uint64_t e)
{
    m.t[at] = entry_row(e), m.p[at] = entry_weight(e), m.dc[at] = entry_gradient(e);
}

/* The n <= SHORT entries of a column by their rows. */
static __device__ __forceinline__ void sort_short(column_room &m, const uint64_t *entries, int n)
{
    const int lane = threadIdx.x % WARP;
    if (n <= WARP) {
        const uint64_t own = lane < n ? entries[lane] : 0;
        const int t = entry_row(own);
        int rank = 0;
        for (int i = 0; i < n; i++)
            rank += __shfl_sync(ALL_LANES, t, i) < t;
        if (lane < n) put_entry(m, rank, own);
        __syncwarp();
        return;
    }
    uint64_t own[SHORT / WARP];
    int rank[SHORT / WARP] = {};
#pragma unroll
    for (int u = 0; u < SHORT / WARP; u++) {
        const int i = u * WARP + lane;
        own[u] = i < n ? entries[i] : 0;
        if (i < n) m.t[i] = entry_row(own[u]);
    }
    __syncwarp();
    for (int i = 0; i < n; i++) {
        const int t = m.t[i];
#pragma unroll
        for (int u = 0; u < SHORT / WARP; u++)
            rank[u] += t < entry_row(own[u]);
    }
    __syncwarp();
#pragma unroll
    for (int u = 0; u < SHORT / WARP; u++)
        if (u * WARP + lane < n) put_entry(m, rank[u], own[u]);
    __syncwarp();
}

/* What rows without a list add to column j: 32 rows at a time, a lane each. */
template <typename T, int D>
static __device__ __forceinline__ void add_long_rows(const grad_call &a, int head, int j,
                                                     column_room &m, float (&dk)[pack<T>::width],
                                                     float (&dv)[pack<T>::width])
{
    const int words = a.s.tiles * SCAN_ROWS / WARP, lane = threadIdx.x % WARP;
    const int64_t step = (int64_t)a.s.H * D, first = row_offset(a.s, head, 0);
    const T *q = (const T *)a.q + first, *g = (const T *)a.g + first;
    const T *k = (const T *)a.k + first + j * step, *v = (const T *)a.v + first + j * step;
    for (int w0 = (j + a.s.lag) / WARP; w0 < words; w0 += WARP) {
        const int own = w0 + lane;
        const uint32_t mine = own < words ? a.bits[(int64_t)head * words + own] : 0;
        for (unsigned some = __ballot_sync(ALL_LANES, mine != 0); some; some &= some - 1) {
            const int w = __ffs((int)some) - 1, t = (w0 + w) * WARP + lane;
            const uint32_t set = __shfl_sync(ALL_LANES, mine, w);
            float p = 0.0f, dc = 0.0f;
            if ((set >> lane & 1) && t >= j + a.s.lag) {
                const redo_facts &f = a.facts[((int64_t)head * words + w0 + w) * WARP + lane];
                const float c = row_score<T, D>(q + t * step, k, a.rule.scale);
                const float G = row_score<T, D>(g + t * step, v, 1.0f);
                const float share = kept_share(a.rule, a.s, head, t, j);
                f.weigh(a.rule, c, share * G, j, &p, &dc);
                p *= share;
            }
            const bool adds = !(p == 0.0f && dc == 0.0f);
            const unsigned which = __ballot_sync(ALL_LANES, adds);
            const int at = __popc(which & ((1u << lane) - 1));
            if (adds) m.t[at] = t, m.p[at] = p, m.dc[at] = dc;
            __syncwarp();
            add_entries<T, D>(q, g, step, m, __popc(which), dk, dv);
            __syncwarp();
        }
    }
}

/* dk and dv of a column from the sums of all lanes: a warp. */
template <typename T, int D>
static __device__ __forceinline__ void put_column(const grad_call &a, int head, int j,
                                                  float (&dk)[pack<T>::width],
                                                  float (&dv)[pack<T>::width])
{
    typedef row_lanes<T, D> lanes;
    const lanes l;
    const int64_t at = row_offset(a.s, head, j) + l.column;
    lanes::fold(dk);
    lanes::fold(dv);
    if (l.which) return;
    if (a.dk && a.tied) {
        float x[lanes::W];
        unpack(*(const uint4 *)((const T *)a.dk + at), x, T());
#pragma unroll
        for (int c = 0; c < lanes::W; c++)
            dk[c] += x[c];
    }
    if (a.dk) store_pack((T *)a.dk + at, dk);
    if (a.dv) store_pack((T *)a.dv + at, dv);
}

template <typename T, int D>
static __global__ void __launch_bounds__(COLUMN_WARPS *WARP) columns_kernel(const grad_call a)
{
    __shared__ column_room rooms[COLUMN_WARPS];
    column_room &m = rooms[threadIdx.x / WARP];
    const int64_t column = (int64_t)blockIdx.x * COLUMN_WARPS + threadIdx.x / WARP;
    const int head = (int)(column / a.s.T), j = (int)(column % a.s.T);
    if (head >= a.s.heads) return;
    const uint32_t *first = a.first + (int64_t)head * (a.s.T + 1) + j;
    const int n = (int)(first[1] - first[0]);
    if (n > SHORT) return;
    const int64_t step = (int64_t)a.s.H * D, from = row_offset(a.s, head, 0);
    float dk[pack<T>::width] = {}, dv[pack<T>::width] = {};
    sort_short(m, a.columns + head * head_entries(a.s) + first[0], n);
    add_entries<T, D>((const T *)a.q + from, (const T *)a.g + from, step, m, n, dk, dv);
    __syncwarp();
    if (*a.again.count) add_long_rows<T, D>(a, head, j, m, dk, dv);
    put_column<T, D>(a, head, j, dk, dv);
}

/* The order of the n entries of a long column: the rows as bits of shared memory, ranks by counting
 * bits. words of 32 rows, then as many sums. */
static __device__ __forceinline__ void sort_long(const uint64_t *entries, uint32_t *order, int n,
                                                 uint32_t *bits, uint32_t *sums, int words)
{
    for (int w = threadIdx.x; w < words; w += blockDim.x)
        bits[w] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const int t = entry_row(entries[i]);
        atomicOr(&bits[t / WARP], 1u << t % WARP);
    }
    __syncthreads();
    if (threadIdx.x < WARP) {
        uint32_t before = 0;
        for (int w0 = 0; w0 < words; w0 += WARP) {
            const int w = w0 + threadIdx.x;
            const uint32_t own = w < words ? __popc(bits[w]) : 0;
            uint32_t sum = own;
            for (int o = 1; o < WARP; o *= 2) {
                const uint32_t other = __shfl_up_sync(ALL_LANES, sum, o);
                if ((int)threadIdx.x >= o) sum += other;
            }
            if (w < words) sums[w] = before + sum - own;
            before += __shfl_sync(ALL_LANES, sum, WARP - 1);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const int t = entry_row(entries[i]);
        order[sums[t / WARP] + __popc(bits[t / WARP] & ((1u << t % WARP) - 1))] = (uint32_t)i;
    }
    __syncthreads();
}

template <typename T, int D>
static __global__ void __launch_bounds__(LONG_WARPS *WARP) long_columns_kernel(const grad_call a)
{
    enum { W = pack<T>::width };
    extern __shared__ uint32_t bits[];
    __shared__ column_room room;
    __shared__ int chunk_t[LONG_WARPS][WARP];
    __shared__ float chunk_p[LONG_WARPS][WARP], chunk_dc[LONG_WARPS][WARP];
    __shared__ float sums[LONG_WARPS][2][W][WARP];
    typedef row_lanes<T, D> lanes;
    const lanes l;
    const int words = a.s.tiles * SCAN_ROWS / WARP, lane = threadIdx.x % WARP;
    const int warp = threadIdx.x / WARP;
    const int64_t step = (int64_t)a.s.H * D;
    for (int c = blockIdx.x; c < *a.wide.count; c += gridDim.x) {
        const int64_t column = a.wide.rows[c];
        const int head = (int)(column / a.s.T), j = (int)(column % a.s.T);
        const uint32_t *first = a.first + (int64_t)head * (a.s.T + 1) + j;
        const int n = (int)(first[1] - first[0]);
        const int64_t from = head * head_entries(a.s) + first[0], at = row_offset(a.s, head, 0);
        const uint64_t *entries = a.columns + from;
        uint32_t *order = a.place + from;
        const T *q = (const T *)a.q + at, *g = (const T *)a.g + at;
        float dk[W] = {}, dv[W] = {};
        __syncthreads();
        sort_long(entries, order, n, bits, bits + words, words);
        const int part = (n + LONG_WARPS - 1) / LONG_WARPS, end = min(n, (warp + 1) * part);
        for (int i0 = warp * part; i0 < end; i0 += WARP) {
            const int here = min(WARP, end - i0);
            if (lane < here) {
                const uint64_t e = entries[order[i0 + lane]];
                chunk_t[warp][lane] = entry_row(e), chunk_p[warp][lane] = entry_weight(e);
                chunk_dc[warp][lane] = entry_gradient(e);
            }
            __syncwarp();
            for (int i = l.which; i < here; i += lanes::ROWS) {
                const int64_t row = chunk_t[warp][i] * step + l.column;
                float x[W], y[W];
                unpack(*(const uint4 *)(q + row), x, T());
                unpack(*(const uint4 *)(g + row), y, T());
#pragma unroll
                for (int e = 0; e < W; e++) {
                    dk[e] = fmaf(chunk_dc[warp][i], x[e], dk[e]);
                    dv[e] = fmaf(chunk_p[warp][i], y[e], dv[e]);
                }
            }
            __syncwarp();
        }
#pragma unroll
        for (int e = 0; e < W; e++)
            sums[warp][0][e][lane] = dk[e], sums[warp][1][e][lane] = dv[e];
        __syncthreads();
        if (warp == 0) {
            for (int w = 1; w < LONG_WARPS; w++)
#pragma unroll
                for (int e = 0; e < W; e++)
                    dk[e] += sums[w][0][e][lane], dv[e] += sums[w][1][e][lane];
            if (*a.again.count) add_long_rows<T, D>(a, head, j, room, dk, dv);
            put_column<T, D>(a, head, j, dk, dv);
        }
    }
}

/* --- host ------------------------------------------------------------------------------------ */

struct grad_plan {
    gather_plan f; /* the forward, where nothing was kept */
    grad_call c;
    float *room, *dbeta;
    int blocks;
    size_t bytes;
};

template <typename X> static X *part(const args *a, size_t *bytes, int64_t count)
{
    X *at = a->work ? (X *)((char *)a->work + *bytes) : NULL;
    *bytes += padded(sizeof(X) * (size_t)count);
    return at;
}

static status grad_plan_of(const args *a, const char *what, grad_plan *p)
{
    *p = {};
    TRY(gather_plan_of(a, what, &p->f));
    const gather_sizes &s = p->f.s;
    const bool kept = a->keep;
    const int64_t rows = padded_rows(s), groups = group_count(s), entries = groups * s.list;
    size_t *bytes = &p->bytes;
    grad_call *c = &p->c;
    c->s = s, c->rule = p->f.rule, c->lists = p->f.lists;
    *bytes = kept ? 0 : p->f.bytes;
    if (!kept) {
        c->lists.span = part<uint32_t>(a, bytes, rows);
        c->lists.entries = part<uint2>(a, bytes, entries);
        c->lists.stat = part<float>(a, bytes, (int64_t)s.heads * s.T * STATS);
        p->f.lists = c->lists;
    }
    const int64_t groups_here = s.tiles * SCAN_GROUPS;
    c->parts = (int)(s.heads >= 264 ? 1 : ceil_div(264, s.heads > 0 ? s.heads : 1));
    if (c->parts > PARTS) c->parts = PARTS;
    if (c->parts > s.tiles) c->parts = s.tiles;
    c->spread = (int)ceil_div(groups_here, c->parts > 0 ? c->parts : 1);
    c->G = part<float>(a, bytes, entries);
    c->place = part<uint32_t>(a, bytes, entries);
    c->columns = part<uint64_t>(a, bytes, entries);
    c->begin = part<uint32_t>(a, bytes, (int64_t)c->parts * s.heads * s.T);
    c->first = part<uint32_t>(a, bytes, (int64_t)s.heads * (s.T + 1));
    c->bits = part<uint32_t>(a, bytes, rows / WARP);
    c->again.rows = part<uint32_t>(a, bytes, rows);
    c->wide.rows = part<uint32_t>(a, bytes, (int64_t)s.heads * s.T);
    c->again.count = part<int>(a, bytes, 2);
    c->wide.count = c->again.count + 1;
    c->facts = part<redo_facts>(a, bytes, rows);
    p->dbeta = part<float>(a, bytes, (int64_t)s.heads * s.T);
    p->blocks = p->f.blocks;
    p->room = part<float>(a, bytes, 2 * (int64_t)p->blocks * s.T);
    c->q = a->in[0], c->k = a->in[1], c->v = a->in[2], c->g = a->in[6];
    c->dq = a->out[0], c->dk = a->out[1], c->dv = a->out[2];
    c->dbeta = a->out[3] ? p->dbeta : NULL;
    c->tied = c->dk == c->dq;
    return OK;
}

template <typename T, int D> static status grad_of(const args *a, const char *what, grad_plan *p)
{
    grad_call &c = p->c;
    const gather_sizes &s = c.s;
    cudaStream_t stream = stream_of(a);
    const bool columns = c.dk || c.dv;
    CUDA_TRY(cudaMemsetAsync(c.again.count, 0, 2 * sizeof(int), stream), what);
    long_rows_kernel<<<(unsigned)ceil_div(padded_rows(s), START_THREADS), START_THREADS, 0,
                       stream>>>(c);
    if (columns) {
        const int range = s.T < RANGE ? s.T : (int)RANGE;
        CUDA_TRY(cudaFuncSetAttribute(count_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      RANGE * 4),
                 what);
        const dim3 grid((unsigned)c.parts, (unsigned)s.heads, (unsigned)ceil_div(s.T, RANGE));
        count_kernel<<<grid, COUNT_THREADS, (size_t)range * 4, stream>>>(c);
        TRY(launched(what));
        start_kernel<<<(unsigned)s.heads, START_THREADS, 0, stream>>>(c);
        TRY(launched(what));
    } else {
        c.columns = NULL;
    }
    rows_kernel<T, D>
        <<<(unsigned)ceil_div(padded_rows(s), ROW_WARPS), ROW_WARPS * WARP, 0, stream>>>(c);
    TRY(launched(what));
    long_row_kernel<T, D><<<(unsigned)p->blocks, REDO_THREADS, 0, stream>>>(c, p->room);
    TRY(launched(what));
    if (columns) {
        const size_t bits = 2 * sizeof(uint32_t) * (size_t)(s.tiles * SCAN_ROWS / WARP);
        const auto wide = long_columns_kernel<T, D>;
        CUDA_TRY(cudaFuncSetAttribute(wide, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bits),
                 what);
        columns_kernel<T, D><<<(unsigned)ceil_div((int64_t)s.heads * s.T, COLUMN_WARPS),
                               COLUMN_WARPS * WARP, 0, stream>>>(c);
        TRY(launched(what));
        wide<<<132, LONG_WARPS * WARP, bits, stream>>>(c);
        TRY(launched(what));
    }
    if (a->out[3]) sum_heads(OUT(float, 3), p->dbeta, s.B, s.H, s.T, NULL, 1, stream);
    return launched(what);
}

template <typename T> static status grad_of(const args *a, const char *what, grad_plan *p)
{
    switch (p->c.s.D) {
    case 16:
        return grad_of<T, 16>(a, what, p);
    case 32:
        return grad_of<T, 32>(a, what, p);
    case 64:
        return grad_of<T, 64>(a, what, p);
    default:
        return grad_of<T, 128>(a, what, p);
    }
}

extern "C" status attention_grad_gather(const args *a)
{
    grad_plan p;
    const char *what = "attention_grad";
    TRY(taken(OP_attention_grad, "gather", a));
    TRY(grad_plan_of(a, what, &p));
    if (a->need) {
        *a->need = p.bytes;
        return OK;
    }
    if (p.c.s.heads == 0) return OK;
    if (!a->keep) TRY(gather_forward(a, what, &p.f, p.f.lists.stat, NULL, NULL));
    return a->type == BF16 ? grad_of<bf16>(a, what, &p) : grad_of<fp16>(a, what, &p);
}
