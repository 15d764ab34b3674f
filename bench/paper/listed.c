/* SPDX-License-Identifier: MIT
 *
 * listed.c — the names that an experiment file takes from the lists, so that a new row is in every
 * experiment that is about all of its kind:
 *
 *   $transforms            row transforms with a gradient (ops.def)
 *   $gradients             their gradients
 *   $nonzero_gradients     of those whose weights answer to their scores
 *   $few_methods, $most_methods, $main_methods
 *                          methods that are shown so, or more (methods.def)
 *
 * with commas between them, for {...} and lists of words; $|name has bars, for keep=.
 */
#include <string.h>

#include "buffer.h"
#include "experiment.h"

/* The sets of methods.def, each in the next. */
enum shown { FEW, MOST, MAIN, VARIANT };

static const struct op_row {
    const char *name, *title, *grad; /* a gradient has no title */
    op_kind kind;
} op_rows[] = {
#define OP(name, title, signature, grad, kind, ...) {#name, title, #grad, kind},
#include "ops.def"
#undef OP
};

static const struct method_row {
    const char *name;
    enum shown shown;
} method_rows[] = {
#define METHOD(name, label, op, colour, dash, mark, shown, ...) {#name, shown},
#include "methods.def"
#undef METHOD
};

static void append_name(buffer *b, const char *name, char between)
{
    if (b->used) buffer_add(b, "%c", between);
    buffer_add(b, "%s", name);
}

static int is_called(const char *list, size_t length, const char *name)
{
    return strlen(name) == length && strncmp(list, name, length) == 0;
}

char *listed_names(const char *list, size_t length, char between)
{
    static const char *const sets[] = {"few_methods", "most_methods", "main_methods"};
    const int transforms = is_called(list, length, "transforms");
    const int nonzero = is_called(list, length, "nonzero_gradients");
    const int gradients = nonzero || is_called(list, length, "gradients");
    buffer b = {0};
    buffer_add(&b, "%s", "");
    for (size_t i = 0; i < sizeof op_rows / sizeof *op_rows; i++) {
        const struct op_row *o = &op_rows[i];
        if (!*o->title || o->kind >= REGRESSION) continue;
        if (transforms) append_name(&b, o->name, between);
        if (gradients && !(nonzero && o->kind == UNIFORM)) append_name(&b, o->grad, between);
    }
    for (size_t i = 0; i < sizeof method_rows / sizeof *method_rows; i++)
        for (int set = FEW; set < VARIANT; set++)
            if (method_rows[i].shown <= (enum shown)set && is_called(list, length, sets[set]))
                append_name(&b, method_rows[i].name, between);
    return b.text;
}
