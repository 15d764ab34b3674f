/* SPDX-License-Identifier: MIT
 *
 * tile_rows.cuh — the gradient of tile.cuh by rows: dq, dbeta of a row, and what the gradient by
 * keys wants of it.
 *
 *     delta_t = sum_j f' G / sum_j f'            entmax, by a sweep over the keys
 *             = sum_j p G                        the others: in float and for ReLUmax by a sweep,
 *                                                else as <do_t, o_t>
 *     extra_t = -slope sum_j (G_tj - delta_t)    ReLUmax, over the support
 *     dq_t    = c sum_j ds_tj k_j,   c = A scale
 *     dbeta_t = on_product c sum_j ds_tj s_tj + on_sum A sum_j ds_tj
 *
 * o is rounded to its storage, which moves all ds of a row alike. dq bears that; in dbeta, where
 * they cancel, it is taken out again by the sums that mix_gradient leaves.
 *
 * A block owns 64 or 128 rows and walks over the keys, as the forward does.
 */
#ifndef MOSAIC_TILE_ROWS_CUH
#define MOSAIC_TILE_ROWS_CUH

#include "tile.cuh"

template <typename T, int DP, bool SOFT> struct rows_block {
    typedef tile_shape<T, DP> shape;
    enum {
        M16 = shape::M16,
        CHUNK = shape::rows_chunk,
        N8 = CHUNK / 8,
        ROWS = 2 * M16,
        HOLD = M16 * DP * (int)sizeof(T) <= 256
    };
    typedef float scores[M16][N8][4];

    const tile_call &a;
    const tile_place &at;
    const tile_head head;
    T *keys, *values;
    own_rows<T, DP, HOLD> q, g;
    float out[M16][DP / 8][4];
    int first, tiles;
    row_fact fact[ROWS];
    float kept; /* the factor of weights that dropout keeps */
    float total[ROWS], cross[ROWS], moment[ROWS], support[ROWS]; /* for dbeta */

    __device__ __forceinline__ rows_block(const tile_call &a_, const tile_place &at_)
        : a(a_), at(at_), head(tile_head_of(a_, at_.head))
    {
    }
    __device__ __forceinline__ int row(int i) const
    {
        return first + i / 2 * 16 + i % 2 * 8;
    }
    __device__ __forceinline__ void fetch_tile(int j) const
    {
        T *k = keys + j % 2 * TILE_KEYS * shape::stride;
        T *v = values + j % 2 * TILE_KEYS * shape::stride;
        fetch<T, DP>(k, (const T *)a.k + at.keys, a.keys.row, j * TILE_KEYS, a.M, TILE_KEYS, a.D,
                     a.wide);
        fetch<T, DP>(v, (const T *)a.v + at.keys, a.keys.row, j * TILE_KEYS, a.M, TILE_KEYS, a.D,
                     a.wide);
    }
    /* f(s, G, first key) for all chunks that a row of this warp sees: scores, and the gradients of
     * the weights before dropout. If `mixes`, f leaves ds in s, to be mixed into out. */
    template <bool MIXES, class F> __device__ __forceinline__ void sweep(F f)
    {
        const int warp_rows = first - threadIdx.x % WARP / 4;
        const int least = seen_by(a, warp_rows), most = seen_by(a, warp_rows + 16 * M16 - 1);
        __syncthreads();
        if (tiles > 0) fetch_tile(0);
        close_group();
        for (int j = 0; j < tiles; j++) {
            if (j + 1 < tiles) fetch_tile(j + 1);
            close_group();
            groups_arrived<1>();
            __syncthreads();
            for (int c = 0; c < TILE_KEYS / CHUNK; c++) {
                const int key = j * TILE_KEYS + c * CHUNK;
                const int here = (j % 2 * TILE_KEYS + c * CHUNK) * shape::stride;
                if (key >= most) break;
                scores s, G;
                scores_of<T, DP, N8>(s, q, keys + here);
                scores_of<T, DP, N8>(G, g, values + here);
                if (key + CHUNK > least) hide(s, key);
                if (a.drop) drop_gradients(G, key);
                f(s, G, key);
                if constexpr (MIXES) mix<T, DP, N8>(out, s, keys + here);
            }
            __syncthreads();
        }
    }
    __device__ __forceinline__ void drop_gradients(scores &G, int key) const
    {
        const int lane = 2 * (int)(threadIdx.x % 4);
        static_assert(CHUNK == 32, "a word for each row");
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const uint32_t word = bits_of(a, at.group, row(i))[key / 32];
            const uint32_t here[2] = {word << (7 - lane), word << (6 - lane)};
#pragma unroll
            for (int n = 0; n < N8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = G[i / 2][n][i % 2 * 2 + e];
                    x = kept_or_0(x, here[e], n);
                }
        }
    }
    /* Scores of keys that a row does not see: far enough down to weigh nothing, and finite. */
    __device__ __forceinline__ void hide(scores &s, int key) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int seen = seen_by(a, row(i)) - key - 2 * (int)(threadIdx.x % 4);
#pragma unroll
            for (int n = 0; n < N8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (n * 8 + e >= seen) s[i / 2][n][i % 2 * 2 + e] = -3e38f;
        }
    }
    __device__ __forceinline__ float soft_weight(int i, float y) const
    {
        return power_of_two(fmaf(head.kappa, y, -fact[i].tau));
    }

    /* delta and extra by a sweep; a row without support (kappa 0) has a slope of 0. */
    template <int R> __device__ __forceinline__ void centre()
    {
        float mean[ROWS] = {}, weighted[ROWS] = {}, plain[ROWS] = {};
        sweep<false>([&](scores &s, scores &G, int) {
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int n = 0; n < N8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const float y = s[i / 2][n][i % 2 * 2 + e] - fact[i].m;
                        const float gradient = G[i / 2][n][i % 2 * 2 + e] * kept;
                        float slope;
                        if constexpr (SOFT) {
                            slope = soft_weight(i, y);
                        } else {
                            const float u = max_nan(fmaf(fact[i].kappa, y, -fact[i].tau), 0.0f);
                            slope = kernel_slope<R>(u, head.r);
                            if (R == 1) mean[i] = fmaf(u, gradient, mean[i]);
                        }
                        weighted[i] = fmaf(slope, gradient, weighted[i]);
                        plain[i] += slope;
                    }
        });
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float W = quad_sum(weighted[i]), P = quad_sum(plain[i]), D = quad_sum(mean[i]);
            if (a.rule == RULE_ENTMAX || SOFT)
                fact[i].delta = P > 0 ? W / P : W;
            else
                fact[i].delta = fact[i].w * D;
            if (a.rule == RULE_RELUMAX) fact[i].extra = -fact[i].slope * (W - fact[i].delta * P);
        }
    }
    /* For dbeta of softmax: sum ds, sum ds (s - m), sum p (s - m). */
    __device__ __forceinline__ void note_soft(const scores &s, const scores &G)
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int n = 0; n < N8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int x = i % 2 * 2 + e;
                    const float y = s[i / 2][n][x] - fact[i].m, p = soft_weight(i, y);
                    const float ds = p * fmaf(G[i / 2][n][x], kept, -fact[i].delta);
                    moment[i] = fmaf(p, y, moment[i]);
                    total[i] += ds;
                    cross[i] = fmaf(ds, y, cross[i]);
                }
    }
    /* dq; and for dbeta of the others sum ds, sum ds (s - m), and what tells the error of delta of
     * normalised ReLU: sum u G and the size of the support. */
    template <int R> __device__ __forceinline__ void mix_gradient()
    {
        sweep<true>([&](scores &s, scores &G, int key) {
            if (SOFT && a.dbeta) note_soft(s, G);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const int best = (int)fact[i].arg - key - 2 * (int)(threadIdx.x % 4);
#pragma unroll
                for (int n = 0; n < N8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float &x = s[i / 2][n][i % 2 * 2 + e];
                        const float gradient = G[i / 2][n][i % 2 * 2 + e];
                        const float y = x - fact[i].m;
                        float ds = fmaf(gradient, kept, -fact[i].delta);
                        if constexpr (SOFT) {
                            ds *= soft_weight(i, y);
                        } else {
                            const float u = max_nan(fmaf(fact[i].kappa, y, -fact[i].tau), 0.0f);
                            const float slope = kernel_slope<R>(u, head.r);
                            ds *= slope * fact[i].slope;
                            if (R == 1) {
                                moment[i] = fmaf(u, gradient * kept, moment[i]);
                                support[i] += slope;
                            }
                            total[i] += ds;
                            cross[i] = fmaf(ds, y, cross[i]);
                            if (R == 1 && n * 8 + e == best) ds += fact[i].extra;
                        }
                        x = ds;
                    }
            }
        });
    }
    /* dbeta of a row from sum ds (s - m), and of normalised ReLU from sum ds s and sum ds. */
    __device__ __forceinline__ float beta_gradient(int i)
    {
        const float A = (float)(head.gradient / a.scale);
        float sum = quad_sum(total[i]), with = quad_sum(cross[i]);
        const float told = quad_sum(moment[i]), n = quad_sum(support[i]);
        if (SOFT) with -= sum * told;
        if (a.rule == RULE_NORMRELU && fact[i].slope > 0) {
            const float w = fact[i].w;
            const float by = fact[i].slope * (w * told - fact[i].delta); /* of each ds, too much */
            with -= by * (1 / w + n * fact[i].tau) / fact[i].kappa;
            sum -= by * n;
            with += fact[i].m * sum;
        }
        return head.on_product * (head.gradient * with) + head.on_sum * (A * sum);
    }
    __device__ __forceinline__ void store()
    {
        T *dq = (T *)a.out + at.rows;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const bool real = row(i) < a.N;
            if (a.dbeta) {
                const float d = beta_gradient(i);
                if (real && threadIdx.x % 4 == 0) a.dbeta[at.group * a.N + row(i)] = d;
            }
            if (!real) continue;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                store_two(dq + row(i) * a.rows.row, n * 8 + (int)(threadIdx.x % 4) * 2, a.D,
                          out[i / 2][n][i % 2 * 2] * head.gradient,
                          out[i / 2][n][i % 2 * 2 + 1] * head.gradient, a.wide);
        }
    }
    __device__ __forceinline__ void run(T *memory)
    {
        const int warp = threadIdx.x / WARP, row0 = at.block * shape::own;
        T *gradients = memory + shape::own * shape::stride;
        keys = gradients + shape::own * shape::stride;
        values = keys + 2 * TILE_KEYS * shape::stride;
        kept = a.drop ? a.masks.kept : 1;
        first = row0 + warp * 16 * M16 + threadIdx.x % WARP / 4;
        tiles = (seen_by(a, row0 + shape::own - 1) + TILE_KEYS - 1) / TILE_KEYS;
        fetch<T, DP>(memory, (const T *)a.q + at.rows, a.rows.row, row0, a.N, shape::own, a.D,
                     a.wide);
        fetch<T, DP>(gradients, (const T *)a.g + at.rows, a.rows.row, row0, a.N, shape::own, a.D,
                     a.wide);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int64_t r = at.group * a.N + row(i);
            fact[i] = row(i) < a.N ? a.facts[r] : row_fact{};
            total[i] = cross[i] = moment[i] = support[i] = 0;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                out[i / 2][n][i % 2 * 2] = out[i / 2][n][i % 2 * 2 + 1] = 0;
        }
        copies_arrived();
        __syncthreads();
        q.open(memory);
        g.open(gradients);
        const bool swept = sizeof(T) == 4 || !SOFT;
        if constexpr (SOFT) {
            if (swept) centre<1>();
            mix_gradient<1>();
        } else {
            by_exponent(head.r, [&](auto R) {
                if (swept) centre<decltype(R)::value>();
                mix_gradient<decltype(R)::value>();
            });
        }
        if (swept && threadIdx.x % 4 == 0)
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                if (row(i) < a.N) {
                    row_fact *f = a.facts + at.group * a.N + row(i);
                    f->delta = fact[i].delta, f->extra = fact[i].extra;
                }
        store();
    }
};

template <typename T, int DP, bool SOFT>
__global__ void __launch_bounds__(TILE_THREADS) tile_rows_kernel(const tile_call a, int blocks)
{
    extern __shared__ uint4 memory[];
    tile_place at(a, blockIdx.x, blocks);
    at.block = blocks - 1 - at.block;
    rows_block<T, DP, SOFT> b(a, at);
    b.run((T *)memory);
}

template <typename T, int DP, bool SOFT>
status tile_rows(const tile_call *a, cudaStream_t stream, const char *what)
{
    typedef tile_shape<T, DP> shape;
    return tile_launch(tile_rows_kernel<T, DP, SOFT>, a, a->N, shape::own, 1,
                       2 * shape::own_bytes + 4 * shape::tile_bytes, stream, what);
}

#endif
