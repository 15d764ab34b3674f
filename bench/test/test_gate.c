/* SPDX-License-Identifier: MIT
 *
 * test_gate.c — the gate under test, by simulation on recorded noise: launches are drawn from the
 * samples of the committed measurements (runs of consecutive ones, so that what drifts in a record
 * drifts in a launch too), both sides from the same record, the fresh one slowed by a factor or
 * not; and every verdict passes through the second run.
 *
 *     the same thing twice       SLOWER or FASTER of at most 1 % of 200 points and more
 *     slower by 5 %, 10 %        SLOWER of at least 95 %, 99.9 %
 *
 * Of a record whose own launches scatter so much that the margin exceeds 3 %, the second is not
 * asked: the gate says AMBIGUOUS there.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare/gate.h"
#include "rng.h"
#include "selftest.h"

enum { POINTS = 8, SIDE_LAUNCHES = 6, SIDE_ROWS = POINTS * SIDE_LAUNCHES, LONGEST = 1000 };

/* A file of times: points, each a record of one launch or more. */
typedef struct record {
    sources all;
    behind *relative;
    int64_t point[LONGEST]; /* of each row, its point */
    int64_t points;
} record;

/* The point of a row: that of an earlier one, or a new one. */
static int64_t point_of_row(record *r, int64_t i)
{
    int seeds;
    for (int64_t j = 0; j < i; j++)
        if (source_same_but_seed(&r->all.rows[TIME], i, j, &seeds) == OK) return r->point[j];
    return r->points++;
}

static status record_open(record *r, const char *name)
{
    const int wanted[TABLES] = {[TIME] = SAMPLES_TOO};
    char path[1024];
    snprintf(path, sizeof path, "%s/plots/data/%s", MOSAIC_SOURCE_DIR, name);
    memset(r, 0, sizeof *r);
    sources_start(&r->all);
    TRY(sources_read(&r->all, path, wanted));
    const source *rows = &r->all.rows[TIME];
    for (int64_t i = 0; i < rows->count && i < LONGEST; i++)
        r->point[i] = point_of_row(r, i);
    return gate_relative(r->all.each[TIME], rows->count, &r->relative);
}

static void record_close(record *r)
{
    gate_relative_free(r->relative, r->all.rows[TIME].count);
    sources_free(&r->all);
}

/* Rows of a simulated comparison, and what stands behind them. */
typedef struct simulation {
    time_row row[2 * SIDE_ROWS];
    double sample[2 * SIDE_ROWS][LONGEST];
    behind each[2 * SIDE_ROWS];
} simulation;

/* One launch of a point: consecutive samples of one of its recorded launches, half of it if there
 * is but one. */
static void draw_launch(const record *of, rng *r, int64_t point, double factor, behind *to)
{
    int64_t recorded[64] = {0}, launches = 0;
    for (int64_t i = 0; i < of->all.rows[TIME].count && i < LONGEST && launches < 64; i++)
        if (of->point[i] == point) recorded[launches++] = i;
    const behind *from = &of->relative[recorded[rng_below(r, (uint64_t)launches)]];
    const int64_t begin = (int64_t)rng_below(r, (uint64_t)from->count);
    to->count = launches > 1 ? from->count : from->count / 2;
    for (int64_t k = 0; k < to->count; k++)
        to->x[k] = factor * from->x[(begin + k) % from->count];
}

static void draw_sides(simulation *s, const record *of, rng *r, const int64_t *point, double factor)
{
    for (int i = 0; i < 2 * SIDE_ROWS; i++) {
        const int fresh = i >= SIDE_ROWS, p = i % POINTS;
        s->row[i] = (time_row){.n = p + 1, .alpha = NAN, .median = 1, .q1 = 1, .q3 = 1};
        s->each[i] = (behind){s->sample[i], NULL, 0};
        draw_launch(of, r, point[p], fresh ? factor : 1, &s->each[i]);
    }
}

/* A run of the gate; with the verdicts of a second one where something moved. */
static status run_gate(simulation *s, const record *of, rng *r, const int64_t *point, double factor,
                       comparison *c)
{
    const source rows = {.of = TIME, .rows = (char *)s->row, .count = 2 * SIDE_ROWS};
    static compare_plan p;
    comparison again = {0};
    p = (compare_plan){.rows = &rows, .each = s->each, .by = "", .resamples = 300, .own_spread = 1};
    p.base = (side_plan){.name = "base", .last = SIDE_ROWS};
    p.fresh = (side_plan){.name = "fresh", .first = SIDE_ROWS, .last = 2 * SIDE_ROWS};
    draw_sides(s, of, r, point, factor);
    p.seed = rng_u64(r);
    TRY(compare_rows(&p, c));
    draw_sides(s, of, r, point, factor);
    p.seed = rng_u64(r);
    TRY(compare_rows(&p, &again));
    gate_agree(c->row, c->count, again.row, again.count);
    comparison_free(&again);
    return OK;
}

typedef struct tally {
    int64_t points, quiet, same, slower, faster, ambiguous, quiet_slower;
} tally;

static status simulate(const record *of, double factor, int runs, tally *t)
{
    simulation *s = malloc(sizeof *s);
    status done = s ? OK : fail(ERR_MEMORY, "gate: out of memory");
    memset(t, 0, sizeof *t);
    for (int i = 0; done == OK && i < runs; i++) {
        rng r = rng_sample(17, (uint64_t)(factor * 100), 0, (uint64_t)i);
        comparison c = {0};
        int64_t point[POINTS];
        for (int k = 0; k < POINTS; k++)
            point[k] = (int64_t)rng_below(&r, (uint64_t)of->points);
        done = run_gate(s, of, &r, point, factor, &c);
        for (int64_t k = 0; k < c.count; k++) {
            const char *says = c.row[k].verdict;
            const int quiet = c.row[k].margin <= TIME_MARGIN, slower = strcmp(says, "SLOWER") == 0;
            t->points++;
            t->quiet += quiet;
            t->same += strcmp(says, "SAME") == 0;
            t->slower += slower;
            t->quiet_slower += slower && quiet;
            t->faster += strcmp(says, "FASTER") == 0;
            t->ambiguous += strcmp(says, "AMBIGUOUS") == 0;
        }
        comparison_free(&c);
    }
    free(s);
    return done;
}

/* 26 comparisons of POINTS points each of the same thing, 26 of one that is slower by 5 %, `runs`
 * by 10 %. slowed: is the noise that of a measurement, not of a machine with other work to do? */
static void judge_gate(selftest *t, const char *name, int runs, int slowed)
{
    static record of;
    tally is;
    EXPECT(record_open(&of, name) == OK && of.points >= POINTS);
    EXPECT(simulate(&of, 1, 26, &is) == OK && is.points >= 200);
    printf("%s the same: %lld points, %lld SAME, %lld AMBIGUOUS, %lld SLOWER, %lld FASTER\n", name,
           (long long)is.points, (long long)is.same, (long long)is.ambiguous, (long long)is.slower,
           (long long)is.faster);
    EXPECT(100 * (is.slower + is.faster) <= is.points);
    EXPECT(!slowed || 10 * is.ambiguous <= is.points);
    for (int k = 0; k < 2; k++) {
        EXPECT(simulate(&of, k ? 1.10 : 1.05, k ? runs : 26, &is) == OK && is.faster == 0);
        printf("%s slower by %d %%: %lld points, %lld of margin 3 %%, of those %lld SLOWER\n", name,
               k ? 10 : 5, (long long)is.points, (long long)is.quiet, (long long)is.quiet_slower);
        EXPECT(!slowed || (is.quiet >= 200 && (k ? 1000 * is.quiet_slower >= 999 * is.quiet
                                                 : 100 * is.quiet_slower >= 95 * is.quiet)));
    }
    record_close(&of);
}

void selftest_gate_gpu(selftest *t)
{
    judge_gate(t, "rows-h200.h5", 125, 1);
    judge_gate(t, "rows-h100.h5", 26, 1);
}

/* 16 launches of the points of ci/baselines/cpu.points, beside their yardstick, while other work
 * kept the machine busy. */
void selftest_gate_cpu(selftest *t)
{
    judge_gate(t, "gate-cpu.h5", 26, 0);
}
