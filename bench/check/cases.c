/* SPDX-License-Identifier: MIT
 *
 * cases.c — which parameters and sizes an operation is checked with.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"

static int starts(const op *o, const char *stem)
{
    return strncmp(o->name, stem, strlen(stem)) == 0;
}

int uses_alpha(const op *o)
{
    return starts(o, "entmax");
}

int uses_k(const op *o)
{
    return starts(o, "topk");
}

const char *type_name(dtype t)
{
    static const char *const names[] = {"f64", "f32", "bf16", "f16", "i32"};
    return names[t];
}

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
    static const char *const transforms[] = {"softmax", "sparsemax",    "entmax",      "normrelu",
                                             "relumax", "topk_softmax", "topk_uniform"};
    enum { COUNT = sizeof transforms / sizeof *transforms };
    if (i >= 2 * COUNT) return 0;
    v->transform = transforms[i % COUNT];
    v->p.form = NORMRELU_CODE_MATRIX;
    v->p.k = 3;
    v->p.lag = i < COUNT;
    v->p.scale = i < COUNT ? 1 : 0.125;
    snprintf(v->label, sizeof v->label, "%s lag %d", v->transform, i < COUNT);
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

int check_variant(const op *o, int i, double alpha, int64_t top, variant *v)
{
    *v = (variant){.p = call_params(o)};
    if (uses_alpha(o)) v->p.alpha = alpha;
    if (uses_k(o)) v->p.k = top;
    if (starts(o, "normrelu")) return normrelu_variant(i, v);
    if (starts(o, "relumax")) return relumax_variant(i, v);
    if (starts(o, "kernel_regression")) return kernel_variant(i, v);
    if (starts(o, "attention")) return attention_variant(i, v);
    if (starts(o, "unit_norm") || starts(o, "value_mix")) return norm_variant(i, v);
    if (starts(o, "adamw")) return adamw_variant(i, v);
    return i == 0;
}

/* The longest inner axis that keeps a stage affordable: attention stores T x T weights, a product
 * costs n^2 a row. */
static int64_t longest(const op *o)
{
    if (starts(o, "attention") || starts(o, "linear")) return 1024;
    if (strstr(o->signature, ":BTHD")) return 4097;
    return INT64_MAX;
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
        if (strstr(o->signature, ":HMD")) d.T = 33;
    }
    if (n > longest(o)) d.B = 0;
    return d;
}
