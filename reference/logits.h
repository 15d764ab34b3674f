/* SPDX-License-Identifier: MIT
 *
 * logits.h — what a row of logits says: the loss of a target and the likeliest entry. Models and
 * tasks read rows with these two functions alone, so that a score has the same bits whoever
 * computes it.
 */
#ifndef MOSAIC_LOGITS_H
#define MOSAIC_LOGITS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ln sum exp of row[0..n), the maximum subtracted. *argmax (may be NULL): index of the largest
 * entry, the lowest on ties; -1, and the sum is NaN, if there is a NaN in the row. */
double log_sum_exp(const double *row, int64_t n, int64_t *argmax);

/* For each of `rows` rows of n logits: loss = ln sum exp - row[target], 0 where the target is -1,
 * and argmax. loss may be NULL, and then target; argmax may be NULL. */
void logits_read(const double *logits, int64_t rows, int64_t n, const int32_t *target, double *loss,
                 int32_t *argmax);

#ifdef __cplusplus
}
#endif
#endif
