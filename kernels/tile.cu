/* SPDX-License-Identifier: MIT
 *
 * tile — what a call of tile.cuh is: its rule and its dropout.
 */
#include "tile.cuh"

static status rule_of(const args *a, const char *what, tile_call *f)
{
    f->alpha = a->transform == OP_sparsemax ? 2 : a->p.alpha;
    switch (a->transform) {
    case OP_softmax:
        return f->rule = RULE_SOFTMAX, OK;
    case OP_sparsemax:
    case OP_entmax:
        return f->rule = RULE_ENTMAX, OK;
    case OP_relumax:
        return f->rule = RULE_RELUMAX, OK;
    case OP_normrelu:
        return f->rule = RULE_NORMRELU, OK;
    default:
        return fail(ERR_ARG, "%s: transform: expected softmax or one with a threshold", what);
    }
}

status tile_begin(const args *a, const char *what, tile_call *f)
{
    if (a->d.D < 1 || a->d.D > WIDEST_HEAD)
        return fail(ERR_ARG, "%s: width %lld: expected 1 to %d", what, (long long)a->d.D,
                    WIDEST_HEAD);
    TRY(rate_fits(&a->p, what));
    if (a->p.lag < 0) return fail(ERR_ARG, "%s: lag: expected >= 0", what);
    TRY(rule_of(a, what, f));
    f->D = (int)a->d.D;
    f->H = a->d.H;
    f->form = a->p.form, f->empty = a->p.empty;
    f->power = a->p.relumax_power;
    f->b = a->p.relumax_b;
    f->slope = a->p.slope, f->offset = a->p.offset;
    f->masks = philox_masks_of(&a->p);
    f->drop = f->masks.threshold > 0;
    f->first_row = a->p.first_row;
    f->whole_T = params_whole_T(&a->p, a->d.T);
    return OK;
}

/* delta_t = <do_t, o_t + rest_t>: eight lanes a row, a pack at a time. */
enum { ROW_LANES = 8 };

template <typename T>
static __global__ void __launch_bounds__(TILE_THREADS) delta_kernel(const tile_call a)
{
    enum { W = 16 / sizeof(T) };
    const int64_t r = ((int64_t)blockIdx.x * TILE_THREADS + threadIdx.x) / ROW_LANES;
    const int64_t group = r / a.N, row = r % a.N;
    const bool real = group < a.groups;
    const int64_t from = group / a.H * a.rows.sample + group % a.H * a.rows.head + row * a.rows.row;
    const T *g = (const T *)a.g + from, *o = (const T *)a.o + from;
    const T *rest = a.rest ? (const T *)a.rest + r * a.D : NULL;
    float sum = 0;
    for (int d = threadIdx.x % ROW_LANES * W; real && d < a.D; d += ROW_LANES * W) {
        const packed<T> x = load_some(g + d, a.D - d, a.wide),
                        y = load_some(o + d, a.D - d, a.wide);
#pragma unroll
        for (int e = 0; e < W; e++)
            sum = fmaf(x[e], y[e], sum);
        if (!rest) continue;
        const packed<T> z = load_some(rest + d, a.D - d, a.wide);
#pragma unroll
        for (int e = 0; e < W; e++)
            sum = fmaf(x[e], z[e], sum);
    }
    sum = team_sum(sum, ROW_LANES);
    if (real && threadIdx.x % ROW_LANES == 0) a.facts[r].delta = sum;
}

/* --- dropout -----------------------------------------------------------------------------------
 */

/* Bytes of bits that are worth keeping, and that are drawn at a time. */
static const int64_t MOST_BITS = 1 << 27;

/* The place of weight 0 of row t of a group in the weights of the whole step. */
__device__ static uint64_t weight_place(const tile_call &a, int64_t group, int t)
{
    if (a.mask_T == 0) {
        const int64_t b = group / a.H, h = group % a.H;
        return (uint64_t)((((a.first_row + b) * a.H + h) * a.whole_T + t) * a.whole_T);
    }
    const int64_t b = t / a.mask_T;
    return (uint64_t)((((a.first_row + b) * a.whole_T + t % a.mask_T) * a.H + group) * a.M);
}

/* One thread draws the bits of 128 weights of a row, in words of 32 up to the last it sees. */
enum { DRAWN = 128 };

static __global__ void __launch_bounds__(TILE_THREADS) bits_kernel(const tile_call a)
{
    const int runs = a.words / (DRAWN / 32);
    const int64_t at = (int64_t)blockIdx.x * TILE_THREADS + threadIdx.x, r = at / runs;
    if (r >= a.groups * a.N) return;
    const int64_t group = r / a.N;
    const int t = (int)(r - group * a.N), key = (int)(at - r * runs) * DRAWN;
    const int seen = seen_by(a, t) - key;
    if (seen <= 0) return;
    const uint64_t place = weight_place(a, a.first_group + group, t) + (uint64_t)key;
    const uint32_t low = (uint32_t)(place / 4);
    const bool run = a.quads && low <= UINT32_MAX - DRAWN / 4;
    philox_run words(a.masks, (uint32_t)(place / 4 >> 32));
    words.seek(low);
#pragma unroll 1
    for (int n = 0; n < DRAWN / 32 && n * 32 < seen; n++) {
        uint32_t bits = 0;
#pragma unroll 2
        for (int g = 0; run && g < 32; g += 4)
            bits = with_bits(bits, words.next(a.masks), a.masks);
        for (int g = 0; !run && g < 32; g++) {
            const uint64_t own = place + (uint64_t)(n * 32 + g);
            bits = with_bit(bits, word_of(philox(a.masks, own / 4), (int)(own % 4)), a.masks);
        }
        a.bits[at * (DRAWN / 32) + n] = __brev(bits);
    }
}

static int64_t bits_of_group(const tile_call *f)
{
    return (int64_t)sizeof(uint32_t) * f->N * f->words;
}
static int64_t groups_at_a_time(const tile_call *f)
{
    const int64_t most = bits_of_group(f) ? MOST_BITS / bits_of_group(f) : 1;
    return most < 1 ? 1 : most < f->groups ? most : f->groups;
}
size_t tile_bits_kept(const tile_call *f)
{
    const int64_t all = bits_of_group(f) * f->groups;
    return f->drop && all <= MOST_BITS ? padded((size_t)all) : 0;
}
size_t tile_bits_scratch(const tile_call *f)
{
    return f->drop ? padded((size_t)(bits_of_group(f) * groups_at_a_time(f))) : 0;
}

static status draw_bits(const tile_call *f, cudaStream_t stream, const char *what)
{
    const int64_t threads = f->groups * f->N * (f->words / (DRAWN / 32));
    if (threads == 0) return OK;
    bits_kernel<<<(unsigned)ceil_div(threads, TILE_THREADS), TILE_THREADS, 0, stream>>>(*f);
    return launched(what);
}

status tile_slices(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                   const char *what, tile_runner *body)
{
    tile_call part = *f;
    const int64_t step = f->drop && !drawn ? groups_at_a_time(f) : f->groups;
    for (int64_t g = 0; g < f->groups; g += step) {
        part.first_group = g;
        part.groups = f->groups - g < step ? f->groups - g : step;
        if (f->drop && !drawn) TRY(draw_bits(&part, stream, what));
        TRY(body(&part, type, stream, what));
    }
    return OK;
}

/* --- splits ------------------------------------------------------------------------------------
 */

enum { MOST_SPLITS = 16, LEAST_TILES = 8 };

static int multiprocessors(void)
{
    int device = 0, count = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
        count = 1;
    return count;
}

void tile_split(tile_call *f, int64_t keys_of_block, int64_t at_once)
{
    const int64_t blocks = f->groups * ceil_div(f->M, keys_of_block);
    const int64_t room = at_once * multiprocessors();
    double best = 0;
    f->splits = 1;
    for (int n = 1; n <= MOST_SPLITS && n * LEAST_TILES * TILE_KEYS <= f->N; n++) {
        const double waves = (double)ceil_div(blocks * n, room);
        const double busy = (double)(blocks * n) / (waves * (double)room);
        if (busy > best + 0.02) best = busy, f->splits = n;
        if (busy >= 0.9) return;
    }
}

size_t tile_parts_bytes(const tile_call *f)
{
    if (f->splits <= 1) return 0;
    return padded(sizeof(float) * 2 * (size_t)(f->splits * f->groups * f->M * f->D));
}

/* In order. */
template <typename T>
static __global__ void __launch_bounds__(TILE_THREADS) join_kernel(const tile_call a)
{
    const int64_t at = (int64_t)blockIdx.x * TILE_THREADS + threadIdx.x;
    const int64_t all = a.groups * a.M * a.D, d = at % a.D, key = at / a.D % a.M;
    const int64_t group = a.first_group + at / a.D / a.M;
    const int64_t to =
        group / a.H * a.keys.sample + group % a.H * a.keys.head + key * a.keys.row + d;
    T *const outs[] = {(T *)a.dk, (T *)a.dv};
    if (at >= all) return;
    for (int which = 0; which < 2; which++) {
        float sum = which == 0 && a.add ? widen(outs[0][to]) : 0;
        for (int n = 0; n < a.splits; n++)
            sum += a.parts[(which * a.splits + n) * all + at];
        if (outs[which]) outs[which][to] = narrow<T>(sum);
    }
}

template <typename T> static status join(const tile_call *f, cudaStream_t stream, const char *what)
{
    const int64_t threads = f->groups * f->M * f->D;
    join_kernel<T><<<(unsigned)ceil_div(threads, TILE_THREADS), TILE_THREADS, 0, stream>>>(*f);
    return launched(what);
}
status tile_join(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return BY_TYPE(type, what, join, f, stream, what);
}

/* --- launches ----------------------------------------------------------------------------------
 */

/* One of the kernels for the least width of a tile that takes the head. */
#define BY_WIDTH(part, soft, f, stream, what)                                                      \
    ((f)->D <= 16   ? tile_##part<T, 16, soft>(f, stream, what)                                    \
     : (f)->D <= 32 ? tile_##part<T, 32, soft>(f, stream, what)                                    \
     : (f)->D <= 64 ? tile_##part<T, 64, soft>(f, stream, what)                                    \
                    : tile_##part<T, 128, soft>(f, stream, what))
#define BY_RULE(part, f, stream, what)                                                             \
    ((f)->rule == RULE_SOFTMAX ? BY_WIDTH(part, true, f, stream, what)                             \
                               : BY_WIDTH(part, false, f, stream, what))

template <typename T>
static status forward(const tile_call *f, cudaStream_t stream, const char *what)
{
    return BY_RULE(forward, f, stream, what);
}
static status forward_of(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return BY_TYPE(type, what, forward, f, stream, what);
}

template <typename T>
static status row_and_key_gradients(const tile_call *f, cudaStream_t stream, const char *what)
{
    const status rows = BY_RULE(rows, f, stream, what);
    if (rows != OK || (!f->dk && !f->dv)) return rows;
    const status keys = BY_RULE(keys, f, stream, what);
    return keys != OK || f->splits == 1 ? keys : join<T>(f, stream, what);
}

static status gradients_of(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return BY_TYPE(type, what, row_and_key_gradients, f, stream, what);
}

template <typename T>
static status deltas(const tile_call *f, cudaStream_t stream, const char *what)
{
    const int64_t lanes = f->groups * f->N * ROW_LANES;
    if (lanes == 0) return OK;
    delta_kernel<T><<<(unsigned)ceil_div(lanes, TILE_THREADS), TILE_THREADS, 0, stream>>>(*f);
    return launched(what);
}

status tile_run(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return tile_slices(f, type, false, stream, what, forward_of);
}

status tile_run_grad(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                     const char *what)
{
    TRY(BY_TYPE(type, what, deltas, f, stream, what));
    if (f->groups * f->N == 0) return OK;
    return tile_slices(f, type, drawn, stream, what, gradients_of);
}
