/* SPDX-License-Identifier: MIT
 *
 * resident_forward — the forward of tile.cuh for short sequences (resident.cuh).
 *
 * Thread i of a warpgroup has rows i / 32 * 16 + i % 32 / 4 and 8 more of its 64, of a tile keys
 * 2 (i % 4) and the next of every eight. A row's numbers are in four lanes of one warp.
 */
#include "resident.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int D, bool SOFT> struct resident_rows {
    enum {
        ROWS = 2,
        KEYS = 16,     /* of a thread in a tile, for each row  */
        CLASSES_ = 16, /* of the keys of a row, in each lane   */
        BOUND_STEPS = 6,
        STEPS = 40 /* of Newton, at most */
    };
    typedef float scores[32];

    const tile_call &a;
    const tile_head head;
    const int64_t group;
    const uint32_t keys, values; /* where products find the first tile */
    const uint32_t arrivals;     /* barriers: keys, values of every tile */
    uint32_t *votes;
    int turn, first, least, tiles; /* row 0 of this thread; keys that all rows see, tiles that any
                                      does */
    uint32_t q[D / 16][4];
    float out[D / 2];
    float m[ROWS], tau[ROWS], sum[ROWS], peak[ROWS];
    float kappa[ROWS], w[ROWS], slope[ROWS];
    int count[ROWS], best[ROWS];

    __device__ __forceinline__ int row(int i) const
    {
        return first + 8 * i;
    }

    /* f(s, first key) for all tiles that a row of the warpgroup sees; keys that a row does not see
     * have -inf. If `mixes`, f leaves weights in s. */
    template <bool MIXES, class F> __device__ __forceinline__ void sweep(F f)
    {
#pragma unroll 1
        for (int j = 0; j < tiles; j++) {
            const int key = j * TILE_KEYS;
            scores s;
            uint2 kept[ROWS];
            if (MIXES && a.drop) kept_of(kept, key);
            barrier_wait(arrivals + 16 * j, 0);
            multiply_held_rows<T, D>(s, q, keys + j * (tile_bytes(TILE_KEYS, D) >> 4));
            products_wait<0>();
            multiplied(s);
            if (key + TILE_KEYS > least) hide(s, key);
            f(s, key);
            if constexpr (MIXES) {
                uint32_t p[4][4];
                if (a.drop) drop_held(s, kept);
                round_held<T>(p, s);
                barrier_wait(arrivals + 16 * j + 8, 0);
                multiply_add_down<T, D, 4>(out, p, values + j * (tile_bytes(TILE_KEYS, D) >> 4));
                products_wait<0>();
                multiplied(out);
            }
        }
    }
    __device__ __forceinline__ void hide(scores &s, int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int seen = seen_by(a, row(i)) - key;
#pragma unroll
            for (int e = 0; e < KEYS; e++)
                if (lane_column(e) >= seen) number(s, i, e) = -INFINITY;
        }
    }
    /* The weights of a tile that are kept, of each row; and 0 for the others. */
    __device__ __forceinline__ void kept_of(uint2 (&kept)[ROWS], int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            kept[i] = *(const uint2 *)(bits_of(a, group, row(i)) + key / 32);
    }
    /* The number of weights f(row, score) and the first best key, for stat and ReLUmax. */
    template <class F> __device__ __forceinline__ void note_all(const scores &s, int key, F f)
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int e = 0; e < KEYS; e++) {
                count[i] += f(i, number(s, i, e)) > 0;
                if (number(s, i, e) == peak[i]) best[i] = min(best[i], key + lane_column(e));
            }
    }

    /* The largest score of every row before the weights are known, for stat. */
    __device__ __forceinline__ void maxima()
    {
        sweep<false>([&](const scores &s, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++)
                    peak[i] = max_nan(peak[i], number(s, i, e));
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            peak[i] = quad_max(peak[i]);
    }

    /* --- softmax: running maximum and sum ----------------------------------------------------- */

    __device__ __forceinline__ void soften()
    {
        if (a.stat) maxima();
        sweep<true>([&](scores &s, int key) {
            float scale[ROWS], base[ROWS];
            bool moved = false;
            if (a.stat)
                note_all(s, key,
                         [&](int i, float x) { return power_of_two(head.kappa * (x - peak[i])); });
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                float high = peak[i];
#pragma unroll
                for (int e = 0; e < KEYS; e++)
                    high = max_nan(high, number(s, i, e));
                high = quad_max(high);
                base[i] = high == -INFINITY ? 0 : high;
                scale[i] = power_of_two(head.kappa * (peak[i] - base[i]));
                moved |= !(high == peak[i]);
                peak[i] = high;
            }
            if (__any_sync(ALL_LANES, moved)) rescale(scale);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++) {
                    const float p = power_of_two(head.kappa * (number(s, i, e) - base[i]));
                    number(s, i, e) = p;
                    sum[i] += p;
                }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] = quad_sum(sum[i]);
            m[i] = peak[i] == -INFINITY ? 0 : peak[i];
            tau[i] = sum[i] == 0 ? 0 : log2f(sum[i]);
            w[i] = slope[i] = sum[i] == 0 ? 0 : 1 / sum[i];
        }
    }
    __device__ __forceinline__ void rescale(const float (&scale)[ROWS])
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] *= scale[i];
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                out[4 * n + 2 * i] *= scale[i], out[4 * n + 2 * i + 1] *= scale[i];
        }
    }

    /* --- compact kernels ---------------------------------------------------------------------- */

    /* The largest score of every row, and for entmax a lower bound of tau: the root of the largest
     * of its classes of keys. */
    __device__ __forceinline__ void bound()
    {
        float top[ROWS][CLASSES_];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int n = 0; n < CLASSES_; n++)
                top[i][n] = -INFINITY;
        sweep<false>([&](const scores &s, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++)
                    top[i][e % CLASSES_] = max_nan(top[i][e % CLASSES_], number(s, i, e));
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int n = 0; n < CLASSES_; n++)
                peak[i] = max_nan(peak[i], top[i][n]);
            peak[i] = quad_max(peak[i]);
            m[i] = peak[i] == -INFINITY ? 0 : peak[i];
            tau[i] = -1;
        }
        if (a.rule != RULE_ENTMAX) return;
        by_exponent(head.r, [&](auto R) {
            bool far = true;
#pragma unroll 1
            for (int step = 0; far && step < BOUND_STEPS; step++) {
                far = false;
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    float F = 0, G = 0;
#pragma unroll
                    for (int n = 0; n < CLASSES_; n++)
                        add_power<decltype(R)::value>(F, G, i, top[i][n]);
                    const float by =
                        newton_step<decltype(R)::value>(quad_sum(F), quad_sum(G), head.r);
                    tau[i] += by;
                    far |= by > -tau[i] / 128;
                }
                far = __any_sync(ALL_LANES, far);
            }
        });
    }
    /* u of entmax, at most 1. What saturates is 0 for NaN, which `weigh` finds in the peak. */
    __device__ __forceinline__ float lift_capped(int i, float s) const
    {
        return __saturatef(fmaf(head.kappa, s - m[i], -tau[i]));
    }
    template <int R> __device__ __forceinline__ void add_power(float &F, float &G, int i, float s)
    {
        const float u = lift_capped(i, s);
        const float low = kernel_slope<R>(u, head.r);
        F = R == 1 ? F + u : fmaf(low, u, F);
        G += low;
    }
    /* tau by whole sweeps, until no row of the warpgroup moves by more than rounding; a smooth
     * kernel squares what is left in its last step. */
    template <int R> __device__ __forceinline__ void solve()
    {
        const float close = R == 1 ? 2e-7f : 1e-3f;
#pragma unroll 1
        for (int step = 0; step < STEPS; step++) {
            float F[ROWS] = {}, G[ROWS] = {};
            bool far = false;
            sweep<false>([&](const scores &s, int) {
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int e = 0; e < KEYS; e++)
                        add_power<R>(F[i], G[i], i, number(s, i, e));
            });
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const float by = newton_step<R>(quad_sum(F[i]), quad_sum(G[i]), head.r);
                tau[i] += by;
                far |= by > close * -tau[i];
            }
            if (!any_of_group(far, votes, turn)) return;
        }
    }
    /* Weights, their sum, and the mixture. */
    template <int R> __device__ __forceinline__ void weigh()
    {
        const bool noted = a.stat || a.rule == RULE_RELUMAX;
        const auto raised = [&](int i, float s) {
            return R == 1 ? lift(head.kappa, s, m[i], tau[i]) : lift_capped(i, s);
        };
        sweep<true>([&](scores &s, int key) {
            if (noted) note_all(s, key, raised);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++) {
                    const float u = raised(i, number(s, i, e));
                    const float p = R == 1 ? u : u * kernel_slope<R>(u, head.r);
                    number(s, i, e) = p;
                    sum[i] += p;
                }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] = quad_sum(sum[i]);
            if (R != 1 && !(peak[i] < INFINITY)) sum[i] = NAN;
            w[i] = sum[i] == 0 ? 0 : 1 / sum[i];
            slope[i] = R == 1 ? w[i] : powf(w[i], 1 - 1 / head.r);
        }
    }
    /* Rows of normalised ReLU that have keys and no weight: uniform, or 0. */
    __device__ __forceinline__ void fill_empty()
    {
        bool empty[ROWS], any = false;
        int seen[ROWS] = {};
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            empty[i] = sum[i] == 0;
            if (empty[i]) kappa[i] = 0, tau[i] = -1;
            any |= empty[i];
        }
        if (a.empty == EMPTY_ZERO || !any_of_group(any, votes, turn)) return;
        sweep<true>([&](scores &s, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < KEYS; e++) {
                    number(s, i, e) = empty[i] && number(s, i, e) > -INFINITY;
                    seen[i] += number(s, i, e) > 0;
                }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            int all = seen[i] + __shfl_xor_sync(ALL_LANES, seen[i], 1);
            all += __shfl_xor_sync(ALL_LANES, all, 2);
            if (!empty[i]) continue;
            if (all > 0) w[i] = 1 / (float)all;
            count[i] = threadIdx.x % 4 == 0 ? all : 0;
        }
    }
    __device__ __forceinline__ void compact()
    {
        if (a.rule != RULE_NORMRELU)
            bound();
        else if (a.stat)
            maxima();
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            if (a.rule == RULE_NORMRELU) m[i] = head.fixed_m;
            if (a.rule != RULE_ENTMAX) tau[i] = head.fixed_tau;
        }
        by_exponent(head.r, [&](auto R) {
            if (a.rule == RULE_ENTMAX) solve<decltype(R)::value>();
            weigh<decltype(R)::value>();
        });
        if (a.rule == RULE_NORMRELU) fill_empty();
    }

    /* --- results ------------------------------------------------------------------------------ */

    __device__ __forceinline__ void store() const
    {
        T *o = (T *)a.out + group / a.H * a.rows.sample + group % a.H * a.rows.head;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float by = a.drop ? w[i] * a.masks.kept : w[i];
            const bool real = row(i) < a.N;
#pragma unroll
            for (int n = 0; n < D / 8; n += 2) {
                const float *x = out + 4 * n + 2 * i;
                store_groups(o + row(i) * a.rows.row + n * 8, real, x[0] * by, x[1] * by, x[4] * by,
                             x[5] * by);
                if (!SOFT || !a.rest) continue;
                store_groups((T *)a.rest + (group * a.N + row(i)) * D + n * 8, real,
                             rest_of<T>(x[0] * by), rest_of<T>(x[1] * by), rest_of<T>(x[4] * by),
                             rest_of<T>(x[5] * by));
            }
        }
    }
    /* What the rule leaves in STAT_NORM. */
    __device__ __forceinline__ float norm(int i) const
    {
        if (SOFT) return 0.693147181f * tau[i];
        return a.rule == RULE_ENTMAX ? -tau[i] : sum[i];
    }
    __device__ __forceinline__ void store_facts()
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            int weights = count[i];
            weights += __shfl_xor_sync(ALL_LANES, weights, 1);
            weights += __shfl_xor_sync(ALL_LANES, weights, 2);
            const int arg = quad_min(best[i]);
            if (row(i) >= a.N || threadIdx.x % 4 != 0) continue;
            const int64_t r = group * a.N + row(i);
            a.facts[r] = row_fact{m[i], tau[i], kappa[i], w[i], slope[i], (float)arg, 0, 0};
            if (!a.stat) continue;
            const bool idle = peak[i] == -INFINITY, broken = !(peak[i] < INFINITY);
            float *stat = a.stat + r * STATS;
            stat[STAT_MAX] = broken ? NAN : idle ? 0 : (float)(peak[i] * a.scale);
            stat[STAT_NORM] = broken ? NAN : idle ? 0 : norm(i);
            stat[STAT_ARG] = idle || broken ? -1 : (float)arg;
            stat[STAT_COUNT] = idle || broken ? 0 : (float)weights;
        }
    }
    /* The 64 rows from row0 on, which lie in the tile `queries` once `here` says so. */
    __device__ __forceinline__ void run(int row0, uint32_t queries, uint32_t here)
    {
        first = row0 + (int)(threadIdx.x % WARPGROUP) / WARP * 16 + (int)threadIdx.x % WARP / 4;
        least = seen_by(a, row0);
        tiles = (seen_by(a, min(row0 + TILE_KEYS, a.N) - 1) + TILE_KEYS - 1) / TILE_KEYS;
        barrier_wait(here, 0);
        hold_rows<D>(q, queries);
#pragma unroll
        for (int i = 0; i < D / 2; i++)
            out[i] = 0;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            m[i] = tau[i] = sum[i] = w[i] = slope[i] = 0, peak[i] = -INFINITY;
            kappa[i] = head.kappa, count[i] = 0, best[i] = INT32_MAX;
        }
        if constexpr (SOFT)
            soften();
        else
            compact();
        store();
        store_facts();
    }
};

#endif

/* Warpgroups of a block: registers for two where the head is wide. */
template <int D> struct resident_groups {
    enum { most = D > 64 ? 2 : 4 };
};

template <typename T, int D, bool SOFT>
static __global__ void __launch_bounds__(resident_groups<D>::most *WARPGROUP, 1)
    resident_forward_kernel(const __grid_constant__ CUtensorMap q_map,
                            const __grid_constant__ CUtensorMap k_map,
                            const __grid_constant__ CUtensorMap v_map, const tile_call a,
                            const resident_deal deal)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    enum { BYTES = tile_bytes(TILE_KEYS, D) };
    extern __shared__ uint4 memory[];
    __shared__ __align__(16) uint64_t arrived[RESIDENT_TILES][2], asked[RESIDENT_TILES];
    __shared__ __align__(16) uint32_t votes[4][8];
    __shared__ tile_head head;
    const uint32_t keys = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t values = keys + deal.parts * BYTES, queries = values + deal.parts * BYTES;
    const uint32_t arrivals = shared_address(arrived), questions = shared_address(asked);
    const int64_t group = a.first_group + blockIdx.x;
    const bool tied = a.q == a.k;
    if (threadIdx.x == 0) {
        const int b = (int)(group / a.H), h = (int)(group % a.H);
        for (int j = 0; j < deal.parts; j++) {
            barrier_open(arrivals + 16 * j, 1);
            barrier_open(arrivals + 16 * j + 8, 1);
            barrier_open(questions + 8 * j, 1);
        }
        barriers_opened();
        for (int j = 0; j < deal.parts; j++) {
            const auto load = [&](uint32_t to, const CUtensorMap *map, uint32_t barrier) {
                barrier_expect(barrier, BYTES);
                tile_load_rows<D>(to + j * BYTES, map, barrier, TILE_KEYS, h, j * TILE_KEYS, b);
            };
            load(keys, &k_map, arrivals + 16 * j);
            if (!tied) load(queries, &q_map, questions + 8 * j);
            load(values, &v_map, arrivals + 16 * j + 8);
        }
        head = tile_head_of(a, group % a.H);
    }
    __syncthreads();
    const int mine = (int)warp_value(threadIdx.x / WARPGROUP);
    resident_rows<T, D, SOFT> r = {
        a,        head,       group, tile_start(keys), tile_start_down<D>(values, TILE_KEYS),
        arrivals, votes[mine]};
#pragma unroll 1
    for (int turn = 0; turn < deal.turns; turn++) {
        const int part = deal.part(mine, turn);
        if (part < 0) continue;
        r.run(part * TILE_KEYS, (tied ? keys : queries) + part * BYTES,
              tied ? arrivals + 16 * part : questions + 8 * part);
    }
#endif
}

/* --- host ------------------------------------------------------------------------------------ */

template <typename T, int D, bool SOFT>
static status forward_of(const tile_call *f, cudaStream_t stream, const char *what)
{
    CUtensorMap q, k, v;
    const auto kernel = resident_forward_kernel<T, D, SOFT>;
    const resident_deal deal = resident_deal_of(f->N, resident_groups<D>::most);
    const int bytes = 1024 + (f->q == f->k ? 2 : 3) * deal.parts * tile_bytes(TILE_KEYS, D);
    if (f->groups == 0 || f->N == 0) return OK;
    TRY(resident_map<T>(&q, what, f->q, f));
    TRY(resident_map<T>(&k, what, f->k, f));
    TRY(resident_map<T>(&v, what, f->v, f));
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             what);
    kernel<<<(unsigned)f->groups, (unsigned)(deal.groups * WARPGROUP), (size_t)bytes, stream>>>(
        q, k, v, *f, deal);
    return launched(what);
}

#define BY_WIDTH(soft)                                                                             \
    (f->D == 16   ? forward_of<T, 16, soft>(f, stream, what)                                       \
     : f->D == 32 ? forward_of<T, 32, soft>(f, stream, what)                                       \
                  : forward_of<T, 64, soft>(f, stream, what))

template <typename T>
static status forward(const tile_call *f, dtype, cudaStream_t stream, const char *what)
{
    return f->rule == RULE_SOFTMAX ? BY_WIDTH(true) : BY_WIDTH(false);
}

status resident_run(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return tile_slices(f, type, false, stream, what, type == BF16 ? forward<bf16> : forward<fp16>);
}
