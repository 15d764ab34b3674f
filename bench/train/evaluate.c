/* SPDX-License-Identifier: MIT
 *
 * evaluate.c — predict a chunk of samples, score each, merge in order.
 *
 * Right padding changes nothing at real positions (attention is causal), so samples of different
 * lengths share a batch. Greedy decoding reads token by token where the model can (section 2.13),
 * else it predicts every prefix anew.
 */
#include "evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 256 };
static const double BUDGET = 256.0 * (1 << 20); /* bytes of a chunk */

status baseline_find(const char *name, int64_t data_seed, predictor *p)
{
    static const struct row {
        const char *name;
        int order;
    } rows[] = {
#define BASELINE(name, order, label, colour) {#name, order},
#include "baselines.def"
#undef BASELINE
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *p = (predictor){
                .name = rows[i].name, .where = "none", .order = rows[i].order, .seed = data_seed};
            return OK;
        }
    return fail(ERR_ARG, "model=%.40s: expected one of `mosaic list baselines`", name);
}

/* One sample of a chunk. */
typedef struct place {
    sample s;
    double *logits; /* [T][vocab] */
    metrics m;
    status error;
    char message[512];
} place;

typedef struct chunk {
    const predictor *p;
    const dataset *d;
    int64_t rows, longest; /* room: rows of `longest` positions each */
    place *at;
    int32_t *x, *y;
    double *logits;
    int stream; /* decode token by token */
} chunk;

/* Bytes that one sample of the longest length costs in a batched call: logits, and about 48 numbers
 * a channel and position inside the model. */
static double sample_bytes(const predictor *p, const dataset *d)
{
    double width = p->on ? (double)p->on->config(p->m)->d : 0;
    return 8 * (double)d->longest * ((double)d->vocab + 48 * width);
}

static void chunk_close(chunk *c)
{
    free(c->at);
    free(c->x);
    free(c->y);
    free(c->logits);
}

static status chunk_open(chunk *c, const predictor *p, const dataset *d, const evaluation *e)
{
    double bytes = sample_bytes(p, d);
    *c = (chunk){.p = p, .d = d, .rows = e->rows, .longest = d->longest};
    if (c->rows == 0) c->rows = bytes > BUDGET / MOST_ROWS ? (int64_t)(BUDGET / bytes) : MOST_ROWS;
    if (c->rows < 1) c->rows = 1;
    c->stream = p->on && p->on->stream_open && e->greedy;
    size_t positions = (size_t)c->rows * (size_t)c->longest;
    c->at = calloc((size_t)c->rows, sizeof *c->at);
    c->x = calloc(positions, sizeof *c->x);
    c->y = calloc(positions, sizeof *c->y);
    c->logits = calloc(positions * (size_t)d->vocab, sizeof *c->logits);
    if (c->at && c->x && c->y && c->logits) return OK;
    return fail(ERR_MEMORY, "eval: out of memory for %lld positions of %d logits",
                (long long)positions, (int)d->vocab);
}

static status baseline_logits(const predictor *p, const dataset *d, const sample *s, double *logits)
{
    if (p->order == ORACLE) {
        if (d->oracle) return d->oracle(d, s, logits);
        return fail(ERR_ARG, "model=oracle: task %s has none", d->task->name);
    }
    status done = d->ngram ? d->ngram(d, s, p->order, logits) : ERR_ARG;
    if (done == OK || (p->order != CHANCE && d->ngram)) return done;
    if (p->order != CHANCE)
        return fail(ERR_ARG, "model=%s: task %s has no n-gram baseline", p->name, d->task->name);
    /* A task without an idea of chance of its own: every id alike. */
    memset(logits, 0, (size_t)s->T * (size_t)d->vocab * sizeof *logits);
    return OK;
}

/* One call for the whole chunk, padded to its longest sample. */
static status predict_batch(chunk *c, int64_t count)
{
    const dataset *d = c->d;
    int64_t T = 0;
    for (int64_t i = 0; i < count; i++)
        if (c->at[i].s.T > T) T = c->at[i].s.T;
    int32_t *tokens = malloc((size_t)(count * T) * sizeof *tokens);
    if (!tokens) return fail(ERR_MEMORY, "eval: out of memory");
    for (int64_t i = 0; i < count; i++) {
        const sample *s = &c->at[i].s;
        for (int64_t t = 0; t < T; t++)
            tokens[i * T + t] = t < s->T ? s->x[t] : d->pad;
        c->at[i].logits = c->logits + i * T * d->vocab;
    }
    status done =
        c->p->on->predict(c->p->m, &(batch){.B = count, .T = T, .tokens = tokens}, c->logits);
    free(tokens);
    return done;
}

/* The next logits of a prefix x[0..t], from the stream, or by predicting the prefix anew. */
static status next_logits(const chunk *c, struct mosaic_stream *stream, const int32_t *x, int64_t t,
                          double *scratch, double *row)
{
    const predictor *p = c->p;
    int64_t V = c->d->vocab;
    if (stream) return p->on->stream_token(stream, &x[t], NULL, row);
    TRY(p->on->predict(p->m, &(batch){.B = 1, .T = t + 1, .tokens = x}, scratch));
    memcpy(row, scratch + t * V, (size_t)V * sizeof *row);
    return OK;
}

/* Positions after the end that the model chose itself: certainly padding. */
static void end_row(const dataset *d, double *row)
{
    for (int32_t v = 0; v < d->vocab; v++)
        row[v] = v == d->pad ? 0 : -1000;
}

/* Greedy decoding: the prompt is x[0..answer], then each input is the last argmax; after the model
 * has said the last target (the end of sequence) nothing more is asked. */
static status decode(const chunk *c, place *at)
{
    const predictor *p = c->p;
    const dataset *d = c->d;
    const sample *s = &at->s;
    int64_t V = d->vocab, best = -1, end = s->y[s->T - 1];
    size_t room = (size_t)(s->T * V);
    struct mosaic_stream *stream = NULL;
    double *scratch = NULL;
    int32_t *x = malloc((size_t)s->T * sizeof *x);
    status done = x ? OK : fail(ERR_MEMORY, "eval: out of memory");
    if (done == OK && c->stream) done = p->on->stream_open(p->m, 1, &stream);
    if (done == OK && !c->stream && !(scratch = malloc(room * sizeof *scratch)))
        done = fail(ERR_MEMORY, "eval: out of memory");
    if (done == OK) memcpy(x, s->x, (size_t)s->T * sizeof *x);
    memset(at->logits, 0, room * sizeof *at->logits);
    for (int64_t t = stream ? 0 : s->answer; done == OK && t < s->T; t++) {
        double *row = at->logits + t * V;
        if (t > s->answer && best == end) {
            end_row(d, row);
            continue;
        }
        if (t > s->answer) x[t] = (int32_t)best;
        done = next_logits(c, stream, x, t, scratch, row);
        if (done == OK && t >= s->answer) log_sum_exp(row, V, &best);
    }
    if (stream) p->on->stream_close(stream);
    free(scratch);
    free(x);
    return done;
}

static void keep_proportions(metrics *m)
{
    int kept = 0;
    for (int i = 0; i < m->count; i++)
        if (m->m[i].proportion) m->m[kept++] = m->m[i];
    m->count = kept;
}

static status logits_of(chunk *c, int64_t count, int greedy)
{
    if (!c->p->on) return OK; /* made where they are scored */
    if (!greedy) return predict_batch(c, count);
    for (int64_t i = 0; i < count; i++) {
        c->at[i].logits = c->logits + i * c->longest * c->d->vocab;
        TRY(decode(c, &c->at[i]));
    }
    return OK;
}

/* Score one sample; a baseline's logits are made here, many samples at a time. */
static status score(const chunk *c, int64_t i, int greedy)
{
    place *at = &c->at[i];
    if (!c->p->on) {
        at->logits = c->logits + i * c->longest * c->d->vocab;
        TRY(baseline_logits(c->p, c->d, &at->s, at->logits));
    }
    at->m.count = 0;
    TRY(c->d->score(c->d, &at->s, at->logits, &at->m));
    if (greedy) keep_proportions(&at->m);
    return OK;
}

static status run_chunk(chunk *c, int64_t first, int64_t count, int greedy, metrics *all)
{
    for (int64_t i = 0; i < count; i++) {
        place *at = &c->at[i];
        at->s = (sample){.x = c->x + i * c->longest, .y = c->y + i * c->longest};
        TRY(c->d->sample(c->d, first + i, &at->s));
    }
    TRY(logits_of(c, count, greedy));
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < count; i++) {
        c->at[i].error = score(c, i, greedy);
        if (c->at[i].error != OK)
            snprintf(c->at[i].message, sizeof c->at[i].message, "%s", last_error());
    }
    for (int64_t i = 0; i < count; i++) {
        if (c->at[i].error != OK) return fail(c->at[i].error, "%s", c->at[i].message);
        metrics_merge(all, &c->at[i].m);
    }
    return OK;
}

status evaluate(const predictor *p, const dataset *d, evaluation *e, metrics *all)
{
    chunk c;
    progress bar;
    char what[96];
    if (e->greedy && (!p->on || !d->task->greedy))
        return fail(ERR_ARG,
                    "greedy=1: %s of task %s decodes nothing: expected a model of a "
                    "sequence task",
                    p->name, d->task->name);
    int64_t total =
        e->samples == 0 || (d->samples > 0 && d->samples < e->samples) ? d->samples : e->samples;
    if (total == 0) return fail(ERR_ARG, "%s: unbounded data: expected samples=", d->task->name);
    all->count = 0;
    snprintf(what, sizeof what, "%s %s %lld", d->task->name, p->name, (long long)d->options.length);
    progress_start(&bar, what, total);
    status s = chunk_open(&c, p, d, e);
    for (e->done = 0; s == OK && e->done < total;) {
        int64_t count = c.rows < total - e->done ? c.rows : total - e->done;
        s = run_chunk(&c, e->done, count, e->greedy, all);
        e->done += count;
        progress_step(&bar, e->done, NULL);
    }
    progress_end(&bar);
    chunk_close(&c);
    return s;
}

static const char *split_name(int split)
{
    return split >= SPLIT_TEST ? "test" : split >= SPLIT_VALIDATION ? "validation" : "train";
}

status evaluate_rows(const predictor *p, const dataset *d, const evaluation *e, const metrics *all,
                     eval_sink *sink, void *user)
{
    for (int i = 0; i < all->count; i++) {
        const metric *m = &all->m[i];
        eval_row row = {.layers = p->layers,
                        .width = p->width,
                        .seed = p->seed,
                        .step = p->step,
                        .length = d->options.length,
                        .positions = d->longest,
                        .value = m->sum / (double)m->count,
                        .low = NAN,
                        .high = NAN,
                        .count = m->count,
                        .samples = e->done};
        if (m->count == 0) continue;
        if (m->proportion) wilson(m->sum, m->count, &row.low, &row.high);
        snprintf(row.task, sizeof row.task, "%s", d->task->name);
        snprintf(row.method, sizeof row.method, "%s", p->name);
        snprintf(row.backend, sizeof row.backend, "%s", p->where);
        snprintf(row.split, sizeof row.split, "%s", split_name(d->options.split));
        snprintf(row.decoding, sizeof row.decoding, "%s", e->greedy ? "greedy" : "teacher");
        snprintf(row.metric, sizeof row.metric, "%s", m->name);
        TRY(sink(user, &row));
    }
    return OK;
}
