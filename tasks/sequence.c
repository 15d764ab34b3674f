/* SPDX-License-Identifier: MIT
 *
 * sequence.c — reverse, copy and sort: length generalisation (spec of the tasks, section 3).
 *
 *   src: L symbols, below(32) each, left to right
 *   trg: src backwards; src; src ascending with multiplicity
 *
 * Samples [BOS] src [SEP] trg [EOS], T = 2L + 2, scored from SEP on (L + 1 positions). Training
 * L = 32..64, shards L = 64 2^i. Source: the generator of ASEntmax, as read by the paper's code.
 */
#include "sequence.h"

enum { SYMBOLS = 32 };

static void solve_reverse(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    (void)d;
    for (int64_t i = 0; i < S; i++)
        trg[i] = src[S - 1 - i];
    *R = S;
}

static void solve_copy(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    (void)d;
    for (int64_t i = 0; i < S; i++)
        trg[i] = src[i];
    *R = S;
}

static void solve_sort(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    (void)d;
    int64_t count[SYMBOLS] = {0}, at = 0;
    for (int64_t i = 0; i < S; i++)
        count[src[i]]++;
    for (int32_t c = 0; c < SYMBOLS; c++)
        for (int64_t i = 0; i < count[c]; i++)
            trg[at++] = c;
    *R = S;
}

static void draw_input(rng *r, int64_t L, int32_t *src)
{
    for (int64_t i = 0; i < L; i++)
        src[i] = (int32_t)rng_below(r, SYMBOLS);
}

#define SEQUENCE_TASK(word, number)                                                                \
    static void generate_##word(const dataset *d, const void *own, rng *r, int64_t L,              \
                                int32_t *src, int64_t *S, int32_t *trg, int64_t *R)                \
    {                                                                                              \
        (void)own;                                                                                 \
        draw_input(r, L, src);                                                                     \
        *S = L;                                                                                    \
        solve_##word(d, src, L, trg, R);                                                           \
    }                                                                                              \
    static const sequence_rule word##_rule = {                                                     \
        .form = FORM_PROMPT,                                                                       \
        .inputs = SYMBOLS,                                                                         \
        .labels = SYMBOLS,                                                                         \
        .symbols = SYMBOLS,                                                                        \
        .center = 48,                                                                              \
        .vary = 16,                                                                                \
        .shortest = 1,                                                                             \
        .room = sequence_room,                                                                     \
        .generate = generate_##word,                                                               \
        .solve = solve_##word,                                                                     \
        .fits = sequence_equal,                                                                    \
        .expected = "as many as the source",                                                       \
        .score = sequence_score,                                                                   \
    };                                                                                             \
    static status open_##word(const struct task *t, const data_options *o, dataset **out)          \
    {                                                                                              \
        return sequence_open(t, o, &word##_rule, out);                                             \
    }                                                                                              \
    const struct task word##_task = {                                                              \
        .name = #word,                                                                             \
        .title = #word,                                                                            \
        .source = "length generalisation tasks of ASEntmax, lengths 32..64 in training",           \
        .id = number,                                                                              \
        .metrics = "exact token_acc em_eos ce",                                                    \
        .greedy = 1,                                                                               \
        .open = open_##word,                                                                       \
        .write = sequence_write,                                                                   \
    };

SEQUENCE_TASK(reverse, 2)
SEQUENCE_TASK(copy, 3)
SEQUENCE_TASK(sort, 4)
