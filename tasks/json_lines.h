/* SPDX-License-Identifier: MIT
 *
 * json_lines.h — text files of one JSON string literal per line, the raw format of BabiStories
 * (spec of the tasks, section 5).
 */
#ifndef MOSAIC_JSON_LINES_H
#define MOSAIC_JSON_LINES_H

#include "bytes.h"

/* Where and why a line was refused; byte counts from 1. */
typedef struct json_fault {
    size_t byte;
    const char *expected;
} json_fault;

/* Decode the line "..." (without its line feed) to UTF-8, appended to `text`. A lone surrogate
 * becomes U+FFFD and adds to *lone. ERR_DATA with *fault filled in if it is not a JSON string. */
status json_decode(const char *line, size_t count, bytes *text, int64_t *lone, json_fault *fault);
/* Append `text` as a JSON string in ASCII. ERR_DATA if it is not UTF-8. */
status json_encode(const char *text, size_t count, bytes *line);

/* The lines of a file in memory: line i is bytes start[i] .. start[i+1]-2 (without its line
 * feed). ERR_DATA if the file is empty. Free `start`. */
typedef struct json_lines {
    const char *text;
    size_t *start;
    int64_t count;
} json_lines;
status json_lines_find(const char *name, const char *text, size_t count, json_lines *out);
/* Line i and its length, without line feed and carriage return. */
const char *json_lines_line(const json_lines *l, int64_t i, size_t *count);

#endif
