/* SPDX-License-Identifier: MIT
 *
 * method.c — from a method's name to a transform and its parameters. Names match exactly: a row of
 * methods.def, `entmax:<alpha>` with a number or a fraction above 1, `top<k>_softmax` or
 * `top<k>_uniform` with k >= 1.
 */
#include "mosaic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    const char *name, *label, *colour;
    op_id op;
    void (*set)(params *p); /* NULL for the families with a number in the name */
} entry;

#define METHOD(name, label, op, colour, dash, mark, shown, ...)                                    \
    static void set_##name(params *p)                                                              \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
#include "methods.def"
#undef METHOD

static const entry table[] = {
#define METHOD(name, label, op, colour, dash, mark, shown, ...)                                    \
    {#name, label, colour, OP_##op, set_##name},
#include "methods.def"
#undef METHOD
};
enum { METHODS = sizeof table / sizeof *table };

/* The families with a number in the name. */
static const entry family_entmax = {"", "", "#7a5230", OP_entmax, NULL};
static const entry family_softmax = {"", "", "#7a5230", OP_topk_softmax, NULL};
static const entry family_uniform = {"", "", "#7a5230", OP_topk_uniform, NULL};

const char *method_name(int i)
{
    return i >= 0 && i < METHODS ? table[i].name : NULL;
}

static void method_from(method *m, const entry *e, const char *name)
{
    *m = (method){.op = e->op, .p = params_default()};
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->label, sizeof m->label, "%s", e->label);
    snprintf(m->colour, sizeof m->colour, "%s", e->colour);
    if (e->set) e->set(&m->p);
}

/* "top<k>_softmax", "top<k>_uniform"; k without sign or leading zero. */
static int parse_top(const char *name, int64_t *k, int *uniform)
{
    const char *digits = name + 3;
    if (strncmp(name, "top", 3) != 0 || *digits < '1' || *digits > '9') return 0;
    const size_t count = strspn(digits, "0123456789");
    if (count > 18) return 0;
    *k = strtoll(digits, NULL, 10);
    *uniform = strcmp(digits + count, "_uniform") == 0;
    return *uniform || strcmp(digits + count, "_softmax") == 0;
}

status method_find(const char *name, method *m)
{
    const size_t longest = sizeof m->name - 1;
    const char *names[METHODS];
    double alpha;
    int64_t k;
    int uniform;
    for (int i = 0; i < METHODS; i++) {
        if (strcmp(name, table[i].name) == 0) {
            method_from(m, &table[i], name);
            return OK;
        }
        names[i] = table[i].name;
    }
    if (strlen(name) > longest)
        return fail(ERR_ARG, "method: a name of %zu characters: expected at most %zu", strlen(name),
                    longest);
    if (strncmp(name, "entmax:", 7) == 0) {
        if (!parse_real(name + 7, &alpha) || !(alpha > 1))
            return fail(ERR_ARG,
                        "method \"%s\": expected entmax:<alpha> with a number or a "
                        "fraction above 1, such as entmax:1.25 or entmax:5/4",
                        name);
        method_from(m, &family_entmax, name);
        m->p.alpha = alpha;
        snprintf(m->label, sizeof m->label, "%s-entmax", name + 7);
        return OK;
    }
    if (parse_top(name, &k, &uniform)) {
        method_from(m, uniform ? &family_uniform : &family_softmax, name);
        m->p.alpha = 1;
        m->p.k = k;
        snprintf(m->label, sizeof m->label, "top-%lld %s", (long long)k,
                 uniform ? "uniform" : "softmax");
        return OK;
    }
    return fail_unknown("unknown method", name, names, METHODS,
                        "a row of methods.def, entmax:<alpha>, top<k>_softmax or top<k>_uniform");
}
