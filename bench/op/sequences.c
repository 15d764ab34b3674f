/* SPDX-License-Identifier: MIT
 *
 * sequences.c — what attention is fed: a function for each family fills the queries and keys of one
 * head. Factors are such that scale <q,k>, scale = 1/sqrt(D), has the scores that sequences.def
 * says; u is the unit vector of equal entries.
 */
#include "sequences.h"

#include <math.h>
#include <string.h>

#include "rng.h"

enum { WORDS = 512, TOPICS = 16, COPIES = 8, SINKS = 4 };

static const char *const names[] = {
#define SEQUENCE(name, about) #name,
#include "sequences.def"
#undef SEQUENCE
};
enum { FAMILIES = sizeof names / sizeof *names };

/* One head: rows are D values, `step` apart. */
typedef struct head {
    int64_t T, D, step;
    double *q, *k;
    uint64_t vectors; /* names the vectors that it draws */
} head;

static double *query_at(const head *x, int64_t t)
{
    return x->q + t * x->step;
}

static double *key_at(const head *x, int64_t t)
{
    return x->k + t * x->step;
}

static void draw_rows(rng *r, double *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = rng_normal(r);
}

/* to += factor times the i-th normal vector of a kind. */
static void add_vector(const head *x, uint64_t kind, uint64_t i, double factor, double *to)
{
    rng r = rng_sample(x->vectors, kind, i, 0);
    for (int64_t e = 0; e < x->D; e++)
        to[e] += factor * rng_normal(&r);
}

static void add_constant(const head *x, double length, double *to)
{
    for (int64_t e = 0; e < x->D; e++)
        to[e] += length / sqrt((double)x->D);
}

static void ask_for_itself(const head *x)
{
    for (int64_t t = 0; t < x->T; t++)
        memcpy(query_at(x, t), key_at(x, t), (size_t)x->D * sizeof(double));
}

static void fill_normal(const head *x, rng *r)
{
    for (int64_t t = 0; t < x->T; t++) {
        draw_rows(r, query_at(x, t), x->D);
        draw_rows(r, key_at(x, t), x->D);
    }
}

static void fill_zipf(const head *x, rng *r)
{
    uint32_t before = 0;
    for (int64_t t = 0; t < x->T; t++) {
        const uint32_t word = rng_zipf(r, WORDS);
        add_vector(x, 1, word, sqrt(0.5), key_at(x, t));
        add_vector(x, 2, before, sqrt(0.5), key_at(x, t));
        before = word;
    }
    ask_for_itself(x);
}

static void fill_topics(const head *x, rng *r)
{
    uint64_t topic = 0;
    int64_t left = 0;
    for (int64_t t = 0; t < x->T; t++, left--) {
        if (left == 0) {
            topic = rng_below(r, TOPICS);
            left = 32 + (int64_t)rng_below(r, 65);
        }
        draw_rows(r, key_at(x, t), x->D);
        for (int64_t e = 0; e < x->D; e++)
            key_at(x, t)[e] *= sqrt(0.5);
        add_vector(x, 1, topic, sqrt(0.5), key_at(x, t));
    }
    ask_for_itself(x);
}

static void fill_smooth(const head *x, rng *r)
{
    const double rho = 0.98;
    for (int64_t t = 0; t < x->T; t++) {
        draw_rows(r, key_at(x, t), x->D);
        for (int64_t e = 0; e < x->D && t > 0; e++)
            key_at(x, t)[e] = rho * key_at(x, t - 1)[e] + sqrt(1 - rho * rho) * key_at(x, t)[e];
    }
    ask_for_itself(x);
}

/* Normal, but that the first keys are one vector, and every query leans towards it. */
static void lean(const head *x, rng *r, int64_t keys, double score)
{
    const double length = sqrt(score * sqrt((double)x->D));
    fill_normal(x, r);
    for (int64_t t = 0; t < x->T; t++) {
        add_constant(x, length, query_at(x, t));
        if (t < keys) add_constant(x, length, key_at(x, t));
    }
}

static void fill_sinks(const head *x, rng *r)
{
    lean(x, r, SINKS, 6);
}

static void fill_column(const head *x, rng *r)
{
    lean(x, r, 1, 3);
}

static void fill_rising(const head *x, rng *r)
{
    (void)r;
    for (int64_t t = 0; t < x->T; t++) {
        add_constant(x, sqrt((double)x->D), query_at(x, t));
        add_constant(x, 8 * (double)(t + 1) / (double)x->T, key_at(x, t));
    }
}

static void fill_equal(const head *x, rng *r)
{
    (void)r;
    for (int64_t t = 0; t < x->T; t++)
        add_constant(x, sqrt((double)x->D), key_at(x, t));
    ask_for_itself(x);
}

static void fill_duplicates(const head *x, rng *r)
{
    for (int64_t t = 0; t < x->T; t++) {
        add_vector(x, 1, rng_below(r, COPIES), 1, key_at(x, t));
        draw_rows(r, query_at(x, t), x->D);
    }
}

static void fill_onehot(const head *x, rng *r)
{
    (void)r;
    for (int64_t t = 0; t < x->T; t++)
        key_at(x, t)[t % x->D] = sqrt((double)x->D);
    ask_for_itself(x);
}

/* Copied, not drawn. */
static void fill_trained(const head *x, rng *r)
{
    (void)x;
    (void)r;
}

typedef void head_fill(const head *x, rng *r);

static head_fill *const fills[] = {
#define SEQUENCE(name, about) fill_##name,
#include "sequences.def"
#undef SEQUENCE
};

const char *sequence_name(int i)
{
    return i < FAMILIES ? names[i] : NULL;
}

static int family_index(const char *family)
{
    int i = 0;
    while (i < FAMILIES && strcmp(family, names[i]) != 0)
        i++;
    return i;
}

int sequence_applies(const char *family, const op *o)
{
    return family_index(family) < FAMILIES && o->kind == ATTENTION;
}

double sequence_scale(const char *family, int64_t D)
{
    return strcmp(family, "trained") == 0 ? 1 : 1 / sqrt((double)D);
}

/* Rows of a key stream to head h of sample b of a tensor (B,T,H,D). */
static void copy_stream(const call *c, const double *from, int64_t b, int64_t h, double *to)
{
    const key_stream *s = c->keys;
    const int64_t T = c->a.d.T, H = c->a.d.H, D = c->a.d.D;
    for (int64_t t = 0; t < T; t++)
        memcpy(to + ((b * T + t) * H + h) * D, from + (h % s->H * s->T + t) * D,
               (size_t)D * sizeof *to);
}

static status fill_stream(call *c)
{
    const key_stream *s = c->keys;
    const dims *d = &c->a.d;
    double *beta = call_in(c, "beta"), *v = call_in(c, "v");
    if (!s) return fail(ERR_ARG, "input=trained: expected from=CHECKPOINT");
    if (d->D != s->D || d->T > s->T)
        return fail(ERR_ARG,
                    "input=trained: %lld keys of width %lld: expected at least %lld of width %lld",
                    (long long)s->T, (long long)s->D, (long long)d->T, (long long)d->D);
    for (int64_t i = 0; i < d->B * d->H; i++) {
        copy_stream(c, s->key, i / d->H, i % d->H, call_in(c, "q"));
        copy_stream(c, s->key, i / d->H, i % d->H, call_in(c, "k"));
        if (v) copy_stream(c, s->value, i / d->H, i % d->H, v);
    }
    for (int64_t h = 0; h < d->H; h++)
        beta[h] = s->beta[h % s->H];
    return OK;
}

static void fill_beta(const call *c, double beta)
{
    static const double mixed[] = {1, 2.718281828459045, 0.5, 148.41315910257660};
    double *to = call_in(c, "beta");
    for (int64_t h = 0; h < c->a.d.H; h++)
        to[h] = beta > 0 ? beta : mixed[h % 4];
}

status sequences_fill(call *c, const char *family, double beta, uint64_t seed)
{
    const dims *d = &c->a.d;
    const int which = family_index(family);
    double *q = call_in(c, "q"), *k = call_in(c, "k"), *v = call_in(c, "v");
    const size_t bytes = (size_t)(d->B * d->T * d->H * d->D) * sizeof *q;
    if (fills[which] == fill_trained) return fill_stream(c);
    memset(q, 0, bytes);
    memset(k, 0, bytes);
    for (int64_t i = 0; i < d->B * d->H; i++) {
        const int64_t at = i / d->H * d->T * d->H * d->D + i % d->H * d->D;
        rng r = rng_sample(seed, 3, (uint64_t)which, (uint64_t)i);
        const head x = {d->T, d->D, d->H * d->D, q + at, k + at, rng_u64(&r)};
        fills[which](&x, &r);
    }
    rng r = rng_sample(seed, 4, (uint64_t)which, 0);
    if (v) draw_rows(&r, v, d->B * d->T * d->H * d->D);
    fill_beta(c, beta);
    if (c->tied) memcpy(q, k, bytes);
    return OK;
}
