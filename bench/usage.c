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
