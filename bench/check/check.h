/* SPDX-License-Identifier: MIT
 *
 * check.h — what the parts of verb check share: the case at hand, and where its rows go.
 */
#ifndef MOSAIC_CHECK_H
#define MOSAIC_CHECK_H

#include "buffer.h"
#include "op/call.h"
#include "match.h"
#include "store/results.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A set of parameters of an operation. */
typedef struct variant {
    char label[24]; /* "" if the operation has only one */
    params p;
    op_id transform; /* attention, memory: of the scores */
} variant;

/* One case: a problem that a command line can repeat. Unused parts are NULL, 0 or NaN. */
typedef struct check_case {
    const op *op;
    const impl *impl;
    dtype type;
    variant v;
    double alpha, beta; /* NaN if none; beta 0: mixed */
    int64_t k, n, rows; /* rows 0: by length */
    const char *input;
    uint64_t seed;
} check_case;

typedef struct check {
    results *file;
    int64_t rows, failed, marginal; /* reported */
    int64_t declined;               /* cases that an implementation does not take */
    char why[160];                  /* the last of them, for the user */
    status written;                 /* of the results file */
    const char *what;               /* the part that runs */
    const char *model;              /* golden files: the model, NULL: the reference */
    const char *golden;             /* the file that is compared, NULL: none */
    buffer fails;                   /* a line of each failed row */
    check_case at;
} check;

/* Report one row of the case at hand. what: "law", "match", "grad", "golden" or "claim"; about
 * names the operation, or the golden file. A failed row is told again at the end. */
void check_report(check *k, const char *what, const char *about, const match *m);

/* Keep a line of a failed row (counted in k->failed); then the failed rows, one sentence each on
 * stderr: what was expected, where, and the command that repeats it. */
void check_note_fail(check *k, const check_row *row, const match *m);
void check_tell_fails(const check *k);
/* From now on a crash of this process says on stderr which law and case it is in. */
void check_catch_crashes(void);
/* The case that runs, for that. */
void check_running(const check *k, const char *what);

/* The parts: each runs the case at hand and reports its rows. */
status check_match(check *k);
status check_law(check *k);
status check_grad(check *k);
status check_claim(check *k, const char *name); /* of claims.h */
const char *claim_about(const char *name);      /* NULL if there is none of that name */

/* The i-th variant of an operation (normalised ReLU forms, transforms of attention, ...) for this
 * alpha and k; 0 past the end. */
int check_variant(const op *o, int i, double alpha, int64_t top, variant *v);
/* Sizes of the problem of length n for match; B = 0 if the operation does not take that length. */
dims match_dims(const op *o, int64_t n, int64_t rows);

#ifdef __cplusplus
}
#endif
#endif
