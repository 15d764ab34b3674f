/* SPDX-License-Identifier: MIT
 *
 * spec.h — the contract between the rooms: how an operation is called, what a backend does,
 * how errors travel. C11 and C++17; this is the only header that reference/ and kernels/ share,
 * so an agreement between the two is evidence and not a shared mistake.
 *
 * An operation is described by a signature such as "c:RN beta:R:f -> p:RN stat:RS:f": names,
 * shapes in the letters of `dims`, row-major and dense, and an optional storage class:
 *   (none)  the working type: double in reference/; float, bf16 or fp16 (args.type) in kernels/
 *   :f      double in reference/, always float in kernels/ (per-row and per-head quantities)
 *   :i      int32 everywhere
 *
 * Conventions of every operation
 *   - in[] and out[] follow the order of the signature. Outputs other than the first may be NULL
 *     ("not wanted"). An input `beta` that is NULL means all ones, `live` NULL means all N.
 *   - Operations never allocate. If args.need is not NULL the operation writes the bytes of
 *     scratch it wants to *args.need, computes nothing and returns OK; the caller then passes
 *     that much memory (256-byte aligned) in args.work.
 *   - What a forward would like its own gradient to find again it says in the same question, in
 *     *args.keep_need (if that is not NULL), and leaves in args.keep: an opaque buffer that only
 *     the gradient of the same implementation reads, with the same arguments. It is optional on
 *     both sides: with keep NULL the forward keeps nothing and the gradient computes it again.
 *   - Outputs never alias inputs unless the operation's file says so.
 *   - Results do not depend on the number of threads.
 *
 * Row transforms (spec of the maths: the files of the transforms)
 *   forward   c:RN beta:R:f -> p:RN stat:RS:f
 *   backward  beta:R:f p:RN stat:RS:f dp:RN -> dc:RN dbeta:R:f [dalpha:R:f]
 *   c are cosines (or plain scores with beta = 1), p the weights, s = beta^2 c. Entries
 *   j >= live[r] do not exist: they are never read for their value, p and dc are exactly 0 there.
 *   live[r] = 0: p = 0, dc = 0. NaN or +inf among the live entries of a row: that row of p is NaN
 *   over its live entries. -inf on a live entry: weight 0; all -inf: as live[r] = 0.
 *   The backward needs no c: everything it wants of the scores is in p and in the S = 4 numbers
 *   of stat, listed at `enum stat_entry`.
 */
#ifndef MOSAIC_SPEC_H
#define MOSAIC_SPEC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STATUS_LIST(X)                                                                             \
    X(OK, "ok")                                                                                    \
    X(ERR_ARG, "bad argument")                                                                     \
    X(ERR_MEMORY, "out of memory")                                                                 \
    X(ERR_DEVICE, "device error")                                                                  \
    X(ERR_FILE, "file error")                                                                      \
    X(ERR_DATA, "bad data")                                                                        \
    X(ERR_NUMERIC, "numerical failure")                                                            \
    X(ERR_STOPPED, "interrupted")

typedef enum status {
#define X(name, text) name,
    STATUS_LIST(X)
#undef X
} status;

/* Record one line "what, where, expected" for the user (thread-local) and return s.
 * The message must not end in a newline. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
status
fail(status s, const char *format, ...);
/* The line recorded last in this thread; "" if none. */
const char *last_error(void);
/* The text of a status, from STATUS_LIST. */
const char *status_text(status s);

/* The one of `names` nearest to a mistyped word by edit distance; NULL if none is near. */
const char *nearest_name(const char *word, const char *const *names, size_t count);
/* ERR_ARG: 'WHAT "WORD"; did you mean NEAREST?', or 'WHAT "WORD": expected EXPECTED' if no name is
 * near. */
status fail_unknown(const char *what, const char *word, const char *const *names, size_t count,
                    const char *expected);

/* The grammar of numbers, wherever people type them (number.c): "3", "-0.5", "1e-3", "4/3", "e".
 * Returns 0 if the text is no finite number, and leaves *value alone. */
int parse_real(const char *text, double *value);
/* Digits, perhaps behind a minus. Returns 0 if the text is no integer, or it does not fit. */
int parse_integer(const char *text, int64_t *value);

#define TRY(call)                                                                                  \
    do {                                                                                           \
        status try_status_ = (call);                                                               \
        if (try_status_ != OK) return try_status_;                                                 \
    } while (0)

/* Sizes, by the letters of the signatures. S is always STATS; 1 is always one. */
typedef struct dims {
    int64_t B; /* batch                                  */
    int64_t T; /* positions                              */
    int64_t H; /* heads                                  */
    int64_t D; /* width of a head                        */
    int64_t C; /* channels (model width, fan-in)         */
    int64_t R; /* rows                                   */
    int64_t N; /* entries of a row, fan-out, elements    */
    int64_t V; /* vocabulary                             */
    int64_t M; /* persistent slots per head              */
} dims;

/* Every operation by its identity: OP_softmax, ... in the order of ops.def. */
typedef enum op_id {
    OP_none = -1,
#define OP(name, ...) OP_##name,
#include "ops.def"
#undef OP
    OPS
} op_id;

/* What an operation is; a gradient is of the kind of its forward. The first are the row transforms,
 * by the rule of their weights (a function of beta^2 (c - m), or of c). */
typedef enum op_kind {
    EXPONENTIAL, /* e^s over the selected keys              */
    UNIFORM,     /* 1 over the selected keys                */
    ENTMAX,      /* [s - tau]_+^r, tau solved for           */
    RELUMAX,     /* [b - beta^power (m - c)]_+              */
    NORMRELU,    /* [A c + b]_+                             */
    OTHER_RULE,  /* none of these: errors are measured as of EXPONENTIAL, no bandwidth is known */
    REGRESSION,  /* K(|u|/h) by its definition, no gradient */
    PRODUCT,     /* of matrices                             */
    ATTENTION,   /* a transform of the scores of q and k    */
    MEMORY,      /* the same of learned slots               */
    STAGE,       /* any other part of a model               */
    NOISE,       /* drawn by the position of a value        */
    UPDATE       /* of the parameters                       */
} op_kind;

/* The name of a row of ops.def; "none" for OP_none. */
const char *op_name(op_id id);

/* What a forward transform leaves in stat[r][] for the backward and for the figures.
 * STAT_NORM: softmax and top-k softmax: ln sum_j exp(s_j - s_max) over the selected keys;
 *            entmax and sparsemax: omega = z_max - tau = p_max^(alpha-1);
 *            normalised ReLU and ReLUmax: S = sum_j a_j (0 flags an empty normReLU row);
 *            top-k uniform: number of selected keys.
 * A row without live keys has STAT_MAX = 0, STAT_NORM = 0, STAT_ARG = -1, STAT_COUNT = 0. */
enum stat_entry {
    STAT_MAX,   /* m = max_j c_j over the live keys                     */
    STAT_NORM,  /* see above                                            */
    STAT_ARG,   /* lowest index attaining m                             */
    STAT_COUNT, /* number of keys with p > 0                            */
    STATS
};

typedef enum dtype { F64, F32, BF16, F16, I32 } dtype;

typedef enum normrelu_form {
    NORMRELU_PAPER,       /* A = 2 beta^2, b = 1 - 2 beta^2 (h = 1/beta) */
    NORMRELU_CODE_MATRIX, /* A = 2 beta^4, b = 1 - 2 beta^2              */
    NORMRELU_CODE_EFT,    /* A = 1, b = 0                                */
    NORMRELU_AFFINE       /* A = params.slope, b = params.offset         */
} normrelu_form;

typedef enum empty_rule { EMPTY_UNIFORM, EMPTY_ZERO, EMPTY_ARGMAX } empty_rule;

typedef enum entmax_solver {
    SOLVER_AUTO,      /* closed forms at 2, 3/2, 4/3; newton up to 2; order above 2 */
    SOLVER_SORT,      /* exact support by sorting, then closed form or Newton       */
    SOLVER_NEWTON,    /* Newton in ln p_max, 1 < alpha <= 2                         */
    SOLVER_BISECT,    /* bisection on tau                                           */
    SOLVER_ORDER,     /* unknown p_(K), for alpha > 2                               */
    SOLVER_ADASPLASH5 /* five Halley-bisection steps, not renormalised (emulation)  */
} entmax_solver;

/* The parameters of all operations; each reads those its file names. */
typedef struct params {
#define PARAM(type, name, value, ...) type name;
#include "params.def"
#undef PARAM
} params;

/* What an operation reads: P_<name> for each parameter, P_TRANSFORM for args.transform and what
 * that reads; and some that go together. */
enum param_bit {
#define PARAM(type, name, ...) BIT_##name,
#include "params.def"
#undef PARAM
    BIT_TRANSFORM
};
typedef char param_bits_fit[BIT_TRANSFORM < 31 ? 1 : -1];
enum op_reads {
    P_NOTHING = 0,
#define PARAM(type, name, ...) P_##name = 1 << BIT_##name,
#include "params.def"
#undef PARAM
    P_TRANSFORM = 1 << BIT_TRANSFORM,
    P_LINE = P_form | P_empty | P_slope | P_offset,
    P_MASK = P_rate | P_seed | P_site | P_step | P_first_row | P_whole_T,
    P_ADAMW = P_lr | P_beta1 | P_beta2 | P_eps | P_decay | P_clip | P_update
};

/* The values of params.def. */
params params_default(void);

/* --- threads (threads.c) ---------------------------------------------------------------------- */

/* Cores that this process may use: of its affinity mask and its control group's quota; at least 1.
 */
int threads_cores(void);
/* Cores that the quotas of a control group and of those above it leave (cpu.max of version 2,
 * cpu.cfs_quota_us of version 1); INT_MAX without any. group: "" or "/A/B". */
int threads_quota(const char *mount, const char *group);
/* So many threads work from now on, or as many of them as can be started, at most four a core or
 * 64. wanted = 0: one a core or, if they were given, those of OMP_NUM_THREADS. */
void threads_start(int64_t wanted, int given);
/* How many work. */
int threads_now(void);

enum { MAX_TENSORS = 10 };

struct args;
typedef status op_fn(const struct args *a);

/* One call of one operation. */
typedef struct args {
    const void *in[MAX_TENSORS];
    void *out[MAX_TENSORS];
    dims d;
    const int32_t *live; /* R entries, 0 <= live[r] <= N, or NULL                         */
    params p;
    dtype type;        /* working type of the kernels; F64 in reference/             */
    op_id transform;   /* attention, memory: the transform of the scores; 0: softmax */
    void *work;        /* scratch                                                    */
    size_t *need;      /* not NULL: only tell the bytes of scratch                   */
    void *keep;        /* what a forward leaves for its gradient, or NULL            */
    size_t *keep_need; /* asked with need: the bytes of keep                         */
    void *stream;      /* cudaStream_t or NULL                                       */
} args;

#define IN(type, i) ((const type *)a->in[i])
#define OUT(type, i) ((type *)a->out[i])

/* Prototypes: softmax_ref, softmax_grad_ref, ... */
#define OP(name, ...) op_fn name##_ref;
#include "ops.def"
#undef OP

/* T of the whole step, of whose masks a call draws its part. */
static inline int64_t params_whole_T(const params *p, int64_t T)
{
    return p->whole_T > 0 ? p->whole_T : T;
}

/* What a device is; unknown numbers are 0, unknown texts "". */
typedef struct device_facts {
    char name[128];
    char driver[64];
    char runtime[64];
    int sm;               /* 90 for compute capability 9.0; 0 on a CPU  */
    int units;            /* multiprocessors or cores                   */
    double memory, cache; /* bytes; last-level cache                    */
} device_facts;

/* Where tensors live and how a call is timed. Two rows: ref_backend and cuda_backend. */
typedef struct backend {
    const char *name;     /* "ref", "cuda" */
    int (*devices)(void); /* 0: nothing to run on */
    /* OK if code of this build runs here, else one line that says why not and what would:
     * ERR_ARG if there is no device, ERR_DEVICE if there is one that cannot be used. */
    status (*ready)(void);
    status (*facts)(device_facts *f);
    status (*alloc)(void **p, size_t bytes);
    void (*release)(void *p); /* NULL is fine */
    /* Host arrays are double, or int32 where type is I32; the device side has `type`. */
    status (*put)(void *dst, const void *src, size_t count, dtype type);
    status (*get)(void *dst, const void *src, size_t count, dtype type);
    /* From one place of the backend to another, which do not overlap. */
    status (*move)(void *dst, const void *src, size_t bytes);
    /* Fill with NaN (or -2^31 for I32), so that what is not written shows. */
    status (*poison)(void *dst, size_t count, dtype type);
    status (*sync)(void); /* wait, and report what failed since the last call */
    /* Seconds of one call with a cold last-level cache; the flush is outside the window. */
    status (*time)(op_fn *f, const args *a, double *seconds);
    /* Bytes read plus written per second of a large device copy, measured now. */
    status (*copy_rate)(double *bytes_per_second);
} backend;

extern const backend ref_backend;

static inline size_t dtype_size(dtype t)
{
    return t == F64 ? 8 : t == F32 || t == I32 ? 4 : 2;
}

#ifdef __cplusplus
}
#endif
#endif
