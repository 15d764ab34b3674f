/* SPDX-License-Identifier: MIT
 *
 * law_values.c — the laws that one set of weights shows: rows, simplex, order, selection (laws.c).
 */
#include <stdlib.h>

#include "law.h"
#include "match.h"

status law_rows(law_state *s, double *error)
{
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t keys = keys_of(s, s->scores, r), n = live_of(s, r);
        for (int64_t j = 0; j < s->N; j++) {
            const double p = s->p[r * s->N + j];
            if (keys < 0 && j < n ? !isnan(p) : keys == 0 ? p != 0 : isnan(p)) *error = INFINITY;
        }
    }
    return OK;
}

status law_simplex(law_state *s, double *error)
{
    const int may_be_zero = s->c->a.p.empty == EMPTY_ZERO && s->c->op->kind == NORMRELU;
    for (int64_t r = 0; r < s->R; r++) {
        const double *p = s->p + r * s->N;
        const int64_t keys = keys_of(s, s->scores, r), n = live_of(s, r);
        double most = 0;
        long double sum = 0; /* n equal weights would round alike n times */
        if (keys < 1) continue;
        for (int64_t j = 0; j < s->N; j++) {
            if (j < n ? !(p[j] >= 0) : p[j] != 0) *error = INFINITY;
            sum += p[j];
            most = fmax(most, p[j]); /* no error: NaN is seen two lines above */
        }
        if (may_be_zero && most == 0) continue;
        if (keys == 1 && most != 1) *error = INFINITY;
        *error = worse(*error, (double)fabsl(sum - 1));
    }
    return OK;
}

typedef struct place {
    double score;
    int64_t at;
} place;

/* Larger score first, lower index among equals. */
static int by_score(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

/* s->at: the live keys of a row in that order. */
static status rank_row(law_state *s, const double *c, int64_t n)
{
    place *order = malloc((size_t)(n + 1) * sizeof *order);
    if (!order) return fail(ERR_MEMORY, "laws: no memory");
    for (int64_t j = 0; j < n; j++)
        order[j] = (place){c[j], j};
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (int64_t j = 0; j < n; j++)
        s->at[j] = order[j].at;
    free(order);
    return OK;
}

status law_order(law_state *s, double *error)
{
    for (int64_t r = 0; r < s->R; r++) {
        const double *c = s->scores + r * s->N, *p = s->p + r * s->N;
        const int64_t n = live_of(s, r);
        if (keys_of(s, s->scores, r) < 1) continue;
        TRY(rank_row(s, c, n));
        for (int64_t i = 1; i < n; i++) {
            const double before = p[s->at[i - 1]], after = p[s->at[i]];
            double excess = after - before;
            if (c[s->at[i]] == c[s->at[i - 1]] && !law_breaks_ties(s->c)) excess = fabs(excess);
            if (!(excess <= 0)) *error = worse(*error, before > 0 ? excess / before : INFINITY);
        }
    }
    return OK;
}

/* Selected keys only; underflow may take weights of selected keys, not of the first. */
status law_selection(law_state *s, double *error)
{
    const int uniform = s->c->op->kind == UNIFORM;
    for (int64_t r = 0; r < s->R; r++) {
        const double *c = s->scores + r * s->N, *p = s->p + r * s->N;
        const int64_t n = live_of(s, r), keys = keys_of(s, s->scores, r);
        const int64_t k = s->c->a.p.k < keys ? s->c->a.p.k : keys;
        if (keys < 1) continue;
        TRY(rank_row(s, c, n));
        for (int64_t i = 0; i < n; i++) {
            const double w = p[s->at[i]];
            if (i >= k ? w != 0 : i == 0 && !(w > 0)) *error = INFINITY;
            if (uniform && i < k) *error = worse(*error, fabs(w - 1 / (double)k));
        }
    }
    return OK;
}
