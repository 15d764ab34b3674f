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

/* Levenshtein distance of two names: the row of the table that belongs to a[0..i]. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || strlen(a) > LONGEST) return LONGEST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (diagonal + 1 < best) best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    /* A third of the letters and one more may differ, of a short word half. */
    const size_t letters = strlen(word), some = letters / 3 + 1, half = letters / 2;
    const char *best = NULL;
    size_t least = 1 + (some < half ? some : half);
    for (size_t i = 0; i < count; i++) {
        size_t d = edit_distance(word, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

status fail_unknown(const char *what, const char *word, const char *const *names, size_t count,
                    const char *expected)
{
    const char *near = nearest_name(word, names, count);
    if (near) return fail(ERR_ARG, "%s \"%.60s\"; did you mean %s?", what, word, near);
    return fail(ERR_ARG, "%s \"%.60s\": expected %s", what, word, expected);
}

params params_default(void)
{
    return (params){
#define PARAM(type, name, value, ...) .name = value,
#include "params.def"
#undef PARAM
    };
}
