/* SPDX-License-Identifier: MIT
 *
 * cases.c — which parameters and sizes an operation is checked with.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"

static int normrelu_variant(int i, variant *v)
{
    static const struct {
        const char *label;
        normrelu_form form;
        empty_rule empty;
    } rows[] = {
        {"paper", NORMRELU_PAPER, EMPTY_UNIFORM},
        {"code_matrix", NORMRELU_CODE_MATRIX, EMPTY_UNIFORM},
        {"code_eft", NORMRELU_CODE_EFT, EMPTY_UNIFORM},
        {"affine", NORMRELU_AFFINE, EMPTY_UNIFORM},
        {"paper zero", NORMRELU_PAPER, EMPTY_ZERO},
        {"paper argmax", NORMRELU_PAPER, EMPTY_ARGMAX},
    };
    if (i >= (int)(sizeof rows / sizeof *rows)) return 0;
    snprintf(v->label, sizeof v->label, "%s", rows[i].label);
    v->p.form = rows[i].form;
    v->p.empty = rows[i].empty;
    v->p.slope = 0.7;
    v->p.offset = 0.1;
    return 1;
}

static int relumax_variant(int i, variant *v)
{
    static const struct {
        const char *label;
        int power;
        double b;
    } rows[] = {{"power 2", 2, 1}, {"power 4", 4, 1}, {"b 0.5", 2, 0.5}};
    if (i >= (int)(sizeof rows / sizeof *rows)) return 0;
    snprintf(v->label, sizeof v->label, "%s", rows[i].label);
    v->p.relumax_power = rows[i].power;
    v->p.relumax_b = rows[i].b;
    return 1;
}

static int kernel_variant(int i, variant *v)
{
    static const double exponents[] = {1, 2, 3, 0.5};
    if (i > 4) return 0;
    snprintf(v->label, sizeof v->label, i == 4 ? "gaussian" : "r %g", i == 4 ? 0 : exponents[i]);
    if (i < 4) v->p.exponent = exponents[i];
    return 1;
}

/* Attention with every transform, in a mosaic (lag 1) and in GPT (lag 0, scaled). */
static int attention_variant(int i, variant *v)
{
    int count = 0;
    while (transform_at(count) != OP_none)
        count++;
    if (i >= 2 * count) return 0;
    v->transform = transform_at(i % count);
    v->p.form = NORMRELU_CODE_MATRIX;
    v->p.k = 3;
    v->p.lag = i < count;
    v->p.scale = i < count ? 1 : 0.125;
    snprintf(v->label, sizeof v->label, "%s lag %d", op_name(v->transform), i < count);
    return 1;
}

/* The persistent memory with every transform that needs no bandwidth of its own, and with a mask.
 */
static int memory_variant(int i, variant *v)
{
    v->transform = transform_at(i);
    if (v->transform == OP_none) return 0;
    v->p.form = NORMRELU_CODE_EFT;
    v->p.k = 3;
    v->p.rate = i % 2 ? 0.1 : 0;
    snprintf(v->label, sizeof v->label, "%s%s", op_name(v->transform), i % 2 ? " dropout" : "");
    return 1;
}

/* A mask of a whole step, and of a part of one: three samples in, cut short. */
static int noise_variant(int i, variant *v)
{
    static const struct {
        const char *label;
        int64_t first_row, whole_T;
    } rows[] = {{"whole", 0, 0}, {"part", 3, 0}, {"cut", 3, 7}, {"cut by 4", 5, 8}};
    if (i >= (int)(sizeof rows / sizeof *rows)) return 0;
    snprintf(v->label, sizeof v->label, "%s", rows[i].label);
    v->p.first_row = rows[i].first_row;
    v->p.whole_T = rows[i].whole_T;
    return 1;
}

static int norm_variant(int i, variant *v)
{
    if (i > 1) return 0;
    v->p.eps_add = i;
    if (i) v->p.eps = 1e-6;
    snprintf(v->label, sizeof v->label, i ? "eps added" : "eps as bound");
    return 1;
}

static int adamw_variant(int i, variant *v)
{
    if (i > 1) return 0;
    v->p.update = i ? 100 : 1;
    v->p.clip = i ? 0 : 1;
    snprintf(v->label, sizeof v->label, i ? "update 100, no clip" : "update 1");
    return 1;
}

/* Values of a parameter of its own: the default, then one after the other those of params.def. */
static int own_variant(const op *o, int i, variant *v)
{
    static const struct {
        unsigned bit;
        const char *name, *checked;
    } rows[] = {
#define PARAM(type, name, value, checked, about) {P_##name, #name, checked},
#include "params.def"
#undef PARAM
    };
    for (size_t r = 0; i > 0 && r < sizeof rows / sizeof *rows; r++) {
        char text[80], *rest = NULL;
        double x;
        if (!(o->reads & rows[r].bit)) continue;
        snprintf(text, sizeof text, "%s", rows[r].checked);
        for (char *one = strtok_r(text, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
            if (--i > 0 || !parse_real(one, &x)) continue;
            snprintf(v->label, sizeof v->label, "%.12s %.8s", rows[r].name, one);
#define PARAM(type, name, ...)                                                                     \
    if (rows[r].bit == P_##name) v->p.name = (type)x;
#include "params.def"
#undef PARAM
            return 1;
        }
    }
    return i == 0;
}

int check_variant(const op *o, int i, double alpha, int64_t top, variant *v)
{
    static const struct {
        unsigned reads;
        int (*variant)(int i, variant *v);
    } rows[] = {{P_form, normrelu_variant},    {P_relumax_b, relumax_variant},
                {P_exponent, kernel_variant},  {P_lag, attention_variant},
                {P_TRANSFORM, memory_variant}, {P_eps_add, norm_variant},
                {P_update, adamw_variant},     {P_rate, noise_variant}};
    *v = (variant){.p = call_params(o)};
    if (o->reads & P_alpha) v->p.alpha = alpha;
    if (o->reads & P_k) v->p.k = top;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        if (o->reads & rows[r].reads) return rows[r].variant(i, v);
    return own_variant(o, i, v);
}

/* Does a problem fit a check: products of at most 2^30 operations, sequences of at most 4097? */
static int affordable(const op *o, const dims *d, int64_t n)
{
    const params p = call_params(o);
    if (o->flop(d, &p) > 0x1p30) return 0;
    return n <= 4097 || !strstr(o->signature, ":BTHD");
}

dims match_dims(const op *o, int64_t n, int64_t rows)
{
    const int few = n >= 1024;
    dims d = call_dims(o, n, 1);
    if (rows == 0) rows = n > 1024 ? 8 : 16;
    if (op_is_transform(o) || op_is_transform_grad(o) || strstr(o->signature, ":R")) d.R = rows;
    if (strstr(o->signature, ":BTHD")) { /* an odd width, and that of the models */
        d.B = few ? 1 : 2;
        d.H = n % 2 ? 3 : 2;
        d.D = n % 2 ? 5 : 64;
        if (o->kind == MEMORY) d.T = 33;
        if (o->kind == ATTENTION && n > 1024) d.H = 1; /* the reference takes seconds a head */
    }
    if (!affordable(o, &d, n)) d.B = 0;
    return d;
}
