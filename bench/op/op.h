/* SPDX-License-Identifier: MIT
 *
 * op.h — the lists as tables: operations (ops.def), their signatures, and their implementations
 * (the reference of each operation, then the rows of kernels.def).
 */
#ifndef MOSAIC_OP_H
#define MOSAIC_OP_H

#include "backends.h"
#include "verb.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Properties a transform has by itself: each is a law of bench/check/laws.def. */
enum law_flag {
    NO_LAW = 0,
    SIMPLEX = 1,   /* p >= 0 and sum p = 1 on the live keys, 0 elsewhere       */
    SHIFT = 2,     /* p(c + a) = p(c)                                          */
    ORDER = 4,     /* c_i > c_j implies p_i >= p_j                             */
    PERMUTE = 8,   /* permuting the keys permutes p                            */
    FAR = 16,      /* a far key weighs exactly 0                               */
    SELECTION = 32 /* min(k, live) keys, the largest, lowest index on ties     */
};

typedef struct op {
    op_id id;
    const char *name, *title, *signature;
    op_id grad; /* or OP_none */
    op_kind kind;
    unsigned reads; /* enum op_reads */
    unsigned laws;
    double tol;
    double (*flop)(const dims *d, const params *p);
    const char *source;
    op_fn *ref;
} op;

typedef struct tensor {
    char name[16];
    char shape[8]; /* letters of dims, S or 1 */
    char storage;  /* 'w' working type, 'f' or 'i': see spec.h */
} tensor;

/* The type of a tensor of a call whose working type is `type`. */
dtype tensor_type(const tensor *t, dtype type);
/* Bytes of one value on the host: a double, or an int32. */
size_t host_size(const tensor *t);
/* "f32" and the like; the type of that name, or I32 if there is none that kernels store. */
const char *type_name(dtype t);
dtype type_find(const char *name);

typedef struct signature {
    int inputs, outputs;
    tensor in[MAX_TENSORS], out[MAX_TENSORS];
} signature;

/* The row of an operation; NULL past the end and for OP_none. */
const op *op_at(int id);
/* By name; NULL after fail() with the nearest known name. */
const op *op_find(const char *name);
/* The gradient of o, and the operation whose gradient o is; NULL if none. */
const op *op_grad(const op *o);
const op *op_forward(const op *o);
/* A row transform (its first output is p), and the gradient of one. */
int op_is_transform(const op *o);
int op_is_transform_grad(const op *o);
/* The i-th row transform that has a gradient, which attention can be handed; OP_none past the end.
 */
op_id transform_at(int i);
/* The letter of the leading axis, B, R or N, along which the answer repeats where the inputs do;
 * 0 if there is none, as where a value depends on its position (the masks of dropout). */
char op_repeats(const op *o);

/* The reference of an operation. */
const impl *impl_reference(op_id op);
/* The implementation of an operation by name; NULL after fail() with the nearest known name. */
const impl *impl_find(op_id op, const char *name);
/* Do the words op= and impl= choose it? impl=kernels is every one of a device. Of impl=auto a
 * device's are chosen if there is a device, else the reference; which of them runs a problem says
 * impl_passed_over. */
int impl_chosen(const words *w, const impl *i);
/* Does it run on a device, not on the host? */
int impl_on_device(const impl *i);
/* The storage to run it in: the k-th of those that the words type= choose, F64 alone on the host.
 * I32 past the end. */
dtype impl_type(const words *w, const impl *i, int k);
/* NULL if it can run here, else one line that says why not. */
const char *impl_absent(const impl *i);
/* NULL if it takes a problem (its sizes, parameters, type and transform; no pointer is read) on the
 * card that is present, else one line that says what it takes (thread-local). */
const char *impl_declines(const impl *i, const args *a);
/* The automatic choice of a backend for a problem (choice.h; on the host the first that takes it);
 * NULL if none does. */
const impl *impl_default(op_id op, const backend *where, const args *a);
/* With impl=auto the automatic choice alone runs a problem: is i passed over? */
int impl_passed_over(const words *w, const impl *i, const args *a);
/* Can one be the gradient of the other? They are of one backend, and have one name or keep the
 * same.
 */
int impls_combine(const impl *i, const impl *other);
/* The implementation of operation o that goes with i, its gradient or its forward: of the same
 * name, or else the first that combines with it; NULL if there is none. */
const impl *impl_beside(const impl *i, const op *o);

/* "c:RN beta:R:f -> p:RN stat:RS:f"; ERR_ARG with the place if malformed. */
status signature_parse(const char *text, signature *s);
/* Index of a tensor by name, or -1. */
int signature_in(const signature *s, const char *name);
int signature_out(const signature *s, const char *name);
/* Number of elements of a shape; 2^48, for which nobody has room, if there are more. */
int64_t shape_count(const char *shape, const dims *d);
/* The letter of the leading axis of a shape if it can be repeated, B, R or N; else 0. */
char shape_axis(const char *shape);
/* The length of such an axis. */
int64_t *dims_axis(dims *d, char letter);

#ifdef __cplusplus
}
#endif
#endif
