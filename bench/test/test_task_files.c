/* SPDX-License-Identifier: MIT
 *
 * test_task_files.c — the official file formats: round trips, indices, shards, damage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "scratch.h"
#include "sequence_file.h"

static const char *const names[] = {"mqmtar",   "reverse", "copy",  "sort",
                                    "flipflop", "count",   "nback", "regbench"};

static int same_sample(const sample *a, const sample *b)
{
    return a->T == b->T && a->answer == b->answer &&
           memcmp(a->x, b->x, (size_t)a->T * sizeof *a->x) == 0 &&
           memcmp(a->y, b->y, (size_t)a->T * sizeof *a->y) == 0;
}

/* Do the files in a folder give the samples that the generator gives? */
static void expect_same_samples(selftest *t, const char *task, const data_options *o,
                                const char *folder)
{
    data_options read = *o;
    probe a, b;
    int64_t differ = 0;
    read.data = folder;
    if (!probe_open(t, &a, task, o)) return;
    if (probe_open(t, &b, task, &read)) {
        EXPECT(b.d->samples == o->samples && a.d->samples == o->samples);
        EXPECT(b.d->hash != 0 && b.d->hash != a.d->hash);
        for (int64_t i = 0; i < o->samples; i++) {
            if (!probe_sample(t, &a, i) || !probe_sample(t, &b, i)) break;
            differ += !same_sample(&a.s, &b.s);
        }
        EXPECT(differ == 0);
        probe_close(&b);
    }
    probe_close(&a);
}

void selftest_task_round_trip(selftest *t)
{
    static const int splits[] = {SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST + 2};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (int i = 0; i < 3; i++) {
            const struct task *row;
            data_options o = data_options_default();
            o.samples = 40;
            o.split = strcmp(names[k], "regbench") == 0 ? splits[i] & ~0xff : splits[i];
            EXPECT(task_find(names[k], &row) == OK);
            const char *folder = scratch_folder(t);
            EXPECT(row->write(row, &o, folder) == OK);
            expect_same_samples(t, names[k], &o, folder);
        }
}

/* Two samples of the authors' own generator, written by it. */
static const char official_src[] =
    "205 143 1 133 225 0 0 0 0 0 54 149 1 31 223 0 0 14 256 1 13 85 0 0 167 195 1 112 76 0 0 0 0 0 "
    "246 48 1 116 216 0 0 176 204 1 119 49 0 0 0 49 50 1 23 189 0 0 0 128 81 1 233 221 0 0 2 128 "
    "81 2 49 50 2 54 149 2 49 50\n"
    "0 5 9 1 4 4 0 0 7 3 1 8 6 0 0 0 2 7 3\n";
static const char official_trg[] = "2 233 221 2 23 189 2 31 223 2 23 189\n2 8 6\n";

void selftest_task_official(selftest *t)
{
    data_options o = data_options_default();
    probe p;
    const char *folder = scratch_folder(t);
    scratch_text(t, folder, "test_0_64.src", official_src);
    scratch_text(t, folder, "test_0_64.trg", official_trg);
    o.data = folder;
    o.split = SPLIT_TEST;
    o.length = 64;
    if (probe_open(t, &p, "mqmtar", &o)) {
        metrics all = {0};
        EXPECT(p.d->samples == 2);
        for (int i = 0; i < 2 && probe_sample(t, &p, i); i++) {
            EXPECT(p.d->oracle(p.d, &p.s, p.logits) == OK);
            EXPECT(probe_score(&p, &all) == OK);
        }
        EXPECT(probe_mean(&all, "assoc") == 1 && probe_mean(&all, "exact") == 1);
        /* The worked example: n = 25, T = 24, targets 2 8 6 261 at 20..23. */
        EXPECT(p.s.T == 24 && p.s.x[0] == 259 && p.s.x[20] == 260 && p.s.answer == 20);
        EXPECT(p.s.y[19] == IGNORE && p.s.y[20] == 2 && p.s.y[21] == 8 && p.s.y[22] == 6);
        EXPECT(p.s.y[23] == 261);
        probe_say(&p, 22, 5);
        all = (metrics){0};
        EXPECT(probe_score(&p, &all) == OK);
        EXPECT(probe_mean(&all, "assoc") == 0 && probe_mean(&all, "exact") == 0);
        EXPECT(probe_mean(&all, "letter_acc") == 0.5);
        probe_close(&p);
    }
}

/* One written sample: expected x, y, and scores when one answer is wrong. */
static void example(selftest *t, const char *task, const char *src, const char *trg,
                    const int32_t *x, const int32_t *y, int64_t T)
{
    data_options o = data_options_default();
    probe p;
    const char *folder = scratch_folder(t);
    scratch_text(t, folder, "train.src", src);
    scratch_text(t, folder, "train.trg", trg);
    o.data = folder;
    if (probe_open(t, &p, task, &o)) {
        EXPECT(probe_sample(t, &p, 0) && p.s.T == T);
        EXPECT(memcmp(p.s.x, x, (size_t)T * sizeof *x) == 0);
        EXPECT(memcmp(p.s.y, y, (size_t)T * sizeof *y) == 0);
        metrics all = {0};
        EXPECT(p.d->oracle(p.d, &p.s, p.logits) == OK);
        EXPECT(probe_score(&p, &all) == OK && probe_mean(&all, "exact") == 1);
        if (strcmp(task, "reverse") == 0) {
            metrics wrong = {0};
            probe_say(&p, 8, 0);
            EXPECT(probe_score(&p, &wrong) == OK);
            EXPECT(probe_mean(&wrong, "token_acc") == .75 && probe_mean(&wrong, "exact") == 0);
        }
        probe_close(&p);
    }
}

#define EXAMPLE(task, src, trg, T, ...)                                                            \
    do {                                                                                           \
        static const int32_t xy[2][T] = {__VA_ARGS__};                                             \
        example(t, task, src, trg, xy[0], xy[1], T);                                               \
    } while (0)

void selftest_task_examples(selftest *t)
{
    EXAMPLE("reverse", "3 1 2 1\n", "1 2 1 3\n", 10, {32, 3, 1, 2, 1, 33, 1, 2, 1, 3},
            {-1, -1, -1, -1, -1, 1, 2, 1, 3, 34});
    EXAMPLE("copy", "3 1 2 1 \r\n", "3 1 2 1\n", 10, {32, 3, 1, 2, 1, 33, 3, 1, 2, 1},
            {-1, -1, -1, -1, -1, 3, 1, 2, 1, 34});
    EXAMPLE("sort", "3 1 2 1\n", "1 1 2 3\n", 10, {32, 3, 1, 2, 1, 33, 1, 1, 2, 3},
            {-1, -1, -1, -1, -1, 1, 1, 2, 3, 34});
    EXAMPLE("flipflop", "2 1 3 0 4\n", "1\n", 7, {5, 2, 1, 3, 0, 4, 1}, {-1, -1, -1, -1, -1, 1, 7});
    EXAMPLE("count", "5 5 5 9 9\n", "0 1 2 0 1\n", 7, {48, 5, 5, 5, 9, 9, 50},
            {-1, 0, 1, 2, 0, 1, -1});
    EXAMPLE("nback", "0 4 5 7 9\n", "0 0 0 4 5\n", 7, {16, 0, 4, 5, 7, 9, 18},
            {-1, 0, 0, 0, 4, 5, -1});
}

/* Files of unequal length: the lines they share. */
void selftest_task_unequal(selftest *t)
{
    data_options o = data_options_default();
    dataset *d;
    const char *folder = scratch_folder(t);
    scratch_text(t, folder, "train.src", "3 1\n2\n4 4\n");
    scratch_text(t, folder, "train.trg", "1 3\n2\n");
    o.data = folder;
    EXPECT(dataset_open("sort", &o, &d) == OK && d->samples == 2 && d->longest == 6);
    dataset_close(d);
    o.samples = 1;
    EXPECT(dataset_open("sort", &o, &d) == OK && d->samples == 1);
    dataset_close(d);
}

/* --- indices and shards --------------------------------------------------------------------- */

void selftest_task_index(selftest *t)
{
    static const char text[] = "1 2\n\n3\n";
    const uint64_t sound[] = {0, 4, 5}, first[] = {1, 4, 5}, order[] = {0, 5, 4},
                   past[] = {0, 4, 7};
    const uint64_t middle[] = {0, 2, 5};
    lines l;
    EXPECT(lines_from("x", text, 7, sound, sizeof sound, &l) == OK && l.start == sound);
    EXPECT(l.count == 3);
    lines_close(&l);
    const void *bad[] = {first, order, past, middle};
    for (int i = 0; i < 5; i++) {
        size_t bytes = i < 4 ? sizeof sound : 23;
        EXPECT(lines_from("x", text, 7, i < 4 ? bad[i] : sound, bytes, &l) == OK);
        EXPECT(l.start == l.built && l.count == 3 && l.start[1] == 4 && l.start[2] == 5);
        lines_close(&l);
    }
    int32_t ids[2];
    int64_t count;
    EXPECT(lines_from("x", text, 7, NULL, 0, &l) == OK);
    EXPECT(lines_ids(&l, 0, 3, ids, 2, &count) == OK && count == 2 && ids[0] == 1 && ids[1] == 2);
    EXPECT(lines_ids(&l, 1, 3, ids, 2, &count) == OK && count == 0);
    EXPECT(lines_ids(&l, 2, 3, ids, 2, &count) == ERR_DATA);
    EXPECT(strstr(last_error(), "x: line 3: item 1") != NULL);
    lines_close(&l);
}

void selftest_task_shards(selftest *t)
{
    static const char *const stems[] = {"test_10_65536", "test_2_256", "test_1_128",
                                        "test_1_96",     "train",      "test_x_5"};
    char name[96], path[PATH_ROOM];
    shard *list;
    int count;
    const char *folder = scratch_folder(t);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 2; j++) {
            snprintf(name, sizeof name, "%s.%s", stems[i], j ? "trg" : "src");
            scratch_text(t, folder, name, "0\n");
        }
    EXPECT(shards_find(folder, SPLIT_TEST, &list, &count) == OK && count == 4);
    if (count == 4) {
        EXPECT(list[0].length == 96 && list[1].length == 128 && list[2].number == 2);
        EXPECT(list[3].number == 10 && list[3].length == 65536);
    }
    free(list);
    EXPECT(shard_path(folder, SPLIT_TEST + 9, 256, path) == OK && strstr(path, "/test_2_256"));
    EXPECT(shard_path(folder, SPLIT_TEST + 10, 0, path) == OK && strstr(path, "/test_10_65536"));
    EXPECT(shard_path(folder, SPLIT_TRAIN, 0, path) == OK && strstr(path, "/train"));
    EXPECT(shard_path(folder, SPLIT_TEST, 512, path) == ERR_FILE);
    EXPECT(strstr(last_error(), "found lengths 96 128 256 65536") != NULL);
    EXPECT(shard_path(folder, SPLIT_VALIDATION, 64, path) == ERR_FILE);
    EXPECT(unlink(scratch_path(t, folder, "test_2_256.trg")) == 0);
    EXPECT(shard_path(folder, SPLIT_TEST, 128, path) == ERR_FILE);
    EXPECT(strstr(last_error(), "test_2_256.trg") != NULL);
}

/* --- damage --------------------------------------------------------------------------------- */

static void expect_named(selftest *t, const char *task, const char *src, const char *trg,
                         const char *place)
{
    data_options o = data_options_default();
    dataset *d;
    const char *folder = scratch_folder(t);
    scratch_text(t, folder, strcmp(task, "regbench") ? "train.src" : "regbench_train.txt", src);
    scratch_text(t, folder, "train.trg", trg);
    o.data = folder;
    EXPECT(dataset_open(task, &o, &d) == ERR_DATA && d == NULL);
    int named = strstr(last_error(), place) != NULL && strchr(last_error(), '\n') == NULL;
    EXPECT(named);
    if (!named) fprintf(stderr, "got \"%s\", wanted \"%s\"\n", last_error(), place);
}

void selftest_task_damage(selftest *t)
{
    expect_named(t, "sort", "", "1\n", "train.src: line 1: the file is empty");
    expect_named(t, "sort", "1 2\n3", "1 2\n3\n", "train.src: line 2: expected a line end");
    expect_named(t, "sort", "1 2\n32\n", "1 2\n3\n",
                 "train.src: line 2: item 1: expected an id 0..31");
    expect_named(t, "sort", "1 2\n3\n", "1 2\n3 99999999999\n", "train.trg: line 2: item 2");
    expect_named(t, "sort", "1  2\n", "1 2\n", "train.src: line 1: item 2");
    expect_named(t, "sort", "1 -2\n", "1 2\n", "train.src: line 1: item 2");
    expect_named(t, "sort", "1 2x\n", "1 2\n", "train.src: line 1: item 2");
    expect_named(t, "sort", "1 2\n", "1\n", "train.trg: line 1: 1 ids for a source of 2");
    expect_named(t, "mqmtar", "1 2\n", "2 3\n", "train.trg: line 1");
    expect_named(t, "flipflop", "2 1 3\n", "2\n", "train.trg: line 1: item 1: expected an id 0..1");
    static const char form[] = "010100000";
    expect_named(t, "regbench", "01010000\ta|a\n01010000 aa\n", "", "regbench_train.txt: line 2");
    expect_named(t, "regbench", form, "", "line 1: expected a line end");
    expect_named(t, "regbench", "010100000\taa\n", "", "line 1: expected an even number");
    expect_named(t, "regbench", "01010g00\taa\n", "", "line 1: expected hex digits");
    expect_named(t, "regbench", "0d010000\taa\n", "",
                 "line 1: expected an automaton of 1..12 states");
    expect_named(t, "regbench", "0104\taa\n", "", "line 1: expected an out-degree 1..3");
    expect_named(t, "regbench", "01010001\taa\n", "", "line 1: expected transitions");
    expect_named(t, "regbench", "0101000000\taa\n", "", "line 1: expected nothing after");
    expect_named(t, "regbench", "01010000\tab\n", "",
                 "line 1: expected strings that the automaton");
    expect_named(t, "regbench", "01010000\ta||a\n", "", "line 1: expected letters on both sides");
    expect_named(t, "regbench", "01010000\taa|\n", "", "line 1: expected a letter at the end");
    expect_named(t, "regbench", "01010000\ta\n", "", "line 1: expected a sequence of at least two");
    /* Nowhere to write: an error, and nothing is left behind. */
    const struct task *row;
    data_options o = data_options_default();
    o.samples = 2;
    EXPECT(task_find("sort", &row) == OK);
    const char *folder = scratch_folder(t);
    const char *taken = scratch_text(t, folder, "taken", "");
    EXPECT(row->write(row, &o, taken) == ERR_FILE);
    EXPECT(row->write(row, &o, scratch_path(t, folder, "taken/below")) == ERR_FILE);
    o.data = folder;
    dataset *d;
    EXPECT(dataset_open("sort", &o, &d) == ERR_FILE && strstr(last_error(), "expected train.src"));
}
