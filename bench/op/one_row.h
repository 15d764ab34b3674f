/* SPDX-License-Identifier: MIT
 *
 * one_row.h — one row through a transform of reference/ (or one that is called alike) and back,
 * for whoever asks what it does to a row: theorems, figures, tests. Outputs and scratch are
 * poisoned with NaN first, so that what is not written shows.
 */
#ifndef MOSAIC_ONE_ROW_H
#define MOSAIC_ONE_ROW_H

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

/* c[n] at inverse bandwidth beta (of kernel_regression: the bandwidth h) -> weights[n], and
 * stat[STATS] (may be NULL). */
status row_weights(op_fn *transform, const params *p, double beta, const double *c, int64_t n,
                   double *weights, double *stat);
/* dp[n], with weights and stat of the forward -> dc[n], *dbeta, and of entmax *dalpha (both may be
 * NULL). */
status row_gradient(op_fn *gradient, const params *p, double beta, const double *weights,
                    const double *stat, const double *dp, int64_t n, double *dc, double *dbeta,
                    double *dalpha);

#ifdef __cplusplus
}
#endif
#endif
