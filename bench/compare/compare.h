/* SPDX-License-Identifier: MIT
 *
 * compare.h — two sets of rows, the base and the fresh one, point by point.
 *
 * A point is what rows of both sides have in common: the columns that say what they are (role KEY
 * of columns.def), but for those in which the sides are chosen to differ. The rows of a side at a
 * point are launches of a program (of times) or seeds (of scores); behind them stand samples.
 *
 *     time, stage    ratio fresh / base of medians; launches are no pairs
 *     eval           difference fresh - base of means; pairs by seed and, where both sides scored
 *                    the same samples, by sample
 *
 * The intervals, tests and verdicts are those of statistics.h; p is corrected for all points of a
 * comparison. What differs in device, build or inputs is refused unless it is asked for.
 */
#ifndef MOSAIC_COMPARE_H
#define MOSAIC_COMPARE_H

#include "statistics.h"
#include "store/field.h"
#include "store/source.h"

enum { ACROSS_INPUTS = 4 }; /* beside those of source.h: seeds of times, hashes of data */

/* Of times, and of scores; what 0 means. */
#define TIME_MARGIN 0.03
#define SCORE_MARGIN 0.005
#define TIME_LEVEL 0.01
#define SCORE_LEVEL 0.05

/* Rows of one side: of these files, what the filter keeps. */
typedef struct side_plan {
    const char *name;    /* column base or fresh */
    filter keep;         /* a= or b=: its columns may differ between the sides */
    int64_t first, last; /* rows of the source, without the last */
} side_plan;

typedef struct compare_plan {
    const source *rows;
    const behind *each; /* of each row of the source */
    side_plan base, fresh;
    filter keep;    /* of both */
    const char *by; /* columns of a point, "a+b"; "": all that say what rows are */
    unsigned across;
    double margin, level; /* 0: as above */
    int in_turns;         /* launch i of one side stands beside launch i of the other      */
    int own_spread;       /* the margin is no smaller than three times the base's own (gate.h) */
    int64_t resamples;
    uint64_t seed;
} compare_plan;

typedef struct comparison {
    compare_row *row;
    int64_t count;
    int64_t alone[2]; /* rows of base and fresh that have no point on the other side */
    char apart[300];  /* why the first of them has none, as far as can be told      */
} comparison;

/* ERR_DATA: sides that may not be compared, with what differs; rows of a side that are no launches
 * or seeds of one point; no point in common. */
status compare_rows(const compare_plan *p, comparison *c);
/* Have both sides a row? */
int comparison_possible(const compare_plan *p);
void comparison_free(comparison *c);
/* The exit code that the verdicts of rows are (verb.h). */
int comparison_exit(const compare_row *row, int64_t count);
/* The words of a point that others lack, of scores with what was measured; the words that all have.
 */
enum { POINT_NAME = 300 };
void comparison_name(const compare_row *row, int64_t count, int64_t i, char name[POINT_NAME]);
void comparison_common(const compare_row *row, int64_t count, char common[POINT_NAME]);
/* "12 points: 10 SAME, 2 SLOWER" */
void comparison_text(const compare_row *row, int64_t count, char *text, size_t size);
/* Can the table be compared? */
int table_compares(table of);

/* On standard output as format= says; on standard error what they come to, for people. */
void comparison_print(const words *w, const comparison *c);
void comparison_tell(const char *verb, const comparison *c, const compare_plan *p);

/* A picture of the intervals, into an .svg or .png (intervals.c). */
status comparison_draw(const compare_row *row, int64_t count, const char *title, const char *out);

#endif
