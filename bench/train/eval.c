/* SPDX-License-Identifier: MIT
 *
 * eval.c — verb eval: checkpoints, baselines and oracles on shards of a task (spec of the tasks,
 * section 8). A checkpoint brings its data with it, for the baselines beside it too; what the user
 * says about data overrides that, and must agree with it in vocabulary and tokenizer.
 */
#include <string.h>

#include "backends.h"
#include "stop.h"
#include "restore.h"
#include "tabular.h"

typedef struct evaluator {
    const words *w;
    const words *trained; /* of the checkpoint whose data a baseline has; NULL: as w says */
    const char *task;
    data_options options;
    predictor p;
    results *out;
    int header;
} evaluator;

static status emit(void *user, const eval_row *row, const scores *each)
{
    evaluator *e = user;
    results_print(EVAL, row, e->header);
    e->header = 0;
    TRY(results_append(e->out, EVAL, row));
    TRY(results_samples(e->out, RAW_SUMS, each->sum, each->samples));
    return results_samples(e->out, RAW_COUNTS, each->count, each->samples);
}

static status one_decoding(evaluator *e, const dataset *d, int greedy)
{
    metrics all = {0};
    scores each = {0};
    evaluation how = {.rows = word_int(e->w, "rows"), .greedy = greedy, .each = &each};
    status s = evaluate(&e->p, d, &how, &all);
    if (s == OK) s = evaluate_rows(&e->p, d, &how, &all, emit, e);
    scores_free(&each);
    return s;
}

static status on_dataset(evaluator *e, const dataset *d)
{
    char hash[24];
    int decoded = word_int(e->w, "greedy") && e->p.on; /* baselines decode nothing */
    if (word_int(e->w, "greedy") && !d->task->greedy)
        return fail(ERR_ARG, "greedy=1: task %s decodes nothing", d->task->name);
    if (!e->p.on) data_columns(e->trained ? e->trained : e->w, d->hash, e->p.config);
    for (int greedy = 0; greedy <= decoded; greedy++)
        TRY(one_decoding(e, d, greedy));
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

/* Baselines on the task and data of e. */
static status eval_baselines(evaluator *e)
{
    for (int64_t i = 0; i < word_count(e->w, "model"); i++) {
        const char *name = word_text_at(e->w, "model", i);
        TRY(baseline_find(name, (int64_t)e->options.seed, &e->p));
        TRY(on_shards(e, NULL));
    }
    return OK;
}

/* On the data that the words name. */
static status baselines_of_words(evaluator *e)
{
    e->task = word_text(e->w, "task");
    if (*e->task == '\0')
        return fail(ERR_ARG, "eval: model=%s: expected task=, or from= a checkpoint",
                    word_text(e->w, "model"));
    e->options = data_options_default();
    data_words(e->w, 0, &e->options);
    return eval_baselines(e);
}

/* On the data of the checkpoints, which are of one task and one data then. */
static status same_data(const words *w)
{
    uint64_t hash = 0;
    char task[40] = "";
    for (int64_t i = 0; i < word_count(w, "from"); i++) {
        checkpoint c = {0};
        words *trained = NULL;
        TRY(checkpoint_read(word_text_at(w, "from", i), &c, &trained));
        const char *of = word_text(trained, "task");
        const int same = i == 0 || (strcmp(of, task) == 0 && c.data_hash == hash);
        snprintf(task, sizeof task, "%s", of);
        hash = c.data_hash;
        checkpoint_free(&c);
        words_free(trained);
        if (!same)
            return fail(ERR_ARG,
                        "eval: model=%s: the checkpoints were trained on several data: "
                        "expected task=",
                        word_text(w, "model"));
    }
    return OK;
}

static status baselines_of_checkpoint(evaluator *e)
{
    restored x;
    TRY(restore_open(&x, word_text(e->w, "from"), e->w));
    e->task = x.r.task;
    e->options = x.data;
    e->trained = x.w;
    const status s = eval_baselines(e);
    e->trained = NULL;
    restore_close(&x);
    return s;
}

static status eval_all(evaluator *e)
{
    const words *w = e->w;
    const model *on;
    if (word_count(w, "from") + word_count(w, "model") == 0)
        return fail(ERR_ARG, "eval: expected from=CHECKPOINT or model=");
    const int models = word_count(w, "model") > 0, of_checkpoint = !*word_text(w, "task");
    if (models && of_checkpoint && word_count(w, "from") > 0) TRY(same_data(w));
    if (word_given(w, "backend")) TRY(model_find(word_text(w, "backend"), &on));
    for (int64_t i = 0; i < word_count(w, "from"); i++)
        TRY(eval_checkpoint(e, word_text_at(w, "from", i)));
    if (!models) return OK;
    return of_checkpoint && word_count(w, "from") > 0 ? baselines_of_checkpoint(e)
                                                      : baselines_of_words(e);
}

int verb_eval(const words *w)
{
    evaluator e = {.w = w, .header = 1};
    threads_set(word_int(w, "threads"));
    tabular_format(word_text(w, "format"));
    status s = results_create(&e.out, word_text(w, "out"), w);
    stop_watch(NULL);
    if (s == OK) s = eval_all(&e);
    if (s == ERR_STOPPED) (void)results_save(e.out, 0);
    status closed = results_close(e.out, s == OK);
    tabular_end();
    stop_end("eval", "", "");
    return status_exit(s == OK ? closed : s);
}
