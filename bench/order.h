/* SPDX-License-Identifier: MIT
 *
 * order.h — the two orders of doubles, for qsort.
 */
#ifndef MOSAIC_ORDER_H
#define MOSAIC_ORDER_H

static inline int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline int descending(const void *a, const void *b)
{
    return ascending(b, a);
}

#endif
