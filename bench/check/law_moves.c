/* SPDX-License-Identifier: MIT
 *
 * law_moves.c — the laws that compare the weights of changed scores with the weights before:
 * permute, shift, far, twin, tail, gradient (laws.def).
 */
#include <stdlib.h>

#include "op/inputs.h"
#include "law.h"
#include "match.h"

/* s->want against the last run: the same bits, or how far apart (law_permute, law_tail). */
static void weights_differ(law_state *s, double *error, int64_t width, int exact)
{
    for (int64_t r = 0; r < s->R; r++)
        for (int64_t j = 0; j < width; j++) {
            const double got = s->y[r * s->N + j], want = s->want[r * s->N + j];
            const double more = exact ? (same_number(got, want) ? 0 : INFINITY)
                                      : error_beyond_storage(got, want, F64);
            law_found(s, error, more, r, j, want, got);
        }
}

status law_permute(law_state *s, double *error)
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
    weights_differ(s, error, s->N, 0);
    return OK;
}

status law_shift(law_state *s, double *error)
{
    for (int64_t i = 0; i < s->R * s->N; i++)
        if (isfinite(s->x[i])) s->x[i] = round(1024 * fmax(-8, fmin(8, s->x[i]))) / 1024;
    TRY(call_once(s->c));
    memcpy(s->want, s->y, matrix_bytes(s));
    for (int64_t i = 0; i < s->R * s->N; i++)
        s->x[i] += 16;
    TRY(call_once(s->c));
    weights_differ(s, error, s->N, 1);
    return OK;
}

status law_far(law_state *s, double *error)
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
    weights_differ(s, error, s->N, 1);
    return OK;
}

status law_twin(law_state *s, double *error)
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
    for (int64_t r = 0; t == OK && r < s->R; r++)
        memcpy(s->want + r * s->N, s->y, (size_t)s->N * sizeof *s->y);
    if (t == OK) weights_differ(s, error, s->N, 1);
    memcpy(width, kept, (size_t)s->R * sizeof *kept);
    free(kept);
    return t;
}

status law_tail(law_state *s, double *error)
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
            const double beyond = s->y[r * s->N + j];
            if (beyond != 0) law_found(s, error, INFINITY, r, j, 0, beyond);
            s->x[r * s->N + j] = -INFINITY;
        }
    s->c->use_live = 0;
    TRY(call_once(s->c));
    /* a NaN row is NaN over its live keys, which now are more */
    weights_differ(s, error, half, 0);
    return OK;
}

/* The default implementation of the gradient on the backend of c, or NULL. */
static const impl *gradient_beside(const call *c)
{
    const impl *i;
    for (int at = 0; (i = impl_at(at)); at++)
        if (i->where == c->impl->where && i->op == c->op->grad) return i;
    return NULL;
}

static void gradient_sums(law_state *s, double *error, const call *g)
{
    const double *dc = call_out(g, "dc"), *dp = call_in(g, "dp");
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t keys = keys_of(s, s->scores, r);
        double sum = 0, size = 0, most = 0;
        for (int64_t j = 0; j < live_of(s, r) && keys > 0; j++) {
            sum += dc[r * s->N + j];
            size += fabs(dc[r * s->N + j]);
            most = fmax(most, fabs(dp[r * s->N + j])); /* a scale, no error */
        }
        if (keys == 1 && size != 0) law_found(s, error, INFINITY, r, -1, 0, size);
        if (s->c->op->laws & SHIFT && keys > 1)
            law_found(s, error, fabs(sum) / (size + (double)keys * most), r, -1, 0, sum);
    }
}

status law_gradient(law_state *s, double *error)
{
    const impl *i = gradient_beside(s->c);
    call *g;
    if (!op_grad(s->c->op) || !i) return OK;
    s->c->omit_in = 2; /* beta = 1 */
    TRY(call_once(s->c));
    TRY(call_create(&g, op_grad(s->c->op), i, &s->c->a.d, &s->c->a.p, s->c->a.type));
    g->omit_in = 1;
    inputs_from(g, s->c, rng_u64(&s->random));
    status t = call_once(g);
    if (t == OK) gradient_sums(s, error, g);
    call_destroy(g);
    return t;
}
