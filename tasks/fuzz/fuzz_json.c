/* SPDX-License-Identifier: MIT
 *
 * fuzz_json.c — JSON lines: no input breaks the reader, and what it accepts survives being
 * written and read again.
 */
#include <stdlib.h>
#include <string.h>

#include "json_lines.h"

static void demand(int holds)
{
    if (!holds) abort();
}

static void check_line(const char *line, size_t count, bytes *text, bytes *again, bytes *copy)
{
    int64_t lone = 0;
    json_fault fault = {0};
    text->count = again->count = copy->count = 0;
    if (json_decode(line, count, text, &lone, &fault) != OK) {
        demand(fault.byte >= 1 && fault.byte <= count + 1 && fault.expected && text->count == 0);
        return;
    }
    demand(utf8_prefix(text->v, text->count) == text->count);
    demand(json_encode(text->v, text->count, again) == OK);
    lone = 0;
    demand(json_decode(again->v, again->count, copy, &lone, &fault) == OK && lone == 0);
    demand(copy->count == text->count && memcmp(copy->v, text->v, text->count) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    json_lines l;
    bytes text = {0}, again = {0}, copy = {0};
    if (json_lines_find("fuzz", (const char *)data, count, &l) == OK)
        for (int64_t i = 0; i < l.count; i++) {
            size_t n;
            const char *line = json_lines_line(&l, i, &n);
            check_line(line, n, &text, &again, &copy);
        }
    free(l.start);
    free(text.v);
    free(again.v);
    free(copy.v);
    return 0;
}
