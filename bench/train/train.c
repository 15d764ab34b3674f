/* SPDX-License-Identifier: MIT
 *
 * train.c — verb train: AdamW on batches of a task (spec of the model, section 4).
 *
 * Order of the data. An unbounded split is one pass: seed s reads sample s 2^40 + step B + row.
 * A finite split is read in epochs of ceil(n/B) batches, each a new permutation of all n samples;
 * the last batch of an epoch is short. Either way a batch is a function of (seed, step), as the
 * dropout masks are, so a resumed run continues bit for bit. The rows of a batch stand by length,
 * which decides the mask that falls on a sample; padding is spared by handing them to the model in
 * parts (prefetch.c), whose gradients add up to that of the batch. Tokens are those of samples,
 * never padding.
 *
 * Order within a step: gradient, update, row of /train, evaluation if due, checkpoint if due, rows
 * to the result file if due. The model is given steps ahead of their reports; before anything reads
 * it, every step that was begun has been reported, so that no file holds a step that was not
 * finite.
 *
 * What is due by the clock reads the model and changes nothing of it: no number depends on when.
 */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "rng.h"
#include "stop.h"
#include "store/seal.h"
#include "tabular.h"

typedef struct trainer {
    const recipe *r;
    const model *on;
    struct mosaic *m;
    mosaic_config config;
    placement where;
    dataset *data, *validation, **tests;
    int64_t longest; /* positions of any sample that the model will see */
    prefetch *queue;
    checkpoint *c;
    results *out;
    eval_sink *sink;
    void *user;
    int64_t begun;               /* steps given to the model; c->step are reported          */
    train_row ahead[MOST_STEPS]; /* rows of those between, step s at s mod MOST_STEPS        */
    double start[MOST_STEPS];    /* seconds_now when they began                             */
    double last;                 /* seconds_now at the last report                          */
    double loss;                 /* of the last step, for the eyes                          */
    int64_t tokens;              /* read since this program started, in so many             */
    double seconds;              /* seconds of steps                                        */
    WORDS_ config_words;         /* column `config`                                         */
    int64_t timed, timed_tokens; /* steps whose stages were timed, and what they read       */
    int64_t kept;                /* step of the checkpoint on the disk, -1: none            */
    double saved;                /* seconds_now when it was begun                           */
    double save_next, show_next; /* ... when they are due                                   */
    int64_t shown[3];            /* rows of /train, /eval and /stage that `out` has         */
} trainer;

/* What costs time is done at most so often, and takes at most 1/SELDOM of the time. */
enum { SHOW_SECONDS = 5, SELDOM = 50 };
/* A loss that is so many times that of chance, ln V, comes back from nowhere. */
enum { DIVERGED = 20 };

/* Which samples make a batch; -1: none. Called from several threads. */
static int64_t row_sample(void *user, int64_t number, int64_t row)
{
    const trainer *t = user;
    int64_t B = t->r->batch, n = t->data->samples;
    if (n == 0) return (t->r->seed << 40) + number * B + row;
    int64_t batches = (n + B - 1) / B, epoch = number / batches;
    int64_t place = number % batches * B + row;
    uint64_t key = rng_key((uint64_t[]){(uint64_t)t->r->seed, (uint64_t)epoch}, 2);
    return place < n ? shuffled(place, n, key) : -1;
}

static status log_eval(void *user, const eval_row *row, const scores *each)
{
    trainer *t = user;
    TRY(checkpoint_log_eval(t->c, row));
    return t->sink ? t->sink(t->user, row, each) : OK;
}

static predictor predictor_of(const trainer *t)
{
    predictor p = {.name = t->r->method,
                   .where = t->on->name,
                   .on = t->on,
                   .m = t->m,
                   .layers = t->r->layers,
                   .width = t->config.d,
                   .seed = t->r->seed,
                   .step = t->c->step};
    words_put(p.config, t->config_words);
    return p;
}

/* The row of a metric (NULL: of any) among those of an evaluation that was made already; NULL if it
 * was not: a run that was ended in its evaluations goes on with the next. */
static const eval_row *known_row(const trainer *t, const dataset *d, int64_t samples, int greedy,
                                 const char *name)
{
    const checkpoint *c = t->c;
    const int64_t all = d->samples, n = samples == 0 || (all > 0 && all < samples) ? all : samples;
    for (int64_t i = 0; i < c->evals; i++) {
        const eval_row *row = &c->eval[i];
        if (row->step == c->step && row->length == d->options.length && row->samples == n &&
            strcmp(row->split, split_name(d->options.split)) == 0 &&
            strcmp(row->decoding, greedy ? "greedy" : "teacher") == 0 &&
            (!name || strcmp(row->metric, name) == 0))
            return row;
    }
    return NULL;
}

/* Evaluate on one dataset, teacher-forced and, if asked, greedily. *ce: the cross-entropy. */
static status evaluate_on(trainer *t, const dataset *d, int64_t samples, int greedy, double *ce)
{
    predictor p = predictor_of(t);
    metrics all = {0};
    const eval_row *known = known_row(t, d, samples, 0, "ce");
    *ce = known ? known->value : NAN;
    for (int g = 0; g <= greedy; g++) {
        evaluation e = {.samples = samples, .greedy = g};
        if (known_row(t, d, samples, g, NULL)) continue;
        TRY(evaluate(&p, d, &e, &all));
        TRY(evaluate_rows(&p, d, &e, &all, log_eval, t));
        if (g == 0) {
            const metric *m = metrics_find(&all, "ce", 0);
            *ce = m->count ? m->sum / (double)m->count : NAN;
        }
    }
    return OK;
}

/* When something that was begun then and is at an end now is due again. */
static double next_time(double begun, double least)
{
    const double now = seconds_now(), seldom = SELDOM * (now - begun);
    return now + (seldom > least ? seldom : least);
}

static status save(trainer *t)
{
    const double begun = seconds_now();
    if (!t->r->checkpoint) return OK;
    TRY(checkpoint_write(t->r->checkpoint, t->c, t->r, t->on, t->m));
    t->kept = t->c->step;
    t->saved = begun;
    t->save_next = next_time(begun, t->r->save_seconds);
    return OK;
}

/* Give the rows of a table that are new to the result file. */
static status tell_rows(trainer *t, table of, int64_t *told, const void *rows, int64_t count)
{
    for (; *told < count; (*told)++)
        TRY(results_append(t->out, of, (const char *)rows + (size_t)*told * table_row_size(of)));
    return OK;
}

static status tell(trainer *t)
{
    const checkpoint *c = t->c;
    TRY(tell_rows(t, TRAIN, &t->shown[0], c->train, c->trains));
    TRY(tell_rows(t, EVAL, &t->shown[1], c->eval, c->evals));
    return tell_rows(t, STAGE_TIMES, &t->shown[2], c->stage, c->stages);
}

static double show_seconds(const recipe *r)
{
    return r->save_seconds < SHOW_SECONDS ? r->save_seconds : SHOW_SECONDS;
}

/* Let the result file be seen as it is. */
static status show(trainer *t)
{
    const double begun = seconds_now();
    TRY(tell(t));
    TRY(results_save(t->out, 1));
    t->show_next = next_time(begun, show_seconds(t->r));
    return OK;
}

static status validate(trainer *t)
{
    double ce;
    TRY(evaluate_on(t, t->validation, t->r->eval_samples, 0, &ce));
    if (!(ce < t->c->best)) return OK;
    t->c->best = ce;
    return t->r->best ? checkpoint_write(t->r->best, t->c, t->r, t->on, t->m) : OK;
}

static status test_shards(trainer *t)
{
    double ce;
    for (int64_t i = 0; i < t->r->tests; i++)
        TRY(evaluate_on(t, t->tests[i], 0, t->r->greedy, &ce));
    return OK;
}

/* The tests at the end are made with the parameters of the lowest validation loss if best= kept
 * them (RegBench's protocol), else with the last. */
static status test(trainer *t)
{
    const char *path = t->r->best;
    struct mosaic *last = t->m, *best = NULL;
    checkpoint was = {0};
    words *w = NULL;
    if (!path || t->r->tests == 0) return test_shards(t);
    status s = t->on->create(&best, &t->config, &t->where);
    if (s == OK) s = checkpoint_read(path, &was, &w);
    if (s == OK) s = checkpoint_tensors(path, t->on, best, 0);
    if (s == OK) {
        int64_t step = t->c->step;
        t->m = best;
        t->c->step = was.step;
        s = test_shards(t);
        t->m = last;
        t->c->step = step;
    }
    checkpoint_free(&was);
    words_free(w);
    t->on->destroy(best);
    return s;
}

/* A part of a batch, for the model. */
static batch batch_part(const task_batch *b, int64_t i)
{
    const task_part *p = &b->part[i];
    return (batch){.B = p->B,
                   .T = p->T,
                   .tokens = p->tokens,
                   .targets = p->targets,
                   .first_row = p->first,
                   .whole_T = b->T};
}

/* The gradient of a batch, part by part. */
static status gradient(trainer *t, const task_batch *b)
{
    int64_t scored = 0;
    for (int64_t i = 0; i < b->parts; i++) {
        const batch part = batch_part(b, i);
        scored += batch_scored(&t->config, &part);
    }
    for (int64_t i = 0; i < b->parts; i++) {
        batch part = batch_part(b, i);
        part.scored = scored;
        TRY(t->on->gradient(t->m, &part, (uint64_t)t->r->seed, t->begun));
    }
    return OK;
}

/* Give the next step to the model. */
static status begin_step(trainer *t)
{
    const recipe *r = t->r;
    task_batch b;
    train_row *row = &t->ahead[t->begun % MOST_STEPS];
    t->start[t->begun % MOST_STEPS] = seconds_now();
    *row =
        (train_row){.layers = r->layers, .width = t->config.d, .seed = r->seed, .step = t->begun};
    TRY(prefetch_next(t->queue, &b));
    for (int64_t i = 0; i < b.B; i++)
        row->tokens += b.row[i].T;
    const optimizer o = recipe_optimizer(r, t->begun);
    TRY(gradient(t, &b));
    TRY(t->on->apply(t->m, &o, t->begun + 1));
    row->lr = o.lr;
    snprintf(row->task, sizeof row->task, "%s", r->task);
    snprintf(row->method, sizeof row->method, "%s", r->method);
    snprintf(row->backend, sizeof row->backend, "%s", t->on->name);
    words_put(row->config, t->config_words);
    t->begun++;
    return OK;
}

/* A step that ends the run, and what is left of it. */
static status broken(const trainer *t, const char *what)
{
    const char *path = t->r->checkpoint;
    char left[256] = "no checkpoint= was to be kept";
    if (path && t->kept >= 0)
        snprintf(left, sizeof left, "%.200s holds step %lld", path, (long long)t->kept);
    return fail(ERR_NUMERIC, "train: step %lld: %s: expected a smaller lr= or a clip=; %s",
                (long long)t->c->step, what, left);
}

static status check_step(const trainer *t, const step_report *report)
{
    char what[96];
    const double chance = log((double)t->config.V);
    if (!report->finite)
        return broken(t, isfinite(report->loss) ? "the gradient is not finite"
                                                : "the loss is not finite");
    if (report->loss <= DIVERGED * chance) return OK;
    snprintf(what, sizeof what, "the loss is %.3g, that of chance %.3g", report->loss, chance);
    return broken(t, what);
}

/* Write down what became of the oldest step that is under way. */
static status end_step(trainer *t, const step_report *report)
{
    checkpoint *c = t->c;
    train_row *row = &t->ahead[c->step % MOST_STEPS];
    const double begun = t->start[c->step % MOST_STEPS], now = seconds_now();
    TRY(check_step(t, report));
    row->loss = report->loss;
    row->grad_norm = report->grad_norm;
    row->seconds = now - (t->last > begun ? t->last : begun);
    t->last = now;
    t->loss = row->loss;
    t->tokens += row->tokens;
    t->seconds += row->seconds;
    if (c->step % t->r->log_every == 0 || c->step + 1 == t->r->steps)
        TRY(checkpoint_log_train(c, row));
    if (t->timed > 0) t->timed_tokens += row->tokens;
    c->step++;
    return OK;
}

/* Take reports until at most `most` steps are under way, and whatever else has come. */
static status end_steps(trainer *t, int64_t most)
{
    for (int ready = 1; ready && t->c->step < t->begun;) {
        step_report report;
        TRY(t->on->collect(t->m, t->begun - t->c->step > most, &report, &ready));
        if (ready) TRY(end_step(t, &report));
    }
    return OK;
}

/* Is a multiple of `every`, short of the end, reached by the steps begun? */
static int due(const trainer *t, int64_t every)
{
    return t->begun < t->r->steps && every > 0 && t->begun % every == 0;
}

static int save_due(const trainer *t)
{
    const recipe *r = t->r;
    if (r->save_every > 0) return due(t, r->save_every);
    return r->checkpoint && t->begun < r->steps && seconds_now() >= t->save_next;
}

/* Time the stages of the last steps. */
static status profile_begin(trainer *t)
{
    const recipe *r = t->r;
    if (r->profile == 0 || t->timed > 0 || t->begun < r->steps - r->profile) return OK;
    TRY(end_steps(t, 0));
    t->timed = r->steps - t->begun;
    return t->on->profile(t->m, 1);
}

static status profile_end(trainer *t)
{
    checkpoint *c = t->c;
    const double steps = (double)t->timed;
    stage_time time;
    int count = 0;
    if (t->timed == 0) return OK;
    TRY(t->on->profile(t->m, 0));
    while (t->on->stage(t->m, count, &time))
        count++;
    c->stage = calloc((size_t)count + 1, sizeof *c->stage);
    if (!c->stage) return fail(ERR_MEMORY, "train: out of memory");
    for (; c->stages < count && t->on->stage(t->m, (int)c->stages, &time); c->stages++) {
        stage_row *row = &c->stage[c->stages];
        *row = (stage_row){.layers = t->r->layers,
                           .width = t->config.d,
                           .seed = t->r->seed,
                           .steps = t->timed,
                           .calls = (double)time.calls / steps,
                           .tokens = (double)t->timed_tokens / steps,
                           .seconds = time.seconds / steps};
        snprintf(row->task, sizeof row->task, "%s", t->r->task);
        snprintf(row->method, sizeof row->method, "%s", t->r->method);
        snprintf(row->backend, sizeof row->backend, "%s", t->on->name);
        words_put(row->config, t->config_words);
        snprintf(row->type, sizeof row->type, "%s", word_text(t->r->w, "type"));
        snprintf(row->stage, sizeof row->stage, "%s", time.name);
    }
    return OK;
}

/* What is due after a step was begun. */
static status after_step(trainer *t, progress *bar)
{
    const int seen = due(t, t->r->eval_every), kept = save_due(t);
    char note[64];
    TRY(end_steps(t, seen || kept ? 0 : MOST_STEPS - 1));
    snprintf(note, sizeof note, "loss %.4f, %.3g tokens/s", t->loss,
             (double)t->tokens / t->seconds);
    progress_step(bar, t->c->step - bar->first, t->c->step > bar->first ? note : NULL);
    if (seen) TRY(validate(t));
    if (kept) TRY(save(t));
    return kept || seconds_now() >= t->show_next ? show(t) : OK;
}

static status loop(trainer *t)
{
    const recipe *r = t->r;
    char what[96];
    progress bar;
    status s = OK;
    snprintf(what, sizeof what, "train %s %s on %s", r->task, r->method, t->on->name);
    progress_start(&bar, what, r->steps - t->c->step);
    bar.first = t->begun = t->c->step;
    while (s == OK && t->begun < r->steps && !stop_signal()) {
        s = profile_begin(t);
        if (s == OK) s = begin_step(t);
        if (s == OK) s = after_step(t, &bar);
    }
    if (s == OK) s = end_steps(t, 0);
    if (s == OK) s = profile_end(t);
    progress_end(&bar);
    return s;
}

/* Take up the run of an existing checkpoint, or start one and see that it can be written. */
static status begin(trainer *t)
{
    const char *path = t->r->checkpoint;
    checkpoint *c = t->c;
    words *old = NULL;
    *c = (checkpoint){.best = INFINITY,
                      .vocab = t->data->vocab,
                      .longest = t->longest,
                      .data_hash = t->data->hash,
                      .tokenizer_hash = t->data->tokenizer_hash};
    t->kept = -1;
    t->show_next = seconds_now() + show_seconds(t->r);
    if (t->r->best) TRY(seal_probe(t->r->best, "checkpoint"));
    if (!path || access(path, F_OK) != 0) {
        if (t->r->eval_every > 0) TRY(validate(t));
        return save(t);
    }
    checkpoint read;
    TRY(checkpoint_read(path, &read, &old));
    recipe was = recipe_cell(old, 0, 0, 0);
    status s = recipe_same(t->r, &was);
    words_free(old);
    if (s == OK && (read.data_hash != c->data_hash || read.tokenizer_hash != c->tokenizer_hash))
        s = fail(ERR_DATA,
                 "%s: the data is not what the run began with: expected hash %016llx, got "
                 "%016llx",
                 path, (unsigned long long)read.data_hash, (unsigned long long)c->data_hash);
    if (s == OK && read.step > t->r->steps)
        s = fail(ERR_ARG, "steps=%lld: %s is at step %lld already", (long long)t->r->steps, path,
                 (long long)read.step);
    if (s == OK) s = checkpoint_tensors(path, t->on, t->m, 1);
    if (s == OK && read.finished && read.step < t->r->steps) read.finished = 0;
    if (s == OK)
        *c = read;
    else
        checkpoint_free(&read);
    t->kept = c->step;
    t->saved = seconds_now();
    t->save_next = t->saved + t->r->save_seconds;
    for (int64_t i = 0; s == OK && t->sink && i < c->evals; i++)
        s = t->sink(t->user, &c->eval[i], NULL);
    t->begun = c->step;
    /* Known but if it was interrupted. */
    return s == OK && due(t, t->r->eval_every) ? validate(t) : s;
}

/* The test sets are opened now and not after hours: what cannot be tested is seen, and the longest
 * sequence that the model must read. */
static status open_tests(trainer *t)
{
    if (t->r->greedy && !t->data->task->greedy)
        return fail(ERR_ARG, "greedy=1: task %s decodes nothing", t->data->task->name);
    t->tests = calloc((size_t)t->r->tests + 1, sizeof *t->tests);
    if (!t->tests) return fail(ERR_MEMORY, "train: out of memory");
    for (int64_t i = 0; i < t->r->tests; i++) {
        data_options o;
        TRY(recipe_test(t->r, i, &o));
        TRY(dataset_open(t->r->task, &o, &t->tests[i]));
        if (t->tests[i]->longest > t->longest) t->longest = t->tests[i]->longest;
    }
    return OK;
}

static status open_data(trainer *t)
{
    data_options o = t->r->data;
    TRY(dataset_open(t->r->task, &o, &t->data));
    TRY(split_find("validation", o.length, &o.split));
    TRY(dataset_open(t->r->task, &o, &t->validation));
    if (t->validation->vocab != t->data->vocab)
        return fail(ERR_DATA, "train: vocabulary of %d in training, %d in validation: expected one",
                    (int)t->data->vocab, (int)t->validation->vocab);
    t->longest =
        t->data->longest > t->validation->longest ? t->data->longest : t->validation->longest;
    return open_tests(t);
}

/* What the result file says of the data. */
static status tell_data(const trainer *t)
{
    char hash[24];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)t->data->hash);
    TRY(results_attribute(t->out, "data_hash", hash));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)t->data->tokenizer_hash);
    return results_attribute(t->out, "tokenizer_hash", hash);
}

/* Training and evaluations, from where the run is. */
static status work(trainer *t)
{
    const recipe *r = t->r;
    TRY(begin(t));
    if (t->c->finished) return OK;
    const prefetch_plan plan = {.B = r->batch,
                                .first = t->c->step,
                                .apart = worth_a_call(t->on, t->m),
                                .threads = r->threads == 1 ? 1 : 2,
                                .index = row_sample,
                                .user = t};
    TRY(prefetch_open(t->data, &plan, &t->queue));
    TRY(loop(t));
    if (t->c->step < r->steps) return save(t);
    /* whoever ends the evaluations loses moments of training */
    if (seconds_now() - t->saved > show_seconds(r)) TRY(save(t));
    TRY(validate(t));
    TRY(test(t));
    t->c->finished = 1;
    return save(t);
}

static status run(trainer *t)
{
    const recipe *r = t->r;
    TRY(recipe_check(r));
    if (r->profile > 0 && !t->on->profile)
        return fail(ERR_ARG, "profile=%lld: backend=%s times no stages: expected a GPU",
                    (long long)r->profile, t->on->name);
    TRY(open_data(t));
    TRY(tell_data(t));
    TRY(recipe_config(r, t->data->vocab, t->longest, &t->config));
    recipe_columns(r, r->w, t->on, t->data->hash, t->config_words);
    t->where = recipe_placement(r->w, t->on);
    t->where.micro = word_int(r->w, "micro");
    TRY(t->on->create(&t->m, &t->config, &t->where));
    TRY(model_initialise(t->on, t->m, (uint64_t)r->seed));
    const status s = work(t);
    return s == ERR_STOPPED ? save(t) : s;
}

status train(const recipe *r, const model *on, checkpoint *c, results *out, eval_sink *sink,
             void *user)
{
    trainer t = {.r = r, .on = on, .c = c, .out = out, .sink = sink, .user = user};
    *c = (checkpoint){0};
    status s = run(&t);
    if (s == OK || s == ERR_NUMERIC) {
        const status told = tell(&t);
        if (s == OK) s = told;
    }
    prefetch_close(t.queue);
    if (t.m) on->destroy(t.m);
    dataset_close(t.data);
    dataset_close(t.validation);
    for (int64_t i = 0; t.tests && i < r->tests; i++)
        dataset_close(t.tests[i]);
    free(t.tests);
    return s;
}

static status print_row(void *user, const eval_row *row, const scores *each)
{
    (void)each;
    int *header = user;
    results_print(EVAL, row, *header);
    fflush(stdout);
    *header = 0;
    return OK;
}

static status train_cell(const recipe *r, results *out, int *header)
{
    checkpoint c;
    const model *on;
    TRY(model_find(r->backend, &on));
    const status s = train(r, on, &c, out, print_row, header);
    checkpoint_free(&c);
    return s;
}

static status train_cells(const words *w, results *out)
{
    int header = 1;
    for (int64_t i = 0; i < word_count(w, "method"); i++)
        for (int64_t j = 0; j < word_count(w, "layers"); j++)
            for (int64_t k = 0; k < word_count(w, "seed"); k++) {
                recipe r = recipe_cell(w, i, j, k);
                if (!stop_signal()) TRY(train_cell(&r, out, &header));
            }
    return OK;
}

int verb_train(const words *w)
{
    results *out = NULL;
    int64_t cells = word_count(w, "method") * word_count(w, "layers") * word_count(w, "seed");
    if (cells > 1 && (*word_text(w, "checkpoint") || *word_text(w, "best")))
        return usage_error(
            "train: checkpoint= and best= hold one model: expected one method, depth "
            "and seed");
    threads_set(word_int(w, "threads"));
    stop_watch(NULL);
    tabular_format(word_text(w, "format"));
    status s = results_create(&out, word_text(w, "out"), w);
    if (s == OK) s = train_cells(w, out);
    tabular_end();
    const int stopped = stop_signal(), code = s != OK && !stopped ? status_exit(s) : EXIT_GOOD;
    if (stopped || s == ERR_NUMERIC) (void)results_save(out, 0); /* the steps so far are true */
    const status closed = results_close(out, s == OK && !stopped);
    stop_end("train", "; the same line goes on from ", word_text(w, "checkpoint"));
    return s != OK ? code : status_exit(closed);
}
