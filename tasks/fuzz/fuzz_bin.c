/* SPDX-License-Identifier: MIT
 *
 * fuzz_bin.c — .bin files: what is accepted has ids in range, ends with end-of-text, and is the
 * same file when written again. The first two bytes choose the vocabulary.
 */
#include <stdlib.h>
#include <string.h>

#include "token_file.h"

static void demand(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    if (count < 2) return 0;
    int32_t end = data[0] | data[1] << 8, limit = end - data[0] / 2;
    tokens ids = {0};
    bytes again = {0};
    data += 2;
    count -= 2;
    if (token_file_decode("fuzz", data, count, limit, end, &ids) == OK) {
        demand(ids.count == count / 2 && ids.v[ids.count - 1] == end);
        for (size_t i = 0; i < ids.count; i++)
            demand(ids.v[i] < limit || ids.v[i] == end);
        demand(token_file_encode(&ids, &again) == OK);
        demand(again.count == count && memcmp(again.v, data, count) == 0);
    } else {
        demand(ids.count == 0);
    }
    free(ids.v);
    free(again.v);
    return 0;
}
