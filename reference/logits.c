/* SPDX-License-Identifier: MIT
 *
 * logits.c — see logits.h.
 *
 *     loss_t = ln sum_v e^{z_tv} - z_ty = m + ln sum_v e^{z_tv - m} - z_ty,   m = max_v z_tv
 *
 * z (R,V), y (R) -> loss (R), argmax (R). The sum runs over v in order, so its bits depend neither
 * on threads nor on the rows that are read at once.
 */
#include "logits.h"

#include <math.h>

double log_sum_exp(const double *row, int64_t n, int64_t *argmax)
{
    int64_t best = 0;
    int nan = row[0] != row[0];
    for (int64_t c = 1; c < n; c++) {
        nan |= row[c] != row[c];
        if (row[c] > row[best]) best = c;
    }
    if (argmax) *argmax = nan ? -1 : best;
    if (nan) return NAN;
    if (isinf(row[best])) return row[best];
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        double below = row[c] - row[best];
        if (below == 0)
            sum += 1;
        else if (below > -746) /* exp is 0 beyond */
            sum += exp(below);
    }
    return row[best] + log(sum);
}

void logits_read(const double *logits, int64_t rows, int64_t n, const int32_t *target, double *loss,
                 int32_t *argmax)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const double *row = logits + r * n;
        int64_t best;
        const double lse = log_sum_exp(row, n, &best);
        if (argmax) argmax[r] = (int32_t)best;
        if (loss) loss[r] = target[r] < 0 ? 0 : lse - row[target[r]];
    }
}
