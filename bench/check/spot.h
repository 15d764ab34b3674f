/* SPDX-License-Identifier: MIT
 *
 * spot.h — where the largest error of a check is, for whoever reads that it failed.
 */
#ifndef MOSAIC_SPOT_H
#define MOSAIC_SPOT_H

#include "worse.h"

typedef struct spot {
    int64_t row, entry; /* -1: of no row, of no entry of it   */
    double want, got;   /* NaN both: not one value            */
} spot;

#define NO_SPOT ((spot){-1, -1, NAN, NAN})

/* worse() that remembers where. */
static inline void worst_at(double *error, spot *at, double more, spot here)
{
    if (!(more <= *error)) *at = here;
    *error = worse(*error, more);
}

#endif
