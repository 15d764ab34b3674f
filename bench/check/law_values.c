/* SPDX-License-Identifier: MIT
 *
 * law_values.c — the laws that one set of weights shows: rows, stat, simplex, order, selection
 * (laws.def).
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
            const int broken = keys < 0 && j < n;
            if (broken ? !isnan(p) : keys == 0 ? p != 0 : isnan(p))
                law_found(s, error, INFINITY, r, j, broken ? NAN : 0, p);
        }
    }
    return OK;
}

/* ---- stat ------------------------------------------------------------------------------------ */

/* STAT_NORM over what the largest weight says of it, less 1; 0 where the rule says nothing (spec.h,
 * enum stat_entry). */
static double norm_error(const law_state *s, double largest, double norm)
{
    const params *p = &s->c->a.p;
    switch (s->c->op->kind) {
    case EXPONENTIAL:
        return largest * exp(norm) - 1;
    case ENTMAX:
        return norm / pow(largest, (s->c->op->reads & P_alpha ? p->alpha : 2) - 1) - 1;
    case RELUMAX:
        return norm * largest / p->relumax_b - 1;
    case UNIFORM:
        return norm * largest - 1;
    default:
        return 0;
    }
}

static void row_numbers(law_state *s, double *error, int64_t r, const double *got)
{
    const double *c = s->scores + r * s->N, *p = s->p + r * s->N;
    const int64_t keys = keys_of(s, s->scores, r), n = live_of(s, r);
    double want[STATS] = {0, 0, -1, 0}, largest = 0;
    if (keys < 0) want[STAT_MAX] = want[STAT_NORM] = NAN;
    for (int64_t j = 0; j < n && keys > 0; j++) {
        if (want[STAT_ARG] < 0 ? c[j] > -INFINITY : c[j] > want[STAT_MAX]) {
            want[STAT_MAX] = c[j];
            want[STAT_ARG] = (double)j;
        }
        want[STAT_COUNT] += p[j] > 0;
        largest = fmax(largest, p[j]); /* a scale, no error */
    }
    for (int i = 0; i < STATS; i++) {
        if (i == STAT_NORM && keys > 0) continue;
        /* what is stored in 16 bits may vanish there */
        const int lost =
            i == STAT_COUNT && s->storage > 0 && got[i] > want[i] && got[i] <= (double)keys;
        if (!same_number(got[i], want[i]) && !lost)
            law_found(s, error, INFINITY, r, i, want[i], got[i]);
    }
    if (keys > 0 && largest > 0) {
        const double more = fabs(norm_error(s, largest, got[STAT_NORM]));
        law_found(s, error, more, r, STAT_NORM, NAN, got[STAT_NORM]);
    }
}

status law_stat(law_state *s, double *error)
{
    const int at = signature_out(&s->c->sig, "stat");
    for (int64_t r = 0; at >= 0 && r < s->R; r++)
        row_numbers(s, error, r, s->first[at] + r * STATS);
    return OK;
}

/* ---- simplex --------------------------------------------------------------------------------- */

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
            if (j < n ? !(p[j] >= 0) : p[j] != 0) law_found(s, error, INFINITY, r, j, 0, p[j]);
            sum += p[j];
            most = fmax(most, p[j]); /* no error: NaN is seen two lines above */
        }
        if (may_be_zero && most == 0) continue;
        if (keys == 1 && most != 1) law_found(s, error, INFINITY, r, -1, 1, most);
        law_found(s, error, (double)fabsl(sum - 1), r, -1, 1, (double)sum);
    }
    return OK;
}

/* ---- order, selection ------------------------------------------------------------------------ */

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
            if (!(excess <= 0))
                law_found(s, error, before > 0 ? excess / before : INFINITY, r, s->at[i], before,
                          after);
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
            const double share = i < k ? 1 / (double)k : 0;
            if (i >= k ? w != 0 : i == 0 && !(w > 0))
                law_found(s, error, INFINITY, r, s->at[i], share, w);
            if (uniform && i < k) law_found(s, error, fabs(w - share), r, s->at[i], share, w);
        }
    }
    return OK;
}
