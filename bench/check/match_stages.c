/* SPDX-License-Identifier: MIT
 *
 * match_stages.c — what cancels in the gradients of the stages (match.h).
 *
 * A sum that cancels errs in proportion to its terms, not to itself, and the rounding of its terms
 * is independent: the scale of a value is the root of the sum of the squares of its terms. With
 * n' the divisor of a norm (unit_norm.c), xh = (x - mean) rstd and |.|_2 over the terms of a sum:
 *
 *   unit_norm_grad      dx      |dy_e, y_e |y dy|_2 n'/n|_2 / n'
 *   value_mix_grad      du      the same, by e^{10 nu}
 *                       dx      |a du_t, (1-a) du_{t-1}|_2
 *                       dcoef   |du_t (x_t - x_{t+1})|_2 over the head
 *                       dnu     10 |dy y|_2 over the head
 *   layer_norm_grad     dx      rstd |g_c, |g|_2 / C, xh_c |g xh|_2 / C|_2,   g = dy w
 *                       dw, db  |dy xh|_2, |dy|_2 over the rows
 *   leaky_average_grad  dx      q_t = |rho q_{t+1}, ds_t|_2
 *                       dtheta  10 rho |q_t s_{t-1}|_2 over the head
 *   cross_entropy_grad  dz      |dloss| |e^{z-lse}, [v = target]|_2
 *   attention_grad      dbeta   the scales of its rows (match_rows.c), |.|_2 over the head
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match.h"

static double square(double x)
{
    return x * x;
}

/* Each of these is the sum of the squares of the scales of one output. */

/* A row of length one: what its projection is made of. */
typedef struct projection {
    double by, along; /* n', and |y dy|_2 n'/n */
} projection;

static projection projection_of(const params *p, const double *y, const double *dy, double n,
                                int64_t D)
{
    const double by = p->eps_add ? n + p->eps : fmax(n, p->eps);
    projection x = {by > 0 ? by : 1, 0};
    if (p->eps_add ? n == 0 : n < p->eps || n == 0) return x;
    for (int64_t e = 0; e < D; e++)
        x.along += square(y[e] * dy[e]);
    x.along = sqrt(x.along) * by / n;
    return x;
}

static double unit_norm_dx(const call *f)
{
    const int64_t R = f->a.d.R, D = f->a.d.D;
    const double *y = f->in[0], *norm = f->in[1], *dy = f->in[2];
    double all = 0;
    for (int64_t r = 0; r < R; r++) {
        const projection x = projection_of(&f->a.p, y + r * D, dy + r * D, norm[r], D);
        for (int64_t j = r * D; j < (r + 1) * D; j++)
            all += (square(dy[j]) + square(y[j] * x.along)) / square(x.by);
    }
    return all;
}

/* dx, dcoef and dnu of value mix. */
static double value_mix_of(const call *f, int output)
{
    const int64_t H = f->a.d.H, D = f->a.d.D, T = f->a.d.T, rows = f->a.d.B * T * H;
    const double *x = f->in[0], *coef = f->in[1], *nu = f->in[2], *y = f->in[3];
    const double *norm = f->in[4], *dy = f->in[5];
    double all = 0;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t h = i % H, t = i / H % T, at = i * D, next = at + H * D;
        const double scale = exp(10 * nu[h]), a = coef[h];
        const projection p = projection_of(&f->a.p, y + at, dy + at, norm[i], D);
        const double mixed = square(a) + (t + 1 < T ? square(1 - a) : 0);
        for (int64_t e = 0; e < D; e++) {
            const double du2 = square(scale / p.by) * square(dy[at + e]) +
                               square(y[at + e] * p.along / (scale * p.by));
            if (output == 0) all += mixed * du2;
            if (output == 1) all += du2 * square(x[at + e] - (t + 1 < T ? x[next + e] : 0));
            if (output == 2) all += square(10 * dy[at + e] * y[at + e]);
        }
    }
    return all;
}

static double value_mix_dx(const call *f)
{
    return value_mix_of(f, 0);
}

static double value_mix_dcoef(const call *f)
{
    return value_mix_of(f, 1);
}

static double value_mix_dnu(const call *f)
{
    return value_mix_of(f, 2);
}

static double layer_norm_dx(const call *f)
{
    const int64_t R = f->a.d.R, C = f->a.d.C;
    const double *x = f->in[0], *w = f->in[1], *mean = f->in[2], *rstd = f->in[3], *dy = f->in[4];
    double all = 0;
    for (int64_t r = 0; r < R; r++) {
        double plain = 0, along = 0, level = 0;
        for (int64_t c = 0; c < C; c++) {
            const double g = dy[r * C + c] * w[c], xh = (x[r * C + c] - mean[r]) * rstd[r];
            plain += square(g);
            along += square(g * xh);
            level += square(xh);
        }
        all += square(rstd[r]) * (plain + plain / (double)C + level * along / square((double)C));
    }
    return all;
}

static double layer_norm_dw(const call *f)
{
    const int64_t R = f->a.d.R, C = f->a.d.C;
    const double *x = f->in[0], *mean = f->in[2], *rstd = f->in[3], *dy = f->in[4];
    double all = 0;
    for (int64_t j = 0; j < R * C; j++)
        all += square(dy[j] * (x[j] - mean[j / C]) * rstd[j / C]);
    return all;
}

static double layer_norm_db(const call *f)
{
    const double *dy = f->in[4];
    double all = 0;
    for (int64_t j = 0; j < f->in_count[4]; j++)
        all += square(dy[j]);
    return all;
}

/* dx and dtheta of the leaky average; a column is one component of one head of one sequence. */
static double leaky_average_of(const call *f, int output)
{
    const int64_t T = f->a.d.T, step = f->a.d.H * f->a.d.D;
    const double *theta = f->in[0], *s = f->in[1], *ds = f->in[2];
    double all = 0;
    for (int64_t i = 0; i < f->a.d.B * step; i++) {
        const double rho = exp(-10 * fabs(theta[i % step / f->a.d.D]));
        const int64_t from = i / step * T * step + i % step;
        double q2 = 0;
        for (int64_t t = T - 1; t >= 0; t--) {
            const int64_t at = from + t * step;
            q2 = square(rho) * q2 + square(ds[at]);
            if (output == 0) all += q2;
            if (output == 1 && t > 0) all += square(10 * rho) * q2 * square(s[at - step]);
        }
    }
    return all;
}

static double leaky_average_dx(const call *f)
{
    return leaky_average_of(f, 0);
}

static double leaky_average_dtheta(const call *f)
{
    return leaky_average_of(f, 1);
}

static double cross_entropy_dz(const call *f)
{
    const int64_t V = f->a.d.V;
    const double *z = f->in[0], *lse = f->in[2], *dloss = f->in[3];
    const int32_t *target = f->in[1];
    double all = 0;
    for (int64_t j = 0; j < f->in_count[0]; j++) {
        const int64_t r = j / V;
        if (target[r] < 0) continue;
        all += square(dloss[r]) * (square(exp(z[j] - lse[r])) + (j % V == target[r]));
    }
    return all;
}

/* One head of a tensor (B,T,H,D) by itself. */
static void take_head(const call *f, const double *from, int64_t b, int64_t h, double *to)
{
    const int64_t T = f->a.d.T, H = f->a.d.H, D = f->a.d.D;
    for (int64_t t = 0; t < T; t++)
        memcpy(to + t * D, from + ((b * T + t) * H + h) * D, (size_t)D * sizeof *to);
}

/* The weights of one head, and the sum of the squares of the scales of dbeta over its rows; w is a
 * call of attention_weights of one head, dp has room for T. -1 if the call fails. */
static double head_dbeta(const call *f, call *w, int64_t b, int64_t h, double *dp)
{
    const int64_t T = f->a.d.T, D = f->a.d.D, step = f->a.d.H * D, at = b * T * step + h * D;
    const double *v = f->in[2], *g = f->in[6], *p = w->out[0], *stat = w->out[1];
    double *beta = w->in[2], all = 0;
    take_head(f, f->in[0], b, h, w->in[0]);
    take_head(f, f->in[1], b, h, w->in[1]);
    beta[0] = ((const double *)f->in[3])[h];
    if (call_once(w) != OK) return -1;
    for (int64_t t = 0; t < T; t++) {
        const int64_t keys = t + 1 > f->a.p.lag ? t + 1 - f->a.p.lag : 0;
#pragma omp parallel for if (keys * D > 1 << 17)
        for (int64_t j = 0; j < keys; j++) {
            dp[j] = 0;
            for (int64_t e = 0; e < D; e++)
                dp[j] += g[at + t * step + e] * v[at + j * step + e];
        }
        all += square(match_beta_scale(f->a.transform, &f->a.p, beta[0], keys, p + t * T,
                                       stat + t * STATS, dp));
    }
    return all;
}

/* -1 if it cannot be computed; 0 of sequences whose weights nobody has room for. */
static double attention_dbeta(const call *f)
{
    if (f->a.d.T > 1 << 15) return 0;
    const op *o = op_at(OP_attention_weights);
    dims d = f->a.d;
    double *dp = malloc((size_t)d.T * sizeof *dp), all = 0, head = 0;
    call *w = NULL;
    d.B = d.H = 1;
    if (!dp || call_beside(&w, f, o, impl_reference(o->id), &d) != OK) head = -1;
    for (int64_t i = 0; !(head < 0) && i < f->a.d.B * f->a.d.H; i++) {
        head = head_dbeta(f, w, i / f->a.d.H, i % f->a.d.H, dp);
        all += head;
    }
    call_destroy(w);
    free(dp);
    return head < 0 ? -1 : all;
}

double match_stage_scale(const call *ref, int output)
{
    double squares = 0;
    static const struct {
        op_id op;
        const char *output;
        double (*squares)(const call *f);
    } rows[] = {
        {OP_unit_norm_grad, "dx", unit_norm_dx},
        {OP_value_mix_grad, "dx", value_mix_dx},
        {OP_value_mix_grad, "dcoef", value_mix_dcoef},
        {OP_value_mix_grad, "dnu", value_mix_dnu},
        {OP_layer_norm_grad, "dx", layer_norm_dx},
        {OP_layer_norm_grad, "dw", layer_norm_dw},
        {OP_layer_norm_grad, "db", layer_norm_db},
        {OP_leaky_average_grad, "dx", leaky_average_dx},
        {OP_leaky_average_grad, "dtheta", leaky_average_dtheta},
        {OP_cross_entropy_grad, "dz", cross_entropy_dz},
        {OP_attention_grad, "dbeta", attention_dbeta},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ref->op->id == rows[i].op && strcmp(ref->sig.out[output].name, rows[i].output) == 0)
            squares = rows[i].squares(ref);
    return squares < 0 ? -1 : sqrt(squares);
}
