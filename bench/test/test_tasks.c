/* SPDX-License-Identifier: MIT
 *
 * test_tasks.c — the sequence tasks: golden lines, rules that every sample obeys, oracles, and
 * scores where theory knows them (spec of the tasks, sections 2, 3, 7, 8).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "probe.h"
#include "rng.h"
#include "worse.h"

enum { MANY = 10000 };

static const char *const sequence_tasks[] = {"mqmtar",   "reverse", "copy", "sort",
                                             "flipflop", "count",   "nback"};
enum { SEQUENCE_TASKS = sizeof sequence_tasks / sizeof *sequence_tasks };

static uint64_t hash_line(uint64_t hash, const int32_t *ids, int64_t count)
{
    char text[16];
    for (int64_t i = 0; i < count; i++) {
        int n = snprintf(text, sizeof text, i + 1 < count ? "%d " : "%d", ids[i]);
        hash = fnv1a(hash, text, (size_t)n);
    }
    return fnv1a(hash, "\n", 1);
}

void selftest_task_golden(selftest *t)
{
    static const struct {
        const char *task;
        int split;
        double p;
        uint64_t src, trg;
    } rows[] = {
        {"mqmtar", SPLIT_TEST, 0, 0x0ee1cb81dbd3f42a, 0x6c9619e2c20c1732},
        {"mqmtar", SPLIT_TRAIN, 0, 0x2b9959f19f5d9301, 0x6810a3c6d8e3adb9},
        {"reverse", SPLIT_TRAIN, 0, 0xdc14de93f9cf1f58, 0x9a0488c9c0f5078a},
        {"copy", SPLIT_TRAIN, 0, 0x4af263f1c51497da, 0x4af263f1c51497da},
        {"sort", SPLIT_TRAIN, 0, 0xf80ff8f365664f13, 0x5db6f7d465107595},
        {"flipflop", SPLIT_TRAIN, 0.8, 0x6903797535ee969d, 0x149aae62368e086c},
        {"count", SPLIT_TRAIN, 0, 0x759d07023dee2223, 0xe6692529912465f0},
        {"nback", SPLIT_TRAIN, 0, 0xaee28d5b725327f5, 0xb59a6821d6fedfd4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        data_options o = data_options_default();
        probe p;
        uint64_t src = FNV_OFFSET, trg = FNV_OFFSET;
        o.split = rows[i].split;
        o.flip_p = rows[i].p;
        if (!probe_open(t, &p, rows[i].task, &o)) continue;
        for (int j = 0; j < 100 && probe_sample(t, &p, j); j++) {
            src = hash_line(src, p.src, p.S);
            trg = hash_line(trg, p.trg, p.R);
        }
        EXPECT(src == rows[i].src);
        EXPECT(trg == rows[i].trg);
        probe_close(&p);
    }
}

/* --- rules of the samples ------------------------------------------------------------------- */

/* The pairs of one source: n slots of w tokens; 0 if a slot is malformed. */
static int read_slots(const probe *p, int64_t *n, int64_t *w, int32_t key[][2], int32_t value[][2])
{
    int64_t body = p->S - 12;
    *n = 0;
    for (int64_t i = 0; i < body; i++)
        *n += p->src[i] == 1;
    if (*n == 0 || *n > 16 || body % *n) return 0;
    *w = body / *n;
    for (int64_t j = 0; j < *n; j++) {
        const int32_t *slot = p->src + j * *w;
        int64_t i = 0;
        while (i < *w && slot[i] == 0)
            i++;
        if (i + 6 > *w || slot[i + 2] != 1) return 0;
        for (int k = 0; k < 2; k++) {
            key[j][k] = slot[i + k];
            value[j][k] = slot[i + 3 + k];
            if (key[j][k] < 3 || key[j][k] > 258 || value[j][k] < 3 || value[j][k] > 258) return 0;
        }
        for (i += 5; i < *w; i++)
            if (slot[i] != 0) return 0;
    }
    return 1;
}

static int distinct_words(int32_t word[][2], int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            if (word[i][0] == word[j][0] && word[i][1] == word[j][1]) return 0;
    return 1;
}

static int mqmtar_rules(const probe *p)
{
    int32_t key[16][2], value[16][2];
    int64_t n, w, marks = 0;
    if (p->R != 12 || !read_slots(p, &n, &w, key, value)) return 0;
    if (n < 4 || n > 8 || w < 7 || w > 9) return 0;
    if (!distinct_words(key, n) || !distinct_words(value, n)) return 0;
    for (int64_t i = 0; i < p->S; i++)
        marks += p->src[i] == 2;
    if (marks != 4) return 0;
    for (int64_t q = 0; q < 4; q++) {
        const int32_t *query = p->src + n * w + 3 * q, *answer = p->trg + 3 * q;
        int64_t at = -1, times = 0;
        for (int64_t j = 0; j < n; j++)
            if (key[j][0] == query[1] && key[j][1] == query[2]) at = j;
        for (int64_t i = 0; i + 2 < n * w; i++)
            times += p->src[i] == query[1] && p->src[i + 1] == query[2] && p->src[i + 2] == 1;
        if (query[0] != 2 || at < 0 || times != 1 || answer[0] != 2) return 0;
        if (answer[1] != value[at][0] || answer[2] != value[at][1]) return 0;
    }
    return 1;
}

static int length_rules(const probe *p, int64_t least, int64_t most)
{
    if (p->S < least || p->S > most || p->R != p->S) return 0;
    for (int64_t i = 0; i < p->S; i++)
        if (p->src[i] < 0 || p->src[i] > 31) return 0;
    /* One SEP, at x[S+1], and the loss on R + 1 positions from there on. */
    int64_t scored = 0, sep = 0;
    for (int64_t i = 0; i < p->s.T; i++) {
        scored += p->s.y[i] != IGNORE;
        sep += p->s.x[i] == 33;
    }
    return sep == 1 && p->s.x[p->S + 1] == 33 && p->first == p->S + 1 && scored == p->R + 1 &&
           p->s.T == 2 * p->S + 2 && p->s.answer == p->first;
}

static int reverse_rules(const probe *p)
{
    for (int64_t i = 0; i < p->R; i++)
        if (p->trg[i] != p->src[p->S - 1 - i]) return 0;
    return length_rules(p, 32, 64);
}

static int copy_rules(const probe *p)
{
    return length_rules(p, 32, 64) && memcmp(p->src, p->trg, (size_t)p->S * sizeof *p->src) == 0;
}

static int sort_rules(const probe *p)
{
    int count[32] = {0};
    if (!length_rules(p, 32, 64)) return 0;
    for (int64_t i = 0; i < p->S; i++) {
        count[p->src[i]]++;
        count[p->trg[i]]--;
        if (i > 0 && p->trg[i] < p->trg[i - 1]) return 0;
    }
    for (int c = 0; c < 32; c++)
        if (count[c] != 0) return 0;
    return 1;
}

static int flipflop_rules(const probe *p)
{
    int32_t state = -1;
    if (p->S % 2 == 0 || p->S < 31 || p->S > 63 || p->R != 1 || p->src[0] != 2) return 0;
    for (int64_t i = 0; i < p->S; i += 2) {
        if (p->src[i] < 2 || p->src[i] > 4 || (p->src[i] == 4) != (i == p->S - 1)) return 0;
        if (i + 1 < p->S && p->src[i + 1] > 1) return 0;
        if (p->src[i] == 2) state = p->src[i + 1];
    }
    return p->trg[0] == state && p->s.T == p->S + 2 && p->first == p->S;
}

static int count_rules(const probe *p)
{
    if (p->S != p->R || p->S < 4 || p->S > 240 || p->trg[0] != 0 || p->s.T != p->S + 2) return 0;
    for (int64_t i = 0; i < p->S; i++) {
        int32_t expected = i > 0 && p->src[i] == p->src[i - 1] ? p->trg[i - 1] + 1 : 0;
        if (p->trg[i] != expected || p->trg[i] >= 48 || p->src[i] >= 16) return 0;
    }
    return 1;
}

static int nback_rules(const probe *p)
{
    if (p->S != p->R || p->S < 33 || p->S > 65 || p->src[0] != 0) return 0;
    for (int64_t i = 0; i < p->S; i++) {
        if (p->trg[i] != (i >= 2 ? p->src[i - 2] : 0)) return 0;
        if ((p->src[i] == 0) != (i == 0) || p->src[i] > 15) return 0;
    }
    return p->s.T == p->S + 2;
}

void selftest_task_rules(selftest *t)
{
    static int (*const rules[SEQUENCE_TASKS])(const probe *) = {
        mqmtar_rules,   reverse_rules, copy_rules, sort_rules,
        flipflop_rules, count_rules,   nback_rules};
    for (int k = 0; k < SEQUENCE_TASKS; k++) {
        data_options o = data_options_default();
        probe p;
        int64_t broken = 0;
        o.seed = 7;
        if (!probe_open(t, &p, sequence_tasks[k], &o)) continue;
        EXPECT(p.d->samples == 0);
        for (int64_t i = 0; i < MANY && probe_sample(t, &p, i); i++) {
            broken += !rules[k](&p);
            broken += p.s.T > p.d->longest || p.s.index != i;
        }
        EXPECT(broken == 0);
        if (broken) fprintf(stderr, "%s: %lld\n", sequence_tasks[k], (long long)broken);
        probe_close(&p);
    }
}

void selftest_task_lengths(selftest *t)
{
    /* |x| of mqmtar at 64 2^i */
    static const int64_t T[] = {90, 145, 264, 502, 978, 1937, 3848, 7670, 15314, 30609, 61192};
    uint8_t seen[65536] = {0}, kept[65536] = {0};
    static uint32_t word[10000];
    int shared = 0;
    for (int i = 0; i < 11; i++) {
        data_options o = data_options_default();
        probe p;
        o.split = SPLIT_TEST + i;
        if (!probe_open(t, &p, "mqmtar", &o)) continue;
        EXPECT(p.d->samples == 1000);
        EXPECT(probe_sample(t, &p, 999) && p.s.T == T[i] && p.d->longest == T[i]);
        EXPECT(p.d->sample(p.d, 1000, &p.s) == ERR_ARG);
        probe_close(&p);
    }
    /* Word lists of two shards share about V^2 / 65536 keys. */
    for (uint64_t split = SPLIT_TEST; split <= SPLIT_TEST + 1; split++) {
        rng r = rng_sample(1, 1, split, UINT64_MAX);
        rng_distinct(&r, 65536, 10000, word, seen);
        if (split == SPLIT_TEST) EXPECT(word[0] == (104 - 3) * 256 + 97 - 3);
        for (int i = 0; i < 10000; i++) {
            shared += kept[word[i]];
            kept[word[i]] = 1;
        }
        if (split > SPLIT_TEST) continue;
        rng_distinct(&r, 65536, 10000, word, seen);
        EXPECT(word[0] == (30 - 3) * 256 + 216 - 3);
    }
    EXPECT(shared > 1300 && shared < 1750);
}

/* --- scores that are known ------------------------------------------------------------------ */

static double score_of(selftest *t, probe *p, int64_t samples, int order, const char *name)
{
    metrics all = {0};
    for (int64_t i = 0; i < samples && probe_sample(t, p, i); i++) {
        status s = order < 0 ? p->d->oracle(p->d, &p->s, p->logits)
                             : p->d->ngram(p->d, &p->s, order, p->logits);
        EXPECT(s == OK && probe_score(p, &all) == OK);
    }
    return probe_mean(&all, name);
}

/* The same keys and values, however many are asked for; the data say how many. */
void selftest_task_queries(selftest *t)
{
    static const int64_t queries[] = {4, 1, 9};
    uint64_t hash[3] = {0};
    for (int i = 0; i < 3; i++) {
        data_options o = data_options_default();
        probe p;
        o.split = SPLIT_TEST;
        o.queries = queries[i];
        if (!probe_open(t, &p, "mqmtar", &o)) continue;
        hash[i] = p.d->hash;
        EXPECT(probe_sample(t, &p, 5) && p.R == 3 * queries[i] && p.s.T == 64 + 6 * queries[i] + 2);
        EXPECT_NEAR(score_of(t, &p, 20, -1, "assoc"), 1, 0);
        EXPECT_NEAR(score_of(t, &p, 20, -1, "exact"), 1, 0);
        probe_close(&p);
    }
    EXPECT(hash[0] != hash[1] && hash[1] != hash[2] && hash[0] != hash[2]);
    data_options none = data_options_default();
    dataset *d = NULL;
    none.queries = 0;
    EXPECT(dataset_open("mqmtar", &none, &d) == ERR_ARG && !d);
}

void selftest_task_oracles(selftest *t)
{
    for (int k = 0; k < SEQUENCE_TASKS; k++)
        for (int shard = 0; shard < 3; shard++) {
            data_options o = data_options_default();
            const struct task *row;
            char names[128];
            probe p;
            o.split = shard == 2 ? SPLIT_TRAIN : SPLIT_TEST + 2 * shard;
            EXPECT(task_find(sequence_tasks[k], &row) == OK);
            if (!probe_open(t, &p, sequence_tasks[k], &o)) continue;
            /* The oracle is right in everything a task reports. */
            snprintf(names, sizeof names, "%s", row->metrics);
            for (char *name = strtok(names, " "); name; name = strtok(NULL, " "))
                EXPECT(score_of(t, &p, 20, -1, name) == (strcmp(name, "ce") == 0 ? 0 : 1));
            EXPECT_NEAR(score_of(t, &p, 20, 0, "ce"), log(p.d->vocab), 1e-12);
            probe_close(&p);
        }
}

/* Share of samples of flipflop whose answer is the bit before the read. */
static double last_bit(selftest *t, double flip_p)
{
    data_options o = data_options_default();
    probe p;
    int64_t right = 0;
    o.flip_p = flip_p;
    if (!probe_open(t, &p, "flipflop", &o)) return NAN;
    for (int64_t i = 0; i < MANY && probe_sample(t, &p, i); i++)
        right += p.src[p.S - 2] == p.trg[0];
    probe_close(&p);
    return (double)right / MANY;
}

void selftest_task_chance(selftest *t)
{
    /* sort: "0 first, then the previous gold token" */
    static const double sort_known[] = {.579, .762, .879, .940, .970};
    for (int i = 0; i < 5; i++) {
        data_options o = data_options_default();
        probe p;
        metrics all = {0};
        o.split = SPLIT_TEST + i;
        if (!probe_open(t, &p, "sort", &o)) continue;
        for (int64_t j = 0; j < 100 && probe_sample(t, &p, j); j++) {
            for (int64_t u = 0; u <= p.R; u++)
                probe_say(&p, p.first + u, u == 0 ? 0 : p.trg[u - 1]);
            probe_score(&p, &all);
        }
        EXPECT_NEAR(probe_mean(&all, "token_acc"), sort_known[i], .012 / (1 << i) + .002);
        EXPECT(probe_mean(&all, "exact") == 0);
        probe_close(&p);
    }
    /* chance: one label in so many */
    static const struct {
        const char *task, *metric;
        double labels;
    } guess[] = {{"copy", "token_acc", 32},
                 {"mqmtar", "letter_acc", 259},
                 {"count", "token_acc", 48},
                 {"nback", "token_acc", 16},
                 {"flipflop", "exact", 2}};
    for (int i = 0; i < 5; i++) {
        data_options o = data_options_default();
        probe p;
        if (!probe_open(t, &p, guess[i].task, &o)) continue;
        double near = 1 / guess[i].labels, spread = i < 4 ? 0.006 : 0.04;
        EXPECT_NEAR(score_of(t, &p, 1000, 0, guess[i].metric), near, spread);
        probe_close(&p);
    }
    EXPECT_NEAR(last_bit(t, 0.8), 0.9, 0.015);
    EXPECT_NEAR(last_bit(t, 0.1), 0.55, 0.025);
    /* count: "0" is right once a block of mean length 25 */
    data_options o = data_options_default();
    probe p;
    double zeros = 0, labels = 0;
    if (!probe_open(t, &p, "count", &o)) return;
    for (int64_t i = 0; i < MANY && probe_sample(t, &p, i); i++) {
        for (int64_t u = 0; u < p.R; u++)
            zeros += p.trg[u] == 0;
        labels += (double)p.R;
    }
    EXPECT_NEAR(zeros / labels, 1.0 / 25, 0.001);
    probe_close(&p);
}

/* One wrong answer, wherever it stands, is one label less and no exact match; a wrong end is seen
 * by em_eos alone. */
void selftest_task_partly(selftest *t)
{
    static const char *const tasks[] = {"reverse", "copy", "sort", "count", "nback"};
    for (int k = 0; k < 5; k++) {
        data_options o = data_options_default();
        probe p;
        if (!probe_open(t, &p, tasks[k], &o)) continue;
        const int prompt = k < 3, given = k == 4 ? (int)o.nback : 0; /* labels not counted */
        EXPECT(probe_sample(t, &p, 3));
        for (int64_t wrong = 0; wrong < p.R + prompt; wrong++) {
            metrics all = {0};
            EXPECT(p.d->oracle(p.d, &p.s, p.logits) == OK);
            probe_say(&p, p.first + wrong, p.trg[wrong] == 0);
            EXPECT(probe_score(&p, &all) == OK);
            const double labels = (double)(p.R - given), errs = wrong >= given && wrong < p.R;
            EXPECT_NEAR(probe_mean(&all, "token_acc"), (labels - errs) / labels, 1e-15);
            EXPECT(probe_mean(&all, "exact") == (wrong == p.R));
            EXPECT_NEAR(probe_mean(&all, "ce"), 1000 / (double)(p.R + prompt), 1e-9);
            if (prompt) EXPECT(probe_mean(&all, "em_eos") == 0);
        }
        probe_close(&p);
    }
}

/* What a baseline says of a scored position is a distribution. */
void selftest_task_ngrams(selftest *t)
{
    for (int k = 0; k < SEQUENCE_TASKS; k++) {
        data_options o = data_options_default();
        probe p;
        if (!probe_open(t, &p, sequence_tasks[k], &o)) continue;
        const int prompt = k < 4;
        for (int order = 0; order <= 3; order++) {
            const status expected = prompt || order == 0 ? OK : ERR_ARG;
            double error = 0;
            for (int64_t i = 0; i < 5 && probe_sample(t, &p, i); i++) {
                EXPECT(p.d->ngram(p.d, &p.s, order, p.logits) == expected);
                for (int64_t u = 0; u < p.s.T && expected == OK; u++) {
                    const double *row = p.logits + u * p.d->vocab;
                    const double sum = log_sum_exp(row, p.d->vocab, NULL);
                    if (p.s.y[u] != IGNORE && order > 0) error = worse(error, fabs(sum));
                }
            }
            EXPECT_NEAR(error, 0, 1e-12);
        }
        probe_close(&p);
    }
}

/* A predictor of copy that errs where a hash of all it has read says so. */
static int32_t erring(const int32_t *x, int64_t t, int64_t first, int32_t eos)
{
    int32_t right = x[1 + t - first] == eos - 1 ? eos : x[1 + t - first];
    uint64_t h = fnv1a(FNV_OFFSET, x, (size_t)(t + 1) * sizeof *x);
    return rng_mix(h) % 100 == 0 ? 0 : right;
}

void selftest_task_greedy(selftest *t)
{
    data_options o = data_options_default();
    probe p;
    int64_t exact = 0, differ = 0;
    if (!probe_open(t, &p, "copy", &o)) return;
    for (int64_t i = 0; i < 1000 && probe_sample(t, &p, i); i++) {
        metrics forced = {0}, greedy = {0};
        for (int64_t u = p.first; u < p.s.T; u++)
            probe_say(&p, u, erring(p.s.x, u, p.first, 34));
        probe_score(&p, &forced);
        for (int64_t u = p.first; u < p.s.T; u++) {
            int32_t said = erring(p.s.x, u, p.first, 34);
            probe_say(&p, u, said);
            if (u + 1 < p.s.T) p.s.x[u + 1] = said;
        }
        probe_score(&p, &greedy);
        differ += probe_mean(&forced, "exact") != probe_mean(&greedy, "exact");
        differ += probe_mean(&forced, "em_eos") != probe_mean(&greedy, "em_eos");
        exact += probe_mean(&forced, "exact") == 1;
    }
    EXPECT(differ == 0);
    EXPECT(exact > 400 && exact < 900);
    probe_close(&p);
}
