/* SPDX-License-Identifier: MIT
 *
 * pivot.c — choose, group, average. The file keeps samples; this computes.
 */
#include "pivot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verb.h"

enum { KEYS = 4, TEXT_SIZE = 96 };

status source_read(source *s, table of, char *const *paths, int count, int *missing)
{
    const size_t size = table_row_size(of);
    *s = (source){.of = of};
    *missing = 0;
    for (int i = 0; i < count; i++) {
        void *rows = NULL;
        int64_t n = 0;
        if (access(paths[i], R_OK) != 0) {
            ++*missing;
            continue;
        }
        status done = results_rows(paths[i], of, &rows, &n);
        char *more = done == OK ? realloc(s->rows, (size_t)(s->count + n + 1) * size) : NULL;
        if (more) {
            s->rows = more;
            if (n > 0) memcpy(s->rows + (size_t)s->count * size, rows, (size_t)n * size);
            s->count += n;
        } else if (done == OK) {
            done = fail(ERR_MEMORY, "show: out of memory");
        }
        free(rows);
        TRY(done);
    }
    return OK;
}

void source_free(source *s)
{
    free(s->rows);
    *s = (source){0};
}

/* Columns of /time that are computed, not stored. NaN where there was no time. */
static int derived_time(const time_row *t, const char *name, double *value)
{
    double elements = (double)t->rows * (double)t->n;
    if (strcmp(name, "percent_copy") == 0)
        *value = 100 * t->bytes / t->median / t->copy;
    else if (strcmp(name, "gb_per_s") == 0)
        *value = 1e-9 * t->bytes / t->median;
    else if (strcmp(name, "ns_per_element") == 0)
        *value = 1e9 * t->median / elements;
    else if (strcmp(name, "ms") == 0)
        *value = 1e3 * t->median;
    else if (strcmp(name, "work_per_s") == 0)
        *value = t->work / t->median;
    else if (strcmp(name, "gflops") == 0)
        *value = 1e-9 * t->work / t->median;
    else
        return 0;
    return 1;
}

/* Columns of /check that are computed, not stored. */
static int derived_check(const check_row *c, const char *name, double *value)
{
    if (strcmp(name, "checks") == 0)
        *value = 1;
    else if (strcmp(name, "passed") == 0)
        *value = strcmp(c->verdict, "PASS") == 0;
    else if (strcmp(name, "marginal") == 0)
        *value = strcmp(c->verdict, "MARGINAL") == 0;
    else if (strcmp(name, "failed") == 0)
        *value = strcmp(c->verdict, "FAIL") == 0;
    else if (strcmp(name, "percent_tol") == 0)
        *value = c->error == 0 ? 0 : 100 * c->error / c->tol;
    else
        return 0;
    return 1;
}

static int derived(table of, const void *row, const char *name, double *value)
{
    if (of == TIME) return derived_time(row, name, value);
    return of == CHECK && derived_check(row, name, value);
}

static const column *find_column(table of, const char *name)
{
    int count;
    const column *c = table_columns(of, &count);
    for (int i = 0; i < count; i++)
        if (strcmp(c[i].name, name) == 0) return &c[i];
    return NULL;
}

/* A cell as text and number (NaN if it is no number). */
static status read_cell(const source *s, int64_t row, const char *name, char *text, double *number)
{
    const char *at = s->rows + (size_t)row * table_row_size(s->of);
    const column *c = find_column(s->of, name);
    *number = NAN;
    if (!c && derived(s->of, at, name, number)) {
        snprintf(text, TEXT_SIZE, "%.6g", *number);
        return OK;
    }
    if (!c)
        return fail(ERR_DATA, "no column \"%s\" in /%s: see `mosaic list columns`", name,
                    table_name(s->of));
    at += c->offset;
    if (c->type == COL_NAME) {
        snprintf(text, TEXT_SIZE, "%s", at);
    } else if (c->type == COL_I64) {
        *number = (double)*(const int64_t *)(const void *)at;
        snprintf(text, TEXT_SIZE, "%.0f", *number);
    } else {
        *number = *(const double *)(const void *)at;
        snprintf(text, TEXT_SIZE, "%.6g", *number);
    }
    return OK;
}

/* Does a cell equal one of "a|b|c"? */
static int equals_any(const char *text, double number, const char *list, size_t length)
{
    for (const char *at = list, *end = list + length; at < end;) {
        size_t n = 0;
        while (at + n < end && at[n] != '|')
            n++;
        char one[TEXT_SIZE];
        double value;
        snprintf(one, sizeof one, "%.*s", (int)n, at);
        if (strcmp(one, text) == 0) return 1;
        if (!isnan(number) && parse_real(one, &value) && fabs(value - number) <= 1e-9 * fabs(value))
            return 1;
        at += n + 1;
    }
    return 0;
}

static status kept(const source *s, int64_t row, const char *keep, int *yes)
{
    *yes = 1;
    for (const char *at = keep; *at;) {
        size_t all = strcspn(at, ","), name = strcspn(at, ":,");
        char key_text[TEXT_SIZE], text[TEXT_SIZE];
        double number;
        if (name >= all || name >= sizeof key_text)
            return fail(ERR_DATA, "keep=%s: expected column:value pairs", keep);
        snprintf(key_text, sizeof key_text, "%.*s", (int)name, at);
        TRY(read_cell(s, row, key_text, text, &number));
        if (!equals_any(text, number, at + name + 1, all - name - 1)) {
            *yes = 0;
            return OK;
        }
        at += all + (at[all] == ',');
    }
    return OK;
}

/* The group key of "a+b": the cells joined by a space; NaN cells (no alpha) leave no trace. */
static status group_key(const source *s, int64_t row, const char *columns, char *text,
                        double *number)
{
    size_t used = 0;
    int parts = 0;
    text[0] = '\0';
    *number = NAN;
    for (const char *at = columns; *at; parts++) {
        size_t n = strcspn(at, "+");
        char name[TEXT_SIZE], cell_text[TEXT_SIZE];
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        TRY(read_cell(s, row, name, cell_text, number));
        if (strcmp(cell_text, "nan") != 0 && strcmp(cell_text, "-nan") != 0)
            used += (size_t)snprintf(text + used, used < TEXT_SIZE ? TEXT_SIZE - used : 0, "%s%s",
                                     used ? " " : "", cell_text);
        if (used >= TEXT_SIZE) used = TEXT_SIZE - 1;
        at += n + (at[n] == '+');
    }
    if (parts != 1) *number = NAN;
    return OK;
}

static status add_point(pivot *p, const point *key_of, double value)
{
    point *at = NULL;
    for (int i = 0; !at && i < p->count; i++)
        if (strcmp(p->points[i].row, key_of->row) == 0 &&
            strcmp(p->points[i].col, key_of->col) == 0)
            at = &p->points[i];
    if (!at) {
        point *more = realloc(p->points, (size_t)(p->count + 1) * sizeof *more);
        if (!more) return fail(ERR_MEMORY, "show: out of memory");
        p->points = more;
        at = &p->points[p->count++];
        *at = *key_of;
    }
    at->most = at->n && (isnan(at->most) || value <= at->most) ? at->most : value;
    at->sum += value;
    at->squares += value * value;
    at->n++;
    return OK;
}

status pivot_make(pivot *p, const source *s, const char *keep, const char *rows, const char *cols,
                  const char *value_of)
{
    char name[TEXT_SIZE];
    const size_t length = strcspn(value_of, ":");
    const char *how = value_of + length + (value_of[length] == ':');
    *p = (pivot){0};
    snprintf(name, sizeof name, "%.*s", (int)length, value_of);
    if (*how && strcmp(how, "sum") != 0 && strcmp(how, "max") != 0)
        return fail(ERR_DATA, "%s: expected a column, column:sum or column:max", value_of);
    for (int64_t i = 0; i < s->count; i++) {
        int yes;
        point at = {0};
        char text[TEXT_SIZE];
        double value;
        TRY(kept(s, i, keep, &yes));
        if (!yes) continue;
        TRY(group_key(s, i, rows, at.row, &at.row_number));
        TRY(group_key(s, i, cols, at.col, &at.col_number));
        TRY(read_cell(s, i, name, text, &value));
        TRY(add_point(p, &at, value));
    }
    for (int i = 0; i < p->count; i++) {
        point *at = &p->points[i];
        const double n = (double)at->n, mean = at->sum / n;
        at->value = *how == 's' ? at->sum : *how == 'm' ? at->most : mean;
        at->sd =
            at->n > 1 && !*how ? sqrt(fmax(0, (at->squares - n * mean * mean) / (n - 1))) : NAN;
    }
    return OK;
}

void pivot_free(pivot *p)
{
    free(p->points);
    *p = (pivot){0};
}

const point *pivot_find(const pivot *p, const char *row, const char *col)
{
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->points[i].row, row) == 0 && strcmp(p->points[i].col, col) == 0)
            return &p->points[i];
    return NULL;
}

typedef struct keyed {
    const char *text;
    double number;
} keyed;

static int by_number(const void *a, const void *b)
{
    double x = ((const keyed *)a)->number, y = ((const keyed *)b)->number;
    return (x > y) - (x < y);
}

int pivot_keys(const pivot *p, int of_rows, const char **keys, int room)
{
    enum { MOST = 4096 };
    keyed found[MOST];
    int count = 0, numbers = 1;
    if (room > MOST) room = MOST;
    for (int i = 0; i < p->count; i++) {
        const point *at = &p->points[i];
        keyed k = {of_rows ? at->row : at->col, of_rows ? at->row_number : at->col_number};
        int known = 0;
        for (int j = 0; j < count; j++)
            known |= strcmp(found[j].text, k.text) == 0;
        if (known || count == room) continue;
        numbers &= !isnan(k.number);
        found[count++] = k;
    }
    if (numbers && count > 1) qsort(found, (size_t)count, sizeof *found, by_number);
    for (int i = 0; i < count; i++)
        keys[i] = found[i].text;
    return count;
}

static const struct named {
    const char *name, *label, *colour;
} named[] = {
#define METHOD(name, label, op, alpha, k, power, form, colour) {#name, label, colour},
#include "methods.def"
#undef METHOD
#define OP(name, title, ...) {#name, title, NULL},
#include "ops.def"
#undef OP
#define BASELINE(name, order, label, colour) {#name, label, colour},
#include "baselines.def"
#undef BASELINE
};
enum { NAMED = sizeof named / sizeof *named };

static const struct named *find_named(const char *text, size_t length)
{
    for (int i = 0; i < NAMED; i++)
        if (strlen(named[i].name) == length && strncmp(named[i].name, text, length) == 0)
            return &named[i];
    return NULL;
}

/* The label of the operation or method in the first `length` bytes of text; a gradient is the
 * backward of its operation. */
static void name_label(const char *text, size_t length, char *label, size_t size)
{
    const size_t tail = strlen("_grad");
    int backward = length > tail && strncmp(text + length - tail, "_grad", tail) == 0;
    const struct named *n = find_named(text, backward ? length - tail : length);
    if (n && *n->label)
        snprintf(label, size, "%s%s", n->label, backward ? ", backward" : "");
    else if (strncmp(text, "entmax:", 7) == 0)
        snprintf(label, size, "entmax, α = %.*s", (int)length - 7, text + 7);
    else
        snprintf(label, size, "%.*s", (int)length, text);
}

void key_label(const char *columns, const char *text, char *label, size_t size)
{
    double number;
    if (strcmp(columns, "layers") == 0 && strcmp(text, "0") == 0) {
        snprintf(label, size, "no model");
    } else if (strcmp(columns, "layers") == 0) {
        snprintf(label, size, "L = %s", text);
    } else if (strcmp(columns, "beta") == 0 && parse_real(text, &number)) {
        snprintf(label, size, "β = %.3g", number);
    } else {
        size_t first = strcspn(text, " ");
        const char *rest = text[first] ? text + first + 1 : "";
        if (strcmp(rest, "1.33333") == 0) rest = "4/3";
        name_label(text, first, label, size);
        size_t used = strlen(label);
        if (*rest && used < size)
            snprintf(label + used, size - used, "%s%s",
                     strstr(columns, "+alpha")  ? ", α = "
                     : strstr(columns, "+n")    ? ", N = "
                     : strstr(columns, "+type") ? ", "
                                                : " ",
                     rest);
    }
}

const char *key_colour(const char *text, int index)
{
    static const char *const palette[] = {"#1b1b1b", "#d95f02", "#1b9e77", "#7570b3", "#e7298a",
                                          "#1f78b4", "#e6ab02", "#00b4d8", "#b15928", "#6a3d9a",
                                          "#33a02c", "#fb9a99", "#666666", "#9ccb3b"};
    const struct named *n = find_named(text, strlen(text));
    if (n && n->colour) return n->colour;
    return palette[index % (int)(sizeof palette / sizeof *palette)];
}
