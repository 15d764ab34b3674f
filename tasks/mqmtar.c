/* SPDX-License-Identifier: MIT
 *
 * mqmtar.c — multi-query multi-token associative recall (spec of the tasks, section 2).
 *
 *   words: pairs of letters 3..258; per split 10000 distinct keys and 10000 distinct values
 *   src:   n = floor(2L/15) slots of w = floor(L/n) tokens  0^l k1 k2 1 v1 v2 0 0^(w-6-l),
 *          then q queries  2 k1 k2   (option `queries`, 4 in the published task)
 *   trg:   2 v1 v2  for each query
 *
 * The l of a slot is hypergeometric: w-6 spaces, a uniform subset of w-1 places on the left and w-3
 * on the right. Pairs are drawn anew for every sample; queries with replacement.
 * Scores: assoc, the share of queries with both letters right; exact, of samples with all q;
 * letter_acc; token_acc over trg (markers too). Source: the generator of ASEntmax.
 */
#include <stdlib.h>

#include "sequence.h"

enum {
    SPACE = 0,
    SEPARATOR = 1,
    QUERY = 2,
    LETTER = 3,
    ALPHABET = 256,
    WORDS = 10000,
    MOST_QUERIES = 1000,
    GROUP = 3, /* marker and the two letters of a word */
    SLOT_LEAST = 6
};

/* Word lists of a split; word w is the letters w / 256 and w % 256. */
typedef struct word_lists {
    uint32_t key[WORDS], value[WORDS];
} word_lists;

static void put_word(int32_t *at, uint32_t word)
{
    at[0] = LETTER + (int32_t)(word / ALPHABET);
    at[1] = LETTER + (int32_t)(word % ALPHABET);
}

static int64_t pairs_of(int64_t L)
{
    int64_t n = 2 * L / 15;
    return n < WORDS ? n : WORDS;
}

static status prepare_words(const data_options *o, void **own)
{
    enum { ALL = ALPHABET * ALPHABET };
    word_lists *lists = malloc(sizeof *lists);
    uint8_t *seen = calloc(ALL, 1);
    *own = lists;
    if (lists && seen) {
        rng r = rng_sample(o->seed, 1, (uint64_t)o->split, UINT64_MAX);
        rng_distinct(&r, ALL, WORDS, lists->key, seen);
        rng_distinct(&r, ALL, WORDS, lists->value, seen);
    }
    free(seen);
    return lists && seen ? OK : fail(ERR_MEMORY, "mqmtar: out of memory for the words");
}

static void room_mqmtar(const data_options *o, int64_t L, int64_t *S, int64_t *R)
{
    *R = GROUP * o->queries;
    *S = pairs_of(L) * (L / pairs_of(L)) + *R;
}

static int32_t *put_slot(rng *r, int64_t w, uint32_t key, uint32_t value, int32_t *at)
{
    uint64_t left = (uint64_t)w - 1, right = (uint64_t)w - 3;
    int64_t before = 0;
    for (int64_t i = 0; i < w - SLOT_LEAST; i++) {
        if (rng_below(r, left + right) < left) {
            before++;
            left--;
        } else {
            right--;
        }
    }
    for (int64_t i = 0; i < w; i++)
        at[i] = SPACE;
    put_word(at + before, key);
    at[before + 2] = SEPARATOR;
    put_word(at + before + 3, value);
    return at + w;
}

static void generate_mqmtar(const dataset *d, const void *own, rng *r, int64_t L, int32_t *src,
                            int64_t *S, int32_t *trg, int64_t *R)
{
    /* All zero between calls, so that no sample pays for clearing it. */
    static _Thread_local uint8_t seen[WORDS];
    const word_lists *lists = own;
    uint32_t key[WORDS], value[WORDS];
    int64_t n = pairs_of(L), w = L / n;
    const int64_t queries = d->options.queries;
    int32_t *at = src;
    rng_distinct(r, WORDS, (uint32_t)n, key, seen);
    rng_distinct(r, WORDS, (uint32_t)n, value, seen);
    for (int64_t j = 0; j < n; j++)
        at = put_slot(r, w, lists->key[key[j]], lists->value[value[j]], at);
    for (int64_t i = 0; i < queries; i++) {
        uint64_t j = rng_below(r, (uint64_t)n);
        at[0] = trg[GROUP * i] = QUERY;
        put_word(at + 1, lists->key[key[j]]);
        put_word(trg + GROUP * i + 1, lists->value[value[j]]);
        at += GROUP;
    }
    *S = at - src;
    *R = GROUP * queries;
}

/* Look every query's key up where a separator follows it. */
static void solve_mqmtar(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    int64_t slots = 0;
    (void)d;
    while (slots < S && src[slots] != QUERY)
        slots++;
    *R = 0;
    for (int64_t q = slots; q + 2 < S; q += GROUP) {
        int32_t *answer = trg + *R;
        answer[0] = QUERY;
        answer[1] = answer[2] = LETTER;
        for (int64_t i = 0; i + 4 < slots; i++) {
            if (src[i] != src[q + 1] || src[i + 1] != src[q + 2] || src[i + 2] != SEPARATOR)
                continue;
            answer[1] = src[i + 3];
            answer[2] = src[i + 4];
            break;
        }
        *R += GROUP;
    }
}

static int fits_mqmtar(int64_t S, int64_t R)
{
    return R > 0 && R % GROUP == 0 && S > R;
}

static status score_mqmtar(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    sequence_parts x = sequence_split(d, s);
    metrics tokens = {0};
    score_tokens(s, p, d->pad - 1, &tokens);
    metrics_take(all, &tokens, "ce", x.R + 1);
    metrics_take(all, &tokens, "token_acc", x.R);
    int64_t queries = x.R / GROUP, words = 0, letters = 0;
    for (int64_t q = 0; q < queries; q++) {
        int right = 0;
        for (int64_t i = GROUP * q + 1; i < GROUP * (q + 1); i++)
            right += p->argmax[x.first + i] == x.trg[i];
        letters += right;
        words += right == GROUP - 1;
    }
    metrics_add(all, "letter_acc", 1, (double)letters, (GROUP - 1) * queries);
    metrics_add(all, "assoc", 1, (double)words, queries);
    metrics_add(all, "exact", 1, words == queries, 1);
    return OK;
}

static const sequence_rule mqmtar_rule = {
    .form = FORM_PROMPT,
    .inputs = LETTER + ALPHABET,
    .labels = LETTER + ALPHABET,
    .symbols = LETTER + ALPHABET,
    .center = 48,
    .vary = 16,
    .shortest = 30, /* the least L with four pairs */
    .room = room_mqmtar,
    .generate = generate_mqmtar,
    .solve = solve_mqmtar,
    .fits = fits_mqmtar,
    .expected = "groups of a query marker and two letters, fewer than the source",
    .prepare = prepare_words,
    .score = score_mqmtar,
};

static status open_mqmtar(const struct task *t, const data_options *o, dataset **out)
{
    *out = NULL;
    if (!(o->queries >= 1 && o->queries <= MOST_QUERIES))
        return fail(ERR_ARG, "mqmtar: queries %lld: expected 1..%d", (long long)o->queries,
                    (int)MOST_QUERIES);
    return sequence_open(t, o, &mqmtar_rule, out);
}

const struct task mqmtar_task = {
    .name = "mqmtar",
    .title = "MQMTAR",
    .source = "multi-query multi-token associative recall of ASEntmax; words of 2 letters",
    .id = 1,
    .metrics = "assoc exact letter_acc token_acc ce",
    .greedy = 1,
    .open = open_mqmtar,
    .write = sequence_write,
};
