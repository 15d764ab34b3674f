/* SPDX-License-Identifier: MIT
 *
 * pipeline.h — the inside of mosaic_ref: parameters, activations, and the blocks that the files
 * contextual.c, persistent.c and gpt.c add to the residual stream. Only reference/ and the tests
 * of the model include it.
 *
 * Activations are rows (B T, d) unless a comment says otherwise; heads are (B,T,H,D) in the same
 * memory.
 */
#ifndef MOSAIC_PIPELINE_H
#define MOSAIC_PIPELINE_H

#include "mosaic.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum init_kind { INIT_CONSTANT, INIT_NORMAL, INIT_UNIFORM, INIT_LEAKY } init_kind;

typedef struct parameter {
    parameter_info info;
    int64_t at; /* first element in the flat arrays */
    init_kind init;
    double scale; /* the constant, or the deviation */
} parameter;

/* First elements of the tensors of a layer in the flat arrays; -1: the model has none. */
typedef struct half_index {
    int64_t ln_w, ln_b, theta, kappa, nu, wk, bk, coef, wv, bv, wo, bo, mk, mv;
} half_index;

typedef struct layer_index {
    half_index ctx, pers; /* mk, mv: of bank 0; those of the others follow, 2 M d apart */
    int64_t fc, fc_b; /* GPT: the first map of the MLP; pers.wo is the second; ctx.wk is c_attn */
} layer_index;

typedef struct model_index {
    int64_t emb, wpe, ln_w, ln_b, head; /* head = emb if tied */
    int64_t tensors, total;
} model_index;

/* Names, shapes and places of all parameters, in canonical order; list and layers may be NULL. */
model_index parameters_list(const mosaic_config *c, parameter *list, layer_index *layers);

/* What the gradient of one half of a block wants of its forward pass. */
typedef struct half_acts {
    double *x;           /* the residual stream on entry             */
    double *h;           /* LN(x), the input of the half             */
    double *mean, *rstd; /* (B T)                                    */
    double *s, *key;     /* leaky sums and unit keys                 */
    double *key_norm;    /* (B,T,H)                                  */
    double *mix, *value; /* before and after value_mix               */
    double *value_norm;  /* (B,T,H)                                  */
    double *stat, *keep; /* (B,H,T,S); what attention keeps for its gradient, or NULL */
    double *z;           /* what the output projection reads (GPT's MLP: d -> 4 d) */
    double *query, *raw; /* GPT: queries; q and k before unit norm (2 B T, d); MLP before GELU */
    double *query_norm;  /* (B,T,H)                                  */
    double *out;         /* what was added to the stream; only the first block keeps it */
} half_acts;

typedef struct layer_acts {
    half_acts ctx, pers;
} layer_acts;

typedef struct mosaic {
    mosaic_config c;
    int64_t micro; /* rows that a call takes at a time; 0: those that fit */
    model_index index;
    parameter *list;
    layer_index *layers;
    double *slot[4]; /* flat: values, gradients, moments */

    /* of the current call */
    int64_t B, T;
    int64_t first_row, whole_T; /* where its rows lie in the whole batch */
    int64_t step;               /* of dropout; -1: off */
    uint64_t seed;

    /* the step that is open: what its parts have added up to */
    struct {
        int64_t rows;            /* 0: none is open                                    */
        int64_t scored, divisor; /* targets so far, and in the whole batch             */
        double loss;             /* sum over the targets so far                        */
        double *gradient;        /* of the parts before the current one; NULL: never two */
    } open;
    step_report report[MOST_STEPS]; /* of steps that wait to be collected, oldest first */
    int reports;

    layer_acts *acts;
    double *last, *last_h, *last_mean, *last_rstd; /* the final stream and its LayerNorm       */
    double *t[6];                                  /* scratch rows                             */
    double *wide[2];    /* scratch (B T, wide_width): unfolded convolutions, the hidden MLP     */
    double *per_head;   /* scratch, 4 H                                                         */
    double *unit_slots; /* pmem_norm: (H,M,D), their norms (H,M), and a gradient (H,M,D)        */
    double *loss, *lse, *dloss; /* (B T)                                                        */
    int32_t *targets;           /* (B T), those that are not scored -1                          */
    double *logits;             /* a piece of the head: (piece, V)                              */
    int64_t piece, wide_width;
    double *head_grad; /* tied: what the head adds to the gradient of the embedding  */
    double *arena;     /* where all of these lie */
    int64_t arena_size;
    int64_t room_B, room_T;       /* sizes the arena is laid out for                            */
    int room_gradient, predicted; /* laid out for the gradient; holds a predict call            */
    void *work;                   /* scratch of the operations                                  */
    size_t work_size;
    double *probe; /* the last answer of mosaic_ref_probe */
} mosaic;

/* Run an operation with the scratch that it wants. */
status stage_run(mosaic *m, op_fn *f, args *a);
/* y (B T, N) = x (B T, C) W^T + b; w and b are places in the flat arrays, b < 0: none. */
status project(mosaic *m, const double *x, int64_t C, int64_t w, int64_t b, int64_t N, double *y);
/* dx of the same; the gradients of w and b go to their place. */
status project_grad(mosaic *m, const double *x, int64_t C, int64_t w, int64_t b, int64_t N,
                    const double *dy, double *dx);
/* Convolution over time of width K, model 2.2; x, y (B T, d). */
status convolve(mosaic *m, const double *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                double *y);
status convolve_grad(mosaic *m, const double *x, int64_t K, int64_t shift, int64_t w, int64_t b,
                     const double *dy, double *dx);
/* Rate, seed, site and step of a mask; rate 0 if dropout is off. */
params dropout_params(const mosaic *m, double rate, uint32_t site);
/* The mask of `drop` for another operation's parameters. */
void mask_params(params *p, const params *drop);
/* Dropout in place of rows (B T, d). */
status residual_dropout(mosaic *m, uint32_t site, double *x);
/* attention as the configuration wants it, with the dropout of the weights of a layer. */
args attention_args(const mosaic *m, int64_t layer, const double *q, const double *k,
                    const double *v, const double *beta);
/* Bytes that attention would like to keep of a call of this size. */
size_t attention_keeps(const mosaic *m, int64_t B, int64_t T);
status norm_forward(mosaic *m, int64_t w, int64_t b, const double *x, double *h, double *mean,
                    double *rstd);
status norm_backward(mosaic *m, int64_t w, int64_t b, const double *x, const double *mean,
                     const double *rstd, const double *dh, double *dx);
/* min(x, top); NaN stays NaN, as fmin would not have it. */
static inline double at_most(double x, double top)
{
    return x > top ? top : x;
}
/* beta_h = exp(min(10 kappa_h, 5)) */
void bandwidths(const mosaic *m, int64_t kappa, double *beta);
/* dkappa = 10 beta dbeta where 10 kappa <= 5, else 0; 0 if kappa is frozen. */
void bandwidth_grad(mosaic *m, int64_t kappa, const double *beta, const double *dbeta);
params norm_params(const mosaic *m);
dims head_dims(const mosaic *m);
/* y = x / |x| of every head, and the way back. */
status unit_forward(mosaic *m, const double *x, double *y, double *norm);
status unit_backward(mosaic *m, const double *y, const double *norm, const double *dy, double *dx);
/* Keys of a half: convolution, leaky average, unit norm; and dh from dkey. Both use t[0], the
 * backward t[2] too. */
status keys_forward(mosaic *m, const half_index *i, half_acts *x);
status keys_backward(mosaic *m, const half_index *i, const half_acts *x, const double *dkey,
                     double *dh);
/* nu under the clamp min(10 nu, 5), and coef (1 with v_conv), as value_mix reads them. */
void value_scalars(const mosaic *m, const half_index *i, double *nu, double *coef);
/* x += y */
void add_to(double *x, const double *y, int64_t n);

/* Each half: out (B T, d) from x->h; and dh from dout, which is overwritten. They use t[0], t[1],
 * t[2]; dout and dh are other arrays. */
typedef status half_forward(mosaic *m, int64_t layer, half_acts *x, double *out);
typedef status half_backward(mosaic *m, int64_t layer, const half_acts *x, double *dout,
                             double *dh);
half_forward contextual_forward, persistent_forward, gpt_attention_forward, gpt_mlp_forward;
/* The persistent half once its keys are known. */
half_forward persistent_read;
half_backward contextual_backward, persistent_backward, gpt_attention_backward, gpt_mlp_backward;

/* Lay the arena out for B, T, with what the gradient needs or without. */
status activations_reserve(mosaic *m, int64_t B, int64_t T, int gradient);

/* Streaming inference, stream.c. */
status stream_open(mosaic *m, int64_t rows, struct mosaic_stream **s);
status stream_token(struct mosaic_stream *s, const int32_t *tokens, int32_t *argmax,
                    double *logits);
void stream_close(struct mosaic_stream *s);

#ifdef __cplusplus
}
#endif
#endif
