/* SPDX-License-Identifier: MIT
 *
 * split.c — GPT-2's pre-tokenisation (spec of the tasks, section 5, rules a to f) by PCRE2.
 *
 * Which code points are letters and numbers is a matter of the version of Unicode that PCRE2 knows:
 * newer ones assign more of them. Provenance records it (split_unicode).
 *
 * White space is the property White_Space: U+0009..D, U+0085 and category Z. (PCRE2's \s would
 * add U+180E.) The repeats are possessive where nothing can be given back. Every character falls
 * under one rule, so pieces are adjacent. A byte that is not part of valid UTF-8 is a piece of its
 * own and ends the text before it.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "bpe.h"

#define SPACE "\\x{9}-\\x{d}\\x{85}\\p{Z}"
static const char pattern[] = "'(?:s|t|re|ve|m|ll|d)"
                              "| ?\\p{L}++"
                              "| ?\\p{N}++"
                              "| ?[^" SPACE "\\p{L}\\p{N}]++"
                              "|[" SPACE "]+(?![^" SPACE "])"
                              "|[" SPACE "]++";

struct splitter {
    pcre2_code *code;
    pcre2_match_data *match;
    const char *text;
    size_t count, at, valid; /* text[at .. valid-1] is UTF-8 */
};

status split_open(splitter **out)
{
    int error;
    PCRE2_SIZE where;
    splitter *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(ERR_MEMORY, "splitter: no memory");
    s->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &where, NULL);
    if (s->code) s->match = pcre2_match_data_create(1, NULL);
    if (!s->code || !s->match) {
        split_close(s);
        *out = NULL;
        return fail(ERR_MEMORY, "splitter: PCRE2 cannot compile the pattern");
    }
    /* Without a JIT for this machine the interpreter does the same, slower. */
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    return OK;
}

void split_unicode(char text[64])
{
    char unicode[32] = "", version[32] = "";
    (void)pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, unicode);
    (void)pcre2_config(PCRE2_CONFIG_VERSION, version);
    snprintf(text, 64, "%.20s (PCRE2 %.30s)", unicode, version);
}

void split_close(splitter *s)
{
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_code_free(s->code);
    free(s);
}

void split_text(splitter *s, const char *text, size_t count)
{
    s->text = text;
    s->count = count;
    s->at = s->valid = 0;
}

status split_next(splitter *s, size_t *begin, size_t *end)
{
    *begin = *end = s->at;
    if (s->at == s->count) return OK;
    if (s->at == s->valid) s->valid += utf8_prefix(s->text + s->at, s->count - s->at);
    if (s->at == s->valid) {
        s->valid = *end = ++s->at;
        return OK;
    }
    int groups = pcre2_match(s->code, (PCRE2_SPTR)s->text, s->valid, s->at, PCRE2_NO_UTF_CHECK,
                             s->match, NULL);
    size_t stop = groups < 1 ? 0 : pcre2_get_ovector_pointer(s->match)[1];
    if (stop <= s->at)
        return fail(ERR_DATA, "text: byte %zu: PCRE2 finds no piece: code %d", s->at + 1, groups);
    s->at = *end = stop;
    return OK;
}
