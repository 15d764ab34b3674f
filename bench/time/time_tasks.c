/* SPDX-License-Identifier: MIT
 *
 * time_tasks.c — how fast data is made on one core: samples of a task in tokens per second, story
 * text and byte-pair encoding in bytes per second. A sample of the clock covers enough samples of
 * the data that it lasts.
 */
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "story.h"
#include "task.h"
#include "verb.h"

enum { STORIES = 256 };

typedef struct maker {
    dataset *d;
    sample s;
    int64_t next, burst;
    double tokens; /* of the last burst */
} maker;

static status make_burst(void *user, double *seconds)
{
    maker *m = user;
    double start = seconds_now();
    m->tokens = 0;
    for (int64_t i = 0; i < m->burst; i++) {
        int64_t index = m->d->samples ? m->next % m->d->samples : m->next;
        TRY(m->d->sample(m->d, index, &m->s));
        m->tokens += (double)m->s.T;
        m->next++;
    }
    *seconds = seconds_now() - start;
    return OK;
}

/* The bursts differ in tokens, so seconds are scaled to the mean burst: the median is then that of
 * seconds per token. */
static status measure_maker(timing *t, maker *m, time_row *row)
{
    double sum = 0, seconds;
    int64_t count = 0, target = t->protocol.least;
    for (m->burst = 1;; m->burst *= 2) {
        TRY(make_burst(m, &seconds));
        if (seconds > 5e-3 || m->burst > 1 << 20) break;
    }
    double *made = malloc((size_t)target * sizeof *made);
    if (!made) return fail(ERR_MEMORY, "time: out of memory");
    status s = OK;
    for (; s == OK && count < target; count++) {
        s = make_burst(m, &t->samples[count]);
        made[count] = m->tokens;
        sum += m->tokens;
    }
    for (int64_t i = 0; s == OK && i < count; i++)
        t->samples[i] *= sum / (double)count / made[i];
    free(made);
    row->work = sum / (double)target;
    return s == OK ? timing_emit(t, row, count) : s;
}

static time_row new_row(const char *what, const char *by)
{
    time_row row = {.alpha = NAN, .copy = NAN, .bytes = NAN, .floor = NAN};
    row.support_mean = row.support_max = row.tiles = row.redone = NAN;
    snprintf(row.op, sizeof row.op, "%s", what);
    snprintf(row.impl, sizeof row.impl, "%s", by);
    snprintf(row.type, sizeof row.type, "tokens");
    snprintf(row.input, sizeof row.input, "train");
    snprintf(row.verdict, sizeof row.verdict, "PASS");
    return row;
}

static status time_task(timing *t, const struct task *task)
{
    data_options o = data_options_default();
    maker m = {0};
    time_row row = new_row(task->name, "sample");
    TRY(dataset_open(task->name, &o, &m.d));
    row.rows = m.d->samples;
    row.n = m.d->longest;
    m.s.x = malloc((size_t)m.d->longest * sizeof *m.s.x);
    m.s.y = malloc((size_t)m.d->longest * sizeof *m.s.y);
    status s =
        m.s.x && m.s.y ? measure_maker(t, &m, &row) : fail(ERR_MEMORY, "time: out of memory");
    free(m.s.x);
    free(m.s.y);
    dataset_close(m.d);
    return s;
}

typedef struct writer {
    story *stories; /* [STORIES] */
    int64_t next;
    encoder *e;
    tokens ids;
    double bytes;
} writer;

static status write_stories(void *user, double *seconds)
{
    writer *w = user;
    double start = seconds_now();
    for (int i = 0; i < STORIES; i++)
        story_make(1, SPLIT_TRAIN, (uint64_t)w->next++, &w->stories[i]);
    *seconds = seconds_now() - start;
    w->bytes = 0;
    for (int i = 0; i < STORIES; i++)
        w->bytes += (double)w->stories[i].bytes;
    return OK;
}

static status encode_stories(void *user, double *seconds)
{
    writer *w = user;
    double start = seconds_now();
    w->ids.count = 0;
    for (int i = 0; i < STORIES; i++)
        TRY(encode(w->e, w->stories[i].text, w->stories[i].bytes, &w->ids));
    *seconds = seconds_now() - start;
    return OK;
}

static status time_text(timing *t)
{
    writer w = {.stories = malloc(STORIES * sizeof *w.stories)};
    bpe *b = NULL;
    int64_t count = 0;
    time_row row = new_row("story_text", "generator");
    status s = w.stories ? OK : fail(ERR_MEMORY, "time: out of memory");
    snprintf(row.type, sizeof row.type, "bytes");
    if (s == OK) s = measure(&t->protocol, write_stories, &w, t->samples, &count);
    row.work = w.bytes;
    if (s == OK) s = timing_emit(t, &row, count);
    if (s == OK) s = bpe_gpt2(&b);
    if (s == OK) s = encoder_open(b, &w.e);
    row = new_row("bpe_encode", "gpt2");
    snprintf(row.type, sizeof row.type, "bytes");
    row.work = w.bytes;
    if (s == OK) s = measure(&t->protocol, encode_stories, &w, t->samples, &count);
    if (s == OK) s = timing_emit(t, &row, count);
    encoder_close(w.e);
    bpe_free(b);
    free(w.ids.v);
    free(w.stories);
    return s;
}

status time_tasks(timing *t)
{
    for (int i = 0; i < task_count(); i++) {
        if (!word_chooses(t->w, "task", task_row(i)->name)) continue;
        TRY(time_task(t, task_row(i)));
        if (strcmp(task_row(i)->name, "babistories") == 0) TRY(time_text(t));
    }
    return OK;
}
