/* SPDX-License-Identifier: MIT
 *
 * regbench.c — in-context language learning (spec of the tasks, section 4; Akyurek et al. 2024).
 *
 * Sequence: m = 10 + below(10) strings of 1 + below(49) letters, each a random walk from state 0
 * of its own automaton, joined by `|`. x = s[:-1], y = s[1:] without the `|`.
 * Truth at t: D_t, uniform over the letters that leave the state after the current string of
 * x[0..t]. With P_t = softmax(logits), over all positions (acc_masked, ce: unmasked targets)
 *
 *   acc = [D(argmax P) > 0],  tvd = 1/2 sum |P - D|,  kl = sum D (ln(D + e) - ln(P + e)), e = 1e-7
 *
 * acc_pos_<t>: acc of the positions from t on up to the next bucket. A row whose logit of `.` is
 * -inf is ln P as the n-gram baselines give it: P may have zeros and sum to less than 1, so it is
 * taken as it stands and ce is -ln(P + 1e-5), as upstream.
 */
#include "regbench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "logits.h"

enum { SHARD_SEQUENCES = 500, AUTOMATA_MOST = 10000000 };

int64_t regbench_draw(rng *r, const automaton *a, int32_t ids[REGBENCH_LONGEST])
{
    int64_t n = 0;
    int strings = 10 + (int)rng_below(r, 10);
    for (int i = 0; i < strings; i++) {
        int length = 1 + (int)rng_below(r, STRING_MOST), state = 0;
        if (i > 0) ids[n++] = BAR;
        for (int j = 0; j < length; j++) {
            int edge = (int)rng_below(r, a->degree[state]);
            ids[n++] = 1 + a->letter[state][edge];
            state = a->target[state][edge];
        }
    }
    return n;
}

status regbench_get(const dataset *d, int64_t index, automaton *a, int32_t *ids, int64_t room,
                    int64_t *count)
{
    const regbench_state *q = d->state;
    if (index < 0 || (d->samples > 0 && index >= d->samples))
        return fail(ERR_ARG, "regbench: sample %lld: expected 0..%lld", (long long)index,
                    (long long)d->samples - 1);
    if (q->read) {
        size_t length;
        const char *line = lines_get(&q->text, index, &length);
        const char *expected = regbench_parse(line, length, a, ids, room, count);
        if (!expected) return OK;
        return fail(ERR_DATA, "%s: line %lld: expected %s", q->text.path, (long long)index + 1,
                    expected);
    }
    int64_t j = q->stream ? q->stream[index] : index;
    rng r = rng_sample(d->options.seed, 8, (uint64_t)d->options.split, (uint64_t)j);
    automaton_draw(&r, a);
    if (room > 0) *count = regbench_draw(&r, a, ids);
    return OK;
}

static status regbench_sample(const dataset *d, int64_t index, sample *s)
{
    automaton a;
    int32_t drawn[REGBENCH_LONGEST], *ids = drawn;
    int64_t count = 0;
    const regbench_state *q = d->state;
    int32_t *heap = NULL;
    if (q->read) { /* lines of a file may be longer than any that is drawn */
        TRY(regbench_get(d, index, &a, NULL, 0, &count));
        ids = heap = malloc((size_t)count * sizeof *heap);
        if (!heap) return fail(ERR_MEMORY, "regbench: out of memory");
    }
    status result = regbench_get(d, index, &a, ids, heap ? count : REGBENCH_LONGEST, &count);
    if (result == OK) {
        s->index = index;
        s->answer = 0;
        s->T = count - 1 < d->longest ? count - 1 : d->longest;
        memcpy(s->x, ids, (size_t)s->T * sizeof *ids);
        for (int64_t t = 0; t < s->T; t++)
            s->y[t] = ids[t + 1] == BAR ? IGNORE : ids[t + 1];
    }
    free(heap);
    return result;
}

static int advance(const automaton *a, int state, int32_t id)
{
    return id == BAR ? 0 : automaton_step(a, state, id - 1);
}

static void truth(const automaton *a, int state, double D[REGBENCH_VOCAB])
{
    for (int c = 0; c < REGBENCH_VOCAB; c++)
        D[c] = 0;
    for (int i = 0; i < a->degree[state]; i++)
        D[1 + a->letter[state][i]] = 1.0 / a->degree[state];
}

static status regbench_oracle(const dataset *d, const sample *s, double *logits)
{
    automaton a;
    int state = 0;
    TRY(regbench_get(d, s->index, &a, NULL, 0, &(int64_t){0}));
    for (int64_t t = 0; t < s->T; t++) {
        double *row = logits + t * REGBENCH_VOCAB;
        state = advance(&a, state, s->x[t]);
        truth(&a, state, row);
        for (int c = 0; c < REGBENCH_VOCAB; c++)
            row[c] = log(row[c]);
    }
    return OK;
}

typedef struct row_score {
    int right; /* argmax is a legal letter */
    double tvd, kl, ce;
} row_score;

static row_score score_row(const double *logits, const double *D, int32_t target)
{
    const double e = 1e-7;
    int64_t best;
    const double lse = log_sum_exp(logits, REGBENCH_VOCAB, &best);
    const int given = logits[0] == -INFINITY; /* ln P, not logits */
    row_score r = {.right = best >= 0 && D[best] > 0};
    for (int c = 0; c < REGBENCH_VOCAB; c++) {
        double P = exp(given ? logits[c] : logits[c] - lse);
        r.tvd += fabs(P - D[c]) / 2;
        if (D[c] > 0) r.kl += D[c] * (log(D[c] + e) - log(P + e));
    }
    if (target != IGNORE) r.ce = given ? -log(exp(logits[target]) + 1e-5) : lse - logits[target];
    return r;
}

static status regbench_score(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    static const struct {
        int64_t end;
        const char *name;
    } bucket[] = {{16, "acc_pos_0"},         {32, "acc_pos_16"},   {64, "acc_pos_32"},
                  {128, "acc_pos_64"},       {256, "acc_pos_128"}, {512, "acc_pos_256"},
                  {INT64_MAX, "acc_pos_512"}};
    automaton a;
    int state = 0, b = 0;
    TRY(regbench_get(d, s->index, &a, NULL, 0, &(int64_t){0}));
    for (int64_t t = 0; t < s->T; t++) {
        double D[REGBENCH_VOCAB];
        state = advance(&a, state, s->x[t]);
        truth(&a, state, D);
        row_score r = score_row(p->logits + t * REGBENCH_VOCAB, D, s->y[t]);
        while (t >= bucket[b].end)
            b++;
        metrics_add(all, "acc", 1, r.right, 1);
        metrics_add(all, "tvd", 0, r.tvd, 1);
        metrics_add(all, "kl", 0, r.kl, 1);
        if (s->y[t] != IGNORE) {
            metrics_add(all, "acc_masked", 1, r.right, 1);
            metrics_add(all, "ce", 0, r.ce, 1);
        }
        metrics_add(all, bucket[b].name, 1, r.right, 1);
    }
    return OK;
}

static status regbench_prompt(const dataset *d, const char *text, size_t count, tokens *ids)
{
    (void)d;
    for (size_t i = 0; i < count; i++) {
        const char c = text[i];
        const uint16_t id = (uint16_t)(c == '|' ? BAR : c - 'a' + 1);
        if (c != '|' && (c < 'a' || c >= 'a' + LETTERS))
            return fail(ERR_ARG, "prompt: byte %zu: expected a letter a..r or |", i + 1);
        TRY(tokens_put(ids, &id, 1));
    }
    if (count == 0) return fail(ERR_ARG, "prompt: expected letters a..r and |, at least one");
    return OK;
}

static status regbench_spell(const dataset *d, int32_t id, bytes *text)
{
    const char letter = (char)(id == BAR ? '|' : 'a' + id - 1);
    (void)d;
    if (id >= 1 && id <= BAR) return bytes_put(text, &letter, 1);
    return fail(ERR_DATA, "regbench: id %d only pads", id);
}

static void regbench_close(dataset *d)
{
    regbench_state *q = d->state;
    if (q) {
        lines_close(&q->text);
        free(q->stream);
    }
    free(q);
    free(d);
}

static status generate_automata(dataset *d, regbench_state *q)
{
    const data_options *o = &d->options;
    int train = o->split == SPLIT_TRAIN;
    d->samples = train ? o->automata : SHARD_SEQUENCES;
    if (o->samples > 0 && (o->samples < d->samples || !o->dedup)) d->samples = o->samples;
    if (d->samples < 1 || d->samples > AUTOMATA_MOST || (o->dedup && o->samples > d->samples))
        return fail(ERR_ARG, "regbench: %lld sequences: expected 1..%lld",
                    (long long)(o->samples > 0 ? o->samples : d->samples),
                    (long long)(o->dedup && d->samples > 0 ? d->samples : AUTOMATA_MOST));
    d->longest = REGBENCH_LONGEST - 1;
    char facts[128];
    int n = snprintf(facts, sizeof facts, "regbench seed=%llu split=%d dedup=%d samples=%lld",
                     (unsigned long long)o->seed, o->split, o->dedup != 0, (long long)d->samples);
    d->hash = fnv1a(FNV_OFFSET, facts, (size_t)n);
    return o->dedup ? regbench_accept(o->seed, o->split, d->samples, &q->stream) : OK;
}

static status regbench_open(const struct task *t, const data_options *o, dataset **out)
{
    *out = NULL;
    if (o->split & 0xff)
        return fail(ERR_ARG, "regbench: split %d: it has one validation and one test set",
                    o->split);
    if (o->length != 0)
        return fail(ERR_ARG,
                    "regbench: length %lld: expected 0, its sequences have no nominal "
                    "length",
                    (long long)o->length);
    dataset *d = calloc(1, sizeof *d);
    regbench_state *q = calloc(1, sizeof *q);
    if (!d || !q) {
        free(d);
        free(q);
        return fail(ERR_MEMORY, "regbench: out of memory");
    }
    *d = (dataset){.task = t,
                   .options = *o,
                   .vocab = REGBENCH_VOCAB,
                   .state = q,
                   .sample = regbench_sample,
                   .score = regbench_score,
                   .oracle = regbench_oracle,
                   .ngram = regbench_ngram,
                   .prompt = regbench_prompt,
                   .spell = regbench_spell,
                   .between = "",
                   .end = -1,
                   .close = regbench_close};
    status s = o->data ? regbench_read(d, q) : generate_automata(d, q);
    if (o->window > 0 && o->window < d->longest) d->longest = o->window;
    if (s == OK)
        *out = d;
    else
        regbench_close(d);
    return s;
}

const struct task regbench_task = {
    .name = "regbench",
    .title = "RegBench",
    .source = "Akyurek et al. 2024, In-Context Language Learning: Architectures and Algorithms",
    .id = 8,
    .metrics = "acc tvd kl acc_masked ce acc_pos_0 acc_pos_16 acc_pos_32 acc_pos_64 acc_pos_128 "
               "acc_pos_256 acc_pos_512",
    .logits = 1,
    .open = regbench_open,
    .write = regbench_write,
};
