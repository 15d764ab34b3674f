/* SPDX-License-Identifier: MIT
 *
 * bpe_file.c — merge lists as files, in the format of GPT-2's vocab.bpe: a header line, then one
 * merge a line, "left right", each byte of a token written as one character: bytes 33..126,
 * 161..172, 174..255 as that code point, the other 68 in order as U+0100, U+0101, ...
 *
 * With the header "#version: ..." single bytes have GPT-2's ids, in the order just given, and
 * 50000 merges are expected. Lists learnt here say "#mosaic bytes <vocab>": a byte is its own
 * id, end-of-text is vocab - 1, and there may be fewer merges than ids.
 */
#include "bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rng.h"

enum { GPT2_MERGES = 50000 };
/* FNV-1a of the published file (sha256 1ce1664773c50f3e... 33b7726adc5). */
#define GPT2_LIST UINT64_C(0xd73386ba902b110d)

/* order[i]: the byte that is written as the i-th character, in the order of GPT-2's ids. */
static void byte_order(uint16_t id[256], uint32_t character[256])
{
    uint16_t plain = 0, other = 188;
    for (uint32_t byte = 0; byte < 256; byte++) {
        int printed = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        character[byte] = printed ? byte : 0x100U + other - 188;
        id[byte] = printed ? plain++ : other++;
    }
}

/* Token bytes to id, while a list is read. */
typedef struct dictionary {
    const bpe *b;
    uint32_t *slot, mask; /* id + 1, 0 is free */
} dictionary;

static uint32_t *dictionary_slot(const dictionary *d, const char *text, size_t count)
{
    uint32_t i = (uint32_t)rng_mix(fnv1a(FNV_OFFSET, text, count)) & d->mask;
    for (; d->slot[i]; i = (i + 1) & d->mask) {
        size_t n;
        const char *known = bpe_bytes(d->b, (int32_t)d->slot[i] - 1, &n);
        if (n == count && memcmp(known, text, n) == 0) break;
    }
    return &d->slot[i];
}

static status dictionary_add(const dictionary *d, int32_t id)
{
    size_t n;
    const char *text = bpe_bytes(d->b, id, &n);
    uint32_t *slot = dictionary_slot(d, text, n);
    if (*slot) return fail(ERR_DATA, "expected a new token: id %u has the same bytes", *slot - 1);
    *slot = (uint32_t)id + 1;
    return OK;
}

/* The characters of a token back to bytes. Returns its length, 0 if it is none. */
static size_t token_bytes(const char *from, size_t count, const uint8_t byte_of[512], char *to)
{
    size_t n = 0;
    for (size_t at = 0, step; at < count; at += step) {
        const unsigned char *c = (const unsigned char *)from + at;
        step = utf8_char(from + at, count - at);
        if (step == 0 || step > 2) return 0;
        uint32_t character = step == 1 ? c[0] : (uint32_t)(c[0] & 31) << 6 | (c[1] & 63);
        if (character >= 512 || (byte_of[character] == 0 && character != 0x100)) return 0;
        to[n++] = (char)byte_of[character];
    }
    return n;
}

static status read_merge(bpe *b, const dictionary *d, const uint8_t byte_of[512], const char *line,
                         size_t count, char *scratch)
{
    const char *space = memchr(line, ' ', count);
    uint32_t side[2];
    for (int i = 0; i < 2; i++) {
        const char *from = i == 0 ? line : space + 1;
        size_t n = !space ? 0 : i == 0 ? (size_t)(space - line) : (size_t)(line + count - from);
        size_t length = n == 0 ? 0 : token_bytes(from, n, byte_of, scratch);
        uint32_t id = length == 0 ? 0 : *dictionary_slot(d, scratch, length);
        if (id == 0) return fail(ERR_DATA, "expected two known tokens with a space between");
        side[i] = id - 1;
    }
    TRY(bpe_merge(b, side[0], side[1]));
    return dictionary_add(d, 255 + b->merges);
}

static status read_merges(const char *name, bpe *b, const char *text, size_t count,
                          const uint8_t byte_of[512])
{
    dictionary d = {.b = b, .mask = 1023};
    while (d.mask < 3 * (uint32_t)b->vocab)
        d.mask = 2 * d.mask + 1;
    d.slot = calloc(d.mask + 1, sizeof *d.slot);
    char *scratch = malloc(count + 1);
    status s = d.slot && scratch ? OK : fail(ERR_MEMORY, "%s: no memory", name);
    for (int32_t id = 0; s == OK && id < 256; id++)
        s = dictionary_add(&d, id);
    long number = 2;
    for (const char *end = text + count; s == OK && text < end; number++) {
        const char *feed = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((feed ? feed : end) - text);
        if (n > 0 && text[n - 1] == '\r') n--;
        s = read_merge(b, &d, byte_of, text, n, scratch);
        if (s == ERR_DATA) {
            char why[400];
            snprintf(why, sizeof why, "%s", last_error());
            s = fail(s, "%s: line %ld: %s", name, number, why);
        }
        text = feed ? feed + 1 : end;
    }
    free(d.slot);
    free(scratch);
    return s;
}

status bpe_read(const char *name, const char *text, size_t count, bpe **out)
{
    uint16_t id[256];
    uint32_t character[256];
    uint8_t byte_of[512] = {0};
    char header[64] = "";
    int vocab = GPT2_END + 1, ours;
    *out = NULL;
    const char *feed = count ? memchr(text, '\n', count) : NULL;
    size_t n = feed ? (size_t)(feed - text) : 0;
    if (n > 0 && n < sizeof header) memcpy(header, text, n);
    ours = sscanf(header, "#mosaic bytes %d", &vocab) == 1;
    if (!ours && strncmp(header, "#version:", 9) != 0)
        return fail(ERR_DATA, "%s: line 1: expected the header of a merge list, \"#version: ...\"",
                    name);
    if (vocab < 257 || vocab > BPE_MAX_VOCAB)
        return fail(ERR_DATA, "%s: line 1: vocabulary %d: expected 257..%d", name, vocab,
                    BPE_MAX_VOCAB);
    byte_order(id, character);
    for (int i = 0; i < 256; i++) {
        byte_of[character[i]] = (uint8_t)i;
        if (ours) id[i] = (uint16_t)i;
    }
    bpe *b;
    TRY(bpe_new(ours ? "builtin" : "gpt2", id, vocab, &b));
    status s = read_merges(name, b, feed + 1, count - n - 1, byte_of);
    if (s == OK && !ours && b->merges != GPT2_MERGES)
        s = fail(ERR_DATA, "%s: %d merges: expected %d: the file is truncated", name, b->merges,
                 GPT2_MERGES);
    if (s == OK) s = bpe_finish(b);
    if (s != OK) {
        bpe_free(b);
        return s;
    }
    if (!ours) b->width = GPT2_WIDTH;
    *out = b;
    return OK;
}

static status put_token(const bpe *b, const uint32_t character[256], int32_t id, bytes *out)
{
    size_t n;
    const char *text = bpe_bytes(b, id, &n);
    TRY(bytes_room(out, 2 * n));
    for (size_t i = 0; i < n; i++)
        out->count += utf8_put(out->v + out->count, character[(unsigned char)text[i]]);
    return OK;
}

status bpe_write(const bpe *b, bytes *out)
{
    uint16_t id[256];
    uint32_t character[256];
    char header[64];
    byte_order(id, character);
    if (b->base[0] == id[0])
        snprintf(header, sizeof header, "#version: 0.2\n");
    else
        snprintf(header, sizeof header, "#mosaic bytes %d\n", b->vocab);
    TRY(bytes_put(out, header, strlen(header)));
    for (int32_t i = 0; i < b->merges; i++) {
        TRY(put_token(b, character, b->pair[i][0], out));
        TRY(bytes_put(out, " ", 1));
        TRY(put_token(b, character, b->pair[i][1], out));
        TRY(bytes_put(out, "\n", 1));
    }
    return OK;
}

/* GPT-2's list: that of the sources, or of an installed program, in ../share/mosaic of its folder.
 */
static void gpt2_path(char *path, size_t size)
{
    static const char name[] = "gpt2/vocab.bpe";
    char own[3000] = "";
    snprintf(path, size, "%s/%s", MOSAIC_DATA_DIR, name);
    if (access(path, R_OK) == 0 || readlink("/proc/self/exe", own, sizeof own - 1) < 0) return;
    for (int up = 0; up < 2; up++)
        if (strrchr(own, '/')) *strrchr(own, '/') = '\0';
    char installed[4000];
    snprintf(installed, sizeof installed, "%s/share/mosaic/%s", own, name);
    if (access(installed, R_OK) == 0) snprintf(path, size, "%s", installed);
}

status bpe_gpt2(bpe **out)
{
    char path[4096];
    bytes list = {0};
    gpt2_path(path, sizeof path);
    *out = NULL;
    status s = file_read(path, 0, &list);
    if (s == OK && fnv1a(FNV_OFFSET, list.v, list.count) != GPT2_LIST)
        s = fail(ERR_DATA, "%s: expected the published merge list of GPT-2: the bytes differ",
                 path);
    if (s == OK) s = bpe_read(path, list.v, list.count, out);
    free(list.v);
    return s;
}
