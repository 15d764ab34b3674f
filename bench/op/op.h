/* SPDX-License-Identifier: MIT
 *
 * op.h — the lists as tables: operations (ops.def), their signatures, and their implementations
 * (the reference of each operation, then the rows of kernels.def).
 */
#ifndef MOSAIC_OP_H
#define MOSAIC_OP_H

#include "backends.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Properties a transform has by itself; the laws of bench/check/laws.c. */
enum law_flag {
    NO_LAW = 0,
    SIMPLEX = 1, /* p >= 0 and sum p = 1 on the live keys, 0 elsewhere       */
    SHIFT = 2,   /* p(c + a) = p(c)                                          */
    ORDER = 4,   /* c_i > c_j implies p_i >= p_j                             */
    PERMUTE = 8, /* permuting the keys permutes p                            */
    SPARSE = 16, /* a far key weighs exactly 0                               */
    TOPK = 32    /* min(k, live) keys, the largest, lowest index on ties     */
};

typedef struct op {
    const char *name, *title, *signature;
    const char *grad; /* name of the gradient row, or "none" */
    unsigned laws;
    double tol;
    const char *source;
    op_fn *ref;
} op;

typedef struct tensor {
    char name[16];
    char shape[8]; /* letters of dims, S or 1 */
    char storage;  /* 'w' working type, 'f' or 'i': see spec.h */
} tensor;

typedef struct signature {
    int inputs, outputs;
    tensor in[MAX_TENSORS], out[MAX_TENSORS];
} signature;

/* Rows in the order of the lists; NULL past the end. */
const op *op_at(int i);
/* By name; NULL after fail() with the nearest known name. */
const op *op_find(const char *name);
const impl *impl_find(const char *op_name, const char *name);
/* The gradient of o, and the operation whose gradient o is; NULL if none. */
const op *op_grad(const op *o);
const op *op_forward(const op *o);
/* Do the words op= and impl= choose it? impl=kernels is every implementation of a device. */
struct words;
int impl_chosen(const struct words *w, const impl *i);
/* NULL if it can run here, else one line that says why not. */
const char *impl_absent(const impl *i);
/* The transform of a backend that `attention` is handed: the reference, or the default kernel. */
op_fn *op_on(const backend *where, const char *op_name);

/* The letter of the leading axis, B, R or N, along which the answer repeats where the inputs do;
 * 0 if there is none, as where a value depends on its position (the masks of dropout). */
char op_repeats(const op *o);

/* A row transform: its first output is p, or it is the gradient of one. */
int op_is_transform(const op *o);
int op_is_transform_grad(const op *o);

/* "c:RN beta:R:f -> p:RN stat:RS:f"; ERR_ARG with the place if malformed. */
status signature_parse(const char *text, signature *s);
/* Index of a tensor by name, or -1. */
int signature_in(const signature *s, const char *name);
int signature_out(const signature *s, const char *name);
/* Number of elements of a shape. */
int64_t shape_count(const char *shape, const dims *d);
/* The letter of the leading axis of a shape if it can be repeated, B, R or N; else 0. */
char shape_axis(const char *shape);
/* The length of such an axis. */
int64_t *dims_axis(dims *d, char letter);

#ifdef __cplusplus
}
#endif
#endif
