/* SPDX-License-Identifier: MIT
 *
 * attention_scan — the candidates for the support of every row of attention, by two passes over
 *
 *     d_tj = <q_t,k_j>,   j <= t - lag,   q, k (B,T,H,D) of 16 bits
 *
 * A block has 128 rows of one head. A warp of it brings the keys in tiles through a ring in shared
 * memory; each of two warpgroups multiplies its 64 rows with a tile, then looks at the scores,
 * while the others of the multiprocessor multiply.
 *
 *     sweep    of a row, each of 4 lanes keeps the maxima of 8 disjoint classes of its scores
 *     bound    two Newton steps on these 32 scores, which are scores of different keys of the row:
 *              their threshold bounds that of the row from below (attention_gather.cuh), whatever
 *              the order of the keys
 *     append   a thread sees quads, the scores of two neighbouring keys for two rows, eight apart.
 *              A quad with a score above the bound of its row goes to the thread's list in global
 *              memory, without a branch; a mark says which quads of the tile did.
 *
 * What a full list cannot take goes to slots that nobody reads: the bounds of the thread's rows
 * become NaN and they are done again. A bound is lowered by more than the rounding of its steps, so
 * no weight is lost to it. Both passes begin with the last tiles, which a diagonal may cross.
 */
#include "attention_gather.cuh"
#include "wgmma.cuh"

enum {
    SCANNERS = 2 * WARPGROUP,
    SCAN_THREADS = SCANNERS + WARP, /* the last warp brings tiles */
    CLASSES = 8                     /* per lane */
};

template <int D> struct scan_shape {
    enum {
        TILE = scan_keys(D), /* keys */
        NUMBERS = TILE / 2,  /* of a tile, per thread */
        QUADS = NUMBERS / 4,
        RING = TILE == 128 ? 3 : 4, /* tiles in shared memory, no fewer than a diagonal crosses */
        BLOCKS = 2                  /* of a multiprocessor */
    };
};
template <int D> static constexpr int scan_bytes()
{
    typedef scan_shape<D> shape;
    return 1024 + tile_bytes(SCAN_ROWS, D) + shape::RING * tile_bytes(shape::TILE, D) +
           2 * shape::RING * 8 + 8 + SCAN_ROWS + SCANNERS / WARP * 4;
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

/* --- a warp ---------------------------------------------------------------------------------- */

/* Scores of keys beyond `last` of a row become -inf; key: the first of the tile for this lane. */
template <int N>
static __device__ __forceinline__ void mask(float (&s)[N], int key, const int (&last)[2])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        if (key + i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = -INFINITY;
}
template <int N>
static __device__ __forceinline__ void maxima(float (&top)[2][CLASSES], const float (&s)[N])
{
#pragma unroll
    for (int g = 0; g < N / 4; g++)
#pragma unroll
        for (int r = 0; r < 2; r++)
            top[r][g % CLASSES] =
                fmaxf(top[r][g % CLASSES], fmaxf(s[4 * g + 2 * r], s[4 * g + 2 * r + 1]));
}

/* The lists of a thread: the next slot and the next mark; the low halves of the addresses of the
 * last that a tile may begin at, the high ones are the same (candidates). */
struct thread_list {
    uint64_t at, mark_at;
    uint32_t end, mark_end;

    /* The quads above the bounds of their rows to the list, without a branch; then a mark: name
     * with a bit for each. */
    template <int N>
    __device__ __forceinline__ void append(const float (&s)[N], const float (&tau)[2],
                                           uint32_t name)
    {
        uint32_t mark = 0;
#pragma unroll
        for (int g = 0; g < N / 4; g++) {
            const float a = fmaxf(s[4 * g], s[4 * g + 1]), b = fmaxf(s[4 * g + 2], s[4 * g + 3]);
            asm volatile("{\n\t"
                         ".reg .pred p, q;\n\t"
                         ".reg .u32 low, high;\n\t"
                         "setp.gt.f32 p, %2, %4;\n\t"
                         "setp.gt.f32 q, %3, %5;\n\t"
                         "or.pred p, p, q;\n\t"
                         "@p st.global.v4.f32 [%0], {%6, %7, %8, %9};\n\t"
                         "@p or.b32 %1, %1, %10;\n\t"
                         "mov.b64 {low, high}, %0;\n\t"
                         "@p add.u32 low, low, %11;\n\t"
                         "mov.b64 %0, {low, high};\n\t"
                         "}"
                         : "+l"(at), "+r"(mark)
                         : "f"(a), "f"(b), "f"(tau[0]), "f"(tau[1]), "f"(s[4 * g]),
                           "f"(s[4 * g + 1]), "f"(s[4 * g + 2]), "f"(s[4 * g + 3]), "r"(1u << g),
                           "n"((int)QUAD_STEP));
        }
        asm volatile("{\n\t"
                     ".reg .pred p;\n\t"
                     ".reg .u32 low, high, t;\n\t"
                     "mov.b64 {low, high}, %0;\n\t"
                     "min.u32 low, low, %5;\n\t"
                     "mov.b64 %0, {low, high};\n\t"
                     "setp.ne.u32 p, %2, 0;\n\t"
                     "or.b32 t, %2, %3;\n\t"
                     "@p st.global.u32 [%1], t;\n\t"
                     "mov.b64 {low, high}, %1;\n\t"
                     "@p add.u32 low, low, %4;\n\t"
                     "min.u32 low, low, %6;\n\t"
                     "mov.b64 %1, {low, high};\n\t"
                     "}"
                     : "+l"(at), "+l"(mark_at)
                     : "r"(mark), "r"(name), "n"((int)MARK_STEP), "r"(end), "r"(mark_end));
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
static __global__ void __launch_bounds__(SCAN_THREADS, scan_shape<D>::BLOCKS)
    scan_kernel(const __grid_constant__ CUtensorMap q_map,
                const __grid_constant__ CUtensorMap k_map, const scan_call a)
{
    typedef scan_shape<D> shape;
    enum { TILE = shape::TILE, RING = shape::RING, N = shape::NUMBERS };
    static_assert(RING > SCAN_ROWS / TILE,
                  "the tiles that a diagonal crosses are in the first ring");
    extern __shared__ uint4 memory[];
    const uint32_t q_at = (shared_address(memory) + 1023) / 1024 * 1024;
    const uint32_t k_at = q_at + tile_bytes(SCAN_ROWS, D);
    const uint32_t full = k_at + RING * tile_bytes(TILE, D), empty = full + 8 * RING;
    const uint32_t q_full = empty + 8 * RING;
    uint8_t *fine = (uint8_t *)__cvta_shared_to_generic(q_full + 8);
    int *broken = (int *)(fine + SCAN_ROWS);

    const gather_sizes &z = a.s;
    const scan_place place = scan_place_of(z, blockIdx.x);
    const int b = place.head / z.H, h = place.head % z.H, row0 = place.tile * SCAN_ROWS;
    const int rows = min(SCAN_ROWS, z.T - row0);
    /* keys of the last row, in tiles; the sweep fills whole rings, with the first tile again */
    const int keys = max(0, row0 + rows - z.lag), tiles = (keys + TILE - 1) / TILE;
    const int swept = (tiles + RING - 1) / RING * RING, total = swept + tiles;
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP);

    /* tile i to a stage of the ring */
    const auto bring = [&](int i, int stage) {
        const int tile = max(tiles - 1 - (i < swept ? i : i - swept), 0);
        barrier_expect(full + 8 * stage, tile_bytes(TILE, D));
        tile_load_rows<D>(k_at + stage * tile_bytes(TILE, D), &k_map, full + 8 * stage, TILE, h,
                          tile * TILE, b);
    };
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(empty + 8 * i, SCANNERS / WARP);
        }
        barrier_open(q_full, 1);
        barriers_opened();
    }
    __syncthreads();
    /* a value of the warp, or the compiler would keep what is the same for all in every lane */
    if (__shfl_sync(ALL_LANES, warp, 0) == SCANNERS / WARP) {
        int stage = 0, parity = 1;
        if (lane == 0) {
            barrier_expect(q_full, tile_bytes(SCAN_ROWS, D));
            tile_load_rows<D>(q_at, &q_map, q_full, SCAN_ROWS, h, row0, b);
            for (int i = 0; i < total; i++) {
                barrier_wait(empty + 8 * stage, parity);
                bring(i, stage);
                if (++stage == RING) stage = 0, parity ^= 1;
            }
        }
        return;
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
        if (lane == 0) broken[warp] = found;
    }
    asm volatile("bar.sync 1, %0;" ::"n"((int)SCANNERS) : "memory");
    if (threadIdx.x == 0) {
        int first = INT32_MAX;
        for (int i = 0; i < SCANNERS / WARP; i++)
            first = min(first, broken[i]);
        a.found.broken[place.head * z.tiles + place.tile] = first;
    }

    const int own = row0 + warp * GROUP_ROWS + lane / 4; /* and 8 more */
    const int last[2] = {own - z.lag, own + 8 - z.lag};
    const int64_t group = ((int64_t)place.head * z.tiles + place.tile) * SCAN_GROUPS + warp;
    const float steep = steepness(a.rule, head_beta(a.rule, h));
    float tau[2] = {-INFINITY, -INFINITY}, s[N] = {};
    const uint32_t q_rows =
        __shfl_sync(ALL_LANES, tile_start(q_at + warp / 4 * PRODUCT_ROWS * tile_line<D>::bytes), 0);
    barrier_wait(q_full, 0);
    /* s = the scores of the tile in this stage of the ring */
    const auto scores = [&](int stage, uint32_t parity) {
        const uint32_t k_rows = tile_start(k_at + stage * tile_bytes(TILE, D));
        barrier_wait(full + 8 * stage, parity);
        multiply_rows<T, D>(s, q_rows, SCAN_ROWS, k_rows, TILE);
        products_wait<0>();
        multiplied(s);
        if (lane == 0) barrier_arrive(empty + 8 * stage);
    };
    const int first_key = lane % 4 * 2;
    uint32_t parity = 0;
    {
        float top[2][CLASSES];
#pragma unroll
        for (int i = 0; i < 2 * CLASSES; i++)
            top[i / CLASSES][i % CLASSES] = -INFINITY;
        if (swept) {
#pragma unroll
            for (int stage = 0; stage < RING; stage++) {
                scores(stage, parity);
                mask(s, max(tiles - 1 - stage, 0) * TILE + first_key, last);
                maxima(top, s);
            }
            parity ^= 1;
        }
#pragma unroll 1
        for (int i = RING; i < swept; i += RING) {
#pragma unroll
            for (int stage = 0; stage < RING; stage++) {
                scores(stage, parity);
                maxima(top, s);
            }
            parity ^= 1;
        }
        raise_bounds(a.rule, steep, top, tau);
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (own + 8 * r >= z.T) tau[r] = INFINITY; /* no row */

    const uint64_t quads = (uint64_t)(a.found.quads + group * z.room * WARP + lane);
    const uint64_t marks = (uint64_t)(a.found.marks + group * z.room * WARP + lane);
    thread_list list = {quads, marks};
    list.end = (uint32_t)quads + (uint32_t)(z.room - shape::QUADS) * QUAD_STEP;
    list.mark_end = (uint32_t)marks + (uint32_t)(z.room - shape::QUADS) * MARK_STEP;
    uint32_t name = (uint32_t)(tiles - 1) << shape::QUADS;
#pragma unroll
    for (int stage = 0; stage < RING; stage++)
        if (stage < tiles) {
            scores(stage, parity);
            mask(s, (tiles - 1 - stage) * TILE + first_key, last);
            list.append(s, tau, name);
            name -= 1u << shape::QUADS;
        }
    parity ^= 1;
#pragma unroll 1
    for (int i = RING; i < tiles; i += RING) {
#pragma unroll
        for (int stage = 0; stage < RING; stage++)
            if (i + stage < tiles) {
                scores(stage, parity);
                list.append(s, tau, name);
                name -= 1u << shape::QUADS;
            }
        parity ^= 1;
    }

    a.found.used[group * WARP + lane] = (int)((list.at - quads) / QUAD_STEP);
    const unsigned over =
        __ballot_sync(ALL_LANES, (uint32_t)list.at == list.end) >> lane / 4 * 4 & 15;
    if (lane % 4 == 0) {
        const int64_t at = group * GROUP_ROWS + lane / 4;
#pragma unroll
        for (int r = 0; r < 2; r++)
            a.found.bound[at + 8 * r] =
                own + 8 * r >= z.T || (fine[own + 8 * r - row0] && !over) ? tau[r] : NAN;
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
    TRY(tile_map(&k, what, a->in[1], a->type, &a->d, scan_keys(D)));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, scan_bytes<D>()),
        what);
    kernel<<<(unsigned)(p->s.heads * p->s.tiles), SCAN_THREADS, scan_bytes<D>(), stream_of(a)>>>(
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
