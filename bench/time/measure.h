/* SPDX-License-Identifier: MIT
 *
 * measure.h — the sampling protocol and its statistics. Raw samples are kept by the caller.
 */
#ifndef MOSAIC_MEASURE_H
#define MOSAIC_MEASURE_H

#include "spec.h"

/* Quartiles by linear interpolation between order statistics (the median of an even count is the
 * mean of the middle two); the samples stay in the order they were taken. */
typedef struct summary {
    int64_t count;
    double min, q1, median, q3, max;
} summary;
status summarize(const double *samples, int64_t count, summary *s);

typedef struct sampling {
    int warmups;    /* calls before the first sample                                     */
    int64_t least;  /* samples at least                                                  */
    int64_t most;   /* and at most: room of the array                                    */
    double spread;  /* enough once (q3 - q1) / median <= spread ...                      */
    double seconds; /* ... or once so much time has gone by                              */
} sampling;

/* Draw samples with sample(user, &seconds) until the protocol is content. */
status measure(const sampling *p, status (*sample)(void *user, double *seconds), void *user,
               double *samples, int64_t *count);

#endif
