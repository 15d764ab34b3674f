/* SPDX-License-Identifier: MIT
 *
 * test_paper.c — experiments to tables: the grammar of experiment files, groups and their means,
 * what they are called, the verdicts on claims, and that every file is read once.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "statistics.h"
#include "mosaic.h"
#include "paper/cost.h"
#include "paper/experiment.h"
#include "paper/pivot.h"
#include "paper/show.h"
#include "scratch.h"
#include "verb.h"

void selftest_experiment(selftest *t)
{
    paper *p = NULL;
    cells all = {0};
    const char *folder = scratch_folder(t);
    const char *path = scratch_text(
        t, folder, "one.exp",
        "profile smoke steps=5 words=\"width=8 heads=2\" scale=\"a few\"\n"
        "profile paper steps=50 words=width=64\n"
        "experiment one \"Title # not a comment\" # a comment\n"
        "  run train method={a,b} layers={1,2} $words steps=$steps checkpoint=@ best=@\n"
        "  then eval from=@ length=1,2\n"
        "  @paper run info\n  @!smoke run info\n  @!paper data x.h5\n"
        "  table t from=eval \\\n rows=method\n");
    EXPECT(paper_read(&p, path, "smoke") == OK);
    if (!p) return;
    EXPECT(p->scale && strcmp(p->scale, "a few") == 0);
    EXPECT(p->count == 1 && strcmp(p->experiments[0].title, "Title # not a comment") == 0);
    EXPECT(p->experiments[0].count == 4 && p->experiments[0].lines[2].kind == LINE_DATA);
    EXPECT(strcmp(line_value(&p->experiments[0].lines[3], "rows", ""), "method") == 0);
    EXPECT(cells_plan(p, "r", NULL, 0, &all) == OK && all.count == 8);
    if (all.count == 8) {
        EXPECT(strcmp(all.cell[1].word[0], "method=a") == 0 &&
               strcmp(all.cell[1].word[1], "layers=2") == 0);
        EXPECT(all.cell[1].count == 5 && strcmp(all.cell[1].word[2], "width=8") == 0);
        EXPECT(strstr(all.cell[1].name, "best") && strstr(all.cell[1].best, ".best.h5"));
        EXPECT(all.cell[5].best == NULL);
        EXPECT(all.cell[5].after == 1 && all.cell[5].count == 1 && all.cell[1].checkpoint != NULL);
    }
    cells_free(&all);
    const char *unknown = "two";
    EXPECT(cells_plan(p, "r", &unknown, 1, &all) == ERR_ARG);
    cells_free(&all);
    paper_free(p);
    EXPECT(paper_read(&p, path, "tiny") == ERR_ARG);
    EXPECT(strstr(last_error(), "expected smoke, paper") != NULL);
    scratch_text(t, folder, "one.exp",
                 "profile smoke\nexperiment one \"x\"\n run train steps=$none\n");
    EXPECT(paper_read(&p, path, "smoke") == ERR_DATA && strstr(last_error(), ":3:") != NULL);
}

/* The point where row and col have these data. */
static const point *find_point(const pivot *p, const char *row, const char *col)
{
    char text[200];
    for (int i = 0; i < p->count; i++) {
        key_text(&p->points[i].row, text, sizeof text);
        if (strcmp(text, row) != 0) continue;
        key_text(&p->points[i].col, text, sizeof text);
        if (strcmp(text, col) == 0) return &p->points[i];
    }
    return NULL;
}

void selftest_pivot(selftest *t)
{
    eval_row rows[] = {
        {.method = "softmax", .metric = "ce", .layers = 12, .seed = 1, .value = 2},
        {.method = "softmax", .metric = "ce", .layers = 12, .seed = 2, .value = 4},
        {.method = "biweight", .metric = "ce", .layers = 2, .seed = 1, .value = 1},
        {.method = "biweight", .metric = "exact", .layers = 2, .seed = 1, .value = 9}};
    source s = {.of = EVAL, .rows = (char *)rows, .count = 4};
    pivot p;
    const key *keys[8];
    EXPECT(pivot_make(&p, &s, "metric:ce", "method", "layers", "value") == OK);
    const point *at = find_point(&p, "softmax", "12");
    EXPECT(at && at->n == 2 && at->value == 3 && pivot_find(&p, &at->row, &at->col) == at);
    if (at) EXPECT_NEAR(at->sd, sqrt(2), 1e-15);
    EXPECT(find_point(&p, "softmax", "2") == NULL);
    EXPECT(pivot_keys(&p, 0, keys, 8) == 2 && keys[0]->part[0].number == 2);
    EXPECT(pivot_keys(&p, 1, keys, 8) == 2 && strcmp(keys[0]->part[0].name, "softmax") == 0);
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "metric:ce|exact,layers:2", "metric", "", "value") == OK);
    EXPECT(p.count == 2 && p.points[1].value == 9);
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "metric:ce", "method", "", "value:sum") == OK && p.count == 2);
    if (p.count == 2) EXPECT(p.points[0].value == 6 && isnan(p.points[0].sd));
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "", "", "", "value:max") == OK && p.points[0].value == 9);
    pivot_free(&p);
    static const char *const wrong[][3] = {{"colour:red", "", "value"},
                                           {"layers:two", "", "value"},
                                           {"layers", "", "value"},
                                           {"", "colour", "value"},
                                           {"", "method+layers+seed+step", "value"},
                                           {"", "", "colour"},
                                           {"", "", "value:least"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(pivot_make(&p, &s, wrong[i][0], wrong[i][1], "", wrong[i][2]) == ERR_DATA);
        pivot_free(&p);
    }
    check_row checks[] = {{.verdict = "PASS", .error = 1, .tol = 4},
                          {.verdict = "FAIL", .error = 3, .tol = 2},
                          {.verdict = "PASS"}};
    source c = {.of = CHECK, .rows = (char *)checks, .count = 3};
    EXPECT(pivot_make(&p, &c, "", "", "", "passed:sum") == OK && p.points[0].value == 2);
    pivot_free(&p);
    EXPECT(pivot_make(&p, &c, "", "", "", "percent_tol:max") == OK && p.points[0].value == 150);
    pivot_free(&p);
}

/* Two rows of a table, alike but for one column and, maybe, the seed: what their mean says. */
static status mean_of_two(table of, const column *differs, int seeds)
{
    _Alignas(double) char rows[2 * 1024] = {0};
    int count;
    const column *c = table_columns(of, &count);
    const size_t size = table_row_size(of);
    for (int k = 0; k < count; k++)
        if ((c[k].role == ROLE_SEED && seeds) || &c[k] == differs) rows[size + c[k].offset] = 1;
    source s = {.of = of, .rows = rows, .count = 2};
    pivot p;
    int found = 0;
    while (c[found].role != ROLE_FOUND || column_is_text(&c[found]))
        found++;
    const status made = pivot_make(&p, &s, "", "", "", c[found].name);
    pivot_free(&p);
    return made;
}

/* Means run over seeds: whatever else rows differ in is refused by its name. */
void selftest_pivot_means(selftest *t)
{
    for (int of = 0; of < TABLES; of++) {
        int count, seeded = 0;
        const column *c = table_columns((table)of, &count);
        for (int k = 0; k < count; k++)
            seeded |= c[k].role == ROLE_SEED;
        EXPECT(mean_of_two((table)of, NULL, 0) == ERR_DATA && strstr(last_error(), "twice"));
        if (seeded) EXPECT(mean_of_two((table)of, NULL, 1) == OK);
        for (int k = 0; k < count; k++) {
            const int told = c[k].role == ROLE_KEY;
            const status with = mean_of_two((table)of, &c[k], 1);
            if (told)
                selftest_expect(t, with == ERR_DATA && strstr(last_error(), c[k].name), c[k].name,
                                k, last_error());
            if (!told && seeded) EXPECT(with == OK);
            if (c[k].role == ROLE_EACH) EXPECT(mean_of_two((table)of, &c[k], 0) == ERR_DATA);
        }
    }
}

/* The words of a configuration are columns, and tell rows apart. */
void selftest_pivot_config(selftest *t)
{
    eval_row rows[] = {{.method = "softmax", .seed = 1, .value = 1, .config = "batch=8 lr=0.1"},
                       {.method = "softmax", .seed = 2, .value = 3, .config = "batch=8 lr=0.1"},
                       {.method = "softmax", .seed = 1, .value = 5, .config = "batch=8"}};
    source s = {.of = EVAL, .rows = (char *)rows, .count = 3};
    pivot p;
    EXPECT(pivot_make(&p, &s, "", "method", "", "value") == ERR_DATA);
    EXPECT(strstr(last_error(), "lr (0.1 and 5e-3)"));
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "", "method", "lr", "value") == OK && p.count == 2);
    EXPECT(p.count == 2 && find_point(&p, "softmax", "0.1")->value == 2);
    EXPECT(p.count == 2 && find_point(&p, "softmax", "0.005")->value == 5);
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "lr:0.1", "", "", "value") == OK && p.points[0].n == 2);
    pivot_free(&p);
    EXPECT(pivot_make(&p, &s, "", "", "config", "value") == ERR_DATA);
    pivot_free(&p);
}

/* Two machines may train the seeds of a mean, which have the same bits there; a time, a model of a
 * device or a sum is of one machine, and everything is of one build. */
void selftest_pivot_origins(selftest *t)
{
    const origin origins[] = {{.path = "a", .sources = "1", .cpu = "x"},
                              {.path = "b", .sources = "1", .cpu = "y"},
                              {.path = "c", .sources = "2", .cpu = "x"},
                              {.path = "d", .sources = "1", .cpu = "x", .device = "z"}};
    eval_row rows[] = {{.seed = 1, .backend = "ref"}, {.seed = 2, .backend = "ref"}};
    time_row times[] = {{.seed = 1}, {.seed = 2}};
    const struct {
        int from[2];
        status ref, other;
    } cases[] = {{{0, 0}, OK, OK},
                 {{0, 1}, OK, ERR_DATA},
                 {{0, 2}, ERR_DATA, ERR_DATA},
                 {{0, 3}, OK, ERR_DATA}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source s = {EVAL, (char *)rows, 2, cases[i].from, origins};
        source c = {TIME, (char *)times, 2, cases[i].from, origins};
        pivot p;
        EXPECT(pivot_make(&p, &s, "", "", "", "value") == cases[i].ref);
        pivot_free(&p);
        EXPECT(pivot_make(&p, &c, "", "", "", "median") == cases[i].other);
        pivot_free(&p);
        EXPECT(pivot_make(&p, &c, "", "", "", "median:max") == cases[i].other);
        pivot_free(&p);
    }
}

/* Numbers that differ in their last digits only: the sum of squares less n mean^2 has lost them. */
void selftest_pivot_spread(selftest *t)
{
    eval_row rows[3] = {
        {.seed = 1, .value = 1e9}, {.seed = 2, .value = 1e9 + 1}, {.seed = 3, .value = 1e9 + 2}};
    source s = {.of = EVAL, .rows = (char *)rows, .count = 3};
    pivot p;
    for (int i = 0; i < 2; i++) {
        EXPECT(pivot_make(&p, &s, "", "", "", "value") == OK && p.count == 1);
        if (p.count == 1) {
            EXPECT_NEAR(p.points[0].sd, 1, 1e-12);
            EXPECT_NEAR(p.points[0].value, rows[1].value, 0);
        }
        pivot_free(&p);
        for (int j = 0; j < 3; j++)
            rows[j].value -= 2e9 + 2; /* the other sign, the other order */
    }
    rows[0].value = rows[1].value = rows[2].value = 0.1;
    EXPECT(pivot_make(&p, &s, "", "", "", "value") == OK);
    if (p.count == 1) EXPECT(p.points[0].sd == 0);
    pivot_free(&p);
}

/* The label, or the plain one, of the first row of a table. */
static const char *label_of(const void *row, table of, const char *columns, int plain)
{
    static char label[200];
    source s = {.of = of, .rows = (char *)(uintptr_t)row, .count = 1};
    pivot p;
    *label = '\0';
    if (pivot_make(&p, &s, "", columns, "", of == TIME ? "median" : "value") == OK)
        key_label(&p.points[0].row, plain, label, sizeof label);
    pivot_free(&p);
    return label;
}

void selftest_key_labels(selftest *t)
{
    const time_row forward = {.op = "entmax", .alpha = 4.0 / 3, .n = 256, .type = "bf16"};
    const time_row backward = {.op = "softmax_grad", .alpha = NAN, .n = 4096};
    const time_row mixed = {
        .op = "attention", .transform = "sparsemax", .impl = "tile", .input = "zipf", .alpha = NAN};
    const eval_row trained = {.method = "biweight", .layers = 2}, none = {.method = "2gram"};
    const row_row family = {.method = "top7_softmax", .alpha = 1.25, .beta = exp(1)};
    const struct {
        const char *got, *want;
    } labels[] = {
        {strdup(label_of(&forward, TIME, "op+alpha", 0)), "α-entmax, α = 4/3"},
        {strdup(label_of(&forward, TIME, "type+n", 0)), "bf16, N = 256"},
        {strdup(label_of(&forward, TIME, "n", 0)), "256"},
        {strdup(label_of(&mixed, TIME, "transform+alpha+impl", 0)), "sparsemax, by tile"},
        {strdup(label_of(&mixed, TIME, "transform+input", 0)), "sparsemax, zipf"},
        {strdup(label_of(&backward, TIME, "op+alpha", 0)), "softmax, backward"},
        {strdup(label_of(&backward, TIME, "op+alpha", 1)), "softmax"},
        {strdup(label_of(&backward, TIME, "op+n", 0)), "softmax, backward, N = 4096"},
        {strdup(label_of(&trained, EVAL, "method", 0)), "1.5-entmax (biweight)"},
        {strdup(label_of(&trained, EVAL, "layers", 0)), "L = 2"},
        {strdup(label_of(&none, EVAL, "method", 0)), "2-gram"},
        {strdup(label_of(&trained, EVAL, "method+layers", 0)), "1.5-entmax (biweight), L = 2"},
        {strdup(label_of(&none, EVAL, "layers", 0)), "no model"},
        {strdup(label_of(&family, ROW, "method", 0)), "top-7 softmax"},
        {strdup(label_of(&family, ROW, "alpha", 0)), "1.25"},
        {strdup(label_of(&family, ROW, "beta", 0)), "β = 2.72"},
    };
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        selftest_expect(t, labels[i].got && strcmp(labels[i].got, labels[i].want) == 0, __FILE__,
                        __LINE__, labels[i].want);
        free((char *)(uintptr_t)labels[i].got);
    }
    const key head = key_head("oracle");
    char text[64];
    key_label(&head, 0, text, sizeof text);
    EXPECT(strcmp(text, "oracle") == 0 && strcmp(key_look(&head, 0).colour, "#505050") == 0);
}

/* Every kind of verdict, on rows whose means are known. */
void selftest_verdicts(selftest *t)
{
    static const struct {
        const char *words, *verdict;
        double ours;
    } claims[] = {
        /* softmax 3 and 4: the interval is 3 to 4; of biweight 1.5 and 2.5 the pairs differ by 1.5
         */
        {"paper=3 tol=1 keep=method:softmax", "agrees", 3.5},
        {"paper=3 tol=0.5 keep=method:softmax", "undecided", 3.5},
        {"paper=4 tol=0.5 keep=method:softmax", "undecided", 3.5},
        {"paper=1 tol=1 keep=method:softmax", "differs", 3.5},
        {"paper=3.5 keep=method:softmax", "differs", 3.5}, /* no tolerance, nothing agrees */
        {"sign=+ keep=method:softmax versus=method:biweight", "agrees", 1.5},
        {"sign=- keep=method:softmax versus=method:biweight", "differs", 1.5},
        {"sign=- keep=method:biweight versus=method:softmax", "agrees", -1.5},
        {"sign=+ keep=method:softmax versus=method:softmax", "differs", 0},
        {"sign=- keep=method:softmax versus=method:softmax", "differs", 0},
        {"paper=1.5 tol=1e-9 keep=method:softmax versus=method:biweight", "agrees", 1.5},
        {"sign=+ keep=method:softmax versus=method:norm_relu", "undecided", 0}, /* 3.5 twice */
        /* one seed: a proportion has Wilson's interval, another number none */
        {"paper=0.5 tol=0.1 keep=method:relumax4", "agrees", 0.5},
        {"paper=0.5 tol=0.01 keep=method:relumax4", "undecided", 0.5},
        {"sign=+ keep=method:relumax4 versus=method:biweight", "undecided", -1.5},
        {"paper=5 tol=1 keep=method:top16_softmax", "undecided", 5},
        {"paper=3 tol=9 keep=method:relumax", "differs", NAN}, /* a number that is none */
        {"sign=+ keep=method:relumax versus=method:softmax", "differs", NAN},
        {"sign=- keep=method:softmax versus=method:relumax", "differs", NAN},
        {"paper=3 tol=9 keep=method:triweight", "not run at this scale", NAN},
        {"sign=+ keep=method:softmax versus=method:triweight", "not run at this scale", NAN},
        {"paper=3.5 tol=1 at=paper keep=method:softmax", "another scale", 3.5},
        {"paper=3.5 tol=1 at=paper keep=method:triweight", "not run at this scale", NAN},
        {"paper=3.5 tol=1 at=smoke keep=method:softmax", "agrees", 3.5},
    };
    enum { COUNT = sizeof claims / sizeof *claims };
    eval_row rows[] = {{.method = "softmax", .seed = 1, .value = 3},
                       {.method = "softmax", .seed = 2, .value = 4},
                       {.method = "biweight", .seed = 1, .value = 1.5},
                       {.method = "biweight", .seed = 2, .value = 2.5},
                       {.method = "norm_relu", .seed = 1, .value = 3.5},
                       {.method = "norm_relu", .seed = 2, .value = 3.5},
                       {.method = "relumax4", .value = 0.5, .count = 1000},
                       {.method = "top16_softmax", .value = 5},
                       {.method = "relumax", .value = NAN}};
    enum { ROWS = sizeof rows / sizeof *rows };
    for (int i = 0; i < ROWS; i++)
        rows[i].low = rows[i].high = NAN;
    wilson(500, 1000, &rows[6].low, &rows[6].high);
    evidence v = {.all.rows[EVAL] = {.of = EVAL, .rows = (char *)rows, .count = ROWS}};
    char text[8192] = "profile smoke\nprofile paper\nexperiment one \"t\"\n";
    paper *p = NULL;
    for (int i = 0; i < COUNT; i++) {
        const size_t end = strlen(text);
        snprintf(text + end, sizeof text - end, " claim \"%d\" from=eval %s\n", i, claims[i].words);
    }
    EXPECT(paper_read(&p, scratch_text(t, scratch_folder(t), "one.exp", text), "smoke") == OK);
    const experiment *e = p ? &p->experiments[0] : NULL;
    const show s = {.p = p, .of = &v};
    EXPECT(e && e->count == COUNT);
    for (int i = 0; e && e->count == COUNT && i < COUNT; i++) {
        claim_result c;
        EXPECT(show_claim(&s, e, &e->lines[i], &c) == OK);
        selftest_expect(t, strcmp(c.verdict, claims[i].verdict) == 0, claims[i].words, i,
                        claims[i].verdict);
        if (!isnan(claims[i].ours)) EXPECT_NEAR(c.ours, claims[i].ours, 1e-15);
    }
    paper_free(p);
}

/* A plan: what is longer costs more, in proportion; spans and sizes as a reader says them. */
void selftest_cell_cost(selftest *t)
{
    static const struct said {
        double seconds;
        const char *text;
    } spans[] = {{12, "12 s"},    {89, "89 s"},        {150, "2.5 min"},   {2700, "45 min"},
                 {9000, "2.5 h"}, {864000, "10 days"}, {3.2e8, "10 years"}};
    char *words_of[3][5] = {
        {"task=reverse", "steps=1000", "", "", ""},
        {"task=reverse", "steps=4000", "", "", ""},
        {"task=reverse", "steps=1000", "seed=1,2", "method=softmax,relumax", ""}};
    static const int counts[] = {2, 2, 4};
    cost c[3];
    char text[40];
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        cost_time(spans[i].seconds, text, sizeof text);
        selftest_expect(t, strcmp(text, spans[i].text) == 0, text, (int)i, spans[i].text);
    }
    cost_size(1.25e6, text, sizeof text);
    EXPECT(strcmp(text, "1.2 MB") == 0);
    for (int i = 0; i < 3; i++) {
        words *w = NULL;
        EXPECT(words_parse("train", counts[i], words_of[i], &w) == OK);
        c[i] = w ? cost_of(w, i) : (cost){NAN, NAN};
        words_free(w);
    }
    EXPECT(c[1].seconds > 3 * c[0].seconds && c[1].seconds < 4 * c[0].seconds);
    EXPECT(c[2].seconds > 3 * c[0].seconds && c[2].seconds < 4 * c[0].seconds);
    EXPECT(c[1].bytes > 3 * c[0].bytes && c[2].bytes > 3 * c[0].bytes);
}

/* How often the file was opened while `verb` ran; -1 if the system does not say. */
static int openings(const char *path, const char *verb, int count, char *const *text, int *code)
{
    char events[1 << 14] __attribute__((aligned(8)));
    int opened = 0, watch = inotify_init1(IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, path, IN_OPEN | IN_CLOSE) < 0) opened = -1;
    *code = verb_dispatch(verb, count, text);
    for (ssize_t got; opened >= 0 && (got = read(watch, events, sizeof events)) > 0;)
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *e = (const void *)(events + at);
            opened += (e->mask & IN_OPEN) != 0;
            at += (ssize_t)(sizeof *e + e->len);
        }
    if (watch >= 0) close(watch);
    return opened;
}

/* A file is opened for its seal and for its content: twice, whatever the lines ask of it; what is
 * merged once more, for its content is part of what the new file is. */
void selftest_opened_once(selftest *t)
{
    const char *folder = scratch_folder(t);
    const char *result = scratch_path(t, folder, "row.h5");
    char out[4200], file[4200], from[4200], report[4200], merged[4200];
    snprintf(out, sizeof out, "out=%s", result);
    char *row[] = {"method=softmax,biweight", "n=4", "dim=2", out};
    EXPECT(verb_dispatch("row", 4, row) == EXIT_GOOD);
    const char *text =
        "profile smoke\nexperiment one \"t\"\n data @/row.h5\n"
        " table a from=row keep=quantity:support rows=method cols=n cell=value\n"
        " table b from=row keep=quantity:support rows=method cell=value:sum,value:max,value\n"
        " claim \"c\" from=row cell=value keep=quantity:support,method:softmax "
        "versus=quantity:support,method:biweight\n";
    snprintf(file, sizeof file, "file=%s", scratch_text(t, folder, "one.exp", text));
    snprintf(from, sizeof from, "results=%s", folder);
    snprintf(report, sizeof report, "out=%s", scratch_path(t, folder, "report"));
    snprintf(merged, sizeof merged, "out=%s", scratch_path(t, folder, "merged.h5"));
    char *shown[] = {file, from, report}, *merge[] = {(char *)(uintptr_t)result, merged};
    int code, times = openings(result, "show", 3, shown, &code);
    EXPECT(code == EXIT_GOOD);
    if (times < 0) {
        selftest_skip(t, "this system does not tell who opens a file");
        return;
    }
    EXPECT(times == 2);
    times = openings(result, "merge", 2, merge, &code);
    EXPECT(code == EXIT_GOOD && times == 3);
}
