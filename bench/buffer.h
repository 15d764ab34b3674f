/* SPDX-License-Identifier: MIT
 *
 * buffer.h — a text that grows. A failed allocation is remembered and told by buffer_failed.
 */
#ifndef MOSAIC_BUFFER_H
#define MOSAIC_BUFFER_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct buffer {
    char *text; /* NULL while empty and after a failure */
    size_t used, room;
} buffer;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static inline void
buffer_add(buffer *b, const char *format, ...)
{
    va_list list;
    if (b->room && !b->text) return;
    va_start(list, format);
    int n = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (b->used + (size_t)n + 1 > b->room) {
        size_t room = 2 * (b->used + (size_t)n + 256);
        char *more = (char *)realloc(b->text, room);
        if (!more) free(b->text);
        b->text = more;
        b->room = room;
        if (!more) return;
    }
    va_start(list, format);
    b->used += (size_t)vsnprintf(b->text + b->used, b->room - b->used, format, list);
    va_end(list);
}

static inline int buffer_failed(const buffer *b)
{
    return b->room > 0 && !b->text;
}

static inline const char *buffer_text(const buffer *b)
{
    return b->text ? b->text : "";
}

#endif
