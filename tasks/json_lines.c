/* SPDX-License-Identifier: MIT
 *
 * json_lines.c — JSON string literals (RFC 8259, section 7) to UTF-8 and back.
 */
#include "json_lines.h"

#include <stdlib.h>
#include <string.h>

typedef struct cursor {
    const char *at, *end;
    const char *expected; /* set on failure, `at` stays on the byte */
} cursor;

static int hex4(cursor *c, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        char h = c->at < c->end ? *c->at : 'x';
        int digit = h >= '0' && h <= '9'   ? h - '0'
                    : h >= 'a' && h <= 'f' ? h - 'a' + 10
                    : h >= 'A' && h <= 'F' ? h - 'A' + 10
                                           : -1;
        if (digit < 0) {
            c->expected = "four hexadecimal digits after \\u";
            return 0;
        }
        *value = *value << 4 | (uint32_t)digit;
    }
    return 1;
}

/* Behind "\u": one scalar value; a surrogate without its other half becomes U+FFFD. */
static int scalar(cursor *c, uint32_t *value, int64_t *lone)
{
    if (!hex4(c, value)) return 0;
    if (*value < 0xd800 || *value > 0xdfff) return 1;
    if (*value < 0xdc00 && c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u') {
        cursor ahead = {c->at + 2, c->end, NULL};
        uint32_t low;
        if (hex4(&ahead, &low) && low >= 0xdc00 && low <= 0xdfff) {
            *value = 0x10000 + ((*value - 0xd800) << 10) + (low - 0xdc00);
            c->at = ahead.at;
            return 1;
        }
    }
    *value = 0xfffd;
    ++*lone;
    return 1;
}

static int escape(cursor *c, char **to, int64_t *lone)
{
    static const char codes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char code = c->at < c->end ? *c->at : '\0';
    const char *known = code ? strchr(codes, code) : NULL;
    if (known) {
        c->at++;
        *(*to)++ = values[known - codes];
        return 1;
    }
    if (code != 'u') {
        c->expected = "one of \" \\ / b f n r t u after a backslash";
        return 0;
    }
    c->at++;
    uint32_t value;
    if (!scalar(c, &value, lone)) return 0;
    *to += utf8_put(*to, value);
    return 1;
}

/* Everything behind the opening quote, up to and with the closing one. */
static int string(cursor *c, char **to, int64_t *lone)
{
    for (;;) {
        if (c->at == c->end) {
            c->expected = "a closing quote; the line is truncated";
            return 0;
        }
        unsigned char byte = (unsigned char)*c->at;
        if (byte == '"') {
            c->at++;
            return 1;
        }
        if (byte == '\\') {
            c->at++;
            if (!escape(c, to, lone)) return 0;
            continue;
        }
        size_t n = byte < 0x20 ? 0 : utf8_char(c->at, (size_t)(c->end - c->at));
        if (n == 0) {
            c->expected = byte < 0x20 ? "no bare control character" : "valid UTF-8";
            return 0;
        }
        memcpy(*to, c->at, n);
        *to += n;
        c->at += n;
    }
}

/* White space of JSON that a line may have around its string; CR ends the lines of some systems. */
static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

status json_decode(const char *line, size_t count, bytes *text, int64_t *lone, json_fault *fault)
{
    /* No escape is shorter than what it stands for. */
    TRY(bytes_room(text, count));
    cursor c = {line, line + count, NULL};
    char *to = text->v + text->count;
    while (c.at < c.end && is_blank(*c.at))
        c.at++;
    if (c.at == c.end || *c.at != '"')
        c.expected = c.at == c.end ? "a JSON string, not an empty line" : "a JSON string \"...\"";
    else
        c.at++;
    int whole = !c.expected && string(&c, &to, lone);
    while (whole && c.at < c.end && is_blank(*c.at))
        c.at++;
    if (whole && c.at != c.end) c.expected = "the end of the line after the closing quote";
    if (c.expected) {
        *fault = (json_fault){(size_t)(c.at - line) + 1, c.expected};
        return fail(ERR_DATA, "byte %zu: expected %s", fault->byte, fault->expected);
    }
    text->count = (size_t)(to - text->v);
    return OK;
}

static size_t put_unit(char *to, uint32_t unit)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(to, "\\u", 2);
    for (int i = 0; i < 4; i++)
        to[2 + i] = digits[unit >> (12 - 4 * i) & 15];
    return 6;
}

static size_t put_character(char *to, const char *from, size_t n)
{
    static const char named[] = "\"\\\b\f\n\r\t", codes[] = "\"\\bfnrt";
    const unsigned char *c = (const unsigned char *)from;
    if (n == 1) {
        const char *known = *c ? strchr(named, *c) : NULL;
        if (known) {
            to[0] = '\\';
            to[1] = codes[known - named];
            return 2;
        }
        if (*c < 0x20 || *c == 0x7f) return put_unit(to, *c);
        *to = *from;
        return 1;
    }
    uint32_t value = c[0] & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++)
        value = value << 6 | (c[i] & 0x3f);
    if (value < 0x10000) return put_unit(to, value);
    put_unit(to, 0xd800 + ((value - 0x10000) >> 10));
    return 6 + put_unit(to + 6, 0xdc00 + ((value - 0x10000) & 0x3ff));
}

status json_encode(const char *text, size_t count, bytes *line)
{
    if (count > SIZE_MAX / 8) return fail(ERR_MEMORY, "JSON string of %zu bytes", count);
    TRY(bytes_room(line, 6 * count + 2));
    char *to = line->v + line->count;
    *to++ = '"';
    for (size_t at = 0, n; at < count; at += n) {
        n = utf8_char(text + at, count - at);
        if (n == 0) return fail(ERR_DATA, "text: byte %zu: expected valid UTF-8", at + 1);
        to += put_character(to, text + at, n);
    }
    *to++ = '"';
    line->count = (size_t)(to - line->v);
    return OK;
}

status json_lines_find(const char *name, const char *text, size_t count, json_lines *out)
{
    *out = (json_lines){.text = text};
    if (count == 0)
        return fail(ERR_DATA, "%s: the file is empty: expected one story per line", name);
    int64_t n = text[count - 1] != '\n';
    for (const char *c = text; (c = memchr(c, '\n', (size_t)(text + count - c))); c++)
        n++;
    out->start = malloc(((size_t)n + 1) * sizeof *out->start);
    if (!out->start) return fail(ERR_MEMORY, "%s: no memory for %lld lines", name, (long long)n);
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        out->start[i] = at;
        const char *feed = memchr(text + at, '\n', count - at);
        at = feed ? (size_t)(feed - text) + 1 : count + 1;
    }
    out->start[n] = at;
    out->count = n;
    return OK;
}

const char *json_lines_line(const json_lines *l, int64_t i, size_t *count)
{
    const char *line = l->text + l->start[i];
    *count = l->start[i + 1] - 1 - l->start[i];
    if (*count > 0 && line[*count - 1] == '\r') --*count;
    return line;
}
