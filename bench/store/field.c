/* SPDX-License-Identifier: MIT
 *
 * field.c — columns by name: stored ones, those derived from a row, the words of `config`; and the
 * rows that keep= chooses by them.
 */
#include "field.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "statistics.h"
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

/* 1: quartiles too far apart for the median to stand without a warning. */
static double noisy_row(const time_row *t)
{
    return is_noisy(t->q1, t->median, t->q3);
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
    {"noisy", noisy_row, NULL, NULL},
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

/* The column `config` of a table, NULL if it has none. */
static const column *config_column(table of)
{
    int count;
    const column *c = table_columns(of, &count);
    for (int i = 0; i < count; i++)
        if (c[i].type == COL_WORDS) return &c[i];
    return NULL;
}

/* A column of what was compared: the points of /compare are made of them. */
static const char *point_word(const char *name)
{
    static const table tables[] = {TIME, EVAL, STAGE_TIMES};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        int count;
        const column *c = table_columns(tables[t], &count);
        for (int i = 0; i < count; i++)
            if (c[i].role == ROLE_KEY && strcmp(c[i].name, name) == 0) return c[i].name;
    }
    return NULL;
}

/* A word of `config` by the verb that wrote it: the name that outlives the call, and its fallback.
 */
const char *config_word(table of, const char *name, const char **fallback)
{
    const char *verb = of == TIME ? "time" : "train";
    if (of == COMPARED && point_word(name)) return *fallback = "", point_word(name);
    if (!config_column(of)) return NULL;
    for (int i = 0; key_name(verb, i); i++)
        if (strcmp(key_name(verb, i), name) == 0) {
            *fallback = key_fallback(verb, name);
            return key_name(verb, i);
        }
    return NULL;
}

/* Its value in "a=1 b=2": from `text`, or the fallback; *length bytes. */
const char *config_value(const char *text, const char *name, const char *fallback, size_t *length)
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
status field_find(table of, const char *name, size_t length, field *f)
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

datum field_read(table of, const field *f, const char *row)
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

/* "col:a|b" in the first `length` bytes of text. */
static status read_condition(condition *c, table of, const char *text, size_t length)
{
    const size_t name = strcspn(text, ":,");
    if (name >= length) return fail(ERR_DATA, "keep=%s: expected column:value pairs", text);
    TRY(field_find(of, text, name, &c->of));
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
        c->choice[c->choices++] = d;
        at += n;
    }
    return OK;
}

status filter_read(filter *f, table of, const char *keep)
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

int filter_keeps(table of, const filter *f, const char *row)
{
    for (int i = 0; i < f->count; i++) {
        const condition *c = &f->condition[i];
        const datum is = field_read(of, &c->of, row);
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
