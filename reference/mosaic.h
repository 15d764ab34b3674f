/* SPDX-License-Identifier: MIT
 *
 * mosaic.h — the models: the Memory Mosaic (spec of the model, section 2) and the GPT-2 style
 * baseline (section 5), behind one table of functions so that the harness sees rows, not models.
 *
 * All numbers cross this interface in double, whatever a backend computes in. Parameters have the
 * canonical names and order of section 2.11 with the prefix `blocks.<l>.`
 * (GPT: `transformer.wte.weight`, ..., section 5).
 */
#ifndef MOSAIC_MOSAIC_H
#define MOSAIC_MOSAIC_H

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A named transform with its parameters (methods.def, `entmax:<alpha>`, `top<k>_softmax`,
 * `top<k>_uniform`). */
typedef struct method {
    char name[40];
    char label[64];
    char colour[8];
    op_id op; /* the transform */
    params p;
} method;

/* Parse a method name. ERR_ARG with one line (and the nearest known name) if it is none. */
status method_find(const char *name, method *m);
/* The i-th row of methods.def, or NULL past the end. */
const char *method_name(int i);

/* A method's transform of rows, and its gradient, for a program that has no struct args
 * (method_call.c). run: NULL for the reference, in double; or a function of the method's operation
 * (kernels.h), whose storage is `type` and whose pointers are of its device. c, p, dp, dc (R,N);
 * beta (R), NULL: ones; stat (R,STATS), which the gradient reads; dbeta (R) or NULL. work: so much
 * scratch as the same call says in *need where need is not NULL; it computes nothing then. ERR_ARG
 * with one line. */
typedef struct rows_call {
    int64_t R, N;
    int type; /* a dtype; of the reference any */
    void *work;
    size_t *need;
} rows_call;
status method_weights(op_fn *run, const char *name, const rows_call *x, const void *c,
                      const void *beta, void *p, void *stat);
status method_gradient(op_fn *run, const char *name, const rows_call *x, const void *beta,
                       const void *p, const void *stat, const void *dp, void *dc, void *dbeta);

typedef enum arch { ARCH_MOSAIC, ARCH_GPT } arch;

/* Every switch of switches.def (model 9), with its default in config_default(). */
typedef struct mosaic_config {
    enum arch arch;
    int64_t V, d, H, L;        /* vocabulary, width, heads, layers; H divides d                  */
    int64_t M, banks;          /* persistent slots per head, persistent banks                    */
    int64_t T;                 /* longest sequence (GPT: learned positions; mosaic: no limit, 0) */
    struct method method;      /* the contextual transform                                       */
    struct method pmem_method; /* the persistent transform; softmax in every published model     */
    double kappa_init;         /* 0.1                                                            */
    int freeze_kappa;          /* 1: kappa gets no gradient                                      */
    int visible_lag;           /* 1: N(t) = {0..t-1}; 2 emulates the fast path of the authors    */
    double drop_context, drop_memory, drop_residual; /* 0.05 each; drop_context is applied
                           to attention weights only if ctx_dropout                       */
    int ctx_dropout;
    int eps_add;        /* 0: max(|x|,1e-12); 1: |x| + 1e-6                               */
    int value_clamp;    /* 1: the clamps of the fast form on value scales (D15)            */
    int leaky_grad_wkv; /* 1: the wrong theta gradient of the WKV kernel (D19)            */
    int decay_all;      /* weight decay: 0 tensors with >= 2 dimensions, 1 all            */
    int decay_pathless; /* 1: decay also parameters without a gradient path (top-k uniform) */
    int pmem_norm;      /* 1: unit-norm persistent keys                                   */
    int pre_ln, tied, bias, attn_only;
    int64_t k_kernel; /* width of the key convolution, 1                                */
    int v_conv;       /* 0: low-rank value mix; 1: full convolution of width 2          */
    int64_t skip_tokens;
    int gpt_cosine; /* GPT: 0 dot-product scores / sqrt(D), 1 unit-norm q and k with kappa */
} mosaic_config;

/* Defaults of section 9: softmax, tied, pre-LN, no bias; V, d, H, L, M must be set. */
mosaic_config config_default(void);
/* OK, or ERR_ARG with one line naming the offending field. */
status config_check(const mosaic_config *c);
/* Apply one `key=value` switch of section 9 (names as there, e.g. "normrelu", "code_matrix").
 * ERR_ARG if the key is unknown (the message lists none) or the value malformed. */
status config_set(mosaic_config *c, const char *key, const char *value);

/* Dropout sites: one number for every place of a model that draws a mask (params.site). */
enum site { SITE_WEIGHTS, SITE_RESIDUAL, SITE_MEMORY_RESIDUAL, SITE_EMBEDDING, SITE_MEMORY };
static inline uint32_t site_of(int64_t layer, int kind)
{
    return (uint32_t)layer << 8 | (uint32_t)kind;
}

/* How a model is carried out. It stands beside the configuration, never in it: a checkpoint does
 * not know it, and a run may go on under another. All zero, or NULL: what the model likes best. */
typedef struct placement {
    dtype type;        /* of activations and products; F64 is the reference's         */
    int tf32;          /* F32: products may round their factors to tf32               */
    int64_t micro;     /* rows that a call takes at a time; 0: those that fit         */
    int devices;       /* how many share a step; 0: the first                         */
    const int *device; /* their numbers, read by create                               */
} placement;

/* [B][T], row-major; target -1 is not scored. Positions after the last scored target of a row reach
 * no loss. The last three fields say which part of the batch of a step this is, 0 if it is all of
 * it. A part may be narrower than the whole (T < whole_T). */
typedef struct batch {
    int64_t B, T;
    const int32_t *tokens, *targets;
    int64_t first_row; /* row of the whole batch that row 0 is                                  */
    int64_t whole_T;   /* T of the whole batch, which addresses the dropout masks; 0: T         */
    int64_t scored;    /* targets scored in the whole batch, divisor of the loss; 0: those here */
} batch;

/* Targets of a batch that are scored under c: not -1, and not among the first skip_tokens. */
int64_t batch_scored(const mosaic_config *c, const batch *b);

/* AdamW, decoupled decay, global-norm clipping before it (section 4). */
typedef struct optimizer {
    double lr, beta1, beta2, eps, decay, clip; /* clip <= 0: none */
} optimizer;

/* What became of a step. */
typedef struct step_report {
    int64_t update;   /* as apply was told                                                  */
    int64_t scored;   /* targets                                                            */
    double loss;      /* mean over them                                                     */
    double grad_norm; /* before clipping                                                    */
    int finite;       /* 0: loss or norm is not a finite number, and the step changed nothing */
} step_report;

/* So many steps may wait to be collected. */
enum { MOST_STEPS = 8 };

typedef struct parameter_info {
    char name[96];
    int rank;
    int64_t shape[4];
    int64_t count;
    int decays;
} parameter_info;

typedef enum slot { SLOT_VALUE, SLOT_GRAD, SLOT_MOMENT1, SLOT_MOMENT2 } slot;

/* Time of a device in one stage of training: an operation, a product, or the whole "step". */
typedef struct stage_time {
    char name[40];
    int64_t calls;
    double seconds; /* of all calls */
} stage_time;

struct mosaic;
struct mosaic_stream;

/* A model. A step is one call of gradient, or several whose batches are the parts of one batch in
 * the order of their rows, and then apply. Neither waits for a device: they check, copy what they
 * were given and return; what became of the step is told by collect, step by step in their order.
 * All other functions wait for what was begun. */
typedef struct model {
    const char *name; /* "ref", "cuda" */
    /* Room for the parameters, all zero (model_initialise or put fills them), and the moments.
     * where may be NULL. ERR_ARG if the model cannot be carried out so; on failure *m is NULL and
     * nothing leaks. */
    status (*create)(struct mosaic **m, const mosaic_config *c, const placement *where);
    void (*destroy)(struct mosaic *m); /* NULL is fine */
    const mosaic_config *(*config)(const struct mosaic *m);
    int64_t (*parameters)(const struct mosaic *m); /* number of tensors */
    status (*info)(const struct mosaic *m, int64_t i, parameter_info *info);
    status (*get)(const struct mosaic *m, int64_t i, slot s, double *values);
    status (*put)(struct mosaic *m, int64_t i, slot s, const double *values);
    /* Logits [B][T][V], dropout off; targets are not read. */
    status (*predict)(struct mosaic *m, const batch *b, double *logits);
    /* Of the same logits, without room for them: loss [B][T] of the targets, 0 where the target is
     * -1, and argmax [B][T], the lowest on ties, -1 if one of the logits is NaN (logits.h). Either
     * may be NULL; without a loss no target is read. skip_tokens counts in training alone. */
    status (*score)(struct mosaic *m, const batch *b, double *loss, int32_t *argmax);
    /* The gradient of the loss of this batch, sum over the scored targets divided by their number
     * in the whole batch; first_row = 0 begins a step, first_row > 0 adds to the gradient of the
     * parts before. Dropout is on iff dropout_step >= 0; with the seed it selects the masks, so a
     * resumed run draws the same ones. ERR_DATA without a scored target in the whole batch. */
    status (*gradient)(struct mosaic *m, const batch *b, uint64_t seed, int64_t dropout_step);
    /* End the step: clip and AdamW; update is 1 for the first one. A step whose loss or gradient is
     * not finite changes neither parameters nor moments. o NULL: the step is only reported.
     * ERR_ARG if no step was begun, its parts are not the whole, or MOST_STEPS wait. */
    status (*apply)(struct mosaic *m, const optimizer *o, int64_t update);
    /* The report of the oldest step that was not collected. *ready is 0 if there is none, or if it
     * has not come to its end and wait is 0. */
    status (*collect)(struct mosaic *m, int wait, step_report *r, int *ready);
    /* Streaming inference, section 2.13, of several rows in step: each call gives every row its
     * next token, or -1, for which nothing of the row changes; a token that cannot be read changes
     * nothing at all. argmax [rows] as of score, logits [rows][V]; either may be NULL. */
    status (*stream_open)(struct mosaic *m, int64_t rows, struct mosaic_stream **s);
    status (*stream_token)(struct mosaic_stream *s, const int32_t *tokens, int32_t *argmax,
                           double *logits);
    void (*stream_close)(struct mosaic_stream *s); /* NULL is fine */
    /* From now on (on = 1) the stages of every step are timed, which costs some of its speed; with
     * on = 0 no more, and stage tells the i-th of them, 0 past the last. Both are NULL where a
     * model times no stages. */
    status (*profile)(struct mosaic *m, int on);
    int (*stage)(const struct mosaic *m, int i, stage_time *t);
    /* What a call of gradient, score or predict costs whatever its size, as much as call / d
     * positions do: a batch is worth cutting in two where that spares more padding. */
    int64_t call;
} model;

/* The parameters of section 2.10 from `seed`, the same numbers for every model. */
status model_initialise(const model *on, struct mosaic *m, uint64_t seed);

extern const model mosaic_ref;

/* Intermediate tensors of the first block of the last predict() call, for the golden checks:
 * "keys" [B][H][T][D], "values", "cosines" [B][H][T][T], "weights", "input" [B][T][d], "output",
 * "persistent_output". ERR_ARG for an unknown name. *count receives the number of values. */
status mosaic_ref_probe(const struct mosaic *m, const char *name, const double **values,
                        int64_t *count);

/* Learning rate at 0-based iteration `it` (section 4): linear warm-up to lr, cosine to min at
 * `horizon`, then min. */
double schedule_cosine(int64_t it, double lr, double min, int64_t warmup, int64_t horizon);
/* RegBench's (section 4.2): warm-up from 1e-6, cosine whose phase is not shifted by the warm-up,
 * floor 0.1 lr. */
double schedule_regbench(int64_t it, double lr, int64_t warmup, int64_t horizon);

#ifdef __cplusplus
}
#endif
#endif
