/* SPDX-License-Identifier: MIT
 *
 * schedule — learning rates by 0-based iteration.
 *
 *     cosine    it < W: lr it/W;   it > D: min;   else min + (lr-min)(1 + cos(pi (it-W)/(D-W)))/2
 *     regbench  t < W: 1e-6 + t (lr - 1e-6)/W;   t < D: min + (lr-min)(1 + cos(pi t/D))/2;
 *               else min = 0.1 lr.  The phase is not shifted by W, so the rate drops just after it.
 *
 * Source: model 4, 4.2.
 */
#include "mosaic.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

double schedule_cosine(int64_t it, double lr, double min, int64_t warmup, int64_t horizon)
{
    if (it < warmup) return lr * (double)it / (double)warmup;
    if (it > horizon) return min;
    if (horizon == warmup) return lr;
    double phase = (double)(it - warmup) / (double)(horizon - warmup);
    return min + 0.5 * (1 + cos(pi * phase)) * (lr - min);
}

double schedule_regbench(int64_t it, double lr, int64_t warmup, int64_t horizon)
{
    const double min = 0.1 * lr;
    if (it < warmup) return 1e-6 + (double)it * (lr - 1e-6) / (double)warmup;
    if (it >= horizon) return min;
    return min + 0.5 * (lr - min) * (1 + cos(pi * (double)it / (double)horizon));
}
