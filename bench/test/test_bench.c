/* SPDX-License-Identifier: MIT
 *
 * test_bench.c — the grammar of the command line and result files: what the harness promises
 * whatever it measures.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mosaic.h"
#include "store/results.h"
#include "bytes.h"
#include "scratch.h"
#include "verb.h"

static int parses(const char *verb, const char *word)
{
    char *copy = strdup(word);
    words *w;
    int good = words_parse(verb, 1, &copy, &w) == OK;
    words_free(w);
    free(copy);
    return good;
}

void selftest_words(selftest *t)
{
    char *text[] = {"n=256..2048:x2,7", "alpha=4/3,1.5,1.25..1.75:+0.25", "op=softmax,entmax",
                    "k=1..3"};
    words *w;
    EXPECT(words_parse("time", 4, text, &w) == OK);
    if (!w) return;
    EXPECT(word_count(w, "n") == 5 && word_int_at(w, "n", 3) == 2048 &&
           word_int_at(w, "n", 4) == 7);
    EXPECT(word_count(w, "alpha") == 5);
    EXPECT_NEAR(word_real_at(w, "alpha", 0), 4.0 / 3, 1e-15);
    EXPECT_NEAR(word_real_at(w, "alpha", 4), 1.75, 1e-12);
    EXPECT(word_count(w, "op") == 2 && strcmp(word_text_at(w, "op", 1), "entmax") == 0);
    EXPECT(word_count(w, "k") == 3 && word_int_at(w, "k", 2) == 3);
    EXPECT(!word_given(w, "seed") && word_int(w, "seed") == 7);
    char *typed = words_canonical(w, "k seed");
    EXPECT(typed && strcmp(typed, "time op=softmax,entmax n=256..2048:x2,7 "
                                  "alpha=4/3,1.5,1.25..1.75:+0.25") == 0);
    free(typed);
    words_free(w);

    char *said[] = {"prompt=it's a $b\n|", "temperature=0", "from=a.h5"};
    EXPECT(words_parse("sample", 3, said, &w) == OK);
    typed = w ? words_canonical(w, "from") : NULL;
    EXPECT(typed && strcmp(typed, "sample prompt='it'\\''s a $b\n|' temperature=0") == 0);
    free(typed);
    words_free(w);

    char *run[] = {"steps=3", "threads=2", "out=a.h5", "task=copy"};
    EXPECT(words_parse("train", 4, run, &w) == OK);
    char *key = w ? words_key(w) : NULL;
    EXPECT(key && strcmp(key, "train task=copy steps=3") == 0);
    free(key);
    words_free(w);

    static const char *const wrong[] = {"alpha=1",   "alpha=0.5",
                                        "alpha=nan", "alpha=1e999",
                                        "alpha=",    "alpha=1.5,,2",
                                        "n=0",       "n=-3",
                                        "n=1.5",     "n=9..3",
                                        "n=1..9:x1", "n=1..9:y2",
                                        "n=1..9:+0", "n=..4",
                                        "k=0",       "beta=0",
                                        "beta=-1",   "beta=nan",
                                        "beta=4/0",  "seed=-1",
                                        "samples=2", "n=99999999999999999999",
                                        "speed=3",   "alpha=1.5x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int good = parses("time", wrong[i]);
        if (good) fprintf(stderr, "accepted: %s\n", wrong[i]);
        EXPECT(!good);
    }
    EXPECT(parses("time", "alpha=2") && parses("train", "dropout=0") &&
           !parses("train", "dropout=1"));
    EXPECT(!parses("train", "steps=0") && !parses("info", "bare"));
    const char *names[] = {"softmax", "sparsemax"};
    EXPECT(strcmp(nearest_name("sofmax", names, 2), "softmax") == 0);
    EXPECT(nearest_name("zzz", names, 2) == NULL);
    EXPECT(fail_unknown("op", "zzz", names, 2, "a name") == ERR_ARG);
    EXPECT(strcmp(last_error(), "op \"zzz\": expected a name") == 0);
}

/* What the values of a key come from is said once, in verbs.def, and holds for every verb. */
void selftest_word_choices(selftest *t)
{
    static const char *const wrong[] = {"op=softmx",  "op=",        "impl=refs", "type=f33",
                                        "type=f32,x", "input=gaus", "op=of ops", "type=|"};
    words *w;
    for (int i = 0; i < 2; i++) {
        const char *verb = i ? "time" : "check";
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
            EXPECT(!parses(verb, wrong[k]));
        char *text[] = {"type=all", "impl=kernels,ref", "input=all", "op=all"};
        EXPECT(words_parse(verb, 4, text, &w) == OK);
        if (!w) continue;
        EXPECT(word_count(w, "type") == 3 && word_chooses(w, "type", "bf16"));
        EXPECT(word_count(w, "impl") == 2 && !word_chooses(w, "impl", "rows"));
        for (int k = 0; list_name("ops", k); k++)
            EXPECT(word_chooses(w, "op", list_name("ops", k)));
        for (int k = 0; list_name("inputs", k); k++)
            EXPECT(word_chooses(w, "input", list_name("inputs", k)));
        EXPECT(!word_chooses(w, "op", "all"));
        words_free(w);
    }
    char *methods[] = {"method=all,entmax:1.25"};
    EXPECT(words_parse("train", 1, methods, &w) == OK);
    if (w) {
        const int64_t last = word_count(w, "method") - 1;
        EXPECT(strcmp(word_text_at(w, "method", 0), list_name("methods", 0)) == 0);
        EXPECT(!list_name("methods", (int)last) &&
               strcmp(word_text_at(w, "method", last), "entmax:1.25") == 0);
        words_free(w);
    }
    EXPECT(!parses("train", "method=entmax:1") && !parses("train", "arch=all"));
    EXPECT(parses("eval", "task=") && !parses("train", "task="));
    for (int i = 0; list_name("lists", i); i++)
        EXPECT(list_name(list_name("lists", i), 0) != NULL);
    EXPECT(list_name("no_such_list", 0) == NULL);
}

/* One grammar for every number that is typed: words, methods, switches. */
void selftest_number_grammar(selftest *t)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {{"3", 3},      {"-0.5", -0.5}, {"1e-3", 1e-3}, {"4/3", 4.0 / 3},
                {".25", 0.25}, {"2.", 2},      {"0", 0},       {"-1/-4", 0.25}};
    static const char *const bad[] = {"",    "+1",    " 1",  "1 ",   "0x2", "inf",  "nan", "1e999",
                                      "4/0", "4/3/2", "1..", "1e9x", "-",   "1/ 2", ".",   "1,5"};
    double x = 7;
    int64_t n = 7;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        EXPECT(parse_real(good[i].text, &x) && x == good[i].value);
    EXPECT(parse_real("e", &x));
    EXPECT_NEAR(x, exp(1), 0);
    x = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT(!parse_real(bad[i], &x) && x == 7 && !parse_integer(bad[i], &n) && n == 7);
    EXPECT(parse_integer("-12", &n) && n == -12);
    n = 7;
    EXPECT(!parse_integer("1.0", &n) && !parse_integer("1e3", &n) && n == 7);
    EXPECT(!parse_integer("99999999999999999999", &n) && n == 7);
    mosaic_config c = config_default();
    EXPECT(config_set(&c, "kappa_init", "1/4") == OK && c.kappa_init == 0.25);
    EXPECT(config_set(&c, "kappa_init", "0x1") == ERR_ARG);
    EXPECT(config_set(&c, "banks", " 2") == ERR_ARG && config_set(&c, "banks", "3") == OK);
}

static words *some_words(void)
{
    char *text[] = {"op=softmax", "n=16"};
    words *w;
    words_parse("time", 2, text, &w);
    return w;
}

/* saved: after each row too. */
static status write_saved(const char *path, int saved)
{
    words *w = some_words();
    results *r;
    status s = results_create(&r, path, w);
    const double samples[] = {3, 1, 2};
    for (int i = 0; s == OK && i < 3; i++) {
        time_row row = {.op = "softmax",
                        .impl = "ref",
                        .n = 16 << i,
                        .alpha = NAN,
                        .samples = i,
                        .median = i + 0.5};
        s = results_append(r, TIME, &row);
        if (s == OK) s = results_samples(r, RAW_TIMES, samples, i);
        if (s == OK && saved) s = results_save(r, 1);
    }
    if (s == OK) s = results_attribute_number(r, "rate", 0.1);
    words_free(w);
    status closed = results_close(r, s == OK);
    return s != OK ? s : closed;
}

static status write_sample(const char *path)
{
    return write_saved(path, 0);
}

static status verify(const char *path)
{
    stored *f;
    status s = stored_open(path, &f);
    stored_close(f);
    return s;
}

void selftest_results(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *path = scratch_path(t, folder, "a.h5");
    EXPECT(write_sample(path) == OK);
    void *rows = NULL;
    int64_t count = 0, sample_rows, width;
    double *samples = NULL;
    char text[256];
    stored *f;
    EXPECT(stored_open(path, &f) == OK);
    if (!f) return;
    EXPECT(stored_rows(f, TIME, &rows, &count) == OK && count == 3);
    if (count == 3) {
        const time_row *row = rows;
        EXPECT(row[2].n == 64 && row[2].median == 2.5 && isnan(row[0].alpha));
        EXPECT(strcmp(row[1].op, "softmax") == 0);
    }
    free(rows);
    EXPECT(stored_rows(f, EVAL, &rows, &count) == OK && count == 0);
    free(rows);
    EXPECT(stored_samples(f, RAW_TIMES, &samples, &sample_rows, &width) == OK);
    EXPECT(sample_rows == 3 && width == 2);
    if (samples)
        EXPECT(samples[4] == 3 && samples[5] == 1 && isnan(samples[0]) && isnan(samples[3]));
    free(samples);
    EXPECT(stored_text(f, "command", text, sizeof text) == OK);
    EXPECT(strcmp(text, "time op=softmax n=16") == 0);
    EXPECT(stored_text(f, "none", text, sizeof text) == OK && *text == '\0');
    EXPECT(stored_number(f, "rate") == 0.1 && isnan(stored_number(f, "command")));
    EXPECT(stored_text(f, "rate", text, sizeof text) == OK &&
           strcmp(text, "0.10000000000000001") == 0);
    stored_close(f);

    /* Cut or changed anywhere, the file is refused with one line, never read. */
    bytes whole = {0};
    EXPECT(file_read(path, 0, &whole) == OK && whole.count > 1000);
    const size_t size = whole.count;
    for (size_t cut = 0; cut < size; cut += size / 40 + 1) {
        scratch_put(t, folder, "a.h5", whole.v, cut);
        EXPECT(verify(path) == ERR_DATA && strchr(last_error(), '\n') == NULL);
    }
    for (size_t i = 0; i < size; i += size / 60 + 1) {
        whole.v[i] ^= 0x41;
        scratch_put(t, folder, "a.h5", whole.v, size);
        whole.v[i] ^= 0x41;
        /* Bytes 40..511 of the seal's block are padding that says nothing. */
        EXPECT((i >= 40 && i < 512) || verify(path) == ERR_DATA);
    }
    scratch_put(t, folder, "a.h5", whole.v, size);
    EXPECT(verify(path) == OK);
    free(whole.v);
    EXPECT(write_sample("/nonexistent/x.h5") == ERR_FILE);
    EXPECT(verify("/nonexistent/x.h5") == ERR_FILE);
}

/* A row and its raw samples, `rows` times; the samples stand around the median. */
static status write_times(const char *path, double first, int rows)
{
    words *w = some_words();
    results *r;
    status s = results_create(&r, path, w);
    for (int i = 0; s == OK && i < rows; i++) {
        time_row row = {.op = "softmax", .impl = "ref", .samples = 2, .median = first + i};
        const double samples[] = {row.median - 0.25, row.median + 0.25};
        s = results_append(r, TIME, &row);
        if (s == OK) s = results_samples(r, RAW_TIMES, samples, 2);
    }
    words_free(w);
    const status closed = results_close(r, s == OK);
    return s != OK ? s : closed;
}

/* Every row of every file, in order, each beside its own samples. */
void selftest_merge(selftest *t)
{
    const char *folder = scratch_folder(t), *path[3], *out = scratch_path(t, folder, "all.h5");
    void *rows = NULL;
    double *samples = NULL;
    int64_t count = 0, sample_rows = 0, width = 0;
    stored *f;
    words *w = some_words();
    for (int i = 0; i < 3; i++) {
        path[i] = scratch_path(t, folder, (const char *[]){"c.h5", "a.h5", "b.h5"}[i]);
        EXPECT(write_times(path[i], 10 * i, 1 + i) == OK);
    }
    EXPECT(results_merge(path, 3, out, w) == OK);
    EXPECT(stored_open(out, &f) == OK && stored_rows(f, TIME, &rows, &count) == OK && count == 6);
    EXPECT(f && stored_samples(f, RAW_TIMES, &samples, &sample_rows, &width) == OK);
    stored_close(f);
    EXPECT(sample_rows == 6 && width == 2);
    for (int64_t i = 0; i < count && count == sample_rows && width == 2; i++) {
        const double median = ((const time_row *)rows)[i].median;
        EXPECT(median == (i < 1 ? 0 : i < 3 ? 10 + i - 1 : 20 + i - 3));
        EXPECT(samples[2 * i] == median - 0.25 && samples[2 * i + 1] == median + 0.25);
    }
    free(rows);
    free(samples);
    EXPECT(write_times(path[1], 0, 0) == OK && results_merge(path, 3, path[0], w) == OK);
    EXPECT(stored_open(path[0], &f) == OK && stored_rows(f, TIME, &rows, &count) == OK);
    EXPECT(count == 4);
    stored_close(f);
    free(rows);
    words_free(w);
}

/* More values than are checked before the repetition (adamw), or drawn (all). */
void selftest_time_large(selftest *t)
{
    char *text[] = {"op=adamw,dropout,global_norm",
                    "impl=ref",
                    "n=1024",
                    "elements=5000000",
                    "samples=3",
                    "out="};
    char out[4096];
    words *w = NULL;
    void *rows = NULL;
    int64_t count = 0;
    const char *folder = scratch_folder(t);
    const char *path = scratch_path(t, folder, "a.h5");
    snprintf(out, sizeof out, "out=%s", path);
    text[5] = out;
    EXPECT(words_parse("time", 6, text, &w) == OK && verb_time(w) == EXIT_GOOD);
    words_free(w);
    stored *f;
    EXPECT(stored_open(path, &f) == OK && stored_rows(f, TIME, &rows, &count) == OK && count == 3);
    for (int64_t i = 0; i < count; i++) {
        const time_row *row = (const time_row *)rows + i;
        selftest_expect(t, strcmp(row->verdict, "PASS") == 0 && row->median > 0, row->op, (int)i,
                        row->verdict);
    }
    free(rows);
    stored_close(f);
}

/* Rows of a file; -1 if it cannot be read. */
static int64_t rows_in(const char *path, int *finished)
{
    void *rows = NULL;
    int64_t count = -1;
    stored *f;
    if (stored_open(path, &f) != OK) return -1;
    *finished = stored_finished(f);
    if (stored_rows(f, TIME, &rows, &count) != OK) count = -1;
    stored_close(f);
    free(rows);
    return count;
}

void selftest_results_grow(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *path = scratch_path(t, folder, "a.h5"), *all = scratch_path(t, folder, "all.h5");
    const char *const files[] = {scratch_path(t, folder, "old.h5"), path};
    const double samples[] = {3, 1, 2};
    words *w = some_words();
    time_row row = {.op = "softmax", .impl = "ref"};
    results *r;
    int finished = -1;
    EXPECT(write_sample(files[0]) == OK && rows_in(files[0], &finished) == 3 && finished);
    EXPECT(results_create(&r, path, w) == OK && access(path, F_OK) != 0);
    for (int i = 0; i < 5; i++) {
        EXPECT(results_append(r, TIME, &row) == OK &&
               results_samples(r, RAW_TIMES, samples, 3) == OK);
        EXPECT(results_save(r, i % 2) == OK);
        EXPECT(rows_in(path, &finished) == i + 1 && !finished);
    }
    EXPECT(results_merge(files, 2, all, w) == OK && rows_in(all, &finished) == 8 && !finished);
    EXPECT(results_close(r, 0) == OK && rows_in(path, &finished) == 5 && !finished);

    /* Not over what another left, unless it is meant. */
    EXPECT(results_create(&r, files[0], w) == OK && results_save(r, 0) == OK);
    EXPECT(rows_in(files[0], &finished) == 3 && finished);
    EXPECT(results_save(r, 1) == OK && rows_in(files[0], &finished) == 0 && !finished);
    EXPECT(results_close(r, 1) == OK && rows_in(files[0], &finished) == 0 && finished);
    words_free(w);
}

/* Equal content at an equal time is equal bytes, however often it was saved on the way. */
void selftest_results_bytes(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *a = scratch_path(t, folder, "a.h5"), *b = scratch_path(t, folder, "b.h5");
    bytes of_a = {0}, of_b = {0};
    char date[64] = "";
    setenv("SOURCE_DATE_EPOCH", "1000000000", 1);
    EXPECT(write_sample(a) == OK && write_saved(b, 1) == OK);
    unsetenv("SOURCE_DATE_EPOCH");
    EXPECT(file_read(a, 0, &of_a) == OK && file_read(b, 0, &of_b) == OK);
    EXPECT(of_a.count > 1000 && of_a.count == of_b.count &&
           memcmp(of_a.v, of_b.v, of_a.count) == 0);
    stored *f;
    EXPECT(stored_open(a, &f) == OK && stored_text(f, "created", date, sizeof date) == OK);
    stored_close(f);
    EXPECT(strcmp(date, "2001-09-09T01:46:40Z") == 0);
    free(of_a.v);
    free(of_b.v);
}

/* Every row of switches.def is a switch, and its default is one of its values. */
void selftest_switches(selftest *t)
{
    mosaic_config c = config_default();
    int rows = 0;
#define SWITCH(name, value, values, about)                                                         \
    EXPECT(config_set(&c, #name, #value) == OK);                                                   \
    rows++;
#include "switches.def"
#undef SWITCH
    mosaic_config fresh = config_default();
    EXPECT(rows > 20 && memcmp(&c.kappa_init, &fresh.kappa_init,
                               sizeof c - offsetof(mosaic_config, kappa_init)) == 0);
    EXPECT(config_set(&c, "no_such_switch", "1") == ERR_ARG);
    EXPECT(config_set(&c, "bias", "maybe") == ERR_ARG);
}

/* A group may have no limit, and one above it may; both versions say it their way. */
void selftest_cores(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *outer = scratch_path(t, folder, "a"), *inner = scratch_path(t, folder, "a/b");
    EXPECT(mkdir(outer, 0777) == 0 && mkdir(inner, 0777) == 0);
    EXPECT(threads_quota(folder, "") == INT_MAX && threads_quota(folder, "/a/b") == INT_MAX);
    scratch_text(t, inner, "cpu.max", "max 100000\n");
    EXPECT(threads_quota(folder, "/a/b") == INT_MAX);
    scratch_text(t, outer, "cpu.max", "350000 100000\n");
    EXPECT(threads_quota(folder, "/a/b") == 4 && threads_quota(folder, "/a") == 4);
    EXPECT(threads_quota(folder, "") == INT_MAX && threads_quota(folder, "/a/b/gone") == 4);
    scratch_text(t, folder, "cpu.cfs_quota_us", "-1\n");
    scratch_text(t, folder, "cpu.cfs_period_us", "100000\n");
    EXPECT(threads_quota(folder, "") == INT_MAX);
    scratch_text(t, folder, "cpu.cfs_quota_us", "150000\n");
    EXPECT(threads_quota(folder, "") == 2 && threads_quota(folder, "/a/b") == 2);
    EXPECT(threads_cores() >= 1);
}
