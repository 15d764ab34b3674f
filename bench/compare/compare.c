/* SPDX-License-Identifier: MIT
 *
 * compare.c — see compare.h. Rows that are kept are gathered by point, each point is judged.
 */
#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "verb.h"

int table_compares(table of)
{
    return of == TIME || of == EVAL || of == STAGE_TIMES;
}

static contrast contrast_of(table of)
{
    return of == EVAL ? DIFFERENCE_OF_MEANS : RATIO_OF_MEDIANS;
}

/* --- points ----------------------------------------------------------------------------------- */

enum { BASE, FRESH };

/* The rows of both sides that share a point, by their numbers. */
typedef struct place {
    int64_t *row[2], count[2];
} place;

typedef struct places {
    place *at;
    int64_t count;
} places;

static const char *row_at(const compare_plan *p, int64_t i)
{
    return p->rows->rows + (size_t)i * table_row_size(p->rows->of);
}

/* May the sides differ in this column (or word of it), since they are chosen by it? */
static int sides_chosen_by(const compare_plan *p, const char *name)
{
    const filter *of[] = {&p->base.keep, &p->fresh.keep};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < of[k]->count; i++) {
            const field *f = &of[k]->condition[i].of;
            if (f->stored ? strcmp(f->stored->name, name) == 0 : f->name && !strcmp(f->name, name))
                return 1;
        }
    return 0;
}

/* Words of a configuration that do not tell points apart, by commas. */
static void words_apart(const compare_plan *p, char *list, size_t size)
{
    const filter *of[] = {&p->base.keep, &p->fresh.keep};
    size_t used =
        (size_t)snprintf(list, size, "%s", p->across & ACROSS_INPUTS ? "data_hash,from," : "");
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < of[k]->count && used < size; i++)
            if (of[k]->condition[i].of.name)
                used +=
                    (size_t)snprintf(list + used, size - used, "%s,", of[k]->condition[i].of.name);
}

/* Is a column among those of "a+b"? */
static int is_among(const char *name, const char *columns)
{
    for (const char *at = columns; *at; at += strcspn(at, "+"), at += *at == '+')
        if (strcspn(at, "+") == strlen(name) && strncmp(at, name, strlen(name)) == 0) return 1;
    return 0;
}

/* Does the column tell points apart? */
static int tells_points(const compare_plan *p, const column *c)
{
    if (*p->by) return is_among(c->name, p->by);
    return c->role == ROLE_KEY && !sides_chosen_by(p, c->name);
}

/* Are two rows of one point? what: the first difference if they are not, *differences how many. */
static int same_place(const compare_plan *p, int64_t i, int64_t j, char what[200], int *differences)
{
    int count;
    const column *c = table_columns(p->rows->of, &count);
    const char *a = row_at(p, i), *b = row_at(p, j);
    char text[2][64], but[400], apart[200];
    words_apart(p, but, sizeof but);
    *differences = 0;
    for (int k = 0; k < count; k++) {
        if (!tells_points(p, &c[k])) continue;
        if (c[k].type == COL_WORDS) {
            if (!configs_differ(p->rows->of, a + c[k].offset, b + c[k].offset, but, apart))
                continue;
        } else if (same_value(&c[k], a, b, text)) {
            continue;
        } else {
            snprintf(apart, sizeof apart, "%s (%.60s and %.60s)", c[k].name, text[0], text[1]);
        }
        if ((*differences)++ == 0) snprintf(what, 200, "%s", apart);
    }
    return *differences == 0;
}

/* Which side a row is of; -1: of none. A row of both is of the base. */
static int side_of(const compare_plan *p, int64_t i)
{
    const side_plan *side[] = {&p->base, &p->fresh};
    if (!filter_keeps(p->rows->of, &p->keep, row_at(p, i))) return -1;
    for (int k = 0; k < 2; k++)
        if (i >= side[k]->first && i < side[k]->last &&
            filter_keeps(p->rows->of, &side[k]->keep, row_at(p, i)))
            return k;
    return -1;
}

static status add_to_side(place *at, int side, int64_t i)
{
    int64_t *more = realloc(at->row[side], (size_t)(at->count[side] + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "compare: out of memory");
    at->row[side] = more;
    more[at->count[side]++] = i;
    return OK;
}

static int64_t first_row(const place *at)
{
    return at->count[BASE] ? at->row[BASE][0] : at->row[FRESH][0];
}

static status gather(const compare_plan *p, places *all)
{
    char what[200];
    int differences;
    for (int64_t i = 0; i < p->rows->count; i++) {
        const int side = side_of(p, i);
        int64_t k = 0;
        if (side < 0) continue;
        while (k < all->count && !same_place(p, first_row(&all->at[k]), i, what, &differences))
            k++;
        if (k == all->count) {
            place *more = realloc(all->at, (size_t)(k + 1) * sizeof *more);
            if (!more) return fail(ERR_MEMORY, "compare: out of memory");
            all->at = more;
            all->at[all->count++] = (place){{NULL, NULL}, {0, 0}};
        }
        TRY(add_to_side(&all->at[k], side, i));
    }
    return OK;
}

static void places_free(places *all)
{
    for (int64_t i = 0; i < all->count; i++)
        for (int k = 0; k < 2; k++)
            free(all->at[i].row[k]);
    free(all->at);
}

/* Rows without a point on the other side, and in what the first of them differs from the nearest
 * row there. */
static void note_alone(const compare_plan *p, const places *all, comparison *c)
{
    int nearest = 1000;
    for (int64_t i = 0; i < all->count; i++) {
        const place *at = &all->at[i];
        for (int k = 0; k < 2; k++)
            if (at->count[!k] == 0) c->alone[k] += at->count[k];
        for (int64_t j = 0; at->count[BASE] && !at->count[FRESH] && j < all->count; j++) {
            const place *other = &all->at[j];
            char what[200];
            int differences;
            if (other->count[BASE] || !other->count[FRESH]) continue;
            (void)same_place(p, first_row(at), first_row(other), what, &differences);
            if (differences >= nearest) continue;
            nearest = differences;
            snprintf(c->apart, sizeof c->apart, "they differ in %s%s", what,
                     differences > 1 ? " and more" : "");
        }
    }
}

/* --- what may be compared --------------------------------------------------------------------- */

static int64_t seed_of(const compare_plan *p, int64_t i)
{
    const void *row = row_at(p, i);
    return p->rows->of == EVAL   ? ((const eval_row *)row)->seed
           : p->rows->of == TIME ? ((const time_row *)row)->seed
                                 : ((const stage_row *)row)->seed;
}

/* The rows of a side: of one build and device, and alike but for their seeds; of scores each seed
 * once, since a second one would be no second measurement. */
static status one_side(const compare_plan *p, const place *at, int side)
{
    const char *name = side == BASE ? p->base.name : p->fresh.name;
    for (int64_t i = 1; i < at->count[side]; i++)
        for (int64_t j = 0; j < i; j++) {
            int seeds;
            const int64_t a = at->row[side][j], b = at->row[side][i];
            TRY(source_same_origin(p->rows, a, b));
            if (source_same_but_seed(p->rows, a, b, &seeds) != OK)
                return fail(ERR_DATA,
                            "%s: rows that differ in %s at one point: expected rows that differ in "
                            "their seeds only (keep= or by= tells them apart)",
                            name, last_error());
            if (!seeds && p->rows->of == EVAL)
                return fail(ERR_DATA, "%s: seed %lld twice at one point: expected it once", name,
                            (long long)seed_of(p, a));
        }
    return OK;
}

static int has_seed(const compare_plan *p, const place *at, int side, int64_t seed)
{
    for (int64_t i = 0; i < at->count[side]; i++)
        if (seed_of(p, at->row[side][i]) == seed) return 1;
    return 0;
}

/* Seeds of times are seeds of their inputs. */
static status inputs_alike(const compare_plan *p, const place *at)
{
    if (p->rows->of != TIME || p->across & ACROSS_INPUTS) return OK;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < at->count[k]; i++) {
            const int64_t seed = seed_of(p, at->row[k][i]);
            if (!has_seed(p, at, !k, seed))
                return fail(ERR_DATA,
                            "inputs differ: only %s has those of seed %lld: expected the same, "
                            "or across=inputs",
                            k == BASE ? p->base.name : p->fresh.name, (long long)seed);
        }
    return OK;
}

static status may_compare(const compare_plan *p, const place *at)
{
    TRY(one_side(p, at, BASE));
    TRY(one_side(p, at, FRESH));
    TRY(inputs_alike(p, at));
    if (source_comparable(p->rows, at->row[BASE][0], at->row[FRESH][0], p->across) == OK) return OK;
    return fail(ERR_DATA, "%s, or across=build or device", last_error());
}

/* --- the numbers of a point ------------------------------------------------------------------- */

/* The launches of both sides. */
typedef struct sides_of {
    launch *side[2];
    int64_t count[2];
    double *value; /* room for a value of each row: the centre of a launch */
} sides_of;

static const double *value_at(const compare_plan *p, int64_t i)
{
    const void *row = row_at(p, i);
    return p->rows->of == EVAL   ? &((const eval_row *)row)->value
           : p->rows->of == TIME ? &((const time_row *)row)->median
                                 : &((const stage_row *)row)->seconds;
}

static int by_seed_of_launch(const void *a, const void *b)
{
    const int64_t x = ((const int64_t *)a)[1], y = ((const int64_t *)b)[1];
    return (x > y) - (x < y);
}

/* Sort the rows of a side by their seeds; those that the other side lacks last. Returns how many
 * both have. */
static int64_t order_by_seed(const compare_plan *p, place *at, int side, int64_t *room)
{
    int64_t common = 0, alone = 0;
    for (int64_t i = 0; i < at->count[side]; i++)
        if (has_seed(p, at, !side, seed_of(p, at->row[side][i]))) {
            room[2 * common] = at->row[side][i];
            room[2 * common + 1] = seed_of(p, at->row[side][i]);
            common++;
        }
    qsort(room, (size_t)common, 2 * sizeof *room, by_seed_of_launch);
    alone = common;
    for (int64_t i = 0; i < at->count[side]; i++)
        if (!has_seed(p, at, !side, seed_of(p, at->row[side][i])))
            room[2 * alone++] = at->row[side][i];
    for (int64_t i = 0; i < at->count[side]; i++)
        at->row[side][i] = room[2 * i];
    return common;
}

/* Scores are paired by the seeds that both sides have, if there are any: *pairs, else 0. */
static status pair_seeds(const compare_plan *p, place *at, int64_t *pairs)
{
    *pairs = 0;
    if (p->rows->of != EVAL) return OK;
    const int64_t most = at->count[BASE] > at->count[FRESH] ? at->count[BASE] : at->count[FRESH];
    int64_t *room = calloc((size_t)most * 2, sizeof *room);
    if (!room) return fail(ERR_MEMORY, "compare: out of memory");
    *pairs = order_by_seed(p, at, BASE, room);
    (void)order_by_seed(p, at, FRESH, room);
    free(room);
    if (*pairs > 0) at->count[BASE] = at->count[FRESH] = *pairs;
    return OK;
}

/* Did all rows of a point score the same samples? By what each adds to the count. */
static int same_samples(const compare_plan *p, const place *at)
{
    const behind *first = &p->each[at->row[BASE][0]];
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < at->count[k]; i++) {
            const behind *b = &p->each[at->row[k][i]];
            if (!b->x || !b->weight || b->count != first->count || b->count == 0) return 0;
            for (int64_t j = 0; j < b->count; j++)
                if (b->weight[j] != first->weight[j]) return 0;
        }
    return 1;
}

/* The launch that a row is; without its samples one of its value. */
static launch launch_of(const compare_plan *p, int64_t i, int samples)
{
    const behind *b = &p->each[i];
    if (samples && b->x && b->count > 0) return (launch){b->x, b->weight, b->count};
    return (launch){value_at(p, i), NULL, 1};
}

static status sides_open(const compare_plan *p, const place *at, int samples, sides_of *s)
{
    const int64_t all = at->count[BASE] + at->count[FRESH];
    *s = (sides_of){.count = {at->count[BASE], at->count[FRESH]}};
    s->side[BASE] = calloc((size_t)all, sizeof *s->side[BASE]);
    s->value = calloc((size_t)all, sizeof *s->value);
    if (!s->side[BASE] || !s->value) return fail(ERR_MEMORY, "compare: out of memory");
    s->side[FRESH] = s->side[BASE] + at->count[BASE];
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < at->count[k]; i++) {
            s->side[k][i] = launch_of(p, at->row[k][i], samples);
            s->value[k * at->count[BASE] + i] = *value_at(p, at->row[k][i]);
        }
    return OK;
}

static void sides_close(sides_of *s)
{
    free(s->side[BASE]);
    free(s->value);
}

/* All samples of a side, one launch behind the other; the caller frees them. */
static double *all_samples(const launch *l, int64_t launches, int64_t *count)
{
    *count = 0;
    for (int64_t i = 0; i < launches; i++)
        *count += l[i].count;
    double *x = malloc((size_t)(*count + 1) * sizeof *x);
    for (int64_t i = 0, at = 0; x && i < launches; at += l[i++].count)
        memcpy(x + at, l[i].x, (size_t)l[i].count * sizeof *x);
    return x;
}

/* Mann-Whitney of all samples. */
static status test_samples(const sides_of *s, double *p)
{
    int64_t count[2];
    double *x[2];
    for (int k = 0; k < 2; k++)
        x[k] = all_samples(s->side[k], s->count[k], &count[k]);
    const status done = x[BASE] && x[FRESH]
                            ? mann_whitney(x[BASE], count[BASE], x[FRESH], count[FRESH], p)
                            : fail(ERR_MEMORY, "compare: out of memory");
    free(x[BASE]);
    free(x[FRESH]);
    return done;
}

/* Signed ranks of the seeds; of one seed, of its samples. */
static status test_pairs(const sides_of *s, pairing by, double *p)
{
    const launch *a = s->side[BASE], *b = s->side[FRESH];
    const int64_t seeds = s->count[BASE], n = seeds == 1 && by == BY_SAMPLE ? a->count : seeds;
    int64_t count = 0;
    double *d = malloc((size_t)n * sizeof *d);
    if (!d) return fail(ERR_MEMORY, "compare: out of memory");
    for (int64_t i = 0; i < n; i++)
        if (n == seeds)
            d[count++] = s->value[seeds + i] - s->value[i];
        else if (a->weight[i] > 0)
            d[count++] = (b->x[i] - a->x[i]) / a->weight[i];
    const status done = signed_rank(d, count, p);
    free(d);
    return done;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* What a place is, from its columns: "op=softmax n=256", without what says nothing. */
static void describe(const compare_plan *p, const place *at, WORDS_ to)
{
    int count;
    const column *c = table_columns(p->rows->of, &count);
    const char *row = row_at(p, at->row[BASE][0]);
    char text[1200] = "";
    size_t used = 0;
    for (int k = 0; k < count && used < sizeof text; k++) {
        const field f = {.stored = &c[k]};
        const char *between = used ? " " : "";
        if (!tells_points(p, &c[k])) continue;
        if (c[k].type == COL_WORDS) {
            if (row[c[k].offset])
                used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", between,
                                         row + c[k].offset);
            continue;
        }
        const datum d = field_read(p->rows->of, &f, row);
        if (d.is_name ? !*d.name || !strcmp(c[k].name, "metric") : isnan(d.number) || !d.number)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=", between, c[k].name);
        if (used >= sizeof text) break;
        used += (size_t)(d.is_name ? snprintf(text + used, sizeof text - used, "%s", d.name)
                                   : snprintf(text + used, sizeof text - used, "%.9g", d.number));
    }
    words_put(to, text);
}

/* A cross-entropy or distance is better if it is smaller, a proportion if it is larger: those have
 * intervals. */
static int larger_is_better(const compare_plan *p, const place *at)
{
    const void *row = row_at(p, at->row[BASE][0]);
    return p->rows->of == EVAL && !isnan(((const eval_row *)row)->low);
}

static int place_is_noisy(const compare_plan *p, const place *at)
{
    for (int k = 0; p->rows->of == TIME && k < 2; k++)
        for (int64_t i = 0; i < at->count[k]; i++) {
            const time_row *t = (const void *)row_at(p, at->row[k][i]);
            if (is_noisy(t->q1, t->median, t->q3)) return 1;
        }
    return 0;
}

static void set_name(NAME_ to, const char *text)
{
    memset(to, 0, sizeof(NAME_));
    snprintf(to, sizeof(NAME_), "%s", text);
}

/* Without a time: a failed check. */
static int has_no_time(const compare_plan *p, const place *at, int side)
{
    for (int64_t i = 0; i < at->count[side]; i++)
        if (p->rows->of == TIME && isnan(*value_at(p, at->row[side][i]))) return 1;
    return 0;
}

/* What stands for a side by itself. */
static status side_value(const bootstrap *how, const launch *l, int64_t n, double *value)
{
    static const double unit[] = {1}, zero[] = {0};
    const bootstrap alone = {how->of, UNPAIRED, 1, 0};
    const launch nothing = {how->of == RATIO_OF_MEDIANS ? unit : zero, NULL, 1};
    return contrast_value(&alone, &nothing, 1, l, n, value);
}

static pairing pairing_of(const compare_plan *p, const place *at, int64_t pairs, int samples)
{
    if (p->in_turns && at->count[BASE] == at->count[FRESH]) return BY_LAUNCH;
    return pairs == 0 ? UNPAIRED : samples ? BY_SAMPLE : BY_LAUNCH;
}

static const char *pairing_name(const compare_plan *p, pairing by)
{
    if (by == BY_LAUNCH) return p->in_turns ? "launch" : "seed";
    return by == BY_SAMPLE ? "sample" : "none";
}

static status fill_numbers(const compare_plan *p, const place *at, int64_t pairs, compare_row *row)
{
    const int samples = p->rows->of != EVAL || (pairs > 0 && same_samples(p, at));
    const bootstrap how = {.of = contrast_of(p->rows->of),
                           .by = pairing_of(p, at, pairs, samples),
                           .resamples = p->resamples,
                           .seed = p->seed};
    sides_of s;
    interval of = {NAN, NAN, NAN};
    TRY(sides_open(p, at, samples, &s));
    status done =
        bootstrap_interval(&how, s.side[BASE], s.count[BASE], s.side[FRESH], s.count[FRESH], &of);
    if (done == OK) done = side_value(&how, s.side[BASE], s.count[BASE], &row->base_value);
    if (done == OK) done = side_value(&how, s.side[FRESH], s.count[FRESH], &row->fresh_value);
    if (done == OK) done = pairs > 0 ? test_pairs(&s, how.by, &row->p) : test_samples(&s, &row->p);
    double spread = 0;
    if (done == OK && p->own_spread)
        done = gate_spread(s.side[BASE], s.count[BASE], s.count[FRESH], &spread);
    if (3 * spread > row->margin) row->margin = 3 * spread;
    row->value = of.value;
    row->low = of.low;
    row->high = of.high;
    for (int k = 0; done == OK && k < 2; k++)
        for (int64_t i = 0; i < s.count[k]; i++)
            if (s.side[k][i].count > row->samples) row->samples = s.side[k][i].count;
    /* one number of each side has no interval */
    if (row->samples == 1 && s.count[BASE] == 1 && s.count[FRESH] == 1) row->low = row->high = NAN;
    set_name(row->paired, pairing_name(p, how.by));
    sides_close(&s);
    return done;
}

static status fill_row(const compare_plan *p, place *at, compare_row *row)
{
    const table of = p->rows->of;
    int64_t pairs;
    *row = (compare_row){.value = NAN, .low = NAN, .high = NAN, .p = NAN, .base_value = NAN};
    row->fresh_value = NAN;
    set_name(row->of, table_name(of));
    set_name(row->measured,
             of == TIME   ? "median"
             : of == EVAL ? ((const eval_row *)(const void *)row_at(p, at->row[BASE][0]))->metric
                          : "seconds");
    set_name(row->base, p->base.name);
    set_name(row->fresh, p->fresh.name);
    set_name(row->contrast, of == EVAL ? "difference" : "ratio");
    describe(p, at, row->point);
    row->margin = p->margin > 0 ? p->margin : of == EVAL ? SCORE_MARGIN : TIME_MARGIN;
    row->resamples = p->resamples;
    row->seed = (int64_t)p->seed;
    TRY(may_compare(p, at));
    TRY(pair_seeds(p, at, &pairs));
    row->base_launches = at->count[BASE];
    row->launches = at->count[FRESH];
    row->noisy = place_is_noisy(p, at);
    if (has_no_time(p, at, FRESH)) return set_name(row->verdict, "WRONG"), OK;
    if (has_no_time(p, at, BASE)) return set_name(row->verdict, "AMBIGUOUS"), OK;
    return fill_numbers(p, at, pairs, row);
}

/* Verdicts, once the p of all points are known. */
static void judge_rows(const compare_plan *p, const int *more, compare_row *row, int64_t count)
{
    const contrast by = contrast_of(p->rows->of);
    const double level = p->level > 0             ? p->level
                         : by == RATIO_OF_MEDIANS ? TIME_LEVEL
                                                  : SCORE_LEVEL;
    for (int64_t i = 0; i < count; i++) {
        const interval of = {row[i].value, row[i].low, row[i].high};
        if (*row[i].verdict) continue;
        set_name(row[i].verdict,
                 judgement_text(judge(&of, by, row[i].margin, row[i].p, level, more[i]), by));
    }
}

static status correct_for_all(compare_row *row, int64_t count)
{
    double *all = malloc((size_t)(count + 1) * sizeof *all);
    if (!all) return fail(ERR_MEMORY, "compare: out of memory");
    for (int64_t i = 0; i < count; i++)
        all[i] = row[i].p;
    holm(all, count);
    for (int64_t i = 0; i < count; i++)
        row[i].p = all[i];
    free(all);
    return OK;
}

static status no_point(const compare_plan *p, const comparison *c)
{
    if (c->alone[BASE] == 0 || c->alone[FRESH] == 0)
        return fail(ERR_DATA, "%s: no row of /%s: see `mosaic print`",
                    c->alone[BASE] == 0 ? p->base.name : p->fresh.name, table_name(p->rows->of));
    return fail(ERR_DATA, "%s and %s have no point in common: %s (by= says what makes a point)",
                p->base.name, p->fresh.name, c->apart);
}

int comparison_possible(const compare_plan *p)
{
    int there[2] = {0, 0};
    for (int64_t i = 0; i < p->rows->count; i++)
        if (side_of(p, i) >= 0) there[side_of(p, i)] = 1;
    return there[BASE] && there[FRESH];
}

status compare_rows(const compare_plan *p, comparison *c)
{
    places all = {0};
    *c = (comparison){0};
    status s = gather(p, &all);
    if (s == OK) note_alone(p, &all, c);
    c->row = calloc((size_t)all.count + 1, sizeof *c->row);
    int *more = calloc((size_t)all.count + 1, sizeof *more);
    if (s == OK && (!c->row || !more)) s = fail(ERR_MEMORY, "compare: out of memory");
    for (int64_t i = 0; s == OK && i < all.count; i++) {
        place *at = &all.at[i];
        if (at->count[BASE] == 0 || at->count[FRESH] == 0) continue;
        more[c->count] = larger_is_better(p, at);
        s = fill_row(p, at, &c->row[c->count++]);
    }
    if (s == OK && c->count == 0) s = no_point(p, c);
    if (s == OK) s = correct_for_all(c->row, c->count);
    if (s == OK) judge_rows(p, more, c->row, c->count);
    free(more);
    places_free(&all);
    if (s != OK) comparison_free(c);
    return s;
}

void comparison_free(comparison *c)
{
    free(c->row);
    *c = (comparison){0};
}

/* --- what they come to ------------------------------------------------------------------------ */

static const struct outcome {
    const char *verdict;
    int code;
} outcomes[] = {{"WRONG", EXIT_WRONG},      {"SLOWER", EXIT_WORSE}, {"WORSE", EXIT_WORSE},
                {"AMBIGUOUS", EXIT_UNSURE}, {"SAME", EXIT_GOOD},    {"FASTER", EXIT_GOOD},
                {"BETTER", EXIT_GOOD}};
enum { OUTCOMES = sizeof outcomes / sizeof *outcomes };

static int64_t verdict_count(const compare_row *row, int64_t count, const char *verdict)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        n += strcmp(row[i].verdict, verdict) == 0;
    return n;
}

int comparison_exit(const compare_row *row, int64_t count)
{
    for (int i = 0; i < OUTCOMES; i++)
        if (verdict_count(row, count, outcomes[i].verdict) > 0) return outcomes[i].code;
    return EXIT_GOOD;
}

/* Do all points have this word of the first? */
static int is_common(const compare_row *row, int64_t count, const char *word, size_t length)
{
    for (int64_t i = 0; i < count; i++) {
        int found = 0;
        for (const char *at = row[i].point; *at; at += strcspn(at, " "), at += *at == ' ')
            found |= strcspn(at, " ") == length && strncmp(at, word, length) == 0;
        if (!found) return 0;
    }
    return 1;
}

void comparison_name(const compare_row *row, int64_t count, int64_t i, char name[POINT_NAME])
{
    size_t used = 0;
    *name = '\0';
    if (strcmp(row[i].of, "eval") == 0)
        used = (size_t)snprintf(name, POINT_NAME, "%s", row[i].measured);
    for (const char *at = row[i].point; *at; at += strcspn(at, " "), at += *at == ' ') {
        const size_t n = strcspn(at, " ");
        if (is_common(row, count, at, n) || used >= POINT_NAME) continue;
        used +=
            (size_t)snprintf(name + used, POINT_NAME - used, "%s%.*s", used ? " " : "", (int)n, at);
    }
    if (!*name) snprintf(name, POINT_NAME, "%s", row[i].measured);
}

void comparison_common(const compare_row *row, int64_t count, char common[POINT_NAME])
{
    size_t used = 0;
    *common = '\0';
    for (const char *at = row->point; *at; at += strcspn(at, " "), at += *at == ' ') {
        const size_t n = strcspn(at, " ");
        if (!is_common(row, count, at, n) || used >= POINT_NAME) continue;
        used += (size_t)snprintf(common + used, POINT_NAME - used, "%s%.*s", used ? " " : "",
                                 (int)n, at);
    }
}

void comparison_text(const compare_row *row, int64_t count, char *text, size_t size)
{
    int used = snprintf(text, size, "%lld point%s", (long long)count, count == 1 ? "" : "s");
    const char *between = ":";
    for (int i = 0; i < OUTCOMES; i++) {
        const int64_t n = verdict_count(row, count, outcomes[i].verdict);
        if (n == 0 || (size_t)used >= size) continue;
        used += snprintf(text + used, size - (size_t)used, "%s %lld %s", between, (long long)n,
                         outcomes[i].verdict);
        between = ",";
    }
}
