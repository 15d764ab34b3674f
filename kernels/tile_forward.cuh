/* SPDX-License-Identifier: MIT
 *
 * tile_forward.cuh — the forward of tile.cuh: a block owns 64 or 128 rows of a group and walks over
 * its keys; a warp owns 16 or 32 of the rows. The tile of keys behind the one at work is under way.
 */
#ifndef MOSAIC_TILE_FORWARD_CUH
#define MOSAIC_TILE_FORWARD_CUH

#include "tile.cuh"

template <typename T, int DP, bool SOFT> struct forward_block {
    typedef tile_shape<T, DP> shape;
    enum {
        M16 = shape::M16,
        CHUNK = shape::forward_chunk,
        N8 = CHUNK / 8,
        ROWS = 2 * M16, /* of a thread: rows g and g + 8 of each piece */
        STEPS = 40      /* of Newton, at most                          */
    };
    typedef float scores[M16][N8][4];

    const tile_call &a;
    const tile_place &at;
    const tile_head head;
    T *keys, *values; /* two tiles each */
    own_rows<T, DP, true> q;
    float out[M16][DP / 8][4];
    int first, tiles; /* row 0 of this thread; tiles that any row of the block sees */
    row_fact fact[ROWS];
    float peak[ROWS], sum[ROWS]; /* peak: the largest score, -inf in a row without keys */
    int count[ROWS], best[ROWS];

    __device__ __forceinline__ forward_block(const tile_call &a_, const tile_place &at_)
        : a(a_), at(at_), head(tile_head_of(a_, at_.head))
    {
    }
    /* The row of index i of this thread. */
    __device__ __forceinline__ int row(int i) const
    {
        return first + i / 2 * 16 + i % 2 * 8;
    }

    __device__ __forceinline__ void fetch_tile(int j, bool values_too) const
    {
        const int64_t row = a.keys.row;
        T *k = keys + j % 2 * TILE_KEYS * shape::stride;
        T *v = values + j % 2 * TILE_KEYS * shape::stride;
        fetch<T, DP>(k, (const T *)a.k + at.keys, row, j * TILE_KEYS, a.M, TILE_KEYS, a.D, a.wide);
        if (values_too)
            fetch<T, DP>(v, (const T *)a.v + at.keys, row, j * TILE_KEYS, a.M, TILE_KEYS, a.D,
                         a.wide);
    }
    /* f(s, first key, chunk of the tile) for all chunks of scores that a row of this warp sees;
     * keys that a row does not see have -inf. If `mixes`, f leaves weights in s. */
    template <bool MIXES, class F> __device__ __forceinline__ void sweep(F f)
    {
        const int warp_rows = first - threadIdx.x % WARP / 4;
        const int least = seen_by(a, warp_rows), most = seen_by(a, warp_rows + 16 * M16 - 1);
        __syncthreads();
        if (tiles > 0) fetch_tile(0, MIXES);
        close_group();
        for (int j = 0; j < tiles; j++) {
            if (j + 1 < tiles) fetch_tile(j + 1, MIXES);
            close_group();
            groups_arrived<1>();
            __syncthreads();
#pragma unroll(MIXES ? 1 : TILE_KEYS / CHUNK)
            for (int c = 0; c < TILE_KEYS / CHUNK; c++) {
                const int key = j * TILE_KEYS + c * CHUNK;
                const T *here = keys + (j % 2 * TILE_KEYS + c * CHUNK) * shape::stride;
                if (key >= most) break;
                scores s;
                scores_of<T, DP, N8>(s, q, here);
                if (key + CHUNK > least) hide(s, key);
                f(s, key, c);
                if constexpr (MIXES)
                    mix<T, DP, N8>(out, s,
                                   values + (j % 2 * TILE_KEYS + c * CHUNK) * shape::stride);
            }
            __syncthreads();
        }
    }
    __device__ __forceinline__ void hide(scores &s, int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int seen = seen_by(a, row(i)) - key - 2 * (int)(threadIdx.x % 4);
#pragma unroll
            for (int n = 0; n < N8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (n * 8 + e >= seen) s[i / 2][n][i % 2 * 2 + e] = -INFINITY;
        }
    }
    /* 0 for the weights that are dropped; the others are scaled with the row. */
    __device__ __forceinline__ void drop_weights(scores &s, int key) const
    {
        const int lane = 2 * (int)(threadIdx.x % 4);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const uint32_t *word = bits_of(a, at.group, row(i)) + key / 32;
#pragma unroll
            for (int w = 0; w < CHUNK / 32; w++) {
                const uint32_t here[2] = {word[w] << (7 - lane), word[w] << (6 - lane)};
#pragma unroll
                for (int n = 0; n < 4; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float &x = s[i / 2][w * 4 + n][i % 2 * 2 + e];
                        x = kept_or_0(x, here[e], n);
                    }
            }
        }
    }
    /* The number of weights f(row, score) and the first best key, for stat and ReLUmax. A loop of
     * its own: a branch for every score would leave nothing to overlap. */
    template <class F> __device__ __forceinline__ void note_all(const scores &s, int key, F f)
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int e = 0; e < 2 * N8; e++) {
                const float x = s[i / 2][e / 2][i % 2 * 2 + e % 2];
                const int j = key + e / 2 * 8 + (int)(threadIdx.x % 4) * 2 + e % 2;
                count[i] += f(i, x) > 0;
                if (x == peak[i]) best[i] = min(best[i], j);
            }
    }

    /* --- softmax: running maximum and sum ----------------------------------------------------- */

    /* The largest score of every row before the weights are known, for stat. */
    __device__ __forceinline__ void maxima()
    {
        sweep<false>([&](scores &s, int, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < 2 * N8; e++)
                    peak[i] = max_nan(peak[i], s[i / 2][e / 2][i % 2 * 2 + e % 2]);
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            peak[i] = quad_max(peak[i]);
    }
    __device__ __forceinline__ void soften()
    {
        if (a.stat) maxima();
        sweep<true>([&](scores &s, int key, int) {
            float scale[ROWS];
            bool moved = false;
            if (a.stat)
                note_all(s, key,
                         [&](int i, float x) { return power_of_two(head.kappa * (x - peak[i])); });
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                float m = -INFINITY;
#pragma unroll
                for (int e = 0; e < 2 * N8; e++)
                    m = max_nan(m, s[i / 2][e / 2][i % 2 * 2 + e % 2]);
                m = max_nan(peak[i], quad_max(m));
                const float base = m == -INFINITY ? 0 : m;
                moved |= !(m == peak[i]);
                scale[i] = power_of_two(head.kappa * (peak[i] - base));
                peak[i] = m;
#pragma unroll
                for (int e = 0; e < 2 * N8; e++) {
                    float &x = s[i / 2][e / 2][i % 2 * 2 + e % 2];
                    x = power_of_two(head.kappa * (x - base));
                }
            }
            if (__any_sync(ALL_LANES, moved)) rescale(scale);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < 2 * N8; e++)
                    sum[i] += s[i / 2][e / 2][i % 2 * 2 + e % 2];
            if (a.drop) drop_weights(s, key);
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] = quad_sum(sum[i]);
            fact[i].m = peak[i] == -INFINITY ? 0 : peak[i];
            fact[i].tau = sum[i] == 0 ? 0 : log2f(sum[i]);
            fact[i].w = fact[i].slope = sum[i] == 0 ? 0 : 1 / sum[i];
        }
    }
    __device__ __forceinline__ void rescale(const float (&scale)[ROWS])
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] *= scale[i];
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                out[i / 2][n][i % 2 * 2] *= scale[i], out[i / 2][n][i % 2 * 2 + 1] *= scale[i];
        }
    }

    /* --- compact kernels ---------------------------------------------------------------------- */

    /* The largest score of every row, and for entmax a lower bound of tau: the root of the largest
     * of its classes. */
    __device__ __forceinline__ void bound()
    {
        float top[ROWS][CLASSES];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int n = 0; n < CLASSES; n++)
                top[i][n] = -INFINITY;
        sweep<false>([&](scores &s, int, int c) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int n = 0; n < N8; n++) {
                    float &x = top[i][(c * N8 + n) % CLASSES];
                    x = max_nan(x, max_nan(s[i / 2][n][i % 2 * 2], s[i / 2][n][i % 2 * 2 + 1]));
                }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int n = 0; n < CLASSES; n++)
                peak[i] = max_nan(peak[i], top[i][n]);
            peak[i] = quad_max(peak[i]);
            fact[i].m = peak[i] == -INFINITY ? 0 : peak[i];
            fact[i].tau = -1;
        }
        if (a.rule != RULE_ENTMAX) return;
        by_exponent(head.r, [&](auto R) {
            for (int step = 0; step < 4; step++)
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    float F = 0, G = 0;
#pragma unroll
                    for (int n = 0; n < CLASSES; n++)
                        add_power<decltype(R)::value>(F, G, i, top[i][n]);
                    fact[i].tau +=
                        newton_step<decltype(R)::value>(quad_sum(F), quad_sum(G), head.r);
                }
        });
    }
    template <int R> __device__ __forceinline__ void add_power(float &F, float &G, int i, float s)
    {
        const float u = lift(head.kappa, s, fact[i].m, fact[i].tau);
        const float slope = kernel_slope<R>(u, head.r);
        F = fmaf(slope, u, F);
        G += slope;
    }
    /* tau by whole sweeps, until no row of the block moves by more than rounding; a smooth kernel
     * squares what is left in its last step. */
    template <int R> __device__ __forceinline__ void solve()
    {
        const float close = R == 1 ? 2e-7f : sizeof(T) == 4 ? 2e-4f : 1e-3f;
        for (int step = 0; step < STEPS; step++) {
            float F[ROWS] = {}, G[ROWS] = {};
            bool far = false;
            sweep<false>([&](scores &s, int, int) {
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int e = 0; e < 2 * N8; e++)
                        add_power<R>(F[i], G[i], i, s[i / 2][e / 2][i % 2 * 2 + e % 2]);
            });
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const float by = newton_step<R>(quad_sum(F[i]), quad_sum(G[i]), head.r);
                fact[i].tau += by;
                far |= by > close * -fact[i].tau;
            }
            if (!__syncthreads_or(far)) return;
        }
    }
    /* Weights, their sum, and the mixture. */
    template <int R> __device__ __forceinline__ void weigh()
    {
        const bool noted = a.stat || a.rule == RULE_RELUMAX;
        sweep<true>([&](scores &s, int key, int) {
            if (noted)
                note_all(s, key, [&](int i, float x) {
                    return lift(head.kappa, x, fact[i].m, fact[i].tau);
                });
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < 2 * N8; e++) {
                    float &x = s[i / 2][e / 2][i % 2 * 2 + e % 2];
                    const float u = lift(head.kappa, x, fact[i].m, fact[i].tau);
                    x = u * kernel_slope<R>(u, head.r);
                    sum[i] += x;
                }
            if (a.drop) drop_weights(s, key);
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i] = quad_sum(sum[i]);
            fact[i].w = sum[i] == 0 ? 0 : 1 / sum[i];
            fact[i].slope = R == 1 ? fact[i].w : powf(fact[i].w, 1 - 1 / head.r);
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
            if (empty[i]) fact[i].kappa = 0, fact[i].tau = -1;
            any |= empty[i];
        }
        if (a.empty == EMPTY_ZERO || !__syncthreads_or(any)) return;
        sweep<true>([&](scores &s, int key, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < 2 * N8; e++) {
                    float &x = s[i / 2][e / 2][i % 2 * 2 + e % 2];
                    x = empty[i] && x > -INFINITY;
                    seen[i] += x > 0;
                }
            if (a.drop) drop_weights(s, key);
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            seen[i] += __shfl_xor_sync(ALL_LANES, seen[i], 1);
            seen[i] += __shfl_xor_sync(ALL_LANES, seen[i], 2);
            if (empty[i] && seen[i] > 0) fact[i].w = 1 / (float)seen[i];
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            if (empty[i]) count[i] = threadIdx.x % 4 == 0 ? seen[i] : 0;
    }
    __device__ __forceinline__ void compact()
    {
        if (a.rule != RULE_NORMRELU)
            bound();
        else if (a.stat)
            maxima();
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            if (a.rule == RULE_NORMRELU) fact[i].m = head.fixed_m;
            if (a.rule != RULE_ENTMAX) fact[i].tau = head.fixed_tau;
        }
        by_exponent(head.r, [&](auto R) {
            if (a.rule == RULE_ENTMAX) solve<decltype(R)::value>();
            weigh<decltype(R)::value>();
        });
        if (a.rule == RULE_NORMRELU) fill_empty();
    }

    /* --- results -------------------------------------------------------------------------------
     */

    __device__ __forceinline__ void store() const
    {
        T *o = (T *)a.out + at.rows;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float w = a.drop ? fact[i].w * a.masks.kept : fact[i].w;
            if (row(i) >= a.N) continue;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                store_two(o + row(i) * a.rows.row, n * 8 + (int)(threadIdx.x % 4) * 2, a.D,
                          out[i / 2][n][i % 2 * 2] * w, out[i / 2][n][i % 2 * 2 + 1] * w, a.wide);
            if (SOFT && sizeof(T) == 2 && a.rest) store_rest(i, w);
        }
    }
    __device__ __forceinline__ void store_rest(int i, float w) const
    {
        T *rest = (T *)a.rest + (at.group * a.N + row(i)) * a.D;
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            const float *x = &out[i / 2][n][i % 2 * 2];
            store_two(rest, n * 8 + (int)(threadIdx.x % 4) * 2, a.D, rest_of<T>(x[0] * w),
                      rest_of<T>(x[1] * w), a.wide);
        }
    }
    /* What the rule leaves in STAT_NORM. */
    __device__ __forceinline__ float norm(int i) const
    {
        if (SOFT) return 0.693147181f * fact[i].tau;
        return a.rule == RULE_ENTMAX ? -fact[i].tau : sum[i];
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
            const int64_t r = at.group * a.N + row(i);
            fact[i].arg = arg;
            a.facts[r] = fact[i];
            if (!a.stat) continue;
            const bool idle = peak[i] == -INFINITY, broken = !(peak[i] < INFINITY);
            float *stat = a.stat + (a.mask_T ? row(i) * a.H + at.group : r) * STATS;
            stat[STAT_MAX] = broken ? NAN : idle ? 0 : (float)(peak[i] * a.scale);
            stat[STAT_NORM] = broken ? NAN : idle ? 0 : norm(i);
            stat[STAT_ARG] = idle || broken ? -1 : (float)arg;
            stat[STAT_COUNT] = idle || broken ? 0 : (float)weights;
        }
    }
    __device__ __forceinline__ void run(T *memory)
    {
        const int warp = threadIdx.x / WARP, row0 = at.block * shape::own;
        keys = memory + shape::own * shape::stride;
        values = keys + 2 * TILE_KEYS * shape::stride;
        first = row0 + warp * 16 * M16 + threadIdx.x % WARP / 4;
        tiles = (seen_by(a, row0 + shape::own - 1) + TILE_KEYS - 1) / TILE_KEYS;
        fetch<T, DP>(memory, (const T *)a.q + at.rows, a.rows.row, row0, a.N, shape::own, a.D,
                     a.wide);
        copies_arrived();
        __syncthreads();
        q.open(memory);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            fact[i] = row_fact{0, 0, head.kappa, 0, 0, -1, 0, 0};
            peak[i] = -INFINITY, sum[i] = 0, count[i] = 0, best[i] = INT32_MAX;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                out[i / 2][n][i % 2 * 2] = out[i / 2][n][i % 2 * 2 + 1] = 0;
        }
        if constexpr (SOFT)
            soften();
        else
            compact();
        store();
        store_facts();
    }
};

template <typename T, int DP, bool SOFT>
__global__ void __launch_bounds__(TILE_THREADS) tile_forward_kernel(const tile_call a, int blocks)
{
    extern __shared__ uint4 memory[];
    tile_place at(a, blockIdx.x, blocks);
    at.block = blocks - 1 - at.block; /* the longest rows of a causal mask first */
    forward_block<T, DP, SOFT> b(a, at);
    b.run((T *)memory);
}

template <typename T, int DP, bool SOFT>
status tile_forward(const tile_call *a, cudaStream_t stream, const char *what)
{
    typedef tile_shape<T, DP> shape;
    return tile_launch(tile_forward_kernel<T, DP, SOFT>, a, a->N, shape::own, 1,
                       shape::own_bytes + 4 * shape::tile_bytes, stream, what);
}

#endif
