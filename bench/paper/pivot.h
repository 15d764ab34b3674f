/* SPDX-License-Identifier: MIT
 *
 * pivot.h — rows of result tables, chosen, grouped and averaged: what a table or figure prints.
 *
 *   from=eval|time|train|row|check   the result table
 *   keep=col:value[|value],...       only rows whose column has one of the values (numbers as
 *                                    numbers)
 *
 * Derived columns: percent_copy, gb_per_s, ns_per_element, ms, work_per_s, gflops of time; checks
 * (1), passed, marginal, failed (1 or 0) and percent_tol of check. A value is averaged unless it is
 * col:sum or col:max.
 */
#ifndef MOSAIC_PIVOT_H
#define MOSAIC_PIVOT_H

#include "experiment.h"
#include "store/results.h"

typedef struct source {
    table of;
    char *rows; /* count rows of table_row_size(of) */
    int64_t count;
} source;

/* All rows of one table in the given files, in order. Missing files are passed over and counted. */
status source_read(source *s, table of, char *const *paths, int count, int *missing);
void source_free(source *s);

/* A point: mean (and standard deviation over n > 1 rows), sum or maximum of a column where the
 * group columns have these values. */
typedef struct point {
    char row[96], col[96];         /* group keys as text                     */
    double row_number, col_number; /* the same as numbers, NaN if none */
    double sum, squares, most;
    double value, sd; /* what was asked for; NaN unless it is a mean */
    int64_t n;
} point;

typedef struct pivot {
    point *points; /* in order of first appearance */
    int count;
} pivot;

/* Group the rows kept by `keep` by the columns `rows` and `cols` ("a+b" joins columns, "" is one
 * group) and average the column `value_of` (or col:sum, col:max). ERR_DATA names an unknown column.
 */
status pivot_make(pivot *p, const source *s, const char *keep, const char *rows, const char *cols,
                  const char *value_of);
void pivot_free(pivot *p);
const point *pivot_find(const pivot *p, const char *row, const char *col);
/* Distinct row or col keys in order of first appearance, numbers ascending if all are numbers.
 * Returns how many (at most `room`). */
int pivot_keys(const pivot *p, int of_rows, const char **keys, int room);

/* What a reader calls a key of a column: the label of a method or operation, "α = 1.5", "N = 256",
 * else the key itself. */
void key_label(const char *columns, const char *text, char *label, size_t size);
/* "#rrggbb" of a method; else a colour of the palette by index. */
const char *key_colour(const char *text, int index);

#endif
