/* SPDX-License-Identifier: MIT
 *
 * columns.c — the rows of columns.def as tables.
 */
#include "columns.h"

#include <stdio.h>
#include <string.h>

#include "rng.h"

#define COLUMN(row, name, type, role, unit, meaning)                                               \
    {#name, unit, meaning, COL_##type, ROLE_##role, offsetof(row, name)},
#define CHECK_COLUMN(...) COLUMN(check_row, __VA_ARGS__)
static const column check_columns[] = {
#include "columns.def"
};
#define TIME_COLUMN(...) COLUMN(time_row, __VA_ARGS__)
static const column time_columns[] = {
#include "columns.def"
};
#define TRAIN_COLUMN(...) COLUMN(train_row, __VA_ARGS__)
static const column train_columns[] = {
#include "columns.def"
};
#define EVAL_COLUMN(...) COLUMN(eval_row, __VA_ARGS__)
static const column eval_columns[] = {
#include "columns.def"
};
#define ROW_COLUMN(...) COLUMN(row_row, __VA_ARGS__)
static const column row_columns[] = {
#include "columns.def"
};

#define STAGE_COLUMN(...) COLUMN(stage_row, __VA_ARGS__)
static const column stage_columns[] = {
#include "columns.def"
};

#define SAMPLE_COLUMN(...) COLUMN(sample_row, __VA_ARGS__)
static const column sample_columns[] = {
#include "columns.def"
};

#define COMPARE_COLUMN(...) COLUMN(compare_row, __VA_ARGS__)
static const column compare_columns[] = {
#include "columns.def"
};

static const struct shape {
    const char *name;
    size_t size;
    const column *columns;
    int count;
} shapes[TABLES] = {
    [CHECK] = {"check", sizeof(check_row), check_columns, sizeof check_columns / sizeof(column)},
    [TIME] = {"time", sizeof(time_row), time_columns, sizeof time_columns / sizeof(column)},
    [TRAIN] = {"train", sizeof(train_row), train_columns, sizeof train_columns / sizeof(column)},
    [EVAL] = {"eval", sizeof(eval_row), eval_columns, sizeof eval_columns / sizeof(column)},
    [ROW] = {"row", sizeof(row_row), row_columns, sizeof row_columns / sizeof(column)},
    [STAGE_TIMES] = {"stage", sizeof(stage_row), stage_columns,
                     sizeof stage_columns / sizeof(column)},
    [SAMPLES] = {"sample", sizeof(sample_row), sample_columns,
                 sizeof sample_columns / sizeof(column)},
    [COMPARED] = {"compare", sizeof(compare_row), compare_columns,
                  sizeof compare_columns / sizeof(column)},
};

static const struct raw_row {
    const char *name;
    table of;
} raws[RAWS] = {[RAW_TIMES] = {"time_samples", TIME},
                [RAW_YARDS] = {"time_yardsticks", TIME},
                [RAW_SUMS] = {"eval_sums", EVAL},
                [RAW_COUNTS] = {"eval_counts", EVAL}};

const char *raw_name(raw what)
{
    return raws[what].name;
}

table raw_table(raw what)
{
    return raws[what].of;
}

const char *table_name(table t)
{
    return shapes[t].name;
}

table table_find(const char *name)
{
    int t = 0;
    while (t < TABLES && strcmp(shapes[t].name, name) != 0)
        t++;
    return (table)t;
}

size_t table_row_size(table t)
{
    return shapes[t].size;
}

const column *table_columns(table t, int *count)
{
    *count = shapes[t].count;
    return shapes[t].columns;
}

int column_is_text(const column *c)
{
    return c->type == COL_NAME || c->type == COL_WORDS;
}

size_t column_size(const column *c)
{
    return c->type == COL_NAME    ? sizeof(NAME_)
           : c->type == COL_WORDS ? sizeof(WORDS_)
           : c->type == COL_I64   ? sizeof(I64_)
                                  : sizeof(F64_);
}

void words_put(WORDS_ to, const char *text)
{
    const size_t size = sizeof(WORDS_), count = strlen(text), hash = 18;
    memset(to, 0, size);
    memcpy(to, text, count < size ? count : size - 1);
    if (count >= size)
        snprintf(to + size - hash, hash, "+%016llx",
                 (unsigned long long)fnv1a(FNV_OFFSET, text, count));
}
