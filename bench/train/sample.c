/* SPDX-License-Identifier: MIT
 *
 * sample.c — verb sample: a checkpoint reads a prompt and goes on by itself (sampling.h). What it
 * says goes to standard output as it is said, a line for each sequence; out= keeps it with the loss
 * and the time of every id, and the text as attributes `prompt` and `text`.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "restore.h"
#include "sampling.h"

typedef struct talk {
    const words *w;
    restored *x;
    const dataset *d;
    speaker *speaker;
    tokens prompt;
    char *sayable; /* [vocab] */
    bytes text;    /* all that was said */
    int within;    /* 1: a sequence was begun and not ended */
    results *out;
    progress bar;
} talk;

/* The ids that a sequence of the data may go on with. */
static status find_sayable(talk *t)
{
    bytes text = {0};
    status s = OK;
    t->sayable = calloc((size_t)t->d->vocab, 1);
    if (!t->sayable) return fail(ERR_MEMORY, "sample: out of memory");
    for (int32_t id = 0; id < t->d->vocab && s != ERR_MEMORY; id++) {
        s = t->d->spell(t->d, id, &text);
        t->sayable[id] = s == OK;
    }
    free(text.v);
    return s == ERR_MEMORY ? s : OK;
}

/* A GPT has learned so many positions; the last id that is said is not read. */
static status check_room(const talk *t, int64_t most)
{
    const mosaic_config *c = &t->x->config;
    const int64_t room = c->T - (int64_t)t->prompt.count + 1;
    if (c->arch != ARCH_GPT || most <= room) return OK;
    return fail(ERR_ARG,
                "sample: tokens=%lld: a gpt of %lld positions says at most %lld after this prompt",
                (long long)most, (long long)c->T, (long long)(room > 0 ? room : 0));
}

/* Print and keep the text of an id; 0 if nobody listens any more, which main tells. */
static status put_id(talk *t, int32_t id, int *heard)
{
    const size_t before = t->text.count;
    const int ends = id == t->d->end;
    if (t->within && !ends) TRY(bytes_put(&t->text, t->d->between, strlen(t->d->between)));
    TRY(t->d->spell(t->d, id, &t->text));
    if (ends) TRY(bytes_put(&t->text, "\n", 1));
    t->within = !ends;
    fwrite(t->text.v + before, 1, t->text.count - before, stdout);
    *heard = fflush(stdout) == 0;
    return OK;
}

static status keep_row(const talk *t, int64_t position, int32_t id, double loss, double seconds)
{
    const predictor *p = &t->x->p;
    sample_row row = {.layers = p->layers,
                      .width = p->width,
                      .seed = p->seed,
                      .step = p->step,
                      .temperature = word_real(t->w, "temperature"),
                      .top_k = word_int(t->w, "top_k"),
                      .draw = word_int(t->w, "seed"),
                      .position = position,
                      .id = id,
                      .loss = loss,
                      .seconds = seconds};
    snprintf(row.task, sizeof row.task, "%s", t->d->task->name);
    snprintf(row.method, sizeof row.method, "%s", p->name);
    snprintf(row.backend, sizeof row.backend, "%s", p->where);
    words_put(row.config, p->config);
    return results_append(t->out, SAMPLES, &row);
}

static status go_on(talk *t)
{
    const int64_t most = word_int(t->w, "tokens");
    const int stop = (int)word_int(t->w, "stop");
    int32_t id = t->prompt.v[t->prompt.count - 1];
    double loss, last = seconds_now();
    int heard = 1;
    for (int64_t i = 0; i < most && heard; i++) {
        TRY(speaker_read(t->speaker, id));
        TRY(speaker_say(t->speaker, &id, &loss));
        TRY(put_id(t, id, &heard));
        const double now = seconds_now();
        TRY(keep_row(t, speaker_position(t->speaker), id, loss, now - last));
        last = now;
        progress_step(&t->bar, i + 1, NULL);
        if (stop && id == t->d->end) return OK;
    }
    if (t->within) putchar('\n');
    return OK;
}

static status keep_text(talk *t)
{
    TRY(bytes_put(&t->text, "", 1));
    TRY(results_attribute(t->out, "prompt", word_text(t->w, "prompt")));
    return results_attribute(t->out, "text", t->text.v);
}

/* Read the prompt but for its last id, then speak. */
static status speak(talk *t)
{
    const restored *x = t->x;
    const char *prompt = word_text(t->w, "prompt");
    const sampling how = {.temperature = word_real(t->w, "temperature"),
                          .top_k = word_int(t->w, "top_k"),
                          .seed = (uint64_t)word_int(t->w, "seed")};
    TRY(restore_check(x, t->d));
    if (!t->d->prompt)
        return fail(ERR_ARG, "sample: task %s answers with labels: expected one that goes on",
                    t->d->task->name);
    TRY(t->d->prompt(t->d, prompt, strlen(prompt), &t->prompt));
    TRY(check_room(t, word_int(t->w, "tokens")));
    TRY(find_sayable(t));
    TRY(speaker_open(&t->speaker, x->p.on, x->p.m, t->sayable, &how));
    for (size_t i = 0; i + 1 < t->prompt.count; i++)
        TRY(speaker_read(t->speaker, t->prompt.v[i]));
    TRY(go_on(t));
    return keep_text(t);
}

/* The data tells how ids are written; what is trained on is not read. */
static status with_data(talk *t)
{
    dataset *d;
    data_options o = t->x->data;
    TRY(split_find("validation", 0, &o.split));
    o.length = 0;
    TRY(dataset_open(t->x->r.task, &o, &d));
    t->d = d;
    const status s = speak(t);
    progress_end(&t->bar);
    speaker_close(t->speaker);
    free(t->prompt.v);
    free(t->sayable);
    free(t->text.v);
    dataset_close(d);
    return s;
}

static status sample_checkpoint(talk *t)
{
    restored x;
    if (*word_text(t->w, "from") == '\0') return fail(ERR_ARG, "sample: expected from=CHECKPOINT");
    TRY(restore_open(&x, word_text(t->w, "from"), t->w));
    t->x = &x;
    const status s = with_data(t);
    restore_close(&x);
    return s;
}

int verb_sample(const words *w)
{
    talk t = {.w = w};
    threads_set(word_int(w, "threads"));
    progress_start(&t.bar, "sample", word_int(w, "tokens"));
    if (t.bar.terminal != 1 || isatty(STDOUT_FILENO)) t.bar.terminal = -1; /* the text is enough */
    status s = results_create(&t.out, word_text(w, "out"), w);
    if (s == OK) s = sample_checkpoint(&t);
    status closed = results_close(t.out, s == OK);
    return status_exit(s == OK ? closed : s);
}
