/* SPDX-License-Identifier: MIT
 *
 * laws.c — the laws of row transforms, each a transformation of the scores whose effect on the
 * weights is known.
 *
 *   rows       NaN or +inf among the live scores: NaN over them; no score above -inf: all 0
 *   simplex    p >= 0, |sum p - 1| <= 4 ulp sqrt(n), 0 beyond live, a lone key weighs exactly 1
 *   order      a larger score never weighs less; equal scores weigh the same (not top-k)
 *   permute    permuted keys have permuted weights, to 4 ulp sqrt(n)
 *   shift      scores on a grid of 1/1024 plus 16: the same bits
 *   far        all keys but one far below the maximum: exactly one-hot
 *   selection  top-k: exactly the min(k, n) first in the order (score, then lowest index)
 *   repeat     a second call gives the same bits, and the inputs are as they were
 *   optional   without stat: the same p; beta = NULL as ones, live = NULL as all N
 *   twin       equal rows have equal bits
 *   tail       what stands beyond live does not matter; masked as -inf, to 4 ulp sqrt(n)
 *   gradient   of a lone key: 0; of a shift-invariant transform: sum_j dc_j = 0, to rounding
 */
#include "laws.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "match.h"
#include "rng.h"

typedef struct state {
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
} state;

static int64_t live_of(const state *s, int64_t r)
{
    return s->use_live ? s->live[r] : s->N;
}

/* Keys above -inf of a row of scores; -1 if the row holds NaN or +inf. */
static int64_t keys_of(const state *s, const double *c, int64_t r)
{
    int64_t keys = 0;
    for (int64_t j = 0; j < live_of(s, r); j++) {
        if (!(c[r * s->N + j] < INFINITY)) return -1;
        keys += c[r * s->N + j] > -INFINITY;
    }
    return keys;
}

static double root(const state *s)
{
    return 8 * s->u * sqrt((double)s->N) + s->storage;
}

static size_t matrix_bytes(const state *s)
{
    return (size_t)(s->R * s->N) * sizeof(double);
}

/* 0 where both are the same value or both NaN, else infinite. */
static double different(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (a[i] != b[i] && !(isnan(a[i]) && isnan(b[i]))) return INFINITY;
    return 0;
}

static double distance(const double *a, const double *b, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, error_beyond_storage(a[i], b[i], F64));
    return most;
}

static status law_rows(state *s, double *error)
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

static status law_simplex(state *s, double *error)
{
    const int may_be_zero =
        s->c->a.p.empty == EMPTY_ZERO && strcmp(s->c->op->name, "normrelu") == 0;
    for (int64_t r = 0; r < s->R; r++) {
        const double *p = s->p + r * s->N;
        const int64_t keys = keys_of(s, s->scores, r), n = live_of(s, r);
        double most = 0;
        long double sum = 0; /* n equal weights would round alike n times */
        if (keys < 1) continue;
        for (int64_t j = 0; j < s->N; j++) {
            if (j < n ? !(p[j] >= 0) : p[j] != 0) *error = INFINITY;
            sum += p[j];
            most = fmax(most, p[j]);
        }
        if (may_be_zero && most == 0) continue;
        if (keys == 1 && most != 1) *error = INFINITY;
        *error = fmax(*error, (double)fabsl(sum - 1));
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
static status rank_row(state *s, const double *c, int64_t n)
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

/* Where the lowest index wins, equal scores may differ in weight and permuting moves the winner. */
static int breaks_ties(const call *c)
{
    return (c->op->laws & TOPK) ||
           (strcmp(c->op->name, "normrelu") == 0 && c->a.p.empty == EMPTY_ARGMAX);
}

static status law_order(state *s, double *error)
{
    for (int64_t r = 0; r < s->R; r++) {
        const double *c = s->scores + r * s->N, *p = s->p + r * s->N;
        const int64_t n = live_of(s, r);
        if (keys_of(s, s->scores, r) < 1) continue;
        TRY(rank_row(s, c, n));
        for (int64_t i = 1; i < n; i++) {
            const double before = p[s->at[i - 1]], after = p[s->at[i]];
            double excess = after - before;
            if (c[s->at[i]] == c[s->at[i - 1]] && !breaks_ties(s->c)) excess = fabs(excess);
            if (excess > 0) *error = fmax(*error, before > 0 ? excess / before : INFINITY);
        }
    }
    return OK;
}

static status law_permute(state *s, double *error)
{
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t n = live_of(s, r), at = r * s->N;
        for (int64_t j = 0; j < n; j++) {
            const int64_t i = (int64_t)rng_below(&s->random, (uint64_t)j + 1);
            s->x[at + j] = s->x[at + i];
            s->want[at + j] = s->want[at + i];
            s->x[at + i] = s->scores[at + j];
            s->want[at + i] = s->p[at + j];
        }
        for (int64_t j = n; j < s->N; j++)
            s->want[at + j] = 0;
    }
    TRY(call_once(s->c));
    *error = distance(s->y, s->want, s->R * s->N);
    return OK;
}

static status law_shift(state *s, double *error)
{
    for (int64_t i = 0; i < s->R * s->N; i++)
        if (isfinite(s->x[i])) s->x[i] = round(1024 * fmax(-8, fmin(8, s->x[i]))) / 1024;
    TRY(call_once(s->c));
    memcpy(s->want, s->y, matrix_bytes(s));
    for (int64_t i = 0; i < s->R * s->N; i++)
        s->x[i] += 16;
    TRY(call_once(s->c));
    *error = different(s->y, s->want, s->R * s->N);
    return OK;
}

static status law_far(state *s, double *error)
{
    const double *beta = call_in(s->c, "beta");
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t n = live_of(s, r),
                      best = n > 0 ? (int64_t)rng_below(&s->random, (uint64_t)n) : -1;
        const double gap = 1000 / fmin(1, pow(beta[r], 4));
        for (int64_t j = 0; j < n; j++)
            s->x[r * s->N + j] = j == best ? 1 : 1 - gap * (1 + rng_uniform(&s->random));
        for (int64_t j = 0; j < s->N; j++)
            s->want[r * s->N + j] = j == best;
    }
    TRY(call_once(s->c));
    *error = different(s->y, s->want, s->R * s->N);
    return OK;
}

/* Selected keys only; underflow may take weights of selected keys, not of the first. */
static status law_selection(state *s, double *error)
{
    const int uniform = strcmp(s->c->op->name, "topk_uniform") == 0;
    for (int64_t r = 0; r < s->R; r++) {
        const double *c = s->scores + r * s->N, *p = s->p + r * s->N;
        const int64_t n = live_of(s, r), keys = keys_of(s, s->scores, r);
        const int64_t k = s->c->a.p.k < keys ? s->c->a.p.k : keys;
        if (keys < 1) continue;
        TRY(rank_row(s, c, n));
        for (int64_t i = 0; i < n; i++) {
            const double w = p[s->at[i]];
            if (i >= k ? w != 0 : i == 0 && !(w > 0)) *error = INFINITY;
            if (uniform && i < k) *error = fmax(*error, fabs(w - 1 / (double)k));
        }
    }
    return OK;
}

static status law_repeat(state *s, double *error)
{
    const call *c = s->c;
    TRY(call_once(s->c));
    for (int i = 0; i < c->sig.inputs; i++) {
        const int64_t count = c->in_count[i];
        double *now = malloc((size_t)count * sizeof *now);
        if (!now) return fail(ERR_MEMORY, "laws: no memory");
        const dtype t = c->a.type != F64 && c->sig.in[i].storage == 'f' ? F32 : c->a.type;
        status got = c->impl->where->get(now, c->a.in[i], (size_t)count, t);
        if (got == OK) *error = fmax(*error, different(now, c->in[i], count));
        free(now);
        TRY(got);
    }
    *error = fmax(*error, different(s->y, s->p, s->R * s->N));
    return OK;
}

static status law_optional(state *s, double *error)
{
    call *c = s->c;
    double *beta = call_in(c, "beta"), *kept = NULL;
    const int at = signature_in(&c->sig, "beta");
    const size_t bytes = (size_t)s->R * sizeof *kept;
    status t = OK;
    c->omit_out = 2; /* stat */
    if (c->sig.outputs > 1) t = call_once(c);
    if (t == OK && c->sig.outputs > 1) *error = different(s->y, s->p, s->R * s->N);
    c->omit_out = 0;
    if (t != OK || !beta || s->use_live) return t;
    if (!(kept = malloc(bytes))) return fail(ERR_MEMORY, "laws: no memory");
    memcpy(kept, beta, bytes);
    for (int64_t r = 0; r < s->R; r++) {
        beta[r] = 1;
        c->live[r] = (int32_t)s->N;
    }
    c->use_live = 1;
    t = call_once(c);
    memcpy(s->want, s->y, matrix_bytes(s));
    c->use_live = 0;
    c->omit_in = 1u << at;
    if (t == OK) t = call_once(c);
    if (t == OK) *error = fmax(*error, different(s->y, s->want, s->R * s->N));
    c->omit_in = 0;
    memcpy(beta, kept, bytes);
    free(kept);
    return t;
}

static status law_twin(state *s, double *error)
{
    double *beta = call_in(s->c, "beta"), *h = call_in(s->c, "h"), *width = beta ? beta : h;
    double *kept = malloc((size_t)s->R * sizeof *kept);
    if (!kept) return fail(ERR_MEMORY, "laws: no memory");
    memcpy(kept, width, (size_t)s->R * sizeof *kept);
    for (int64_t r = 1; r < s->R; r++) {
        memcpy(s->x + r * s->N, s->x, (size_t)s->N * sizeof *s->x);
        width[r] = width[0];
        s->c->live[r] = s->c->live[0];
    }
    status t = call_once(s->c);
    for (int64_t r = 1; t == OK && r < s->R; r++)
        *error = fmax(*error, different(s->y + r * s->N, s->y, s->N));
    memcpy(width, kept, (size_t)s->R * sizeof *kept);
    free(kept);
    return t;
}

static status law_tail(state *s, double *error)
{
    const int64_t half = (s->N + 1) / 2;
    for (int64_t r = 0; r < s->R; r++) {
        s->c->live[r] = (int32_t)half;
        for (int64_t j = half; j < s->N; j++)
            s->x[r * s->N + j] = j % 2 ? INFINITY : NAN;
    }
    s->c->use_live = 1;
    TRY(call_once(s->c));
    memcpy(s->want, s->y, matrix_bytes(s));
    for (int64_t r = 0; r < s->R; r++)
        for (int64_t j = half; j < s->N; j++) {
            if (s->y[r * s->N + j] != 0) *error = INFINITY;
            s->x[r * s->N + j] = -INFINITY;
        }
    s->c->use_live = 0;
    TRY(call_once(s->c));
    /* a NaN row is NaN over its live keys, which now are more */
    for (int64_t r = 0; r < s->R; r++)
        *error = fmax(*error, distance(s->y + r * s->N, s->want + r * s->N, half));
    return OK;
}

/* The default implementation of the gradient on the backend of c, or NULL. */
static const impl *gradient_beside(const call *c)
{
    const impl *i;
    for (int at = 0; (i = impl_at(at)); at++)
        if (i->where == c->impl->where && strcmp(i->op, c->op->grad) == 0) return i;
    return NULL;
}

static double gradient_error(const state *s, const call *g)
{
    const double *dc = call_out(g, "dc"), *dp = call_in(g, "dp");
    double error = 0;
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t keys = keys_of(s, s->scores, r);
        double sum = 0, size = 0, most = 0;
        for (int64_t j = 0; j < live_of(s, r) && keys > 0; j++) {
            sum += dc[r * s->N + j];
            size += fabs(dc[r * s->N + j]);
            most = fmax(most, fabs(dp[r * s->N + j]));
        }
        if (keys == 1 && size != 0) error = INFINITY;
        if (s->c->op->laws & SHIFT && keys > 1)
            error = fmax(error, fabs(sum) / (size + (double)keys * most));
    }
    return error;
}

static status law_gradient(state *s, double *error)
{
    const impl *i = gradient_beside(s->c);
    call *g;
    if (!i) return OK;
    s->c->omit_in = 2; /* beta = 1 */
    TRY(call_once(s->c));
    TRY(call_create(&g, op_grad(s->c->op), i, &s->c->a.d, &s->c->a.p, s->c->a.type));
    g->omit_in = 1;
    inputs_from(g, s->c, rng_u64(&s->random));
    status t = call_once(g);
    if (t == OK) *error = gradient_error(s, g);
    call_destroy(g);
    return t;
}

static const struct law {
    const char *name;
    unsigned flag;      /* of ops.def; 0: every transform */
    double root, units; /* tol = root * 8 u sqrt(n) + units * u */
    status (*check)(state *s, double *error);
} laws[] = {
    {"rows", 0, 0, 0, law_rows},
    {"simplex", SIMPLEX, 1, 0, law_simplex},
    {"order", ORDER, 0, 4, law_order},
    {"permute", PERMUTE, 1, 0, law_permute},
    {"shift", SHIFT, 0, 0, law_shift},
    {"far", SPARSE, 0, 0, law_far},
    {"selection", TOPK, 1, 0, law_selection},
    {"repeat", 0, 0, 0, law_repeat},
    {"optional", 0, 0, 0, law_optional},
    {"twin", 0, 0, 0, law_twin},
    {"tail", 0, 1, 0, law_tail},
    {"gradient", 0, 2, 0, law_gradient},
};
enum { LAWS = sizeof laws / sizeof *laws };

static status open_state(state *s, call *c, uint64_t seed)
{
    *s = (state){.c = c, .R = c->a.d.R, .N = c->a.d.N, .use_live = c->use_live};
    s->x = call_in(c, "c");
    s->y = call_out(c, "p");
    s->u = unit_arithmetic(c->a.type);
    s->storage = unit_storage(c->a.type);
    if (c->a.type == F16) s->storage += 0x1p-25 * (double)s->N;
    s->random = rng_sample(seed, 3, 0, (uint64_t)s->N);
    s->scores = malloc(matrix_bytes(s));
    s->p = malloc(matrix_bytes(s));
    s->want = malloc(matrix_bytes(s));
    s->at = malloc((size_t)s->N * sizeof *s->at);
    s->live = malloc((size_t)s->R * sizeof *s->live);
    if (!s->scores || !s->p || !s->want || !s->at || !s->live)
        return fail(ERR_MEMORY, "laws: no memory for %lld x %lld", (long long)s->R,
                    (long long)s->N);
    memcpy(s->live, c->live, (size_t)s->R * sizeof *s->live);
    TRY(call_once(c));
    memcpy(s->scores, s->x, matrix_bytes(s));
    memcpy(s->p, s->y, matrix_bytes(s));
    return OK;
}

static void restore(const state *s)
{
    memcpy(s->x, s->scores, matrix_bytes(s));
    memcpy(s->c->live, s->live, (size_t)s->R * sizeof *s->live);
    s->c->use_live = s->use_live;
    s->c->omit_in = s->c->omit_out = 0;
}

status laws_check(call *c, uint64_t seed, law_row *emit, void *user)
{
    state s;
    status t = open_state(&s, c, seed);
    for (int i = 0; t == OK && i < LAWS; i++) {
        const struct law *l = &laws[i];
        if (l->flag && !(c->op->laws & l->flag)) continue;
        if (l->flag == PERMUTE && breaks_ties(c)) continue;
        if (l->flag == SHIFT && s.storage > 0) continue; /* the grid needs 15 bits */
        if (l->check == law_gradient && !op_grad(c->op)) continue;
        double error = 0;
        memcpy(s.want, s.p, matrix_bytes(&s));
        t = l->check(&s, &error);
        restore(&s);
        if (t == OK) emit(user, l->name, error, l->root * root(&s) + l->units * s.u);
    }
    free(s.scores);
    free(s.p);
    free(s.want);
    free(s.at);
    free(s.live);
    return t;
}
