/* SPDX-License-Identifier: MIT
 *
 * tile.cuh — attention whose scores never reach memory: what its kernels share.
 *
 *     s_tj = <q_t,k_j>,   p_tj = w_t f(u_tj),   o_t = sum_j p~_tj v_j,   p~ = dropout(p)
 *     softmax        f(u) = 2^u       u = kappa (s - m_t) - tau_t
 *     the others     f(u) = [u]_+^r   u = kappa (s - m_t) - tau_t
 *
 * Scores are computed tile by tile of 64 keys, and again in every sweep over the keys: softmax and
 * normalised ReLU need one, ReLUmax one for its maximum, entmax one for the maxima of 32 classes
 * of keys, whose root is a first bound of tau, and a few of Newton's steps on the norm:
 *
 *     tau += (F - F^(1 - 1/r)) / G,   F = sum_j [u_j]_+^r,   G = sum_j [u_j]_+^(r-1)
 *
 * which never overshoots. Backward, with G_tj = <do_t,v_j> under the mask of p~:
 *
 *     ds_tj = f'_tj (G_tj - delta_t),   f' = p, or g_t [u]_+^(r-1);   delta = sum f' G / sum f'
 *     dq_t = c sum_j ds_tj k_j,   dk_j = c sum_t ds_tj q_t,   dv_j = sum_t p~_tj do_t
 *
 * by two kernels, one that owns rows and one that owns keys, so that nothing is added by atomics.
 * ReLUmax moves its threshold with its best key j*: ds_tj* also gets -sum_j ds_tj (`extra`).
 *
 * A group is one head of one sample: N queries, M keys. Queries, outputs and their gradients share
 * one layout, keys and values another. Source: model 1.1-1.5, 2.6; Dao 2023 for the online softmax.
 */
#ifndef MOSAIC_TILE_CUH
#define MOSAIC_TILE_CUH

#include "masks.cuh"
#include "mma.cuh"
#include "normrelu.cuh"
#include "philox.cuh"

enum {
    TILE_WARPS = 4,
    TILE_THREADS = TILE_WARPS * WARP,
    TILE_KEYS = 64,    /* of a tile: keys, or queries where keys are owned */
    WIDEST_HEAD = 128, /* the widest head                                  */
    CLASSES = 8        /* of keys, in each lane of a row                   */
};

typedef enum tile_rule { RULE_SOFTMAX, RULE_ENTMAX, RULE_RELUMAX, RULE_NORMRELU } tile_rule;

/* Element (row, d) of group b H + h stands at b sample + h head + row * row_stride + d. */
typedef struct tile_layout {
    int64_t sample, head, row;
} tile_layout;

/* What the forward finds out about a row, for the gradient. */
typedef struct __align__(16) row_fact
{
    float m, tau;   /* see above; softmax: tau is log2 of the sum                 */
    float kappa;    /* 0 in a row of normalised ReLU without support              */
    float w, slope; /* p = w f(u), f' = slope [u]^(r-1)                           */
    float arg;      /* ReLUmax: the best key                                      */
    float delta, extra;
}
row_fact;

typedef struct tile_call {
    const void *q, *k, *v, *o, *g;
    void *out, *dk, *dv; /* out: o or dq                  */
    void *rest;          /* (groups, N, D): what rounding takes from o, for delta, or NULL */
    row_fact *facts;     /* (groups, N)                   */
    float *stat;         /* (groups, N, STATS), of the memory (N, groups, STATS), or NULL */
    float *dbeta;        /* (groups, N)                   */
    const float *beta;   /* (H), or NULL                  */
    tile_layout rows, keys;
    int64_t H, groups;
    int N, M, D, lag;
    bool causal; /* row t sees t + 1 - lag keys   */
    bool wide;   /* all rows begin on 16 bytes    */
    bool add;    /* dk has a sum already          */
    tile_rule rule;
    normrelu_form form;
    empty_rule empty;
    int power;
    double scale, alpha, b, slope, offset;
    philox_masks masks;
    bool drop, quads; /* quads: four weights from a multiple of 4 on are one counter */
    int64_t mask_T;   /* of the persistent memory: its rows are (b, t)               */
    int64_t first_row, whole_T;
    int64_t first_group; /* of this launch */
    uint32_t *bits;      /* (groups of the launch, N, words): weights that are kept     */
    int words;
    int splits;    /* of the queries, where keys are too few to fill the device */
    float *parts;  /* (2, splits, groups, M, D): dk and dv of each               */
    void *queries; /* (groups of the launch, N): for the gradient by keys of warpgroup_grad.cuh */
} tile_call;

/* The constants of a head. */
struct tile_head {
    float kappa, r, fixed_m, fixed_tau;
    float gradient;           /* c                                    */
    float on_product, on_sum; /* dbeta = on_product c sum ds s + on_sum c sum ds / scale */
};

__device__ static tile_head tile_head_of(const tile_call &a, int64_t h)
{
    tile_head f = {0, 1, 0, 0, 0, 0, 0};
    const double beta = a.beta ? a.beta[h] : 1.0, b2 = beta * beta;
    double A = b2, b = 0;
    f.on_product = (float)(2 / beta);
    switch (a.rule) {
    case RULE_SOFTMAX:
        f.kappa = (float)(1.4426950408889634 * b2 * a.scale);
        break;
    case RULE_ENTMAX:
        f.kappa = (float)((a.alpha - 1) * b2 * a.scale);
        f.r = (float)(1 / (a.alpha - 1));
        break;
    case RULE_RELUMAX:
        A = a.power == 4 ? b2 * b2 : b2;
        f.kappa = (float)(A * a.scale);
        f.fixed_tau = (float)-a.b;
        f.on_product = (float)(a.power / beta);
        break;
    case RULE_NORMRELU:
        A = line_of(a.form, a.slope, a.offset, beta).A;
        b = line_of(a.form, a.slope, a.offset, beta).b;
        f.kappa = (float)(A * a.scale);
        f.fixed_m = (float)(-b / (A * a.scale));
        if (!(fabsf(f.fixed_m) < 1e30f)) f.fixed_m = 0;
        f.fixed_tau = (float)-(A * a.scale * f.fixed_m + b);
        f.on_product = (float)(a.form == NORMRELU_PAPER         ? 2 / beta
                               : a.form == NORMRELU_CODE_MATRIX ? 4 / beta
                                                                : 0.0);
        f.on_sum = (float)(a.form == NORMRELU_PAPER         ? -2 / beta
                           : a.form == NORMRELU_CODE_MATRIX ? -2 / (beta * b2)
                                                            : 0.0);
        break;
    }
    f.kappa = fminf(fmaxf(f.kappa, 1.17549435e-38f), 3.40282347e+38f);
    f.gradient = (float)(A * a.scale);
    return f;
}

/* --- walking over tiles ------------------------------------------------------------------------
 */

template <typename T, int DP> struct tile_shape {
    enum {
        K = mma_shape<T>::K,
        steps = DP / K,                      /* of a product over the width      */
        stride = DP + 16 / (int)sizeof(T),   /* of a tile in shared memory       */
        M16 = DP * sizeof(T) <= 128 ? 2 : 1, /* 16-row pieces of a warp          */
        own = TILE_WARPS * 16 * M16,         /* rows or keys that a block owns   */
        forward_chunk = DP * sizeof(T) <= 128 ? 64 : 32,
        rows_chunk = 32,
        keys_chunk = M16 * DP * (int)sizeof(T) > 128 ? 16 : 32,
        own_bytes = own * stride * (int)sizeof(T),
        tile_bytes = TILE_KEYS * stride * (int)sizeof(T)
    };
};

/* Start moving `count` rows from `first` on, of which those below `limit` exist, into a tile;
 * what does not exist becomes 0. A thread has the same columns of every row it moves. */
template <typename T, int DP>
__device__ __forceinline__ void fetch(T *tile, const T *base, int64_t row_stride, int first,
                                      int limit, int count, int D, bool wide)
{
    enum {
        W = 16 / sizeof(T),
        WORDS = DP / W,
        STRIDE = tile_shape<T, DP>::stride,
        STEP = TILE_THREADS / WORDS
    };
    const int row = (int)threadIdx.x / WORDS, d = (int)threadIdx.x % WORDS * W;
    T *to = tile + row * STRIDE + d;
    const T *from = base + (int64_t)(first + row) * row_stride + d;
    const int64_t far = STEP * row_stride;
    if (wide && first + count <= limit && D == DP) {
#pragma unroll 4
        for (int r = 0; r < count; r += STEP, to += STEP * STRIDE, from += far)
            copy_async((uint4 *)to, from);
        return;
    }
    for (int r = row; r < count; r += STEP, to += STEP * STRIDE, from += far) {
        const bool real = first + r < limit && d < D;
        if (wide) {
            copy_async_part(to, real ? from : base, real ? 16 : 0);
        } else {
#pragma unroll
            for (int e = 0; e < W; e++)
                to[e] = real && d + e < D ? from[e] : narrow<T>(0.0f);
        }
    }
}

/* A operands of a warp: its rows of a tile, in registers if HOLD. */
template <typename T, int DP, bool HOLD> struct own_rows {
    enum { M16 = tile_shape<T, DP>::M16, STRIDE = tile_shape<T, DP>::stride, K = mma_shape<T>::K };
    fragment_a held[HOLD ? M16 * tile_shape<T, DP>::steps : 1];
    const T *tile;

    __device__ __forceinline__ void open(const T *block)
    {
        tile = block + threadIdx.x / WARP * M16 * 16 * STRIDE;
        if constexpr (HOLD) {
#pragma unroll
            for (int i = 0; i < M16; i++)
#pragma unroll
                for (int k = 0; k < tile_shape<T, DP>::steps; k++)
                    held[i * tile_shape<T, DP>::steps + k] =
                        a_along(tile + i * 16 * STRIDE + k * K, STRIDE);
        }
    }
    __device__ __forceinline__ fragment_a get(int i, int k) const
    {
        if constexpr (HOLD) return held[i * tile_shape<T, DP>::steps + k];
        return a_along(tile + i * 16 * STRIDE + k * K, STRIDE);
    }
};

/* s (16 M16, 8 N8) = own rows times N8 * 8 rows of the tile at `other`. */
template <typename T, int DP, int N8, class Own>
__device__ __forceinline__ void scores_of(float (&s)[tile_shape<T, DP>::M16][N8][4], const Own &own,
                                          const T *other)
{
    enum { M16 = tile_shape<T, DP>::M16, STRIDE = tile_shape<T, DP>::stride, K = mma_shape<T>::K };
    constexpr int passes = mma_passes<T>::count;
#pragma unroll
    for (int pass = 0; pass < passes; pass++)
#pragma unroll
        for (int k = 0; k < tile_shape<T, DP>::steps; k++) {
            const bool first = pass == 0 && k == 0;
            fragment_a a[M16];
#pragma unroll
            for (int i = 0; i < M16; i++)
                a[i] = own.get(i, k);
#pragma unroll
            for (int n = 0; n < N8; n += 2) {
                const fragment_b b = b_along(other + n * 8 * STRIDE + k * K, STRIDE);
#pragma unroll
                for (int i = 0; i < M16; i++) {
                    multiply_pass(s[i][n], a[i], b.r[0], b.r[1], pass, first, T());
                    multiply_pass(s[i][n + 1], a[i], b.r[2], b.r[3], pass, first, T());
                }
            }
        }
}

/* y (16 M16, DP) += p times the N8 * 8 rows of the tile at `other`. In float the sum of a chunk is
 * rounded before it is added: tensor cores truncate, which would add up over long rows. */
template <typename T, int DP, int N8>
__device__ __forceinline__ void mix(float (&y)[tile_shape<T, DP>::M16][DP / 8][4],
                                    const float (&p)[tile_shape<T, DP>::M16][N8][4], const T *other)
{
    enum {
        M16 = tile_shape<T, DP>::M16,
        STRIDE = tile_shape<T, DP>::stride,
        K = mma_shape<T>::K,
        BLOCKS = mma_shape<T>::blocks,
        STEPS = N8 / BLOCKS
    };
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int n = 0; n < DP / 8; n += 2) {
            float sum[M16][2][4] = {};
#pragma unroll
            for (int k = 0; k < STEPS; k++) {
                const fragment_b b = b_down(other + k * K * STRIDE + n * 8, STRIDE);
#pragma unroll
                for (int i = 0; i < M16; i++) {
                    const fragment_a a = a_of_c(&p[i][k * BLOCKS], T());
                    multiply_add(sum[i][0], a, b.r[0], b.r[1], T());
                    multiply_add(sum[i][1], a, b.r[2], b.r[3], T());
                }
            }
#pragma unroll
            for (int i = 0; i < M16; i++)
#pragma unroll
                for (int e = 0; e < 8; e++)
                    y[i][n + e / 4][e % 4] += sum[i][e / 4][e % 4];
        }
    } else {
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            fragment_a a[M16];
#pragma unroll
            for (int i = 0; i < M16; i++)
                a[i] = a_of_c(&p[i][k * BLOCKS], T());
#pragma unroll
            for (int n = 0; n < DP / 8; n += 2) {
                const fragment_b b = b_down(other + k * K * STRIDE + n * 8, STRIDE);
#pragma unroll
                for (int i = 0; i < M16; i++) {
                    multiply_add(y[i][n], a[i], b.r[0], b.r[1], T());
                    multiply_add(y[i][n + 1], a[i], b.r[2], b.r[3], T());
                }
            }
        }
    }
}

/* Two neighbours of a row of D elements. */
template <typename T>
__device__ __forceinline__ void store_two(T *row, int d, int D, float x, float y, bool wide)
{
    if (d >= D) return;
    if (wide) {
        if constexpr (sizeof(T) == 4)
            *(float2 *)(row + d) = make_float2(x, y);
        else
            *(uint32_t *)(row + d) = pair(x, y, T());
    } else {
        row[d] = narrow<T>(x);
        if (d + 1 < D) row[d + 1] = narrow<T>(y);
    }
}

/* Over the four lanes of a row. */
__device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
__device__ __forceinline__ float quad_max(float x)
{
    x = max_nan(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return max_nan(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
__device__ __forceinline__ int quad_min(int x)
{
    x = min(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return min(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

/* Where a block, a group and its tensors are. */
struct tile_place {
    int64_t group, head, rows, keys; /* rows, keys: elements before the group's */
    int block;

    /* The block of this launch, counted over blocks, then groups. */
    __device__ tile_place(const tile_call &a, int64_t at, int blocks)
        : group(a.first_group + at / blocks), head(group % a.H),
          rows(group / a.H * a.rows.sample + head * a.rows.head),
          keys(group / a.H * a.keys.sample + head * a.keys.head), block((int)(at % blocks))
    {
    }
};

/* Keys that row t of a group sees. */
__device__ __forceinline__ int seen_by(const tile_call &a, int t)
{
    return a.causal ? min(max(t + 1 - a.lag, 0), a.M) : a.M;
}

/* --- dropout -----------------------------------------------------------------------------------
 *
 * Which weights are kept is drawn before they are: a bit for each, by a kernel of its own. To draw
 * words takes longer than the products, and three kernels would draw the same ones.
 */

/* Words of 32 keys of row t of a group. */
__device__ __forceinline__ const uint32_t *bits_of(const tile_call &a, int64_t group, int t)
{
    return a.bits + ((group - a.first_group) * a.N + min(t, a.N - 1)) * a.words;
}
/* x if the top bit of byte n of `word` is set, else 0. */
template <int N> __device__ __forceinline__ float kept_or_0(float x, uint32_t word)
{
    return __uint_as_float(__float_as_uint(x) & sign_of_byte<N>(word));
}
__device__ __forceinline__ float kept_or_0(float x, uint32_t word, int n)
{
    switch (n) { /* known when compiled: loops are unrolled */
    case 0:
        return kept_or_0<0>(x, word);
    case 1:
        return kept_or_0<1>(x, word);
    case 2:
        return kept_or_0<2>(x, word);
    default:
        return kept_or_0<3>(x, word);
    }
}

/* --- weights -----------------------------------------------------------------------------------
 */

/* f(R) for the exponent R of a compact kernel as a constant, 0: not one of them, so that a chunk of
 * scores has no branch in it. */
template <int N> struct exponent {
    enum { value = N };
};
template <class F> __device__ __forceinline__ void by_exponent(float r, F f)
{
    if (r == 1)
        f(exponent<1>());
    else if (r == 2)
        f(exponent<2>());
    else if (r == 3)
        f(exponent<3>());
    else
        f(exponent<0>());
}
/* [u]^(r-1) for u >= 0; 0 where u is 0, for what has no weight has no slope. */
template <int R> __device__ __forceinline__ float kernel_slope(float u, float r)
{
    if (R == 1) return u > 0 ? 1.0f : u;
    if (R == 2) return u;
    if (R == 3) return u * u;
    return u > 0 ? power_of_two((r - 1) * logarithm(u)) : u;
}
/* Newton's step of tau on the norm, from F = sum u^r and G = sum u^(r-1); 0 where there is nothing
 * to solve. */
template <int R> __device__ __forceinline__ float newton_step(float F, float G, float r)
{
    const float root = R == 1 ? 1.0f : R == 2 ? sqrtf(F) : power_of_two((1 - 1 / r) * logarithm(F));
    const float step = (F - root) / G;
    return step > 0 ? step : 0.0f;
}
/* u = [kappa (s - m) - tau]_+, NaN if s is. */
__device__ __forceinline__ float lift(float kappa, float s, float m, float tau)
{
    return max_nan(fmaf(kappa, s - m, -tau), 0.0f);
}

/* --- host side ----------------------------------------------------------------------------------
 */

/* Rule, its parameters and dropout of a call. */
status tile_begin(const args *a, const char *what, tile_call *f);
static inline size_t tile_facts_bytes(int64_t groups, int64_t N)
{
    return padded(sizeof(row_fact) * (size_t)(groups * N));
}

/* Bytes of the rest of o: 0 where delta is not <do_t, o_t> of an o in 16 bits. */
static inline size_t tile_rest_bytes(const tile_call *f, dtype type)
{
    if (f->rule != RULE_SOFTMAX || type == F32) return 0;
    return padded((size_t)(f->groups * f->N * f->D) * dtype_size(type));
}

/* Bytes of the bits of dropout: what a forward keeps, 0 if it is too much to keep; and the scratch
 * of a call that has nothing kept, which takes as many groups at a time as fit. */
size_t tile_bits_kept(const tile_call *f);
size_t tile_bits_scratch(const tile_call *f);

/* body for all groups, or with dropout for as many as have their bits, drawn before: drawn says
 * that all are there, else a.bits is room for them, or scratch. */
typedef status tile_runner(const tile_call *f, dtype type, cudaStream_t stream, const char *what);
status tile_slices(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                   const char *what, tile_runner *body);

/* Splits of the queries where a block owns keys and a multiprocessor has so many blocks, and the
 * room for what they find. */
void tile_split(tile_call *f, int64_t keys_of_block, int64_t at_once);
size_t tile_parts_bytes(const tile_call *f);

/* Launch a kernel over blocks of `own` rows of every group. */
template <class Kernel>
static status tile_launch(Kernel kernel, const tile_call *a, int64_t rows, int own, int splits,
                          int bytes, cudaStream_t stream, const char *what)
{
    const int64_t blocks = ceil_div(rows, own), all = a->groups * blocks * splits;
    if (all > INT32_MAX)
        return fail(ERR_ARG, "%s: %lld blocks of %d rows: expected fewer than 2^31", what,
                    (long long)all, own);
    if (all == 0) return OK;
    CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             what);
    kernel<<<(unsigned)all, TILE_THREADS, (size_t)bytes, stream>>>(*a, (int)blocks);
    return launched(what);
}

/* The three kernels, instantiated by tile_part.cu: outputs of rows; dq into out, dbeta of every row
 * and what the keys want of it into the facts; dk and dv. */
template <typename T, int DP, bool SOFT>
status tile_forward(const tile_call *a, cudaStream_t stream, const char *what);
template <typename T, int DP, bool SOFT>
status tile_rows(const tile_call *a, cudaStream_t stream, const char *what);
template <typename T, int DP, bool SOFT>
status tile_keys(const tile_call *a, cudaStream_t stream, const char *what);

/* Forward; and delta, rows and keys in turn. For a call of any storage type; drawn as above. */
tile_runner tile_run;
typedef status tile_gradient_runner(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                                    const char *what);
tile_gradient_runner tile_run_grad;
/* Its last step: dk and dv as the sums of the parts of all splits. */
tile_runner tile_join;

#endif
