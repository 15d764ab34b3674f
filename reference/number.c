/* SPDX-License-Identifier: MIT
 *
 * number.c — numbers as people type them, by one grammar everywhere:
 *
 *     integer   [-] digits
 *     real      decimal [/ decimal], or e (2.718...)
 *     decimal   [-] digits and a point [e exponent]
 *
 * strtod and strtoll alone would take "inf", "0x2", "+1" and blanks.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec.h"

/* One decimal at *text, which is moved behind it; 0 if there is none. */
static int take_decimal(const char **text, double *value)
{
    const char *digits = *text + (**text == '-');
    char *end;
    if (!isdigit((unsigned char)*digits) && *digits != '.') return 0;
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) return 0;
    *value = strtod(*text, &end);
    if (end == *text) return 0;
    *text = end;
    return 1;
}

int parse_real(const char *text, double *value)
{
    double x, divisor;
    if (strcmp(text, "e") == 0) return *value = exp(1), 1;
    if (!take_decimal(&text, &x)) return 0;
    if (*text == '/') {
        text++;
        if (!take_decimal(&text, &divisor) || divisor == 0) return 0;
        x /= divisor;
    }
    if (*text || !isfinite(x)) return 0;
    *value = x;
    return 1;
}

int parse_integer(const char *text, int64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)text[*text == '-'])) return 0;
    errno = 0;
    const long long x = strtoll(text, &end, 10);
    if (*end || errno) return 0;
    *value = x;
    return 1;
}
