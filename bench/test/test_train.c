/* SPDX-License-Identifier: MIT
 *
 * test_train.c — training: what must be equal to the bit, what must be refused, what must be
 * learned.
 */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends.h"
#include "scratch.h"
#include "train/train.h"

extern char **environ;

enum { WORDS = 48, LINE = 2048 };

/* Split a line at its blanks; returns how many words. The words point into `line`. */
static int split(char *line, char **word, int room)
{
    int count = 0;
    for (char *at = strtok(line, " "); at && count < room; at = strtok(NULL, " "))
        word[count++] = at;
    return count;
}

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static words *
train_words(const char *format, ...)
{
    char line[LINE], *word[WORDS];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    words *w;
    words_parse("train", split(line, word, WORDS), word, &w);
    return w;
}

static const char tiny[] =
    "task=reverse length=4 width=8 heads=2 slots=4 batch=3 warmup=2 horizon=12 "
    "eval_samples=8";

/* Epochs of 7 sequences in batches of 3: shuffled anew, the third batch with one row. */
static const char epochs[] =
    "task=regbench automata=7 window=24 width=8 heads=2 slots=4 batch=3 warmup=2 "
    "horizon=12 schedule=regbench switches=wd_groups:all eval_samples=4";

/* Train a model by a line of words; the run's rows in c. */
static status train_on(const model *on, const char *line, checkpoint *c)
{
    words *w = train_words("%s", line);
    if (!w) return ERR_ARG;
    recipe r = recipe_cell(w, 0, 0, 0);
    status s = train(&r, on, c, NULL, NULL, NULL);
    words_free(w);
    return s;
}

static status train_line(const char *line, checkpoint *c)
{
    return train_on(&mosaic_ref, line, c);
}

void selftest_shuffled(selftest *t)
{
    static const int64_t sizes[] = {1, 2, 3, 16, 17, 1000};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int64_t n = sizes[k], moved = 0;
        char *seen = calloc((size_t)n, 1);
        for (int64_t i = 0; seen && i < n; i++) {
            int64_t j = shuffled(i, n, 7);
            EXPECT(j >= 0 && j < n && !seen[j]);
            if (j >= 0 && j < n) seen[j] = 1;
            moved += shuffled(i, n, 8) != j;
        }
        EXPECT(n < 16 || moved > n / 2);
        free(seen);
    }
}

/* Are the tensors of two checkpoints the same bits? */
static void expect_same_tensors(selftest *t, const char *a, const char *b)
{
    static const slot slots[] = {SLOT_VALUE, SLOT_MOMENT1, SLOT_MOMENT2};
    const char *path[2] = {a, b};
    struct mosaic *m[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        checkpoint c;
        words *w = NULL;
        mosaic_config config;
        EXPECT(checkpoint_read(path[i], &c, &w) == OK);
        if (!w) goto done;
        recipe r = recipe_cell(w, 0, 0, 0);
        EXPECT(recipe_config(&r, c.vocab, c.longest, &config) == OK);
        EXPECT(mosaic_ref.create(&m[i], &config, NULL) == OK);
        EXPECT(checkpoint_tensors(path[i], &mosaic_ref, m[i], 1) == OK);
        checkpoint_free(&c);
        words_free(w);
    }
    for (int64_t i = 0; m[0] && m[1] && i < mosaic_ref.parameters(m[0]); i++) {
        parameter_info info;
        EXPECT(mosaic_ref.info(m[0], i, &info) == OK);
        double *x = malloc((size_t)info.count * sizeof *x),
               *y = malloc((size_t)info.count * sizeof *y);
        for (size_t k = 0; x && y && k < sizeof slots / sizeof *slots; k++) {
            EXPECT(mosaic_ref.get(m[0], i, slots[k], x) == OK);
            EXPECT(mosaic_ref.get(m[1], i, slots[k], y) == OK);
            EXPECT(memcmp(x, y, (size_t)info.count * sizeof *x) == 0);
        }
        free(x);
        free(y);
    }
done:
    mosaic_ref.destroy(m[0]);
    mosaic_ref.destroy(m[1]);
}

/* Same rows, but for the seconds. */
static void expect_same_rows(selftest *t, const checkpoint *a, const checkpoint *b)
{
    EXPECT(a->trains == b->trains && a->evals == b->evals);
    if (a->trains != b->trains || a->evals != b->evals) return;
    for (int64_t i = 0; i < a->trains; i++) {
        EXPECT(a->train[i].step == i && b->train[i].step == i);
        EXPECT(a->train[i].loss == b->train[i].loss);
        EXPECT(a->train[i].grad_norm == b->train[i].grad_norm);
        EXPECT(a->train[i].lr == b->train[i].lr && a->train[i].tokens == b->train[i].tokens);
    }
    for (int64_t i = 0; i < a->evals; i++)
        EXPECT(a->eval[i].value == b->eval[i].value && a->eval[i].step == b->eval[i].step &&
               strcmp(a->eval[i].metric, b->eval[i].metric) == 0);
}

/* Step of a checkpoint; -1 if it cannot be read. */
static int64_t saved_step(const char *path)
{
    checkpoint c = {0};
    words *w = NULL;
    const int64_t step =
        access(path, F_OK) == 0 && checkpoint_read(path, &c, &w) == OK ? c.step : -1;
    checkpoint_free(&c);
    words_free(w);
    return step;
}

/* Steps that a result file tells of, one row each; 0 if there is no file yet. It is always whole.
 */
static int64_t shown_steps(selftest *t, const char *path, int finished)
{
    void *rows = NULL;
    int64_t count = 0;
    stored *f;
    if (access(path, F_OK) != 0) return 0;
    EXPECT(stored_open(path, &f) == OK);
    if (!f) return 0;
    EXPECT(stored_finished(f) == finished && stored_rows(f, TRAIN, &rows, &count) == OK);
    for (int64_t i = 0; rows && i < count; i++)
        EXPECT(((const train_row *)rows)[i].step == i);
    stored_close(f);
    free(rows);
    return count;
}

/* `mosaic train` in a process of its own that is far from its end when it is killed, once its
 * checkpoint has moved on; its rows are read while it writes them. Returns the step that it left.
 */
static int64_t train_and_kill(selftest *t, const char *line, const char *path, const char *out)
{
    char text[LINE], *word[WORDS] = {(char *)"mosaic", (char *)"train"};
    pid_t child;
    int state = 0;
    int64_t shown = 0;
    snprintf(text, sizeof text, "%s", line);
    word[2 + split(text, word + 2, WORDS - 3)] = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int spawned = posix_spawn(&child, "/proc/self/exe", &actions, NULL, word, environ);
    posix_spawn_file_actions_destroy(&actions);
    EXPECT(spawned == 0);
    if (spawned != 0) return -1;
    for (int wait = 0; wait < 10000 && saved_step(path) < 7; wait++) {
        const int64_t now = shown_steps(t, out, 0);
        EXPECT(now >= shown);
        shown = now;
        usleep(2000);
    }
    EXPECT(kill(child, SIGKILL) == 0);
    EXPECT(waitpid(child, &state, 0) == child);
    EXPECT(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL);
    return saved_step(path);
}

/* Train `base` to 12 steps at once, and in parts of 5 and 7. */
static void check_parts(selftest *t, const char *base)
{
    const char *folder = scratch_folder(t), *path = scratch_path(t, folder, "whole.h5");
    const char *other = scratch_path(t, folder, "parts.h5");
    char line[LINE];
    checkpoint whole, parts;
    snprintf(line, sizeof line, "%s steps=12 eval_every=4 threads=1 checkpoint=%s", base, path);
    EXPECT(train_line(line, &whole) == OK);
    EXPECT(whole.trains == 12 && whole.step == 12 && whole.finished);
    for (int steps = 5; steps <= 12; steps += 7) {
        snprintf(line, sizeof line, "%s steps=%d eval_every=4 threads=3 checkpoint=%s", base, steps,
                 other);
        EXPECT(train_line(line, &parts) == OK);
        EXPECT(parts.step == steps);
        if (steps < 12) checkpoint_free(&parts);
    }
    /* The rows of /eval differ: the run that stopped at 5 was evaluated there. */
    for (int64_t i = 0; i < parts.trains && i < whole.trains; i++)
        EXPECT(parts.train[i].loss == whole.train[i].loss);
    expect_same_tensors(t, path, other);
    checkpoint_free(&whole);
    checkpoint_free(&parts);
}

/* A run that was killed somewhere and taken up again, against one to the same step at once. saves:
 * the words that say when it saves; `lost` steps of those that were seen may be lost, 0: any. */
static void check_killed(selftest *t, const model *on, const char *base, const char *saves,
                         int64_t lost)
{
    const char *folder = scratch_folder(t), *path = scratch_path(t, folder, "whole.h5");
    const char *other = scratch_path(t, folder, "killed.h5");
    const char *out = scratch_path(t, folder, "rows.h5");
    char line[LINE];
    checkpoint whole, killed;
    snprintf(line, sizeof line, "%s steps=1000000 backend=%s eval_every=4 %s checkpoint=%s out=%s",
             base, on->name, saves, other, out);
    const int64_t kept = train_and_kill(t, line, other, out), shown = shown_steps(t, out, 0);
    const long long steps = kept + 8;
    EXPECT(kept >= 7 && shown > 0);
    if (lost > 0) EXPECT(kept % lost == 0 && shown >= kept - lost && shown <= kept + lost);
    snprintf(line, sizeof line, "%s steps=%lld eval_every=4 threads=1 checkpoint=%s", base, steps,
             path);
    EXPECT(train_on(on, line, &whole) == OK && whole.finished);
    snprintf(line, sizeof line, "%s steps=%lld eval_every=4 checkpoint=%s", base, steps, other);
    EXPECT(train_on(on, line, &killed) == OK);
    expect_same_tensors(t, path, other);
    expect_same_rows(t, &whole, &killed);
    checkpoint_free(&killed);
    EXPECT(train_on(on, line, &killed) == OK); /* finished: nothing is done twice */
    expect_same_rows(t, &whole, &killed);
    checkpoint_free(&killed);
    snprintf(line, sizeof line, "%s steps=%lld seed=2 checkpoint=%s", base, steps, other);
    EXPECT(train_on(on, line, &killed) == ERR_ARG);
    EXPECT(strstr(last_error(), "seed=2") != NULL);
    checkpoint_free(&whole);
}

void selftest_resume(selftest *t)
{
    check_parts(t, tiny);
    check_parts(t, epochs);
    check_killed(t, &mosaic_ref, tiny, "save_every=1", 1);
    check_killed(t, &mosaic_ref, epochs, "save_every=3", 3);
    check_killed(t, &mosaic_ref, tiny, "save_seconds=0.005", 0);
}

void selftest_cuda_resume(selftest *t)
{
    const model *on = model_at(1);
    if (on && backend_at(1)->ready() == OK) {
        check_killed(t, on, tiny, "save_every=3", 3);
        check_killed(t, on, epochs, "save_seconds=0.005", 0);
    } else {
        selftest_skip(t, on ? "this machine has no device" : "this build has no CUDA");
    }
}

/* --- a model whose reports come late ------------------------------------------------------- */

/* The reference, but a step is reported only when it must be: what the trainer sees of a device.
 * Update `broken` has a gradient that is not finite. */
static struct {
    int under_way, most;
    int64_t broken;
} late;

static status late_apply(struct mosaic *m, const optimizer *o, int64_t update)
{
    double none[4096];
    if (update == late.broken) {
        TRY(mosaic_ref.get(m, 0, SLOT_GRAD, none));
        none[0] = NAN;
        TRY(mosaic_ref.put(m, 0, SLOT_GRAD, none));
    }
    TRY(mosaic_ref.apply(m, o, update));
    if (++late.under_way > late.most) late.most = late.under_way;
    return OK;
}

static status late_collect(struct mosaic *m, int wait, step_report *r, int *ready)
{
    *ready = 0;
    if (!wait) return OK;
    TRY(mosaic_ref.collect(m, wait, r, ready));
    late.under_way -= *ready;
    return OK;
}

static model late_model(int64_t broken)
{
    model on = mosaic_ref;
    on.apply = late_apply;
    on.collect = late_collect;
    late.under_way = late.most = 0;
    late.broken = broken;
    return on;
}

void selftest_late_reports(selftest *t)
{
    const char *folder = scratch_folder(t), *path = scratch_path(t, folder, "once.h5");
    const char *other = scratch_path(t, folder, "late.h5");
    const char *last = scratch_path(t, folder, "broken.h5");
    char line[LINE];
    checkpoint at_once, later;
    snprintf(line, sizeof line, "%s steps=30 eval_every=11 checkpoint=%s", tiny, path);
    EXPECT(train_line(line, &at_once) == OK);
    model on = late_model(0);
    snprintf(line, sizeof line, "%s steps=30 eval_every=11 checkpoint=%s", tiny, other);
    EXPECT(train_on(&on, line, &later) == OK);
    EXPECT(late.most == MOST_STEPS && late.under_way == 0);
    expect_same_tensors(t, path, other);
    expect_same_rows(t, &at_once, &later);
    checkpoint_free(&at_once);
    checkpoint_free(&later);

    /* Steps 16 to 19 are under way when it is known that 17 is not finite: none is kept. */
    on = late_model(18);
    snprintf(line, sizeof line, "%s steps=30 save_every=4 checkpoint=%s", tiny, last);
    EXPECT(train_on(&on, line, &later) == ERR_NUMERIC);
    EXPECT(strstr(last_error(), "step 17: the gradient is not finite: expected ") != NULL);
    EXPECT(strstr(last_error(), "broken.h5 holds step 16") != NULL);
    EXPECT(later.step == 17 && saved_step(last) == 16);
    checkpoint_free(&later);
}

/* --- a run that moves -------------------------------------------------------------------- */

/* Train to 12 steps, the first 6 on one model and the rest on the other, within tol of `whole`. */
static void expect_moved(selftest *t, const model *first, const model *rest, const char *path,
                         const checkpoint *whole, double tol)
{
    const model *const on[] = {first, rest};
    char line[LINE];
    checkpoint c = {0};
    unlink(path);
    for (int i = 0; i < 2; i++) {
        checkpoint_free(&c);
        snprintf(line, sizeof line, "%s steps=%d checkpoint=%s", tiny, 6 * (i + 1), path);
        EXPECT(train_on(on[i], line, &c) == OK && c.step == 6 * (i + 1));
    }
    EXPECT(c.trains == 12 && whole->trains == 12 && c.evals >= whole->evals);
    for (int64_t i = 0; i < c.trains && i < whole->trains; i++) {
        EXPECT(strcmp(c.train[i].backend, on[i >= 6]->name) == 0);
        EXPECT_NEAR(c.train[i].loss, whole->train[i].loss, tol * whole->train[i].loss);
    }
    for (int64_t i = 0; c.evals >= whole->evals && i < whole->evals; i++)
        if (strcmp(whole->eval[i].metric, "ce") == 0)
            EXPECT_NEAR(c.eval[c.evals - whole->evals + i].value, whole->eval[i].value,
                        tol * whole->eval[i].value);
    checkpoint_free(&c);
}

/* The reference with a twin of its own, and with every other model that runs here: twelve steps of
 * Adam from a checkpoint that rounds nothing are as far apart as the models are. */
void selftest_model_moves(selftest *t)
{
    const char *folder = scratch_folder(t), *path = scratch_path(t, folder, "moved.h5");
    model twin = late_model(0);
    checkpoint whole;
    char line[LINE];
    snprintf(line, sizeof line, "%s steps=12", tiny);
    EXPECT(train_line(line, &whole) == OK);
    expect_moved(t, &mosaic_ref, &twin, path, &whole, 0);
    expect_moved(t, &twin, &mosaic_ref, path, &whole, 0);
    const model *other = model_at(1);
    if (other && backend_at(1)->ready() == OK) {
        expect_moved(t, &mosaic_ref, other, path, &whole, 1e-3);
        expect_moved(t, other, &mosaic_ref, path, &whole, 1e-3);
    }
    checkpoint_free(&whole);
}

/* --- divergence -------------------------------------------------------------------------- */

/* Update 18 reports a loss that is finite and far from all sense. */
static status diverged_collect(struct mosaic *m, int wait, step_report *r, int *ready)
{
    TRY(mosaic_ref.collect(m, wait, r, ready));
    if (*ready && r->update == 18) r->loss = 1e3;
    return OK;
}

void selftest_divergence(selftest *t)
{
    const char *path = scratch_path(t, scratch_folder(t), "kept.h5");
    char line[LINE];
    checkpoint c;
    model on = mosaic_ref;
    on.collect = diverged_collect;
    for (int kept = 0; kept < 2; kept++) {
        snprintf(line, sizeof line, "%s steps=30%s%s", tiny,
                 kept ? " save_every=5 checkpoint=" : "", kept ? path : "");
        EXPECT(train_on(&on, line, &c) == ERR_NUMERIC && c.step == 17 && c.trains == 17);
        EXPECT(strstr(last_error(), "step 17: the loss is 1e+03, that of chance ") != NULL);
        EXPECT(strstr(last_error(), kept ? "kept.h5 holds step 15" : "no checkpoint=") != NULL);
        checkpoint_free(&c);
    }
    EXPECT(saved_step(path) == 15);
}

/* Copy a file, cut to `size` bytes and with byte `flip` inverted (-1: none). */
static int copy_damaged(const char *from, const char *to, long size, long flip)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    int good = in && out;
    for (long i = 0; good && i < size; i++) {
        int c = fgetc(in);
        if (c == EOF) break;
        fputc(i == flip ? ~c & 255 : c, out);
    }
    if (in) fclose(in);
    if (out && fclose(out) != 0) good = 0;
    return good;
}

void selftest_damaged_checkpoint(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *good = scratch_path(t, folder, "good.h5"), *bad = scratch_path(t, folder, "bad.h5");
    char line[LINE];
    checkpoint c;
    words *w;
    snprintf(line, sizeof line, "%s steps=1 checkpoint=%s", tiny, good);
    EXPECT(train_line(line, &c) == OK);
    checkpoint_free(&c);
    FILE *whole = fopen(good, "rb");
    EXPECT(whole && fseek(whole, 0, SEEK_END) == 0);
    long size = whole ? ftell(whole) : 0;
    if (whole) fclose(whole);
    for (long cut = 0; cut < size; cut += cut < 600 ? 37 : 997) {
        EXPECT(copy_damaged(good, bad, cut, -1));
        EXPECT(checkpoint_read(bad, &c, &w) == ERR_DATA);
        EXPECT(w == NULL && strchr(last_error(), '\n') == NULL);
    }
    for (long flip = 0; flip < size; flip += flip < 24 ? 1 : 487) {
        int unused = flip >= 40 && flip < 512; /* the rest of the user block says nothing */
        EXPECT(copy_damaged(good, bad, size, flip));
        EXPECT(unused || checkpoint_read(bad, &c, &w) == ERR_DATA);
    }
    EXPECT(checkpoint_read("/nonexistent/file", &c, &w) == ERR_FILE);
    snprintf(line, sizeof line, "%s steps=1 checkpoint=/nonexistent/file", tiny);
    EXPECT(train_line(line, &c) == ERR_FILE);
}

void selftest_best_checkpoint(selftest *t)
{
    const char *path = scratch_path(t, scratch_folder(t), "best.h5");
    char line[LINE];
    checkpoint run, best;
    words *w = NULL;
    double least = INFINITY;
    int64_t at = -1;
    /* The rate is so high that the loss comes back up. */
    snprintf(line, sizeof line, "%s steps=12 eval_every=2 test_length=4 lr=0.5 best=%s", tiny,
             path);
    EXPECT(train_line(line, &run) == OK);
    for (int64_t i = 0; i < run.evals; i++) {
        const eval_row *e = &run.eval[i];
        if (strcmp(e->metric, "ce") != 0 || strcmp(e->split, "validation") != 0) continue;
        if (!(e->value < least)) continue;
        at = e->step;
        least = e->value;
    }
    EXPECT(at >= 0 && at < 12 && run.step == 12);
    EXPECT(checkpoint_read(path, &best, &w) == OK);
    EXPECT(best.step == at && best.best == least && run.best == least);
    EXPECT(run.evals > 0 && strcmp(run.eval[run.evals - 1].split, "test") == 0);
    EXPECT(run.evals > 0 && run.eval[run.evals - 1].step == at);
    words_free(w);
    checkpoint_free(&best);
    checkpoint_free(&run);
}

void selftest_learns_reverse(selftest *t)
{
    checkpoint c;
    double exact = 0;
    EXPECT(train_line("task=reverse length=4 method=biweight width=64 heads=4 layers=2 slots=16 "
                      "batch=16 steps=300 lr=5e-3 warmup=20 dropout=0 eval_samples=500",
                      &c) == OK);
    for (int64_t i = 0; i < c.evals; i++)
        if (strcmp(c.eval[i].metric, "exact") == 0) exact = c.eval[i].value;
    EXPECT(c.trains == 300 && c.train[299].loss < 0.5 * c.train[0].loss);
    EXPECT(exact > 0.9);
    checkpoint_free(&c);
}
