/* SPDX-License-Identifier: MIT
 *
 * fuzz_bpe.c — merge lists and the encoder: the input is a list, a zero byte and a text. A list
 * that is accepted survives being written and read again; with it, and without any merge, the
 * text comes back from its ids.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

static void demand(int holds)
{
    if (!holds) abort();
}

static void check_text(const bpe *b, const char *text, size_t count)
{
    encoder *e;
    tokens ids = {0};
    bytes back = {0};
    demand(encoder_open(b, &e) == OK);
    demand(encode(e, text, count, &ids) == OK);
    demand(bpe_decode(b, ids.v, ids.count, &back) == OK);
    demand(back.count == count && (count == 0 || memcmp(back.v, text, count) == 0));
    encoder_close(e);
    free(ids.v);
    free(back.v);
}

static void check_list(const bpe *b)
{
    bpe *again;
    bytes list = {0};
    demand(bpe_write(b, &list) == OK);
    demand(bpe_read("again", list.v, list.count, &again) == OK);
    demand(again->hash == b->hash && again->merges == b->merges && again->vocab == b->vocab);
    bpe_free(again);
    free(list.v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    static const char none[] = "#mosaic bytes 257\n";
    const char *list = (const char *)data, *zero = count ? memchr(data, 0, count) : NULL;
    size_t n = zero ? (size_t)(zero - list) : count;
    const char *text = zero ? zero + 1 : list;
    size_t length = zero ? count - n - 1 : count;
    bpe *b, *plain;
    demand(bpe_read("none", none, sizeof none - 1, &plain) == OK);
    check_text(plain, text, length);
    if (bpe_read("fuzz", list, n, &b) == OK) {
        check_list(b);
        check_text(b, text, length);
    } else {
        demand(b == NULL);
    }
    bpe_free(b);
    bpe_free(plain);
    return 0;
}
