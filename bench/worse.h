/* SPDX-License-Identifier: MIT
 *
 * worse.h — how errors are folded into one, in checks and in tests alike. fmax and `if (x > most)`
 * lose a NaN; these do not, and ci/style knows no other way.
 */
#ifndef MOSAIC_WORSE_H
#define MOSAIC_WORSE_H

#include <math.h>
#include <stdint.h>

/* The larger of an error so far and one more; infinite if either is NaN. */
static inline double worse(double error, double more)
{
    return more <= error ? error : more > error ? more : INFINITY;
}

/* The largest |a_j - b_j| of n entries; infinite if one of them is NaN. */
static inline double farthest(const double *a, const double *b, int64_t n)
{
    double error = 0;
    for (int64_t j = 0; j < n; j++)
        error = worse(error, fabs(a[j] - b[j]));
    return error;
}

#endif
