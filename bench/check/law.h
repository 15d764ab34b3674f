/* SPDX-License-Identifier: MIT
 *
 * law.h — what the laws share (laws.c, law_calls.c, law_values.c, law_moves.c): one call, to be
 * made again in other ways; of a transform its scores, to be moved and weighed again.
 */
#ifndef MOSAIC_LAW_H
#define MOSAIC_LAW_H

#include <math.h>
#include <string.h>

#include "laws.h"
#include "rng.h"

typedef struct law_state {
    call *c;
    double *first[MAX_TENSORS]; /* the outputs of the call as given */
    int64_t R, N;
    double *scores, *p; /* of a transform: as given, and the weights of them */
    double *x;          /* = call_in(c, "c"), to be changed */
    const double *y;    /* = call_out(c, "p"), of the last run */
    double *want;       /* scratch: R x N */
    int64_t *at;        /* scratch: N */
    int32_t *live;      /* as given */
    int use_live;
    double u, storage;
    rng random;
    spot where; /* of the largest error */
} law_state;

/* Each sets *error, which is 0 on entry. */
#define LAW(name, of, root, units, about) status law_##name(law_state *s, double *error);
#include "laws.def"
#undef LAW

/* An error at entry j of row r, where `want` was expected. */
static inline void law_found(law_state *s, double *error, double more, int64_t r, int64_t j,
                             double want, double got)
{
    worst_at(error, &s->where, more, (spot){r, j, want, got});
}

static inline int same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static inline int64_t live_of(const law_state *s, int64_t r)
{
    return s->use_live ? s->live[r] : s->N;
}

/* Keys above -inf of a row of scores; -1 if the row holds NaN or +inf. */
static inline int64_t keys_of(const law_state *s, const double *c, int64_t r)
{
    int64_t keys = 0;
    for (int64_t j = 0; j < live_of(s, r); j++) {
        if (!(c[r * s->N + j] < INFINITY)) return -1;
        keys += c[r * s->N + j] > -INFINITY;
    }
    return keys;
}

static inline size_t matrix_bytes(const law_state *s)
{
    return (size_t)(s->R * s->N) * sizeof(double);
}

/* Where the lowest index wins, equal scores may differ in weight and permuting moves the winner. */
int law_breaks_ties(const call *c);

#endif
