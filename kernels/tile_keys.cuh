/* SPDX-License-Identifier: MIT
 *
 * tile_keys.cuh — the gradient of tile.cuh by keys: dk_j = c sum_t ds_tj q_t, dv_j = sum_t p~_tj
 * do_t.
 *
 * A block owns 64 or 128 keys and walks over the queries that see them; a warp owns 16 or 32 of the
 * keys, the rows of its matrices. Where keys are few, blocks share them and each has a part of the
 * queries; what they find is added in order. What the gradient needs of a query, a column, is in
 * shared memory beside the tile of queries.
 */
#ifndef MOSAIC_TILE_KEYS_CUH
#define MOSAIC_TILE_KEYS_CUH

#include "tile.cuh"

template <typename T, int DP, bool SOFT> struct keys_block {
    typedef tile_shape<T, DP> shape;
    enum {
        M16 = shape::M16,
        CHUNK = shape::keys_chunk,
        N8 = CHUNK / 8,
        HOLD = M16 * DP * (int)sizeof(T) <= 128
    };
    typedef float scores[M16][N8][4];

    const tile_call &a;
    const tile_place &at;
    const tile_head head;
    T *queries, *gradients; /* two tiles each */
    row_fact *facts;        /* of two tiles   */
    uint4 *bits;            /* the same: weights of 128 keys that are kept */
    own_rows<T, DP, HOLD> k, v;
    float dk[M16][DP / 8][4], dv[M16][DP / 8][4];
    int first, split; /* key 0 of this thread; which part of the queries */

    __device__ __forceinline__ keys_block(const tile_call &a_, const tile_place &at_)
        : a(a_), at(at_), head(tile_head_of(a_, at_.head))
    {
    }
    /* The first query that sees a key. */
    __device__ __forceinline__ int seen_first(int key) const
    {
        return a.causal ? key + a.lag : 0;
    }
    __device__ __forceinline__ void fetch_tile(int j) const
    {
        const int side = j % 2 * TILE_KEYS;
        T *q = queries + side * shape::stride, *g = gradients + side * shape::stride;
        fetch<T, DP>(q, (const T *)a.q + at.rows, a.rows.row, j * TILE_KEYS, a.N, TILE_KEYS, a.D,
                     a.wide);
        fetch<T, DP>(g, (const T *)a.g + at.rows, a.rows.row, j * TILE_KEYS, a.N, TILE_KEYS, a.D,
                     a.wide);
        const int t = (int)threadIdx.x / 2, query = j * TILE_KEYS + t, part = threadIdx.x % 2;
        const row_fact *f = a.facts + at.group * a.N + min(query, a.N - 1);
        copy_async((uint4 *)(facts + side + t) + part, (const uint4 *)f + part);
        if (a.drop && part == 0)
            copy_async(bits + side + t,
                       bits_of(a, at.group, query) + at.block * shape::own / 128 * 4);
    }
    /* Of each column of the chunk, the word of this warp's keys, that of this lane on top of a
     * byte.
     */
    __device__ __forceinline__ void kept_of(uint32_t (&words)[N8][2], int side) const
    {
        const int lane = threadIdx.x % WARP / 4, key = (first - lane) % 128;
#pragma unroll
        for (int n = 0; n < N8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const uint32_t *word =
                    (const uint32_t *)(bits + side + n * 8 + (int)(threadIdx.x % 4) * 2 + e);
                words[n][e] = word[key / 32] >> key % 32 << (7 - lane);
            }
    }
    /* 0 for what is dropped. */
    __device__ __forceinline__ void drop(scores &s, const uint32_t (&words)[N8][2]) const
    {
#pragma unroll
        for (int n = 0; n < N8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
#pragma unroll
                for (int i = 0; i < 2 * M16; i++) {
                    float &x = s[i / 2][n][i % 2 * 2 + e];
                    x = kept_or_0(x, words[n][e], i);
                }
    }
    /* Nothing of what a query does not see. */
    __device__ __forceinline__ void hide(scores &s, scores &G, int query) const
    {
#pragma unroll
        for (int n = 0; n < N8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int t = query + n * 8 + (int)(threadIdx.x % 4) * 2 + e;
                const int seen = t < a.N ? seen_by(a, t) : 0;
#pragma unroll
                for (int i = 0; i < 2 * M16; i++)
                    if (first + i * 8 >= seen)
                        s[i / 2][n][i % 2 * 2 + e] = G[i / 2][n][i % 2 * 2 + e] = 0;
            }
    }
    /* p in s and ds in G, of the queries from column `side` of the tiles on. */
    template <int R> __device__ __forceinline__ void weigh(scores &s, scores &G, int side)
    {
        const float kept = a.drop ? a.masks.kept : 1;
#pragma unroll
        for (int n = 0; n < N8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const row_fact f = facts[side + n * 8 + (int)(threadIdx.x % 4) * 2 + e];
#pragma unroll
                for (int i = 0; i < 2 * M16; i++) {
                    float &p = s[i / 2][n][i % 2 * 2 + e], &ds = G[i / 2][n][i % 2 * 2 + e];
                    if constexpr (SOFT) {
                        p = power_of_two(fmaf(head.kappa, p - f.m, -f.tau));
                        ds = p * fmaf(ds, kept, -f.delta);
                    } else {
                        const float u = lift(f.kappa, p, f.m, f.tau);
                        const float slope = kernel_slope<R>(u, head.r);
                        p = u * slope * f.w;
                        ds = slope * f.slope * fmaf(ds, kept, -f.delta);
                        if (R == 1 && first + i * 8 == (int)f.arg) ds += f.extra;
                    }
                }
            }
    }
    template <int R> __device__ __forceinline__ void walk()
    {
        const int key0 = at.block * shape::own;
        const int warp_keys = first - (int)(threadIdx.x % WARP / 4);
        const int least = seen_first(warp_keys), sure = seen_first(warp_keys + 16 * M16 - 1);
        const int begin = seen_first(key0) / TILE_KEYS, end = (a.N + TILE_KEYS - 1) / TILE_KEYS;
        const int64_t span = max(end - begin, 0);
        const int from = begin + (int)(span * split / a.splits);
        const int tiles = begin + (int)(span * (split + 1) / a.splits);
        if (from < tiles) fetch_tile(from);
        close_group();
        for (int j = from; j < tiles; j++) {
            if (j + 1 < tiles) fetch_tile(j + 1);
            close_group();
            groups_arrived<1>();
            __syncthreads();
            for (int c = 0; c < TILE_KEYS / CHUNK; c++) {
                const int side = j % 2 * TILE_KEYS + c * CHUNK, query = j * TILE_KEYS + c * CHUNK;
                if (query + CHUNK <= least) continue;
                scores s, G;
                uint32_t words[N8][2];
                if (a.drop) kept_of(words, side);
                scores_of<T, DP, N8>(s, k, queries + side * shape::stride);
                scores_of<T, DP, N8>(G, v, gradients + side * shape::stride);
                if (a.drop) drop(G, words);
                weigh<R>(s, G, side);
                if (query < sure || query + CHUNK > a.N) hide(s, G, query);
                if (a.drop) drop(s, words); /* dv is scaled at the end */
                mix<T, DP, N8>(dv, s, gradients + side * shape::stride);
                mix<T, DP, N8>(dk, G, queries + side * shape::stride);
            }
            __syncthreads();
        }
    }
    /* The part of a split, to be added up. */
    __device__ __forceinline__ void store_part(const float (&x)[M16][DP / 8][4], int which,
                                               float scale) const
    {
        const int64_t base = (which * a.splits + split) * a.groups + at.group - a.first_group;
#pragma unroll
        for (int i = 0; i < 2 * M16; i++) {
            const int key = first + i / 2 * 16 + i % 2 * 8;
            float *row = a.parts + (base * a.M + key) * a.D;
            if (key >= a.M) continue;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int d = n * 8 + (int)(threadIdx.x % 4) * 2 + e;
                    if (d < a.D) row[d] = x[i / 2][n][i % 2 * 2 + e] * scale;
                }
        }
    }
    __device__ __forceinline__ void store() const
    {
        const float kept = a.drop ? a.masks.kept : 1;
        if (a.splits > 1) {
            store_part(dk, 0, head.gradient);
            store_part(dv, 1, kept);
            return;
        }
#pragma unroll
        for (int i = 0; i < 2 * M16; i++) {
            const int key = first + i / 2 * 16 + i % 2 * 8;
            if (key >= a.M) continue;
            const int64_t row = at.keys + key * a.keys.row;
            T *k_row = (T *)a.dk + row, *v_row = (T *)a.dv + row;
#pragma unroll
            for (int n = 0; n < DP / 8; n++) {
                const int d = n * 8 + (int)(threadIdx.x % 4) * 2, x = i % 2 * 2;
                float left = dk[i / 2][n][x] * head.gradient;
                float right = dk[i / 2][n][x + 1] * head.gradient;
                if (a.add && d < a.D) left += widen(k_row[d]);
                if (a.add && d + 1 < a.D) right += widen(k_row[d + 1]);
                if (a.dk) store_two(k_row, d, a.D, left, right, a.wide);
                if (a.dv)
                    store_two(v_row, d, a.D, dv[i / 2][n][x] * kept, dv[i / 2][n][x + 1] * kept,
                              a.wide);
            }
        }
    }
    __device__ __forceinline__ void run(T *memory)
    {
        const int key0 = at.block * shape::own;
        T *own_values = memory + shape::own * shape::stride;
        queries = own_values + shape::own * shape::stride;
        gradients = queries + 2 * TILE_KEYS * shape::stride;
        facts = (row_fact *)(gradients + 2 * TILE_KEYS * shape::stride);
        bits = (uint4 *)(facts + 2 * TILE_KEYS);
        first = key0 + threadIdx.x / WARP * 16 * M16 + threadIdx.x % WARP / 4;
        fetch<T, DP>(memory, (const T *)a.k + at.keys, a.keys.row, key0, a.M, shape::own, a.D,
                     a.wide);
        fetch<T, DP>(own_values, (const T *)a.v + at.keys, a.keys.row, key0, a.M, shape::own, a.D,
                     a.wide);
#pragma unroll
        for (int i = 0; i < M16; i++)
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    dk[i][n][e] = dv[i][n][e] = 0;
        copies_arrived();
        __syncthreads();
        k.open(memory);
        v.open(own_values);
        if constexpr (SOFT)
            walk<1>();
        else
            by_exponent(head.r, [&](auto R) { walk<decltype(R)::value>(); });
        store();
    }
};

template <typename T, int DP, bool SOFT>
__global__ void __launch_bounds__(TILE_THREADS) tile_keys_kernel(const tile_call a, int blocks)
{
    extern __shared__ uint4 memory[];
    tile_place at(a, blockIdx.x / a.splits, blocks);
    keys_block<T, DP, SOFT> b(a, at);
    b.split = (int)(blockIdx.x % a.splits);
    b.run((T *)memory);
}

template <typename T, int DP, bool SOFT>
status tile_keys(const tile_call *a, cudaStream_t stream, const char *what)
{
    typedef tile_shape<T, DP> shape;
    const int beside = 2 * TILE_KEYS * (int)(sizeof(row_fact) + sizeof(uint4));
    return tile_launch(tile_keys_kernel<T, DP, SOFT>, a, a->M, shape::own, a->splits,
                       2 * shape::own_bytes + 4 * shape::tile_bytes + beside, stream, what);
}

#endif
