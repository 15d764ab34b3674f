/* SPDX-License-Identifier: MIT
 *
 * attention_gather.cuh — attention by the support of its weights: what its kernels share.
 *
 * The threshold of a compact transform on some keys of a row bounds that on all from below, so a
 * key at or under it can be dropped for ever, and what is left holds the whole support:
 *
 *     scan     attention_scan.cu     raw scores <q,k> of all keys, twice, by wgmma: a bound tau of
 *                                    every row; then the keys above it to the lists of their group
 *     finish   attention_gather.cu   the weights of what is above the bound by the rules of the row
 *                                    kernels, o = sum p v over the support, the list of the row
 *     redo     attention_redo.cu     rows whose lists would overflow, or that meet what is not
 *                                    finite: a block goes over all keys, in float
 *     grad     attention_gather_grad.cu   from the lists of the rows and those of the columns
 *
 * A group is 16 rows, those of a warp of the scan. Rows are padded to whole tiles of the scan:
 * padded row (b H + h) T' + t, T' = 128 ceil(T / 128). Everything is decided per row by its own
 * scores, in an order that no timing changes.
 * Source: the subset property is that of the thresholds of model 1.3, 1.5, 1.6.
 */
#ifndef MOSAIC_ATTENTION_GATHER_CUH
#define MOSAIC_ATTENTION_GATHER_CUH

#include "newton.cuh"
#include "philox.cuh"
#include "relumax.cuh"
#include "stage.cuh"

enum {
    GROUP_ROWS = 16,
    SCAN_ROWS = 128, /* of a block of the scan */
    SCAN_GROUPS = SCAN_ROWS / GROUP_ROWS
};

/* --- sizes ----------------------------------------------------------------------------------- */

typedef struct gather_sizes {
    int B, T, H, D, lag;
    int heads, tiles; /* B H; blocks of rows of a head */
    int room;         /* slots of a list of candidates, a power of two */
    int keys;         /* of a tile of the scan; an eighth of them are bits of a mark */
    int list;         /* entries of a group's lists    */
} gather_sizes;

static __host__ __device__ __forceinline__ int64_t padded_rows(const gather_sizes &s)
{
    return (int64_t)s.heads * s.tiles * SCAN_ROWS;
}
static __host__ __device__ __forceinline__ int64_t group_count(const gather_sizes &s)
{
    return (int64_t)s.heads * s.tiles * SCAN_GROUPS;
}
/* Where row t of a head begins in a tensor (B,T,H,D); its rows are H D apart. */
static __host__ __device__ __forceinline__ int64_t row_offset(const gather_sizes &s, int head,
                                                              int64_t t)
{
    const int b = head / s.H, h = head % s.H;
    return ((b * (int64_t)s.T + t) * s.H + h) * s.D;
}

/* --- the transform --------------------------------------------------------------------------- */

typedef enum gather_kind {
    NORM_1, /* alpha = 2, 3/2, 4/3 */
    NORM_2,
    NORM_3,
    NORM_REAL, /* 1 < alpha < 2 */
    MARGIN,    /* ReLUmax */
    TOP_SOFTMAX,
    TOP_UNIFORM
} gather_kind;

typedef struct gather_rule {
    gather_kind kind;
    float a, r, settled; /* alpha - 1 and its inverse; newton.cuh */
    float b;             /* ReLUmax */
    int power, k;
    float scale;       /* of the raw scores */
    const float *beta; /* H, or NULL */
    bool drop;
    philox_masks masks; /* of the weights */
    int64_t first_row, whole_T;
} gather_rule;

/* What dropout multiplies weight (t,j) of a head by. */
static __device__ __forceinline__ float kept_share(const gather_rule &g, const gather_sizes &s,
                                                   int head, int t, int j)
{
    if (!g.drop) return 1.0f;
    const uint64_t row = (uint64_t)(g.first_row * s.H + head) * (uint64_t)g.whole_T + (uint64_t)t;
    const uint64_t at = row * (uint64_t)g.whole_T + (uint64_t)j;
    return word_of(philox(g.masks, at / 4), (int)(at % 4)) >= g.masks.threshold ? g.masks.kept
                                                                                : 0.0f;
}

static __device__ __forceinline__ float head_beta(const gather_rule &g, int h)
{
    return g.beta ? g.beta[h] : 1.0f;
}

/* What the rule calls z moves by this much as a raw score moves by one. */
static __device__ __forceinline__ float steepness(const gather_rule &g, float beta)
{
    const float b2 = beta * beta, unit = g.kind == MARGIN && g.power == 4 ? b2 * b2 : b2;
    return clamp_scale((g.kind <= NORM_REAL ? g.a : 1.0f) * unit * g.scale);
}

/* Top-k as a rule of row.cuh, on any tile: the k-th largest value by bisection of its bits, then,
 * if more entries equal it than are wanted, the last index among them. */
struct select_rule {
    enum { compact = 1, shifted = 1 };
    bool uniform;
    int k;
    float scale, inverse, value, Z;
    int last, edge;

    __device__ __forceinline__ bool has(float x, int j) const
    {
        const int code = lane_team::ordered(__float_as_int(x + 0.0f));
        return x > -INFINITY && (code > edge || (code == edge && j <= last));
    }
    __device__ __forceinline__ float term(float x) const
    {
        return uniform ? 1.0f : power_of_two(scale * x);
    }
    template <class Tile, class Team> __device__ void find(const Tile &t, Team &g, bool asks)
    {
        int low = INT32_MIN, high = 0, many = INT32_MAX; /* x <= 0 */
        while (g.any(asks && low < high)) {
            const int middle = low + (int)(((unsigned)high - (unsigned)low + 1) / 2);
            int n = 0;
            t.each([&](float x, int, int) {
                n += lane_team::ordered(__float_as_int(x + 0.0f)) >= middle;
            });
            n = g.count(n);
            if (!(asks && low < high)) continue;
            if (n >= k)
                low = middle, many = n;
            else
                high = middle - 1;
            if (n == k) high = middle;
        }
        edge = low, last = INT32_MAX;
        find_last(t, g, asks && many > k);
    }
    template <class Tile, class Team> __device__ void find_last(const Tile &t, Team &g, bool asks)
    {
        int above = 0, low = -1, high = 1 << 24; /* keys */
        if (!g.any(asks)) return;
        t.each([&](float x, int, int) {
            above += lane_team::ordered(__float_as_int(x + 0.0f)) > edge;
        });
        above = g.count(above);
        while (g.any(asks && high - low > 1)) {
            const int middle = low + (high - low) / 2;
            int n = 0;
            t.each([&](float x, int j, int) {
                n += lane_team::ordered(__float_as_int(x + 0.0f)) == edge && j <= middle;
            });
            n = g.count(n);
            if (above + n >= k)
                high = middle;
            else
                low = middle;
        }
        if (asks) last = high;
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        int keys = 0;
        float z[CHAINS] = {0, 0, 0, 0};
        scale = clamp_scale((float)(1.4426950408889634 * row.beta * row.beta));
        t.each([&](float x, int, int) { keys += x > -INFINITY; });
        keys = g.count(keys);
        edge = INT32_MIN, last = INT32_MAX;
        find(t, g, !row.idle && keys > k);
        t.each([&](float x, int j, int chain) { z[chain] += has(x, j) ? term(x) : 0.0f; });
        Z = g.sum(folded(z));
        inverse = 1.0f / Z;
    }
    __device__ __forceinline__ float weight(float x, int j) const
    {
        return has(x, j) ? term(x) * inverse : 0.0f;
    }
    __device__ float norm() const
    {
        return uniform ? Z : logf(Z);
    }
};

template <class Power>
static __device__ __forceinline__ newton_rule<Power> newton_from(const gather_rule &g, Power power)
{
    newton_rule<Power> rule = {};
    rule.power = power;
    rule.settled = g.settled;
    return rule;
}

/* f(rule) of the row kernel's rule. */
template <class F> static __device__ __forceinline__ void with_rule(const gather_rule &g, F f)
{
    if (g.kind == NORM_1) f(newton_from(g, integer_power<1>()));
    if (g.kind == NORM_2) f(newton_from(g, integer_power<2>()));
    if (g.kind == NORM_3) f(newton_from(g, integer_power<3>()));
    if (g.kind == NORM_REAL) {
        steep_power power;
        power.a = g.a, power.r = g.r;
        f(newton_from(g, power));
    }
    if (g.kind == MARGIN) {
        relumax_rule rule = {};
        rule.b = g.b, rule.over_b = 1.0 / g.b, rule.power = g.power;
        f(rule);
    }
    if (g.kind >= TOP_SOFTMAX) {
        select_rule rule = {};
        rule.uniform = g.kind == TOP_UNIFORM, rule.k = g.k;
        f(rule);
    }
}

/* --- lists ----------------------------------------------------------------------------------- */

/* Candidates of every group, of which the scan leaves a list for each of its 32 lanes: quads
 * (scores of two keys for two rows), and marks, which name tiles and which of their eights of keys
 * the quads are of, in order. The lists of a group lie beside each other, slot by slot: slot i of
 * lane l is quads[32 (room group + i) + l]. used: quads of every list; the bound of every row in
 * raw scores, NaN if its query is not finite or a list of it is full; the first key that is not
 * finite in every 128, or INT32_MAX. */
typedef struct candidates {
    float4 *quads;
    uint32_t *marks;
    int *used;
    float *bound;
    int *broken;
} candidates;
enum { QUAD_STEP = WARP * sizeof(float4), MARK_STEP = WARP * sizeof(uint32_t) }; /* bytes */

static __host__ __device__ constexpr int scan_keys(int D)
{
    return D == 128 ? 64 : 128;
}

/* The lists of the rows: entry i of a row is the key and weight at entries[group list + at + i],
 * at = span & 0xffff, i < span >> 16; the spans of rows without a list are LONG. */
typedef struct row_lists {
    uint2 *entries;
    uint32_t *span;
    float *stat; /* (B,H,T,S) */
} row_lists;
enum : uint32_t { LONG_ROW = 0xffffffffu };

/* Rows that are done again: padded rows in no order, and how many. */
typedef struct row_queue {
    uint32_t *rows;
    int *count;
} row_queue;

static __device__ __forceinline__ void push(const row_queue &q, int64_t row)
{
    q.rows[atomicAdd(q.count, 1)] = (uint32_t)row;
}

/* --- the parts of a call --------------------------------------------------------------------- */

typedef struct gather_plan {
    gather_sizes s;
    gather_rule rule;
    candidates found;
    row_lists lists;
    row_queue again;
    float *scores; /* of the blocks that do rows again: T each */
    int blocks;
    size_t bytes, kept;
} gather_plan;

/* The scratch of a forward; the lists are those in args.keep. */
status gather_plan_of(const args *a, const char *what, gather_plan *p);
/* The lists of all rows from q and k, if they are wanted, and stat; with v: o. */
status gather_forward(const args *a, const char *what, const gather_plan *p, float *stat,
                      const void *v, void *o);

/* Each in its file. */
status gather_scan(const args *a, const char *what, const gather_plan *p);
status gather_redo(const args *a, const char *what, const gather_plan *p, float *stat,
                   const void *v, void *o);

#endif
