/* SPDX-License-Identifier: MIT
 *
 * gate.c — see gate.h.
 */
#include "gate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void gate_relative_free(behind *relative, int64_t rows)
{
    for (int64_t i = 0; relative && i < rows; i++)
        free(relative[i].x);
    free(relative);
}

status gate_relative(const behind *each, int64_t rows, behind **relative)
{
    behind *to = calloc((size_t)rows + 1, sizeof *to);
    int good = to != NULL;
    for (int64_t i = 0; good && i < rows; i++) {
        if (!each[i].x || each[i].count == 0) continue;
        to[i].x = malloc((size_t)each[i].count * sizeof *to[i].x);
        if (!(good = to[i].x != NULL)) break;
        to[i].count = each[i].count;
        summary yard = {.median = 1};
        if (each[i].weight && summarize(each[i].weight, each[i].count, &yard) != OK) good = 0;
        for (int64_t k = 0; k < to[i].count; k++)
            to[i].x[k] = each[i].x[k] / yard.median;
    }
    if (!good) gate_relative_free(to, rows);
    *relative = good ? to : NULL;
    return good ? OK : fail(ERR_MEMORY, "gate: out of memory");
}

/* The deviation of a median of n is 1.2533 times that of a mean, sigma / sqrt n. */
status gate_spread(const launch *base, int64_t count, int64_t launches, double *spread)
{
    double *centre = malloc((size_t)count * sizeof *centre), deviation = 0;
    summary of = {0};
    status s = centre ? OK : fail(ERR_MEMORY, "gate: out of memory");
    for (int64_t i = 0; s == OK && i < count; i++) {
        s = summarize(base[i].x, base[i].count, &of);
        centre[i] = of.median;
    }
    if (s == OK) s = summarize(centre, count, &of);
    if (s == OK) s = robust_deviation(centre, count, &deviation);
    free(centre);
    *spread = 1.2533 * sqrt(1.0 / (double)count + 1.0 / (double)launches) * deviation / of.median;
    return s;
}

static const compare_row *same_point(const compare_row *of, const compare_row *among, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (strcmp(among[i].point, of->point) == 0) return &among[i];
    return NULL;
}

void gate_agree(compare_row *first, int64_t count, const compare_row *second, int64_t again)
{
    for (int64_t i = 0; i < count; i++) {
        const compare_row *other = same_point(&first[i], second, again);
        const int moved =
            strcmp(first[i].verdict, "SLOWER") == 0 || strcmp(first[i].verdict, "FASTER") == 0;
        if (!other) continue;
        if (strcmp(other->verdict, "WRONG") == 0 ||
            (moved && strcmp(other->verdict, first[i].verdict) != 0))
            snprintf(first[i].verdict, sizeof first[i].verdict, "%s",
                     strcmp(other->verdict, "WRONG") == 0 ? "WRONG" : "AMBIGUOUS");
    }
}
