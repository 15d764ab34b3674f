/* SPDX-License-Identifier: MIT
 *
 * usage.c — what the program says to whoever got a word wrong: one line, an exit code, a guess.
 */
#include <stdarg.h>
#include <string.h>

#include "verb.h"

/* What is said stays one line, whatever a word or a path holds. */
static void say(const char *text)
{
    char line[4700];
    snprintf(line, sizeof line, "%s", text);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    fprintf(stderr, "mosaic: %s\n", line);
}

int usage_error(const char *format, ...)
{
    char line[4700];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    say(line);
    return EXIT_USAGE;
}

int status_exit(status s)
{
    if (s == OK) return EXIT_GOOD;
    say(*last_error() ? last_error() : status_text(s));
    switch (s) {
    case ERR_ARG:
        return EXIT_USAGE;
    case ERR_FILE:
    case ERR_DATA:
        return EXIT_DATA;
    case ERR_NUMERIC:
        return EXIT_CHECK;
    default:
        return EXIT_SYSTEM;
    }
}

/* Levenshtein distance of two short names. */
static size_t distance(const char *a, const char *b)
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

const char *nearest_name(const char *name, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t least = strlen(name) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(name, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}
