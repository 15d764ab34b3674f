/* SPDX-License-Identifier: MIT
 *
 * test_sample.c — what a model says: draws are those of the softmax, the greedy text is that of the
 * batch, a seed and a position decide a draw, every model of the table says the same; ids are
 * written as they are read; a report tells a story as it was said.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "logits.h"
#include "paper/show.h"
#include "scratch.h"
#include "task.h"
#include "tiny.h"
#include "train/sampling.h"
#include "worse.h"

/* --- one draw -------------------------------------------------------------------------------- */

enum { IDS = 9, DRAWS = 20000 };

/* Two ids share the maximum; one cannot be said. */
static const double logits[IDS] = {0.5, 2, -1, 2, 1.25, -INFINITY, 0, -3, 1};

/* The softmax of logits / temperature over the largest `k` by hand, the lower id first on ties. */
static void softmax_by_hand(double temperature, int k, double *p)
{
    double sum = 0;
    for (int i = 0; i < IDS; i++) {
        int before = 0;
        for (int j = 0; j < IDS; j++)
            before += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
        p[i] = k > 0 && before >= k ? 0 : exp((logits[i] - 2) / temperature);
        sum += p[i];
    }
    for (int i = 0; i < IDS; i++)
        p[i] /= sum;
}

/* Each id is drawn as often as its weight says, within five standard deviations. */
static void expect_frequencies(selftest *t, const sampling *how)
{
    double want[IDS], p[IDS];
    int64_t count[IDS] = {0};
    softmax_by_hand(how->temperature, (int)how->top_k, want);
    for (int64_t at = 0; at < DRAWS; at++) {
        int32_t id = -1;
        EXPECT(sampling_draw(how, logits, IDS, at, p, &id) == OK && id >= 0 && id < IDS);
        if (id >= 0 && id < IDS) count[id]++;
    }
    for (int i = 0; i < IDS; i++) {
        const double spread = sqrt(want[i] * (1 - want[i]) / DRAWS);
        EXPECT_NEAR(p[i], want[i], 1e-15);
        EXPECT_NEAR((double)count[i] / DRAWS, want[i], 5 * spread);
    }
}

/* Temperature 0, and what tends to it, and the best of one: the lowest of the likeliest ids. */
static void expect_limits(selftest *t)
{
    static const sampling likeliest[] = {{0, 0, 1}, {0, 3, 1}, {1, 1, 1}, {1e300, 1, 1}};
    static const sampling tending[] = {{1e-3, 0, 1}, {1e-300, 0, 1}, {5e-324, 4, 1}};
    double p[IDS];
    int32_t id;
    for (int64_t at = 0; at < 100; at++) {
        for (size_t i = 0; i < sizeof likeliest / sizeof *likeliest; i++)
            EXPECT(sampling_draw(&likeliest[i], logits, IDS, at, p, &id) == OK && id == 1);
        for (size_t i = 0; i < sizeof tending / sizeof *tending; i++)
            EXPECT(sampling_draw(&tending[i], logits, IDS, at, p, &id) == OK &&
                   (id == 1 || id == 3));
    }
}

void selftest_sample_draws(selftest *t)
{
    static const sampling ways[] = {{1, 0, 1}, {1, 0, 2},   {0.5, 0, 3},
                                    {2, 0, 4}, {0.7, 3, 5}, {1, IDS + 5, 6}};
    static const double bad[] = {NAN, INFINITY};
    double z[IDS], p[IDS];
    int32_t id;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        expect_frequencies(t, &ways[i]);
    expect_limits(t);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(z, logits, sizeof z);
        z[7] = bad[i];
        EXPECT(sampling_draw(&ways[0], z, IDS, 0, p, &id) == ERR_NUMERIC);
    }
    for (int i = 0; i < IDS; i++)
        z[i] = -INFINITY;
    EXPECT(sampling_draw(&ways[0], z, IDS, 0, p, &id) == ERR_NUMERIC);
}

/* --- a whole text ---------------------------------------------------------------------------- */

enum { V = TINY_V, LONGEST = 15, UNSAID = 2 };

static const sampling greedy = {0, 0, 1}, drawn = {1.5, 0, 7}, other = {1.5, 0, 8};

/* Read text[0..n), then say the rest of LONGEST ids into it. */
static void write_on(selftest *t, const model *on, struct mosaic *m, const sampling *how,
                     int32_t *text, int n, double *loss)
{
    char sayable[V];
    speaker *s = NULL;
    memset(sayable, 1, sizeof sayable);
    sayable[UNSAID] = 0;
    EXPECT(speaker_open(&s, on, m, sayable, how) == OK && s);
    for (int i = 0; s && i < LONGEST; i++) {
        if (i >= n) EXPECT(speaker_say(s, &text[i]) == OK);
        loss[i] = speaker_loss(s, text[i]);
        EXPECT(text[i] >= 0 && text[i] < V && (i < n || text[i] != UNSAID));
        EXPECT(speaker_position(s) == i && speaker_read(s, text[i]) == OK);
    }
    speaker_close(s);
}

/* The greedy text is the argmax of the logits of the batch, and the losses are the batch's. */
static void expect_batch_text(selftest *t, const model *on, struct mosaic *m, int32_t *text, int n)
{
    double z[LONGEST * V], loss[LONGEST] = {0};
    const batch b = {.B = 1, .T = LONGEST, .tokens = text};
    write_on(t, on, m, &greedy, text, n, loss);
    EXPECT(on->predict(m, &b, z) == OK && isnan(loss[0]));
    for (int i = 1; i < LONGEST; i++) {
        double *row = z + (i - 1) * V;
        int64_t best;
        EXPECT_NEAR(loss[i], log_sum_exp(row, V, NULL) - row[text[i]],
                    1e-14 + 10 * model_tolerance(on));
        row[UNSAID] = -INFINITY;
        log_sum_exp(row, V, &best);
        EXPECT(i < n || text[i] == best);
    }
}

/* One seed is one text, wherever the prompt of it ends. */
static void expect_seed(selftest *t, const model *on, struct mosaic *m, const int32_t *start)
{
    int32_t text[LONGEST], again[LONGEST];
    double loss[LONGEST];
    memcpy(text, start, sizeof text);
    write_on(t, on, m, &drawn, text, 1, loss);
    for (int n = 1; n < LONGEST; n += 4) {
        memcpy(again, text, sizeof again);
        write_on(t, on, m, &drawn, again, n, loss);
        EXPECT(memcmp(text, again, sizeof text) == 0);
    }
    write_on(t, on, m, &other, again, 1, loss);
    EXPECT(memcmp(text, again, sizeof text) != 0);
}

static void expect_speaker(selftest *t, const model *on, const mosaic_config *c)
{
    struct mosaic *m, *ref;
    int32_t text[LONGEST], same[LONGEST];
    double loss[LONGEST];
    draw_tokens(text, LONGEST, V, 41);
    if (!model_open(t, on, c, NULL, &m)) return;
    expect_seed(t, on, m, text);
    memcpy(same, text, sizeof same);
    expect_batch_text(t, on, m, text, 3);
    if (on != model_at(0) && model_open(t, model_at(0), c, NULL, &ref)) {
        write_on(t, model_at(0), ref, &greedy, same, 3, loss);
        EXPECT(memcmp(text, same, sizeof text) == 0);
        model_at(0)->destroy(ref);
    }
    on->destroy(m);
}

void selftest_model_sample(selftest *t)
{
    static const char *const methods[] = {"softmax", "biweight", "relumax", "top4_softmax"};
    const model *on;
    for (int i = 0; (on = model_at(i)); i++)
        for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
            for (int gpt = 0; gpt < 2; gpt++) {
                mosaic_config c = tiny();
                EXPECT(config_set(&c, "method", methods[k]) == OK);
                c.arch = gpt ? ARCH_GPT : ARCH_MOSAIC;
                c.gpt_cosine = 1;
                expect_speaker(t, on, &c);
            }
}

/* --- ids and their text ---------------------------------------------------------------------- */

/* What is typed is read as ids whose texts are what was typed. */
static void expect_text(selftest *t, const dataset *d, const char *typed)
{
    tokens ids = {0};
    bytes text = {0};
    EXPECT(d->prompt(d, typed, strlen(typed), &ids) == OK && ids.count > 0);
    for (size_t i = 0; i < ids.count; i++) {
        const size_t before = text.count;
        if (before > 0) EXPECT(bytes_put(&text, d->between, strlen(d->between)) == OK);
        if (d->spell(d, ids.v[i], &text) != OK || ids.v[i] == d->end) text.count = before;
    }
    EXPECT(text.count == strlen(typed) && memcmp(text.v, typed, text.count) == 0);
    free(ids.v);
    free(text.v);
}

static void expect_no_text(selftest *t, const dataset *d, const char *typed, const char *because)
{
    tokens ids = {0};
    EXPECT(d->prompt(d, typed, strlen(typed), &ids) == ERR_ARG);
    EXPECT(strstr(last_error(), because) != NULL);
    free(ids.v);
}

/* Every target of the data can be said; nothing outside the vocabulary can. */
static void expect_targets(selftest *t, const dataset *d)
{
    int32_t *x = malloc(2 * (size_t)d->longest * sizeof *x);
    bytes text = {0};
    sample s = {.x = x, .y = x + d->longest};
    EXPECT(x && d->sample(d, 0, &s) == OK);
    for (int64_t i = 0; x && i < s.T; i++)
        if (s.y[i] != IGNORE) EXPECT(d->spell(d, s.y[i], &text) == OK);
    text.count = 0;
    if (d->end >= 0) EXPECT(d->spell(d, d->end, &text) == OK && text.count == 0);
    EXPECT(d->spell(d, -1, &text) == ERR_DATA && d->spell(d, d->vocab, &text) == ERR_DATA);
    free(text.v);
    free(x);
}

static dataset *open_task(selftest *t, const char *task)
{
    data_options o = data_options_default();
    dataset *d = NULL;
    o.stories = 60;
    o.vocab = 300;
    EXPECT(dataset_open(task, &o, &d) == OK && d);
    return d;
}

void selftest_sample_text(selftest *t)
{
    static const struct {
        const char *task, *typed, *refused, *because;
    } rows[] = {{"babistories", "Once upon a time,\n\"Tim\" \xc3\xa9 \xff ran.", "a <|endoftext|>",
                 "byte 3"},
                {"reverse", "0 31 7", "0 32", "item 2"},
                {"mqmtar", "1 2 258", "1,2", "item 1"},
                {"flipflop", "0 1 0", "0  1", "item 2"},
                {"regbench", "abc|rr", "abs", "byte 3"},
                {"regbench", "a", "", "at least one"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dataset *d = open_task(t, rows[i].task);
        EXPECT(d && d->prompt);
        if (d && d->prompt) {
            expect_text(t, d, rows[i].typed);
            expect_no_text(t, d, rows[i].refused, rows[i].because);
        }
        dataset_close(d);
    }
    for (int i = 0; i < task_count(); i++) {
        dataset *d = open_task(t, task_row(i)->name);
        if (d && d->prompt) expect_targets(t, d);
        dataset_close(d);
    }
}

/* --- the report ------------------------------------------------------------------------------ */

/* Two sequences, one without a prompt; what means something to Markdown or HTML is text. */
void selftest_story_line(selftest *t)
{
    static const char lines[] = "profile smoke scale=small\nexperiment one \"t\"\n"
                                " story tale title=T from=sample\n story none from=eval\n";
    static const char want[] = "*T (small)*\n\n> **Once \\*upon\\***a \\<time\\> & on\n> end.\n"
                               "\n> Two\n";
    sample_row rows[] = {{.position = 0},
                         {.position = 1, .text = "Once"},
                         {.position = 2, .text = " *upon*"},
                         {.position = 3, .said = 1, .text = "a <time> & on\n"},
                         {.position = 4, .said = 1, .text = "end."},
                         {.position = 5, .said = 1},
                         {.position = 0},
                         {.position = 1, .said = 1, .text = "Two"}};
    evidence v = {.all.rows[SAMPLES] = {.of = SAMPLES, .rows = (char *)rows, .count = 8},
                  .all.rows[EVAL] = {.of = EVAL}};
    const char *folder = scratch_folder(t);
    paper *p = NULL;
    bytes got = {0};
    show s = {.out = folder, .of = &v, .scale = "small"};
    EXPECT(paper_read(&p, scratch_text(t, folder, "one.exp", lines), "smoke") == OK);
    s.p = p;
    EXPECT(p && page_open(&s.page, &s, 0) == OK);
    const experiment *e = p ? &p->experiments[0] : NULL;
    if (e && e->count == 2 && s.page) {
        EXPECT(show_story(&s, e, &e->lines[0]) == OK);
        EXPECT(file_read(scratch_path(t, folder, "tale.md"), 0, &got) == OK);
        EXPECT(got.count == sizeof want - 1 && memcmp(got.v, want, got.count) == 0);
        EXPECT(show_story(&s, e, &e->lines[1]) == ERR_DATA);
        EXPECT(strstr(last_error(), "one.exp:4: expected from=sample") != NULL);
        EXPECT(page_close(s.page, &s, 1) == OK);
        got.count = 0;
        EXPECT(file_read(scratch_path(t, folder, "index.html"), 0, &got) == OK);
        EXPECT(bytes_put(&got, "", 1) == OK);
        EXPECT(strstr(got.v, "<blockquote><b>Once *upon*</b>a &lt;time> &amp; on<br>end."
                             "</blockquote>\n<blockquote>Two</blockquote>") != NULL);
    }
    free(got.v);
    paper_free(p);
}
