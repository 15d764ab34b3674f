/* SPDX-License-Identifier: MIT
 *
 * key.c — what the keys of a pivot are called, by the lists: operations, methods, baselines.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mosaic.h"
#include "pivot.h"

static const struct op_name {
    const char *name, *title, *grad;
} op_names[] = {
#define OP(name, title, signature, grad, ...) {#name, title, #grad},
#include "ops.def"
#undef OP
};

static const struct predictor_name {
    const char *name, *label, *colour;
} predictor_names[] = {
#define METHOD(name, label, op, colour, ...) {#name, label, colour},
#include "methods.def"
#undef METHOD
#define BASELINE(name, order, label, colour) {#name, label, colour},
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

static int is_taken(const char *colour)
{
    for (int i = 0; i < PREDICTOR_NAMES; i++)
        if (strcmp(predictor_names[i].colour, colour) == 0) return 1;
    return 0;
}

const char *key_colour(const key *k, int index)
{
    static const char *const palette[] = {"#1b1b1b", "#d95f02", "#1b9e77", "#7570b3", "#e7298a",
                                          "#1f78b4", "#e6ab02", "#00b4d8", "#b15928", "#6a3d9a",
                                          "#33a02c", "#fb9a99", "#666666", "#9ccb3b"};
    enum { COLOURS = sizeof palette / sizeof *palette };
    const datum *who = NULL;
    char text[200];
    for (int i = 0; i < k->count; i++)
        if (k->part[i].is_name && strcmp(k->part[i].column, "method") == 0) who = &k->part[i];
    key_text(k, text, sizeof text);
    const struct predictor_name *known = find_predictor(who ? who->name : text);
    if (known) return known->colour;
    if (!who) return palette[index % COLOURS];
    /* one of the families: never in the colour of a method */
    const char *own[COLOURS];
    int count = 0;
    for (int i = 0; i < COLOURS; i++)
        if (!is_taken(palette[i])) own[count++] = palette[i];
    return count ? own[index % count] : palette[index % COLOURS];
}
