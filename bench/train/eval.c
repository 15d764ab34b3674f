/* SPDX-License-Identifier: MIT
 *
 * eval.c — verb eval: checkpoints, baselines and oracles on shards of a task (spec of the tasks,
 * section 8). A checkpoint brings its data with it; what the user says about data overrides that,
 * and must agree with it in vocabulary and tokenizer.
 */
#include <string.h>

#include "backends.h"
#include "checkpoint.h"
#include "evaluate.h"

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

/* Does the data speak the language of the checkpoint? */
static status same_language(const dataset *d, const checkpoint *c, const char *path)
{
    if (d->vocab == c->vocab && d->tokenizer_hash == c->tokenizer_hash) return OK;
    return fail(ERR_DATA,
                "%s: trained on %lld ids (tokenizer %016llx), the data of %s has %d ids "
                "(tokenizer %016llx): expected the same",
                path, (long long)c->vocab, (unsigned long long)c->tokenizer_hash, d->task->name,
                (int)d->vocab, (unsigned long long)d->tokenizer_hash);
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

/* The shards of one length, for 0 all numbers that a folder has. c (NULL for a baseline): what the
 * data must agree with. */
static status on_length(evaluator *e, int64_t length, const checkpoint *c, const char *path)
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
        if (!again && c) s = same_language(d, c, path);
        if (!again && s == OK) s = on_dataset(e, d);
        dataset_close(d);
        TRY(s);
        if (again) break;
    }
    return OK;
}

static status on_shards(evaluator *e, const checkpoint *c, const char *path)
{
    for (int64_t i = 0; i < word_count(e->w, "length"); i++)
        TRY(on_length(e, word_int_at(e->w, "length", i), c, path));
    return OK;
}

static status with_model(evaluator *e, const recipe *r, const checkpoint *c, const char *path)
{
    mosaic_config config;
    const char *where = word_text(e->w, "backend");
    const char *task = word_text(e->w, "task");
    e->task = *task ? task : r->task;
    e->options = r->data;
    data_words(e->w, 1, &e->options);
    TRY(model_find(*where ? where : r->backend, &e->p.on));
    TRY(recipe_config(r, c->vocab, c->longest, &config));
    const placement at = recipe_placement(e->w, e->p.on);
    TRY(e->p.on->create(&e->p.m, &config, &at));
    TRY(checkpoint_tensors(path, e->p.on, e->p.m, 0));
    e->p.name = r->method;
    e->p.where = e->p.on->name;
    e->p.layers = r->layers;
    e->p.width = config.d;
    e->p.seed = r->seed;
    e->p.step = c->step;
    recipe_columns(r, e->w, e->p.on, c->data_hash, e->p.config);
    return on_shards(e, c, path);
}

static status eval_checkpoint(evaluator *e, const char *path)
{
    checkpoint c;
    words *w;
    TRY(checkpoint_read(path, &c, &w));
    recipe r = recipe_cell(w, 0, 0, 0);
    e->p = (predictor){0};
    status s = with_model(e, &r, &c, path);
    if (e->p.m) e->p.on->destroy(e->p.m);
    checkpoint_free(&c);
    words_free(w);
    return s;
}

static status eval_baseline(evaluator *e, const char *name)
{
    e->task = word_text(e->w, "task");
    if (*e->task == '\0') return fail(ERR_ARG, "eval: model=%s: expected task=", name);
    e->options = data_options_default();
    data_words(e->w, 0, &e->options);
    TRY(baseline_find(name, (int64_t)e->options.seed, &e->p));
    return on_shards(e, NULL, NULL);
}

static status eval_all(evaluator *e)
{
    const words *w = e->w;
    const model *on;
    if (word_count(w, "from") + word_count(w, "model") == 0)
        return fail(ERR_ARG, "eval: expected from=CHECKPOINT or model=");
    if (*word_text(w, "backend")) TRY(model_find(word_text(w, "backend"), &on));
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
    if (s == OK) s = eval_all(&e);
    status closed = results_close(e.out, s == OK);
    return status_exit(s == OK ? closed : s);
}
