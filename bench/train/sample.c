/* SPDX-License-Identifier: MIT
 *
 * sample.c — verb sample: a checkpoint reads a prompt and goes on by itself (sampling.h). What it
 * says goes to standard output as it is said, a line for each sequence; out= has a row for every
 * id, of the prompt too.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "restore.h"
#include "sampling.h"
#include "stop.h"
#include "tabular.h"

typedef struct talk {
    const words *w;
    restored *x;
    const dataset *d;
    speaker *speaker;
    tokens prompt;
    char *sayable; /* [vocab] */
    bytes text;    /* of one id */
    int within;    /* 1: a sequence was begun and not ended */
    double last;   /* seconds_now at the id before */
    results *out;
    progress bar;
    int rows; /* to be printed instead of the text: 1 and those that were; else 0 */
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

/* t->text: what an id adds to what was said before. What frames a prompt has no text. */
static status spell_id(talk *t, int32_t id)
{
    const int ends = id == t->d->end;
    t->text.count = 0;
    if (t->within && !ends) TRY(bytes_put(&t->text, t->d->between, strlen(t->d->between)));
    if (t->d->spell(t->d, id, &t->text) == ERR_MEMORY) return ERR_MEMORY;
    return bytes_put(&t->text, "", 1);
}

static status keep_id(talk *t, int said, int32_t id)
{
    const predictor *p = &t->x->p;
    const double now = seconds_now();
    sample_row row = {.layers = p->layers,
                      .width = p->width,
                      .seed = p->seed,
                      .step = p->step,
                      .temperature = word_real(t->w, "temperature"),
                      .top_k = word_int(t->w, "top_k"),
                      .draw = word_int(t->w, "seed"),
                      .position = speaker_position(t->speaker),
                      .said = said,
                      .id = id,
                      .loss = speaker_loss(t->speaker, id),
                      .seconds = now - t->last};
    snprintf(row.task, sizeof row.task, "%s", t->d->task->name);
    snprintf(row.method, sizeof row.method, "%s", p->name);
    snprintf(row.backend, sizeof row.backend, "%s", p->where);
    words_put(row.text, t->text.v);
    words_put(row.config, p->config);
    t->last = now;
    if (t->rows) results_print(SAMPLES, &row, t->rows++ == 1);
    return results_append(t->out, SAMPLES, &row);
}

/* Print the text of an id; 0 if nobody listens any more, which main tells. */
static int print_id(talk *t, int32_t id)
{
    t->within = id != t->d->end;
    if (t->rows) return fflush(stdout) == 0;
    fwrite(t->text.v, 1, t->text.count - 1, stdout);
    if (!t->within) putchar('\n');
    return fflush(stdout) == 0;
}

/* The prompt is read, and then what was said. */
static status go_on(talk *t)
{
    const int64_t read = (int64_t)t->prompt.count, all = read + word_int(t->w, "tokens");
    const int stop = (int)word_int(t->w, "stop");
    t->bar.total = all;
    t->last = seconds_now();
    for (int64_t i = 0; i < all; i++) {
        const int said = i >= read;
        TRY(stop_check());
        int32_t id = said ? -1 : t->prompt.v[i];
        if (said) TRY(speaker_say(t->speaker, &id));
        TRY(spell_id(t, id));
        TRY(keep_id(t, said, id));
        if (said && !print_id(t, id) && !t->out) return OK;
        if (said && stop && id == t->d->end) return OK;
        if (i + 1 < all) TRY(speaker_read(t->speaker, id));
        progress_step(&t->bar, i + 1, NULL);
    }
    if (t->within && !t->rows) putchar('\n');
    return OK;
}

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
    return go_on(t);
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
    stop_watch(NULL);
    t.rows = *word_text(w, "format") != '\0';
    if (t.rows) tabular_format(word_text(w, "format"));
    if (s == OK) s = sample_checkpoint(&t);
    if (t.rows) tabular_end();
    if (s == ERR_STOPPED) (void)results_save(t.out, 0);
    status closed = results_close(t.out, s == OK);
    stop_end("sample", "", "");
    return status_exit(s == OK ? closed : s);
}
