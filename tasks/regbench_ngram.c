/* SPDX-License-Identifier: MIT
 *
 * regbench_ngram.c — in-context n-grams with back-off (spec of the tasks, section 4.5).
 *
 * The strings of x[0..t], the last one partial, each behind N-1 pads `_`; c_n counts windows of n
 * symbols, pads included, `|` never. h: the last N-1 symbols of the last string.
 *
 *   P_n(a|h) = c_n(ha) / c_{n-1}(h)                         if c_n(ha) > 0
 *            = beta P_{n-1}(a|h') / sum_{b in B} P_{n-1}(b|h'),  B = {seen b: c_n(hb) = 0},
 *              beta = 1 - sum_{b not in B} c_n(hb) / c_{n-1}(h)
 *   P_1(a)   = c_1(a) / M_1, M_1 the total with pads
 *
 * The logits are ln P: -inf for letters not seen, `.` and `|`. If B is empty the row sums to less
 * than 1; the score takes it so. N = 1, 2, 3.
 * Order 0 is chance: uniform over the 18 letters, one of them 1e-13 more likely at random.
 */
#include <math.h>
#include <string.h>

#include "regbench.h"

enum { SYMBOLS = 1 + LETTERS }; /* 0 is the pad */

typedef struct counts {
    int order;
    double one[SYMBOLS], two[SYMBOLS][SYMBOLS], three[SYMBOLS][SYMBOLS][SYMBOLS];
    double total;     /* M_1 */
    int before, last; /* the two symbols at the end of the last string, with its pads */
} counts;

/* Append a symbol to the last string; `have` symbols of it stand before, pads included. */
static void append(counts *k, int have, int symbol)
{
    k->one[symbol] += 1;
    k->total += 1;
    if (have >= 1 && k->order >= 2) k->two[k->last][symbol] += 1;
    if (have >= 2 && k->order >= 3) k->three[k->before][k->last][symbol] += 1;
    k->before = k->last;
    k->last = symbol;
}

static void begin_string(counts *k)
{
    for (int i = 0; i < k->order - 1; i++)
        append(k, i, 0);
}

/* One order up: row holds P_{n-1}, continued[a] = c_n(ha), context = c_{n-1}(h). */
static void back_off(const counts *k, const double *continued, double context, double *row)
{
    double beta = 1, rest = 0;
    for (int a = 1; a < SYMBOLS; a++) {
        if (continued[a] > 0)
            beta -= continued[a] / context;
        else if (k->one[a] > 0)
            rest += row[a];
    }
    for (int a = 1; a < SYMBOLS; a++) {
        if (continued[a] > 0)
            row[a] = continued[a] / context;
        else if (k->one[a] > 0)
            row[a] = beta * row[a] / rest;
    }
}

static void chance_letters(const sample *s, double *logits)
{
    rng r = {rng_fold((uint64_t)s->index, 8)};
    for (int64_t t = 0; t < s->T; t++) {
        double *row = logits + t * REGBENCH_VOCAB;
        for (int a = 0; a < REGBENCH_VOCAB; a++)
            row[a] = a < 1 || a >= SYMBOLS ? -INFINITY : -log(LETTERS);
        row[1 + rng_below(&r, LETTERS)] += 1e-13;
    }
}

status regbench_ngram(const dataset *d, const sample *s, int order, double *logits)
{
    counts k;
    (void)d;
    if (order < 0 || order > 3)
        return fail(ERR_ARG, "regbench: n-gram of order %d: expected 0..3", order);
    if (order == 0) {
        chance_letters(s, logits);
        return OK;
    }
    memset(&k, 0, sizeof k);
    k.order = order;
    begin_string(&k);
    for (int64_t t = 0; t < s->T; t++) {
        double *row = logits + t * REGBENCH_VOCAB;
        if (s->x[t] == BAR)
            begin_string(&k);
        else
            append(&k, order - 1, s->x[t]);
        for (int a = 0; a < REGBENCH_VOCAB; a++)
            row[a] = a < 1 || a >= SYMBOLS ? 0 : k.one[a] / k.total;
        if (order >= 2) back_off(&k, k.two[k.last], k.one[k.last], row);
        if (order >= 3) back_off(&k, k.three[k.before][k.last], k.two[k.before][k.last], row);
        for (int a = 0; a < REGBENCH_VOCAB; a++)
            row[a] = log(row[a]);
    }
    return OK;
}
