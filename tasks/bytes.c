/* SPDX-License-Identifier: MIT
 *
 * bytes.c — buffers, whole files and UTF-8 (Unicode 15, table 3-7: well-formed byte sequences).
 */
#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static status grow_array(void **v, size_t *room, size_t count, size_t more, size_t size)
{
    if (*v && more <= *room - count) return OK;
    size_t want = *room + *room / 2;
    if (want < count + more) want = count + more;
    if (want < 64) want = 64;
    void *bigger = want > SIZE_MAX / 2 / size ? NULL : realloc(*v, want * size);
    if (!bigger) return fail(ERR_MEMORY, "buffer: no memory for %zu elements", want);
    *v = bigger;
    *room = want;
    return OK;
}

status bytes_room(bytes *b, size_t more)
{
    void *v = b->v;
    status s = grow_array(&v, &b->room, b->count, more, 1);
    b->v = v;
    return s;
}

status bytes_put(bytes *b, const void *from, size_t count)
{
    TRY(bytes_room(b, count));
    if (count) memcpy(b->v + b->count, from, count);
    b->count += count;
    return OK;
}

status tokens_room(tokens *t, size_t more)
{
    void *v = t->v;
    status s = grow_array(&v, &t->room, t->count, more, sizeof *t->v);
    t->v = v;
    return s;
}

status tokens_put(tokens *t, const uint16_t *from, size_t count)
{
    TRY(tokens_room(t, count));
    if (count) memcpy(t->v + t->count, from, count * sizeof *from);
    t->count += count;
    return OK;
}

/* Feeds `in` to the decoder. *hint is its last answer: 0 when a frame has just ended. */
static status inflate(const char *name, ZSTD_DCtx *decoder, ZSTD_inBuffer *in, size_t *hint,
                      bytes *out)
{
    size_t before;
    do {
        TRY(bytes_room(out, ZSTD_DStreamOutSize()));
        ZSTD_outBuffer to = {out->v + out->count, out->room - out->count, 0};
        before = in->pos;
        *hint = ZSTD_decompressStream(decoder, &to, in);
        if (ZSTD_isError(*hint))
            return fail(ERR_DATA, "%s: not readable as zstd: %s", name, ZSTD_getErrorName(*hint));
        out->count += to.pos;
        if (to.pos == to.size) before = SIZE_MAX;
    } while (in->pos < in->size || before == SIZE_MAX);
    return OK;
}

status zstd_decode(const char *name, const void *from, size_t count, size_t limit, bytes *out)
{
    ZSTD_DCtx *decoder = ZSTD_createDCtx();
    if (!decoder) return fail(ERR_MEMORY, "%s: no memory for the zstd decoder", name);
    /* Long windows (zstd --long=31) too: whoever packed them has the memory, as we need it for what
     * is in them. */
    (void)ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax,
                                 ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound);
    status s = OK;
    size_t hint = 1, start = out->count, at = 0;
    while (s == OK && at < count && (limit == 0 || out->count - start < limit)) {
        size_t piece = count - at < 65536 ? count - at : 65536;
        ZSTD_inBuffer in = {(const char *)from + at, piece, 0};
        s = inflate(name, decoder, &in, &hint, out);
        at += piece;
    }
    int enough = limit > 0 && out->count - start >= limit;
    if (s == OK && !enough && hint != 0)
        s = fail(ERR_DATA, "%s: zstd frame ends early, at byte %zu: the file is truncated", name,
                 count);
    ZSTD_freeDCtx(decoder);
    return s;
}

static int is_zstd(const bytes *b)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    return b->count >= sizeof magic && memcmp(b->v, magic, sizeof magic) == 0;
}

status file_read(const char *path, size_t limit, bytes *out)
{
    status s = OK;
    bytes raw = {0};
    FILE *f = fopen(path, "rb");
    if (!f) return fail(ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fileno(f), &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
        s = fail(ERR_FILE, "%s: expected a file, got a device", path);
    while (s == OK && !feof(f) && (limit == 0 || raw.count < limit || is_zstd(&raw))) {
        s = bytes_room(&raw, 1 << 20);
        if (s != OK) break;
        raw.count += fread(raw.v + raw.count, 1, raw.room - raw.count, f);
        if (ferror(f)) s = fail(ERR_FILE, "%s: cannot read: %s", path, strerror(errno));
    }
    fclose(f);
    if (s == OK && is_zstd(&raw)) {
        s = zstd_decode(path, raw.v, raw.count, limit, out);
    } else if (s == OK && !out->v) {
        *out = raw;
        return OK;
    } else if (s == OK) {
        s = bytes_put(out, raw.v, raw.count);
    }
    free(raw.v);
    return s;
}

int folder_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int file_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISDIR(s.st_mode);
}

status folder_make(const char *path)
{
    char part[4096];
    size_t n = strlen(path);
    if (n >= sizeof part) return fail(ERR_FILE, "%.60s...: path too long", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && !folder_exists(part))
            return fail(ERR_FILE, "%s: cannot create the folder: %s", part, strerror(errno));
    }
    return OK;
}

size_t utf8_char(const char *text, size_t count)
{
    const unsigned char *c = (const unsigned char *)text;
    if (count == 0) return 0;
    if (c[0] < 0x80) return 1;
    size_t n = c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > count) return 0;
    unsigned char low = c[0] == 0xe0 ? 0xa0 : c[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c[0] == 0xed ? 0x9f : c[0] == 0xf4 ? 0x8f : 0xbf;
    if (c[1] < low || c[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return n;
}

size_t utf8_prefix(const char *text, size_t count)
{
    size_t at = 0;
    while (at < count) {
        uint64_t eight;
        if (count - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        size_t n = utf8_char(text + at, count - at);
        if (n == 0) break;
        at += n;
    }
    return at;
}

size_t utf8_put(char *to, uint32_t scalar)
{
    if (scalar < 0x80) {
        to[0] = (char)scalar;
        return 1;
    }
    size_t n = scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; scalar >>= 6)
        to[i] = (char)(0x80 | (scalar & 0x3f));
    to[0] = (char)((0xf00 >> n & 0xff) | scalar);
    return n;
}
