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
 *   repeat     a second call (20 of a kernel) gives the same bits, and the inputs are as they were
 *   optional   without stat: the same p; beta = NULL as ones, live = NULL as all N
 *   twin       equal rows have equal bits
 *   tail       what stands beyond live does not matter; masked as -inf, to 4 ulp sqrt(n)
 *   gradient   of a lone key: 0; of a shift-invariant transform: sum_j dc_j = 0, to rounding
 */
#include "laws.h"

#include <stdlib.h>

#include "law.h"
#include "match.h"

static double root(const law_state *s)
{
    return 8 * s->u * sqrt((double)s->N) + s->storage;
}

int law_breaks_ties(const call *c)
{
    return (c->op->laws & TOPK) || (c->op->kind == NORMRELU && c->a.p.empty == EMPTY_ARGMAX);
}

static const struct law {
    const char *name;
    unsigned flag;      /* of ops.def; 0: every transform */
    double root, units; /* tol = root * 8 u sqrt(n) + units * u */
    status (*check)(law_state *s, double *error);
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

static status open_state(law_state *s, call *c, uint64_t seed)
{
    *s = (law_state){.c = c, .R = c->a.d.R, .N = c->a.d.N, .use_live = c->use_live};
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

static void restore(const law_state *s)
{
    memcpy(s->x, s->scores, matrix_bytes(s));
    memcpy(s->c->live, s->live, (size_t)s->R * sizeof *s->live);
    s->c->use_live = s->use_live;
    s->c->omit_in = s->c->omit_out = 0;
}

status laws_check(call *c, uint64_t seed, law_row *emit, void *user)
{
    law_state s;
    status t = open_state(&s, c, seed);
    for (int i = 0; t == OK && i < LAWS; i++) {
        const struct law *l = &laws[i];
        if (l->flag && !(c->op->laws & l->flag)) continue;
        if (l->flag == PERMUTE && law_breaks_ties(c)) continue;
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
