/* SPDX-License-Identifier: MIT
 *
 * measure.h — the sampling protocol. Raw samples are kept by the caller.
 */
#ifndef MOSAIC_MEASURE_H
#define MOSAIC_MEASURE_H

#include "statistics.h"

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
