/* SPDX-License-Identifier: MIT
 *
 * test_lengths.c — samples of many lengths in a batch: what padding costs, and that a batch cut by
 * length, in however many parts, is trained and evaluated as the whole one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tiny.h"
#include "train/train.h"

/* Positions of so many training batches that hold no token, as a share of all. */
static double padded_share(selftest *t, const char *task, int64_t B, int64_t batches, int64_t apart)
{
    const data_options o = data_options_default();
    const prefetch_plan plan = {.B = B, .count = batches, .apart = apart};
    dataset *d;
    prefetch *p = NULL;
    task_batch b;
    int64_t tokens = 0, positions = 0;
    EXPECT(dataset_open(task, &o, &d) == OK);
    if (!d) return NAN;
    EXPECT(prefetch_open(d, &plan, &p) == OK);
    while (p && prefetch_next(p, &b) == OK && b.B > 0) {
        for (int64_t i = 0; i < b.parts; i++)
            positions += b.part[i].B * b.part[i].T;
        for (int64_t r = 0; r < b.B; r++)
            tokens += b.row[r].T;
    }
    prefetch_close(p);
    dataset_close(d);
    return 1 - (double)tokens / (double)positions;
}

/* The shares that DESIGN.md states, of the batches of the paper. */
void selftest_padding(selftest *t)
{
    static const struct {
        const char *task;
        int64_t B, width;
        double whole, ref, device; /* most that is padded */
    } rows[] = {{"regbench", 32, 128, 0.35, 0.05, 0.35},
                {"regbench", 128, 128, 0.40, 0.03, 0.22},
                {"mqmtar", 256, 512, 0.22, 0.01, 0.11}};
    const int64_t device_call = INT64_C(1) << 19;
    EXPECT(!model_at(1) || model_at(1)->call == device_call);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int64_t batches = 1000 / rows[i].B, d = rows[i].width;
        const double whole = padded_share(t, rows[i].task, rows[i].B, batches, UNCUT);
        const double ref = padded_share(t, rows[i].task, rows[i].B, batches, mosaic_ref.call / d);
        const double device = padded_share(t, rows[i].task, rows[i].B, batches, device_call / d);
        EXPECT(whole <= rows[i].whole && ref <= rows[i].ref && device <= rows[i].device);
        EXPECT(whole >= device && device >= ref && ref >= 0);
    }
}

/* A short run on a model whose calls cost so much; 0 if there is no device for it. */
static int short_run(selftest *t, const model *on, const char *task, int64_t call, checkpoint *c)
{
    char *line[] = {(char *)task,         (char *)"method=biweight", (char *)"window=48",
                    (char *)"automata=9", (char *)"width=8",         (char *)"heads=2",
                    (char *)"layers=2",   (char *)"slots=5",         (char *)"batch=4",
                    (char *)"steps=6",    (char *)"warmup=2",        (char *)"eval_samples=7",
                    (char *)"dropout=0.3"};
    model priced = *on;
    words *w = NULL;
    priced.call = call;
    EXPECT(words_parse("train", sizeof line / sizeof *line, line, &w) == OK);
    if (!w) return 0;
    const recipe r = recipe_cell(w, 0, 0, 0);
    const status s = train(&r, &priced, c, NULL, NULL, NULL);
    EXPECT(s == OK || s == ERR_DEVICE);
    words_free(w);
    return s == OK;
}

/* Steps and scores of a run do not depend on how its batches are cut. */
static void expect_uncut(selftest *t, const model *on, const char *task)
{
    const double tol = 100 * model_tolerance(on) + 1e-12;
    static const int64_t calls[] = {0, 60};
    checkpoint whole, cut;
    const int here = short_run(t, on, task, UNCUT, &whole);
    for (size_t k = 0; here && k < sizeof calls / sizeof *calls; k++) {
        EXPECT(short_run(t, on, task, calls[k], &cut));
        EXPECT(cut.trains == whole.trains && cut.evals == whole.evals && whole.evals > 0);
        for (int64_t i = 0; i < whole.trains && i < cut.trains; i++) {
            const train_row *x = &whole.train[i], *y = &cut.train[i];
            EXPECT(x->tokens == y->tokens);
            EXPECT(fabs(x->loss - y->loss) <= tol * x->loss);
            EXPECT(fabs(x->grad_norm - y->grad_norm) <= tol * x->grad_norm);
        }
        for (int64_t i = 0; i < whole.evals && i < cut.evals; i++)
            EXPECT(fabs(whole.eval[i].value - cut.eval[i].value) <= tol);
        checkpoint_free(&cut);
    }
    checkpoint_free(&whole);
}

void selftest_lengths(selftest *t)
{
    static const char *const tasks[] = {"task=regbench", "task=mqmtar", "task=count"};
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        for (size_t k = 0; k < sizeof tasks / sizeof *tasks; k++)
            expect_uncut(t, on, tasks[k]);
}
