/* SPDX-License-Identifier: MIT
 *
 * choice.h — which row of kernels.def runs a call: what the rows take (kernels.def, limits.def) and
 * which is the default (choice.def), as one function of the problem and the card. Host code, C11
 * and C++17, and no kernel: bench/ asks the same question in builds that have none.
 *
 * A forward and its gradient are chosen together, as the gradient reads what the forward keeps:
 * rows whose column `keeps` is the same word combine. The forward is the best row that takes the
 * call and has such a gradient that takes it too; the gradient is the best of those.
 */
#ifndef MOSAIC_CHOICE_H
#define MOSAIC_CHOICE_H

#include <limits.h>
#include <math.h>
#include <string.h>

#include "card.h"
#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row of kernels.def without its function. */
typedef struct kernel_row {
    op_id op;
    const char *name;
    unsigned types;      /* TYPE_BIT(F32) | ... */
    uint64_t transforms; /* TRANSFORM_BIT(softmax) | ... */
    int64_t width, length;
    unsigned limits;   /* ONLY(scale) | ... */
    const char *keeps; /* what a forward leaves for its gradient, and that reads */
} kernel_row;

enum limit_id {
#define LIMIT(name, of, takes, holds) LIMIT_##name,
#include "limits.def"
#undef LIMIT
    LIMITS
};
enum { NO_LIMIT = 0 };
#define ONLY(name) (1u << LIMIT_##name)
#define OF_TILE (ONLY(scale) | ONLY(order) | ONLY(slope) | ONLY(empty) | ONLY(room))
#define OF_WGMMA (ONLY(cc_90) | ONLY(heads))
#define OF_LISTS (ONLY(cc_90) | ONLY(scale) | ONLY(order) | ONLY(few) | ONLY(heads) | ONLY(indices))

static inline const kernel_row *kernel_row_at(int i)
{
    static const kernel_row rows[] = {
#define KERNEL(op, name, types, transforms, width, length, limits, keeps, idea)                    \
    {OP_##op, #name, types, transforms, width, length, limits, #keeps},
#include "kernels.def"
#undef KERNEL
    };
    return i < (int)(sizeof rows / sizeof *rows) ? &rows[i] : NULL;
}

static inline int selects(op_id transform)
{
    return transform == OP_topk_softmax || transform == OP_topk_uniform;
}

/* Shared memory of the largest kernel of tile.cuh, for heads of so many bytes a row: 16, 32, 64 or
 * 128 numbers. */
#define TILE_ROOM(row) (((row) <= 128 ? 512 : 384) * ((row) + 16) + 6144)
static inline int64_t tile_room(const args *a)
{
    const int64_t width = a->d.D <= 16 ? 16 : a->d.D <= 32 ? 32 : a->d.D <= 64 ? 64 : 128;
    return TILE_ROOM(width * (int64_t)dtype_size(a->type));
}

/* The exponents of a compact kernel that wgmma's gradient has code for. */
static inline int is_power(float r)
{
    return r == 1 || r == 2 || r == 3;
}

/* The first of these limits that a call on this card does not keep, as what is taken; NULL: it
 * keeps all. With a NULL: the limits of the card alone. */
static inline const char *limit_broken(unsigned limits, const args *a, const card *c)
{
    enum { CALL, CARD };
#define LIMIT(name, of, takes, holds)                                                              \
    if ((limits & ONLY(name)) && (a || of == CARD) && !(holds)) return takes;
#include "limits.def"
#undef LIMIT
    return NULL;
}

static inline int row_takes(const kernel_row *r, const args *a, const card *c)
{
    return r->types & TYPE_BIT(a->type) && r->transforms & UINT64_C(1) << a->transform &&
           (r->width == ANY || a->d.D <= r->width) && (r->length == ANY || a->d.T <= r->length) &&
           !limit_broken(r->limits, a, c);
}

/* The gradient of an operation, or OP_none; and the operation whose gradient it is, or itself. */
static inline op_id gradient_op(op_id op)
{
    static const op_id gradients[] = {
#define OP(name, title, signature, grad, ...) OP_##grad,
#include "ops.def"
#undef OP
    };
    return gradients[op];
}
static inline op_id forward_op(op_id op)
{
    for (int i = 0; i < OPS; i++)
        if (gradient_op((op_id)i) == op) return (op_id)i;
    return op;
}

/* A line of choice.def. */
typedef struct preference {
    op_id op;
    const char *row;
    uint64_t transforms;
    double alpha;
    unsigned types;
    int sm;
    int64_t keys, to;
    const char *source;
} preference;

static inline const preference *preference_at(int i)
{
    static const preference rows[] = {
#define SET(op) TRANSFORM_BIT(op)
#define PREFER(op, row, transforms, alpha, types, sm, keys, to, source)                            \
    {OP_##op, #row, transforms, alpha, types, sm, keys, to, source},
#include "choice.def"
#undef PREFER
#undef SET
    };
    return i < (int)(sizeof rows / sizeof *rows) ? &rows[i] : NULL;
}

static inline int preference_fits(const preference *p, const args *a, const card *c)
{
    const int memory = forward_op(p->op) == OP_persistent_memory;
    const int64_t keys = memory ? a->d.M : a->d.T;
    return p->transforms & UINT64_C(1) << a->transform && p->types & TYPE_BIT(a->type) &&
           (a->transform != OP_entmax || a->p.alpha >= p->alpha) &&
           (p->sm == ANY || c->sm == p->sm) && keys >= p->keys && (p->to == ANY || keys <= p->to);
}

/* The first line of choice.def that prefers a row for a call; INT_MAX: none does. */
static inline int preference_for(const kernel_row *r, const args *a, const card *c)
{
    const preference *p;
    for (int i = 0; (p = preference_at(i)) != NULL; i++)
        if (p->op == r->op && strcmp(p->row, r->name) == 0 && preference_fits(p, a, c)) return i;
    return INT_MAX;
}

/* The best row of an operation that takes a call, of those that keep `keeps` (NULL: whatever);
 * paired: of those with a gradient that takes it too. */
static inline const kernel_row *best_row(op_id op, const args *a, const card *c, const char *keeps,
                                         int paired)
{
    const kernel_row *r, *best = NULL;
    int first = INT_MAX;
    for (int i = 0; (r = kernel_row_at(i)) != NULL; i++) {
        if (r->op != op || (keeps && strcmp(r->keeps, keeps) != 0) || !row_takes(r, a, c)) continue;
        if (paired && !best_row(gradient_op(op), a, c, r->keeps, 0)) continue;
        const int rank = preference_for(r, a, c);
        if (!best || rank < first) best = r, first = rank;
    }
    return best;
}

/* The default row of an operation for a call; NULL: none takes it. */
static inline const kernel_row *kernel_choice(op_id op, const args *a, const card *c)
{
    const op_id forward = forward_op(op);
    const kernel_row *f = NULL;
    if (gradient_op(forward) != OP_none) f = best_row(forward, a, c, NULL, 1);
    if (f && op != forward) return best_row(op, a, c, f->keeps, 0);
    return f ? f : best_row(op, a, c, NULL, 0);
}

#ifdef __cplusplus
}
#endif
#endif
