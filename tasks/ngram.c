/* SPDX-License-Identifier: MIT
 *
 * ngram.c — interpolated n-grams with Witten-Bell weights (Witten and Bell 1991).
 *
 *     P_n(w | h) = (c(hw) + D(h) P_(n-1)(w | h')) / (c(h) + D(h)),   P_0 = 1/V,
 *
 * c counts, D(h) = number of distinct ids seen after h, h' = h without its first id. An unseen
 * context leaves P_(n-1) as it is. In logarithms a level shifts the whole row by
 * ln(D / (c + D)) and corrects the ids that were seen.
 *
 * The n-grams of an order stand sorted, as numbers with one 16-bit digit per id, beside their
 * counts: all continuations of a context are neighbours.
 */
#include "ngram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct table {
    uint64_t *gram;
    uint32_t *count;
    size_t size;
} table;

struct ngram {
    int32_t vocab;
    double *base; /* ln P_1 */
    table level[NGRAM_ORDERS + 1];
};

/* Stable sort by one 16-bit digit. */
static void sort_digit(const uint64_t *from, uint64_t *to, size_t count, int digit, size_t *place)
{
    memset(place, 0, (65536 + 1) * sizeof *place);
    for (size_t i = 0; i < count; i++)
        place[(from[i] >> 16 * digit & 0xffff) + 1]++;
    for (size_t i = 0; i < 65536; i++)
        place[i + 1] += place[i];
    for (size_t i = 0; i < count; i++)
        to[place[from[i] >> 16 * digit & 0xffff]++] = from[i];
}

static status compress(const uint64_t *sorted, size_t count, table *t)
{
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++)
        distinct += i == 0 || sorted[i] != sorted[i - 1];
    t->gram = malloc((distinct + 1) * sizeof *t->gram);
    t->count = calloc(distinct + 1, sizeof *t->count);
    if (!t->gram || !t->count) return fail(ERR_MEMORY, "n-grams: no memory for %zu", distinct);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || sorted[i] != sorted[i - 1]) t->gram[t->size++] = sorted[i];
        t->count[t->size - 1]++;
    }
    return OK;
}

static status count_order(const uint16_t *ids, size_t count, int order, table *t)
{
    size_t n = count < (size_t)order ? 0 : count - (size_t)order + 1;
    uint64_t *a = malloc((n + 1) * sizeof *a), *b = malloc((n + 1) * sizeof *b);
    size_t *place = malloc((65536 + 1) * sizeof *place);
    status s = a && b && place ? OK : fail(ERR_MEMORY, "n-grams: no memory for %zu", n);
    if (s == OK) {
        for (size_t i = 0; i < n; i++) {
            a[i] = 0;
            for (int k = 0; k < order; k++)
                a[i] = a[i] << 16 | ids[i + (size_t)k];
        }
        for (int digit = 0; digit < order; digit++) {
            sort_digit(a, b, n, digit, place);
            uint64_t *swap = a;
            a = b;
            b = swap;
        }
        s = compress(a, n, t);
    }
    free(a);
    free(b);
    free(place);
    return s;
}

static size_t lower_bound(const table *t, uint64_t gram)
{
    size_t low = 0, high = t->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->gram[middle] < gram)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* From P_(n-1) in `row` to P_n. context: the n-1 ids, one per 16-bit digit. */
static void interpolate(const table *t, uint64_t context, int32_t vocab, double *row)
{
    size_t first = lower_bound(t, context << 16), last = lower_bound(t, (context + 1) << 16);
    if (first == last) return;
    double distinct = (double)(last - first), total = distinct;
    for (size_t i = first; i < last; i++)
        total += t->count[i];
    double shift = log(distinct / total);
    for (int32_t w = 0; w < vocab; w++)
        row[w] += shift;
    for (size_t i = first; i < last; i++) {
        double *p = &row[t->gram[i] & 0xffff];
        *p = log(exp(*p) + t->count[i] / total);
    }
}

status ngram_build(const uint16_t *ids, size_t count, int32_t vocab, ngram **out)
{
    *out = NULL;
    ngram *g = calloc(1, sizeof *g);
    if (!g) return fail(ERR_MEMORY, "n-grams: no memory");
    g->vocab = vocab;
    g->base = malloc((size_t)vocab * sizeof *g->base);
    status s = g->base ? OK : fail(ERR_MEMORY, "n-grams: no memory");
    for (int order = 1; s == OK && order <= NGRAM_ORDERS; order++)
        s = count_order(ids, count, order, &g->level[order]);
    if (s != OK) {
        ngram_free(g);
        return s;
    }
    for (int32_t w = 0; w < vocab; w++)
        g->base[w] = -log(vocab);
    interpolate(&g->level[1], 0, vocab, g->base);
    *out = g;
    return OK;
}

status ngram_logits(const ngram *g, const int32_t *x, int64_t T, int order, double *logits)
{
    if (order < 1 || order > NGRAM_ORDERS)
        return fail(ERR_ARG, "n-grams: order %d: expected 1..%d", order, NGRAM_ORDERS);
    for (int64_t t = 0; t < T; t++) {
        double *row = logits + t * g->vocab;
        memcpy(row, g->base, (size_t)g->vocab * sizeof *row);
        uint64_t context = 0;
        for (int n = 2; n <= order && n - 2 <= t; n++) {
            context |= (uint64_t)(uint16_t)x[t - (n - 2)] << 16 * (n - 2);
            interpolate(&g->level[n], context, g->vocab, row);
        }
    }
    return OK;
}

void ngram_free(ngram *g)
{
    if (!g) return;
    for (int i = 0; i <= NGRAM_ORDERS; i++) {
        free(g->level[i].gram);
        free(g->level[i].count);
    }
    free(g->base);
    free(g);
}
