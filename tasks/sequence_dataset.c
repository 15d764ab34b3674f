/* SPDX-License-Identifier: MIT
 *
 * sequence_dataset.c — datasets of source and target lines, generated or read (spec of the tasks,
 * sections 0.3, 0.4, 1).
 *
 * Generated: sample i of a split is drawn from the stream key(seed, task, split, i); first the
 * length, L = center - vary + below(2 vary + 1), then what the task says. A shard has exactly its
 * nominal length (0: 64 2^i); training samples of nominal length L have L/2 .. L, as the official
 * 32..64 for 64. Read: line i of STEM.src and STEM.trg; every line is parsed once at opening, so
 * that a damaged file is refused before anything is trained on it.
 */
#include "sequence.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { SHARD_SAMPLES = 1000, WRITE_SAMPLES = 100000 };
#define LONGEST_LENGTH ((int64_t)1 << 22)

/* Distance of the logits of a certain answer: exp(-CERTAIN) is 0. */
static const double CERTAIN = 1000;

typedef struct sequence_state {
    const sequence_rule *rule;
    int64_t center, vary;
    void *own;
    int read; /* 1: src and trg hold the data */
    lines src, trg;
} sequence_state;

const sequence_rule *sequence_rule_of(const dataset *d)
{
    return ((const sequence_state *)d->state)->rule;
}

static int32_t special_id(const sequence_rule *r, int i)
{
    return r->symbols + i;
}

int sequence_equal(int64_t S, int64_t R)
{
    return S == R;
}

void sequence_room(const data_options *o, int64_t L, int64_t *S, int64_t *R)
{
    (void)o;
    *S = *R = L;
}

static int64_t positions(sequence_form form, int64_t S, int64_t R)
{
    return form == FORM_PROMPT ? S + R + 2 : form == FORM_READ ? S + R + 1 : S + 2;
}

/* x[1..S] holds src, y[0..R-1] holds trg: make the training pair of it. */
static void assemble(const sequence_rule *r, int64_t S, int64_t R, sample *s)
{
    int64_t first = r->form == FORM_PROMPT ? S + 1 : r->form == FORM_READ ? S : 1;
    s->T = positions(r->form, S, R);
    s->answer = r->form == FORM_LABEL ? 0 : first;
    memmove(s->y + first, s->y, (size_t)R * sizeof *s->y);
    for (int64_t t = 0; t < first; t++)
        s->y[t] = IGNORE;
    s->x[0] = special_id(r, 0);
    if (r->form == FORM_LABEL) {
        s->x[S + 1] = special_id(r, 2);
        s->y[S + 1] = IGNORE;
        return;
    }
    s->y[first + R] = special_id(r, 2);
    if (r->form == FORM_PROMPT) s->x[S + 1] = special_id(r, 1);
    memcpy(s->x + first + 1, s->y + first, (size_t)R * sizeof *s->x);
}

sequence_parts sequence_split(const dataset *d, const sample *s)
{
    sequence_form form = sequence_rule_of(d)->form;
    int64_t first = form == FORM_LABEL ? 1 : s->answer;
    int64_t R = form == FORM_LABEL ? s->T - 2 : s->T - first - 1;
    int64_t S = form == FORM_PROMPT ? first - 1 : form == FORM_READ ? first : R;
    return (sequence_parts){s->x + 1, s->y + first, S, R, first};
}

/* --- dataset functions ---------------------------------------------------------------------- */

static status read_sample(const dataset *d, int64_t index, sample *s)
{
    const sequence_state *q = d->state;
    int64_t S, R;
    TRY(lines_ids(&q->src, index, q->rule->inputs, s->x + 1, d->longest - 1, &S));
    TRY(lines_ids(&q->trg, index, q->rule->labels, s->y, d->longest, &R));
    assemble(q->rule, S, R, s);
    return OK;
}

static status sequence_sample(const dataset *d, int64_t index, sample *s)
{
    const sequence_state *q = d->state;
    if (index < 0 || (d->samples > 0 && index >= d->samples))
        return fail(ERR_ARG, "%s: sample %lld: expected 0..%lld", d->task->name, (long long)index,
                    (long long)d->samples - 1);
    s->index = index;
    if (q->read) return read_sample(d, index, s);
    rng r = rng_sample(d->options.seed, (uint64_t)d->task->id, (uint64_t)d->options.split,
                       (uint64_t)index);
    int64_t L = q->center - q->vary + (int64_t)rng_below(&r, (uint64_t)(2 * q->vary + 1));
    int64_t S, R;
    q->rule->generate(d, q->own, &r, L, s->x + 1, &S, s->y, &R);
    assemble(q->rule, S, R, s);
    return OK;
}

static status sequence_oracle(const dataset *d, const sample *s, double *logits)
{
    const sequence_rule *r = sequence_rule_of(d);
    sequence_parts p = sequence_split(d, s);
    int64_t R;
    int32_t *trg = malloc((size_t)(p.S + 1) * sizeof *trg);
    if (!trg) return fail(ERR_MEMORY, "%s: oracle: out of memory", d->task->name);
    r->solve(d, p.src, p.S, trg, &R);
    for (int64_t i = 0; i < s->T * d->vocab; i++)
        logits[i] = 0;
    for (int64_t i = 0; i <= p.R; i++) {
        if (i == p.R && r->form == FORM_LABEL) break;
        int32_t answer = i < R ? trg[i] : special_id(r, 2);
        double *row = logits + (p.first + i) * d->vocab;
        for (int32_t c = 0; c < d->vocab; c++)
            row[c] = c == answer ? 0 : -CERTAIN;
    }
    free(trg);
    return OK;
}

/* The source line, as in a .src file, in its frame. */
static status sequence_prompt(const dataset *d, const char *text, size_t count, tokens *ids)
{
    const sequence_rule *r = sequence_rule_of(d);
    const uint16_t bos = (uint16_t)special_id(r, 0), sep = (uint16_t)special_id(r, 1);
    TRY(tokens_put(ids, &bos, 1));
    for (const char *p = text, *end = text + count; p < end;) {
        int32_t id;
        p = id_read(p, end, r->inputs, &id);
        if (!p)
            return fail(ERR_ARG, "prompt: item %zu: expected an id 0..%d, and a blank between two",
                        ids->count, r->inputs - 1);
        const uint16_t one = (uint16_t)id;
        TRY(tokens_put(ids, &one, 1));
    }
    return r->form == FORM_PROMPT ? tokens_put(ids, &sep, 1) : OK;
}

static status sequence_spell(const dataset *d, int32_t id, bytes *text)
{
    const sequence_rule *r = sequence_rule_of(d);
    char digits[16];
    const int n = snprintf(digits, sizeof digits, "%d", id);
    if (id == d->end) return OK;
    if (id >= 0 && id < r->labels) return bytes_put(text, digits, (size_t)n);
    return fail(ERR_DATA, "%s: id %d is in no answer", d->task->name, id);
}

static void sequence_close(dataset *d)
{
    sequence_state *q = d->state;
    if (q) {
        lines_close(&q->src);
        lines_close(&q->trg);
        free(q->own);
    }
    free(q);
    free(d);
}

status sequence_score(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    int32_t eos = special_id(sequence_rule_of(d), 2);
    metrics one = {0}, with_eos = {0};
    score_tokens(s, p, eos, &one);
    score_tokens(s, p, -2, &with_eos);
    metrics_merge(all, &one);
    metrics_add(all, "em_eos", 1, metrics_find(&with_eos, "exact", 1)->sum, 1);
    return OK;
}

/* --- opening -------------------------------------------------------------------------------- */

static status generate_pairs(dataset *d, sequence_state *q)
{
    const data_options *o = &d->options;
    const sequence_rule *r = q->rule;
    int train = o->split == SPLIT_TRAIN, number = o->split & 0xff;
    q->center = o->length > 0 ? o->length : train ? r->center : (int64_t)64 << (number & 31);
    q->vary = train && o->length == 0 ? r->vary : 0;
    if (train && o->length > 0) { /* up to the nominal length, in the proportion of 32..64 */
        q->vary = o->length / 4;
        q->center = o->length - q->vary;
    }
    int64_t least = q->center - q->vary, most = q->center + q->vary, S, R;
    if (least < r->shortest || most > LONGEST_LENGTH)
        return fail(ERR_ARG, "%s: length %lld: expected %lld..%lld", d->task->name,
                    (long long)(o->length > 0 ? o->length : q->center), (long long)r->shortest,
                    (long long)LONGEST_LENGTH);
    for (int64_t L = least; L <= most; L++) {
        r->room(o, L, &S, &R);
        int64_t T = positions(r->form, S, R);
        if (T > d->longest) d->longest = T;
    }
    if (!train) d->options.length = q->center;
    d->samples = o->samples > 0 ? o->samples : train ? 0 : SHARD_SAMPLES;
    char facts[256];
    int n = snprintf(facts, sizeof facts, "%s seed=%llu split=%d length=%lld flip=%.17g nback=%lld",
                     d->task->name, (unsigned long long)o->seed, o->split, (long long)q->center,
                     o->flip_p, (long long)o->nback);
    if (o->queries != data_options_default().queries)
        n += snprintf(facts + n, sizeof facts - (size_t)n, " queries=%lld", (long long)o->queries);
    d->hash = fnv1a(FNV_OFFSET, facts, (size_t)n);
    return r->prepare ? r->prepare(o, &q->own) : OK;
}

static status check_lines(dataset *d, const sequence_state *q)
{
    const sequence_rule *r = q->rule;
    for (int64_t i = 0; i < d->samples; i++) {
        int64_t S, R;
        TRY(lines_ids(&q->src, i, r->inputs, NULL, 0, &S));
        TRY(lines_ids(&q->trg, i, r->labels, NULL, 0, &R));
        if (!r->fits(S, R))
            return fail(ERR_DATA, "%s: line %lld: %lld ids for a source of %lld: expected %s",
                        q->trg.path, (long long)i + 1, (long long)R, (long long)S, r->expected);
        int64_t T = positions(r->form, S, R);
        if (T > d->longest) d->longest = T;
    }
    return OK;
}

/* The L of a path that ends in _{i}_{L}, else 0. */
static int64_t stem_length(const char *path)
{
    const char *last = strrchr(path, '_');
    char *end = NULL;
    long long length = last ? strtoll(last + 1, &end, 10) : 0;
    return last && end > last + 1 && *end == '\0' ? length : 0;
}

static status open_read(dataset *d, sequence_state *q)
{
    char path[PATH_ROOM], file[PATH_ROOM + 8];
    TRY(shard_path(d->options.data, d->options.split, d->options.length, path));
    if (d->options.split != SPLIT_TRAIN) d->options.length = stem_length(path);
    snprintf(file, sizeof file, "%s.src", path);
    TRY(lines_open(file, &q->src));
    snprintf(file, sizeof file, "%s.trg", path);
    TRY(lines_open(file, &q->trg));
    q->read = 1;
    d->samples = q->src.count < q->trg.count ? q->src.count : q->trg.count;
    if (q->src.count != q->trg.count)
        fprintf(stderr, "warning: %s: %lld lines of .src, %lld of .trg: the first %lld are used\n",
                path, (long long)q->src.count, (long long)q->trg.count, (long long)d->samples);
    if (d->options.samples > 0 && d->options.samples < d->samples) d->samples = d->options.samples;
    d->hash = fnv1a(FNV_OFFSET, q->src.text, q->src.bytes);
    d->hash = fnv1a(d->hash, q->trg.text, q->trg.bytes);
    return check_lines(d, q);
}

status sequence_open(const struct task *t, const data_options *o, const sequence_rule *rule,
                     dataset **out)
{
    dataset *d = calloc(1, sizeof *d);
    sequence_state *q = calloc(1, sizeof *q);
    status s;
    *out = NULL;
    if (!d || !q) {
        free(d);
        free(q);
        return fail(ERR_MEMORY, "%s: out of memory", t->name);
    }
    q->rule = rule;
    *d = (dataset){.task = t,
                   .options = *o,
                   .vocab = rule->symbols + 4,
                   .pad = special_id(rule, 3),
                   .state = q,
                   .sample = sequence_sample,
                   .score = rule->score,
                   .oracle = sequence_oracle,
                   .ngram = sequence_ngram,
                   .prompt = rule->form == FORM_LABEL ? NULL : sequence_prompt,
                   .spell = sequence_spell,
                   .between = " ",
                   .end = special_id(rule, 2),
                   .close = sequence_close};
    s = o->data ? open_read(d, q) : generate_pairs(d, q);
    if (s == OK)
        *out = d;
    else
        sequence_close(d);
    return s;
}

/* --- writing -------------------------------------------------------------------------------- */

/* The line of ids and its entry in the index. */
static void put_ids(FILE *text, FILE *index, const int32_t *ids, int64_t count, uint64_t *at)
{
    fwrite(at, sizeof *at, 1, index);
    for (int64_t i = 0; i < count; i++)
        *at += (uint64_t)fprintf(text, i + 1 < count ? "%d " : "%d", ids[i]);
    fputc('\n', text);
    *at += 1;
}

static status write_pairs(const dataset *d, int64_t samples, text_file file[4])
{
    uint64_t src = 0, trg = 0;
    status s = OK;
    sample one = {.x = malloc((size_t)d->longest * sizeof *one.x),
                  .y = malloc((size_t)d->longest * sizeof *one.y)};
    if (!one.x || !one.y) s = fail(ERR_MEMORY, "%s: write: out of memory", d->task->name);
    for (int64_t i = 0; s == OK && i < samples; i++) {
        s = d->sample(d, i, &one);
        if (s != OK) break;
        sequence_parts p = sequence_split(d, &one);
        put_ids(file[0].f, file[2].f, p.src, p.S, &src);
        put_ids(file[1].f, file[3].f, p.trg, p.R, &trg);
        for (int j = 0; j < 4 && s == OK; j++)
            if (ferror(file[j].f)) s = fail(ERR_FILE, "%s: cannot be written", file[j].path);
    }
    free(one.x);
    free(one.y);
    return s;
}

status sequence_write(const struct task *t, const data_options *o, const char *out)
{
    static const char *const suffix[4] = {"src", "trg", "src.idx", "trg.idx"};
    text_file file[4] = {{.f = NULL}};
    char stem[64], path[PATH_ROOM];
    dataset *d = NULL;
    status s = t->open(t, o, &d);
    if (s == OK) s = folder_make(out);
    if (s != OK) goto done;
    shard_stem(o->split, d->options.length, stem);
    for (int i = 0; i < 4 && s == OK; i++) {
        if (snprintf(path, sizeof path, "%s/%s.%s", out, stem, suffix[i]) >= (int)sizeof path)
            s = fail(ERR_FILE, "%.60s...: the path is too long", out);
        else
            s = text_create(path, &file[i]);
    }
    if (s == OK) s = write_pairs(d, d->samples > 0 ? d->samples : WRITE_SAMPLES, file);
    for (int i = 0; i < 4 && s == OK; i++)
        s = text_finish(&file[i]);
    for (int i = 0; i < 4 && s == OK; i++)
        s = text_commit(&file[i]);
done:
    for (int i = 0; i < 4; i++)
        text_abandon(&file[i]);
    dataset_close(d);
    return s;
}
