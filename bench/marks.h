/* SPDX-License-Identifier: MIT
 *
 * marks.h — the marks of gnuplot by their names in methods.def.
 */
#ifndef MOSAIC_MARKS_H
#define MOSAIC_MARKS_H

enum {
    MARK_plus = 1,
    MARK_cross = 2,
    MARK_star = 3,
    MARK_square = 5,
    MARK_circle = 7,
    MARK_triangle = 9,
    MARK_wedge = 11,
    MARK_diamond = 13,
    MARK_pentagon = 15
};

/* The outline of a filled mark; of one without an outline that of a circle. */
static inline int hollow_mark(int mark)
{
    return mark >= MARK_square ? mark - 1 : MARK_circle - 1;
}

#endif
