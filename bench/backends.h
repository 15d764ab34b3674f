/* SPDX-License-Identifier: MIT
 *
 * backends.h — what this build can run: backends, models, and the implementations of every
 * operation (the reference of each, then the rows of kernels.def).
 */
#ifndef MOSAIC_BACKENDS_H
#define MOSAIC_BACKENDS_H

#include "choice.h"
#include "mosaic.h"

/* The backends of this build: the reference, then the device; NULL past the end. */
const backend *backend_at(int i);

/* The models of this build, the reference first; NULL past the end. */
const model *model_at(int i);
/* The model of a backend, by name; "auto" is a device's if there is a device, else the reference.
 * ERR_ARG if this build or this machine has none, and as ready() of a backend says if there is one
 * that cannot be used, by whichever name: what would work stands in the line. */
status model_find(const char *name, const model **m);

/* One way to compute an operation. run and where are NULL where the build has no CUDA. */
typedef struct impl {
    op_id op;
    const char *name, *idea;
    op_fn *run;
    const backend *where;
    int reference;       /* 1: the definition, which the others are compared with */
    unsigned types;      /* storage it takes                                      */
    uint64_t transforms; /* attention, memory: transforms of the scores           */
    int64_t width;       /* largest D, or ANY                                     */
    int64_t length;      /* largest T, or ANY                                     */
    unsigned limits;     /* what else it does not take (limits.def)               */
    const char *keeps;   /* the layout of args.keep, "nothing" of none            */
} impl;

/* In the order of the lists; NULL past the end. */
const impl *impl_at(int i);

/* Of a finished call of an implementation that does some of its rows again: their share; NaN of
 * others. */
status impl_redone(const impl *i, const args *a, double *share);

/* The card that implementations of a device run on; all 0 if there is none. */
card card_present(void);

#endif
