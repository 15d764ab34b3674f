/* SPDX-License-Identifier: MIT
 *
 * drawing.h — a figure between its pivot and its files: curves of points with what is known of how
 * certain they are, and the words without which they would mislead.
 */
#ifndef MOSAIC_DRAWING_H
#define MOSAIC_DRAWING_H

#include "buffer.h"
#include "show.h"

enum { MOST_CURVES = 64 };

/* Quartiles of a time further apart than this share of the median are no measurement: the point is
 * drawn hollow and off its line. */
#define WIDE_QUARTILES 0.25

typedef struct drawn {
    double x, y, sd, low, high; /* low, high: a bar; NaN if there is none */
    int64_t n, trials;          /* seeds; what one proportion is of, or 0 */
    int hollow;
} drawn;

typedef struct curve {
    const key *of;
    int level; /* known at no x of its own: a thin line across */
    int count;
    drawn *at;      /* by rising x                                                             */
    double *smooth; /* running means of y, if the line asks for them; else NULL */
} curve;

typedef struct drawing {
    const line *l;
    table of;
    pivot p, hollow, floor;
    int curves;
    curve curve[MOST_CURVES];
    int order[MOST_CURVES]; /* in which they are drawn and named: of the lists */
    int wide;               /* points have more than x, y, sd */
    double x[2], y[2];      /* least and largest of what is drawn */
} drawing;

/* What a line wants drawn; no curve if there are no rows. Free it in any case. */
status drawing_make(drawing *d, const show *s, const line *l);
void drawing_free(drawing *d);
/* Its TSV: one block a curve; then, if there are running means, a block of each; then the floor. */
void drawing_data(const drawing *d, buffer *b);
/* What must be said of it: what its bars and hollow points are, which curve lies under which. */
void drawing_words(const drawing *d, buffer *b);
/* Its gnuplot script (script.c). */
status drawing_script(const drawing *d, const show *s, const char *title, const char *said,
                      buffer *b);

#endif
