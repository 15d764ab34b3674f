/* SPDX-License-Identifier: MIT
 *
 * bpe_train.c — learn the merges of a byte-level BPE (Sennrich et al. 2016; spec of the tasks,
 * section 6).
 *
 * The distinct pieces of the texts are kept once, with their number of occurrences as weight. All
 * pair counts sit in a hash table; a merge rewrites the pieces that hold the pair and corrects the
 * counts of those pieces alone. Overlapping occurrences of a pair count separately.
 */
#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"

/* An open-addressing table from a 64-bit key to a number; 0 keys are free slots. */
typedef struct tally {
    uint64_t *key;
    int64_t *value;
    size_t used, mask;
} tally;

static int64_t *tally_slot(tally *t, uint64_t key)
{
    size_t i = rng_mix(key) & t->mask;
    while (t->key[i] != 0 && t->key[i] != key)
        i = (i + 1) & t->mask;
    if (t->key[i] == 0) {
        t->key[i] = key;
        t->used++;
    }
    return &t->value[i];
}

static void tally_free(tally *t)
{
    free(t->key);
    free(t->value);
    *t = (tally){0};
}

/* Keep the table at most half full. */
static status tally_room(tally *t, size_t more)
{
    if (t->key && 2 * (t->used + more) <= t->mask) return OK;
    tally bigger = {.mask = 4095};
    while (bigger.mask < 4 * (t->used + more))
        bigger.mask = 2 * bigger.mask + 1;
    bigger.key = calloc(bigger.mask + 1, sizeof *bigger.key);
    bigger.value = calloc(bigger.mask + 1, sizeof *bigger.value);
    if (!bigger.key || !bigger.value) {
        tally_free(&bigger);
        return fail(ERR_MEMORY, "tokenizer: no memory for the counts");
    }
    for (size_t i = 0; t->key && i <= t->mask; i++)
        if (t->key[i]) *tally_slot(&bigger, t->key[i]) = t->value[i];
    tally_free(t);
    *t = bigger;
    return OK;
}

typedef struct piece {
    size_t start; /* in symbols */
    uint32_t count;
    int64_t weight;
} piece;

typedef struct trainer {
    piece *pieces;
    size_t count, room;
    tokens symbols; /* of all pieces */
    bytes text;     /* the pieces as bytes, while they are collected; same offsets */
    uint32_t *slot; /* hash table of piece number + 1 */
    size_t mask;
    tally pairs; /* left << 16 | right, plus 1 */
} trainer;

static uint64_t pair_key(uint32_t left, uint32_t right)
{
    return ((uint64_t)left << 16 | right) + 1;
}

static uint32_t *piece_slot(trainer *t, const char *text, size_t count)
{
    size_t i = rng_mix(fnv1a(FNV_OFFSET, text, count)) & t->mask;
    for (; t->slot[i]; i = (i + 1) & t->mask) {
        const piece *p = &t->pieces[t->slot[i] - 1];
        if (p->count == count && memcmp(t->text.v + p->start, text, count) == 0) break;
    }
    return &t->slot[i];
}

static status pieces_grow(trainer *t)
{
    size_t room = t->room ? 2 * t->room : 4096;
    piece *pieces = realloc(t->pieces, room * sizeof *pieces);
    if (!pieces) return fail(ERR_MEMORY, "tokenizer: no memory for the pieces");
    t->pieces = pieces;
    t->room = room;
    free(t->slot);
    t->mask = 4 * room - 1;
    t->slot = calloc(t->mask + 1, sizeof *t->slot);
    if (!t->slot) return fail(ERR_MEMORY, "tokenizer: no memory for the pieces");
    for (size_t i = 0; i < t->count; i++)
        *piece_slot(t, t->text.v + pieces[i].start, pieces[i].count) = (uint32_t)i + 1;
    return OK;
}

static status add_piece(trainer *t, const char *text, size_t count)
{
    if (count > UINT32_MAX / 2) return fail(ERR_DATA, "tokenizer: a piece of %zu bytes", count);
    if (t->count == t->room) TRY(pieces_grow(t));
    uint32_t *slot = piece_slot(t, text, count);
    if (*slot) {
        t->pieces[*slot - 1].weight++;
        return OK;
    }
    t->pieces[t->count++] = (piece){t->text.count, (uint32_t)count, 1};
    *slot = (uint32_t)t->count;
    return bytes_put(&t->text, text, count);
}

static status collect_pieces(trainer *t, bpe_text *texts, void *user, int64_t count)
{
    splitter *split;
    TRY(split_open(&split));
    status s = OK;
    for (int64_t i = 0; s == OK && i < count; i++) {
        const char *text;
        size_t n, begin, end;
        s = texts(user, i, &text, &n);
        if (s != OK) break;
        split_text(split, text, n);
        while ((s = split_next(split, &begin, &end)) == OK && begin != end)
            if ((s = add_piece(t, text + begin, end - begin)) != OK) break;
    }
    split_close(split);
    if (s == OK) s = tokens_room(&t->symbols, t->text.count);
    for (size_t i = 0; s == OK && i < t->text.count; i++)
        t->symbols.v[i] = (unsigned char)t->text.v[i];
    return s;
}

/* Add `sign` times the weight of a piece to all its pairs. */
static status count_piece(trainer *t, const piece *p, int sign)
{
    const uint16_t *v = t->symbols.v + p->start;
    TRY(tally_room(&t->pairs, p->count));
    for (uint32_t i = 0; i + 1 < p->count; i++)
        *tally_slot(&t->pairs, pair_key(v[i], v[i + 1])) += sign * p->weight;
    return OK;
}

static uint64_t most_frequent(const tally *pairs, int64_t *most)
{
    uint64_t best = 0;
    *most = 0;
    for (size_t i = 0; i <= pairs->mask; i++) {
        int64_t n = pairs->value[i];
        if (n < *most || n == 0) continue;
        if (n > *most || pairs->key[i] < best) best = pairs->key[i];
        *most = n;
    }
    return best;
}

static int holds(const uint16_t *v, uint32_t count, uint32_t left, uint32_t right)
{
    for (uint32_t i = 0; i + 1 < count; i++)
        if (v[i] == left && v[i + 1] == right) return 1;
    return 0;
}

static status merge_everywhere(trainer *t, uint32_t left, uint32_t right, uint32_t id)
{
    for (size_t k = 0; k < t->count; k++) {
        piece *p = &t->pieces[k];
        uint16_t *v = t->symbols.v + p->start;
        if (!holds(v, p->count, left, right)) continue;
        TRY(count_piece(t, p, -1));
        uint32_t n = 0;
        for (uint32_t i = 0; i < p->count; n++) {
            int here = v[i] == left && i + 1 < p->count && v[i + 1] == right;
            v[n] = here ? (uint16_t)id : v[i];
            i += here ? 2 : 1;
        }
        p->count = n;
        TRY(count_piece(t, p, 1));
    }
    return OK;
}

static status learn_merges(trainer *t, bpe *b)
{
    TRY(tally_room(&t->pairs, 1));
    for (size_t k = 0; k < t->count; k++)
        TRY(count_piece(t, &t->pieces[k], 1));
    while (256 + b->merges < b->end) {
        int64_t most;
        uint64_t key = most_frequent(&t->pairs, &most) - 1;
        if (most < 2) break;
        uint32_t left = (uint32_t)(key >> 16), right = key & 0xffff;
        uint32_t id = 256 + (uint32_t)b->merges;
        TRY(bpe_merge(b, left, right));
        TRY(merge_everywhere(t, left, right, id));
    }
    return bpe_finish(b);
}

status bpe_train(bpe_text *texts, void *user, int64_t count, int32_t vocab, bpe **out)
{
    uint16_t base[256];
    for (int i = 0; i < 256; i++)
        base[i] = (uint16_t)i;
    TRY(bpe_new("builtin", base, vocab, out));
    trainer t = {0};
    status s = collect_pieces(&t, texts, user, count);
    if (s == OK) s = learn_merges(&t, *out);
    free(t.pieces);
    free(t.slot);
    free(t.symbols.v);
    free(t.text.v);
    tally_free(&t.pairs);
    if (s == OK) return OK;
    bpe_free(*out);
    *out = NULL;
    return s;
}
