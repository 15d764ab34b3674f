/* SPDX-License-Identifier: MIT
 *
 * key.c — what the keys of a pivot are called, by the lists: operations, methods, baselines.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "marks.h"
#include "mosaic.h"
#include "pivot.h"

static const struct op_name {
    const char *name, *title, *grad;
    uint64_t reads;
} op_names[] = {
#define OP(name, title, signature, grad, kind, reads, ...) {#name, title, #grad, reads},
#include "ops.def"
#undef OP
};

static const struct predictor_name {
    const char *name, *label, *op; /* op "": a baseline */
    look look;
} predictor_names[] = {
#define METHOD(name, label, op, colour, dash, mark, ...)                                           \
    {#name, label, #op, {colour, dash, MARK_##mark}},
#include "methods.def"
#undef METHOD
#define BASELINE(name, order, label, colour, dash) {#name, label, "", {colour, dash, 0}},
#include "baselines.def"
#undef BASELINE
};
enum {
    OP_NAMES = sizeof op_names / sizeof *op_names,
    PREDICTOR_NAMES = sizeof predictor_names / sizeof *predictor_names
};

key key_head(const char *text)
{
    key k = {.count = 1, .part[0] = {.column = "", .is_name = 1, .number = NAN}};
    snprintf(k.part[0].name, sizeof k.part[0].name, "%s", text);
    return k;
}

static int is_there(const datum *d)
{
    return d->is_name || !isnan(d->number);
}

/* As "%.6g", but a third is a third. */
static void number_text(double x, char *text, size_t size)
{
    const double thirds = 3 * x;
    if (fabs(x) < 1e6 && thirds != 3 * floor(x) && thirds == floor(thirds))
        snprintf(text, size, "%.0f/3", thirds);
    else
        snprintf(text, size, "%.6g", x);
}

void key_text(const key *k, char *text, size_t size)
{
    size_t used = 0;
    *text = '\0';
    for (int i = 0; i < k->count && used < size; i++) {
        const datum *d = &k->part[i];
        const char *space = used ? " " : "";
        if (!is_there(d)) continue;
        used +=
            (size_t)(d->is_name ? snprintf(text + used, size - used, "%s%s", space, d->name)
                                : snprintf(text + used, size - used, "%s%.6g", space, d->number));
    }
}

static const struct predictor_name *find_predictor(const char *name)
{
    for (int i = 0; i < PREDICTOR_NAMES; i++)
        if (strcmp(predictor_names[i].name, name) == 0) return &predictor_names[i];
    return NULL;
}

static void op_label(const char *name, int plain, char *label, size_t size)
{
    snprintf(label, size, "%s", name);
    for (int i = 0; i < OP_NAMES; i++) {
        const struct op_name *o = &op_names[i];
        if (strcmp(o->name, name) == 0 && *o->title) snprintf(label, size, "%s", o->title);
        if (strcmp(o->grad, name) == 0)
            snprintf(label, size, "%s%s", o->title, plain ? "" : ", backward");
    }
}

/* Also of the families with a number in the name. */
static void method_label(const char *name, char *label, size_t size)
{
    const struct predictor_name *known = find_predictor(name);
    method m;
    if (known)
        snprintf(label, size, "%s", known->label);
    else
        snprintf(label, size, "%s", method_find(name, &m) == OK ? m.label : name);
}

static void name_label(const datum *d, int plain, char *label, size_t size)
{
    if (strcmp(d->column, "op") == 0 || strcmp(d->column, "transform") == 0)
        op_label(d->name, plain, label, size);
    else if (strcmp(d->column, "method") == 0)
        method_label(d->name, label, size);
    else
        snprintf(label, size, "%s", d->name);
}

static void number_label(const datum *d, char *label, size_t size)
{
    const double x = d->number;
    if (strcmp(d->column, "layers") == 0 && x == 0)
        snprintf(label, size, "no model");
    else if (strcmp(d->column, "layers") == 0)
        snprintf(label, size, "L = %.6g", x);
    else if (strcmp(d->column, "beta") == 0)
        snprintf(label, size, "β = %.3g", x);
    else
        number_text(x, label, size);
}

/* What stands before a datum that is not the first. */
static const char *before(const datum *d)
{
    static const struct {
        const char *column, *text;
    } texts[] = {{"alpha", ", α = "}, {"n", ", N = "},   {"type", ", "}, {"layers", ", "},
                 {"beta", ", "},      {"impl", ", by "}, {"input", ", "}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(d->column, texts[i].column) == 0) return texts[i].text;
    return " ";
}

void key_label(const key *k, int plain, char *label, size_t size)
{
    size_t used = 0;
    char one[200];
    *label = '\0';
    for (int i = 0; i < k->count && used < size; i++) {
        const datum *d = &k->part[i];
        if (!is_there(d)) continue;
        if (d->is_name)
            name_label(d, plain, one, sizeof one);
        else
            number_label(d, one, sizeof one);
        used += (size_t)snprintf(label + used, size - used, "%s%s", used ? before(d) : "", one);
    }
}

static const datum *part_called(const key *k, const char *name)
{
    for (int i = 0; i < k->count; i++)
        if (strcmp(k->part[i].column, name) == 0) return &k->part[i];
    return NULL;
}

/* The operation of a key, of a gradient that it is one of; NULL if it has none. */
static const struct op_name *op_of(const key *k)
{
    const datum *d = part_called(k, "op"), *of = part_called(k, "transform");
    if (of && of->is_name && *of->name) d = of;
    for (int i = 0; d && d->is_name && i < OP_NAMES; i++)
        if (strcmp(op_names[i].name, d->name) == 0 || strcmp(op_names[i].grad, d->name) == 0)
            return &op_names[i];
    return NULL;
}

/* The first method of an operation, at the alpha of the key where the operation reads one. */
static const struct predictor_name *method_of_op(const key *k)
{
    const struct op_name *o = op_of(k);
    const datum *alpha = part_called(k, "alpha");
    method m;
    for (int i = 0; o && i < PREDICTOR_NAMES; i++) {
        const struct predictor_name *p = &predictor_names[i];
        if (strcmp(p->op, o->name) != 0 || method_find(p->name, &m) != OK) continue;
        if (!(o->reads & P_alpha)) return p;
        if (alpha && fabs(alpha->number - m.p.alpha) < 1e-6) return p;
    }
    return NULL;
}

static const struct predictor_name *predictor_of_key(const key *k)
{
    const datum *who = part_called(k, "method");
    char text[200];
    if (who && who->is_name) return find_predictor(who->name);
    key_text(k, text, sizeof text);
    const struct predictor_name *named = find_predictor(text);
    return named ? named : method_of_op(k);
}

look key_look(const key *k, int index)
{
    /* of everything that is no method: an ordered ramp of a hue that no method has */
    static const look ramp[] = {
        {"#3f2a14", "", MARK_circle},      {"#94694a", "10,4", MARK_square},
        {"#c79a6b", "4,3", MARK_triangle}, {"#5c4a3a", "10,4,3,4", MARK_diamond},
        {"#a0764a", "2,4", MARK_wedge},    {"#d8b48c", "16,4", MARK_pentagon},
        {"#4d3319", "6,3,2,3", MARK_plus}, {"#7a5230", "6,3,2,3,2,3", MARK_cross}};
    const struct predictor_name *known = predictor_of_key(k);
    return known ? known->look : ramp[index % (int)(sizeof ramp / sizeof *ramp)];
}

int key_rank(const key *k)
{
    const struct predictor_name *known = predictor_of_key(k);
    return known ? (int)(known - predictor_names) : PREDICTOR_NAMES;
}

int key_untrained(const key *k)
{
    const struct predictor_name *known = predictor_of_key(k);
    return known && !*known->op;
}
