/* SPDX-License-Identifier: MIT
 *
 * fuzz_seq.c — libFuzzer target of the reader of .src/.trg/.idx.
 *
 * Input: byte 0 is the largest id, byte 1 the entries of an index; then that many bytes, each an
 * entry of the .idx file; the rest is the text. Whatever the bytes are, the lines that come out
 * must lie in the text and their ids below the limit.
 */
#include <stdlib.h>
#include <string.h>

#include "sequence_file.h"

static void read_lines(const lines *l, int32_t limit)
{
    int32_t ids[64];
    for (int64_t i = 0; i < l->count; i++) {
        size_t length;
        int64_t count;
        const char *line = lines_get(l, i, &length);
        if (line < l->text || line + length > l->text + l->bytes) abort();
        if (lines_ids(l, i, limit, ids, 64, &count) != OK) {
            if (strchr(last_error(), '\n') && !memchr(line, '\n', length)) abort();
            continue;
        }
        for (int64_t j = 0; j < count && j < 64; j++)
            if (ids[j] < 0 || ids[j] >= limit) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size < 2 + (size_t)data[1]) return 0;
    size_t entries = data[1], bytes = size - 2 - entries;
    uint64_t *index = malloc(entries * sizeof *index + 1);
    char *text = malloc(bytes + 1);
    lines l = {0};
    if (index && text) {
        for (size_t i = 0; i < entries; i++)
            index[i] = data[2 + i];
        memcpy(text, data + 2 + entries, bytes);
        if (lines_from("fuzz", text, bytes, index, entries * sizeof *index, &l) == OK)
            read_lines(&l, data[0] + 1);
    }
    lines_close(&l);
    free(index);
    free(text);
    return 0;
}
