/* SPDX-License-Identifier: MIT
 *
 * resident_grad — the gradient of tile.cuh for short sequences (resident.cuh).
 *
 * A warpgroup owns 64 rows, of which it finds dq by walking over the keys that they see, or 64
 * keys, of which it finds dk and dv by walking over the queries that see them. Either way a tile of
 * scores and one of gradients of weights are products of its own rows, in shared memory, with
 * resident ones:
 *
 *                 own        resident   mixed
 *     by rows     q, do      k, v       dq += ds k
 *     by keys     k, v       q, do      dk += ds^T q,  dv += p~^T do
 *
 * Where keys are queries too, all three tensors of a head are resident, and a warpgroup does both
 * in turn for its rows into one sum. Else there are two kernels, and what a warpgroup owns comes
 * when it is wanted.
 *
 * A weight and its slope are powers of one number. With the w of its row in kappa' = kappa w^(1/r)
 * and tau' = tau w^(1/r),
 *
 *     u' = [kappa' (s - m) - tau']_+,   p = u'^r,   f' = u'^(r-1);   r = 1: f' = w where u' > 0
 *
 * which leaves four numbers of a row to know. delta is <do,o>, or for entmax and ReLUmax comes of a
 * sweep before the others; see tile_rows.cuh for that and for dbeta.
 */
#include "resident.cuh"

/* What a kernel does, and with what. */
enum grad_part { BY_ROWS = 1, BY_KEYS = 2 };

/* Warpgroups of a block: registers for three. */
enum { GRAD_GROUPS = 3 };

struct grad_maps {
    CUtensorMap q, k, v, g;
};

/* What is left of shared memory beside tiles. */
struct grad_room {
    float4 fact[RESIDENT_T];  /* m, kappa', tau', delta of every query             */
    float2 extra[RESIDENT_T]; /* ReLUmax: its best key, and what that gets besides */
    uint32_t kept[GRAD_GROUPS][RESIDENT_T][2]; /* of the keys of a warpgroup, for every query */
    uint64_t arrived[RESIDENT_TILES], owned[GRAD_GROUPS];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int D, bool SOFT> struct resident_grads {
    enum { ROWS = 2, KEYS = 16, STEP = tile_bytes(TILE_KEYS, D) >> 4 };
    typedef float scores[32];

    const tile_call &a;
    const tile_head head;
    const int64_t group;
    grad_room *room;
    uint32_t arrivals;
    float kept;              /* the factor of weights that dropout keeps */
    int first;               /* row or key 0 of this thread */
    uint32_t own, own_g;     /* where products find the own tiles: q, do, or k, v            */
    uint32_t other, other_g; /* and the resident ones: k, v, or q, do                      */
    uint32_t down, down_g;   /* the resident ones to be mixed                              */
    float out[D / 2], out_v[D / 2]; /* dq, dk or their sum; dv */

    __device__ __forceinline__ void own_rows_of(int part)
    {
        first = part * TILE_KEYS + (int)(threadIdx.x % WARPGROUP) / WARP * 16 +
                (int)threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ int row(int i) const
    {
        return first + 8 * i;
    }
    /* Start s and G of the own rows and tile j; s is there first. */
    __device__ __forceinline__ void start(scores &s, scores &G, int j) const
    {
        barrier_wait(arrivals + 8 * j, 0);
        multiply_rows<T, D>(s, own, TILE_KEYS, other + j * STEP, TILE_KEYS);
        multiply_rows<T, D>(G, own_g, TILE_KEYS, other_g + j * STEP, TILE_KEYS);
    }
    template <int LATER> __device__ __forceinline__ static void finish(scores &s)
    {
        products_wait<LATER>();
        multiplied(s);
    }
    __device__ __forceinline__ float lift_of(const float4 &f, float s) const
    {
        return max_nan(fmaf(f.y, s - f.x, -f.z), 0.0f);
    }

    /* --- by rows ------------------------------------------------------------------------------ */

    /* f(s, G, first key) for all tiles that the rows of `part` see; keys that a row does not see
     * have scores far enough down to weigh nothing, and finite. If it mixes, f leaves ds in s. */
    template <bool MIXES, class F> __device__ __forceinline__ void sweep_keys(int part, F f)
    {
        const int row0 = part * TILE_KEYS, least = seen_by(a, row0);
        const int most = seen_by(a, min(row0 + TILE_KEYS, a.N) - 1);
#pragma unroll 1
        for (int key = 0; key < most; key += TILE_KEYS) {
            const int j = key / TILE_KEYS;
            scores s, G;
            uint2 words[ROWS];
            if (a.drop)
#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    words[i] = *(const uint2 *)(bits_of(a, group, row(i)) + key / 32);
            start(s, G, j);
            finish<1>(s);
            if (key + TILE_KEYS > least) hide_keys(s, key);
            finish<0>(G);
            if (a.drop) drop_held(G, words);
            f(s, G, key);
            if constexpr (MIXES) {
                uint32_t ds[4][4];
                round_held<T>(ds, s);
                multiply_add_down<T, D, 4>(out, ds, down + j * STEP);
                products_wait<0>();
                multiplied(out);
            }
        }
    }
    __device__ __forceinline__ void hide_keys(scores &s, int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int seen = seen_by(a, row(i)) - key;
#pragma unroll
            for (int e = 0; e < KEYS; e++)
                if (lane_column(e) >= seen) number(s, i, e) = -3e38f;
        }
    }
    /* delta of entmax and ReLUmax, and extra, of the rows of `part`. */
    template <int R> __device__ __forceinline__ void centre(int part)
    {
        float4 fact[ROWS];
        float mean[ROWS] = {}, weighted[ROWS] = {}, plain[ROWS] = {};
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            fact[i] = room->fact[row(i)];
        sweep_keys<false>(part, [&](scores &s, scores &G, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++) {
                    const float u = lift_of(fact[i], number(s, i, e)), g = number(G, i, e);
                    const float low = kernel_slope<R>(u, head.r);
                    if (R == 1) mean[i] = fmaf(u, g, mean[i]);
                    weighted[i] = fmaf(low, g, weighted[i]);
                    plain[i] += low;
                }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float W = quad_sum(weighted[i]) * kept, P = quad_sum(plain[i]);
            const float u_g = quad_sum(mean[i]) * kept;
            const float delta = a.rule != RULE_ENTMAX ? u_g : P > 0 ? W / P : W;
            if (threadIdx.x % 4 != 0 || row(i) >= a.N) continue;
            row_fact *f = a.facts + group * a.N + row(i);
            room->fact[row(i)].w = f->delta = delta;
            if (R != 1 || a.rule != RULE_RELUMAX) continue;
            f->extra = -f->slope * (W - delta * P);
            room->extra[row(i)] = make_float2(f->arg, f->extra);
        }
    }
    /* Sums over the keys of a row that dbeta is made of. */
    struct beta_sums {
        float total, cross, moment, support;
    };
    /* dq of the rows of `part` to `out`, and dbeta of each. */
    template <int R> __device__ __forceinline__ void by_rows(int part)
    {
        if (a.dbeta)
            by_rows<R, true>(part);
        else
            by_rows<R, false>(part);
    }
    template <int R, bool BETA> __device__ __forceinline__ void by_rows(int part)
    {
        float4 fact[ROWS];
        float slope[ROWS]; /* r = 1 */
        beta_sums b[ROWS] = {};
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            fact[i] = room->fact[row(i)], slope[i] = R == 1 ? fact[i].y / head.kappa : 1;
        sweep_keys<true>(part, [&](scores &s, scores &G, int key) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++) {
                    float &x = number(s, i, e);
                    const float g = number(G, i, e), y = x - fact[i].x;
                    float ds = fmaf(g, kept, -fact[i].w);
                    if constexpr (SOFT) {
                        const float p = power_of_two(fmaf(fact[i].y, y, -fact[i].z));
                        ds *= p;
                        if (BETA) b[i].moment = fmaf(p, y, b[i].moment);
                    } else {
                        const float u = max_nan(fmaf(fact[i].y, y, -fact[i].z), 0.0f);
                        const float low = kernel_slope<R>(u, head.r);
                        ds *= R == 1 ? low * slope[i] : low;
                        if (BETA && R == 1) {
                            b[i].moment = fmaf(u, g, b[i].moment);
                            b[i].support += low;
                        }
                    }
                    if (BETA) b[i].cross = fmaf(ds, y, b[i].cross);
                    if (BETA && (SOFT || R == 1)) b[i].total += ds;
                    x = ds;
                }
            if (R == 1 && a.rule == RULE_RELUMAX) add_extra_to_rows(s, key);
        });
        if constexpr (BETA)
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const float d = beta_gradient(b[i], row(i));
                if (row(i) < a.N && threadIdx.x % 4 == 0) a.dbeta[group * a.N + row(i)] = d;
            }
    }
    __device__ __forceinline__ void add_extra_to_rows(scores &ds, int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float2 x = room->extra[row(i)];
#pragma unroll
            for (int e = 0; e < KEYS; e++)
                if (key + lane_column(e) == (int)x.x) number(ds, i, e) += x.y;
        }
    }
    /* As tile_rows.cuh has it. */
    __device__ __forceinline__ float beta_gradient(const beta_sums &b, int t) const
    {
        const float A = (float)(head.gradient / a.scale);
        float sum = quad_sum(b.total), with = quad_sum(b.cross);
        const float told = quad_sum(b.moment), n = quad_sum(b.support);
        if (SOFT) with -= sum * told;
        if (a.rule == RULE_NORMRELU && t < a.N) {
            const row_fact f = a.facts[group * a.N + t];
            if (f.slope > 0) {
                const float by = f.slope * (told * kept - room->fact[t].w);
                with -= by * (1 / f.w + n * f.tau) / f.kappa;
                sum -= by * n;
                with += f.m * sum;
            }
        }
        return head.on_product * (head.gradient * with) + head.on_sum * (A * sum);
    }

    /* --- by keys ------------------------------------------------------------------------------ */

    /* dk and dv of the keys of `part`, added to `out` and `out_v`. */
    template <int R> __device__ __forceinline__ void by_keys(int part)
    {
        const int key0 = part * TILE_KEYS, begin = a.causal ? (key0 + a.lag) / TILE_KEYS : 0;
        const float per_kappa = R == 1 ? 1 / head.kappa : 1;
        if (a.drop) fetch_kept(part);
#pragma unroll 1
        for (int query = begin * TILE_KEYS; query < a.N; query += TILE_KEYS) {
            const int j = query / TILE_KEYS;
            const bool partly = seen_by(a, query) < key0 + TILE_KEYS;
            scores s, G;
            start(s, G, j);
            finish<1>(s);
#pragma unroll
            for (int e = 0; e < KEYS; e++) {
                const float4 f = room->fact[query + lane_column(e)];
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    float &x = number(s, i, e);
                    x = SOFT ? power_of_two(fmaf(f.y, x - f.x, -f.z)) : lift_of(f, x);
                }
            }
            finish<0>(G);
            if (a.drop) drop(G, query);
#pragma unroll
            for (int e = 0; e < KEYS; e++) {
                const float4 f = room->fact[query + lane_column(e)];
                const float w = f.y * per_kappa;
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    float &p = number(s, i, e), &ds = number(G, i, e);
                    ds = fmaf(ds, kept, -f.w);
                    if constexpr (SOFT) {
                        ds *= p;
                    } else {
                        const float low = kernel_slope<R>(p, head.r);
                        ds *= R == 1 ? low * w : low;
                        if (R != 1) p *= low;
                    }
                }
            }
            if (R == 1 && a.rule == RULE_RELUMAX) add_extra_to_keys(G, query);
            if (partly) hide_queries(s, G, query);
            if (a.drop) drop(s, query); /* dv is scaled at the end */
            uint32_t p[4][4], ds[4][4];
            round_held<T>(p, s);
            multiply_add_down<T, D, 4>(out_v, p, down_g + j * STEP);
            round_held<T>(ds, G);
            multiply_add_down<T, D, 4>(out, ds, down + j * STEP);
            products_wait<0>();
            multiplied(out_v);
            multiplied(out);
        }
    }
    /* Which weights of the keys of `part` are kept, of all queries, for this warpgroup. */
    __device__ __forceinline__ void fetch_kept(int part)
    {
        const int warpgroup = (int)threadIdx.x / WARPGROUP;
        meet();
        for (int t = (int)threadIdx.x % WARPGROUP; t < a.N; t += WARPGROUP)
            *(uint2 *)room->kept[warpgroup][t] =
                *(const uint2 *)(bits_of(a, group, t) + part * (TILE_KEYS / 32));
        meet();
    }
    /* 0 for what is dropped. */
    __device__ __forceinline__ void drop(scores &s, int query) const
    {
        const int warp = (int)(threadIdx.x % WARPGROUP) / WARP, lane = (int)threadIdx.x % WARP / 4;
        const uint32_t(*words)[2] = room->kept[threadIdx.x / WARPGROUP];
#pragma unroll
        for (int e = 0; e < KEYS; e++) {
            const uint32_t word = words[query + lane_column(e)][warp / 2];
            const uint32_t here = word >> (warp % 2 * 16) << (7 - lane);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                number(s, i, e) = kept_or_0(number(s, i, e), here, i);
        }
    }
    /* Nothing of what a query does not see. */
    __device__ __forceinline__ void hide_queries(scores &p, scores &ds, int query) const
    {
#pragma unroll
        for (int e = 0; e < KEYS; e++) {
            const int seen = seen_by(a, query + lane_column(e));
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                if (row(i) >= seen) number(p, i, e) = number(ds, i, e) = 0;
        }
    }
    __device__ __forceinline__ void add_extra_to_keys(scores &ds, int query) const
    {
#pragma unroll
        for (int e = 0; e < KEYS; e++) {
            const float2 x = room->extra[query + lane_column(e)];
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                if (row(i) == (int)x.x) number(ds, i, e) += x.y;
        }
    }

    /* --- results ------------------------------------------------------------------------------ */

    /* The warpgroup has come here. */
    __device__ __forceinline__ static void meet()
    {
        asm volatile("bar.sync %0, %1;" ::"r"((int)threadIdx.x / WARPGROUP + 1), "n"((int)WARPGROUP)
                     : "memory");
    }
    __device__ __forceinline__ static void clear(float (&x)[D / 2])
    {
#pragma unroll
        for (int i = 0; i < D / 2; i++)
            x[i] = 0;
    }
    /* x times `by`, and what is there already if `add`. */
    __device__ __forceinline__ void store(T *to, const tile_layout &l, const float (&x)[D / 2],
                                          float by, bool add) const
    {
        T *base = to + group / a.H * l.sample + group % a.H * l.head;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const bool real = row(i) < a.N;
            T *line = base + row(i) * l.row;
#pragma unroll
            for (int n = 0; n < D / 8; n += 2) {
                float y[4];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    y[e] = x[4 * (n + e / 2) + 2 * i + e % 2] * by;
                if (add && real)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        y[e] += widen(line[(n + e / 2) * 8 + 2 * (int)(threadIdx.x % 4) + e % 2]);
                store_groups(line + n * 8, real, y[0], y[1], y[2], y[3]);
            }
        }
    }
};

/* What is known of every query of the head, to shared memory; delta: <do,o>. */
template <typename T, int D, bool SOFT>
static __device__ void gather_facts(const tile_call &a, grad_room *room, const tile_head &head,
                                    int64_t group, int queries)
{
    for (int t = (int)threadIdx.x; t < queries; t += (int)blockDim.x) {
        const row_fact f = t < a.N ? a.facts[group * a.N + t] : row_fact{};
        const float by = SOFT ? 1 : head.r == 1 ? f.w : powf(f.w, 1 / head.r);
        float4 x = make_float4(f.m, (SOFT ? head.kappa : f.kappa) * by, f.tau * by, f.delta);
        if (SOFT && f.w == 0) x.z = INFINITY; /* a row without keys, or none */
        room->fact[t] = x;
        room->extra[t] = make_float2(f.arg, f.extra);
    }
}
template <typename T, int D>
static __device__ void gather_deltas(const tile_call &a, grad_room *room, int64_t group,
                                     int queries)
{
    enum { LANES = D / 8 };
    const int64_t at = group / a.H * a.rows.sample + group % a.H * a.rows.head;
    const int lane = (int)threadIdx.x % LANES;
#pragma unroll 4
    for (int t = (int)threadIdx.x / LANES; t < queries; t += (int)blockDim.x / LANES) {
        const bool real = t < a.N;
        const int64_t from = at + (real ? t : 0) * a.rows.row + lane * 8;
        const packed<T> x = {*(const uint4 *)((const T *)a.g + from)};
        const packed<T> y = {*(const uint4 *)((const T *)a.o + from)};
        float sum = 0;
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum = fmaf(x[e], y[e], sum);
        if (a.rest) {
            const packed<T> z = {*(const uint4 *)((const T *)a.rest +
                                                  (group * a.N + (real ? t : 0)) * D + lane * 8)};
#pragma unroll
            for (int e = 0; e < 8; e++)
                sum = fmaf(x[e], z[e], sum);
        }
        sum = team_sum(sum, LANES);
        if (lane == 0 && real) {
            room->fact[t].w = sum;
            a.facts[group * a.N + t].delta = sum;
        }
    }
}

template <typename T, int D, bool SOFT, int WHAT>
static __device__ __forceinline__ void grad_block(const grad_maps &maps, const tile_call &a,
                                                  const resident_deal &deal)
{
    enum { BYTES = tile_bytes(TILE_KEYS, D), BOTH = BY_ROWS | BY_KEYS };
    extern __shared__ uint4 memory[];
    __shared__ tile_head shared_head;
    const uint32_t tiles = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t left = tiles, right = left + deal.parts * BYTES;
    const uint32_t rest = right + deal.parts * BYTES; /* do, or the own tiles */
    grad_room *room = (grad_room *)__cvta_shared_to_generic(
        rest + (WHAT == BOTH ? deal.parts : 2 * deal.groups) * BYTES);
    const uint32_t arrivals = shared_address(room->arrived), owned = shared_address(room->owned);
    const int64_t group = a.first_group + blockIdx.x;
    const int b = (int)(group / a.H), h = (int)(group % a.H);
    const CUtensorMap *left_map = WHAT == BY_KEYS ? &maps.q : &maps.k;
    const CUtensorMap *right_map = WHAT == BY_KEYS ? &maps.g : &maps.v;
    if (threadIdx.x == 0) {
        for (int j = 0; j < deal.parts; j++)
            barrier_open(arrivals + 8 * j, 1);
        for (int g = 0; g < deal.groups; g++)
            barrier_open(owned + 8 * g, 1);
        barriers_opened();
        for (int j = 0; j < deal.parts; j++) {
            const uint32_t barrier = arrivals + 8 * j;
            const auto load = [&](uint32_t to, const CUtensorMap *map) {
                tile_load_rows<D>(to + j * BYTES, map, barrier, TILE_KEYS, h, j * TILE_KEYS, b);
            };
            barrier_expect(barrier, (WHAT == BOTH ? 3 : 2) * BYTES);
            load(left, left_map);
            load(right, right_map);
            if (WHAT == BOTH) load(rest, &maps.g);
        }
        shared_head = tile_head_of(a, h);
    }
    __syncthreads();
    const int mine = (int)warp_value(threadIdx.x / WARPGROUP);
    resident_grads<T, D, SOFT> r = {a, shared_head, group, room, arrivals};
    r.kept = a.drop ? a.masks.kept : 1;
    const uint32_t own = rest + 2 * mine * BYTES;

    /* The own tiles of a part, in a turn that is number `nth` of this warpgroup's. */
    const auto take = [&](int part, bool by_rows, int nth) {
        r.own_rows_of(part);
        if (WHAT == BOTH) {
            barrier_wait(arrivals + 8 * part, 0);
            r.own = tile_start(left + part * BYTES);
            r.own_g = tile_start((by_rows ? rest : right) + part * BYTES);
            r.other = tile_start(left), r.other_g = tile_start(by_rows ? right : rest);
            r.down = tile_start_down<D>(left, TILE_KEYS);
            r.down_g = tile_start_down<D>(rest, TILE_KEYS);
        } else {
            r.meet();
            if (threadIdx.x % WARPGROUP == 0) {
                barrier_expect(owned + 8 * mine, 2 * BYTES);
                tile_load_rows<D>(own, by_rows ? &maps.q : &maps.k, owned + 8 * mine, TILE_KEYS, h,
                                  part * TILE_KEYS, b);
                tile_load_rows<D>(own + BYTES, by_rows ? &maps.g : &maps.v, owned + 8 * mine,
                                  TILE_KEYS, h, part * TILE_KEYS, b);
            }
            __syncwarp();
            barrier_wait(owned + 8 * mine, nth % 2);
            r.own = tile_start(own), r.own_g = tile_start(own + BYTES);
            r.other = tile_start(left), r.other_g = tile_start(right);
            r.down = tile_start_down<D>(left, TILE_KEYS);
            r.down_g = tile_start_down<D>(right, TILE_KEYS);
        }
    };
    const auto by_power = [&](auto f) {
        if constexpr (SOFT)
            f(exponent<1>());
        else
            by_exponent(r.head.r, f);
    };
    const int queries = deal.parts * TILE_KEYS;
    int nth = 0;

    gather_facts<T, D, SOFT>(a, room, shared_head, group, queries);
    __syncthreads();
    if (WHAT != BY_KEYS && SOFT) gather_deltas<T, D>(a, room, group, queries);
    if constexpr (!SOFT && WHAT != BY_KEYS)
#pragma unroll 1
        for (int turn = 0; turn < deal.turns; turn++) {
            const int part = deal.part(mine, turn);
            if (part < 0) continue;
            take(part, true, nth++);
            by_power([&](auto R) { r.template centre<decltype(R)::value>(part); });
        }
    __syncthreads();
#pragma unroll 1
    for (int turn = 0; turn < deal.turns; turn++) {
        const int part = deal.part(mine, turn);
        if (part < 0) continue;
        r.clear(r.out);
        if (WHAT & BY_ROWS) {
            take(part, true, nth++);
            by_power([&](auto R) { r.template by_rows<decltype(R)::value>(part); });
            if (WHAT == BY_ROWS) r.store((T *)a.out, a.rows, r.out, r.head.gradient, false);
        }
        if (WHAT & BY_KEYS) {
            r.clear(r.out_v);
            take(part, false, nth++);
            by_power([&](auto R) { r.template by_keys<decltype(R)::value>(part); });
            if (a.dk) r.store((T *)a.dk, a.keys, r.out, r.head.gradient, WHAT == BY_KEYS && a.add);
            if (a.dv) r.store((T *)a.dv, a.keys, r.out_v, r.kept, false);
        }
    }
}

#endif

template <typename T, int D, bool SOFT, int WHAT>
static __global__ void __launch_bounds__(GRAD_GROUPS *WARPGROUP, 1)
    resident_grad_kernel(const __grid_constant__ grad_maps maps, const tile_call a,
                         const resident_deal deal)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    grad_block<T, D, SOFT, WHAT>(maps, a, deal);
#endif
}

/* --- host ------------------------------------------------------------------------------------ */

template <typename T, int D, bool SOFT, int WHAT>
static status launch_grad(const tile_call *f, const grad_maps *maps, cudaStream_t stream,
                          const char *what)
{
    const auto kernel = resident_grad_kernel<T, D, SOFT, WHAT>;
    const resident_deal deal = resident_deal_of(f->N, GRAD_GROUPS);
    const int own = WHAT == (BY_ROWS | BY_KEYS) ? deal.parts : 2 * deal.groups;
    const int bytes =
        1024 + (2 * deal.parts + own) * tile_bytes(TILE_KEYS, D) + (int)sizeof(grad_room);
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             what);
    kernel<<<(unsigned)f->groups, (unsigned)(deal.groups * WARPGROUP), (size_t)bytes, stream>>>(
        *maps, *f, deal);
    return launched(what);
}

template <typename T, int D, bool SOFT>
static status backward_of(const tile_call *f, cudaStream_t stream, const char *what)
{
    grad_maps maps;
    if (f->groups == 0 || f->N == 0) return OK;
    TRY(resident_map<T>(&maps.q, what, f->q, f));
    TRY(resident_map<T>(&maps.k, what, f->k, f));
    TRY(resident_map<T>(&maps.v, what, f->v, f));
    TRY(resident_map<T>(&maps.g, what, f->g, f));
    if (f->q == f->k && f->out == f->dk)
        return launch_grad<T, D, SOFT, BY_ROWS | BY_KEYS>(f, &maps, stream, what);
    TRY((launch_grad<T, D, SOFT, BY_ROWS>(f, &maps, stream, what)));
    return f->dk || f->dv ? launch_grad<T, D, SOFT, BY_KEYS>(f, &maps, stream, what) : OK;
}

#define BY_WIDTH(soft)                                                                             \
    (f->D == 16   ? backward_of<T, 16, soft>(f, stream, what)                                      \
     : f->D == 32 ? backward_of<T, 32, soft>(f, stream, what)                                      \
                  : backward_of<T, 64, soft>(f, stream, what))

template <typename T>
static status backward(const tile_call *f, dtype, cudaStream_t stream, const char *what)
{
    return f->rule == RULE_SOFTMAX ? BY_WIDTH(true) : BY_WIDTH(false);
}

status resident_run_grad(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                         const char *what)
{
    return tile_slices(f, type, drawn, stream, what,
                       type == BF16 ? backward<bf16> : backward<fp16>);
}
