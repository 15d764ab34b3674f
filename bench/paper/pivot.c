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

static double floor_milliseconds(const time_row *t)
{
    return 1e3 * t->floor;
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

static double microseconds(const stage_row *r)
{
    return 1e6 * r->seconds;
}

static double ktokens_per_s(const stage_row *r)
{
    return 1e-3 * r->tokens / r->seconds;
}

/* Of one table each. */
static const struct derived {
    const char *name;
    double (*of_time)(const time_row *t); /* NaN where there was no time */
    double (*of_check)(const check_row *c);
    double (*of_stage)(const stage_row *r);
} derived_columns[] = {
    {"percent_copy", percent_copy, NULL, NULL},
    {"gb_per_s", gb_per_s, NULL, NULL},
    {"ns_per_element", ns_per_element, NULL, NULL},
    {"ms", milliseconds, NULL, NULL},
    {"floor_ms", floor_milliseconds, NULL, NULL},
    {"work_per_s", work_per_s, NULL, NULL},
    {"gflops", gflops, NULL, NULL},
    {"checks", NULL, one, NULL},
    {"passed", NULL, passed, NULL},
    {"marginal", NULL, marginal, NULL},
    {"failed", NULL, failed, NULL},
    {"percent_tol", NULL, percent_tol, NULL},
    {"us", NULL, NULL, microseconds},
    {"ktokens_per_s", NULL, NULL, ktokens_per_s},
};
enum { DERIVED = sizeof derived_columns / sizeof *derived_columns };

/* A column by name. */
typedef struct field {
    const column *stored; /* NULL: */
    const struct derived *derived;
    const char *name; /* of a word of the column `config`, whose fallback is */
    const char *fallback;
} field;

/* The column `config` of a table, NULL if it has none. */
static const column *config_column(table of)
{
    int count;
    const column *c = table_columns(of, &count);
    for (int i = 0; i < count; i++)
        if (c[i].type == COL_WORDS) return &c[i];
    return NULL;
}

/* A word of `config` by the verb that wrote it: the name that outlives the call, and its fallback.
 */
static const char *config_word(table of, const char *name, const char **fallback)
{
    const char *verb = of == TIME ? "time" : "train";
    if (!config_column(of)) return NULL;
    for (int i = 0; key_name(verb, i); i++)
        if (strcmp(key_name(verb, i), name) == 0) {
            *fallback = key_fallback(verb, name);
            return key_name(verb, i);
        }
    return NULL;
}

/* Its value in "a=1 b=2": from `text`, or the fallback; *length bytes. */
static const char *config_value(const char *text, const char *name, const char *fallback,
                                size_t *length)
{
    const size_t n = strlen(name);
    for (const char *at = text; *at; at += strcspn(at, " "), at += *at == ' ')
        if (strncmp(at, name, n) == 0 && at[n] == '=') {
            *length = strcspn(at + n + 1, " ");
            return at + n + 1;
        }
    *length = strlen(fallback);
    return fallback;
}

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
        const int here = of == TIME    ? d->of_time != NULL
                         : of == CHECK ? d->of_check != NULL
                                       : of == STAGE_TIMES && d->of_stage != NULL;
        if (here && strlen(d->name) == length && strncmp(d->name, name, length) == 0)
            f->derived = d;
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    if (!f->stored && !f->derived) f->name = config_word(of, word, &f->fallback);
    if (f->stored && f->stored->type == COL_WORDS)
        return fail(ERR_DATA, "column %s: expected a word of it, such as lr", word);
    if (f->stored || f->derived || f->name) return OK;
    return fail(ERR_DATA, "no column \"%.*s\" in /%s: see `mosaic list columns`", (int)length, name,
                table_name(of));
}

static datum read_field(table of, const field *f, const char *row)
{
    datum d = {.number = NAN};
    if (f->name) {
        size_t length;
        const char *value =
            config_value(row + config_column(of)->offset, f->name, f->fallback, &length);
        snprintf(d.name, sizeof d.name, "%.*s", (int)length, value);
        d.column = f->name;
        d.is_name = !parse_real(d.name, &d.number);
        return d;
    }
    if (!f->stored) {
        const struct derived *by = f->derived;
        d.column = by->name;
        const void *at = row;
        d.number = by->of_time    ? by->of_time(at)
                   : by->of_check ? by->of_check(at)
                                  : by->of_stage(at);
        return d;
    }
    const char *at = row + f->stored->offset;
    d.column = f->stored->name;
    d.is_name = column_is_text(f->stored);
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
    const int is_name = c->of.stored && column_is_text(c->of.stored);
    const char *end = text + length;
    for (const char *at = text + name + 1; at < end; at++) {
        const size_t n = strcspn(at, "|,");
        datum d = {.is_name = is_name, .number = NAN};
        if (c->choices == MOST_CHOICES)
            return fail(ERR_DATA, "keep=%s: expected at most %d values", text, (int)MOST_CHOICES);
        snprintf(d.name, sizeof d.name, "%.*s", (int)n, at);
        if (c->of.name) d.is_name = !parse_real(d.name, &d.number);
        if (!is_name && !c->of.name && !parse_real(d.name, &d.number))
            return fail(ERR_DATA, "keep=%s: expected numbers of %.*s, got \"%s\"", text, (int)name,
                        text, d.name);
        if (is_name) TRY(value_known(of, c->of.stored->name, d.name));
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

static int is_kept(table of, const filter *f, const char *row)
{
    for (int i = 0; i < f->count; i++) {
        const condition *c = &f->condition[i];
        const datum is = read_field(of, &c->of, row);
        int met = 0;
        for (int j = 0; j < c->choices; j++) {
            const datum *may = &c->choice[j];
            met |= is.is_name != may->is_name ? 0
                   : is.is_name               ? strcmp(is.name, may->name) == 0
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

static key group_of(table of, const grouping *g, const char *row)
{
    key k = {.count = g->count};
    for (int i = 0; i < g->count; i++)
        k.part[i] = read_field(of, &g->field[i], row);
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

/* --- what may be averaged --------------------------------------------------------------------- */

const char *origin_device(const origin *o)
{
    return *o->device ? o->device : o->cpu;
}

static status origins_differ(const origin *a, const origin *b, const char *what, const char *of_a,
                             const char *of_b)
{
    return fail(ERR_DATA, "rows of two %s: %.80s (%.200s) and %.80s (%.200s): expected one", what,
                of_a, a->path, of_b, b->path);
}

/* May rows of these origins share a number? measured: the machine decides it. */
static status origin_same(const origin *a, const origin *b, int measured)
{
    const char *one = origin_device(a), *two = origin_device(b);
    if (a == b) return OK;
    if (measured && strcmp(one, two) != 0) return origins_differ(a, b, "devices", one, two);
    if (measured && strcmp(a->driver, b->driver) != 0)
        return origins_differ(a, b, "drivers", a->driver, b->driver);
    if (measured && strcmp(a->compiler, b->compiler) != 0)
        return origins_differ(a, b, "compilers", a->compiler, b->compiler);
    if (strcmp(a->sources, b->sources) != 0)
        return origins_differ(a, b, "builds", a->commit, b->commit);
    return OK;
}

/* Does the machine decide the numbers of a row? The reference has the same bits everywhere. */
static int machine_decides(table of, const char *row)
{
    const char *ran_on = "";
    if (of == TRAIN) ran_on = ((const train_row *)(const void *)row)->backend;
    if (of == EVAL) ran_on = ((const eval_row *)(const void *)row)->backend;
    return of != ROW && strcmp(ran_on, "ref") != 0 && strcmp(ran_on, "none") != 0;
}

status source_same_origin(const source *s, int64_t i, int64_t j)
{
    const char *row = s->rows + (size_t)i * table_row_size(s->of);
    if (!s->from) return OK;
    return origin_same(&s->origin[s->from[i]], &s->origin[s->from[j]], machine_decides(s->of, row));
}

/* The values of two rows in a column, as text; 1 if they are the same. */
static int same_value(const column *c, const char *a, const char *b, char text[2][64])
{
    const field f = {.stored = c};
    datum d[2] = {read_field(TABLES, &f, a), read_field(TABLES, &f, b)};
    for (int i = 0; i < 2; i++)
        if (d[i].is_name)
            snprintf(text[i], 64, "%s", d[i].name);
        else
            snprintf(text[i], 64, "%.9g", d[i].number);
    if (d[0].is_name) return strcmp(a + c->offset, b + c->offset) == 0;
    return d[0].number == d[1].number || (isnan(d[0].number) && isnan(d[1].number));
}

/* The first word in which two configurations differ. */
static status configs_differ(table of, const char *a, const char *b)
{
    const char *texts[2] = {a, b};
    for (int i = 0; i < 2; i++)
        for (const char *at = texts[i]; *at; at += strcspn(at, " "), at += *at == ' ') {
            char name[64];
            const char *fallback = "", *value[2];
            size_t length[2];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "= "), at);
            if (!config_word(of, name, &fallback)) fallback = "";
            for (int j = 0; j < 2; j++)
                value[j] = config_value(texts[j], name, fallback, &length[j]);
            if (length[0] != length[1] || strncmp(value[0], value[1], length[0]) != 0)
                return fail(ERR_DATA, "%s (%.*s and %.*s)", name, (int)length[0], value[0],
                            (int)length[1], value[1]);
        }
    return fail(ERR_DATA, "config (%.60s and %.60s)", a, b);
}

/* What rows i and j of one group may not differ in; their seeds differ or not. */
static status same_but_seed(const source *s, int64_t i, int64_t j)
{
    int count, seeds = 0;
    const column *c = table_columns(s->of, &count);
    const size_t size = table_row_size(s->of);
    const char *a = s->rows + (size_t)i * size, *b = s->rows + (size_t)j * size;
    char text[2][64];
    for (int k = 0; k < count; k++)
        if (c[k].role == ROLE_SEED && !same_value(&c[k], a, b, text)) seeds = 1;
    for (int k = 0; k < count; k++) {
        if (c[k].role == ROLE_SEED || c[k].role == ROLE_FOUND) continue;
        if ((c[k].role == ROLE_EACH && seeds) || same_value(&c[k], a, b, text)) continue;
        if (c[k].type == COL_WORDS) return configs_differ(s->of, a + c[k].offset, b + c[k].offset);
        return fail(ERR_DATA, "%s (%s and %s)", c[k].name, text[0], text[1]);
    }
    return seeds ? OK : fail(ERR_DATA, "nothing: one measurement twice");
}

/* May row i join the rows of a group? before: of every row, the one before it in its group. */
static status may_join(const source *s, int64_t i, int64_t last, const int64_t *before, int mean)
{
    for (int64_t j = last; j >= 0; j = mean ? before[j] : -1) {
        TRY(source_same_origin(s, j, i));
        if (!mean || same_but_seed(s, j, i) == OK) continue;
        return fail(ERR_DATA,
                    "an average of rows that differ in %s: expected rows that differ in "
                    "their seeds only (keep=, or a column of the table, tells them apart)",
                    last_error());
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
        if (!is_kept(s->of, f, at)) continue;
        const key row = group_of(s->of, rows, at), col = group_of(s->of, cols, at);
        point *to = point_of(p, &row, &col);
        if (!to) {
            done = fail(ERR_MEMORY, "show: out of memory");
            break;
        }
        done = may_join(s, i, to->last, before, mean);
        before[i] = to->last;
        to->last = i;
        add_value(to, read_field(s->of, value, at).number);
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
    return find_field(of, text, name < length ? name : length, value);
}

status pivot_check(table of, const char *keep, const char *columns, const char *values)
{
    grouping by;
    field value;
    const char *how;
    filter *f = malloc(sizeof *f);
    if (!f) return fail(ERR_MEMORY, "show: out of memory");
    status s = read_filter(f, of, keep);
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
    status done = read_filter(f, s->of, keep);
    if (done == OK) done = add_rows(p, s, f, &by_row, &by_col, &value, !*how);
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
