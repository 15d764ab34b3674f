/* SPDX-License-Identifier: MIT
 *
 * attention_scan — the candidates for the support of every row of attention, by one pass over
 *
 *     d_tj = <q_t,k_j>,   j <= t - lag,   q, k (B,T,H,D) of 16 bits
 *
 * A block has 128 rows of one head, its keys pass in tiles of 64 through a ring in shared memory.
 * Each of two warpgroups multiplies its 64 rows with a tile while it looks at the scores of the
 * tile before. A thread sees eight quads of a tile: the scores of two neighbouring keys for two
 * rows, eight apart. A quad with a score above the bound of its row goes to the thread's list in
 * shared memory, without a branch. Before a list could be full the warp empties it (`flush`):
 *
 *     tops     of a row, each of 4 lanes keeps the maxima of 8 disjoint classes of its candidates
 *     bound    two Newton steps on these 32 scores, which are scores of different keys of the row:
 *              their threshold bounds that of the row from below (attention_gather.cuh)
 *     write    the quads that still pass, densely, to the candidates of the group
 *
 * When these are full, those that no longer pass are taken out; if that frees less than a quarter
 * the group has no lists and its rows are done again.
 *
 * The last tiles come first. Before them every fourth tile is swept for maxima alone, so that the
 * bound is near where it will end before any score becomes a candidate, whatever the order of the
 * scores. A bound is lowered by more than the rounding of its steps, so no weight is lost to it.
 */
#include "attention_gather.cuh"
#include "wgmma.cuh"

enum {
    TILE = PRODUCT_KEYS,
    RING = 4,  /* tiles in shared memory   */
    SWEPT = 4, /* one tile in so many is swept first */
    SCAN_THREADS = 2 * WARPGROUP,
    CLASSES = 8, /* per lane */
    QUADS = 8,   /* of a thread in a tile */
    SLOT_BYTES = SCAN_THREADS * 16,
    TAG_BYTES = SCAN_THREADS * 2
};

/* Slots of a thread's list: what two blocks of a multiprocessor leave, or one where D is 128. */
static __host__ __device__ constexpr int scan_slots(int D)
{
    return D == 128 ? 24 : D == 64 ? 14 : 16;
}
static constexpr int scan_bytes(int D)
{
    return 1024 + tile_bytes(SCAN_ROWS, D) + RING * tile_bytes(TILE, D) +
           scan_slots(D) * (SLOT_BYTES + TAG_BYTES) + 2 * RING * 8 + 8 + SCAN_ROWS;
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

/* From the bound tau: that of the scores `top` of four lanes, whose maximum is m, by Newton on
 * their r-norm (newton.cuh). steep: alpha-entmax's z moves by it per unit of score. */
static __device__ __forceinline__ float norm_bound(const gather_rule &g, float steep,
                                                   const float (&top)[CLASSES], float m, float tau)
{
    tau = fmaxf(tau, m - 1.0f / steep);
#pragma unroll 1
    for (int step = 0; step < 2; step++) {
        float F = 0.0f, G = 0.0f;
#pragma unroll
        for (int i = 0; i < CLASSES; i++) {
            const float y = __saturatef((top[i] - tau) * steep);
            if (g.kind == NORM_1) {
                F += y, G += y > 0.0f ? 1.0f : 0.0f;
            } else if (g.kind == NORM_2) {
                F = fmaf(y, y, F), G += y;
            } else if (g.kind == NORM_3) {
                F = fmaf(y * y, y, F), G = fmaf(y, y, G);
            } else {
                const float low = power_of_two((g.r - 1.0f) * logarithm(y));
                F = fmaf(low, y, F), G += low;
            }
        }
        F = quad_sum(F), G = quad_sum(G);
        const float rest = g.kind == NORM_1   ? 1.0f
                           : g.kind == NORM_2 ? F * inverse_root(F)
                                              : power_of_two((1.0f - g.a) * logarithm(F));
        if (F > 1.0f) tau += fmaxf(F - rest, 0.0f) / (G * steep);
    }
    return tau - 0x1p-18f / steep;
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

/* The bound of a row, at least tau, from the classes of the lanes of its quad. Scores at or below
 * it weigh nothing. */
static __device__ __forceinline__ float raised(const gather_rule &g, float steep,
                                               const float (&top)[CLASSES], float tau)
{
    float m = top[0];
#pragma unroll
    for (int i = 1; i < CLASSES; i++)
        m = fmaxf(m, top[i]);
    m = quad_max(m);
    const bool none = m == -INFINITY;
    float bound;
    if (none) m = 0.0f;
    if (g.kind <= NORM_REAL)
        bound = norm_bound(g, steep, top, m, none ? 0.0f : tau);
    else if (g.kind == MARGIN)
        bound = m - g.b * (1.0f + 0x1p-18f) / steep;
    else
        bound = rank_bound(g.k, top, m);
    bound -= fabsf(bound) * 0x1p-21f + 0x1p-126f;
    return none ? tau : fmaxf(tau, bound);
}

/* --- a warp ---------------------------------------------------------------------------------- */

/* The scan of 16 rows. Lane i has rows i / 4 and 8 more of them, keys 2 (i % 4) and the next of
 * every eight. */
struct warp_scan {
    const gather_rule &rule;
    float steep, tau[2], top[2][CLASSES];
    uint32_t list, tags; /* shared addresses of this thread's first slot */
    uint32_t at, tag_at; /* of the first free one                        */
    uint32_t limit;      /* the last that leaves room for the quads of a tile */
    float4 *quads;       /* the candidates of the group                  */
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
        tau[0] = raised(rule, steep, top[0], tau[0]);
        tau[1] = raised(rule, steep, top[1], tau[1]);
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
    /* The quads above the bound to the list, without a branch; first: number of the tile's first
     * eight keys. */
    __device__ __forceinline__ void append(const float (&s)[32], uint32_t first)
    {
#pragma unroll
        for (int g = 0; g < QUADS; g++) {
            const float a = fmaxf(s[4 * g], s[4 * g + 1]), b = fmaxf(s[4 * g + 2], s[4 * g + 3]);
            asm volatile("{\n\t"
                         ".reg .pred p, q;\n\t"
                         "setp.gt.f32 p, %2, %4;\n\t"
                         "setp.gt.f32 q, %3, %5;\n\t"
                         "or.pred p, p, q;\n\t"
                         "@p st.shared.v4.f32 [%0], {%6, %7, %8, %9};\n\t"
                         "@p st.shared.u16 [%1], %10;\n\t"
                         "@p add.u32 %0, %0, %11;\n\t"
                         "@p add.u32 %1, %1, %12;\n\t"
                         "}"
                         : "+r"(at), "+r"(tag_at)
                         : "f"(a), "f"(b), "f"(tau[0]), "f"(tau[1]), "f"(s[4 * g]),
                           "f"(s[4 * g + 1]), "f"(s[4 * g + 2]), "f"(s[4 * g + 3]), "r"(first + g),
                           "n"((int)SLOT_BYTES), "n"((int)TAG_BYTES)
                         : "memory");
        }
    }
    __device__ __forceinline__ float4 slot(int i) const
    {
        return *(const float4 *)__cvta_shared_to_generic(list + i * SLOT_BYTES);
    }
    __device__ __forceinline__ static bool above(const float4 &s, float tau0, float tau1)
    {
        return fmaxf(s.x, s.y) > tau0 || fmaxf(s.z, s.w) > tau1;
    }

    /* Whether some lane's list lacks room for 8 quads. */
    __device__ __forceinline__ bool full() const
    {
        return __any_sync(ALL_LANES, at > limit);
    }
    __device__ __forceinline__ void flush()
    {
        const int own = used(), most = __reduce_max_sync(ALL_LANES, own);
#pragma unroll 1
        for (int i = 0; i < most; i += CLASSES)
#pragma unroll
            for (int c = 0; c < CLASSES; c++)
                if (i + c < own) {
                    const float4 s = slot(i + c);
                    top[0][c] = fmaxf(top[0][c], fmaxf(s.x, s.y));
                    top[1][c] = fmaxf(top[1][c], fmaxf(s.z, s.w));
                }
        raise();
        write(own, most);
        turn();
        at = list, tag_at = tags;
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
        const unsigned lane = threadIdx.x % WARP;
#pragma unroll 1
        for (int i = 0; i < most; i++) {
            const float4 s = slot(min(i, own));
            const bool keep = i < own && above(s, tau[0], tau[1]);
            const unsigned kept = __ballot_sync(ALL_LANES, keep);
            if (count + __popc(kept) > room) drop_old();
            if (count < 0) return;
            if (keep) {
                const int to = count + __popc(kept & ((1u << lane) - 1));
                const uint32_t name =
                    *(const uint16_t *)__cvta_shared_to_generic(tags + i * TAG_BYTES);
                quads[to] = s;
                names[to] = name << 5 | lane;
            }
            count += __popc(kept);
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
    const uint32_t full = list + SLOTS * (SLOT_BYTES + TAG_BYTES), empty = full + 8 * RING;
    const uint32_t q_full = empty + 8 * RING;
    uint8_t *fine = (uint8_t *)__cvta_shared_to_generic(q_full + 8);

    const gather_sizes &z = a.s;
    const scan_place place = scan_place_of(z, blockIdx.x);
    const int b = place.head / z.H, h = place.head % z.H, row0 = place.tile * SCAN_ROWS;
    const int rows = min(SCAN_ROWS, z.T - row0);
    /* keys of the last row, in tiles; those swept for maxima come first */
    const int keys = max(0, row0 + rows - z.lag), tiles = (keys + TILE - 1) / TILE;
    const int swept = (tiles + SWEPT - 1) / SWEPT, total = swept + tiles;
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;

    const auto first_key = [&](int i) {
        return TILE * (i < swept ? tiles - 1 - SWEPT * i : total - 1 - i);
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
    w.tags = w.tag_at = list + SLOTS * SLOT_BYTES + threadIdx.x * 2;
    w.limit = w.list + (SLOTS - QUADS) * SLOT_BYTES;
    w.quads = a.found.quads + group * z.room, w.names = a.found.tags + group * z.room;
    w.room = z.room, w.count = 0;

    const int first_row = row0 + warp * GROUP_ROWS;
    const auto absorb = [&](float(&s)[32], int i) {
        const int key = first_key(i);
        if (key + TILE - 1 > first_row - z.lag || first_row + GROUP_ROWS > z.T)
            w.mask(s, key + lane % 4 * 2, last);
        if (i < swept)
            w.maxima(s);
        else
            w.append(s, (uint32_t)(key / 8));
        if (w.full() || i + 1 == swept || i + 1 == total) w.flush();
        if (i + 1 == swept) w.forget_tops(); /* its keys come again */
    };
    const uint32_t q_rows = q_at + warp / 4 * PRODUCT_ROWS * line<D>::bytes;
    const auto start = [&](float(&s)[32], int i) {
        i = min(i, total - 1);
        barrier_wait(full + 8 * (i % RING), i / RING % 2);
        multiply_rows<T, D>(s, q_rows, SCAN_ROWS, k_at + i % RING * tile_bytes(TILE, D), TILE);
    };
    /* the products with tile i are done; the tile RING - 1 later takes the place of that before i
     */
    const auto done = [&](int i) {
        if (i >= total) return;
        if (lane == 0) barrier_arrive(empty + 8 * (i % RING));
        if (threadIdx.x == 0 && i + RING - 1 < total) {
            if (i > 0) barrier_wait(empty + 8 * ((i - 1) % RING), (i - 1) / RING % 2);
            load(i + RING - 1);
        }
        __syncwarp();
    };

    if (total > 0) {
        float s[32] = {}, next[32] = {};
        barrier_wait(q_full, 0);
        start(s, 0);
        products_wait<0>();
        multiplied(s);
        done(0);
#pragma unroll 1
        for (int i = 0; i < total; i += 2) {
            start(next, i + 1);
            absorb(s, i);
            products_wait<0>();
            multiplied(next);
            done(i + 1);
            start(s, i + 2);
            if (i + 1 < total) absorb(next, i + 1);
            products_wait<0>();
            multiplied(s);
            done(i + 2);
        }
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
