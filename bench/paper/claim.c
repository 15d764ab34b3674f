/* SPDX-License-Identifier: MIT
 *
 * claim.c — a number of the paper beside ours: its verdict rests on an interval, of several seeds
 * on that of the bootstrap over seeds (statistics.h), by pairs where both sides have the same
 * seeds; of one seed on what a point has (pivot.h: Wilson's bounds of a proportion). One number
 * without an interval decides nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "show.h"
#include "statistics.h"

/* The numbers behind a mean, each with its seed, ordered by it. */
typedef struct seeded {
    double seed, value;
} seeded;

typedef struct numbers {
    seeded *at;
    int64_t count;
} numbers;

static int by_seed(const void *a, const void *b)
{
    const double x = ((const seeded *)a)->seed, y = ((const seeded *)b)->seed;
    return (x > y) - (x < y);
}

static double number_of(const source *from, const char *name, const char *row)
{
    field f;
    if (field_find(from->of, name, strlen(name), &f) != OK) return NAN;
    return field_read(from->of, &f, row).number;
}

/* A sum or a maximum is no mean: it has none. */
static status read_numbers(const source *from, const char *cell_name, const char *keep, numbers *n)
{
    filter *f = malloc(sizeof *f);
    *n = (numbers){0};
    n->at = malloc((size_t)(from->count + 1) * sizeof *n->at);
    status s =
        f && n->at ? filter_read(f, from->of, keep) : fail(ERR_MEMORY, "show: out of memory");
    for (int64_t i = 0; s == OK && !strchr(cell_name, ':') && i < from->count; i++) {
        const char *row = from->rows + (size_t)i * table_row_size(from->of);
        if (!filter_keeps(from->of, f, row)) continue;
        n->at[n->count++] = (seeded){number_of(from, "seed", row), number_of(from, cell_name, row)};
    }
    if (s == OK && n->count > 0) qsort(n->at, (size_t)n->count, sizeof *n->at, by_seed);
    free(f);
    return s;
}

static int same_seeds(const numbers *a, const numbers *b)
{
    if (a->count != b->count) return 0;
    for (int64_t i = 0; i < a->count; i++)
        if (a->at[i].seed != b->at[i].seed) return 0;
    return 1;
}

/* Of ours - theirs; theirs NULL: of ours. */
static status bootstrap_numbers(const numbers *ours, const numbers *theirs, interval *of)
{
    static const double zero[] = {0};
    const int64_t n = ours->count, m = theirs ? theirs->count : 1;
    const bootstrap how = {.of = DIFFERENCE_OF_MEANS,
                           .by = theirs && same_seeds(ours, theirs) ? BY_LAUNCH : UNPAIRED,
                           .resamples = 10000,
                           .seed = 1};
    launch *l = calloc((size_t)(n + m), sizeof *l);
    if (!l) return fail(ERR_MEMORY, "show: out of memory");
    for (int64_t i = 0; i < n; i++)
        l[m + i] = (launch){&ours->at[i].value, NULL, 1};
    for (int64_t i = 0; i < m; i++)
        l[i] = (launch){theirs ? &theirs->at[i].value : zero, NULL, 1};
    const status s = bootstrap_interval(&how, l, m, l + m, n, of);
    free(l);
    return s;
}

status claim_interval(const show *s, const line *l, double *low, double *high)
{
    const source *from;
    const char *cell_name = line_value(l, "cell", "value"), *versus = line_value(l, "versus", "");
    numbers ours = {0}, theirs = {0};
    interval of = {NAN, *low, *high};
    TRY(line_source(s, l, &from));
    status done = read_numbers(from, cell_name, line_value(l, "keep", ""), &ours);
    if (done == OK && *versus) done = read_numbers(from, cell_name, versus, &theirs);
    /* seeds of one side beside a single number of the other have no interval */
    if (*versus && (ours.count > 1) != (theirs.count > 1)) of.low = of.high = NAN;
    if (done == OK && ours.count > 1 && (!*versus || theirs.count > 1))
        done = bootstrap_numbers(&ours, *versus ? &theirs : NULL, &of);
    free(ours.at);
    free(theirs.at);
    *low = of.low;
    *high = of.high;
    return done;
}

const char *claim_verdict(const claim_result *c, const char *sign)
{
    const double low = *sign == '-' ? -INFINITY : *sign ? 0 : c->paper - c->tol;
    const double high = *sign == '-' ? 0 : *sign ? INFINITY : c->paper + c->tol;
    const int open = *sign != '\0'; /* 0 itself is neither negative nor positive */
    if (isnan(c->ours) || isnan(low) || isnan(high)) return "differs";
    if (isnan(c->low) || isnan(c->high)) return "undecided";
    if (open ? c->low > low && c->high < high : c->low >= low && c->high <= high) return "agrees";
    if (open ? c->high <= low || c->low >= high : c->high < low || c->low > high) return "differs";
    return "undecided";
}
