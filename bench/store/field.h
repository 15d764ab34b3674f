/* SPDX-License-Identifier: MIT
 *
 * field.h — columns by name, and rows chosen by them.
 *
 *   keep=col:value[|value],...       only rows whose column has one of the values (numbers as
 *                                    numbers)
 *
 * Derived columns: percent_copy, gb_per_s, ns_per_element, ms, floor_ms, noisy (1 or 0),
 * work_per_s, gflops of time; checks (1), passed, marginal, failed (1 or 0) and percent_tol of
 * check; us, ktokens_per_s of stage; the words of the column `config` (lr, batch, switches, ...),
 * of compare those of `point`.
 */
#ifndef MOSAIC_FIELD_H
#define MOSAIC_FIELD_H

#include "columns.h"
#include "spec.h"

/* A column by name. */
typedef struct field {
    const column *stored; /* NULL: */
    const struct derived *derived;
    const char *name; /* of a word of the column `config`, whose fallback is */
    const char *fallback;
} field;

/* What a row has in a column: a name or a number. */
typedef struct datum {
    const char *column; /* "" of a head that the line itself names           */
    char name[64];      /* of a column of names                              */
    int is_name;
    double number; /* of a column of numbers; NaN if the row has none    */
} datum;

/* The column called by the first `length` bytes of name. ERR_DATA if the table has none. */
status field_find(table of, const char *name, size_t length, field *f);
datum field_read(table of, const field *f, const char *row);
/* A word of `config` by the verb that wrote it: the name that outlives the call, and its fallback;
 * NULL if there is none. */
const char *config_word(table of, const char *name, const char **fallback);
/* Its value in "a=1 b=2": from `text`, or the fallback; *length bytes. */
const char *config_value(const char *text, const char *name, const char *fallback, size_t *length);

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

/* ERR_DATA names an unknown column, or what is no value of one. */
status filter_read(filter *f, table of, const char *keep);
int filter_keeps(table of, const filter *f, const char *row);

#endif
