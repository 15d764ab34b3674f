/* SPDX-License-Identifier: MIT
 *
 * error.c — how a failure reaches the user: a status for the program, one line for the person.
 */
#include "spec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 4600 }; /* a path and what is wrong with it */

static _Thread_local char line[LINE];

/* The new line may quote the old one. */
status fail(status s, const char *format, ...)
{
    char text[LINE];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    memcpy(line, text, LINE);
    return s;
}

const char *last_error(void)
{
    return line;
}

const char *status_text(status s)
{
    switch (s) {
#define X(name, text)                                                                              \
    case name:                                                                                     \
        return text;
        STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

params params_default(void)
{
    return (params){
        .alpha = 1.5,
        .k = 16,
        .relumax_b = 1,
        .relumax_power = 2,
        .form = NORMRELU_PAPER,
        .empty = EMPTY_UNIFORM,
        .slope = 1,
        .solver = SOLVER_AUTO,
        .exponent = INFINITY,
        .lag = 1,
        .scale = 1,
        .eps = 1e-8,
        .lr = 1e-3,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .decay = 0.1,
        .clip = 1,
        .update = 1,
    };
}
