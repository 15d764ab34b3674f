/* SPDX-License-Identifier: MIT
 *
 * attention_scan — the candidates for the support of every row of attention, by one pass over
 *
 *     d_tj = <q_t,k_j>,   j <= t - lag,   q, k (B,T,H,D) of 16 bits
 *
 * A block has 128 rows of one head, its keys pass in tiles of 64 through a ring in shared memory.
 * Each of two warpgroups multiplies its 64 rows with a tile, then looks at the scores; meanwhile
 * the others of the multiprocessor multiply. A thread sees eight quads of a tile: the scores of two
 * neighbouring keys for two rows, eight apart. A quad with a score above the bound of its row goes
 * to the thread's list in shared memory, without a branch; a mark says which quads of the tile did.
 * What a full list cannot take goes to a slot that nobody reads: then the warp forgets the quads of
 * this tile, empties its lists (`flush`) and looks at the tile again.
 *
 *     tops     of a row, each of 4 lanes keeps the maxima of 8 disjoint classes of its candidates
 *     bound    two Newton steps on these 32 scores, which are scores of different keys of the row:
 *              their threshold bounds that of the row from below (attention_gather.cuh)
 *     write    the quads that still pass, densely, to the candidates of the group
 *
 * When these are full, those that no longer pass are taken out; if that frees less than a quarter
 * the group has no lists and its rows are done again.
 *
 * The last tiles come first. Before them a part of the tiles is swept for maxima alone, so that the
 * bound is near where it will end before any score becomes a candidate, whatever the order of the
 * scores. A bound is lowered by more than the rounding of its steps, so no weight is lost to it.
 */
#include "attention_gather.cuh"
#include "wgmma.cuh"

enum {
    TILE = PRODUCT_KEYS,
    RING = 4, /* tiles in shared memory   */
    SCAN_THREADS = 2 * WARPGROUP,
    CLASSES = 8, /* per lane */
    QUADS = 8,   /* of a thread in a tile */
    SLOT_BYTES = SCAN_THREADS * 16,
    MARK_BYTES = SCAN_THREADS * 2,
    MARKED_TILES = 1 << (16 - QUADS)
};

/* Slots of a thread's list: what two blocks of a multiprocessor leave, or one where D is 128. */
static __host__ __device__ constexpr int scan_slots(int D)
{
    return D == 128 ? 24 : D == 64 ? 14 : 16;
}
/* One tile in so many is swept first: few keys are many candidates. */
static __device__ __forceinline__ int sweep_every(int tiles)
{
    return tiles <= 8 ? 1 : tiles <= 96 ? 2 : 4;
}
static constexpr int scan_bytes(int D)
{
    return 1024 + tile_bytes(SCAN_ROWS, D) + RING * tile_bytes(TILE, D) +
           scan_slots(D) * (SLOT_BYTES + MARK_BYTES) + 2 * RING * 8 + 8 + SCAN_ROWS;
}

struct scan_call {
    const void *q, *k;
    gather_sizes s;
    gather_rule rule;
    candidates found;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* --- the bound ------------------------------------------------------------------------------- */

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

/* From the bounds tau of two rows: those of the scores `top` of four lanes, whose maxima are m, by
 * Newton on their r-norm (newton.cuh). steep: alpha-entmax's z moves by it per unit of score. */
static __device__ __forceinline__ void norm_bounds(const gather_rule &g, float steep,
                                                   const float (&top)[2][CLASSES],
                                                   const float (&m)[2], float (&tau)[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++)
        tau[r] = fmaxf(tau[r], m[r] - 1.0f / steep);
#pragma unroll 1
    for (int step = 0; step < 2; step++) {
        float F[2] = {}, G[2] = {};
#pragma unroll
        for (int i = 0; i < 2 * CLASSES; i++) {
            const int r = i % 2;
            const float y = __saturatef((top[r][i / 2] - tau[r]) * steep);
            if (g.kind == NORM_1) {
                F[r] += y, G[r] += y > 0.0f ? 1.0f : 0.0f;
            } else if (g.kind == NORM_2) {
                F[r] = fmaf(y, y, F[r]), G[r] += y;
            } else if (g.kind == NORM_3) {
                F[r] = fmaf(y * y, y, F[r]), G[r] = fmaf(y, y, G[r]);
            } else {
                const float low = power_of_two((g.r - 1.0f) * logarithm(y));
                F[r] = fmaf(low, y, F[r]), G[r] += low;
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            F[r] = quad_sum(F[r]), G[r] = quad_sum(G[r]);
            const float rest = g.kind == NORM_1   ? 1.0f
                               : g.kind == NORM_2 ? F[r] * inverse_root(F[r])
                                                  : power_of_two((1.0f - g.a) * logarithm(F[r]));
            if (F[r] > 1.0f) tau[r] += fmaxf(F[r] - rest, 0.0f) / (G[r] * steep);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        tau[r] -= 0x1p-18f / steep;
}

/* A value that k of the scores reach, or -inf, by bisection. */
static __device__ __forceinline__ float rank_bound(int k, const float (&top)[CLASSES], float m)
{
    float low = INFINITY, high = m;
#pragma unroll
    for (int i = 0; i < CLASSES; i++)
        low = fminf(low, top[i] > -INFINITY ? top[i] : INFINITY);
    low = fminf(low, __shfl_xor_sync(ALL_LANES, low, 1));
    low = fminf(low, __shfl_xor_sync(ALL_LANES, low, 2));
    float bound = -INFINITY, middle = low;
#pragma unroll 1
    for (int step = 0; step < 7; step++) {
        float n = 0.0f;
#pragma unroll
        for (int i = 0; i < CLASSES; i++)
            n += top[i] >= middle ? 1.0f : 0.0f;
        const bool reached = quad_sum(n) >= (float)k;
        if (reached)
            bound = low = middle;
        else
            high = middle;
        middle = k == 1 ? m : 0.5f * low + 0.5f * high;
    }
    return bound;
}

/* The bounds of two rows, at least tau, from the classes of the lanes of their quad. Scores at or
 * below them weigh nothing. */
static __device__ __forceinline__ void raise_bounds(const gather_rule &g, float steep,
                                                    const float (&top)[2][CLASSES], float (&tau)[2])
{
    float m[2], bound[2];
    bool none[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        m[r] = top[r][0];
#pragma unroll
        for (int i = 1; i < CLASSES; i++)
            m[r] = fmaxf(m[r], top[r][i]);
        m[r] = quad_max(m[r]);
        none[r] = m[r] == -INFINITY;
        if (none[r]) m[r] = 0.0f;
        bound[r] = none[r] ? 0.0f : tau[r];
    }
    if (g.kind <= NORM_REAL) norm_bounds(g, steep, top, m, bound);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (g.kind == MARGIN)
            bound[r] = m[r] - g.b * (1.0f + 0x1p-18f) / steep;
        else if (g.kind >= TOP_SOFTMAX)
            bound[r] = rank_bound(g.k, top[r], m[r]);
        bound[r] -= fabsf(bound[r]) * 0x1p-21f + 0x1p-126f;
        if (!none[r]) tau[r] = fmaxf(tau[r], bound[r]);
    }
}

static __device__ __forceinline__ void store_mark(uint32_t shared, uint32_t mark)
{
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(shared), "h"((uint16_t)mark) : "memory");
}
static __device__ __forceinline__ uint32_t load_mark(uint32_t shared)
{
    return *(const uint16_t *)__cvta_shared_to_generic(shared);
}

/* --- a warp ---------------------------------------------------------------------------------- */

/* The scan of 16 rows. Lane i has rows i / 4 and 8 more of them, keys 2 (i % 4) and the next of
 * every eight. */
struct warp_scan {
    const gather_rule &rule;
    float steep, tau[2], top[2][CLASSES];
    uint32_t list, end; /* shared addresses of this thread's first slot and its last, which takes
                           what has no other: nobody reads it */
    uint32_t at;        /* of the first free one */
    uint32_t marks;     /* of the first mark: 256 (tile - since) + a bit for each of its quads */
    uint32_t mark_at;
    int since;     /* the tile after the last flush */
    int pause;     /* the last that a mark can name */
    int name0;     /* number of the first eight keys of tile 0 */
    float4 *quads; /* the candidates of the group   */
    uint32_t *names;
    int room, count; /* count < 0: there was no room */

    __device__ __forceinline__ void forget_tops()
    {
#pragma unroll
        for (int i = 0; i < CLASSES; i++)
            top[0][i] = top[1][i] = -INFINITY;
    }
    __device__ __forceinline__ void raise()
    {
        raise_bounds(rule, steep, top, tau);
    }
    __device__ __forceinline__ int used() const
    {
        return (int)((at - list) / SLOT_BYTES);
    }

    /* Scores of keys beyond `last` of a row become -inf; key: the first of the tile for this lane.
     */
    __device__ __forceinline__ static void mask(float (&s)[32], int key, const int (&last)[2])
    {
#pragma unroll
        for (int i = 0; i < 32; i++)
            if (key + i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = -INFINITY;
    }
    __device__ __forceinline__ void maxima(const float (&s)[32])
    {
#pragma unroll
        for (int g = 0; g < QUADS; g++) {
            top[0][g] = fmaxf(top[0][g], fmaxf(s[4 * g], s[4 * g + 1]));
            top[1][g] = fmaxf(top[1][g], fmaxf(s[4 * g + 2], s[4 * g + 3]));
        }
    }
    /* The quads above the bound to the list, without a branch; returns a bit for each. */
    __device__ __forceinline__ uint32_t append(const float (&s)[32])
    {
        uint32_t mark = 0;
#pragma unroll
        for (int g = 0; g < QUADS; g++) {
            const float a = fmaxf(s[4 * g], s[4 * g + 1]), b = fmaxf(s[4 * g + 2], s[4 * g + 3]);
            asm volatile("{\n\t"
                         ".reg .pred p, q;\n\t"
                         ".reg .s32 t;\n\t"
                         "setp.gt.f32 p, %2, %4;\n\t"
                         "setp.gt.f32 q, %3, %5;\n\t"
                         "or.pred p, p, q;\n\t"
                         "add.s32 t, %0, %11;\n\t"
                         "min.s32 t, t, %12;\n\t"
                         "@p st.shared.v4.f32 [%0], {%6, %7, %8, %9};\n\t"
                         "@p or.b32 %1, %1, %10;\n\t"
                         "selp.b32 %0, t, %0, p;\n\t"
                         "}"
                         : "+r"(at), "+r"(mark)
                         : "f"(a), "f"(b), "f"(tau[0]), "f"(tau[1]), "f"(s[4 * g]),
                           "f"(s[4 * g + 1]), "f"(s[4 * g + 2]), "f"(s[4 * g + 3]), "r"(1u << g),
                           "n"((int)SLOT_BYTES), "r"(end)
                         : "memory");
        }
        return mark;
    }
    /* The quads of tile i above the bound to the list. If some lane's list lacks room for them the
     * warp empties the lists and looks at the tile again; it empties them after tile `pause` too.
     */
    __device__ __forceinline__ void take(float (&s)[32], int i, int total)
    {
        for (;;) {
            const uint32_t before = at, mark = append(s);
            const bool over = __any_sync(ALL_LANES, at == end);
            if (over) {
                at = before;
            } else if (mark) {
                store_mark(mark_at, (uint32_t)(i - since) << QUADS | mark);
                mark_at += MARK_BYTES;
            }
            if (!over && i != pause) return;
            flush();
            since = over ? i : i + 1;
            pause = min(total, since + MARKED_TILES) - 1;
            if (!over) return;
            multiplied(s); /* or what was computed of them would wait in registers */
        }
    }
    __device__ __forceinline__ float4 slot(int i) const
    {
        return *(const float4 *)__cvta_shared_to_generic(min(list + i * SLOT_BYTES, end));
    }
    __device__ __forceinline__ static bool above(const float4 &s, float tau0, float tau1)
    {
        return fmaxf(s.x, s.y) > tau0 || fmaxf(s.z, s.w) > tau1;
    }

    __device__ __forceinline__ void flush()
    {
        const int own = used(), most = __reduce_max_sync(ALL_LANES, own);
        classify(own, most);
        raise();
        write(own, most);
        turn();
        at = list, mark_at = marks;
    }
    __device__ __forceinline__ void classify(int own, int most)
    {
        enum { AT_ONCE = 4 };
#pragma unroll 1
        for (int i = 0; i < most; i += CLASSES)
#pragma unroll
            for (int c = 0; c < CLASSES; c += AT_ONCE) {
                float4 s[AT_ONCE];
#pragma unroll
                for (int d = 0; d < AT_ONCE; d++)
                    s[d] = slot(i + c + d);
#pragma unroll
                for (int d = 0; d < AT_ONCE; d++)
                    if (i + c + d < own) {
                        top[0][c + d] = fmaxf(top[0][c + d], fmaxf(s[d].x, s[d].y));
                        top[1][c + d] = fmaxf(top[1][c + d], fmaxf(s[d].z, s[d].w));
                    }
            }
    }
    /* The early slots are the fuller ones: let other classes have them next. */
    __device__ __forceinline__ void turn()
    {
        enum { BY = 3 };
        float old[2][CLASSES];
#pragma unroll
        for (int i = 0; i < 2 * CLASSES; i++)
            old[i / CLASSES][i % CLASSES] = top[i / CLASSES][i % CLASSES];
#pragma unroll
        for (int i = 0; i < 2 * CLASSES; i++)
            top[i / CLASSES][i % CLASSES] = old[i / CLASSES][(i + BY) % CLASSES];
    }
    /* What passes the bound to the candidates, in the order of slots, then lanes. */
    __device__ __forceinline__ void write(int own, int most)
    {
        enum { AT_ONCE = 4 };
        const unsigned lane = threadIdx.x % WARP;
        if (count < 0) return;
        uint32_t next = load_mark(marks), mark_from = marks, bits = 0;
        int first = 0;
#pragma unroll 1
        for (int i = 0; i < most; i += AT_ONCE) {
            float4 s[AT_ONCE];
            uint32_t name[AT_ONCE];
            unsigned passed[AT_ONCE];
            int to = count, more = 0;
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++)
                s[c] = slot(i + c);
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) {
                passed[c] = __ballot_sync(ALL_LANES, i + c < own && above(s[c], tau[0], tau[1]));
                more += __popc(passed[c]);
                if (!bits) {
                    first = name0 - (int)(since + (next >> QUADS)) * QUADS;
                    bits = next & ((1 << QUADS) - 1);
                    mark_from += MARK_BYTES;
                    next = load_mark(min(mark_from, mark_at));
                }
                name[c] = (uint32_t)(first + __ffs((int)bits) - 1) << 5 | lane;
                bits &= bits - 1;
            }
            if (count + more > room) drop_old();
            if (count < 0) return;
            to = count;
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) {
                const int here = to + __popc(passed[c] & ((1u << lane) - 1));
                if (passed[c] >> lane & 1) quads[here] = s[c], names[here] = name[c];
                to += __popc(passed[c]);
            }
            count += more;
        }
    }
    /* Take out the candidates that the bound has passed since. */
    __device__ __forceinline__ void drop_old()
    {
        const int lane = threadIdx.x % WARP;
        int left = 0;
        __syncwarp();
#pragma unroll 1
        for (int i = lane; i - lane < count; i += WARP) {
            const bool there = i < count;
            const float4 s = there ? quads[i] : make_float4(0, 0, 0, 0);
            const uint32_t name = there ? names[i] : 0;
            const float tau0 = __shfl_sync(ALL_LANES, tau[0], (int)(name % WARP));
            const float tau1 = __shfl_sync(ALL_LANES, tau[1], (int)(name % WARP));
            const bool keep = there && above(s, tau0, tau1);
            const unsigned kept = __ballot_sync(ALL_LANES, keep);
            const int to = left + __popc(kept & ((1u << lane) - 1));
            if (keep) quads[to] = s, names[to] = name;
            left += __popc(kept);
            __syncwarp();
        }
        count = left > room - room / 4 ? -1 : left;
    }
};

/* --- a block --------------------------------------------------------------------------------- */

/* Which 128 rows of which head: the longest rows of some heads first. */
struct scan_place {
    int head, tile;
};
static __device__ scan_place scan_place_of(const gather_sizes &s, unsigned block)
{
    enum { TOGETHER = 8 };
    const int bunch = (int)(block / (unsigned)(TOGETHER * s.tiles)) * TOGETHER;
    const int heads = min(TOGETHER, s.heads - bunch);
    const int rest = (int)(block - (unsigned)bunch * (unsigned)s.tiles);
    return scan_place{bunch + rest % heads, s.tiles - 1 - rest / heads};
}

static __device__ __forceinline__ bool finite(uint32_t two, bf16)
{
    return (two & 0x7f80u) != 0x7f80u && (two & 0x7f800000u) != 0x7f800000u;
}
static __device__ __forceinline__ bool finite(uint32_t two, fp16)
{
    return (two & 0x7c00u) != 0x7c00u && (two & 0x7c000000u) != 0x7c000000u;
}
template <typename T, int D> static __device__ bool finite_row(const void *x, int64_t at)
{
    const uint4 *row = (const uint4 *)((const T *)x + at);
    bool fine = true;
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        const uint4 w = row[i];
        fine &= finite(w.x, T()) && finite(w.y, T()) && finite(w.z, T()) && finite(w.w, T());
    }
    return fine;
}

template <typename T, int D>
static __global__ void __launch_bounds__(SCAN_THREADS, D == 128 ? 1 : 2)
    scan_kernel(const __grid_constant__ CUtensorMap q_map,
                const __grid_constant__ CUtensorMap k_map, const scan_call a)
{
    enum { SLOTS = scan_slots(D) };
    extern __shared__ uint4 memory[];
    const uint32_t q_at = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t k_at = q_at + tile_bytes(SCAN_ROWS, D);
    const uint32_t list = k_at + RING * tile_bytes(TILE, D);
    const uint32_t full = list + SLOTS * (SLOT_BYTES + MARK_BYTES), empty = full + 8 * RING;
    const uint32_t q_full = empty + 8 * RING;
    uint8_t *fine = (uint8_t *)__cvta_shared_to_generic(q_full + 8);

    const gather_sizes &z = a.s;
    const scan_place place = scan_place_of(z, blockIdx.x);
    const int b = place.head / z.H, h = place.head % z.H, row0 = place.tile * SCAN_ROWS;
    const int rows = min(SCAN_ROWS, z.T - row0);
    /* keys of the last row, in tiles; those swept for maxima come first */
    const int keys = max(0, row0 + rows - z.lag), tiles = (keys + TILE - 1) / TILE;
    const int every = sweep_every(tiles), swept = (tiles + every - 1) / every;
    const int total = swept + tiles;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);

    const auto first_key = [&](int i) {
        return TILE * (i < swept ? tiles - 1 - every * i : total - 1 - i);
    };
    const auto load = [&](int i) {
        const uint32_t barrier = full + 8 * (i % RING);
        barrier_expect(barrier, tile_bytes(TILE, D));
        tile_load_rows<D>(k_at + i % RING * tile_bytes(TILE, D), &k_map, barrier, TILE, h,
                          first_key(i), b);
    };
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(empty + 8 * i, SCAN_THREADS / WARP);
        }
        barrier_open(q_full, 1);
        barriers_opened();
        barrier_expect(q_full, tile_bytes(SCAN_ROWS, D));
        tile_load_rows<D>(q_at, &q_map, q_full, SCAN_ROWS, h, row0, b);
        for (int i = 0; i < min(RING - 1, total); i++)
            load(i);
    }

    /* meanwhile: which queries and keys of these rows are finite */
    {
        const int r = (int)threadIdx.x / 2;
        const int64_t at = row_offset(z, place.head, row0 + r);
        bool good = true;
        if (r < rows) {
            if (threadIdx.x % 2)
                good = finite_row<T, D>(a.k, at);
            else
                fine[r] = finite_row<T, D>(a.q, at);
        }
        const int first = good ? INT32_MAX : row0 + r;
        const int found = __reduce_min_sync(ALL_LANES, first);
        if (lane == 0) *((int *)__cvta_shared_to_generic(list) + warp) = found;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        const int *found = (const int *)__cvta_shared_to_generic(list);
        int first = INT32_MAX;
        for (int i = 0; i < SCAN_THREADS / WARP; i++)
            first = min(first, found[i]);
        a.found.broken[place.head * z.tiles + place.tile] = first;
    }
    __syncthreads();

    const int own = row0 + warp * GROUP_ROWS + lane / 4; /* and 8 more */
    const int last[2] = {own < z.T ? own - z.lag : -1, own + 8 < z.T ? own + 8 - z.lag : -1};
    const int64_t group = ((int64_t)place.head * z.tiles + place.tile) * SCAN_GROUPS + warp;
    warp_scan w = {a.rule, steepness(a.rule, head_beta(a.rule, h))};
    w.tau[0] = w.tau[1] = -INFINITY;
    w.forget_tops();
    w.list = w.at = list + threadIdx.x * 16;
    w.end = w.list + (SLOTS - 1) * SLOT_BYTES;
    w.marks = w.mark_at = list + SLOTS * SLOT_BYTES + threadIdx.x * 2;
    w.since = swept, w.pause = min(total, swept + MARKED_TILES) - 1, w.name0 = (total - 1) * QUADS;
    w.quads = a.found.quads + group * z.room, w.names = a.found.tags + group * z.room;
    w.room = z.room, w.count = 0;

    /* The rows of the warp see the whole of tiles up to number `whole`. */
    const int first_row = row0 + warp * GROUP_ROWS;
    const int whole = (int)warp_value(
        first_row + GROUP_ROWS > z.T ? ~0u : (uint32_t)((first_row - z.lag - (TILE - 1)) >> 6));
    const uint32_t q_rows =
        warp_value(tile_start(q_at + warp / 4 * PRODUCT_ROWS * tile_line<D>::bytes));
    const uint32_t k_rows = warp_value(tile_start(k_at));
    float s[32] = {};
    /* s = the scores of tile i, the next; the tile RING - 1 later takes the place of the one before
     */
    const auto scores = [&](int i, int tile) {
        const int now = i % RING;
        barrier_wait(full + 8 * now, i / RING % 2);
        multiply_rows<T, D>(s, q_rows, SCAN_ROWS, k_rows + now * (tile_bytes(TILE, D) >> 4), TILE);
        products_wait<0>();
        multiplied(s);
        if (lane == 0) barrier_arrive(empty + 8 * now);
        if (threadIdx.x == 0 && i + RING - 1 < total) {
            if (i > 0) barrier_wait(empty + 8 * ((i - 1) % RING), (i - 1) / RING % 2);
            load(i + RING - 1);
        }
        __syncwarp();
        if (tile > whole) w.mask(s, tile * TILE + lane % 4 * 2, last);
    };

    barrier_wait(q_full, 0);
#pragma unroll 1
    for (int i = 0; i < swept; i++) {
        scores(i, tiles - 1 - every * i);
        w.maxima(s);
    }
    w.raise();
    w.forget_tops(); /* the swept keys come again */
#pragma unroll 1
    for (int i = swept; i < total; i++) {
        scores(i, total - 1 - i);
        w.take(s, i, total);
    }

    if (lane == 0) a.found.count[group] = w.count;
    if (lane % 4 == 0) {
        const int64_t at = group * GROUP_ROWS + lane / 4;
        a.found.bound[at] = own >= z.T || fine[own - row0] ? w.tau[0] : NAN;
        a.found.bound[at + 8] = own + 8 >= z.T || fine[own + 8 - row0] ? w.tau[1] : NAN;
    }
}

#else

template <typename T, int D>
static __global__ void scan_kernel(const __grid_constant__ CUtensorMap,
                                   const __grid_constant__ CUtensorMap, const scan_call)
{
}

#endif

/* --- host ------------------------------------------------------------------------------------ */

template <typename T, int D>
static status scan_of(const args *a, const char *what, const gather_plan *p)
{
    CUtensorMap q, k;
    const scan_call call = {a->in[0], a->in[1], p->s, p->rule, p->found};
    const auto kernel = scan_kernel<T, D>;
    TRY(tile_map(&q, what, a->in[0], a->type, &a->d, SCAN_ROWS));
    TRY(tile_map(&k, what, a->in[1], a->type, &a->d, TILE));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, scan_bytes(D)),
        what);
    kernel<<<(unsigned)(p->s.heads * p->s.tiles), SCAN_THREADS, scan_bytes(D), stream_of(a)>>>(
        q, k, call);
    return launched(what);
}

template <typename T> static status scan_of(const args *a, const char *what, const gather_plan *p)
{
    switch (p->s.D) {
    case 16:
        return scan_of<T, 16>(a, what, p);
    case 32:
        return scan_of<T, 32>(a, what, p);
    case 64:
        return scan_of<T, 64>(a, what, p);
    default:
        return scan_of<T, 128>(a, what, p);
    }
}

status gather_scan(const args *a, const char *what, const gather_plan *p)
{
    return a->type == BF16 ? scan_of<bf16>(a, what, p) : scan_of<fp16>(a, what, p);
}
