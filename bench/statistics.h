/* SPDX-License-Identifier: MIT
 *
 * statistics.h — what may be said of samples: quartiles, intervals, tests, verdicts. Tables,
 * figures, comparisons, the gate and claims have their numbers from here. Nothing depends on
 * threads, and a bootstrap on nothing but its samples and its seed.
 */
#ifndef MOSAIC_STATISTICS_H
#define MOSAIC_STATISTICS_H

#include "spec.h"

/* --- one set of samples ----------------------------------------------------------------------- */

/* Quartiles by linear interpolation between order statistics (the median of an even count is the
 * mean of the middle two); the samples stay in the order they were taken. */
typedef struct summary {
    int64_t count;
    double min, q1, median, q3, max;
} summary;
status summarize(const double *samples, int64_t count, summary *s);

/* Are quartiles too far apart for the median to be told without a warning? */
#define NOISY_SHARE 0.05
static inline int is_noisy(double q1, double median, double q3)
{
    return q3 - q1 > NOISY_SHARE * median;
}

/* 1.4826 times the median distance from the median: the standard deviation of normal samples. */
status robust_deviation(const double *samples, int64_t count, double *deviation);

/* 95 % Wilson interval of a proportion of `count` trials; of none 0 to 1. */
void wilson(double successes, int64_t count, double *low, double *high);

/* --- two sets of samples ---------------------------------------------------------------------- */

/* Two-sided p that a and b are samples of one distribution (Mann & Whitney 1947): exact, ties
 * included, up to 40 samples together; beyond by the normal limit, corrected for ties and for
 * continuity. 1 if one of them is empty. ERR_MEMORY. */
status mann_whitney(const double *a, int64_t na, const double *b, int64_t nb, double *p);
/* Two-sided p that differences of pairs lie around 0 (Wilcoxon 1945): zeros are left out; exact,
 * ties included, up to 50 of them, else the normal limit. 1 if all are 0. ERR_MEMORY. */
status signed_rank(const double *d, int64_t n, double *p);
/* Holm (1979): p of n tests, in place, such that p < level holds by chance in any of them with
 * probability level at most. NaN is no test. */
void holm(double *p, int64_t n);

/* The samples of one launch of a program, or of one seed. weight NULL: all alike. */
typedef struct launch {
    const double *x, *weight;
    int64_t count;
} launch;

/* What stands for a launch, what for all of them, and how two sides are compared. */
typedef enum contrast {
    RATIO_OF_MEDIANS,   /* median of the samples, median of the launches, b / a          */
    DIFFERENCE_OF_MEANS /* sum x / sum weight, mean of the launches, b - a                */
} contrast;

typedef enum pairing {
    UNPAIRED,
    BY_LAUNCH, /* launch i of b stands beside launch i of a: they are drawn together     */
    BY_SAMPLE  /* so do their samples, and those of one launch beside those of another   */
} pairing;

typedef struct bootstrap {
    contrast of;
    pairing by;
    int64_t resamples;
    uint64_t seed;
} bootstrap;

typedef struct interval {
    double value, low, high; /* of the samples as they are; 95 % of the resamples lie between */
} interval;

/* Hierarchical bootstrap: launches are drawn with replacement, then samples within each; a side
 * of one launch has only the second. Draws are Philox4x32-10 of (seed, resample, number).
 * ERR_ARG: a side without launches, a launch without samples, sides that are said to be paired and
 * are not alike; ERR_MEMORY. */
status bootstrap_interval(const bootstrap *how, const launch *a, int64_t as, const launch *b,
                          int64_t bs, interval *of);
/* Its value alone. */
status contrast_value(const bootstrap *how, const launch *a, int64_t as, const launch *b,
                      int64_t bs, double *value);

/* --- verdicts --------------------------------------------------------------------------------- */

typedef enum judgement { SAME, BETTER, WORSE, AMBIGUOUS } judgement;

/* None without an interval: a side of b - a (or b / a - 1) is taken if all of the interval lies
 * beyond the margin there and p < level; SAME if all of it lies within the margin; else
 * AMBIGUOUS, as is what has a NaN. more: 1 if larger is better. */
judgement judge(const interval *of, contrast c, double margin, double p, double level, int more);
/* "SAME", "AMBIGUOUS"; of times "FASTER", "SLOWER", of scores "BETTER", "WORSE". */
const char *judgement_text(judgement j, contrast c);

#endif
