/* SPDX-License-Identifier: MIT
 *
 * match_rows.c — the distance of row transforms and their gradients from the reference, in units
 * that follow from the conditioning of each row (match.h).
 *
 * A transform is [margin_j]_+ to a power, over a sum, and its support is where the margin is
 * positive: entmax    omega - (alpha - 1) beta^2 (m - c_j)       omega, m: stat of the reference
 *   ReLUmax   b - beta^power (m - c_j)
 *   normReLU  A c_j + b
 * Where |margin| is within 16 u (of b, for normReLU) rounding may decide either way.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match.h"

/* Half the range of a float: beyond it, or below its inverse, rows are not compared in float. */
#define FLOAT_MOST 0x1p127
/* Gradients that small meet the subnormals on the way. */
#define FLOAT_LEAST 1e-30

typedef struct line {
    op_kind shape;
    double alpha, beta;
    double slope, offset; /* of the margin against c (normReLU) or c - m (ReLUmax) */
    double answer,
        level;      /* dbeta weighs a key by this (|a_j| + b), and by this; a_j its activation */
    double m, norm; /* stat */
    int64_t n;      /* live keys */
} line;

static void normrelu_line(const params *p, double beta, line *x)
{
    const double b2 = beta * beta;
    x->slope = p->slope;
    x->offset = p->offset;
    if (p->form == NORMRELU_PAPER || p->form == NORMRELU_CODE_MATRIX) {
        x->slope = p->form == NORMRELU_PAPER ? 2 * b2 : 2 * b2 * b2;
        x->answer = (p->form == NORMRELU_PAPER ? 2 : 4) / beta;
        x->offset = 1 - 2 * b2;
        x->level = p->form == NORMRELU_PAPER ? 0 : 4 * beta;
    } else if (p->form == NORMRELU_CODE_EFT) {
        x->slope = 1;
        x->offset = 0;
    }
}

/* stat: of the row, or NULL. */
static line line_for(const op *o, const params *p, double beta, int64_t n, const double *stat)
{
    line x = {.shape = o->kind, .alpha = o->reads & P_alpha ? p->alpha : 2, .beta = beta, .n = n};
    if (x.shape == RELUMAX) {
        x.slope = pow(beta, p->relumax_power);
        x.offset = p->relumax_b;
        x.answer = p->relumax_power / beta;
    }
    if (x.shape == NORMRELU) normrelu_line(p, beta, &x);
    if (stat) {
        x.m = stat[STAT_MAX];
        x.norm = stat[STAT_NORM];
    }
    return x;
}

static line line_of(const call *c, int64_t r, const double *stat)
{
    const double *beta = call_in(c, "beta");
    const int given = beta && !(c->omit_in >> signature_in(&c->sig, "beta") & 1);
    return line_for(c->op, &c->a.p, given ? beta[r] : 1, c->use_live ? c->live[r] : c->a.d.N,
                    stat ? stat + r * STATS : NULL);
}

/* Positive on the support; shapes without a threshold have none. */
static double margin(const line *x, double c)
{
    if (c == -INFINITY) return -INFINITY;
    if (x->shape == ENTMAX) return x->norm - (x->alpha - 1) * x->beta * x->beta * (x->m - c);
    if (x->shape == RELUMAX) return x->offset - x->slope * (x->m - c);
    if (x->shape == NORMRELU) return x->slope * c + x->offset;
    return INFINITY;
}

static double margin_rounding(const line *x, double u)
{
    return 16 * u * (x->shape == NORMRELU || x->shape == RELUMAX ? 1 + fabs(x->offset) : 1);
}

/* 1 + max |z| over the keys that weigh more than u, for normReLU divided by a small sum. */
static double condition(const line *x, const double *c, const double *p, double u)
{
    const double factor =
        x->shape == RELUMAX || x->shape == NORMRELU ? x->slope : x->beta * x->beta;
    double shifted = 0, plain = 0;
    if (x->shape == UNIFORM) return 1;
    for (int64_t j = 0; j < x->n; j++) {
        if (!(p[j] > u)) continue;
        shifted = fmax(shifted, factor * (x->m - c[j])); /* a scale, no error */
        plain = fmax(plain, factor * fabs(c[j]));        /* a scale, no error */
    }
    if (x->shape == NORMRELU) return (1 + plain) * fmax(1, x->norm > 0 ? 1 / x->norm : 1);
    return 1 + fmin(shifted, plain);
}

/* normReLU: rounding decides whether the row is empty, and with it every weight; or the sum S, a
 * float in stat, is beyond its range. */
static int undecided(const line *x, const double *c, dtype t)
{
    double most = -INFINITY;
    if (x->shape != NORMRELU) return 0;
    for (int64_t j = 0; j < x->n; j++) {
        const double here = margin(x, c[j]);
        if (isnan(here)) return 0;
        if (here > most) most = here;
    }
    return fabs(most) <= margin_rounding(x, unit_arithmetic(t)) ||
           (t != F64 && x->norm > FLOAT_MOST);
}

/* Above alpha 2 a weight answers to its score with p^(2-alpha), which grows towards 0. */
static double response(const line *x, double p)
{
    return x->shape == ENTMAX && x->alpha > 2 && p > 0 ? fmax(1, pow(p, 2 - x->alpha)) : 1;
}

/* An entry that is 0 in one and not in the other. */
static void count_support(match *m, int64_t r, int64_t j, double want, double got)
{
    if (m->support++ == 0) m->at = (spot){r, j, want, got};
}

static void match_row_weights(const call *c, int64_t r, const line *x, const double *scores,
                              const double *p, const double *want, match *m)
{
    const double u = unit_arithmetic(c->a.type), scale = u * condition(x, scores, want, u);
    const double least = c->a.type == F64 ? 0x1p-1022 : c->a.type == F16 ? 0x1p-24 : 0x1p-126;
    for (int64_t j = 0; j < c->a.d.N; j++) {
        if (j >= x->n) { /* exactly zero */
            if (!(p[j] == 0)) count_support(m, r, j, 0, p[j]);
            continue;
        }
        if ((p[j] > 0) != (want[j] > 0) && !isnan(want[j])) {
            const double either = fmax(p[j], want[j]);
            if (!isnan(p[j]) && fabs(margin(x, scores[j])) <= margin_rounding(x, u)) continue;
            if (either > least) count_support(m, r, j, want[j], p[j]);
        }
        const double e = error_beyond_storage(p[j], want[j], c->a.type);
        spot *at = m->support ? &(spot){0} : &m->at;
        worst_at(&m->error, at, e / (scale * response(x, want[j])), (spot){r, j, want[j], p[j]});
    }
}

static void match_row_stat(const call *c, int64_t r, const line *x, const double *scores,
                           const double *want, const double *got, const double *star, match *m)
{
    const double u = unit_arithmetic(c->a.type), scale = u * condition(x, scores, want, u);
    const double least = c->a.type == F64 ? 0x1p-1022 : 0x1p-126;
    /* STAT_NORM is a sum, whose rounding grows with its depth */
    const double depth = x->n > 2 ? log2((double)x->n) : 1;
    double low = 0, high = 0;
    for (int64_t j = 0; j < x->n; j++) {
        low += want[j] > least && margin(x, scores[j]) > margin_rounding(x, u);
        high += want[j] > 0 || fabs(margin(x, scores[j])) <= margin_rounding(x, u);
    }
    if (isnan(star[STAT_MAX])) low = high = 0;
    if (!(got[STAT_COUNT] >= low && got[STAT_COUNT] <= high))
        count_support(m, r, STAT_COUNT, star[STAT_COUNT], got[STAT_COUNT]);
    for (int i = 0; i < STATS; i++) {
        const double e = error_beyond_storage(got[i], star[i], F64);
        const double more = i == STAT_NORM ? e / (scale * depth * fmax(1, fabs(star[i])))
                            : i == STAT_COUNT || e == 0 ? 0
                                                        : INFINITY;
        spot *at = m->support ? &(spot){0} : &m->at;
        worst_at(&m->error, at, more, (spot){r, i, star[i], got[i]});
    }
}

void match_weights(const call *c, const call *ref, match *mp, match *ms)
{
    const int64_t N = c->a.d.N;
    const double *stat = call_out(ref, "stat"), *scores = call_in(c, "c"),
                 *want = call_out(ref, "p");
    const double *p = call_out(c, "p"), *own = call_out(c, "stat");
    if (mp) mp->tol = 4, mp->limit = 30;
    if (ms) ms->tol = 4, ms->limit = 30;
    for (int64_t r = 0; r < c->a.d.R; r++) {
        const int64_t s = r % ref->a.d.R;
        line x = line_of(c, r, NULL);
        if (stat) x = line_of(ref, s, stat);
        if (undecided(&x, scores + r * N, c->a.type)) { /* any weights, but weights */
            for (int64_t j = 0; mp && j < N; j++)
                if (!(p[r * N + j] >= 0))
                    worst_at(&mp->error, &mp->at, INFINITY,
                             (spot){r, j, want[s * N + j], p[r * N + j]});
            for (int64_t j = 0; ms && j < STATS; j++)
                if (isnan(own[r * STATS + j]))
                    worst_at(&ms->error, &ms->at, INFINITY,
                             (spot){r, j, stat[s * STATS + j], own[r * STATS + j]});
            continue;
        }
        if (mp) match_row_weights(c, r, &x, scores + r * N, p + r * N, want + s * N, mp);
        if (ms)
            match_row_stat(c, r, &x, scores + r * N, want + s * N, own + r * STATS,
                           stat + s * STATS, ms);
    }
}

/* ---- gradients ---------------------------------------------------------------------------- */

/* The weight of a key in the gradient: dc_j = factor * w_j (G_j - mean). */
static double gradient_weight(const line *x, double p)
{
    if (!(p > 0)) return 0;
    if (x->shape == EXPONENTIAL) return p;
    if (x->shape == ENTMAX) return pow(p, 2 - x->alpha);
    return x->shape == UNIFORM || x->norm == 0 ? 0 : 1 / x->norm;
}

/* What the sums of a row cancel: |dc|, |dbeta|, |dalpha| are exact to u relative to these. Those of
 * a rule of its own are in match_terms.c. */
typedef struct scales {
    double c, beta, alpha;
} scales;

static scales gradient_scales(const line *x, const double *p, const double *dp)
{
    double most = 0, top = 0, sum = 0, moment = 0, entropy = 0, heaviest = 0;
    int64_t keys = 0;
    if (isnan(x->norm)) return (scales){0, 0, 0};
    for (int64_t j = 0; j < x->n; j++) {
        const double w = gradient_weight(x, p[j]);
        if (!(p[j] > 0)) continue;
        double s = 0; /* |s_j - s_max|, with what cancels in it */
        if (x->shape == EXPONENTIAL) s = fabs(log(p[j])) + fabs(x->norm);
        if (x->shape == ENTMAX) s = (pow(p[j], x->alpha - 1) + x->norm) / (x->alpha - 1);
        keys++;
        heaviest = fmax(heaviest, p[j]); /* a scale, no error */
        most = fmax(most, fabs(dp[j]));  /* a scale, no error */
        top = fmax(top, w);              /* a scale, no error */
        sum += w;
        moment += w * s;
        entropy += p[j] * fabs(log(p[j]));
    }
    const double b = x->beta, a1 = x->alpha - 1;
    if (x->shape == RELUMAX || x->shape == NORMRELU) {
        /* a_j - b; the gradient of ReLUmax to its maximum is a sum over the support */
        const double reach = heaviest * x->norm + (x->shape == RELUMAX ? x->offset : 1);
        const double terms = x->shape == RELUMAX ? sqrt((double)keys) : 1;
        return (scales){fabs(x->slope) * top * most * terms,
                        sum * most * (x->answer * reach + x->level), 0};
    }
    return (scales){b * b * top * most, 2 / b * moment * most,
                    most * (2 / (a1 * a1) + 2 * entropy / a1)};
}

double match_beta_scale(op_id transform, const params *p, double beta, int64_t n,
                        const double *weights, const double *stat, const double *dp)
{
    const op *o = op_at(transform);
    const line x = line_for(o, p, beta, n, stat);
    if (x.shape == OTHER_RULE) return match_row_terms(op_grad(o), p, beta, n, weights, stat, dp);
    return gradient_scales(&x, weights, dp).beta;
}

static double scale_of(const scales *s, const char *output)
{
    return strcmp(output, "dc") == 0 ? s->c : strcmp(output, "dbeta") == 0 ? s->beta : s->alpha;
}

status match_gradient(const call *c, const call *ref, int output, match *m)
{
    const int64_t N = c->a.d.N;
    const char *name = c->sig.out[output].name;
    const double *p = call_in(c, "p"), *dp = call_in(c, "dp"), *stat = call_in(c, "stat");
    const int rows = strcmp(name, "dc") == 0;
    const int64_t width = rows ? N : 1;
    double *terms = NULL;
    m->tol = m->limit = c->op->tol;
    if (c->op->kind == OTHER_RULE) {
        if (!(terms = malloc((size_t)ref->a.d.R * sizeof *terms)))
            return fail(ERR_MEMORY, "match: no memory");
        const status s = match_terms(ref, output, terms);
        if (s != OK) return free(terms), s;
    }
    for (int64_t r = 0; r < c->a.d.R; r++) {
        const line x = line_of(c, r, stat);
        scales s = {0, 0, 0};
        if (terms)
            s.c = s.beta = s.alpha = terms[r % ref->a.d.R];
        else
            s = gradient_scales(&x, p + r * N, dp + r * N);
        if (c->a.type != F64 && !(s.c <= FLOAT_MOST && s.beta <= FLOAT_MOST)) continue;
        const double *got = (const double *)c->out[output] + r * width;
        const double *want = (const double *)ref->out[output] + r % ref->a.d.R * width;
        double difference = 0, norm = 0, largest = 0, scale;
        spot at = NO_SPOT;
        for (int64_t j = 0; j < width; j++) {
            const double e = error_beyond_storage(got[j], want[j], rows ? c->a.type : F32);
            worst_at(&largest, &at, e, (spot){r, j, want[j], got[j]});
            difference += e * e;
            norm += isnan(want[j]) ? 0 : want[j] * want[j];
            if (rows && j >= x.n && !(got[j] == 0)) count_support(m, r, j, 0, got[j]);
        }
        scale = fmax(sqrt(norm), scale_of(&s, name));
        if (c->a.type != F64 && scale < FLOAT_LEAST) scale = FLOAT_LEAST;
        worst_at(&m->error, m->support ? &(spot){0} : &m->at,
                 sqrt(difference) / (scale > 0 ? scale : 1), at);
    }
    free(terms);
    return OK;
}
