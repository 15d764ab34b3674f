/* SPDX-License-Identifier: MIT
 *
 * bpe_train.c — learn the merges of a byte-level BPE (Sennrich et al. 2016; spec of the tasks,
 * section 6).
 *
 * The distinct pieces of the texts are kept once, with their number of occurrences as weight. Their
 * symbols are a linked list, and so are the places of every pair: a merge visits the places of its
 * pair and corrects what is beside them, however long a piece is. Overlapping occurrences of a pair
 * count separately; they are merged from the left.
 */
#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"

#define NOWHERE UINT32_MAX /* no place */

/* A pair of symbols: its key (0: a free slot), its weight in all pieces, the first of its places.
 */
typedef struct pair {
    uint64_t key;
    int64_t weight;
    uint32_t first;
} pair;

/* An open-addressing table of pairs. */
typedef struct tally {
    pair *pair;
    size_t used, mask;
} tally;

static pair *tally_slot(tally *t, uint64_t key)
{
    size_t i = rng_mix(key) & t->mask;
    while (t->pair[i].key != 0 && t->pair[i].key != key)
        i = (i + 1) & t->mask;
    if (t->pair[i].key == 0) {
        t->pair[i] = (pair){key, 0, NOWHERE};
        t->used++;
    }
    return &t->pair[i];
}

/* Keep the table at most half full. */
static status tally_room(tally *t, size_t more)
{
    if (t->pair && 2 * (t->used + more) <= t->mask) return OK;
    tally bigger = {.mask = 4095};
    while (bigger.mask < 4 * (t->used + more))
        bigger.mask = 2 * bigger.mask + 1;
    bigger.pair = calloc(bigger.mask + 1, sizeof *bigger.pair);
    if (!bigger.pair) return fail(ERR_MEMORY, "tokenizer: no memory for the counts");
    for (size_t i = 0; t->pair && i <= t->mask; i++)
        if (t->pair[i].key) *tally_slot(&bigger, t->pair[i].key) = t->pair[i];
    free(t->pair);
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
    /* Of each place, a symbol's: those beside it in its piece, those beside it in the list of the
     * pair that begins there, and its piece (NOWHERE: it was merged into the one before). */
    uint32_t *left, *right, *before, *after, *owner;
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

static pair *pair_at(trainer *t, uint32_t at)
{
    const uint16_t *v = t->symbols.v;
    return tally_slot(&t->pairs, pair_key(v[at], v[t->right[at]]));
}

/* Enter the pair that begins at a place; there is room for one more. */
static void enter(trainer *t, uint32_t at)
{
    pair *p = pair_at(t, at);
    p->weight += t->pieces[t->owner[at]].weight;
    t->before[at] = NOWHERE;
    t->after[at] = p->first;
    if (p->first != NOWHERE) t->before[p->first] = at;
    p->first = at;
}

static void leave(trainer *t, uint32_t at)
{
    pair *p = pair_at(t, at);
    const uint32_t before = t->before[at], after = t->after[at];
    p->weight -= t->pieces[t->owner[at]].weight;
    if (before == NOWHERE)
        p->first = after;
    else
        t->after[before] = after;
    if (after != NOWHERE) t->before[after] = before;
}

/* The pieces as lists, all their pairs entered. */
static status link_pieces(trainer *t)
{
    uint32_t **lists[] = {&t->left, &t->right, &t->before, &t->after, &t->owner};
    if (t->text.count >= NOWHERE)
        return fail(ERR_DATA, "tokenizer: %zu bytes of distinct pieces: expected fewer than 2^32",
                    t->text.count);
    for (int i = 0; i < 5; i++)
        if (!(*lists[i] = malloc((t->text.count + 1) * sizeof **lists[i])))
            return fail(ERR_MEMORY, "tokenizer: no memory for the pieces");
    for (size_t k = 0; k < t->count; k++) {
        const piece *p = &t->pieces[k];
        const uint32_t start = (uint32_t)p->start, end = start + p->count;
        for (uint32_t at = start; at < end; at++) {
            t->left[at] = at > start ? at - 1 : NOWHERE;
            t->right[at] = at + 1 < end ? at + 1 : NOWHERE;
            t->owner[at] = (uint32_t)k;
        }
        for (uint32_t at = start; at + 1 < end; at++) {
            TRY(tally_room(&t->pairs, 1));
            enter(t, at);
        }
    }
    return OK;
}

static uint64_t most_frequent(const tally *pairs, int64_t *most)
{
    uint64_t best = 0;
    *most = 0;
    for (size_t i = 0; i <= pairs->mask; i++) {
        const int64_t n = pairs->pair[i].weight;
        if (n < *most || n == 0) continue;
        if (n > *most || pairs->pair[i].key < best) best = pairs->pair[i].key;
        *most = n;
    }
    return best;
}

/* The pair that begins at a place becomes one symbol. */
static status merge_at(trainer *t, uint32_t at, uint16_t id)
{
    const uint32_t next = t->right[at], left = t->left[at], right = t->right[next];
    TRY(tally_room(&t->pairs, 2));
    leave(t, at);
    if (left != NOWHERE) leave(t, left);
    if (right != NOWHERE) leave(t, next);
    t->symbols.v[at] = id;
    t->right[at] = right;
    t->owner[next] = NOWHERE;
    if (right != NOWHERE) t->left[right] = at;
    if (left != NOWHERE) enter(t, left);
    if (right != NOWHERE) enter(t, at);
    return OK;
}

static int by_place(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The places of a pair, from the left; *count of them. The caller frees. */
static uint32_t *places_of(trainer *t, uint64_t key, size_t *count)
{
    const uint32_t first = tally_slot(&t->pairs, key)->first;
    size_t n = 0;
    for (uint32_t at = first; at != NOWHERE; at = t->after[at])
        n++;
    uint32_t *places = malloc((n + 1) * sizeof *places);
    *count = n;
    for (uint32_t at = first; places && at != NOWHERE; at = t->after[at])
        places[--n] = at;
    if (places) qsort(places, *count, sizeof *places, by_place);
    return places;
}

static status merge_everywhere(trainer *t, uint32_t left, uint32_t right, uint32_t id)
{
    size_t count;
    const uint16_t *v = t->symbols.v;
    uint32_t *places = places_of(t, pair_key(left, right), &count);
    status s = places ? OK : fail(ERR_MEMORY, "tokenizer: no memory for the places of a pair");
    for (size_t i = 0; s == OK && i < count; i++) {
        const uint32_t at = places[i];
        /* in a run of one symbol the merge before may have taken it */
        if (t->owner[at] == NOWHERE || t->right[at] == NOWHERE || v[at] != left ||
            v[t->right[at]] != right)
            continue;
        s = merge_at(t, at, (uint16_t)id);
    }
    free(places);
    return s;
}

static status learn_merges(trainer *t, bpe *b)
{
    TRY(tally_room(&t->pairs, 1));
    TRY(link_pieces(t));
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
    free(t.left);
    free(t.right);
    free(t.before);
    free(t.after);
    free(t.owner);
    free(t.pairs.pair);
    if (s == OK) return OK;
    bpe_free(*out);
    *out = NULL;
    return s;
}
