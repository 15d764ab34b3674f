/* SPDX-License-Identifier: MIT
 *
 * bpe.h — byte-level byte-pair encoding as GPT-2 does it (spec of the tasks, section 5), with
 * GPT-2's merges or with merges learnt here (section 6).
 *
 * A text is cut into pieces (split_next), each piece starts as single bytes, and the adjacent
 * pair with the lowest merge number is merged, left to right, until there is none. Merge r makes
 * id 256 + r. Decoding restores every byte, also of text that is not UTF-8.
 */
#ifndef MOSAIC_BPE_H
#define MOSAIC_BPE_H

#include "bytes.h"

/* Read-only after it is made; threads may share it. */
typedef struct bpe {
    char name[16];       /* "gpt2" or "builtin"                                            */
    int32_t vocab;       /* ids are 0 .. vocab-1                                           */
    int32_t end;         /* end-of-text, vocab - 1                                         */
    int32_t width;       /* width of a model's logits: GPT-2's 50257 padded to 50304       */
    int32_t merges;      /* ids from 256 + merges to end - 1 never occur                   */
    uint64_t hash;       /* FNV-1a of the merge list as bpe_write() writes it              */
    uint16_t base[256];  /* id of a byte                                                   */
    uint16_t (*pair)[2]; /* [merges] left and right id                                     */
    uint32_t *start;     /* [256 + merges + 1] where the bytes of an id are in `text`      */
    bytes text;
    struct pair_slot *table; /* hash table of the pairs */
    uint32_t mask;
} bpe;

enum { GPT2_END = 50256, GPT2_WIDTH = 50304, BPE_MAX_VOCAB = 65536 };

/* Read a merge list in memory: GPT-2's vocab.bpe, or one that bpe_write() wrote. `name` is for
 * messages: "name: line n: expected ...". On failure *out is NULL. */
status bpe_read(const char *name, const char *text, size_t count, bpe **out);
/* GPT-2's, from the file that comes with the project; checked to be the published list. */
status bpe_gpt2(bpe **out);
/* Learn merges: `texts` gives text i of `count`, borrowed until the next call. Pairs are counted
 * over all pieces, the most frequent is merged (ties: smallest left, then right id), until there
 * are vocab - 257 merges or no pair occurs twice. 257 <= vocab <= 65536. */
typedef status bpe_text(void *user, int64_t i, const char **text, size_t *count);
status bpe_train(bpe_text *texts, void *user, int64_t count, int32_t vocab, bpe **out);
/* Append the merge list: header line, then "left right" per merge. */
status bpe_write(const bpe *b, bytes *out);
void bpe_free(bpe *b); /* NULL is fine */

/* The bytes of an id; none for end-of-text and for ids that never occur. */
const char *bpe_bytes(const bpe *b, int32_t id, size_t *count);
/* Merge number of a pair, -1 if it is none. */
int32_t bpe_rank(const bpe *b, uint32_t left, uint32_t right);
/* Append the text of ids; end-of-text adds nothing. ERR_DATA for an id outside the vocabulary. */
status bpe_decode(const bpe *b, const uint16_t *ids, size_t count, bytes *out);

/* An encoder owns a cache of pieces; one per thread. */
typedef struct encoder encoder;
status encoder_open(const bpe *b, encoder **out);
/* Append the ids of a text (any bytes); no end-of-text is added. */
status encode(encoder *e, const char *text, size_t count, tokens *out);
void encoder_close(encoder *e); /* NULL is fine */

/* Pre-tokenisation. split_text() names the text, split_next() gives one piece after the other;
 * begin == end says that there is none left. */
typedef struct splitter splitter;
/* "UNICODE (PCRE2 VERSION)": what decides which code points are letters, numbers and spaces. */
void split_unicode(char text[64]);
status split_open(splitter **out);
void split_text(splitter *s, const char *text, size_t count);
status split_next(splitter *s, size_t *begin, size_t *end);
void split_close(splitter *s); /* NULL is fine */

/* For the makers of a tokenizer (bpe_file.c, bpe_train.c): an object with single bytes only, and
 * one more merge. ERR_DATA if the pair is there already or the vocabulary is full. */
status bpe_new(const char *name, const uint16_t base[256], int32_t vocab, bpe **out);
status bpe_merge(bpe *b, uint32_t left, uint32_t right);
/* Name the parts that depend on all merges (hash). */
status bpe_finish(bpe *b);

#endif
