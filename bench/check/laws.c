/* SPDX-License-Identifier: MIT
 *
 * laws.c — every law of one call (laws.def), and what it may be off.
 */
#include "laws.h"

#include <stdlib.h>

#include "law.h"
#include "match.h"

const char *volatile law_running = "";

int law_breaks_ties(const call *c)
{
    return (c->op->laws & SELECTION) || (c->op->kind == NORMRELU && c->a.p.empty == EMPTY_ARGMAX);
}

/* Besides the flags of op.h. */
enum { CALL = 0, TRANSFORM = -1 };

static const struct law {
    const char *name;
    int of;             /* CALL, TRANSFORM or a flag */
    double root, units; /* tol = root * 8 u sqrt(n) + units * u */
    status (*check)(law_state *s, double *error);
    const char *about;
} laws[] = {
#define LAW(name, of, root, units, about) {#name, of, root, units, law_##name, about},
#include "laws.def"
#undef LAW
};
enum { LAWS = sizeof laws / sizeof *laws };

const char *law_about(const char *name)
{
    for (int i = 0; i < LAWS; i++)
        if (strcmp(laws[i].name, name) == 0) return laws[i].about;
    return NULL;
}

static double tolerance(const struct law *l, const law_state *s)
{
    return l->root * (8 * s->u * sqrt((double)s->N) + s->storage) + l->units * s->u;
}

/* Is a law about this call? */
static int applies(const struct law *l, const law_state *s)
{
    const op *o = s->c->op;
    if (l->of == CALL) return 1;
    if (!op_is_transform(o)) return 0;
    if (l->of != TRANSFORM && !(o->laws & (unsigned)l->of)) return 0;
    if (l->of == PERMUTE && law_breaks_ties(s->c)) return 0;
    if (l->of == SHIFT && s->storage > 0) return 0; /* the grid needs 15 bits */
    return l->check != law_gradient || op_grad(o);
}

static status no_memory(const law_state *s)
{
    return fail(ERR_MEMORY, "laws: no memory for %lld x %lld", (long long)s->R, (long long)s->N);
}

/* The outputs as they are at first, and copies of everything a law changes. */
static status open_state(law_state *s, call *c, uint64_t seed)
{
    *s = (law_state){.c = c, .R = c->a.d.R, .N = c->a.d.N, .use_live = c->use_live};
    s->u = unit_arithmetic(c->a.type);
    s->storage = unit_storage(c->a.type);
    if (c->a.type == F16) s->storage += 0x1p-25 * (double)s->N;
    s->random = rng_sample(seed, 3, 0, (uint64_t)s->N);
    if (!(s->live = malloc((size_t)s->R * sizeof *s->live))) return no_memory(s);
    memcpy(s->live, c->live, (size_t)s->R * sizeof *s->live);
    TRY(call_once(c));
    for (int i = 0; i < c->sig.outputs; i++) {
        const size_t bytes = (size_t)c->out_count[i] * sizeof(double);
        if (!(s->first[i] = malloc(bytes))) return no_memory(s);
        memcpy(s->first[i], c->out[i], bytes);
    }
    if (!op_is_transform(c->op)) return OK;
    s->x = call_in(c, "c");
    s->y = call_out(c, "p");
    s->p = s->first[signature_out(&c->sig, "p")];
    s->scores = malloc(matrix_bytes(s));
    s->want = malloc(matrix_bytes(s));
    s->at = malloc((size_t)s->N * sizeof *s->at);
    if (!s->scores || !s->want || !s->at) return no_memory(s);
    memcpy(s->scores, s->x, matrix_bytes(s));
    return OK;
}

static void close_state(law_state *s)
{
    for (int i = 0; i < MAX_TENSORS; i++)
        free(s->first[i]);
    free(s->scores);
    free(s->want);
    free(s->at);
    free(s->live);
}

static void restore(const law_state *s)
{
    if (s->x) memcpy(s->x, s->scores, matrix_bytes(s));
    memcpy(s->c->live, s->live, (size_t)s->R * sizeof *s->live);
    s->c->use_live = s->use_live;
    s->c->omit_in = s->c->omit_out = 0;
}

status laws_check(call *c, uint64_t seed, law_row *emit, void *user)
{
    law_state s;
    law_running = "call";
    status t = open_state(&s, c, seed);
    for (int i = 0; t == OK && i < LAWS; i++) {
        const struct law *l = &laws[i];
        double error = 0;
        if (!applies(l, &s)) continue;
        s.where = NO_SPOT;
        if (s.want) memcpy(s.want, s.p, matrix_bytes(&s));
        law_running = l->name;
        t = l->check(&s, &error);
        restore(&s);
        if (t == OK) emit(user, l->name, error, tolerance(l, &s), &s.where);
    }
    law_running = "";
    close_state(&s);
    return t;
}
