/* SPDX-License-Identifier: MIT
 *
 * mosaic.cuh — the inside of mosaic_cuda: the model of mosaic.h on one device, forward and
 * backward, out of the operations of kernels.def and the small kernels of mosaic_parts.cuh.
 *
 * Activations are rows (B T, d) in the working type unless a comment says otherwise, heads are
 * (B,T,H,D) in the same memory; what is per row or per head is float. Parameters, moments and
 * gradients are float; with 16-bit activations, products read a copy of the parameters in 16 bits.
 *
 * Everything runs in one stream, so that scratch is handed from call to call without waiting. A
 * pass is first walked with `now` NULL: operations only say how much scratch they want, and nothing
 * is launched. A model knows one device; several would be several of these, each with parts of a
 * step (batch.first_row), whose gradients are added before the update.
 */
#ifndef MOSAIC_MOSAIC_CUH
#define MOSAIC_MOSAIC_CUH

#include "matmul.cuh"
#include "mosaic.h"
#include "mosaic_parts.cuh"

typedef struct parameter {
    parameter_info info;
    int64_t at; /* first element in the flat arrays: a multiple of PLACE */
} parameter;
enum { PLACE = 64 };

/* First elements of the tensors of a layer in the flat arrays; -1: the model has none. */
typedef struct half_index {
    int64_t ln_w, ln_b, theta, kappa, nu, wk, bk, coef, wv, bv, wo, bo, mk, mv;
} half_index;

typedef struct layer_index {
    half_index ctx, pers; /* mk, mv: of bank 0 */
    int64_t fc, fc_b; /* GPT: the first map of the MLP; pers.wo is the second; ctx.wk is c_attn */
} layer_index;

typedef struct model_index {
    int64_t emb, wpe, ln_w, ln_b, head; /* head = emb if tied */
    int64_t bank;                       /* from a bank of slots to the next */
    int64_t tensors, total;             /* total: with the gaps between tensors, which are 0 */
    int64_t decayed;                    /* the tensors that decay lie before it, the others after */
} model_index;

/* The rows of parameters.def; list (in canonical order) and layers may be NULL. */
model_index index_of(const mosaic_config *c, parameter *list, layer_index *layers);

/* What the gradient of one half of a block wants of its forward pass. */
typedef struct half_acts {
    void *x, *h;        /* the residual stream on entry; LN(x)                           */
    float *mean, *rstd; /* (B T)                                                          */
    void *s, *key;      /* leaky sums and unit keys                                       */
    float *key_norm;    /* (B,T,H)                                                        */
    void *mix, *value;  /* before and after value_mix                                     */
    float *value_norm;  /* (B,T,H)                                                        */
    char *keep;         /* what attention or the memory keeps for its gradient, or NULL   */
    size_t kept;        /* bytes of it, of the memory of each bank                        */
    void *z;            /* what the output projection reads (GPT's MLP: d -> 4 d)         */
    void *query, *raw;  /* GPT: queries; the MLP before GELU                              */
    float *query_norm;  /* (B,T,H)                                                        */
    float *scalar;      /* (SCALARS,H): mosaic_parts.cuh                                  */
} half_acts;

typedef struct layer_acts {
    half_acts ctx, pers;
} layer_acts;

/* What a step leaves for its report, on the device and in pinned memory. */
typedef struct step_slot {
    int64_t update, scored;
    cudaEvent_t done;
} step_slot;

/* Tokens and targets on their way to the device. */
typedef struct staging {
    int32_t *ids; /* pinned: tokens, then targets */
    int64_t room;
    cudaEvent_t sent;
} staging;
enum { STAGINGS = MOST_STEPS + 1 };

/* Times of stages, while they are taken. */
enum { MOST_STAGES = 48 };
typedef struct lap {
    cudaEvent_t event[2];
    int stage, ended;
} lap;
typedef struct stopwatch {
    int on, used, room, stages;
    int step; /* the lap of the step that is open, or -1 */
    lap *laps;
    stage_time stage[MOST_STAGES];
} stopwatch;

typedef struct mosaic {
    mosaic_config c;
    dtype type;    /* of activations and products */
    int tf32;      /* F32: products may round their factors */
    int64_t micro; /* rows that a call takes at a time; 0: those that fit */
    int device;
    cudaStream_t stream, now; /* now: the stream, or NULL while a pass is only walked */

    model_index index;
    parameter *list;
    layer_index *layers;
    float *slot[4]; /* flat: values, gradients, moments */
    float *second;  /* a gradient of the parts after the first; NULL: never wanted */
    float *into;    /* where the backward writes: slot[SLOT_GRAD] or second */
    void *shadow;   /* 16-bit types: the values in the working type */
    int stale;      /* the shadow is older than the values */

    /* of the current call */
    int64_t B, T;
    int64_t first_row, whole_T; /* where its rows lie in the whole batch */
    int64_t step;               /* of dropout; -1: off */
    uint64_t seed;

    /* the step that is open */
    struct {
        int64_t rows;            /* 0: none is open                        */
        int64_t scored, divisor; /* targets so far, and in the whole batch */
    } open;
    double *loss_sum;      /* device: over the targets of the open step */
    float *norm, *gate;    /* device: of the gradient; NaN if the step is none */
    outcome *told, *heard; /* [MOST_STEPS], device and pinned */
    step_slot steps[MOST_STEPS];
    int first, waiting; /* the oldest step that waits to be collected, and how many */

    staging sent[STAGINGS];
    int next_sent;
    stopwatch watch;
    int32_t *ids; /* device: tokens, then targets */
    int64_t ids_room;

    layer_acts *acts;
    void *last, *last_h; /* the final stream and its LayerNorm */
    float *last_mean, *last_rstd;
    void *t[6];                /* scratch rows                                               */
    void *wide[2];             /* scratch: unfolded convolutions (B T, d, K), GPT's (B T, 4 d) */
    float *per_head;           /* scratch, (2,H)                                              */
    void *unit_slots;          /* pmem_norm: (2,H,M,D), the slots and a gradient of them      */
    float *slot_norm;          /* pmem_norm: (H,M)                                            */
    void *slot_grad[2];        /* (H,M,D): gradients of slots in the working type             */
    void *emb_grad;            /* (V,d): that of the embedding in the working type            */
    float *loss, *lse, *dloss; /* (B T)                                                       */
    int32_t *argmax;           /* (B T)                                                       */
    void *logits;              /* (piece, V): working type in a gradient, else float          */
    int64_t piece;
    char *room; /* where all of these lie, and the scratch of the operations behind them */
    size_t room_bytes;
    void *work;
    size_t work_bytes;
    int64_t room_B, room_T; /* sizes the room is laid out for */
    int room_gradient;
    struct {
        int64_t B, T, rows;
        int gradient;
    } fit; /* the last answer of rows_at_once */
    struct {
        int64_t B, T;
        int gradient;
        size_t bytes;
    } walked; /* the scratch of the last pass that was walked */
} mosaic;

/* --- life (mosaic.cu) ------------------------------------------------------------------------ */

/* Make the model's device the current one of this thread. */
status use_device(const mosaic *m);
/* Room for a second gradient, where a step is added up from parts. */
status second_gradient(mosaic *m);
/* Wait for all that was begun. */
status finish(const mosaic *m);
/* Device memory; ERR_MEMORY names `what`. */
status take_memory(void **p, size_t bytes, const char *what);
/* Tokens and targets (NULL: none) of a checked batch to m->ids; *there is the batch with device
 * pointers. Targets among the first skip_tokens become -1 if `training`. */
status send_batch(mosaic *m, const batch *b, int training, batch *there);
/* The values in the working type are those of the parameters again. */
status refresh(mosaic *m);

/* --- room (mosaic_room.cu) ------------------------------------------------------------------- */

/* Lay the room out for B, T, with what a gradient needs or without. */
status reserve(mosaic *m, int64_t B, int64_t T, int gradient);
/* How many of B rows a call should take at a time. */
status rows_at_once(mosaic *m, int64_t B, int64_t T, int gradient, int64_t *rows);
/* Scratch of one call, which the next call may have too; NULL while walking. */
status scratch(mosaic *m, size_t bytes, void **p);

/* --- times (mosaic_clock.cu) ----------------------------------------------------------------- */

/* Around the launches of a stage. */
status clock_begin(mosaic *m, const char *name, int *which);
status clock_end(mosaic *m, int which);
/* profile and stage of mosaic.h */
status clock_switch(mosaic *m, int on);
int clock_stage(const mosaic *m, int i, stage_time *t);
void clock_free(stopwatch *w);

/* --- passes (mosaic_pass.cu) ----------------------------------------------------------------- */

/* The residual stream and its final LayerNorm, of tokens on the device. */
status forward(mosaic *m, const batch *b);
/* Float logits (n,V) of rows [r, r + n) of the forward before. */
status head_logits(mosaic *m, int64_t r, int64_t n, float *logits);
/* The loss is added to m->loss_sum (the first part begins it), the gradient goes to m->into. */
status backward(mosaic *m, const batch *b, int more);

/* --- layers (mosaic_layers.cu) --------------------------------------------------------------- */

/* Run the default kernel of an operation in the working type, or in a->type if that is set. */
status stage(mosaic *m, op_id op, args *a);
/* y = scale x w (+ y); operands as of matmul.cuh. `name` is that of its stage. */
status product(mosaic *m, const char *name, int64_t rows, int64_t cols, int64_t inner, double scale,
               matrix x, matrix w, matrix y, int add);
/* A parameter in the working type; its float value, and its gradient, NULL where there is none. */
const void *weight(const mosaic *m, int64_t at);
const float *value(const mosaic *m, int64_t at);
float *grad(const mosaic *m, int64_t at);
/* An address `count` values of the working type behind p. */
static inline void *behind(const mosaic *m, const void *p, int64_t count)
{
    return (char *)p + count * (int64_t)dtype_size(m->type);
}

/* y (B T, N) = x (B T, C) W^T + b. */
status project(mosaic *m, const void *x, int64_t C, int64_t w, int64_t b, int64_t N, void *y);
/* dx of the same (+ dx if add); the gradients of w and b go to their place. */
status project_grad(mosaic *m, const void *x, int64_t C, int64_t w, int64_t b, int64_t N,
                    const void *dy, void *dx, int add);
/* Convolution over time of width K, model 2.2; x, y (B T, d). */
status convolve(mosaic *m, const void *x, int64_t K, int64_t shift, int64_t w, int64_t b, void *y);
status convolve_grad(mosaic *m, const void *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                     const void *dy, void *dx, int add);
/* The mask of a site for an operation's parameters; rate 0 if dropout is off. */
void mask_params(const mosaic *m, params *p, double rate, uint32_t site);
/* Is there dropout on the residual stream? */
int drops(const mosaic *m);
/* Dropout in place of rows (B T, d). */
status residual_dropout(mosaic *m, uint32_t site, void *x);

/* A LayerNorm of the residual stream: its parameters, x -> h, and what its gradient wants. */
typedef struct norm_place {
    int64_t w, b;
    void *x, *h;
    float *mean, *rstd;
} norm_place;
status norm_forward(mosaic *m, const norm_place *n);
/* x = base + dropout(out), then the same. */
status norm_joined(mosaic *m, const norm_place *n, uint32_t site, const void *base,
                   const void *out);
/* dx = the gradient by x, plus `plus` unless NULL, which may be dx; dropped = its dropout, where
 * there is one. */
status norm_backward(mosaic *m, const norm_place *n, const void *dh, const void *plus, void *dx,
                     uint32_t site, void *dropped);
params norm_params(const mosaic *m);
dims head_dims(const mosaic *m);
/* y = x / |x| of every head, and the way back. */
status unit_forward(mosaic *m, const void *x, void *y, float *norm);
status unit_backward(mosaic *m, const void *y, const float *norm, const void *dy, void *dx);
/* Keys of a half: convolution, leaky average, unit norm; and dh (+ dh if add) from dkey. Both use
 * t[0], the backward t[2] too. */
status keys_forward(mosaic *m, const half_index *i, half_acts *x);
status keys_backward(mosaic *m, const half_index *i, const half_acts *x, const void *dkey, void *dh,
                     int add);
/* attention as the configuration wants it, with the dropout of the weights of a layer. */
args attention_args(const mosaic *m, int64_t layer, const half_acts *x, const void *query);
/* out[h] = scale sum over rows (B T) of <x,y> of the head. */
status head_dots(mosaic *m, const void *x, const void *y, double scale, float *out);
/* z = x + y, rows (B T, d). */
status add_rows(mosaic *m, void *z, const void *x, const void *y);
/* A gradient of `count` numbers in the working type to its place (added to it if `add`). */
status store_grad(mosaic *m, int64_t at, const void *x, int64_t count, int add);

/* --- halves (mosaic_contextual.cu, mosaic_persistent.cu, mosaic_gpt.cu) ------------------------
 */

/* out (B T, d) from x->h, before its dropout; and dh from dx, after it, which is read before room
 * is written. They use t[0], t[1], t[2]; room is another scratch row, which may be dx, dh another
 * array. */
typedef status half_forward(mosaic *m, int64_t layer, half_acts *x, void *out);
typedef status half_backward(mosaic *m, int64_t layer, const half_acts *x, const void *dx,
                             void *room, void *dh);
half_forward contextual_forward, persistent_forward, gpt_attention_forward, gpt_mlp_forward;
/* The persistent half once its keys are known. */
half_forward persistent_read;
half_backward contextual_backward, persistent_backward, gpt_attention_backward, gpt_mlp_backward;
/* GPT: queries, keys and values from x->h. */
status gpt_split(mosaic *m, const half_index *i, half_acts *x);
/* The numbers per head of a half. */
status scalars(mosaic *m, const half_index *i, half_acts *x);

/* --- streams (mosaic_stream.cu) -------------------------------------------------------------- */

status stream_open(mosaic *m, int64_t rows, struct mosaic_stream **s);
status stream_token(struct mosaic_stream *s, const int32_t *tokens, int32_t *argmax,
                    double *logits);
void stream_close(struct mosaic_stream *s);

#endif
