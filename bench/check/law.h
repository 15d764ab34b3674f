/* SPDX-License-Identifier: MIT
 *
 * law.h — what the laws share (laws.c, law_values.c, law_moves.c): one transform on one set of
 * scores, to be moved and weighed again.
 */
#ifndef MOSAIC_LAW_H
#define MOSAIC_LAW_H

#include <math.h>
#include <string.h>

#include "laws.h"
#include "rng.h"

typedef struct law_state {
    call *c;
    int64_t R, N;
    double *scores, *p; /* as given, and the weights of them */
    double *x;          /* = call_in(c, "c"), to be changed */
    const double *y;    /* = call_out(c, "p"), of the last run */
    double *want;       /* scratch: R x N */
    int64_t *at;        /* scratch: N */
    int32_t *live;      /* as given */
    int use_live;
    double u, storage;
    rng random;
} law_state;

/* Each sets *error, which is 0 on entry. */
status law_rows(law_state *s, double *error);
status law_simplex(law_state *s, double *error);
status law_order(law_state *s, double *error);
status law_permute(law_state *s, double *error);
status law_shift(law_state *s, double *error);
status law_far(law_state *s, double *error);
status law_selection(law_state *s, double *error);
status law_repeat(law_state *s, double *error);
status law_optional(law_state *s, double *error);
status law_twin(law_state *s, double *error);
status law_tail(law_state *s, double *error);
status law_gradient(law_state *s, double *error);

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
