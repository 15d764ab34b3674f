/* SPDX-License-Identifier: MIT
 *
 * problem.h — what one point of verb time computes: an operation, or an operation and its gradient
 * behind it, in the three sizes that a time with a right answer needs.
 *
 *     seen    what the reference computes too: the heads that differ
 *     small   the part that is checked: those heads over and over
 *     large   what is timed: the small one over and over along its leading axis
 *
 * Attention and persistent memory are called as training calls them: stat is neither asked for nor
 * given, the forward leaves in `keep` what its gradient finds, and the gradient gets the output of
 * its own forward. With keep = 0 stat is written, and read; nothing is kept.
 */
#ifndef MOSAIC_PROBLEM_H
#define MOSAIC_PROBLEM_H

#include "check/match.h"
#include "op/sequences.h"
#include "support.h"

typedef struct question {
    const op *op;
    const impl *impl;
    const impl *beside; /* of the gradient or forward that goes with it; NULL: impl_beside */
    dims d;
    params p;
    dtype type;
    op_id transform;
    int both;   /* the gradient behind it, in the same time */
    int keep;   /* see above                                */
    int tied;   /* attention: k is q                        */
    int dalpha; /* the gradient of alpha is wanted          */
    const char *input;
    double beta;
    uint64_t seed;
    double afforded;        /* operations that checking a part may cost the reference */
    const key_stream *keys; /* of input=trained */
} question;

/* One operation of a problem. Equal sizes are one call. */
typedef struct side {
    call *seen, *small, *large;
} side;

typedef struct problem {
    question ask;
    side before; /* the forward of a gradient that finds what it kept; of both the first */
    side main;
    char axis; /* letter of the repeated axis, or 0 */
} problem;

/* Is it attention or persistent memory, or the gradient of one? */
int op_mixes(const op *o);

/* Make the inputs, run the small problem, make the large one. ERR_MEMORY if it has no room. */
status problem_open(problem *p, const question *ask);
void problem_close(problem *p);
/* What the reference says, of the last problem that was checked: implementations that see the same
 * inputs share it. All zero at first. */
typedef struct answers {
    call *before, *main;
    support of; /* of the weights of attention, else NaN */
} answers;
void answers_free(answers *a);

/* The distance of every output from the reference. matches: 2 MAX_TENSORS. *same: 0 if heads of
 * the same inputs have other bits. */
status problem_check(const problem *p, answers *known, match *matches, int *count, int *same);
/* Time of one call of the large problem; user is the problem. */
status problem_sample(void *user, double *seconds);
/* After the timing: 1 if the first and the last copy of what was repeated carry the bits of the
 * checked answer. */
status problem_recheck(const problem *p, int *same);
/* The share of rows that the forward of the large problem did again (impl_redone), where it has run
 * in the timed calls; else NaN. */
status problem_redone(const problem *p, double *share);
double problem_bytes(const problem *p);
double problem_work(const problem *p);

#endif
