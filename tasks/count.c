/* SPDX-License-Identifier: MIT
 *
 * count.c — local count: how often the present symbol has come in a row (spec of the tasks,
 * section 7).
 *
 *   B = floor(2L/(m+2)) blocks, m = 48; symbols below 16, neighbours differ: x = below(15),
 *   x += (x >= previous); block lengths 2 + below(m-1), drawn after the symbols
 *   trg: 0, 1, ..., length-1 in each block
 *
 * Token classification: x = [BOS] src [EOS], y = [IGNORE] trg [IGNORE], 48 classes. Training
 * L = 64..128; the real length is 2B..48B. Source: the generator of ASEntmax.
 */
#include "sequence.h"

enum { SYMBOLS = 16, REPEATS = 48 };

static int64_t blocks(int64_t L)
{
    return 2 * L / (REPEATS + 2);
}

static void room_count(const data_options *o, int64_t L, int64_t *S, int64_t *R)
{
    (void)o;
    *S = *R = REPEATS * blocks(L);
}

static void solve_count(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    (void)d;
    for (int64_t t = 0; t < S; t++)
        trg[t] = t > 0 && src[t] == src[t - 1] && trg[t - 1] + 1 < REPEATS ? trg[t - 1] + 1 : 0;
    *R = S;
}

static void generate_count(const dataset *d, const void *own, rng *r, int64_t L, int32_t *src,
                           int64_t *S, int32_t *trg, int64_t *R)
{
    int64_t B = blocks(L), at = 0;
    (void)own;
    /* The symbols wait at the end of the room until the lengths are drawn. */
    int32_t *symbol = src + (REPEATS - 1) * B;
    symbol[0] = (int32_t)rng_below(r, SYMBOLS);
    for (int64_t b = 1; b < B; b++) {
        int32_t x = (int32_t)rng_below(r, SYMBOLS - 1);
        symbol[b] = x + (x >= symbol[b - 1]);
    }
    for (int64_t b = 0; b < B; b++) {
        int32_t c = symbol[b];
        int64_t length = 2 + (int64_t)rng_below(r, REPEATS - 1);
        for (int64_t i = 0; i < length; i++)
            src[at++] = c;
    }
    *S = at;
    solve_count(d, src, at, trg, R);
}

static status score_count(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    (void)d;
    score_tokens(s, p, -2, all);
    return OK;
}

static const sequence_rule count_rule = {
    .form = FORM_LABEL,
    .inputs = SYMBOLS,
    .labels = REPEATS,
    .symbols = REPEATS,
    .center = 96,
    .vary = 32,
    .shortest = 25, /* one block */
    .room = room_count,
    .generate = generate_count,
    .solve = solve_count,
    .fits = sequence_equal,
    .expected = "as many as the source",
    .score = score_count,
};

static status open_count(const struct task *t, const data_options *o, dataset **out)
{
    return sequence_open(t, o, &count_rule, out);
}

const struct task count_task = {
    .name = "count",
    .title = "local count",
    .source = "local count of the ASEntmax generator with all 48 labels",
    .id = 6,
    .metrics = "exact token_acc ce",
    .open = open_count,
    .write = sequence_write,
};
