/* SPDX-License-Identifier: MIT
 *
 * evaluate.c — predict a batch of samples, score each, merge in order.
 *
 * The batches come from the queue that feeds training, in parts of samples whose lengths are alike.
 * Right padding changes nothing at real positions (attention is causal), so samples of different
 * lengths share a part. What is predicted lies where the tokens lie. Greedy decoding reads a batch
 * token by token (section 2.13), all its rows in step.
 */
#include "evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "statistics.h"
#include "stop.h"

/* Samples of a batch: their positions, and the bytes of their logits where these are wanted. */
enum { MOST_ROWS = 256, POSITIONS = 1 << 14 };
static const double BUDGET = 256.0 * (1 << 20);

status baseline_find(const char *name, int64_t data_seed, predictor *p)
{
    static const struct row {
        const char *name;
        int order;
    } rows[] = {
#define BASELINE(name, order, label, colour, dash) {#name, order},
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

void scores_free(scores *s)
{
    free(s->sum);
    free(s->count);
    *s = (scores){0};
}

static status scores_make(scores *s, int64_t samples)
{
    s->samples = samples;
    s->sum = calloc((size_t)samples * MAX_METRICS, sizeof *s->sum);
    s->count = calloc((size_t)samples * MAX_METRICS, sizeof *s->count);
    return s->sum && s->count ? OK : fail(ERR_MEMORY, "eval: out of memory");
}

/* What became of one sample of a batch. */
typedef struct place {
    metrics m;
    status error;
    char message[512];
} place;

typedef struct run {
    const predictor *p;
    const dataset *d;
    int64_t rows, total;
    int greedy;
    prefetch *queue;
    place *at;            /* [rows], in the order of the samples */
    double *loss;         /* of each position: room for [rows][longest] */
    int32_t *argmax;      /* the same */
    double *logits;       /* [vocab] of each, or NULL */
    int32_t *next, *said; /* greedy: [rows] what the rows read at a position, and say       */
    char *ended;          /* greedy: [rows] 1: the rest of the row is known                 */
} run;

static int wants_logits(const predictor *p, const dataset *d)
{
    return !p->on || d->task->logits;
}

static int64_t rows_at_once(const predictor *p, const dataset *d)
{
    double rows = POSITIONS / (double)d->longest;
    const double logits = 8 * (double)d->longest * (double)d->vocab;
    if (wants_logits(p, d) && BUDGET / logits < rows) rows = BUDGET / logits;
    return rows < 1 ? 1 : rows > MOST_ROWS ? MOST_ROWS : (int64_t)rows;
}

/* The samples that are evaluated, one after the other. */
static int64_t in_order(void *user, int64_t number, int64_t row)
{
    const run *e = user;
    const int64_t i = number * e->rows + row;
    return i < e->total ? i : -1;
}

static void run_close(run *e)
{
    prefetch_close(e->queue);
    free(e->at);
    free(e->loss);
    free(e->argmax);
    free(e->logits);
    free(e->next);
    free(e->said);
    free(e->ended);
}

static status run_open(run *e)
{
    const dataset *d = e->d;
    const int wanted = wants_logits(e->p, d);
    const size_t rows = (size_t)e->rows, positions = rows * (size_t)d->longest;
    e->at = calloc(rows, sizeof *e->at);
    e->loss = calloc(positions, sizeof *e->loss);
    e->argmax = calloc(positions, sizeof *e->argmax);
    e->next = calloc(rows, sizeof *e->next);
    e->said = calloc(rows, sizeof *e->said);
    e->ended = calloc(rows, 1);
    if (wanted) e->logits = calloc(positions * (size_t)d->vocab, sizeof *e->logits);
    if (!e->at || !e->loss || !e->argmax || !e->next || !e->said || !e->ended ||
        (wanted && !e->logits))
        return fail(ERR_MEMORY, "eval: out of memory for %lld positions of %d ids",
                    (long long)positions, (int)d->vocab);
    const prefetch_plan plan = {.B = e->rows,
                                .count = (e->total + e->rows - 1) / e->rows,
                                .apart = e->p->on ? worth_a_call(e->p->on, e->p->m) : UNCUT,
                                .threads = 1,
                                .index = in_order,
                                .user = e};
    return prefetch_open(d, &plan, &e->queue);
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

/* Where the positions of a row lie among those of its batch. */
static int64_t first_position(const task_batch *b, int64_t i)
{
    return b->row[i].x - b->part[0].tokens;
}

/* The token that row i reads at t: of the prompt x[0..answer], then what it said before; -1: none.
 * After the model has said the last target (the end of sequence), or nothing (NaN), the rest of the
 * row is known: padding, or nothing. */
static int32_t next_token(const run *e, const task_batch *b, int64_t i, int64_t t)
{
    const sample *s = &b->row[i];
    int32_t *argmax = e->argmax + first_position(b, i);
    if (e->ended[i] || t >= s->T) return -1;
    if (t <= s->answer) return s->x[t];
    const int32_t last = argmax[t - 1], end = s->y[s->T - 1];
    if (last >= 0 && last != end) return last;
    for (; t < s->T; t++)
        argmax[t] = last == end ? e->d->pad : -1;
    e->ended[i] = 1;
    return -1;
}

/* Greedy decoding. */
static status decode(const run *e, const task_batch *b)
{
    struct mosaic_stream *stream;
    status s = OK;
    memset(e->ended, 0, (size_t)b->B);
    TRY(e->p->on->stream_open(e->p->m, b->B, &stream));
    for (int64_t t = 0; s == OK && t < b->T; t++) {
        int going = 0;
        if ((s = stop_check()) != OK) break;
        for (int64_t i = 0; i < b->B; i++)
            going |= (e->next[i] = next_token(e, b, i, t)) >= 0;
        if (!going) break;
        s = e->p->on->stream_token(stream, e->next, e->said, NULL);
        for (int64_t i = 0; s == OK && i < b->B; i++)
            if (e->next[i] >= 0) e->argmax[first_position(b, i) + t] = e->said[i];
    }
    e->p->on->stream_close(stream);
    return s;
}

static void keep_proportions(metrics *m)
{
    int kept = 0;
    for (int i = 0; i < m->count; i++)
        if (m->m[i].proportion) m->m[kept++] = m->m[i];
    m->count = kept;
}

static status predict(const run *e, const task_batch *b)
{
    const model *on = e->p->on;
    if (!on) return OK; /* made where they are scored */
    if (e->greedy) return decode(e, b);
    for (int64_t i = 0; i < b->parts; i++) {
        const task_part *p = &b->part[i];
        const int64_t at = p->tokens - b->part[0].tokens;
        const batch part = {.B = p->B, .T = p->T, .tokens = p->tokens, .targets = p->targets};
        TRY(stop_check());
        TRY(e->logits ? on->predict(e->p->m, &part, e->logits + at * e->d->vocab)
                      : on->score(e->p->m, &part, e->loss + at, e->argmax + at));
    }
    return OK;
}

static place *place_of(const run *e, const sample *s)
{
    return &e->at[s->index % e->rows];
}

/* Score one sample; a baseline's logits are made here, many samples at a time. */
static status score(const run *e, const task_batch *b, int64_t i)
{
    const sample *s = &b->row[i];
    const int64_t first = first_position(b, i);
    metrics *m = &place_of(e, s)->m;
    prediction p = {.loss = e->loss + first, .argmax = e->argmax + first};
    if (e->logits) p.logits = e->logits + first * e->d->vocab;
    if (!e->p->on) TRY(baseline_logits(e->p, e->d, s, p.logits));
    if (e->logits) prediction_read(s, e->d->vocab, &p);
    m->count = 0;
    TRY(e->d->score(e->d, s, &p, m));
    if (e->greedy) keep_proportions(m);
    return OK;
}

/* Add the scores of sample i to those of all. */
static void add_sample(metrics *all, scores *each, int64_t i, const metrics *one)
{
    metrics_merge(all, one);
    for (int k = 0; each && k < one->count; k++) {
        const metric *m = &one->m[k];
        const int64_t at = (metrics_find(all, m->name, m->proportion) - all->m) * each->samples + i;
        each->sum[at] = m->sum;
        each->count[at] = (double)m->count;
    }
}

/* first: the number of its first sample. */
static status run_batch(const run *e, int64_t first, int64_t count, metrics *all, scores *each)
{
    task_batch b;
    TRY(stop_check());
    TRY(prefetch_next(e->queue, &b));
    TRY(predict(e, &b));
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < b.B; i++) {
        place *at = place_of(e, &b.row[i]);
        at->error = score(e, &b, i);
        if (at->error != OK) snprintf(at->message, sizeof at->message, "%s", last_error());
    }
    for (int64_t i = 0; i < count; i++) {
        if (e->at[i].error != OK) return fail(e->at[i].error, "%s", e->at[i].message);
        add_sample(all, each, first + i, &e->at[i].m);
    }
    return OK;
}

status evaluate(const predictor *p, const dataset *d, evaluation *how, metrics *all)
{
    run e = {.p = p, .d = d, .rows = how->rows, .greedy = how->greedy};
    progress bar;
    char what[96];
    if (how->greedy && (!p->on || !d->task->greedy))
        return fail(ERR_ARG,
                    "greedy=1: %s of task %s decodes nothing: expected a model of a "
                    "sequence task",
                    p->name, d->task->name);
    e.total = how->samples == 0 || (d->samples > 0 && d->samples < how->samples) ? d->samples
                                                                                 : how->samples;
    if (e.total == 0) return fail(ERR_ARG, "%s: unbounded data: expected samples=", d->task->name);
    if (e.rows == 0) e.rows = rows_at_once(p, d);
    if (e.rows > e.total) e.rows = e.total;
    all->count = 0;
    snprintf(what, sizeof what, "%s %s %lld", d->task->name, p->name, (long long)d->options.length);
    progress_start(&bar, what, e.total);
    status s = run_open(&e);
    if (s == OK && how->each) s = scores_make(how->each, e.total);
    for (how->done = 0; s == OK && how->done < e.total;) {
        const int64_t left = e.total - how->done, count = e.rows < left ? e.rows : left;
        s = run_batch(&e, how->done, count, all, how->each);
        how->done += count;
        progress_step(&bar, how->done, NULL);
    }
    progress_end(&bar);
    run_close(&e);
    return s;
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
        words_put(row.config, p->config);
        snprintf(row.split, sizeof row.split, "%s", split_name(d->options.split));
        snprintf(row.decoding, sizeof row.decoding, "%s", e->greedy ? "greedy" : "teacher");
        snprintf(row.metric, sizeof row.metric, "%s", m->name);
        scores own = {0};
        if (e->each)
            own = (scores){e->each->sum + i * e->each->samples,
                           e->each->count + i * e->each->samples, e->each->samples};
        TRY(sink(user, &row, e->each ? &own : NULL));
    }
    return OK;
}
