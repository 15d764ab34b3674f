/* SPDX-License-Identifier: MIT
 *
 * test_regbench.c — RegBench: golden values, laws of automata and sequences, splits, the worked
 * example, and the table of baselines (spec of the tasks, section 4).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "regbench.h"
#include "scratch.h"

enum { MANY = 10000, DRAWS = 20000 };

static automaton drawn(uint64_t split, uint64_t j, rng *r)
{
    automaton a;
    *r = rng_sample(1, 8, split, j);
    automaton_draw(r, &a);
    return a;
}

static int form_of(const automaton *a, uint8_t form[FORM_MOST])
{
    automaton minimal;
    automaton_minimize(a, &minimal);
    memset(form, 0, FORM_MOST);
    return automaton_form(&minimal, form);
}

void selftest_regbench_golden(selftest *t)
{
    static const uint8_t form[] = {0x07, 0x01, 0x0c, 0x01, 0x02, 0x0e, 0x02, 0x11, 0x03, 0x02,
                                   0x04, 0x01, 0x09, 0x04, 0x02, 0x05, 0x04, 0x0c, 0x05, 0x01,
                                   0x0d, 0x03, 0x01, 0x05, 0x06, 0x02, 0x01, 0x00, 0x0c, 0x03};
    static const int32_t start[] = {13, 15, 10, 14, 13, 6, 2, 13};
    static const uint8_t end = 0xff;
    int32_t ids[REGBENCH_LONGEST];
    uint8_t got[FORM_MOST];
    uint64_t hash = FNV_OFFSET;
    int64_t bytes = 0;
    for (uint64_t j = 0; j < 100; j++) {
        rng r;
        automaton a = drawn(SPLIT_TEST, j, &r);
        int64_t n = regbench_draw(&r, &a, ids);
        if (j == 0) {
            EXPECT(form_of(&a, got) == sizeof form && memcmp(got, form, sizeof form) == 0);
            EXPECT(n == 210 && memcmp(ids, start, sizeof start) == 0);
        }
        for (int64_t i = 0; i < n; i++) {
            uint8_t id = (uint8_t)ids[i];
            hash = fnv1a(hash, &id, 1);
        }
        hash = fnv1a(hash, &end, 1);
        bytes += n + 1;
    }
    EXPECT(hash == UINT64_C(0x794ef93a09938bdb) && bytes == 37016);
}

void selftest_regbench_splits(selftest *t)
{
    static const struct {
        int split;
        int64_t count, last;
    } rows[] = {{SPLIT_TEST, 500, 499},      {SPLIT_VALIDATION, 500, 499},
                {SPLIT_TRAIN, 1000, 1001},   {SPLIT_TRAIN, 2500, 2505},
                {SPLIT_TRAIN, 5000, 5020},   {SPLIT_TRAIN, 10000, 10066},
                {SPLIT_TRAIN, 20000, 20202}, {SPLIT_TRAIN, 40000, 40565}};
    int64_t *stream, *first = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EXPECT(regbench_accept(1, rows[i].split, rows[i].count, &stream) == OK);
        EXPECT(stream[rows[i].count - 1] == rows[i].last);
        if (first) EXPECT(memcmp(first, stream, 1000 * sizeof *stream) == 0); /* nested */
        if (rows[i].split == SPLIT_TRAIN && !first)
            first = stream;
        else
            free(stream);
    }
    /* No language in two places: test, validation, 1000 of train. */
    enum { ALL = 2000 };
    uint8_t(*form)[FORM_MOST] = calloc(ALL, sizeof *form);
    int64_t shared = 0;
    for (uint64_t i = 0; form && i < ALL; i++) {
        rng r;
        automaton a = i < 500    ? drawn(SPLIT_TEST, i, &r)
                      : i < 1000 ? drawn(SPLIT_VALIDATION, i - 500, &r)
                                 : drawn(SPLIT_TRAIN, (uint64_t)first[i - 1000], &r);
        form_of(&a, form[i]);
        for (uint64_t j = 0; j < i; j++)
            shared += memcmp(form[i], form[j], FORM_MOST) == 0;
    }
    EXPECT(form && shared == 0);
    free(form);
    free(first);
}

/* --- automata ------------------------------------------------------------------------------- */

static int raw_is_lawful(const automaton *a)
{
    if (a->states < 4 || a->states > 12) return 0;
    for (int u = 0; u < a->states; u++) {
        if (a->degree[u] < 1 || a->degree[u] > 3) return 0;
        for (int i = 0; i < a->degree[u]; i++) {
            if (a->letter[u][i] >= LETTERS || a->target[u][i] >= a->states) return 0;
            if (a->target[u][i] == u) return 0;
            for (int j = 0; j < i; j++)
                if (a->letter[u][i] == a->letter[u][j] || a->target[u][i] == a->target[u][j])
                    return 0;
        }
    }
    return 1;
}

/* The same automaton with states 1.. and the edges of every state rotated. */
static automaton renamed(const automaton *a)
{
    automaton b = {.states = a->states};
    int name[STATES_MOST] = {0};
    for (int u = 1; u < a->states; u++)
        name[u] = 1 + (u + 2) % (a->states - 1);
    for (int u = 0; u < a->states; u++) {
        int degree = b.degree[name[u]] = a->degree[u];
        for (int i = 0; i < degree; i++) {
            b.letter[name[u]][(i + 1) % degree] = a->letter[u][i];
            b.target[name[u]][(i + 1) % degree] = (uint8_t)name[a->target[u][i]];
        }
    }
    return b;
}

/* Do a and b accept the same of some random words? Half of the letters follow a. */
static int agree(const automaton *a, const automaton *b, int words, rng *r)
{
    for (int i = 0; i < words; i++)
        for (int u = 0, v = 0; u >= 0 || v >= 0;) {
            int letter = (int)rng_below(r, LETTERS);
            if (rng_below(r, 8) > 0) letter = a->letter[u][rng_below(r, a->degree[u])];
            u = automaton_step(a, u, letter);
            v = automaton_step(b, v, letter);
            if ((u < 0) != (v < 0)) return 0;
        }
    return 1;
}

void selftest_regbench_automata(selftest *t)
{
    static const double share[] = {0,    .002, .020, .033, .140, .142, .135,
                                   .128, .120, .108, .090, .059, .024};
    int states[STATES_MOST + 1] = {0}, unlawful = 0, unlike = 0, wrong = 0;
    for (uint64_t j = 0; j < DRAWS; j++) {
        rng r;
        automaton a = drawn(SPLIT_TRAIN, j, &r), b = renamed(&a), minimal, parsed;
        uint8_t form[FORM_MOST], other[FORM_MOST];
        unlawful += !raw_is_lawful(&a);
        automaton_minimize(&a, &minimal);
        states[minimal.states]++;
        int bytes = form_of(&a, form);
        unlike += form_of(&b, other) != bytes || memcmp(form, other, FORM_MOST) != 0;
        wrong += automaton_parse(form, (size_t)bytes, &parsed) != NULL;
        wrong += memcmp(&parsed, &minimal, sizeof parsed) != 0;
        wrong += !agree(&a, &minimal, j < 100 ? 1000 : 5, &r);
    }
    EXPECT(unlawful == 0);
    EXPECT(unlike == 0);
    EXPECT(wrong == 0);
    for (int i = 1; i <= STATES_MOST; i++)
        EXPECT_NEAR((double)states[i] / DRAWS, share[i], 0.008);
}

/* --- sequences ------------------------------------------------------------------------------ */

static int sequence_is_lawful(const automaton *a, const int32_t *ids, int64_t n)
{
    int strings = 1, letters = 0, state = 0;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] == BAR) {
            if (letters == 0) return 0;
            strings++;
            letters = state = 0;
            continue;
        }
        state = automaton_step(a, state, ids[i] - 1);
        if (state < 0 || ++letters > STRING_MOST) return 0;
    }
    return letters > 0 && strings >= 10 && strings <= STRINGS_MOST;
}

/* y is s[1:] without `|`; the oracle's rows are as many as x and allow every target. */
static int pair_is_lawful(const probe *p, const int32_t *ids, int64_t n)
{
    if (p->s.T != n - 1) return 0;
    for (int64_t i = 0; i < p->s.T; i++) {
        const double *row = p->logits + i * REGBENCH_VOCAB;
        double sum = 0;
        if (p->s.x[i] != ids[i]) return 0;
        if (p->s.y[i] != (ids[i + 1] == BAR ? IGNORE : ids[i + 1])) return 0;
        for (int c = 0; c < REGBENCH_VOCAB; c++)
            if (row[c] > -1000) sum += exp(row[c]);
        if (!(fabs(sum - 1) <= 1e-12) || exp(row[0]) > 0 || exp(row[BAR]) > 0) return 0;
        if (p->s.y[i] != IGNORE && !(exp(row[p->s.y[i]]) > 0)) return 0;
    }
    return 1;
}

void selftest_regbench_sequences(selftest *t)
{
    data_options o = data_options_default();
    probe p;
    int64_t broken = 0, masked = 0, positions = 0;
    o.dedup = 0;
    o.samples = MANY;
    if (!probe_open(t, &p, "regbench", &o)) return;
    for (int64_t i = 0; i < MANY; i++) {
        automaton a;
        int32_t ids[REGBENCH_LONGEST];
        int64_t n;
        EXPECT(regbench_get(p.d, i, &a, ids, REGBENCH_LONGEST, &n) == OK);
        EXPECT(p.d->sample(p.d, i, &p.s) == OK);
        EXPECT(p.d->oracle(p.d, &p.s, p.logits) == OK);
        broken += !sequence_is_lawful(&a, ids, n) + !pair_is_lawful(&p, ids, n);
        for (int64_t u = 0; u < p.s.T; u++)
            masked += p.s.y[u] == IGNORE;
        positions += p.s.T;
    }
    EXPECT(broken == 0);
    EXPECT_NEAR((double)positions / MANY, 375, 4);
    EXPECT_NEAR((double)masked / (double)positions, 0.036, 0.001);
    EXPECT(p.d->sample(p.d, MANY, &p.s) == ERR_ARG);
    probe_close(&p);
    o.dedup = 1;
    dataset *d;
    EXPECT(dataset_open("regbench", &o, &d) == ERR_ARG); /* more than `automata` */
    o.samples = 0;
    o.window = 100;
    EXPECT(dataset_open("regbench", &o, &d) == OK && d->longest == 100 && d->samples == 1000);
    dataset_close(d);
    o.length = 64;
    EXPECT(dataset_open("regbench", &o, &d) == ERR_ARG);
}

/* --- scores --------------------------------------------------------------------------------- */

static metrics scores(selftest *t, const data_options *o, int64_t samples, int order)
{
    metrics all = {0};
    probe p;
    if (!probe_open(t, &p, "regbench", o)) return all;
    for (int64_t i = 0; i < samples; i++) {
        EXPECT(p.d->sample(p.d, i, &p.s) == OK);
        EXPECT((order < 0 ? p.d->oracle(p.d, &p.s, p.logits)
                          : p.d->ngram(p.d, &p.s, order, p.logits)) == OK);
        EXPECT(probe_score(&p, &all) == OK);
    }
    probe_close(&p);
    return all;
}

void selftest_regbench_baselines(selftest *t)
{
    static const struct {
        int order;
        double acc, tvd, kl, tol, kl_tol;
    } rows[] = {{3, .934, .262, .631, .002, .002},
                {2, .821, .333, .770, .002, .002},
                {1, .48, .61, 1.3, .02, .1},
                {0, .110, .890, 2.31, .002, .01},
                {-1, 1, 0, 0, 0, 1e-6}};
    data_options o = data_options_default();
    o.split = SPLIT_TEST;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        metrics all = scores(t, &o, 500, rows[i].order);
        int64_t bucketed = 0;
        EXPECT_NEAR(probe_mean(&all, "acc"), rows[i].acc, rows[i].tol);
        EXPECT_NEAR(probe_mean(&all, "tvd"), rows[i].tvd, rows[i].tol + 1e-12);
        EXPECT_NEAR(probe_mean(&all, "kl"), rows[i].kl, rows[i].kl_tol);
        for (int m = 0; m < all.count; m++)
            if (strncmp(all.m[m].name, "acc_pos_", 8) == 0) bucketed += all.m[m].count;
        EXPECT(bucketed == metrics_find(&all, "acc", 1)->count);
        EXPECT(metrics_find(&all, "acc_pos_0", 1)->count == 16 * 500);
        EXPECT(metrics_find(&all, "ce", 0)->count == metrics_find(&all, "acc_masked", 1)->count);
        if (rows[i].order < 0) EXPECT_NEAR(probe_mean(&all, "ce"), 0.59, 0.01);
    }
}

static double said(const probe *p, int64_t i, char letter)
{
    return exp(p->logits[i * REGBENCH_VOCAB + letter - 'a' + 1]);
}

void selftest_regbench_example(selftest *t)
{
    static const int32_t x[] = {1, 2, 1, 3, 19}, y[] = {2, 1, 3, IGNORE, 1};
    data_options o = data_options_default();
    probe p;
    const char *folder = scratch_folder(t);
    scratch_text(t, folder, "regbench_test.txt",
                 "030100010201000202010000\tabac|a\n030100010201000202010000\taba|a\n");
    o.data = folder;
    o.split = SPLIT_TEST;
    if (probe_open(t, &p, "regbench", &o)) {
        metrics all = {0};
        EXPECT(p.d->sample(p.d, 0, &p.s) == OK && p.s.T == 5);
        EXPECT(memcmp(p.s.x, x, sizeof x) == 0 && memcmp(p.s.y, y, sizeof y) == 0);
        EXPECT(p.d->oracle(p.d, &p.s, p.logits) == OK);
        EXPECT_NEAR(said(&p, 0, 'b'), .5, 1e-15);
        EXPECT_NEAR(said(&p, 0, 'c'), .5, 1e-15);
        EXPECT_NEAR(said(&p, 1, 'a'), 1, 1e-15);
        for (int64_t i = 0; i < 5 * REGBENCH_VOCAB; i++)
            p.logits[i] = i % 20 >= 1 && i % 20 <= 3 ? 0 : -1000;
        EXPECT(probe_score(&p, &all) == OK);
        EXPECT_NEAR(probe_mean(&all, "acc"), 3.0 / 5, 1e-15);
        EXPECT_NEAR(probe_mean(&all, "acc_masked"), 2.0 / 4, 1e-15);
        EXPECT_NEAR(probe_mean(&all, "tvd"), 8.0 / 15, 1e-12);
        EXPECT_NEAR(probe_mean(&all, "kl"), 0.82135, 1e-5);
        EXPECT_NEAR(probe_mean(&all, "ce"), log(3), 1e-12);
        EXPECT(p.d->sample(p.d, 1, &p.s) == OK);
        EXPECT(p.d->ngram(p.d, &p.s, 2, p.logits) == OK);
        for (int64_t i = 2; i < 4; i++) { /* after "aba", after "aba|" */
            EXPECT_NEAR(said(&p, i, 'a'), .5, 1e-15);
            EXPECT_NEAR(said(&p, i, 'b'), .5, 1e-15);
        }
        probe_close(&p);
    }
}
