/* SPDX-License-Identifier: MIT
 *
 * test_compare.c — points of two sides whose verdict is known: how they are joined, what is
 * refused, what is said of them.
 */
#include <math.h>
#include <string.h>

#include "compare/compare.h"
#include "rng.h"
#include "selftest.h"
#include "verb.h"

enum { LAUNCHES = 4, TAKEN = 20, MOST_ROWS = 64 };

/* Rows of times with their samples, in memory. */
typedef struct fixture {
    time_row row[MOST_ROWS];
    double sample[MOST_ROWS][TAKEN];
    behind each[MOST_ROWS];
    int from[MOST_ROWS];
    source rows;
    compare_plan plan;
} fixture;

static const origin builds[] = {
    {.path = "old.h5", .sources = "1", .commit = "1", .device = "x", .compiler = "c"},
    {.path = "new.h5", .sources = "2", .commit = "2", .device = "x", .compiler = "c"},
    {.path = "far.h5", .sources = "1", .commit = "1", .device = "y", .compiler = "c"}};

/* A launch of a point, TAKEN samples around `seconds`, 1 % apart; NaN: a failed check. */
static time_row *add_launch(fixture *f, const char *op, int64_t n, const char *impl, double seconds)
{
    const int64_t i = f->rows.count++;
    rng r = rng_sample(11, 0, 0, (uint64_t)i);
    time_row *row = &f->row[i];
    *row = (time_row){.n = n, .alpha = NAN, .seed = 7, .median = seconds, .samples = TAKEN};
    row->q1 = row->q3 = seconds;
    snprintf(row->op, sizeof row->op, "%s", op);
    snprintf(row->impl, sizeof row->impl, "%s", impl);
    for (int k = 0; k < TAKEN; k++)
        f->sample[i][k] = seconds * (1 + 0.01 * rng_normal(&r));
    f->each[i] = (behind){f->sample[i], NULL, isnan(seconds) ? 0 : TAKEN};
    f->from[i] = 0;
    return row;
}

static void add_launches(fixture *f, const char *op, int64_t n, const char *impl, double seconds)
{
    for (int i = 0; i < LAUNCHES; i++)
        (void)add_launch(f, op, n, impl, seconds);
}

/* Of impl:a with impl:b, unless the sides are told apart by their place. */
static void open_fixture(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->rows = (source){TIME, (char *)f->row, 0, f->from, builds};
    f->plan = (compare_plan){.rows = &f->rows, .each = f->each, .by = "", .resamples = 1000};
    f->plan.base.name = "b";
    f->plan.fresh.name = "a";
    f->plan.base.last = f->plan.fresh.last = MOST_ROWS;
}

static status tell_apart(fixture *f, const char *fresh, const char *base)
{
    TRY(filter_read(&f->plan.fresh.keep, TIME, fresh));
    return filter_read(&f->plan.base.keep, TIME, base);
}

static const compare_row *point_named(const comparison *c, const char *part)
{
    for (int64_t i = 0; i < c->count; i++)
        if (strstr(c->row[i].point, part)) return &c->row[i];
    return NULL;
}

static int verdict_is(const comparison *c, const char *part, const char *verdict)
{
    const compare_row *row = point_named(c, part);
    return row && strcmp(row->verdict, verdict) == 0;
}

void selftest_compare_times(selftest *t)
{
    static const struct {
        const char *op, *says;
        double seconds;
    } points[] = {{"softmax", "SAME", 1},
                  {"sparsemax", "SLOWER", 1.1},
                  {"entmax", "FASTER", 0.9},
                  {"relumax", "AMBIGUOUS", 1.03},
                  {"topk_softmax", "WRONG", NAN}};
    static fixture f;
    comparison c = {0};
    char text[200], name[POINT_NAME];
    open_fixture(&f);
    for (int i = 0; i < 5; i++) {
        add_launches(&f, points[i].op, 256, "b", 1);
        add_launches(&f, points[i].op, 256, "a", points[i].seconds);
    }
    add_launches(&f, "softmax", 512, "b", 1);
    EXPECT(tell_apart(&f, "impl:a", "impl:b") == OK);
    EXPECT(compare_rows(&f.plan, &c) == OK && c.count == 5);
    for (int i = 0; i < 5; i++)
        EXPECT(verdict_is(&c, points[i].op, points[i].says));
    EXPECT(c.alone[0] == LAUNCHES && c.alone[1] == 0);
    const compare_row *row = point_named(&c, "sparsemax");
    EXPECT(row && row->launches == LAUNCHES && row->samples == TAKEN && row->seed == 0);
    EXPECT_NEAR(row ? row->value : NAN, 1.1, 0.01);
    EXPECT(row && row->low < row->value && row->value < row->high && row->p < 1e-6);
    EXPECT(row && strcmp(row->point, "op=sparsemax n=256") == 0);
    comparison_text(c.row, c.count, text, sizeof text);
    EXPECT(strcmp(text, "5 points: 1 WRONG, 1 SLOWER, 1 AMBIGUOUS, 1 SAME, 1 FASTER") == 0);
    comparison_name(c.row, c.count, 1, name);
    EXPECT(strcmp(name, "op=sparsemax") == 0);
    comparison_common(c.row, c.count, name);
    EXPECT(strcmp(name, "n=256") == 0);
    EXPECT(comparison_exit(c.row, 1) == EXIT_GOOD && comparison_exit(c.row, 2) == EXIT_WORSE);
    EXPECT(comparison_exit(c.row + 2, 2) == EXIT_UNSURE && comparison_exit(c.row, 5) == EXIT_WRONG);
    comparison_free(&c);
}

/* What the sides may not differ in, and the switches that allow it. */
void selftest_compare_refusals(selftest *t)
{
    static fixture f;
    comparison c = {0};
    open_fixture(&f);
    add_launches(&f, "softmax", 256, "rows", 1);
    add_launches(&f, "softmax", 256, "rows", 1);
    f.plan.base.last = f.plan.fresh.first = LAUNCHES;
    EXPECT(compare_rows(&f.plan, &c) == OK && verdict_is(&c, "softmax", "SAME"));
    comparison_free(&c);

    static const struct {
        int from;
        unsigned across;
        const char *what;
    } cases[] = {{1, ACROSS_BUILD, "builds"}, {2, ACROSS_DEVICE, "devices"}};
    for (int i = 0; i < 2; i++) {
        for (int k = LAUNCHES; k < 2 * LAUNCHES; k++)
            f.from[k] = cases[i].from;
        f.plan.across = 0;
        EXPECT(compare_rows(&f.plan, &c) == ERR_DATA && strstr(last_error(), cases[i].what));
        f.plan.across = cases[i].across ^ (ACROSS_BUILD | ACROSS_DEVICE);
        EXPECT(compare_rows(&f.plan, &c) == ERR_DATA);
        f.plan.across = cases[i].across;
        EXPECT(compare_rows(&f.plan, &c) == OK && c.count == 1);
        comparison_free(&c);
        f.from[LAUNCHES] = 0; /* one side of two builds or devices is none */
        EXPECT(compare_rows(&f.plan, &c) == ERR_DATA && strstr(last_error(), cases[i].what));
    }
    for (int k = LAUNCHES; k < 2 * LAUNCHES; k++) {
        f.from[k] = 0;
        f.row[k].seed = 8;
    }
    f.plan.across = 0;
    EXPECT(compare_rows(&f.plan, &c) == ERR_DATA && strstr(last_error(), "inputs differ"));
    f.plan.across = ACROSS_INPUTS;
    EXPECT(compare_rows(&f.plan, &c) == OK && c.count == 1);
    comparison_free(&c);

    /* no point in common, and why; made one by its columns; or not, where a side is mixed */
    for (int k = LAUNCHES; k < 2 * LAUNCHES; k++)
        snprintf(f.row[k].impl, sizeof f.row[k].impl, "tile");
    EXPECT(compare_rows(&f.plan, &c) == ERR_DATA && strstr(last_error(), "impl (rows and tile)"));
    f.plan.by = "op+n";
    EXPECT(compare_rows(&f.plan, &c) == OK && c.count == 1);
    comparison_free(&c);
    f.row[2 * LAUNCHES - 1].rows = 5;
    EXPECT(compare_rows(&f.plan, &c) == ERR_DATA && strstr(last_error(), "differ in rows"));
}

/* --- scores
 * --------------------------------------------------------------------------------------- */

enum { SEEDS = 8, SCORED = 30 };

typedef struct scored {
    eval_row row[2 * SEEDS];
    double sum[2 * SEEDS][SCORED], count[2 * SEEDS][SCORED];
    behind each[2 * SEEDS];
    source rows;
    compare_plan plan;
} scored;

/* Seeds of softmax and, better by `gain`, of cauchy; the samples are hard alike for both. */
static void open_scores(scored *s, double gain, int proportion)
{
    memset(s, 0, sizeof *s);
    s->rows = (source){.of = EVAL, .rows = (char *)s->row, .count = 2 * SEEDS};
    s->plan = (compare_plan){.rows = &s->rows, .each = s->each, .by = "", .resamples = 1000};
    s->plan.base = (side_plan){.name = "softmax", .last = 2 * SEEDS};
    s->plan.fresh = (side_plan){.name = "cauchy", .last = 2 * SEEDS};
    for (int i = 0; i < 2 * SEEDS; i++) {
        const int seed = i % SEEDS, fresh = i / SEEDS;
        rng r = rng_sample(5, 0, 0, (uint64_t)i);
        double sum = 0, count = 0;
        for (int k = 0; k < SCORED; k++) {
            s->count[i][k] = 1 + k % 3;
            s->sum[i][k] = s->count[i][k] *
                           (1 + 0.1 * k + 0.05 * seed + 0.01 * rng_normal(&r) + (fresh ? gain : 0));
            sum += s->sum[i][k];
            count += s->count[i][k];
        }
        s->row[i] = (eval_row){.seed = seed + 1, .low = proportion ? 0 : NAN, .value = sum / count};
        s->row[i].high = s->row[i].low;
        s->each[i] = (behind){s->sum[i], s->count[i], SCORED};
        snprintf(s->row[i].method, sizeof s->row[i].method, fresh ? "cauchy" : "softmax");
        snprintf(s->row[i].metric, sizeof s->row[i].metric, proportion ? "exact" : "ce");
    }
}

static status score_sides(scored *s, comparison *c)
{
    TRY(filter_read(&s->plan.fresh.keep, EVAL, "method:cauchy"));
    TRY(filter_read(&s->plan.base.keep, EVAL, "method:softmax"));
    return compare_rows(&s->plan, c);
}

void selftest_compare_scores(selftest *t)
{
    static scored s;
    comparison c = {0};
    open_scores(&s, -0.1, 0);
    EXPECT(score_sides(&s, &c) == OK && c.count == 1 && strcmp(c.row[0].verdict, "BETTER") == 0);
    EXPECT(c.count == 1 && strcmp(c.row[0].paired, "sample") == 0 && c.row[0].samples == SCORED);
    EXPECT_NEAR(c.row[0].value, -0.1, 0.005);
    EXPECT_NEAR(c.row[0].p, 2 / 256.0, 1e-15); /* all eight seeds, whose spread is larger */
    EXPECT(c.row[0].high - c.row[0].low < 0.02);
    comparison_free(&c);

    /* the same numbers without samples, and one seed only of one method */
    memset(s.each, 0, sizeof s.each);
    EXPECT(score_sides(&s, &c) == OK && strcmp(c.row[0].verdict, "BETTER") == 0);
    EXPECT(strcmp(c.row[0].paired, "seed") == 0 && c.row[0].samples == 1);
    comparison_free(&c);
    s.row[SEEDS].seed = 99;
    EXPECT(score_sides(&s, &c) == OK && c.row[0].launches == SEEDS - 1);
    comparison_free(&c);
    s.row[SEEDS].seed = 2; /* twice: no second measurement */
    EXPECT(score_sides(&s, &c) == ERR_DATA && strstr(last_error(), "seed 2 twice"));

    open_scores(&s, -0.1, 1);
    EXPECT(score_sides(&s, &c) == OK && strcmp(c.row[0].verdict, "WORSE") == 0); /* a proportion */
    comparison_free(&c);
    open_scores(&s, 0, 0);
    EXPECT(score_sides(&s, &c) == OK && strcmp(c.row[0].verdict, "SAME") == 0);
    comparison_free(&c);
    /* three seeds cannot tell: the smallest p is 2 / 2^3 */
    open_scores(&s, -0.1, 0);
    EXPECT(filter_read(&s.plan.keep, EVAL, "seed:1|2|3") == OK);
    EXPECT(score_sides(&s, &c) == OK && strcmp(c.row[0].verdict, "AMBIGUOUS") == 0);
    EXPECT_NEAR(c.row[0].p, 0.25, 1e-15);
    comparison_free(&c);
    /* one number of each is no interval */
    memset(s.each, 0, sizeof s.each);
    EXPECT(filter_read(&s.plan.keep, EVAL, "seed:1") == OK);
    EXPECT(score_sides(&s, &c) == OK && isnan(c.row[0].low));
    EXPECT(strcmp(c.row[0].verdict, "AMBIGUOUS") == 0);
    comparison_free(&c);
}
