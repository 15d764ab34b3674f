/* SPDX-License-Identifier: MIT
 *
 * warpgroup_forward.cuh — the forward of warpgroup.cuh: a block owns 64 rows of a group for each of
 * its warpgroups, the keys and values of the group pass in tiles through a ring in shared memory.
 *
 *     S = Q K_j^T,   P = f(S),   O += P V_j
 *
 * P stays in registers, where it is the left operand of the second product. While the weights of
 * tile j are made of its scores, the products O += P V of tile j - 1 are under way, and those of
 * the other warpgroups.
 *
 * The base m of softmax is a score, not always the largest: it moves when a weight would pass
 * 2^HEADROOM. Where a row of normalised ReLU has no weight a second pass gives all of them the
 * same.
 */
#ifndef MOSAIC_WARPGROUP_FORWARD_CUH
#define MOSAIC_WARPGROUP_FORWARD_CUH

#include "warpgroup.cuh"
#include "wgmma.cuh"

/* Warpgroups of a block, blocks of a multiprocessor, keys of a tile, tiles in shared memory. */
template <int D> struct forward_shape {
    enum { groups = 1, blocks = 3, keys = D > 64 ? 64 : 128, ring = D > 64 ? 3 : 4 };
};

struct note_shape {
    enum { groups = 1, blocks = 1, keys = 64, ring = 3 };
};

template <int D, class Shape> struct forward_room {
    enum {
        rows = Shape::groups * PRODUCT_ROWS,
        threads = Shape::groups * WARPGROUP,
        tile = Shape::keys * D * 2,
        bytes = 1024 + rows * D * 2 + Shape::ring * tile + 2 * Shape::ring * 8 + 8
    };
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* Rows g and g + 8 of a warp, of a thread. */
template <typename T, int D, bool SOFT, class Shape> struct forward_rows {
    enum {
        KEYS = Shape::keys,
        SUMS = KEYS / 2,
        EIGHTS = KEYS / 8,
        WORDS = KEYS / 32,
        HEADROOM = 8
    };
    const tile_call &a;
    const tile_head head;
    int64_t group;
    int row[2], seen[2];
    float m[2], sum[2];     /* softmax: -inf before the first key */
    float kappa[2], tau[2]; /* u = kappa (s - m) - tau            */
    const uint32_t *bits[2];

    __device__ __forceinline__ forward_rows(const tile_call &a_, const tile_place &at, int first)
        : a(a_), head(tile_head_of(a_, at.head)), group(at.group)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            row[r] = first + 8 * r;
            seen[r] = seen_by(a, row[r]);
            kappa[r] = head.kappa, tau[r] = head.fixed_tau;
            m[r] = SOFT ? -INFINITY : head.fixed_m;
            if (a.drop) bits[r] = bits_of(a, group, row[r]);
        }
    }
    /* The scores of keys that a row does not see, of a tile that begins with `key`. */
    __device__ __forceinline__ void hide(float (&s)[SUMS], int key) const
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int left = seen[r] - key - 2 * (int)(threadIdx.x % 4);
#pragma unroll
            for (int i = 0; i < SUMS / 2; i++)
                if (i / 2 * 8 + i % 2 >= left) s[i / 2 * 4 + r * 2 + i % 2] = -INFINITY;
        }
    }
    __device__ __forceinline__ static float largest(const float (&s)[SUMS], int r)
    {
        float most[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            most[i] = max_nan(s[i * 4 + r * 2], s[i * 4 + r * 2 + 1]);
#pragma unroll
        for (int i = 4; i < EIGHTS; i++)
            most[i % 4] = max_nan(most[i % 4], max_nan(s[i * 4 + r * 2], s[i * 4 + r * 2 + 1]));
        return quad_max(max_nan(max_nan(most[0], most[1]), max_nan(most[2], most[3])));
    }
    /* Scores become weights; what is there already is to be multiplied by `scale` if this returns
     * true. */
    __device__ __forceinline__ bool weigh(float (&s)[SUMS], float (&scale)[2])
    {
        bool moved = false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float total[2] = {0, 0};
            if constexpr (SOFT) {
                const float most = largest(s, r), before = m[r];
                const bool far = !(head.kappa * (most - before) <= (float)HEADROOM);
                if (far) m[r] = max_nan(before, most);
                const float base = m[r] == -INFINITY ? 0 : m[r];
                scale[r] = power_of_two(head.kappa * (before - base));
                moved |= far;
#pragma unroll
                for (int i = 0; i < SUMS / 2; i++) {
                    float &x = s[i / 2 * 4 + r * 2 + i % 2];
                    x = power_of_two(head.kappa * (x - base));
                    total[i % 2] += x;
                }
                sum[r] = fmaf(sum[r], scale[r], total[0] + total[1]);
            } else {
#pragma unroll
                for (int i = 0; i < SUMS / 2; i++) {
                    float &x = s[i / 2 * 4 + r * 2 + i % 2];
                    x = lift(kappa[r], x, m[r], tau[r]);
                    total[i % 2] += x;
                }
                sum[r] += total[0] + total[1];
            }
        }
        return SOFT && __any_sync(ALL_LANES, moved);
    }
    __device__ __forceinline__ void load_bits(uint32_t (&w)[2][WORDS], int key) const
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            if constexpr (WORDS == 4) {
                const uint4 x = *(const uint4 *)(bits[r] + key / 32);
                w[r][0] = x.x, w[r][1] = x.y, w[r][2] = x.z, w[r][3] = x.w;
            } else {
                const uint2 x = *(const uint2 *)(bits[r] + key / 32);
                w[r][0] = x.x, w[r][1] = x.y;
            }
    }
    /* The left operand of the second product. */
    __device__ __forceinline__ static void round(uint32_t (&p)[KEYS / 16][4],
                                                 const float (&s)[SUMS])
    {
#pragma unroll
        for (int i = 0; i < SUMS / 2; i++)
            p[i / 4][i % 4] = pair(s[2 * i], s[2 * i + 1], T());
    }
    /* Without those that dropout takes out. */
    __device__ __forceinline__ static void
    round_kept(uint32_t (&p)[KEYS / 16][4], const float (&s)[SUMS], const uint32_t (&w)[2][WORDS])
    {
        const int lane = 2 * (int)(threadIdx.x % 4);
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int n = 0; n < WORDS; n++) {
                const uint32_t even = w[r][n] << (7 - lane), odd = w[r][n] << (6 - lane);
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int i = 2 * (4 * n + e) + r;
                    p[i / 4][i % 4] =
                        pair(s[2 * i], s[2 * i + 1], T()) & signs_of_bytes(even, odd, e);
                }
            }
    }
};

/* Which tile an item of the ring is: keys 0, then keys j and values j - 1 in turn. */
struct ring_item {
    int tile;
    bool values;
    __device__ __forceinline__ ring_item(int i, int tiles)
        : tile((i + 1) / 2), values(i > 0 && i % 2 == 0)
    {
        if (values) tile = i / 2 - 1;
        if (i == 2 * tiles - 1) tile = tiles - 1, values = true;
    }
};

template <typename T, int D, bool SOFT, class Shape>
static __global__ void __launch_bounds__(Shape::groups *WARPGROUP, Shape::blocks)
    forward_kernel(const __grid_constant__ CUtensorMap q_map,
                   const __grid_constant__ CUtensorMap k_map,
                   const __grid_constant__ CUtensorMap v_map, const __grid_constant__ tile_call a,
                   int blocks)
{
    typedef forward_room<D, Shape> room;
    typedef forward_rows<T, D, SOFT, Shape> rows_type;
    enum { RING = Shape::ring, KEYS = Shape::keys };
    extern __shared__ uint4 memory[];
    const uint32_t q_at = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t ring = q_at + room::rows * D * 2;
    const uint32_t full = ring + RING * room::tile, empty = full + 8 * RING;
    const uint32_t q_full = empty + 8 * RING;

    tile_place at(a, blockIdx.x, blocks);
    at.block = blocks - 1 - at.block; /* the longest rows of a causal mask first */
    const int row0 = at.block * room::rows;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);
    const int tiles = (seen_by(a, min(row0 + room::rows, a.N) - 1) + KEYS - 1) / KEYS;
    const int sample = (int)(at.group / a.H), h = (int)at.head;
    const int key_h = a.mask_T ? 0 : h, key_b = a.mask_T ? h : sample;

    /* item n, as the i-th */
    const auto load = [&](int i, int n) {
        const ring_item item(n, tiles);
        const uint32_t barrier = full + 8 * (i % RING);
        barrier_expect(barrier, room::tile);
        tile_load_rows<D>(ring + i % RING * room::tile, item.values ? &v_map : &k_map, barrier,
                          KEYS, key_h, item.tile * KEYS, key_b);
    };
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(empty + 8 * i, Shape::groups * (WARPGROUP / WARP));
        }
        barrier_open(q_full, 1);
        barriers_opened();
        barrier_expect(q_full, room::rows * D * 2);
        tile_load_rows<D>(q_at, &q_map, q_full, room::rows, h, row0, sample);
    }
    const int first_row = row0 + warp * 16;
    rows_type rows(a, at, first_row + lane / 4);
    /* all rows of the warp see the whole of the tiles before this one */
    const int whole = seen_by(a, first_row) / KEYS;
    const uint32_t q = warp_value(tile_start(q_at + warp / 4 * PRODUCT_ROWS * tile_line<D>::bytes));
    const uint32_t k = warp_value(tile_start(ring));
    const uint32_t v = warp_value(tile_start_down<D>(ring, KEYS));
    __syncthreads();
    barrier_wait(q_full, 0);

    float o[D / 2], s[KEYS / 2];
    uint32_t p[KEYS / 16][4];
    int done = 0; /* items of the passes before */
    for (;;) {
        const int total = 2 * tiles;
        const auto release = [&](int n) {
            const int i = done + n;
            if (lane == 0) barrier_arrive(empty + 8 * (i % RING));
            if (threadIdx.x == 0 && n + RING - 1 < total) {
                if (n > 0) barrier_wait(empty + 8 * ((i - 1) % RING), (i - 1) / RING % 2);
                load(i + RING - 1, n + RING - 1);
            }
            __syncwarp();
        };
        const auto arrived = [&](int n) {
            const int i = done + n;
            barrier_wait(full + 8 * (i % RING), i / RING % 2);
            return i % RING * (room::tile >> 4);
        };
        const auto bits = [&](int j, uint32_t(&w)[2][KEYS / 32]) {
            if (a.drop) rows.load_bits(w, j * KEYS);
        };
        const auto weights = [&](int j, float(&scale)[2]) {
            if (j >= whole) rows.hide(s, j * KEYS);
            return rows.weigh(s, scale);
        };
        const auto left_operand = [&](const uint32_t(&w)[2][KEYS / 32]) {
            if (a.drop)
                rows.round_kept(p, s, w);
            else
                rows.round(p, s);
        };
        if (threadIdx.x == 0)
            for (int n = 0; n < min(RING - 1, total); n++)
                load(done + n, n);
        __syncwarp();
#pragma unroll
        for (int i = 0; i < D / 2; i++)
            o[i] = 0;
        rows.sum[0] = rows.sum[1] = 0;
        float scale[2];
        uint32_t w[2][KEYS / 32];
        if (tiles > 0) {
            multiply_rows<T, D>(s, q, room::rows, k + arrived(0), KEYS);
            bits(0, w);
            products_wait<0>();
            multiplied(s);
            release(0);
            weights(0, scale);
            left_operand(w);
#pragma unroll 1
            for (int j = 1; j < tiles; j++) {
                multiply_rows<T, D>(s, q, room::rows, k + arrived(2 * j - 1), KEYS);
                multiply_add_down<T, D>(o, p, v + arrived(2 * j));
                bits(j, w);
                products_wait<1>();
                multiplied(s);
                release(2 * j - 1);
                const bool moved = weights(j, scale);
                products_wait<0>();
                multiplied(o);
                multiplied(p);
                release(2 * j);
                if (moved) {
#pragma unroll
                    for (int i = 0; i < D / 2; i++)
                        o[i] *= scale[i / 2 % 2];
                }
                left_operand(w);
            }
            multiply_add_down<T, D>(o, p, v + arrived(total - 1));
            products_wait<0>();
            multiplied(o);
            release(total - 1);
        }
#pragma unroll
        for (int r = 0; r < 2; r++)
            rows.sum[r] = quad_sum(rows.sum[r]);
        if (SOFT || tiles == 0 || done > 0 || a.empty == EMPTY_ZERO) break;
        const bool lost =
            (rows.sum[0] == 0 && rows.row[0] < a.N) || (rows.sum[1] == 0 && rows.row[1] < a.N);
        if (!__syncthreads_or(lost)) break;
        done = total;
#pragma unroll
        for (int r = 0; r < 2; r++)
            if (rows.sum[r] == 0) rows.kappa[r] = 0x1p-100f, rows.tau[r] = -1, rows.m[r] = 0;
    }

    T *out = (T *)a.out + at.rows;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        row_fact f = {rows.m[r], rows.tau[r], rows.kappa[r], 0, 0, -1, 0, 0};
        const float sum = rows.sum[r];
        if (rows.row[r] >= a.N) continue;
        f.w = sum == 0 ? 0 : 1 / sum;
        f.slope = f.w;
        if (SOFT) {
            f.m = f.m == -INFINITY ? 0 : f.m;
            f.tau = sum == 0 ? 0 : log2f(sum);
        } else if (sum == 0 || done > 0 && f.kappa == 0x1p-100f) {
            f.m = rows.head.fixed_m, f.kappa = 0, f.tau = -1, f.slope = 0;
        }
        const float by = a.drop ? f.w * a.masks.kept : f.w;
        const int64_t own = at.group * a.N + rows.row[r];
        T *to = out + rows.row[r] * a.rows.row, *rest = (T *)a.rest + own * D;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            const int d = i * 8 + lane % 4 * 2;
            const float x = o[i * 4 + r * 2] * by, y = o[i * 4 + r * 2 + 1] * by;
            store_two(to, d, D, x, y, true);
            if (SOFT && a.rest) store_two(rest, d, D, rest_of<T>(x), rest_of<T>(y), true);
        }
        if (lane % 4 == 0) a.facts[own] = f;
    }
}

/* --- four numbers a row ------------------------------------------------------------------------
 */

/* stat of rows whose facts are known, by two sweeps over the scores: the largest, then the number
 * of weights and the first best key. A warpgroup a block. */
template <typename T, int D, bool SOFT>
static __global__ void __launch_bounds__(WARPGROUP)
    note_kernel(const __grid_constant__ CUtensorMap q_map,
                const __grid_constant__ CUtensorMap k_map, const __grid_constant__ tile_call a,
                int blocks)
{
    typedef note_shape shape;
    typedef forward_room<D, shape> room;
    enum { RING = shape::ring, KEYS = shape::keys };
    extern __shared__ uint4 memory[];
    const uint32_t q_at = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t ring = q_at + room::rows * D * 2;
    const uint32_t full = ring + RING * room::tile, q_full = full + 8 * RING;

    const tile_place at(a, blockIdx.x, blocks);
    const int row0 = at.block * room::rows;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);
    const int tiles = (seen_by(a, min(row0 + room::rows, a.N) - 1) + KEYS - 1) / KEYS;
    const int sample = (int)(at.group / a.H), h = (int)at.head;
    const auto load = [&](int n) {
        const uint32_t barrier = full + 8 * (n % RING);
        barrier_expect(barrier, room::tile);
        tile_load_rows<D>(ring + n % RING * room::tile, &k_map, barrier, KEYS, a.mask_T ? 0 : h,
                          n % tiles * KEYS, a.mask_T ? h : sample);
    };
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING; i++)
            barrier_open(full + 8 * i, 1);
        barrier_open(q_full, 1);
        barriers_opened();
        barrier_expect(q_full, room::rows * D * 2);
        tile_load_rows<D>(q_at, &q_map, q_full, room::rows, h, row0, sample);
        for (int n = 0; n < min(RING, 2 * tiles); n++)
            load(n);
    }
    forward_rows<T, D, SOFT, shape> rows(a, at, row0 + warp * 16 + lane / 4);
    const uint32_t q = warp_value(tile_start(q_at)), k = warp_value(tile_start(ring));
    __syncthreads();
    barrier_wait(q_full, 0);

    float s[KEYS / 2], peak[2] = {-INFINITY, -INFINITY};
    int count[2] = {0, 0}, best[2] = {INT32_MAX, INT32_MAX};
#pragma unroll 1
    for (int n = 0; n < 2 * tiles; n++) {
        const int key = n % tiles * KEYS;
        barrier_wait(full + 8 * (n % RING), n / RING % 2);
        multiply_rows<T, D>(s, q, room::rows, k + n % RING * (room::tile >> 4), KEYS);
        products_wait<0>();
        multiplied(s);
        __syncthreads();
        if (threadIdx.x == 0 && n + RING < 2 * tiles) load(n + RING);
        rows.hide(s, key);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (n < tiles) peak[r] = max_nan(peak[r], rows.largest(s, r));
#pragma unroll
            for (int i = 0; n >= tiles && i < KEYS / 4; i++) {
                const float x = s[i / 2 * 4 + r * 2 + i % 2];
                const float y = SOFT ? power_of_two(rows.kappa[r] * (x - peak[r]))
                                     : lift(rows.kappa[r], x, rows.m[r], rows.tau[r]);
                count[r] += y > 0;
                if (x == peak[r]) best[r] = min(best[r], key + i / 2 * 8 + lane % 4 * 2 + i % 2);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        count[r] += __shfl_xor_sync(ALL_LANES, count[r], 1);
        count[r] += __shfl_xor_sync(ALL_LANES, count[r], 2);
        best[r] = quad_min(best[r]);
        if (rows.row[r] >= a.N || lane % 4 != 0) continue;
        const row_fact f = a.facts[at.group * a.N + rows.row[r]];
        const bool idle = peak[r] == -INFINITY, broken = !(peak[r] < INFINITY);
        const bool empty = f.kappa == 0;
        const float norm = SOFT    ? 0.693147181f * fmaf(f.kappa, f.m - peak[r], f.tau)
                           : empty ? 0
                                   : 1 / f.w;
        if (empty && f.w > 0) count[r] = rows.seen[r];
        float *stat =
            a.stat +
            (a.mask_T ? rows.row[r] * a.H + at.group : at.group * a.N + rows.row[r]) * STATS;
        stat[STAT_MAX] = broken ? NAN : idle ? 0 : (float)(peak[r] * a.scale);
        stat[STAT_NORM] = broken ? NAN : idle ? 0 : norm;
        stat[STAT_ARG] = idle || broken ? -1 : (float)best[r];
        stat[STAT_COUNT] = idle || broken ? 0 : (float)count[r];
    }
}

#else

template <typename T, int D, bool SOFT, class Shape>
static __global__ void
forward_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
               const __grid_constant__ CUtensorMap, const __grid_constant__ tile_call, int)
{
}

template <typename T, int D, bool SOFT>
static __global__ void note_kernel(const __grid_constant__ CUtensorMap,
                                   const __grid_constant__ CUtensorMap,
                                   const __grid_constant__ tile_call, int)
{
}

#endif
#endif
