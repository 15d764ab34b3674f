/* SPDX-License-Identifier: MIT
 *
 * sequence_ngram.c — the in-context n-gram predictor of the prompt tasks: what counting the
 * tokens of the sequence so far can say about the next one.
 *
 *   P_0(a) = 1/V,   P_n(a|h) = (c(ha) + P_{n-1}(a|h')) / (c(h) + 1)
 *
 * c counts in x[0..t]; h are the last n-1 tokens, c(h) how often they were continued; h' is h
 * without its first token. n = 1, 2, 3. Rows without a scored target are left uniform.
 * n = 0 is chance, for every form: P_0, and a random label as argmax (1e-13 apart, drawn from the
 * index of the sample), since the lowest id would be never or always right in some tasks.
 *
 * logits [T][V]. Method: for each order a chain from every occurrence of a context to the one
 * before it, so that a row costs V and the number of occurrences.
 */
#include <math.h>
#include <stdlib.h>

#include "sequence.h"

/* The context of `words` tokens that ends at t, as a number; -1 at the start of the sequence. */
static int64_t context(const sample *s, int64_t t, int words, int32_t V)
{
    if (t + 1 < words) return -1;
    int64_t h = 0;
    for (int i = 0; i < words; i++)
        h = h * V + s->x[t - i];
    return h;
}

/* previous[t]: the last position before t that ends the same context, or -1. */
static void chain(const sample *s, int words, int32_t V, int64_t contexts, int64_t *last,
                  int64_t *previous)
{
    for (int64_t h = 0; h < contexts; h++)
        last[h] = -1;
    for (int64_t t = 0; t < s->T; t++) {
        int64_t h = context(s, t, words, V);
        previous[t] = h < 0 ? -1 : last[h];
        if (h >= 0) last[h] = t;
    }
}

/* Raise every scored row of p from order words to words + 1. */
static void refine(const sample *s, int32_t V, const int64_t *previous, double *p)
{
    for (int64_t t = 0; t < s->T; t++) {
        if (s->y[t] == IGNORE) continue;
        double *row = p + t * V, continued = 0;
        for (int64_t u = previous[t]; u >= 0; u = previous[u]) {
            row[s->x[u + 1]] += 1;
            continued += 1;
        }
        for (int32_t a = 0; a < V; a++)
            row[a] /= continued + 1;
    }
}

/* Order 1: all tokens so far. */
static void unigram(const sample *s, int32_t V, double *p, double *seen)
{
    for (int32_t a = 0; a < V; a++)
        seen[a] = 0;
    for (int64_t t = 0; t < s->T; t++) {
        double *row = p + t * V;
        seen[s->x[t]] += 1;
        if (s->y[t] == IGNORE) continue;
        for (int32_t a = 0; a < V; a++)
            row[a] = (seen[a] + 1.0 / V) / ((double)(t + 1) + 1);
    }
}

static void chance_symbols(const dataset *d, const sample *s, double *logits)
{
    const sequence_rule *rule = sequence_rule_of(d);
    rng r = {rng_fold((uint64_t)s->index, (uint64_t)d->task->id)};
    for (int64_t t = 0; t < s->T; t++)
        for (int32_t a = 0; a < d->vocab; a++)
            logits[t * d->vocab + a] =
                s->y[t] == IGNORE || a >= rule->labels ? 0 : 1e-13 * rng_uniform(&r);
}

status sequence_ngram(const dataset *d, const sample *s, int order, double *logits)
{
    int32_t V = d->vocab;
    if (order < 0 || order > 3)
        return fail(ERR_ARG, "%s: n-gram of order %d: expected 0..3", d->task->name, order);
    if (order > 0 && sequence_rule_of(d)->form != FORM_PROMPT)
        return fail(ERR_ARG, "%s: no n-gram baseline: its answers do not continue a text",
                    d->task->name);
    if (order == 0) {
        chance_symbols(d, s, logits);
        return OK;
    }
    int64_t contexts = order == 3 ? (int64_t)V * V : V;
    double *seen = malloc((size_t)V * sizeof *seen);
    int64_t *last = malloc((size_t)contexts * sizeof *last);
    int64_t *previous = malloc((size_t)s->T * sizeof *previous);
    status result = OK;
    if (!seen || !last || !previous) {
        result = fail(ERR_MEMORY, "%s: n-gram: out of memory", d->task->name);
        goto done;
    }
    unigram(s, V, logits, seen);
    for (int words = 1; words < order; words++) {
        chain(s, words, V, words == 2 ? (int64_t)V * V : V, last, previous);
        refine(s, V, previous, logits);
    }
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t i = t * V; i < (t + 1) * V; i++)
            logits[i] = s->y[t] == IGNORE ? 0 : log(logits[i]);
done:
    free(seen);
    free(last);
    free(previous);
    return result;
}
