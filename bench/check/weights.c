/* SPDX-License-Identifier: MIT
 *
 * weights.c — verb row: what the transforms do to rows of random unit keys.
 *
 *     query q and keys k_j uniform on the unit sphere of R^dim, c_j = <q,k_j>, |u_j|^2 = 2 - 2 c_j
 *     p = transform(c; beta) is p_j = K(|u_j|) / sum K with
 *         softmax          K(u) = exp(-beta^2 u^2 / 2)  bandwidth 1/beta
 *         entmax           K(u) = [1 - u^2/h^2]_+^r, r = 1/(alpha-1)
 *                                                       h^2 = u_min^2 + 2 r omega / beta^2
 *         normalised ReLU  K(u) = [1 - u^2/h^2]_+       h fixed by beta
 *         ReLUmax          K(u) = [1 - u^2/h^2]_+       h^2 = u_min^2 + 2 b beta^-power
 *         top-k            Gaussian or box up to R_k    R_k, the k-th nearest distance
 *
 * shape=1: K on a grid of distances and the weights of one row, sorted by distance.
 * shape=0: support size and bandwidth, averaged over rows; of normalised ReLU also the share of
 * rows whose kernel reaches no key, which have uniform weights. A transform of none of these rules
 * (OTHER_RULE) has weights and a support only. Source: model 1.3-1.7, 1.11.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mosaic.h"
#include "op/one_row.h"
#include "op/op.h"
#include "order.h"
#include "rng.h"
#include "store/results.h"
#include "tabular.h"
#include "verb.h"

enum { GRID = 201 };

typedef struct sphere {
    int64_t n, dim;
    double *c, *p, *key; /* [n], [n], [dim] */
} sphere;

static void draw_key(rng *r, int64_t dim, double *v)
{
    double norm = 0;
    for (int64_t i = 0; i < dim; i++) {
        v[i] = rng_normal(r);
        norm += v[i] * v[i];
    }
    for (int64_t i = 0; i < dim; i++)
        v[i] /= sqrt(norm);
}

/* Cosines of one random query with n random keys; the first axis serves as the query, since the
 * sphere has no preferred direction. Sorted, largest first. */
static void draw_cosines(sphere *s, uint64_t seed, int64_t row)
{
    rng r = rng_sample(seed, 0x726f77, (uint64_t)s->dim, (uint64_t)row);
    for (int64_t j = 0; j < s->n; j++) {
        draw_key(&r, s->dim, s->key);
        s->c[j] = s->key[0];
    }
    qsort(s->c, (size_t)s->n, sizeof *s->c, descending);
}

static double distance_of(double cosine)
{
    return sqrt(fmax(0, 2 - 2 * cosine));
}

/* What a solved row is a kernel of; a rule that knows none draws none. */
typedef struct shape {
    int known;
    double r;      /* exponent; INFINITY: Gaussian; 0: box          */
    double h;      /* bandwidth                                     */
    double radius; /* the distance beyond which nothing weighs      */
} shape;

static double nearest_k(const method *m, const sphere *s)
{
    const int64_t k = m->p.k < s->n ? m->p.k : s->n;
    return distance_of(s->c[k - 1]);
}

static double normrelu_bandwidth(const params *p, double beta)
{
    const double g = 1 - 1 / (beta * beta);
    switch (p->form) {
    case NORMRELU_PAPER:
        return 1 / beta;
    case NORMRELU_CODE_MATRIX:
        return sqrt(1 + g * g);
    case NORMRELU_CODE_EFT:
        return sqrt(2);
    case NORMRELU_AFFINE:
        break;
    }
    return sqrt(2 * (p->slope + p->offset) / p->slope);
}

static shape shape_of(const method *m, const sphere *s, const double *stat, double beta)
{
    const op *o = op_at(m->op);
    const double nearest = 2 - 2 * stat[STAT_MAX];
    shape k = {.known = 1, .r = 1, .h = NAN, .radius = INFINITY};
    switch (o->kind) {
    case EXPONENTIAL:
        k.r = INFINITY;
        k.h = 1 / beta;
        if (o->reads & P_k) k.radius = nearest_k(m, s);
        break;
    case UNIFORM:
        k.r = 0;
        k.h = k.radius = nearest_k(m, s);
        break;
    case ENTMAX:
        k.r = o->reads & P_alpha ? 1 / (m->p.alpha - 1) : 1;
        k.h = sqrt(nearest + 2 * k.r * stat[STAT_NORM] / (beta * beta));
        break;
    case RELUMAX:
        k.h = sqrt(nearest + 2 * m->p.relumax_b * pow(beta, -m->p.relumax_power));
        break;
    case NORMRELU:
        k.h = normrelu_bandwidth(&m->p, beta);
        break;
    default:
        k.known = 0;
    }
    return k;
}

static double kernel_at(const shape *k, double u, double beta)
{
    if (u > k->radius) return 0;
    if (isinf(k->r)) return exp(-beta * beta * u * u / 2);
    if (k->r == 0) return 1;
    const double inside = 1 - u * u / (k->h * k->h);
    return inside < 0 ? 0 : pow(inside, k->r);
}

typedef struct emitter {
    results *r;
    row_row row;
    int printed;
} emitter;

static status emit_value(emitter *e, const char *quantity, double x, double value)
{
    snprintf(e->row.quantity, sizeof e->row.quantity, "%s", quantity);
    e->row.x = x;
    e->row.value = value;
    results_print(ROW, &e->row, e->printed++ == 0);
    return results_append(e->r, ROW, &e->row);
}

static status one_row(emitter *e, const method *m, sphere *s, uint64_t seed, double beta)
{
    double stat[STATS];
    draw_cosines(s, seed, 0);
    TRY(row_weights(op_at(m->op)->ref, &m->p, beta, s->c, s->n, s->p, stat));
    const shape k = shape_of(m, s, stat, beta);
    for (int i = 0; i < GRID && k.known; i++) {
        double u = 2.0 * i / (GRID - 1);
        TRY(emit_value(e, "kernel", u, kernel_at(&k, u, beta)));
    }
    for (int64_t j = 0; j < s->n; j++)
        TRY(emit_value(e, "weight", distance_of(s->c[j]), s->p[j]));
    return OK;
}

static status mean_rows(emitter *e, const method *m, sphere *s, uint64_t seed, double beta,
                        int64_t rows)
{
    double support = 0, bandwidth = 0, empty = 0, stat[STATS];
    const int may_be_empty = op_at(m->op)->kind == NORMRELU;
    int known = 1;
    for (int64_t i = 0; i < rows; i++) {
        draw_cosines(s, seed, i);
        TRY(row_weights(op_at(m->op)->ref, &m->p, beta, s->c, s->n, s->p, stat));
        support += stat[STAT_COUNT];
        empty += may_be_empty && stat[STAT_NORM] == 0;
        const shape k = shape_of(m, s, stat, beta);
        bandwidth += k.h;
        known &= k.known;
    }
    TRY(emit_value(e, "support", NAN, support / (double)rows));
    if (may_be_empty) TRY(emit_value(e, "empty", NAN, empty / (double)rows));
    return known ? emit_value(e, "bandwidth", NAN, bandwidth / (double)rows) : OK;
}

static status all_points(emitter *e, const method *m, const words *w)
{
    uint64_t seed = (uint64_t)word_int(w, "seed");
    int64_t rows = word_int(w, "rows");
    status s = OK;
    snprintf(e->row.method, sizeof e->row.method, "%s", m->name);
    e->row.alpha = op_at(m->op)->kind == ENTMAX ? m->p.alpha : NAN;
    for (int64_t i = 0; i < word_count(w, "n"); i++)
        for (int64_t j = 0; j < word_count(w, "dim"); j++) {
            sphere at = {.n = word_int_at(w, "n", i), .dim = word_int_at(w, "dim", j)};
            at.c = malloc((size_t)(2 * at.n + at.dim) * sizeof(double));
            if (!at.c) return fail(ERR_MEMORY, "row: out of memory");
            at.p = at.c + at.n;
            at.key = at.p + at.n;
            e->row.n = at.n;
            e->row.dim = at.dim;
            for (int64_t b = 0; s == OK && b < word_count(w, "beta"); b++) {
                e->row.beta = word_real_at(w, "beta", b);
                e->row.rows = word_int(w, "shape") ? 1 : rows;
                s = word_int(w, "shape") ? one_row(e, m, &at, seed, e->row.beta)
                                         : mean_rows(e, m, &at, seed, e->row.beta, rows);
            }
            free(at.c);
            TRY(s);
        }
    return OK;
}

int verb_row(const words *w)
{
    emitter e = {0};
    status s = results_create(&e.r, word_text(w, "out"), w);
    tabular_format(word_text(w, "format"));
    for (int64_t i = 0; s == OK && i < word_count(w, "method"); i++) {
        method m;
        s = method_find(word_text_at(w, "method", i), &m);
        if (s == OK) s = all_points(&e, &m, w);
    }
    tabular_end();
    status closed = results_close(e.r, s == OK);
    return status_exit(s != OK ? s : closed);
}
