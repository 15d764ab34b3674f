/* SPDX-License-Identifier: MIT
 *
 * config.c — the switches of a model: defaults, what is allowed, and their names on the command
 * line (model 9).
 */
#include "mosaic.h"
#include "stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mosaic_config config_default(void)
{
    mosaic_config c = {
        .banks = 1,
        .kappa_init = 0.1,
        .visible_lag = 1,
        .drop_context = 0.05,
        .drop_memory = 0.05,
        .drop_residual = 0.05,
        .ctx_dropout = 1,
        .pre_ln = 1,
        .tied = 1,
        .k_kernel = 1,
    };
    method_find("softmax", &c.method);
    method_find("softmax", &c.pmem_method);
    return c;
}

static status positive(const char *field, int64_t value)
{
    const int64_t most = INT64_C(1) << 31;
    if (value >= 1 && value <= most) return OK;
    return fail(ERR_ARG, "model: %s: expected 1..%lld, got %lld", field, (long long)most,
                (long long)value);
}

static status rate(const char *field, double value)
{
    if (value >= 0 && value < 1) return OK;
    return fail(ERR_ARG, "model: %s: expected 0 <= rate < 1, got %g", field, value);
}

static status check_method(const char *field, const method *m)
{
    const params *p = &m->p;
    TRY(transform_check(field, m->op));
    if (m->op == OP_entmax && !(p->alpha > 1 && p->alpha < INFINITY))
        return fail(ERR_ARG, "model: %s: alpha: expected > 1, got %g", field, p->alpha);
    if ((m->op == OP_topk_softmax || m->op == OP_topk_uniform) && p->k < 1)
        return fail(ERR_ARG, "model: %s: k: expected >= 1, got %lld", field, (long long)p->k);
    if (m->op == OP_relumax && !(p->relumax_b > 0 && p->relumax_b < INFINITY))
        return fail(ERR_ARG, "model: %s: b: expected > 0, got %g", field, p->relumax_b);
    return OK;
}

/* The persistent transform sees beta^2 <k,m> and no beta of its own. */
static status check_persistent(const method *m)
{
    TRY(check_method("pmem_method", m));
    if ((m->op == OP_normrelu && m->p.form != NORMRELU_CODE_EFT) ||
        (m->op == OP_relumax && m->p.relumax_power != 2))
        return fail(ERR_ARG,
                    "model: pmem_method: expected a transform of beta^2 c alone (softmax, "
                    "entmax, relumax, top-k), got \"%s\"",
                    m->name);
    return OK;
}

static status check_gpt(const mosaic_config *c)
{
    TRY(positive("T", c->T));
    if (c->gpt_cosine || (c->method.op != OP_normrelu && c->method.op != OP_relumax)) return OK;
    return fail(ERR_ARG, "model: method: expected qk=cosine for %s, whose kernel is of unit keys",
                c->method.name);
}

status config_check(const mosaic_config *c)
{
    if (c->arch != ARCH_MOSAIC && c->arch != ARCH_GPT)
        return fail(ERR_ARG, "model: arch: expected mosaic or gpt");
    TRY(positive("V", c->V));
    TRY(positive("d", c->d));
    TRY(positive("H", c->H));
    TRY(positive("L", c->L));
    if (c->d % c->H != 0)
        return fail(ERR_ARG, "model: H: expected a divisor of d = %lld, got %lld", (long long)c->d,
                    (long long)c->H);
    TRY(check_method("method", &c->method));
    if (!(fabs(c->kappa_init) < INFINITY))
        return fail(ERR_ARG, "model: kappa_init: expected a number, got %g", c->kappa_init);
    TRY(rate("drop_context", c->drop_context));
    TRY(rate("drop_memory", c->drop_memory));
    TRY(rate("drop_residual", c->drop_residual));
    if (c->skip_tokens < 0)
        return fail(ERR_ARG, "model: skip_tokens: expected >= 0, got %lld",
                    (long long)c->skip_tokens);
    if (c->arch == ARCH_GPT) return check_gpt(c);
    TRY(positive("k_kernel", c->k_kernel));
    if (c->visible_lag != 1 && c->visible_lag != 2)
        return fail(ERR_ARG, "model: visible_lag: expected 1 or 2, got %d", c->visible_lag);
    if (c->attn_only) return OK;
    TRY(positive("M", c->M));
    TRY(positive("banks", c->banks));
    if (c->banks > 200) /* the dropout sites of a layer are one byte */
        return fail(ERR_ARG, "model: banks: expected at most 200, got %lld", (long long)c->banks);
    return check_persistent(&c->pmem_method);
}

/* --- key=value --------------------------------------------------------------------------- */

static status choice(const char *key, const char *value, const char *const *names, int *to)
{
    char list[128] = "";
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) return *to = i, OK;
        if (i > 0) strncat(list, "|", sizeof list - strlen(list) - 1);
        strncat(list, names[i], sizeof list - strlen(list) - 1);
    }
    return fail(ERR_ARG, "%s: expected %s, got \"%s\"", key, list, value);
}

static status number(const char *key, const char *value, double *to)
{
    if (parse_real(value, to)) return OK;
    return fail(ERR_ARG, "%s: expected a number, got \"%s\"", key, value);
}

static status integer(const char *key, const char *value, int64_t *to)
{
    if (parse_integer(value, to)) return OK;
    return fail(ERR_ARG, "%s: expected an integer, got \"%s\"", key, value);
}

/* Fields that are numbers, and fields that are one of a few words. */
static status set_number(mosaic_config *c, const char *key, const char *value, int *known)
{
    const struct {
        const char *key;
        double *to;
    } reals[] = {
        {"kappa_init", &c->kappa_init},       {"relumax_b", &c->method.p.relumax_b},
        {"drop_context", &c->drop_context},   {"drop_memory", &c->drop_memory},
        {"drop_residual", &c->drop_residual},
    };
    const struct {
        const char *key;
        int64_t *to;
    } integers[] = {
        {"k_kernel", &c->k_kernel}, {"skip_tokens", &c->skip_tokens}, {"banks", &c->banks}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (strcmp(key, reals[i].key) == 0) return number(key, value, reals[i].to);
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        if (strcmp(key, integers[i].key) == 0) return integer(key, value, integers[i].to);
    *known = 0;
    return OK;
}

/* A parameter of the transform that no switch and no name of a method says: by its own name. */
static status set_parameter(method *m, const char *key, const char *value, int *known)
{
    const unsigned said = P_alpha | P_k | P_solver | P_form | P_empty | P_MASK;
    const unsigned own = reads_of(m->op) & ~said;
    double x;
    *known = 1;
#define PARAM(type, name, ...)                                                                     \
    if (own & P_##name && strcmp(key, #name) == 0) {                                               \
        TRY(number(key, value, &x));                                                               \
        m->p.name = (type)x;                                                                       \
        if ((double)m->p.name == x) return OK;                                                     \
        return fail(ERR_ARG, "%s: expected an integer, got \"%s\"", key, value);                   \
    }
#include "params.def"
#undef PARAM
    *known = 0;
    return OK;
}

status config_set(mosaic_config *c, const char *key, const char *value)
{
    static const char *const flag[] = {"0", "1", NULL}, *const on[] = {"off", "on", NULL};
    int form = -1, empty = -1, power = -1, solver = -1, lag = -1, known = 1;
    const struct {
        const char *key;
        const char *const *names;
        int *to;
    } words[] = {
        {"normrelu", (const char *const[]){"paper", "code_matrix", "code_eft", NULL}, &form},
        {"normrelu_empty", (const char *const[]){"uniform", "zero", "argmax", NULL}, &empty},
        {"relumax_power", (const char *const[]){"2", "4", NULL}, &power},
        {"entmax_solver",
         (const char *const[]){"auto", "sort", "newton", "bisect", "order", "adasplash5", NULL},
         &solver},
        {"visible_lag", (const char *const[]){"1", "2", NULL}, &lag},
        {"norm_eps", (const char *const[]){"max1e-12", "add1e-6", NULL}, &c->eps_add},
        {"value_clamp", (const char *const[]){"none", "eft", NULL}, &c->value_clamp},
        {"leaky_grad", (const char *const[]){"exact", "wkv", NULL}, &c->leaky_grad_wkv},
        {"wd_groups", (const char *const[]){"2d", "all", NULL}, &c->decay_all},
        {"v_fe", (const char *const[]){"lowr", "conv", NULL}, &c->v_conv},
        {"qk", (const char *const[]){"dot", "cosine", NULL}, &c->gpt_cosine},
        {"ctx_dropout", on, &c->ctx_dropout},
        {"freeze_kappa", flag, &c->freeze_kappa},
        {"decay_pathless", flag, &c->decay_pathless},
        {"pmem_norm", flag, &c->pmem_norm},
        {"pre_ln", flag, &c->pre_ln},
        {"weight_tying", flag, &c->tied},
        {"bias", flag, &c->bias},
        {"attn_only", flag, &c->attn_only},
    };
    if (strcmp(key, "method") == 0) return method_find(value, &c->method);
    if (strcmp(key, "pmem_method") == 0) return method_find(value, &c->pmem_method);
    TRY(set_number(c, key, value, &known));
    if (known) return OK;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(key, words[i].key) != 0) continue;
        TRY(choice(key, value, words[i].names, words[i].to));
        if (form >= 0) c->method.p.form = (normrelu_form)form;
        if (empty >= 0) c->method.p.empty = (empty_rule)empty;
        if (power >= 0) c->method.p.relumax_power = power == 0 ? 2 : 4;
        if (solver >= 0) c->method.p.solver = (entmax_solver)solver;
        if (lag >= 0) c->visible_lag = lag + 1;
        return OK;
    }
    TRY(set_parameter(&c->method, key, value, &known));
    if (known) return OK;
    return fail(ERR_ARG, "model: expected a switch of the model, or a parameter of %s, got \"%s\"",
                op_name(c->method.op), key);
}
