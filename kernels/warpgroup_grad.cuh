/* SPDX-License-Identifier: MIT
 *
 * warpgroup_grad.cuh — the gradient of softmax on wgmma, by two kernels, so that nothing is added
 * by atomics.
 *
 *     by rows   S = Q K_j^T,  G = dO V_j^T,  dS = p (G - delta),  dQ += dS K_j
 *     by keys   S^T = K Q_t^T,  G^T = V dO_t^T,  dV += P^T dO_t,  dK += dS^T Q_t
 *
 * A block owns 64 rows, or keys, of a group for each of its warpgroups; what they meet passes in
 * tiles through a ring in shared memory. P and dS stay in registers, where they are the left
 * operands of the products that add up. By keys, what the gradient wants of a query stands over a
 * column: the weight of score s is 2^(kappa s + shift), and shift and delta arrive beside the tile.
 *
 * Dropout's 1 / (1 - rate) is a factor of dQ, dK and dV: delta is of the gradients without it.
 */
#ifndef MOSAIC_WARPGROUP_GRAD_CUH
#define MOSAIC_WARPGROUP_GRAD_CUH

#include "warpgroup.cuh"
#include "wgmma.cuh"

/* The exponent r of a threshold, or: */
enum { SOFT_RULE = -1 };

/* What the gradient by keys wants of queries: (groups, tiles of 64, fields, 64). shift is -inf
 * where no key has the query, or it does not exist; a row whose keys all weigh w has a shift beyond
 * all scores. Softmax has the first two. */
enum { SHIFT, DELTA, WEIGHT, SLOPE, MOST_FIELDS };
static __host__ __device__ constexpr int fields_of(int R)
{
    return R == SOFT_RULE ? 2 : MOST_FIELDS;
}
enum { QUERY_TILE = 64 };

/* Queries of a group with those that fill the last tile. */
static __host__ __device__ __forceinline__ int64_t whole_queries(int N)
{
    return ((int64_t)N + QUERY_TILE - 1) / QUERY_TILE * QUERY_TILE;
}

/* Warpgroups of a block, blocks of a multiprocessor, keys of a tile, tiles in shared memory. */
template <int D> struct rows_shape {
    enum { groups = D > 64 ? 2 : 1, blocks = D > 64 ? 1 : 3, keys = 64, ring = D > 64 ? 3 : 4 };
};
/* The same by keys. */
template <int D> struct keys_shape {
    enum { groups = D > 64 ? 2 : 1, blocks = D > 64 ? 1 : 3, queries = QUERY_TILE, ring = 3 };
};

template <int D, class Shape> struct rows_room {
    enum {
        rows = Shape::groups * PRODUCT_ROWS,
        threads = Shape::groups * WARPGROUP,
        tile = Shape::keys * D * 2,
        bytes = 1024 + Shape::ring * (2 * tile + 16)
    };
};
template <int D, int R, class Shape> struct keys_room {
    enum {
        keys = Shape::groups * PRODUCT_ROWS,
        threads = Shape::groups * WARPGROUP,
        own = keys * D * 2,
        tile = Shape::queries * D * 2,
        facts = fields_of(R) * Shape::queries * 4,
        words = (Shape::groups + 1) / 2 * 4, /* of dropout's bits, of a query */
        bits = Shape::queries * words * 4,
        bytes = 1024 + 2 * own + Shape::ring * (2 * tile + facts + bits + 16) + 8
    };
};

/* Both in turn, instantiated by warpgroup_part.cu. */
template <typename T, int R>
status warpgroup_gradients(const tile_call *f, cudaStream_t stream, const char *what);

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* --- what both kernels do ----------------------------------------------------------------------
 */

/* Tiles through a ring: a thread starts loads, all wait for arrivals, a lane of every warp says
 * when the warp is done with a tile, in order. */
template <int RING, class Load> struct tile_ring {
    uint32_t full, empty;
    int tiles;
    const Load &load; /* (i, barrier) */

    __device__ __forceinline__ void open(int warps) const
    {
        for (int i = 0; i < RING; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(empty + 8 * i, warps);
        }
        barriers_opened();
        for (int i = 0; i < min(RING - 1, tiles); i++)
            load(i, full + 8 * (i % RING));
    }
    __device__ __forceinline__ int arrived(int i) const
    {
        barrier_wait(full + 8 * (i % RING), i / RING % 2);
        return i % RING;
    }
    __device__ __forceinline__ void release(int i) const
    {
        __syncwarp(); /* what its lanes read */
        if (threadIdx.x % WARP == 0) barrier_arrive(empty + 8 * (i % RING));
        if (threadIdx.x == 0 && i + RING - 1 < tiles) {
            if (i > 0) barrier_wait(empty + 8 * ((i - 1) % RING), (i - 1) / RING % 2);
            load(i + RING - 1, full + 8 * ((i + RING - 1) % RING));
        }
        __syncwarp();
    }
};

/* Rows first + lane / 4 and 8 more of 16 rows of x, of which those below `limit` exist, as left
 * operands. */
template <typename T, int D>
__device__ __forceinline__ void hold_rows(uint32_t (&held)[D / 16][4], const void *x, int64_t base,
                                          int64_t stride, int first, int limit)
{
    const int lane = (int)threadIdx.x % WARP;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int row = first + lane / 4 + 8 * r;
        const uint32_t *from =
            (const uint32_t *)((const T *)x + base + min(row, limit - 1) * stride) + lane % 4;
#pragma unroll
        for (int i = 0; i < D / 8; i++)
            held[i / 2][i % 2 * 2 + r] = row < limit ? from[i * 4] : 0;
    }
}

/* s, rounded, as left operands. */
template <typename T, int N>
__device__ __forceinline__ void round_to(uint32_t (&p)[N / 8][4], const float (&s)[N])
{
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        p[i / 4][i % 4] = pair(s[2 * i], s[2 * i + 1], T());
}

/* --- by rows -----------------------------------------------------------------------------------
 */

/* Rows g and g + 8 of a warp, of a thread. */
template <typename T, int D, int R, class Shape> struct gradient_rows {
    enum { KEYS = Shape::keys, SUMS = KEYS / 2, WORDS = KEYS / 32, SOFT = R == SOFT_RULE };
    const tile_call &a;
    const tile_head head;
    int row[2], seen[2];
    float shift[2], delta[2];
    float kappa[2], slope[2];            /* of a threshold               */
    float total[2], cross[2], moment[2]; /* for dbeta: sum ds, sum ds s, softmax: sum p s;
                                            for delta: sum f' G, sum f', sum u G */
    const uint32_t *bits[2];

    __device__ __forceinline__ gradient_rows(const tile_call &a_, const tile_place &at, int first)
        : a(a_), head(tile_head_of(a_, at.head))
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            row[r] = first + 8 * r;
            seen[r] = seen_by(a, row[r]);
            const row_fact f = a.facts[at.group * a.N + min(row[r], a.N - 1)];
            kappa[r] = SOFT ? head.kappa : f.kappa;
            slope[r] = f.slope;
            shift[r] = -fmaf(kappa[r], f.m, f.tau);
            total[r] = cross[r] = moment[r] = 0;
            if (a.drop) bits[r] = bits_of(a, at.group, row[r]);
        }
    }
    /* delta = <do, o>, of softmax, with what rounding took from o. g: these rows of do. */
    __device__ __forceinline__ void multiply_outputs(const tile_place &at,
                                                     const uint32_t (&g)[D / 16][4])
    {
        const int column = 2 * (int)(threadIdx.x % 4);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int real = min(row[r], a.N - 1);
            const T *o = (const T *)a.o + at.rows + real * a.rows.row + column;
            const T *rest = (const T *)a.rest + (at.group * a.N + real) * D + column;
            float sum = 0;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                const float2 x = unpair(g[i / 2][i % 2 * 2 + r], T());
                const float2 y = unpair(*(const uint32_t *)(o + i * 8), T());
                const float2 z = unpair(*(const uint32_t *)(rest + i * 8), T());
                sum = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.x, z.x, fmaf(x.y, z.y, sum))));
            }
            delta[r] = quad_sum(sum) * (a.drop ? 1 / a.masks.kept : 1);
        }
    }
    __device__ __forceinline__ void load_bits(uint32_t (&w)[2][WORDS], int key) const
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int n = 0; n < WORDS; n++)
                w[r][n] = bits[r][key / 32 + n];
    }
    /* Scores of keys that a row does not see: far enough down to weigh nothing, and finite. */
    __device__ __forceinline__ void hide(float (&s)[SUMS], int key) const
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int left = seen[r] - key - 2 * (int)(threadIdx.x % 4);
#pragma unroll
            for (int i = 0; i < SUMS / 2; i++)
                if (i / 2 * 8 + i % 2 >= left) s[i / 2 * 4 + r * 2 + i % 2] = -3e38f;
        }
    }
    __device__ __forceinline__ void drop(float (&G)[SUMS], const uint32_t (&w)[2][WORDS]) const
    {
        const int lane = 2 * (int)(threadIdx.x % 4);
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int n = 0; n < WORDS; n++) {
                const uint32_t here[2] = {w[r][n] << (7 - lane), w[r][n] << (6 - lane)};
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    float &x = G[(4 * n + i / 2) * 4 + r * 2 + i % 2];
                    x = kept_or_0(x, here[i % 2], i / 2);
                }
            }
    }
    /* p of softmax, u of a threshold. */
    __device__ __forceinline__ float weight(float s, int r) const
    {
        const float u = fmaf(SOFT ? head.kappa : kappa[r], s, shift[r]);
        return SOFT ? power_of_two(u) : max_nan(u, 0.0f);
    }
    /* f' from that, but for `slope`. */
    __device__ __forceinline__ float steepness(float u) const
    {
        return SOFT ? u : kernel_slope<R>(u, head.r);
    }
    __device__ __forceinline__ void weigh(float (&s)[SUMS]) const
    {
#pragma unroll
        for (int i = 0; i < SUMS; i++)
            s[i] = weight(s[i], i / 2 % 2);
    }
    /* For delta, from u and G. */
    __device__ __forceinline__ void sum_up(const float (&u)[SUMS], const float (&G)[SUMS])
    {
#pragma unroll
        for (int i = 0; i < SUMS; i++) {
            const int r = i / 2 % 2;
            const float f = steepness(u[i]);
            total[r] = fmaf(f, G[i], total[r]);
            cross[r] += f;
            if (R == 1) moment[r] = fmaf(u[i], G[i], moment[r]);
        }
    }
    /* A row without support has a slope of 0. */
    __device__ __forceinline__ void centre(const row_fact *facts)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float G = quad_sum(total[r]), f = quad_sum(cross[r]), mean = quad_sum(moment[r]);
            if (a.rule == RULE_ENTMAX)
                delta[r] = f > 0 ? G / f : G;
            else
                delta[r] = facts[min(row[r], a.N - 1)].w * mean;
            total[r] = cross[r] = moment[r] = 0;
        }
    }
    /* ds from what weigh made of the scores, and G. */
    __device__ __forceinline__ void slopes(float (&s)[SUMS], const float (&G)[SUMS]) const
    {
#pragma unroll
        for (int i = 0; i < SUMS; i++) {
            const int r = i / 2 % 2;
            s[i] = steepness(s[i]) * (G[i] - delta[r]);
            if (!SOFT) s[i] *= slope[r];
        }
    }
    /* What dbeta wants of scores and G. */
    __device__ __forceinline__ void note(const float (&s)[SUMS], const float (&G)[SUMS])
    {
#pragma unroll
        for (int i = 0; i < SUMS; i++) {
            const int r = i / 2 % 2;
            const float u = weight(s[i], r), f = SOFT ? u : steepness(u) * slope[r];
            const float ds = f * (G[i] - delta[r]);
            if (SOFT) moment[r] = fmaf(u, s[i], moment[r]);
            total[r] += ds;
            cross[r] = fmaf(ds, s[i], cross[r]);
        }
    }
    /* dbeta of a row. sum p = 1 in softmax, so that an error of delta, which moves all ds alike,
     * shows in their sum; the sum is 0 in entmax, and m takes out what rounding made of that. */
    __device__ __forceinline__ float beta_gradient(int r, float by, const row_fact *facts) const
    {
        const float sum = quad_sum(total[r]), about = quad_sum(moment[r]);
        float with = quad_sum(cross[r]);
        if (SOFT)
            with -= sum * about;
        else if (a.rule == RULE_ENTMAX)
            with -= sum * facts[min(row[r], a.N - 1)].m;
        return by * (head.on_product * head.gradient * with +
                     head.on_sum * (float)(head.gradient / a.scale) * sum);
    }
};

/* BETA: dbeta too. */
template <typename T, int D, int R, bool BETA, class Shape>
static __global__ void __launch_bounds__(Shape::groups *WARPGROUP, Shape::blocks)
    gradient_rows_kernel(const __grid_constant__ CUtensorMap k_map,
                         const __grid_constant__ CUtensorMap v_map,
                         const __grid_constant__ tile_call a, int blocks)
{
    typedef rows_room<D, Shape> room;
    enum { RING = Shape::ring, KEYS = Shape::keys, SOFT = R == SOFT_RULE };
    extern __shared__ uint4 memory[];
    const uint32_t ring_at = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t full = ring_at + RING * 2 * room::tile;

    tile_place at(a, blockIdx.x, blocks);
    at.block = blocks - 1 - at.block; /* the longest rows of a causal mask first */
    const int row0 = at.block * room::rows;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);
    const int tiles = (seen_by(a, min(row0 + room::rows, a.N) - 1) + KEYS - 1) / KEYS;
    const int swept = SOFT ? 0 : tiles, total = swept + tiles; /* a sweep before, for delta */
    const int key_h = a.mask_T ? 0 : (int)at.head;
    const int key_b = (int)(a.mask_T ? at.head : at.group / a.H);
    const auto load = [&](int i, uint32_t barrier) {
        const uint32_t to = ring_at + i % RING * 2 * room::tile;
        const int key = (i < swept ? i : i - swept) * KEYS;
        barrier_expect(barrier, 2 * room::tile);
        tile_load_rows<D>(to, &k_map, barrier, KEYS, key_h, key, key_b);
        tile_load_rows<D>(to + room::tile, &v_map, barrier, KEYS, key_h, key, key_b);
    };
    const tile_ring<RING, decltype(load)> ring = {full, full + 8 * RING, total, load};
    if (threadIdx.x == 0) ring.open(room::threads / WARP);

    const int first_row = row0 + warp * 16;
    gradient_rows<T, D, R, Shape> rows(a, at, first_row + lane / 4);
    uint32_t q[D / 16][4], g[D / 16][4];
    hold_rows<T, D>(q, a.q, at.rows, a.rows.row, first_row, a.N);
    hold_rows<T, D>(g, a.g, at.rows, a.rows.row, first_row, a.N);
    if (SOFT) rows.multiply_outputs(at, g);
    /* all rows of the warp see the whole of the tiles before this one */
    const int whole = seen_by(a, first_row) / KEYS;
    const uint32_t k = warp_value(tile_start(ring_at));
    const uint32_t v = warp_value(tile_start(ring_at + room::tile));
    const uint32_t k_down = warp_value(tile_start_down<D>(ring_at, KEYS));
    enum { STEP = 2 * room::tile >> 4 };
    __syncthreads();

    float dq[D / 2], s[KEYS / 2], G[KEYS / 2];
    uint32_t ds[KEYS / 16][4], w[2][KEYS / 32];
#pragma unroll
    for (int i = 0; i < D / 2; i++)
        dq[i] = 0;
    const auto scores = [&](int j) {
        const int here = ring.arrived(j) * STEP;
        multiply_held_rows<T, D>(s, q, k + here, KEYS);
        multiply_held_rows<T, D>(G, g, v + here, KEYS);
    };
    const auto arrived = [&](int j, bool weighed) {
        const int tile = j < swept ? j : j - swept;
        if (a.drop) rows.load_bits(w, tile * KEYS);
        products_wait<1>();
        multiplied(s);
        if (tile >= whole) rows.hide(s, tile * KEYS);
        if (weighed) rows.weigh(s);
        products_wait<0>();
        multiplied(G);
        if (a.drop) rows.drop(G, w);
    };
    if (!SOFT) {
#pragma unroll 1
        for (int j = 0; j < swept; j++) {
            scores(j);
            arrived(j, true);
            rows.sum_up(s, G);
            ring.release(j);
        }
        rows.centre(a.facts + at.group * a.N);
    }
#pragma unroll 1
    for (int j = swept; j < total; j++) {
        scores(j);
        arrived(j, !BETA);
        if (BETA) {
            rows.note(s, G);
            rows.weigh(s);
        }
        rows.slopes(s, G);
        round_to<T>(ds, s);
        multiply_add_down<T, D>(dq, ds, k_down + j % RING * STEP);
        products_wait<0>();
        multiplied(dq);
        multiplied(ds);
        ring.release(j);
    }

    T *out = (T *)a.out + at.rows;
    const float kept = a.drop ? a.masks.kept : 1, by = rows.head.gradient * kept;
    const int64_t place = (at.group - a.first_group) * whole_queries(a.N);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int row = rows.row[r];
        const bool real = row < a.N, idle = !real || rows.seen[r] == 0;
        if (BETA) {
            const float d = rows.beta_gradient(r, kept, a.facts + at.group * a.N);
            if (real && lane % 4 == 0) a.dbeta[at.group * a.N + row] = d;
        }
        if (lane % 4 == 0 && row < whole_queries(a.N)) {
            const float far = 0x1p100f, w = real ? a.facts[at.group * a.N + row].w : 0;
            const bool even = !SOFT && rows.kappa[r] == 0;
            const float fields[] = {idle   ? -INFINITY
                                    : even ? far
                                           : rows.shift[r],
                                    idle ? 0 : rows.delta[r], even ? w / far : w,
                                    idle ? 0 : rows.slope[r]};
            float *to = (float *)a.queries + (place + row / QUERY_TILE * QUERY_TILE) * fields_of(R);
#pragma unroll
            for (int i = 0; i < fields_of(R); i++)
                to[i * QUERY_TILE + row % QUERY_TILE] = fields[i];
        }
        if (!real) continue;
#pragma unroll
        for (int i = 0; i < D / 8; i++)
            store_two(out + row * a.rows.row, i * 8 + lane % 4 * 2, D, dq[i * 4 + r * 2] * by,
                      dq[i * 4 + r * 2 + 1] * by, true);
    }
}

/* --- by keys -----------------------------------------------------------------------------------
 */

/* Keys g and g + 8 of a warp, of a thread; queries are columns. */
template <typename T, int D, int R, class Shape> struct gradient_keys {
    enum {
        QUERIES = Shape::queries,
        SUMS = QUERIES / 2,
        WORDS = keys_room<D, R, Shape>::words,
        SOFT = R == SOFT_RULE
    };
    const tile_call &a;
    const float kappa, r;
    int first; /* key g */

    /* Scores of keys that a query does not see. */
    __device__ __forceinline__ void hide(float (&s)[SUMS], int query) const
    {
        const int t = query + 2 * (int)(threadIdx.x % 4) - a.lag - first;
#pragma unroll
        for (int i = 0; i < SUMS; i++)
            if (t + i / 4 * 8 + i % 2 < i / 2 % 2 * 8) s[i] = -INFINITY;
    }
    /* Two neighbouring columns of a field. */
    __device__ __forceinline__ static float2 field(uint32_t facts, int which, int n)
    {
        const int column = n * 8 + 2 * (int)(threadIdx.x % 4);
        return *(const float2 *)__cvta_shared_to_generic(facts + (which * QUERIES + column) * 4);
    }
    /* Scores become p of softmax, u of a threshold. */
    __device__ __forceinline__ void weigh(float (&s)[SUMS], uint32_t facts) const
    {
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const float2 shift = field(facts, SHIFT, n);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float u = fmaf(kappa, s[n * 4 + i], i % 2 ? shift.y : shift.x);
                s[n * 4 + i] = SOFT ? power_of_two(u) : max_nan(u, 0.0f);
            }
        }
    }
    /* These become weights after dropout, and G ds. bits: of the words of this warp, which are
     * WORDS apart. */
    template <bool DROP>
    __device__ __forceinline__ void slopes(float (&s)[SUMS], float (&G)[SUMS], uint32_t facts,
                                           uint32_t bits) const
    {
        const int lane = (int)threadIdx.x % WARP;
        const int turn = (int)threadIdx.x / WARP % 2 * 16 + lane / 4 - 7;
        const uint32_t *word =
            (const uint32_t *)__cvta_shared_to_generic(bits + lane % 4 * 2 * WORDS * 4);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const float2 delta = field(facts, DELTA, n);
            float2 weight, steep;
            uint32_t w[2];
            if (!SOFT) weight = field(facts, WEIGHT, n), steep = field(facts, SLOPE, n);
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (DROP) {
                    w[e] = word[(n * 8 + e) * WORDS];
                    w[e] = __funnelshift_r(w[e], w[e], turn);
                }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float &x = s[n * 4 + i], &g = G[n * 4 + i];
                float p = x, slope = x;
                if constexpr (!SOFT) {
                    slope = kernel_slope<R>(x, r);
                    p = x * slope * (i % 2 ? weight.y : weight.x);
                    slope *= i % 2 ? steep.y : steep.x;
                }
                x = DROP ? kept_or_0(p, w[i % 2], i / 2) : p;
                if (DROP) g = kept_or_0(g, w[i % 2], i / 2);
                g = slope * (g - (i % 2 ? delta.y : delta.x));
            }
        }
    }
};

/* dk or dv of keys first + g and 8 more. */
template <typename T, int D>
__device__ __forceinline__ void store_keys(const tile_call &a, const tile_place &at, void *to,
                                           int split, int which, int first, bool add,
                                           const float (&x)[D / 2], float by)
{
    const int column = (int)threadIdx.x % 4 * 2;
    const int64_t part = (which * a.splits + split) * a.groups + at.group - a.first_group;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int key = first + 8 * r;
        if (key >= a.M || (a.splits == 1 && !to)) continue;
        T *row = (T *)to + at.keys + key * a.keys.row + column;
        float *sums = a.parts + (part * a.M + key) * D + column;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            float left = x[i * 4 + r * 2] * by, right = x[i * 4 + r * 2 + 1] * by;
            if (a.splits > 1) {
                *(float2 *)(sums + i * 8) = make_float2(left, right);
                continue;
            }
            if (add) {
                const float2 before = unpair(*(const uint32_t *)(row + i * 8), T());
                left += before.x, right += before.y;
            }
            store_two(row, i * 8, D, left, right, true);
        }
    }
}

template <typename T, int D, int R, class Shape>
static __global__ void __launch_bounds__(Shape::groups *WARPGROUP, Shape::blocks)
    gradient_keys_kernel(const __grid_constant__ CUtensorMap k_map,
                         const __grid_constant__ CUtensorMap v_map,
                         const __grid_constant__ CUtensorMap q_map,
                         const __grid_constant__ CUtensorMap g_map,
                         const __grid_constant__ CUtensorMap bits_map,
                         const __grid_constant__ tile_call a, int blocks)
{
    typedef keys_room<D, R, Shape> room;
    enum { RING = Shape::ring, QUERIES = Shape::queries };
    extern __shared__ uint4 memory[];
    const uint32_t own = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t ring_at = own + 2 * room::own, facts = ring_at + RING * 2 * room::tile;
    const uint32_t bits = facts + RING * room::facts, full = bits + RING * room::bits;
    const uint32_t own_full = full + 16 * RING;

    const tile_place at(a, blockIdx.x / a.splits, blocks);
    const int split = (int)(blockIdx.x % a.splits), key0 = at.block * room::keys;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);
    /* the queries that see a key of the block, and of these a part */
    const int end = (a.N + QUERIES - 1) / QUERIES;
    const int begin = a.causal ? min((key0 + a.lag) / QUERIES, end) : 0;
    const int64_t span = end - begin;
    const int from = begin + (int)(span * split / a.splits);
    const int tiles = begin + (int)(span * (split + 1) / a.splits) - from;
    const int h = (int)at.head, sample = (int)(at.group / a.H);
    const int key_h = a.mask_T ? 0 : h, key_b = a.mask_T ? h : sample;
    const int64_t place = (at.group - a.first_group) * whole_queries(a.N);
    static_assert(QUERIES == QUERY_TILE, "fields of a tile");

    const auto load = [&](int i, uint32_t barrier) {
        const int n = i % RING, query = (from + i) * QUERIES;
        const uint32_t to = ring_at + n * 2 * room::tile;
        barrier_expect(barrier, 2 * room::tile + room::facts + (a.drop ? room::bits : 0));
        tile_load_rows<D>(to, &q_map, barrier, QUERIES, h, query, sample);
        tile_load_rows<D>(to + room::tile, &g_map, barrier, QUERIES, h, query, sample);
        bytes_load(facts + n * room::facts,
                   (const float *)a.queries + (place + query) * fields_of(R), room::facts, barrier);
        if (a.drop)
            tile_load(bits + n * room::bits, &bits_map, barrier, key0 / 128 * 4, 0, query,
                      (int)(at.group - a.first_group));
    };
    const tile_ring<RING, decltype(load)> ring = {full, full + 8 * RING, tiles, load};
    if (threadIdx.x == 0) {
        barrier_open(own_full, 1);
        barriers_opened();
        barrier_expect(own_full, 2 * room::own);
        tile_load_rows<D>(own, &k_map, own_full, room::keys, key_h, key0, key_b);
        tile_load_rows<D>(own + room::own, &v_map, own_full, room::keys, key_h, key0, key_b);
        ring.open(room::threads / WARP);
    }
    const int warp_keys = key0 + warp * 16;
    const tile_head head = tile_head_of(a, h);
    const gradient_keys<T, D, R, Shape> keys = {a, head.kappa, head.r, warp_keys + lane / 4};
    const float by = head.gradient, kept = a.drop ? a.masks.kept : 1;
    /* all keys of the warp are seen by the queries from this one on */
    const int sure = a.causal ? warp_keys + 15 + a.lag : 0;
    /* 16 bytes of a row of bits is where a box begins */
    const uint32_t my_bits = (key0 / 32 % 4 + warp / 2) * 4;
    const uint32_t mine = warp / 4 * PRODUCT_ROWS * tile_line<D>::bytes;
    const uint32_t k = warp_value(tile_start(own + mine));
    const uint32_t v = warp_value(tile_start(own + room::own + mine));
    const uint32_t q = warp_value(tile_start(ring_at));
    const uint32_t g = warp_value(tile_start(ring_at + room::tile));
    const uint32_t q_down = warp_value(tile_start_down<D>(ring_at, QUERIES));
    const uint32_t g_down = warp_value(tile_start_down<D>(ring_at + room::tile, QUERIES));
    enum { STEP = 2 * room::tile >> 4 };
    __syncthreads();
    barrier_wait(own_full, 0);

    float dk[D / 2], dv[D / 2], s[QUERIES / 2], G[QUERIES / 2];
    uint32_t p[QUERIES / 16][4], ds[QUERIES / 16][4];
#pragma unroll
    for (int i = 0; i < D / 2; i++)
        dk[i] = dv[i] = 0;
#pragma unroll 1
    for (int j = 0; j < tiles; j++) {
        const int slot = ring.arrived(j), query = (from + j) * QUERIES;
        const uint32_t f = facts + slot * room::facts;
        multiply_rows<T, D>(s, k, room::keys, q + slot * STEP, QUERIES);
        multiply_rows<T, D>(G, v, room::keys, g + slot * STEP, QUERIES);
        products_wait<1>();
        multiplied(s);
        if (query < sure) keys.hide(s, query);
        keys.weigh(s, f);
        products_wait<0>();
        multiplied(G);
        if (a.drop)
            keys.template slopes<true>(s, G, f, bits + slot * room::bits + my_bits);
        else
            keys.template slopes<false>(s, G, f, 0);
        round_to<T>(p, s);
        round_to<T>(ds, G);
        multiply_add_down<T, D>(dv, p, g_down + slot * STEP);
        multiply_add_down<T, D>(dk, ds, q_down + slot * STEP);
        products_wait<0>();
        multiplied(dv);
        multiplied(dk);
        multiplied(p);
        multiplied(ds);
        ring.release(j);
    }
    store_keys<T, D>(a, at, a.dk, split, 0, keys.first, a.add, dk, by * kept);
    store_keys<T, D>(a, at, a.dv, split, 1, keys.first, false, dv, kept);
}

#else

template <typename T, int D, int R, bool BETA, class Shape>
static __global__ void gradient_rows_kernel(const __grid_constant__ CUtensorMap,
                                            const __grid_constant__ CUtensorMap,
                                            const __grid_constant__ tile_call, int)
{
}

template <typename T, int D, int R, class Shape>
static __global__ void
gradient_keys_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                     const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                     const __grid_constant__ CUtensorMap, const __grid_constant__ tile_call, int)
{
}

#endif
#endif
