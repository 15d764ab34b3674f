/* SPDX-License-Identifier: MIT
 *
 * bytes.h — growing buffers of bytes and of token ids, whole files in and out, UTF-8.
 */
#ifndef MOSAIC_BYTES_H
#define MOSAIC_BYTES_H

#include "spec.h"

typedef struct bytes {
    char *v;
    size_t count, room;
} bytes;

typedef struct tokens {
    uint16_t *v;
    size_t count, room;
} tokens;

/* Make room for `more` elements behind the last; a buffer that is all zero is empty. Afterwards
 * there is memory, also for more = 0. */
status bytes_room(bytes *b, size_t more);
status bytes_put(bytes *b, const void *from, size_t count);
status tokens_room(tokens *t, size_t more);
status tokens_put(tokens *t, const uint16_t *from, size_t count);

/* Append a file to `out`; zstd frames are recognised by their magic number and decompressed.
 * limit > 0: stop after at least that many bytes. ERR_FILE, ERR_DATA for a broken frame. */
status file_read(const char *path, size_t limit, bytes *out);
/* The same for a file that is in memory already; `name` is for the message. */
status zstd_decode(const char *name, const void *from, size_t count, size_t limit, bytes *out);
/* Create a folder and its parents where missing. */
status folder_make(const char *path);
int file_exists(const char *path);
int folder_exists(const char *path);

/* Length of the longest prefix that is valid UTF-8 (no surrogates, no overlong forms). */
size_t utf8_prefix(const char *text, size_t count);
/* Bytes of the valid character that starts here, 0 if there is none. */
size_t utf8_char(const char *text, size_t count);
/* Write a scalar value; returns its 1..4 bytes. */
size_t utf8_put(char *to, uint32_t scalar);

#endif
