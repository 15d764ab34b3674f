/* SPDX-License-Identifier: MIT
 *
 * inputs.c — what the operations are fed.
 *
 * Rows differ on purpose: scale, sign and bandwidth change from row to row, so that a dozen rows of
 * a family cover its range. The inputs of a gradient that its forward operation has, or makes, come
 * from running the reference forward on inputs of the family; upstream gradients are normal.
 * The row-dependent choices use the row number, all noise the seed.
 */
#include "inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "sequences.h"
#include "rng.h"

enum { DISTINCT = 1 << 22, KEY_WIDTH = 16 };

static const char *const names[] = {
#define INPUT(name, about) #name,
#include "inputs.def"
#undef INPUT
};
enum { FAMILIES = sizeof names / sizeof *names };

const char *input_name(int i)
{
    return i < FAMILIES ? names[i] : NULL;
}

static status check_family(const char *family, const op *o)
{
    if (sequence_applies(family, o)) return OK;
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(family, names[i]) == 0) return OK;
    return fail_unknown("input", family, names, FAMILIES, "one of `mosaic list inputs`");
}

int input_applies(const char *family, const op *o)
{
    if (sequence_applies(family, o)) return 1;
    for (int i = 0; sequence_name(i); i++)
        if (strcmp(family, sequence_name(i)) == 0) return 0;
    return strcmp(family, "gauss") == 0 || op_is_transform(o) || op_is_transform_grad(o);
}

/* ---- rows of scores: one function per family --------------------------------------------- */

static void draw_normal(rng *r, double *c, int64_t n, double scale, double offset)
{
    for (int64_t j = 0; j < n; j++)
        c[j] = scale * rng_normal(r) + offset;
}

static void row_gauss(rng *r, double *c, int64_t n, int64_t row)
{
    static const double scales[] = {1, 1e-3, 1e4, 0.1, 100, 1e-2, 1000, 10};
    draw_normal(r, c, n, scales[row % 8], 0);
}

static void row_ties(rng *r, double *c, int64_t n, int64_t row)
{
    const double scale = row % 3 == 2 ? 50 : 1;
    for (int64_t j = 0; j < n; j++)
        c[j] = scale * ((double)rng_below(r, 5) - 2) / 2;
}

static void row_plateaus(rng *r, double *c, int64_t n, int64_t row)
{
    double level = 0;
    for (int64_t j = 0; j < n; j++) {
        if (j == 0 || rng_below(r, (uint64_t)(2 + n / 8)) == 0)
            level = (row % 2 ? 3 : 0.3) * rng_normal(r);
        c[j] = level;
    }
}

static void row_spike(rng *r, double *c, int64_t n, int64_t row)
{
    static const double gaps[] = {0.01, 1, 100};
    draw_normal(r, c, n, 1e-3, 1 - gaps[row % 3]);
    c[rng_below(r, (uint64_t)n)] = 1;
}

static void row_sorted(rng *r, double *c, int64_t n, int64_t row)
{
    draw_normal(r, c, n, 1, 0);
    qsort(c, (size_t)n, sizeof *c, ascending);
    for (int64_t i = 0, j = n - 1; row % 2 && i < j; i++, j--) {
        const double swap = c[i];
        c[i] = c[j];
        c[j] = swap;
    }
}

static void row_constant(rng *r, double *c, int64_t n, int64_t row)
{
    const double value = row == 0 ? 0 : rng_normal(r);
    for (int64_t j = 0; j < n; j++)
        c[j] = value;
}

static void row_offset(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 1, -1000);
}

static void row_inf(rng *r, double *c, int64_t n, int64_t row)
{
    draw_normal(r, c, n, 1, 0);
    for (int64_t j = 0; j < n; j++)
        if (row % 4 == 1 || rng_below(r, 4) == 0) c[j] = -INFINITY;
    if (row % 4 == 2) c[rng_below(r, (uint64_t)n)] = INFINITY;
}

static void row_denormal(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 1e-40, 0);
}

static void row_masked(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 1, 0);
}

static void row_huge(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 1e20, 0);
}

static void row_tiny(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 1e-30, 0);
}

static void unit_vector(rng *r, double *x, int64_t width)
{
    double square = 0;
    draw_normal(r, x, width, 1, 0);
    for (int64_t i = 0; i < width; i++)
        square += x[i] * x[i];
    for (int64_t i = 0; i < width; i++)
        x[i] /= sqrt(square);
}

static void row_unit(rng *r, double *c, int64_t n, int64_t row)
{
    double query[KEY_WIDTH], other[KEY_WIDTH];
    (void)row;
    unit_vector(r, query, KEY_WIDTH);
    for (int64_t j = 0; j < n; j++) {
        unit_vector(r, other, KEY_WIDTH);
        c[j] = 0;
        for (int i = 0; i < KEY_WIDTH; i++)
            c[j] += query[i] * other[i];
    }
}

static void row_nan(rng *r, double *c, int64_t n, int64_t row)
{
    draw_normal(r, c, n, 1, 0);
    if (row % 3 == 1) c[rng_below(r, (uint64_t)n)] = NAN;
}

static void row_scores(rng *r, double *c, int64_t n, int64_t row)
{
    (void)row;
    draw_normal(r, c, n, 2, 0);
}

typedef void row_fill(rng *r, double *c, int64_t n, int64_t row);

static row_fill *const fills[] = {
#define INPUT(name, about) row_##name,
#include "inputs.def"
#undef INPUT
};

static double row_beta(double beta, int64_t row)
{
    static const double mixed[] = {1, 2.718281828459045, 0.5, 10, 1.5, 100, 148.41315910257660, 4};
    return beta > 0 ? beta : mixed[row / 2 % 8];
}

static int32_t row_live(rng *r, int64_t n, int64_t row)
{
    if (row % 5 == 0) return 0;
    if (row % 5 == 1) return 1;
    return row % 5 == 2 ? (int32_t)n : (int32_t)(1 + rng_below(r, (uint64_t)n));
}

/* Entries beyond live do not exist: whoever reads them finds NaN. */
static void hide(const call *c, double *x)
{
    for (int64_t i = 0; i < c->a.d.R; i++)
        for (int64_t j = c->live[i]; j < c->a.d.N; j++)
            x[i * c->a.d.N + j] = NAN;
}

static void fill_rows(call *c, int family, double beta, rng *r)
{
    const int64_t R = c->a.d.R, N = c->a.d.N;
    double *scores = call_in(c, "c"), *inverse = call_in(c, "beta"), *width = call_in(c, "h");
    c->use_live = strcmp(names[family], "masked") == 0;
    for (int64_t i = 0; i < R; i++) {
        fills[family](r, scores + i * N, N, i);
        if (inverse) inverse[i] = row_beta(beta, i);
        if (width) width[i] = 0.3 + 1.7 * rng_uniform(r);
        c->live[i] = c->use_live ? row_live(r, N, i) : (int32_t)N;
    }
    hide(c, scores);
}

/* ---- the stages of the model: by the name of the tensor ----------------------------------- */

static void fill_tokens(rng *r, int32_t *x, int64_t count, int64_t vocabulary, int ignore)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = (int32_t)rng_below(r, (uint64_t)vocabulary);
        if (ignore && i % 5 == 3) x[i] = -1;
    }
}

/* Unit vectors along the last axis. */
static void fill_unit(rng *r, double *x, int64_t count, int64_t width)
{
    for (int64_t i = 0; i + width <= count; i += width)
        unit_vector(r, x + i, width);
}

static void fill_named(call *c, int i, rng *r)
{
    const char *name = c->sig.in[i].name;
    const int64_t count = c->in_count[i];
    double *x = c->in[i];
    const int adamw = c->op->kind == UPDATE, attend = c->op->kind == ATTENTION;
    if (c->sig.in[i].storage == 'i') {
        fill_tokens(r, c->in[i], count, c->a.d.V, strcmp(name, "target") == 0);
        return;
    }
    if (attend && (*name == 'q' || *name == 'k')) {
        fill_unit(r, x, count, c->a.d.D);
        return;
    }
    for (int64_t j = 0; j < count; j++) {
        const double u = rng_uniform(r), z = rng_normal(r);
        if (strcmp(name, "theta") == 0)
            x[j] = (j % 2 ? -1 : 1) * (0.02 + 0.48 * u);
        else if (strcmp(name, "coef") == 0)
            x[j] = u;
        else if (strcmp(name, "nu") == 0)
            x[j] = 0.1 * z;
        else if (strcmp(name, "beta") == 0)
            x[j] = 0.5 + 2.5 * u;
        else if (strcmp(name, "norm") == 0)
            x[j] = 0.5 + 2 * u;
        else if (adamw && *name == 'm')
            x[j] = 0.1 * z;
        else if (adamw && *name == 'v')
            x[j] = 0.01 * z * z;
        else
            x[j] = z;
    }
}

static void fill_stage(call *c, rng *r)
{
    for (int i = 0; i < c->sig.inputs; i++)
        fill_named(c, i, r);
}

/* ---- gradients: run the forward ------------------------------------------------------------ */

static status fill_forward(call *c, const char *family, double beta, uint64_t seed);

void inputs_from(call *c, const call *f, uint64_t seed)
{
    rng r = rng_sample(seed, 2, 0, 0);
    for (int i = 0; i < c->sig.inputs; i++) {
        const tensor *t = &c->sig.in[i];
        const void *from = call_in(f, t->name) ? call_in(f, t->name) : call_out(f, t->name);
        const size_t size = host_size(t);
        if (from)
            memcpy(c->in[i], from, (size_t)c->in_count[i] * size);
        else
            draw_normal(&r, c->in[i], c->in_count[i], 1, 0);
    }
    c->use_live = f->use_live;
    memcpy(c->live, f->live, (size_t)c->a.d.R * sizeof *c->live);
    if (c->use_live) hide(c, call_in(c, "dp"));
}

static status fill_gradient(call *c, const op *forward, const char *family, double beta,
                            uint64_t seed)
{
    call *f;
    TRY(call_beside(&f, c, forward, impl_reference(forward->id), &c->a.d));
    f->tied = c->tied;
    status s = fill_forward(f, family, beta, seed);
    if (s == OK) s = call_once(f);
    if (s == OK) inputs_from(c, f, seed);
    call_destroy(f);
    return s;
}

static status fill_forward(call *c, const char *family, double beta, uint64_t seed)
{
    int i = 0;
    if (sequence_applies(family, c->op)) return sequences_fill(c, family, beta, seed);
    while (strcmp(family, names[i]) != 0)
        i++;
    rng r = rng_sample(seed, 1, (uint64_t)i, (uint64_t)c->a.d.N);
    if (op_is_transform(c->op))
        fill_rows(c, i, beta, &r);
    else
        fill_stage(c, &r);
    if (c->tied) memcpy(call_in(c, "k"), call_in(c, "q"), sizeof(double) * (size_t)c->in_count[0]);
    return OK;
}

static status fill_all(call *c, const char *family, double beta, uint64_t seed)
{
    const op *forward = op_forward(c->op);
    return forward ? fill_gradient(c, forward, family, beta, seed)
                   : fill_forward(c, family, beta, seed);
}

/* ---- large problems: fill the leading part, repeat it -------------------------------------- */

/* The letter of the leading axis along which the inputs are repeated: that of the answer, or else
 * of the largest input. */
static char leading(const call *c)
{
    const char answer = op_repeats(c->op);
    return answer ? answer : shape_axis(c->sig.in[call_largest(c)].shape);
}

static void repeat(void *to, const void *from, size_t count, size_t part)
{
    for (size_t done = 0; done < count; done += part)
        memcpy((char *)to + done, from, count - done < part ? count - done : part);
}

/* Copy the inputs of the small call into the large one. */
static void repeat_problem(call *c, const call *small, char letter)
{
    for (int i = 0; i < c->sig.inputs; i++) {
        const size_t size = host_size(&c->sig.in[i]);
        const size_t part = (size_t)small->in_count[i] * size;
        repeat(c->in[i], small->in[i], (size_t)c->in_count[i] * size, part);
    }
    c->use_live = small->use_live;
    if (letter == 'R')
        repeat(c->live, small->live, (size_t)c->a.d.R * sizeof *c->live,
               (size_t)small->a.d.R * sizeof *c->live);
}

status inputs_fill(call *c, const char *family, double beta, uint64_t seed)
{
    TRY(check_family(family, c->op));
    const int64_t largest = c->in_count[call_largest(c)];
    dims d = c->a.d;
    const char letter = leading(c);
    int64_t *lead = dims_axis(&d, letter), all = *lead;
    c->distinct = 0;
    if (!letter || largest <= DISTINCT || all < 2) return fill_all(c, family, beta, seed);
    const int64_t per = largest / all;
    *lead = DISTINCT / per > 1 ? DISTINCT / per : 1;
    call *small;
    TRY(call_beside(&small, c, c->op, impl_reference(c->op->id), &d));
    small->tied = c->tied;
    status s = fill_all(small, family, beta, seed);
    if (s == OK) {
        repeat_problem(c, small, letter);
        c->distinct = op_repeats(c->op) ? *lead : 0;
    }
    call_destroy(small);
    return s;
}
