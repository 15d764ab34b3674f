/* SPDX-License-Identifier: MIT
 *
 * test_bpe.c — GPT-2's tokenizer: the texts on which three independent tokenizers agree, round
 * trips of arbitrary bytes, and broken merge lists.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "json_lines.h"
#include "rng.h"
#include "selftest.h"

/* {"text":"...","ids":[...],...}: inside the string a quote is always escaped. */
static int read_golden(const char *line, size_t n, bytes *text, tokens *ids)
{
    static const char head[] = "{\"text\":", middle[] = "\",\"ids\":[";
    char *copy = malloc(n + 1), *at = NULL;
    int64_t lone = 0;
    json_fault fault;
    memcpy(copy, line, n);
    copy[n] = '\0';
    text->count = ids->count = 0;
    char *string = copy + sizeof head - 1, *end = strstr(copy, middle);
    int good = strncmp(copy, head, sizeof head - 1) == 0 && end &&
               json_decode(string, (size_t)(end + 1 - string), text, &lone, &fault) == OK;
    if (good) at = end + sizeof middle - 1;
    while (good && *at && *at != ']') {
        uint16_t id = (uint16_t)strtol(at, &at, 10);
        good = tokens_put(ids, &id, 1) == OK;
        at += *at == ',';
    }
    free(copy);
    return good;
}

static int same(const tokens *a, const uint16_t *v, size_t count)
{
    return a->count == count && (count == 0 || memcmp(a->v, v, count * sizeof *v) == 0);
}

static int round_trip(const bpe *b, encoder *e, const char *text, size_t count)
{
    tokens ids = {0};
    bytes back = {0};
    int good = encode(e, text, count, &ids) == OK && bpe_decode(b, ids.v, ids.count, &back) == OK &&
               back.count == count && (count == 0 || memcmp(back.v, text, count) == 0);
    for (size_t i = 0; i < ids.count; i++)
        good &= ids.v[i] < b->end;
    free(ids.v);
    free(back.v);
    return good;
}

static void expect_golden_texts(selftest *t, const bpe *b, encoder *e)
{
    bytes file = {0}, text = {0};
    tokens want = {0}, got = {0};
    json_lines l = {0};
    EXPECT(file_read(MOSAIC_SOURCE_DIR "/tasks/data/gpt2/golden_tokens.jsonl", 0, &file) == OK);
    EXPECT(json_lines_find("golden", file.v, file.count, &l) == OK && l.count == 232);
    for (int64_t i = 0; i < l.count; i++) {
        size_t n;
        const char *line = json_lines_line(&l, i, &n);
        int readable = read_golden(line, n, &text, &want);
        EXPECT(readable);
        got.count = 0;
        EXPECT(encode(e, text.v ? text.v : "", text.count, &got) == OK);
        EXPECT(same(&got, want.v, want.count));
        EXPECT(round_trip(b, e, text.v ? text.v : "", text.count));
    }
    free(file.v);
    free(text.v);
    free(want.v);
    free(got.v);
    free(l.start);
}

void selftest_bpe_gpt2(selftest *t)
{
    static const struct {
        const char *text;
        size_t count;
        uint16_t ids[12];
    } examples[] = {
        {"Hello world", 2, {15496, 995}},
        {"don't 123 x", 4, {9099, 470, 17031, 2124}},
        {"Lily's red  ball!\n\nThe end.",
         12,
         {43, 813, 338, 2266, 220, 2613, 0, 198, 198, 464, 886, 13}},
        {"Once upon a time", 4, {7454, 2402, 257, 640}},
    };
    bpe *b = NULL;
    encoder *e = NULL;
    tokens ids = {0};
    EXPECT(bpe_gpt2(&b) == OK && encoder_open(b, &e) == OK);
    if (!e) return;
    EXPECT(b->vocab == 50257 && b->end == GPT2_END && b->width == GPT2_WIDTH);
    EXPECT(b->base[' '] == 220 && b->base['!'] == 0 && b->base[255] == 187);
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        ids.count = 0;
        EXPECT(encode(e, examples[i].text, strlen(examples[i].text), &ids) == OK);
        EXPECT(same(&ids, examples[i].ids, examples[i].count));
    }
    expect_golden_texts(t, b, e);
    encoder_close(e);
    bpe_free(b);
    free(ids.v);
}

/* Bytes of several kinds: any, UTF-8 of any character, spaces and letters, one byte repeated. */
static size_t draw_bytes(rng *r, char *to, size_t room)
{
    size_t n = 0, want = (size_t)rng_below(r, room - 4);
    uint64_t kind = rng_below(r, 4), fixed = rng_below(r, 256);
    while (n < want) {
        if (kind == 0)
            to[n++] = (char)rng_below(r, 256);
        else if (kind == 1) {
            uint32_t c = (uint32_t)rng_below(r, rng_below(r, 2) ? 0x110000 : 0x3000);
            if (c < 0xd800 || c > 0xdfff) n += utf8_put(to + n, c);
        } else if (kind == 2)
            to[n++] = " \n\t'aesIt1.\xc3"[rng_below(r, 12)];
        else
            to[n++] = (char)fixed;
    }
    return n;
}

void selftest_bpe_round_trip(selftest *t)
{
    enum { TEXTS = 20000, LONG = 1 << 20 };
    char text[256];
    long broken = 0;
    bpe *b = NULL;
    encoder *e = NULL;
    EXPECT(bpe_gpt2(&b) == OK && encoder_open(b, &e) == OK);
    if (!e) return;
    for (uint64_t i = 0; i < TEXTS; i++) {
        rng r = rng_sample(1, 0, 0, i);
        size_t n = draw_bytes(&r, text, sizeof text);
        broken += !round_trip(b, e, text, n);
    }
    EXPECT(broken == 0);
    /* One piece of a megabyte. */
    char *piece = malloc(LONG);
    memset(piece, 'a', LONG);
    EXPECT(round_trip(b, e, piece, LONG));
    free(piece);
    encoder_close(e);
    bpe_free(b);
}

void selftest_bpe_list(selftest *t)
{
    static const struct {
        const char *list, *message;
    } bad[] = {
        {"", "list: line 1: expected the header"},
        {"a b\n", "list: line 1: expected the header"},
        {"#mosaic bytes 12\n", "list: line 1: vocabulary 12"},
        {"#mosaic bytes 300\na b\nab\n", "list: line 3: expected two known tokens"},
        {"#mosaic bytes 300\na b\nab q\nabx c\n", "list: line 4: expected two known tokens"},
        {"#mosaic bytes 300\na b\n\n", "list: line 3: expected two known tokens"},
        {"#mosaic bytes 300\na b\na b\n", "list: line 3: this pair is merge 0"},
        {"#mosaic bytes 300\na b\nab c\nb c\na bc\n", "list: line 5: expected a new token"},
        {"#mosaic bytes 258\na b\nab c\n", "list: line 3: expected at most 1 merges"},
        {"#version: 0.2\na b\n", "list: 1 merges: expected 50000"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bpe *b = NULL;
        EXPECT(bpe_read("list", bad[i].list, strlen(bad[i].list), &b) == ERR_DATA && !b);
        EXPECT(strncmp(last_error(), bad[i].message, strlen(bad[i].message)) == 0);
        bpe_free(b);
    }
    static const char good[] = "#mosaic bytes 300\na b\nab c\n";
    static const uint16_t want[] = {257, 256, 'a'};
    bpe *b = NULL;
    encoder *e = NULL;
    tokens ids = {0};
    EXPECT(bpe_read("list", good, sizeof good - 1, &b) == OK && encoder_open(b, &e) == OK);
    if (e) EXPECT(encode(e, "abcaba", 6, &ids) == OK && same(&ids, want, 3));
    encoder_close(e);
    bpe_free(b);
    free(ids.v);
}
