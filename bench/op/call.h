/* SPDX-License-Identifier: MIT
 *
 * call.h — one call of one operation, with all its tensors: host arrays in double (int32 where
 * the storage is :i), their twins on the backend of the implementation, scratch. Used by check
 * and time.
 *
 *     call_create, inputs_fill (inputs.h), call_put, call_run, call_get, call_destroy
 */
#ifndef MOSAIC_CALL_H
#define MOSAIC_CALL_H

#include "op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct call {
    const op *op;
    const impl *impl;
    signature sig;
    args a;                /* what the implementation gets; tensors of impl->where       */
    void *in[MAX_TENSORS]; /* host arrays                                                */
    void *out[MAX_TENSORS];
    int64_t in_count[MAX_TENSORS], out_count[MAX_TENSORS];
    int32_t *live;                 /* host, R entries                                            */
    int use_live;                  /* 0: all N                                                   */
    unsigned omit_in, omit_out;    /* bits of tensors passed as NULL                           */
    int tied;                      /* attention: k is q, and dk is dq (call_tie)                */
    const struct key_stream *keys; /* of the inputs `trained` (sequences.h), or NULL         */
    int64_t distinct;              /* leading rows (R, B or N) that differ; the rest repeats them;
                                      0: all (see inputs_fill)                                   */
    void *live_there;
    size_t work_bytes, keep_bytes; /* of a.work and a.keep */
} call;

/* Allocate every tensor. type: F32, BF16 or F16; what takes doubles alone gets F64. Attention is
 * handed softmax: set a.transform for another. On failure *c is NULL. */
status call_create(call **c, const op *o, const impl *i, const dims *d, const params *p,
                   dtype type);
/* The same problem for another implementation of an operation, with transform and what is omitted
 * there. d: its sizes. */
status call_beside(call **c, const call *like, const op *o, const impl *i, const dims *d);
void call_destroy(call *c); /* NULL is fine */
/* Host arrays to the backend, and back: afterwards in[] holds the rounded values that the
 * implementation sees. Allocates the scratch. */
status call_put(call *c);
/* Poison outputs and scratch, run once, wait. */
status call_run(call *c);
/* Outputs to out[]; an omitted one is left alone. */
status call_get(call *c);
/* call_put, call_run, call_get */
status call_once(call *c);
/* The scratch alone, of a call whose inputs were put by other means. */
status call_ready(call *c);
/* Room for what a forward keeps for its gradient, and its scratch with it: from now on it keeps it.
 * *kept: 0 if this implementation keeps nothing. */
status call_keeps(call *forward, int *kept);
/* Hand what a forward kept to its gradient. */
void call_hand(call *gradient, call *forward);
/* Run a forward once more so that it keeps what its gradient may find again, and hand that to the
 * gradient (finished by call_put). *kept: 0 if this implementation keeps nothing. */
status call_keep(call *gradient, call *forward, int *kept);
/* The outputs of a finished forward (call_get) to the inputs of its gradient, by name. */
void call_outputs_on(const call *forward, call *gradient);
/* Attention whose keys are its queries, as in a mosaic: one array, and one for both gradients, the
 * sum of both. k and dk count as omitted; the host array of k must equal that of q. */
void call_tie(call *c);
/* Host array of a tensor by name; NULL if there is none. */
void *call_in(const call *c, const char *name);
void *call_out(const call *c, const char *name);
/* What the implementation gets: NULL where a tensor is omitted. */
args call_args(const call *c);
/* Index of the largest input; the first of equals. */
int call_largest(const call *c);
/* Least traffic: the bytes of every tensor that is not omitted once, and of live. */
double call_bytes(const call *c);

/* Sizes of a problem: n is the length of the operation's inner axis (N of a row, D of unit_norm,
 * C of LayerNorm, V of cross-entropy, T of a sequence, M slots), and about `elements` values in
 * the largest tensor, or scores of attention where they are more. Sequences have H = 4 heads of
 * width D = 64 (H = 2, D = 8 below 2^16 values). */
dims call_dims(const op *o, int64_t n, int64_t elements);
/* params_default() with the eps that the model gives this operation. */
params call_params(const op *o);

#ifdef __cplusplus
}
#endif
#endif
