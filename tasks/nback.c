/* SPDX-License-Identifier: MIT
 *
 * nback.c — the symbol k steps ago (spec of the tasks, section 7).
 *
 *   src: 0, then L symbols 1 + below(15);   trg[t] = src[t-k] for t >= k, else 0;   k = 2
 *
 * Token classification: x = [BOS] src [EOS], y = [IGNORE] trg [IGNORE]. token_acc counts t >= k,
 * exact the whole of trg. Source: the generator of ASEntmax.
 */
#include "sequence.h"

enum { SYMBOLS = 16 };

static void room_nback(const data_options *o, int64_t L, int64_t *S, int64_t *R)
{
    (void)o;
    *S = *R = L + 1;
}

static void solve_nback(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R)
{
    int64_t k = d->options.nback;
    for (int64_t t = 0; t < S; t++)
        trg[t] = t >= k ? src[t - k] : 0;
    *R = S;
}

static void generate_nback(const dataset *d, const void *own, rng *r, int64_t L, int32_t *src,
                           int64_t *S, int32_t *trg, int64_t *R)
{
    (void)own;
    src[0] = 0;
    for (int64_t t = 1; t <= L; t++)
        src[t] = 1 + (int32_t)rng_below(r, SYMBOLS - 1);
    *S = L + 1;
    solve_nback(d, src, *S, trg, R);
}

static status score_nback(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    metrics tokens = {0};
    score_tokens(s, p, -2, &tokens);
    int64_t R = s->T - 2, k = d->options.nback, correct = 0;
    for (int64_t t = k; t < R; t++)
        correct += p->argmax[t + 1] == s->y[t + 1];
    metrics_take(all, &tokens, "ce", R);
    metrics_add(all, "token_acc", 1, (double)correct, R > k ? R - k : 0);
    metrics_take(all, &tokens, "exact", 1);
    return OK;
}

static const sequence_rule nback_rule = {
    .form = FORM_LABEL,
    .inputs = SYMBOLS,
    .labels = SYMBOLS,
    .symbols = SYMBOLS,
    .center = 48,
    .vary = 16,
    .shortest = 1,
    .room = room_nback,
    .generate = generate_nback,
    .solve = solve_nback,
    .fits = sequence_equal,
    .expected = "as many as the source",
    .score = score_nback,
};

static status open_nback(const struct task *t, const data_options *o, dataset **out)
{
    *out = NULL;
    if (o->nback < 1)
        return fail(ERR_ARG, "nback: nback %lld: expected at least 1", (long long)o->nback);
    return sequence_open(t, o, &nback_rule, out);
}

const struct task nback_task = {
    .name = "nback",
    .title = "n-back",
    .source = "n-back of the ASEntmax generator, k = 2",
    .id = 7,
    .metrics = "exact token_acc ce",
    .open = open_nback,
    .write = sequence_write,
};
