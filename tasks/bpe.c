/* SPDX-License-Identifier: MIT
 *
 * bpe.c — the tables of a byte-level BPE, decoding, and the encoder.
 *
 * A piece is a linked list of symbols. A heap holds (merge number << 32 | position) of every
 * adjacent pair that has one; entries that no longer describe a pair are dropped when they come
 * up. Since a merge can only make pairs of higher number, this order equals "lowest number
 * first, everywhere left to right", in O(n log n) for a piece of n bytes. Short pieces are
 * remembered with their ids.
 */
#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"

/* key = left << 16 | right; rank < 0 marks a free slot. */
struct pair_slot {
    uint32_t key;
    int32_t rank;
};

static uint32_t scatter(uint32_t key)
{
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

static struct pair_slot *pair_slot(const bpe *b, uint32_t key)
{
    uint32_t i = scatter(key) & b->mask;
    while (b->table[i].rank >= 0 && b->table[i].key != key)
        i = (i + 1) & b->mask;
    return &b->table[i];
}

int32_t bpe_rank(const bpe *b, uint32_t left, uint32_t right)
{
    return pair_slot(b, left << 16 | right)->rank;
}

status bpe_new(const char *name, const uint16_t base[256], int32_t vocab, bpe **out)
{
    *out = NULL;
    if (vocab < 257 || vocab > BPE_MAX_VOCAB)
        return fail(ERR_ARG, "tokenizer: vocabulary %d: expected 257..%d", vocab, BPE_MAX_VOCAB);
    bpe *b = calloc(1, sizeof *b);
    if (!b) return fail(ERR_MEMORY, "tokenizer: no memory");
    size_t room = (size_t)vocab - 257, slots = 1024;
    while (slots < 3 * room)
        slots *= 2;
    b->vocab = b->width = vocab;
    b->end = vocab - 1;
    b->mask = (uint32_t)slots - 1;
    strncpy(b->name, name, sizeof b->name - 1);
    memcpy(b->base, base, sizeof b->base);
    b->pair = calloc(room + 1, sizeof *b->pair);
    b->start = calloc((size_t)vocab + 1, sizeof *b->start);
    b->table = malloc(slots * sizeof *b->table);
    if (!b->pair || !b->start || !b->table || bytes_room(&b->text, 256) != OK) {
        bpe_free(b);
        return fail(ERR_MEMORY, "tokenizer: no memory for %d ids", vocab);
    }
    for (size_t i = 0; i < slots; i++)
        b->table[i] = (struct pair_slot){0, -1};
    for (uint32_t i = 0; i < 256; i++) {
        b->text.v[base[i]] = (char)i;
        b->start[i + 1] = i + 1;
    }
    b->text.count = 256;
    *out = b;
    return OK;
}

void bpe_free(bpe *b)
{
    if (!b) return;
    free(b->pair);
    free(b->start);
    free(b->table);
    free(b->text.v);
    free(b);
}

status bpe_merge(bpe *b, uint32_t left, uint32_t right)
{
    uint32_t id = 256 + (uint32_t)b->merges;
    if ((int32_t)id >= b->end)
        return fail(ERR_DATA, "expected at most %d merges for %d ids", b->end - 256, b->vocab);
    struct pair_slot *slot = pair_slot(b, left << 16 | right);
    if (slot->rank >= 0) return fail(ERR_DATA, "this pair is merge %d already", slot->rank);
    size_t nl, nr;
    if (b->text.count > UINT32_MAX / 2) return fail(ERR_DATA, "tokens too long");
    bpe_bytes(b, (int32_t)left, &nl);
    bpe_bytes(b, (int32_t)right, &nr);
    TRY(bytes_room(&b->text, nl + nr));
    TRY(bytes_put(&b->text, b->text.v + b->start[left], nl));
    TRY(bytes_put(&b->text, b->text.v + b->start[right], nr));
    b->start[id + 1] = (uint32_t)b->text.count;
    *slot = (struct pair_slot){left << 16 | right, b->merges};
    b->pair[b->merges][0] = (uint16_t)left;
    b->pair[b->merges][1] = (uint16_t)right;
    b->merges++;
    return OK;
}

status bpe_finish(bpe *b)
{
    bytes list = {0};
    status s = bpe_write(b, &list);
    if (s == OK) b->hash = fnv1a(FNV_OFFSET, list.v, list.count);
    free(list.v);
    return s;
}

const char *bpe_bytes(const bpe *b, int32_t id, size_t *count)
{
    *count = 0;
    if (id < 0 || id >= 256 + b->merges) return "";
    *count = b->start[id + 1] - b->start[id];
    return b->text.v + b->start[id];
}

status bpe_decode(const bpe *b, const uint16_t *ids, size_t count, bytes *out)
{
    for (size_t i = 0; i < count; i++) {
        size_t n;
        if (ids[i] >= b->vocab)
            return fail(ERR_DATA, "token %zu: id %d: expected less than %d", i, ids[i], b->vocab);
        const char *text = bpe_bytes(b, ids[i], &n);
        TRY(bytes_put(out, text, n));
    }
    return OK;
}

/* --- the encoder ------------------------------------------------------------------------- */

enum { CACHE_SLOTS = 1 << 16, CACHE_PIECE = 32 };

typedef struct cached {
    uint64_t hash;
    uint32_t text, ids;     /* where they are in known_text and known_ids */
    uint16_t bytes, tokens; /* bytes = 0: a free slot                     */
} cached;

typedef struct symbol {
    uint32_t id, prev, next; /* NONE at the ends */
} symbol;

struct encoder {
    const bpe *b;
    splitter *split;
    cached *cache;
    int full; /* slots in use */
    bytes known_text;
    tokens known_ids;
    symbol *symbols;
    uint64_t *heap;
    size_t heap_count, room; /* room for symbols; the heap has three times as many */
};

#define NONE UINT32_MAX
#define GONE UINT32_MAX

status encoder_open(const bpe *b, encoder **out)
{
    encoder *e = *out = calloc(1, sizeof *e);
    if (!e) return fail(ERR_MEMORY, "encoder: no memory");
    e->b = b;
    e->cache = calloc(CACHE_SLOTS, sizeof *e->cache);
    status s = e->cache ? split_open(&e->split) : fail(ERR_MEMORY, "encoder: no memory");
    if (s == OK) return OK;
    encoder_close(e);
    *out = NULL;
    return s;
}

void encoder_close(encoder *e)
{
    if (!e) return;
    split_close(e->split);
    free(e->cache);
    free(e->known_text.v);
    free(e->known_ids.v);
    free(e->symbols);
    free(e->heap);
    free(e);
}

static void heap_push(encoder *e, uint64_t value)
{
    size_t i = e->heap_count++;
    for (; i > 0 && e->heap[(i - 1) / 2] > value; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = value;
}

static uint64_t heap_pop(encoder *e)
{
    uint64_t top = e->heap[0], last = e->heap[--e->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= e->heap_count) break;
        if (child + 1 < e->heap_count && e->heap[child + 1] < e->heap[child]) child++;
        if (e->heap[child] >= last) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

/* The pair that starts at symbol i, if it has a merge. */
static void offer(encoder *e, uint32_t i)
{
    if (i == NONE || e->symbols[i].next == NONE) return;
    int32_t rank = bpe_rank(e->b, e->symbols[i].id, e->symbols[e->symbols[i].next].id);
    if (rank >= 0) heap_push(e, (uint64_t)rank << 32 | i);
}

static void merge_all(encoder *e)
{
    symbol *sym = e->symbols;
    while (e->heap_count > 0) {
        uint64_t top = heap_pop(e);
        uint32_t i = (uint32_t)top;
        int32_t rank = (int32_t)(top >> 32);
        if (sym[i].id == GONE || sym[i].next == NONE) continue;
        uint32_t j = sym[i].next;
        if (bpe_rank(e->b, sym[i].id, sym[j].id) != rank) continue;
        sym[i].id = 256 + (uint32_t)rank;
        sym[i].next = sym[j].next;
        if (sym[j].next != NONE) sym[sym[j].next].prev = i;
        sym[j].id = GONE;
        offer(e, sym[i].prev);
        offer(e, i);
    }
}

static status piece_room(encoder *e, size_t count)
{
    if (count <= e->room) return OK;
    if (count >= NONE) return fail(ERR_DATA, "text: a piece of %zu bytes: too long", count);
    size_t room = count < 256 ? 256 : count;
    free(e->symbols);
    free(e->heap);
    e->symbols = malloc(room * sizeof *e->symbols);
    e->heap = malloc(3 * room * sizeof *e->heap);
    e->room = e->symbols && e->heap ? room : 0;
    return e->room ? OK : fail(ERR_MEMORY, "text: no memory for a piece of %zu bytes", count);
}

static status encode_piece(encoder *e, const char *piece, size_t count, tokens *out)
{
    TRY(piece_room(e, count));
    TRY(tokens_room(out, count));
    e->heap_count = 0;
    for (size_t i = 0; i < count; i++)
        e->symbols[i] =
            (symbol){e->b->base[(unsigned char)piece[i]], i == 0 ? NONE : (uint32_t)i - 1,
                     i + 1 == count ? NONE : (uint32_t)i + 1};
    for (size_t i = 0; i < count; i++)
        offer(e, (uint32_t)i);
    merge_all(e);
    for (uint32_t i = 0; i != NONE; i = e->symbols[i].next)
        out->v[out->count++] = (uint16_t)e->symbols[i].id;
    return OK;
}

static cached *find_cached(encoder *e, const char *piece, size_t count, uint64_t hash)
{
    for (size_t i = hash & (CACHE_SLOTS - 1);; i = (i + 1) & (CACHE_SLOTS - 1)) {
        cached *c = &e->cache[i];
        if (c->bytes == 0) return c;
        if (c->hash == hash && c->bytes == count &&
            memcmp(e->known_text.v + c->text, piece, count) == 0)
            return c;
    }
}

status encode(encoder *e, const char *text, size_t count, tokens *out)
{
    size_t begin, end;
    split_text(e->split, text, count);
    for (;;) {
        TRY(split_next(e->split, &begin, &end));
        if (begin == end) return OK;
        const char *piece = text + begin;
        size_t n = end - begin;
        if (n > CACHE_PIECE) {
            TRY(encode_piece(e, piece, n, out));
            continue;
        }
        uint64_t hash = rng_mix(fnv1a(FNV_OFFSET, piece, n));
        cached *c = find_cached(e, piece, n, hash);
        if (c->bytes > 0) {
            TRY(tokens_put(out, e->known_ids.v + c->ids, c->tokens));
            continue;
        }
        size_t before = out->count;
        TRY(encode_piece(e, piece, n, out));
        if (e->full >= CACHE_SLOTS / 4 * 3) continue;
        size_t at_text = e->known_text.count, at_ids = e->known_ids.count;
        TRY(bytes_put(&e->known_text, piece, n));
        TRY(tokens_put(&e->known_ids, out->v + before, out->count - before));
        *c = (cached){hash, (uint32_t)at_text, (uint32_t)at_ids, (uint16_t)n,
                      (uint16_t)(out->count - before)};
        e->full++;
    }
}
