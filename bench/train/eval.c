/* SPDX-License-Identifier: MIT
 *
 * eval.c — verb eval: checkpoints, baselines and oracles on shards of a task (spec of the tasks,
 * section 8). A checkpoint brings its data with it; what the user says about data overrides that,
 * and must agree with it in vocabulary and tokenizer.
 */
#include <string.h>

#include "backends.h"
#include "stop.h"
#include "restore.h"

typedef struct evaluator {
    const words *w;
    const char *task;
    data_options options;
    predictor p;
    results *out;
    int header;
} evaluator;

static status emit(void *user, const eval_row *row)
{
    evaluator *e = user;
    results_print(EVAL, row, e->header);
    e->header = 0;
    return results_append(e->out, EVAL, row);
}

static status on_dataset(evaluator *e, const dataset *d)
{
    char hash[24];
    metrics all = {0};
    int decoded = word_int(e->w, "greedy") && e->p.on; /* baselines decode nothing */
    if (word_int(e->w, "greedy") && !d->task->greedy)
        return fail(ERR_ARG, "greedy=1: task %s decodes nothing", d->task->name);
    if (!e->p.on) data_columns(e->w, d->hash, e->p.config);
    for (int greedy = 0; greedy <= decoded; greedy++) {
        evaluation how = {.rows = word_int(e->w, "rows"), .greedy = greedy};
        TRY(evaluate(&e->p, d, &how, &all));
        TRY(evaluate_rows(&e->p, d, &how, &all, emit, e));
    }
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)d->hash);
    TRY(results_attribute(e->out, "data_hash", hash));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)d->tokenizer_hash);
    return results_attribute(e->out, "tokenizer_hash", hash);
}

static status open_shard(const evaluator *e, int64_t length, int number, dataset **d)
{
    data_options o = e->options;
    const char *split = word_text(e->w, "split");
    const struct task *t;
    TRY(task_find(e->task, &t));
    o.length = length;
    o.samples = word_int(e->w, "samples");
    TRY(split_find(*split ? split : t->validation_only ? "validation" : "test", length, &o.split));
    o.split += number;
    return dataset_open(e->task, &o, d);
}

/* The shards of one length, for 0 all numbers that a folder has. x (NULL for a baseline): what the
 * data must agree with. */
static status on_length(evaluator *e, int64_t length, const restored *x)
{
    uint64_t last = 0;
    int all = length == 0 && e->options.data != NULL;
    for (int number = 0; number == 0 || (all && number < 0x100); number++) {
        dataset *d;
        status s = open_shard(e, length, number, &d);
        if (number > 0 && (s == ERR_FILE || s == ERR_ARG)) return OK; /* past the last */
        TRY(s);
        int again = number > 0 && d->hash == last; /* data without numbers */
        last = d->hash;
        if (!again && x) s = restore_check(x, d);
        if (!again && s == OK) s = on_dataset(e, d);
        dataset_close(d);
        TRY(s);
        if (again) break;
    }
    return OK;
}

static status on_shards(evaluator *e, const restored *x)
{
    for (int64_t i = 0; i < word_count(e->w, "length"); i++)
        TRY(on_length(e, word_int_at(e->w, "length", i), x));
    return OK;
}

static status eval_checkpoint(evaluator *e, const char *path)
{
    restored x;
    const char *task = word_text(e->w, "task");
    TRY(restore_open(&x, path, e->w));
    e->task = *task ? task : x.r.task;
    e->options = x.data;
    e->p = x.p;
    const status s = on_shards(e, &x);
    restore_close(&x);
    return s;
}

static status eval_baseline(evaluator *e, const char *name)
{
    e->task = word_text(e->w, "task");
    if (*e->task == '\0') return fail(ERR_ARG, "eval: model=%s: expected task=", name);
    e->options = data_options_default();
    data_words(e->w, 0, &e->options);
    TRY(baseline_find(name, (int64_t)e->options.seed, &e->p));
    return on_shards(e, NULL);
}

static status eval_all(evaluator *e)
{
    const words *w = e->w;
    const model *on;
    if (word_count(w, "from") + word_count(w, "model") == 0)
        return fail(ERR_ARG, "eval: expected from=CHECKPOINT or model=");
    if (word_given(w, "backend")) TRY(model_find(word_text(w, "backend"), &on));
    for (int64_t i = 0; i < word_count(w, "from"); i++)
        TRY(eval_checkpoint(e, word_text_at(w, "from", i)));
    for (int64_t i = 0; i < word_count(w, "model"); i++)
        TRY(eval_baseline(e, word_text_at(w, "model", i)));
    return OK;
}

int verb_eval(const words *w)
{
    evaluator e = {.w = w, .header = 1};
    threads_set(word_int(w, "threads"));
    status s = results_create(&e.out, word_text(w, "out"), w);
    stop_watch(NULL);
    if (s == OK) s = eval_all(&e);
    if (s == ERR_STOPPED) (void)results_save(e.out, 0);
    status closed = results_close(e.out, s == OK);
    stop_end("eval", "", "");
    return status_exit(s == OK ? closed : s);
}
