/* SPDX-License-Identifier: MIT
 *
 * law_moves.c — the laws that compare the weights of changed scores with the weights before:
 * permute, shift, far, repeat, optional, twin, tail, gradient (laws.c).
 */
#include <stdlib.h>

#include "op/inputs.h"
#include "law.h"
#include "match.h"

/* 0 where both are the same value or both NaN, else infinite. */
static double different(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (a[i] != b[i] && !(isnan(a[i]) && isnan(b[i]))) return INFINITY;
    return 0;
}

static double largest_change(const double *a, const double *b, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = worse(most, error_beyond_storage(a[i], b[i], F64));
    return most;
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
    *error = largest_change(s->y, s->want, s->R * s->N);
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
    *error = different(s->y, s->want, s->R * s->N);
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
    *error = different(s->y, s->want, s->R * s->N);
    return OK;
}

status law_repeat(law_state *s, double *error)
{
    const call *c = s->c;
    for (int times = c->impl->where == &ref_backend ? 1 : 19; times > 0; times--) {
        TRY(call_once(s->c));
        *error = worse(*error, different(s->y, s->p, s->R * s->N));
    }
    for (int i = 0; i < c->sig.inputs; i++) {
        const int64_t count = c->in_count[i];
        double *now = malloc((size_t)count * sizeof *now);
        if (!now) return fail(ERR_MEMORY, "laws: no memory");
        const dtype t = c->a.type != F64 && c->sig.in[i].storage == 'f' ? F32 : c->a.type;
        status got = c->impl->where->get(now, c->a.in[i], (size_t)count, t);
        if (got == OK) *error = worse(*error, different(now, c->in[i], count));
        free(now);
        TRY(got);
    }
    return OK;
}

status law_optional(law_state *s, double *error)
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
    if (t == OK) *error = worse(*error, different(s->y, s->want, s->R * s->N));
    c->omit_in = 0;
    memcpy(beta, kept, bytes);
    free(kept);
    return t;
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
    for (int64_t r = 1; t == OK && r < s->R; r++)
        *error = worse(*error, different(s->y + r * s->N, s->y, s->N));
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
            if (s->y[r * s->N + j] != 0) *error = INFINITY;
            s->x[r * s->N + j] = -INFINITY;
        }
    s->c->use_live = 0;
    TRY(call_once(s->c));
    /* a NaN row is NaN over its live keys, which now are more */
    for (int64_t r = 0; r < s->R; r++)
        *error = worse(*error, largest_change(s->y + r * s->N, s->want + r * s->N, half));
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

static double gradient_error(const law_state *s, const call *g)
{
    const double *dc = call_out(g, "dc"), *dp = call_in(g, "dp");
    double error = 0;
    for (int64_t r = 0; r < s->R; r++) {
        const int64_t keys = keys_of(s, s->scores, r);
        double sum = 0, size = 0, most = 0;
        for (int64_t j = 0; j < live_of(s, r) && keys > 0; j++) {
            sum += dc[r * s->N + j];
            size += fabs(dc[r * s->N + j]);
            most = fmax(most, fabs(dp[r * s->N + j])); /* a scale, no error */
        }
        if (keys == 1 && size != 0) error = INFINITY;
        if (s->c->op->laws & SHIFT && keys > 1)
            error = worse(error, fabs(sum) / (size + (double)keys * most));
    }
    return error;
}

status law_gradient(law_state *s, double *error)
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
