/* SPDX-License-Identifier: MIT
 *
 * pivot.c — choose, group, average. The file keeps samples; this computes. What keys are called is
 * in key.c.
 */
#include "pivot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verb.h"

/* --- choosing --------------------------------------------------------------------------------- */

/* keep=, with values that the lists know. */
static status read_keep(filter *f, table of, const char *keep)
{
    TRY(filter_read(f, of, keep));
    for (int i = 0; i < f->count; i++) {
        const condition *c = &f->condition[i];
        for (int j = 0; j < c->choices; j++)
            if (c->of.stored && c->choice[j].is_name)
                TRY(value_known(of, c->of.stored->name, c->choice[j].name));
    }
    return OK;
}

/* --- grouping --------------------------------------------------------------------------------- */

/* The columns of "a+b". */
typedef struct grouping {
    int count;
    field field[KEY_PARTS];
} grouping;

static status read_grouping(grouping *g, table of, const char *columns)
{
    g->count = 0;
    for (const char *at = columns; *at;) {
        const size_t n = strcspn(at, "+");
        if (g->count == KEY_PARTS)
            return fail(ERR_DATA, "%s: expected at most %d columns", columns, (int)KEY_PARTS);
        TRY(field_find(of, at, n, &g->field[g->count++]));
        at += n + (at[n] == '+');
    }
    return OK;
}

static key group_of(table of, const grouping *g, const char *row)
{
    key k = {.count = g->count};
    for (int i = 0; i < g->count; i++)
        k.part[i] = field_read(of, &g->field[i], row);
    return k;
}

static int same_key(const key *a, const key *b)
{
    if (a->count != b->count) return 0;
    for (int i = 0; i < a->count; i++) {
        const datum *x = &a->part[i], *y = &b->part[i];
        if (x->is_name != y->is_name) return 0;
        if (x->is_name ? strcmp(x->name, y->name) != 0
                       : !(x->number == y->number || (isnan(x->number) && isnan(y->number))))
            return 0;
    }
    return 1;
}

const point *pivot_find(const pivot *p, const key *row, const key *col)
{
    for (int i = 0; i < p->count; i++)
        if (same_key(&p->points[i].row, row) && same_key(&p->points[i].col, col))
            return &p->points[i];
    return NULL;
}

/* The point of a group, new if it is the first of its rows; NULL without memory. */
static point *point_of(pivot *p, const key *row, const key *col)
{
    const point *known = pivot_find(p, row, col);
    if (known) return p->points + (known - p->points);
    if ((p->count & (p->count - 1)) == 0) { /* room for the next power of two */
        const size_t room = p->count ? 2 * (size_t)p->count : 1;
        point *more = realloc(p->points, room * sizeof *more);
        if (!more) return NULL;
        p->points = more;
    }
    point *fresh = &p->points[p->count++];
    *fresh = (point){.row = *row, .col = *col, .last = -1};
    return fresh;
}

static void add_value(point *at, double x)
{
    const double away = x - at->centre;
    at->most = at->n && (isnan(at->most) || x <= at->most) ? at->most : x;
    at->sum += x;
    at->n++;
    at->centre += away / (double)at->n;
    at->squares += away * (x - at->centre);
}

/* Of a time in whatever unit: its value at both quartiles. */
static void note_quartiles(point *at, const field *value, const char *row)
{
    time_row one;
    memcpy(&one, row, sizeof one);
    const double median = one.median, q1 = one.q1, q3 = one.q3;
    const double as_it_is = field_read(TIME, value, row).number;
    one.median = q1;
    const double fast = field_read(TIME, value, (const char *)&one).number;
    one.median = q3;
    const double slow = field_read(TIME, value, (const char *)&one).number;
    if (fast == as_it_is && slow == as_it_is) return; /* no time */
    at->low = fmin(fast, slow);
    at->high = fmax(fast, slow);
    at->spread = (q3 - q1) / median;
}

/* What a row says of how certain its value is. */
static void note_interval(point *at, table of, const field *value, const char *row)
{
    at->low = at->high = at->spread = NAN;
    if (of == TIME) note_quartiles(at, value, row);
    if (of == EVAL && value->stored && strcmp(value->stored->name, "value") == 0) {
        eval_row one;
        memcpy(&one, row, sizeof one);
        at->low = one.low;
        at->high = one.high;
        if (!isnan(one.low)) at->trials = one.count;
    }
}

/* --- what may be averaged --------------------------------------------------------------------- */

/* May row i join the rows of a group? before: of every row, the one before it in its group. */
static status may_join(const source *s, int64_t i, int64_t last, const int64_t *before, int mean)
{
    for (int64_t j = last; j >= 0; j = mean ? before[j] : -1) {
        int seeds;
        TRY(source_same_origin(s, j, i));
        if (!mean) continue;
        const status same = source_same_but_seed(s, j, i, &seeds);
        if (same == OK && seeds) continue;
        return fail(ERR_DATA,
                    "an average of rows that differ in %s: expected rows that differ in "
                    "their seeds only (keep=, or a column of the table, tells them apart)",
                    same != OK ? last_error() : "nothing: one measurement twice");
    }
    return OK;
}

static status add_rows(pivot *p, const source *s, const filter *f, const grouping *rows,
                       const grouping *cols, const field *value, int mean)
{
    int64_t *before = malloc((size_t)(s->count + 1) * sizeof *before);
    status done = before ? OK : fail(ERR_MEMORY, "show: out of memory");
    for (int64_t i = 0; done == OK && i < s->count; i++) {
        const char *at = s->rows + (size_t)i * table_row_size(s->of);
        if (!filter_keeps(s->of, f, at)) continue;
        const key row = group_of(s->of, rows, at), col = group_of(s->of, cols, at);
        point *to = point_of(p, &row, &col);
        if (!to) {
            done = fail(ERR_MEMORY, "show: out of memory");
            break;
        }
        done = may_join(s, i, to->last, before, mean);
        before[i] = to->last;
        to->last = i;
        note_interval(to, s->of, value, at);
        add_value(to, field_read(s->of, value, at).number);
    }
    free(before);
    return done;
}

/* "column", "column:sum" or "column:max" in the first `length` bytes; *how is "", "sum" or "max".
 */
static status read_value(table of, const char *text, size_t length, field *value, const char **how)
{
    static const char *const hows[] = {"sum", "max"};
    const size_t name = strcspn(text, ":,"), n = name < length ? length - name - 1 : 0;
    *how = "";
    for (size_t i = 0; i < 2; i++)
        if (n == 3 && strncmp(text + name + 1, hows[i], n) == 0) *how = hows[i];
    if (name < length && !**how)
        return fail(ERR_DATA, "%.*s: expected a column, column:sum or column:max", (int)length,
                    text);
    return field_find(of, text, name < length ? name : length, value);
}

status pivot_check(table of, const char *keep, const char *columns, const char *values)
{
    grouping by;
    field value;
    const char *how;
    filter *f = malloc(sizeof *f);
    if (!f) return fail(ERR_MEMORY, "show: out of memory");
    status s = read_keep(f, of, keep);
    free(f);
    if (s == OK) s = read_grouping(&by, of, columns);
    for (const char *at = values; s == OK && *at;) {
        const size_t length = strcspn(at, ",");
        s = read_value(of, at, length, &value, &how);
        at += length + (at[length] == ',');
    }
    return s;
}

status pivot_make(pivot *p, const source *s, const char *keep, const char *rows, const char *cols,
                  const char *value_of)
{
    const char *how;
    grouping by_row, by_col;
    field value;
    *p = (pivot){0};
    TRY(read_value(s->of, value_of, strlen(value_of), &value, &how));
    const int sum = strcmp(how, "sum") == 0, most = strcmp(how, "max") == 0;
    TRY(read_grouping(&by_row, s->of, rows));
    TRY(read_grouping(&by_col, s->of, cols));
    filter *f = malloc(sizeof *f);
    if (!f) return fail(ERR_MEMORY, "show: out of memory");
    status done = read_keep(f, s->of, keep);
    if (done == OK) done = add_rows(p, s, f, &by_row, &by_col, &value, !*how);
    free(f);
    for (int i = 0; i < p->count; i++) {
        point *at = &p->points[i];
        const double n = (double)at->n;
        at->value = sum ? at->sum : most ? at->most : at->sum / n;
        at->sd = at->n > 1 && !*how ? sqrt(at->squares / (n - 1)) : NAN;
        if (at->n == 1 && !*how) continue;
        at->low = at->value - at->sd;
        at->high = at->value + at->sd;
        at->spread = NAN;
    }
    return done;
}

void pivot_free(pivot *p)
{
    free(p->points);
    *p = (pivot){0};
}

static int by_key_number(const void *a, const void *b)
{
    const double x = (*(const key *const *)a)->part[0].number;
    const double y = (*(const key *const *)b)->part[0].number;
    return (x > y) - (x < y);
}

int pivot_keys(const pivot *p, int of_rows, const key **keys, int room)
{
    int count = 0, numbers = 1;
    for (int i = 0; i < p->count; i++) {
        const key *k = of_rows ? &p->points[i].row : &p->points[i].col;
        int known = 0;
        for (int j = 0; j < count && !known; j++)
            known = same_key(keys[j], k);
        if (known || count == room) continue;
        numbers &= k->count == 1 && !isnan(k->part[0].number);
        keys[count++] = k;
    }
    if (numbers && count > 1) qsort(keys, (size_t)count, sizeof *keys, by_key_number);
    return count;
}
