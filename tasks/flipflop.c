/* SPDX-License-Identifier: MIT
 *
 * flipflop.c — one bit of memory (spec of the tasks, section 7).
 *
 *   src: c_0 b_0 c_1 b_1 ... c_{n-1}, n = floor(L/2) instructions, the bit of the last dropped;
 *        c_0 = 2 (write), c_{n-1} = 4 (read), between them 2 with probability p else 3 (ignore)
 *   trg: the bit of the last write
 *
 * x = [BOS] src trg, scored on the bit and on EOS; the read command is the prompt. "Copy the bit
 * before the read" is right with probability p + (1-p)/2: p = 0.1 is the hard variant.
 * Source: the generator of ASEntmax.
 */
#include "sequence.h"

enum { WRITE = 2, IGNORED = 3, READ = 4 };

static void room_flipflop(const data_options *o, int64_t L, int64_t *S, int64_t *R)
{
    (void)o;
    *S = 2 * (L / 2) - 1;
    *R = 1;
}

static void generate_flipflop(const dataset *d, const void *own, rng *r, int64_t L, int32_t *src,
                              int64_t *S, int32_t *trg, int64_t *R)
{
    int64_t n = L / 2;
    (void)own;
    for (int64_t i = 0; i < n; i++) {
        int32_t bit = (int32_t)rng_below(r, 2);
        if (i < n - 1) src[2 * i + 1] = bit;
    }
    src[0] = WRITE;
    for (int64_t i = 1; i < n - 1; i++)
        src[2 * i] = (double)rng_below(r, 1000) < 1000 * d->options.flip_p ? WRITE : IGNORED;
    src[2 * n - 2] = READ;
    for (int64_t i = 0; i < n - 1; i++)
        if (src[2 * i] == WRITE) trg[0] = src[2 * i + 1];
    *S = 2 * n - 1;
    *R = 1;
}

/* The automaton that obeys the commands. */
static void solve_flipflop(const dataset *d, const int32_t *src, int64_t S, int32_t *trg,
                           int64_t *R)
{
    int32_t bit = 0;
    (void)d;
    for (int64_t t = 1; t < S; t++)
        if (src[t - 1] == WRITE && src[t] < 2) bit = src[t];
    trg[0] = bit;
    *R = 1;
}

static int fits_flipflop(int64_t S, int64_t R)
{
    return S % 2 == 1 && R == 1;
}

static status score_flipflop(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    metrics tokens = {0};
    score_tokens(s, p, d->pad - 1, &tokens);
    metrics_take(all, &tokens, "ce", 2);
    metrics_take(all, &tokens, "exact", 1);
    return OK;
}

static const sequence_rule flipflop_rule = {
    .form = FORM_READ,
    .inputs = 5,
    .labels = 2,
    .symbols = 5,
    .center = 48,
    .vary = 16,
    .shortest = 4,
    .room = room_flipflop,
    .generate = generate_flipflop,
    .solve = solve_flipflop,
    .fits = fits_flipflop,
    .expected = "one bit for an odd number of commands and bits",
    .score = score_flipflop,
};

static status open_flipflop(const struct task *t, const data_options *o, dataset **out)
{
    *out = NULL;
    if (!(o->flip_p >= 0 && o->flip_p <= 1))
        return fail(ERR_ARG, "flipflop: flip_p %g: expected a probability 0..1", o->flip_p);
    return sequence_open(t, o, &flipflop_rule, out);
}

const struct task flipflop_task = {
    .name = "flipflop",
    .title = "flip-flop",
    .source =
        "flip-flop of the ASEntmax generator; write with probability 0.1 (0.8 is the easy one)",
    .id = 5,
    .metrics = "exact ce",
    .greedy = 1,
    .open = open_flipflop,
    .write = sequence_write,
};
