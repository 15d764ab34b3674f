/* SPDX-License-Identifier: MIT
 *
 * pivot.h — rows of result tables, chosen, grouped and averaged: what a table or figure prints.
 *
 *   from=eval|time|train|row|check   the result table
 *   keep=col:value[|value],...       only rows whose column has one of the values (field.h)
 *
 * A value is averaged unless it is col:sum or col:max.
 *
 * An average runs over seeds and over nothing else: rows of a group that differ in another column
 * that says what they are (columns.def), in their build, or, where it decides the numbers, in the
 * device, are refused with what differs. Sums and maxima may run over anything of one origin.
 */
#ifndef MOSAIC_PIVOT_H
#define MOSAIC_PIVOT_H

#include "store/field.h"
#include "store/source.h"

/* What the rows of a group have in common: a datum for each column of "a+b". */
enum { KEY_PARTS = 3 };
typedef struct key {
    int count;
    datum part[KEY_PARTS];
} key;

/* The rows of one group: a mean (and its standard deviation if n > 1), a sum or a maximum. */
typedef struct point {
    key row, col;
    int64_t n, last; /* rows, and the number of the last one */
    double sum, most;
    double centre, squares; /* mean of the n values, and sum of squares about it (Welford 1962) */
    double value, sd;       /* what was asked for; NaN unless it is a mean */
    /* What the value may be: mean -+ sd of several seeds, else the Wilson bounds of a proportion or
     * the quartiles of a time; NaN if nothing is known. */
    double low, high;
    double spread;  /* of one time: q3 - q1 by the median; else NaN */
    int64_t trials; /* that a proportion is of; else 0              */
} point;

typedef struct pivot {
    point *points; /* in order of first appearance */
    int count;
} pivot;

/* Group the rows kept by `keep` by the columns `rows` and `cols` ("a+b" joins columns, "" is one
 * group) and average the column `value_of` (or col:sum, col:max). ERR_DATA names an unknown column,
 * or what differs in a group.
 */
status pivot_make(pivot *p, const source *s, const char *keep, const char *rows, const char *cols,
                  const char *value_of);
void pivot_free(pivot *p);
/* Are the columns and values of keep=, of "a+b" and of "c:sum,d" known? "" of what is not asked. */
status pivot_check(table of, const char *keep, const char *columns, const char *values);
/* May this value stand in a column of names? ERR_DATA with a guess (known.c). */
status value_known(table of, const char *column, const char *value);
const point *pivot_find(const pivot *p, const key *row, const key *col);
/* Distinct row or col keys in order of first appearance, numbers ascending if all are single
 * numbers. Returns how many (at most `room`). */
int pivot_keys(const pivot *p, int of_rows, const key **keys, int room);

/* A key that is a head of its own. */
key key_head(const char *text);
/* The data of a key by spaces; a number that a row does not have leaves no trace. */
void key_text(const key *k, char *text, size_t size);
/* What a reader calls it, by the lists: the label of a method or operation, "α = 4/3", "N = 256".
 * plain: a gradient has the label of its operation, without ", backward". */
void key_label(const key *k, int plain, char *label, size_t size);

/* How a series is drawn. */
typedef struct look {
    const char *colour, *dash; /* "#rrggbb"; lengths on and off, "" is solid                    */
    int mark;                  /* of gnuplot; 0: none, a thin line                              */
} look;

/* That of its method or baseline in every figure, whatever else the key names; an operation has
 * that of its first method (of its alpha). What is neither: the index-th of a ramp of its own. */
look key_look(const key *k, int index);
/* The place of its method or baseline among all, for an order that is one everywhere. */
int key_rank(const key *k);
/* 1: a predictor that is not trained, whose numbers belong to no step and no depth. */
int key_untrained(const key *k);

#endif
