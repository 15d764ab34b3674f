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

/* --- columns: stored, or derived from a row -------------------------------------------------- */

static double percent_copy(const time_row *t)
{
    return 100 * t->bytes / t->median / t->copy;
}

static double gb_per_s(const time_row *t)
{
    return 1e-9 * t->bytes / t->median;
}

static double ns_per_element(const time_row *t)
{
    return 1e9 * t->median / ((double)t->rows * (double)t->n);
}

static double milliseconds(const time_row *t)
{
    return 1e3 * t->median;
}

static double work_per_s(const time_row *t)
{
    return t->work / t->median;
}

static double gflops(const time_row *t)
{
    return 1e-9 * t->work / t->median;
}

static double one(const check_row *c)
{
    (void)c;
    return 1;
}

static double passed(const check_row *c)
{
    return strcmp(c->verdict, "PASS") == 0;
}

static double marginal(const check_row *c)
{
    return strcmp(c->verdict, "MARGINAL") == 0;
}

static double failed(const check_row *c)
{
    return strcmp(c->verdict, "FAIL") == 0;
}

static double percent_tol(const check_row *c)
{
    return c->error == 0 ? 0 : 100 * c->error / c->tol;
}

static const struct derived {
    const char *name;
    double (*of_time)(const time_row *t); /* NaN where there was no time */
    double (*of_check)(const check_row *c);
} derived_columns[] = {
    {"percent_copy", percent_copy, NULL},
    {"gb_per_s", gb_per_s, NULL},
    {"ns_per_element", ns_per_element, NULL},
    {"ms", milliseconds, NULL},
    {"work_per_s", work_per_s, NULL},
    {"gflops", gflops, NULL},
    {"checks", NULL, one},
    {"passed", NULL, passed},
    {"marginal", NULL, marginal},
    {"failed", NULL, failed},
    {"percent_tol", NULL, percent_tol},
};
enum { DERIVED = sizeof derived_columns / sizeof *derived_columns };

/* A column by name. */
typedef struct field {
    const column *stored; /* NULL: */
    const struct derived *derived;
} field;

/* name: the first `length` bytes. */
static status find_field(table of, const char *name, size_t length, field *f)
{
    int count;
    const column *c = table_columns(of, &count);
    *f = (field){0};
    for (int i = 0; i < count; i++)
        if (strlen(c[i].name) == length && strncmp(c[i].name, name, length) == 0) f->stored = &c[i];
    for (int i = 0; i < DERIVED && !f->stored; i++) {
        const struct derived *d = &derived_columns[i];
        if ((of == TIME ? d->of_time != NULL : of == CHECK && d->of_check != NULL) &&
            strlen(d->name) == length && strncmp(d->name, name, length) == 0)
            f->derived = d;
    }
    if (f->stored || f->derived) return OK;
    return fail(ERR_DATA, "no column \"%.*s\" in /%s: see `mosaic list columns`", (int)length, name,
                table_name(of));
}

static datum read_field(const field *f, const char *row)
{
    datum d = {.number = NAN};
    if (!f->stored) {
        const struct derived *by = f->derived;
        d.column = by->name;
        d.number = by->of_time ? by->of_time((const time_row *)(const void *)row)
                               : by->of_check((const check_row *)(const void *)row);
        return d;
    }
    const char *at = row + f->stored->offset;
    d.column = f->stored->name;
    d.is_name = f->stored->type == COL_NAME;
    if (d.is_name)
        snprintf(d.name, sizeof d.name, "%s", at);
    else if (f->stored->type == COL_I64)
        d.number = (double)*(const int64_t *)(const void *)at;
    else
        d.number = *(const double *)(const void *)at;
    return d;
}

/* --- choosing: keep=col:a|b,... --------------------------------------------------------------- */

enum { MOST_CONDITIONS = 8, MOST_CHOICES = 32 };

/* One column, and what it may be. */
typedef struct condition {
    field of;
    int choices;
    datum choice[MOST_CHOICES];
} condition;

typedef struct filter {
    int count;
    condition condition[MOST_CONDITIONS];
} filter;

/* "col:a|b" in the first `length` bytes of text. */
static status read_condition(condition *c, table of, const char *text, size_t length)
{
    const size_t name = strcspn(text, ":,");
    if (name >= length) return fail(ERR_DATA, "keep=%s: expected column:value pairs", text);
    TRY(find_field(of, text, name, &c->of));
    const int is_name = c->of.stored && c->of.stored->type == COL_NAME;
    const char *end = text + length;
    for (const char *at = text + name + 1; at < end; at++) {
        const size_t n = strcspn(at, "|,");
        datum d = {.is_name = is_name, .number = NAN};
        if (c->choices == MOST_CHOICES)
            return fail(ERR_DATA, "keep=%s: expected at most %d values", text, (int)MOST_CHOICES);
        snprintf(d.name, sizeof d.name, "%.*s", (int)n, at);
        if (!is_name && !parse_real(d.name, &d.number))
            return fail(ERR_DATA, "keep=%s: expected numbers of %.*s, got \"%s\"", text, (int)name,
                        text, d.name);
        c->choice[c->choices++] = d;
        at += n;
    }
    return OK;
}

static status read_filter(filter *f, table of, const char *keep)
{
    f->count = 0;
    for (const char *at = keep; *at;) {
        const size_t length = strcspn(at, ",");
        if (f->count == MOST_CONDITIONS)
            return fail(ERR_DATA, "keep=%s: expected at most %d columns", keep,
                        (int)MOST_CONDITIONS);
        condition *c = &f->condition[f->count++];
        c->choices = 0;
        TRY(read_condition(c, of, at, length));
        at += length + (at[length] == ',');
    }
    return OK;
}

static int is_kept(const filter *f, const char *row)
{
    for (int i = 0; i < f->count; i++) {
        const condition *c = &f->condition[i];
        const datum is = read_field(&c->of, row);
        int met = 0;
        for (int j = 0; j < c->choices; j++) {
            const datum *may = &c->choice[j];
            met |= is.is_name ? strcmp(is.name, may->name) == 0
                              : fabs(is.number - may->number) <= 1e-9 * fabs(may->number);
        }
        if (!met) return 0;
    }
    return 1;
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
        TRY(find_field(of, at, n, &g->field[g->count++]));
        at += n + (at[n] == '+');
    }
    return OK;
}

static key group_of(const grouping *g, const char *row)
{
    key k = {.count = g->count};
    for (int i = 0; i < g->count; i++)
        k.part[i] = read_field(&g->field[i], row);
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
    *fresh = (point){.row = *row, .col = *col};
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

static status add_rows(pivot *p, const source *s, const filter *f, const grouping *rows,
                       const grouping *cols, const field *value)
{
    for (int64_t i = 0; i < s->count; i++) {
        const char *at = s->rows + (size_t)i * table_row_size(s->of);
        if (!is_kept(f, at)) continue;
        const key row = group_of(rows, at), col = group_of(cols, at);
        point *to = point_of(p, &row, &col);
        if (!to) return fail(ERR_MEMORY, "show: out of memory");
        add_value(to, read_field(value, at).number);
    }
    return OK;
}

status pivot_make(pivot *p, const source *s, const char *keep, const char *rows, const char *cols,
                  const char *value_of)
{
    const size_t length = strcspn(value_of, ":");
    const char *how = value_of + length + (value_of[length] == ':');
    const int sum = strcmp(how, "sum") == 0, most = strcmp(how, "max") == 0;
    grouping by_row, by_col;
    field value;
    *p = (pivot){0};
    if (*how && !sum && !most)
        return fail(ERR_DATA, "%s: expected a column, column:sum or column:max", value_of);
    TRY(read_grouping(&by_row, s->of, rows));
    TRY(read_grouping(&by_col, s->of, cols));
    TRY(find_field(s->of, value_of, length, &value));
    filter *f = malloc(sizeof *f);
    if (!f) return fail(ERR_MEMORY, "show: out of memory");
    status done = read_filter(f, s->of, keep);
    if (done == OK) done = add_rows(p, s, f, &by_row, &by_col, &value);
    free(f);
    for (int i = 0; i < p->count; i++) {
        point *at = &p->points[i];
        const double n = (double)at->n;
        at->value = sum ? at->sum : most ? at->most : at->sum / n;
        at->sd = at->n > 1 && !*how ? sqrt(at->squares / (n - 1)) : NAN;
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
