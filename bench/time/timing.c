/* SPDX-License-Identifier: MIT
 *
 * timing.c — a timed point: statistics, a TSV line, a row and its raw samples in the file.
 */
#include "timing.h"

#include <math.h>
#include <stdio.h>

status timing_emit(timing *t, time_row *row, int64_t count)
{
    summary s;
    row->samples = count;
    row->median = row->q1 = row->q3 = row->min = NAN;
    if (count > 0) {
        TRY(summarize(t->samples, count, &s));
        row->median = s.median;
        row->q1 = s.q1;
        row->q3 = s.q3;
        row->min = s.min;
    }
    results_print(TIME, row, t->printed++ == 0);
    fflush(stdout);
    TRY(results_append(t->r, TIME, row));
    return results_samples(t->r, t->samples, count);
}
