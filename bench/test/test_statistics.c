/* SPDX-License-Identifier: MIT
 *
 * test_statistics.c — statistics.h against numbers that can be counted by hand or follow from a
 * formula, which stands beside them.
 */
#include "statistics.h"

#include <math.h>
#include <string.h>

#include "selftest.h"
#include "train/recipe.h"

#define COUNT(list) ((int64_t)(sizeof(list) / sizeof *(list)))

void selftest_summaries(selftest *t)
{
    const double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, far[] = {1, 2, 3, 4, 100};
    double low, high, deviation;
    summary s;
    EXPECT(summarize(odd, 3, &s) == OK);
    EXPECT_NEAR(s.median, 2, 0);
    EXPECT_NEAR(s.q1, 1.5, 0);
    EXPECT(summarize(even, 4, &s) == OK);
    EXPECT_NEAR(s.median, 2.5, 0);
    EXPECT_NEAR(s.q3, 3.25, 0);
    EXPECT(odd[0] == 3 && even[0] == 4);
    EXPECT(summarize(odd, 0, &s) == ERR_ARG);

    /* distances from the median 3: 2 1 0 1 97, their median 1 */
    EXPECT(robust_deviation(far, 5, &deviation) == OK);
    EXPECT_NEAR(deviation, 1.4826, 1e-15);
    EXPECT(!is_noisy(0.98, 1, 1.02) && is_noisy(0.97, 1, 1.03));

    wilson(500, 1000, &low, &high);
    EXPECT_NEAR(low, 0.469069, 1e-6);
    EXPECT_NEAR(high, 0.530931, 1e-6);
    wilson(0, 10, &low, &high);
    EXPECT(low == 0);
    EXPECT_NEAR(high, 0.277533, 1e-6);
    wilson(10, 10, &low, &high);
    EXPECT_NEAR(low, 0.722467, 1e-6);
    EXPECT(high == 1);
    wilson(0, 0, &low, &high);
    EXPECT(low == 0 && high == 1);
}

static double two_samples(const double *a, int64_t na, const double *b, int64_t nb)
{
    double p = NAN;
    return mann_whitney(a, na, b, nb, &p) == OK ? p : NAN;
}

static double of_pairs(const double *d, int64_t n)
{
    double p = NAN;
    return signed_rank(d, n, &p) == OK ? p : NAN;
}

void selftest_rank_tests(selftest *t)
{
    /* of 20 (70) ways to choose the ranks of a two are as far apart as apart can be */
    const double a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8};
    EXPECT_NEAR(two_samples(a, 3, b, 3), 2 / 20.0, 1e-15);
    EXPECT_NEAR(two_samples(b, 4, a, 4), 2 / 70.0, 1e-15);
    /* ranks 1 3 3 | 3 5 6, sum 7 of a mean of 10.5: 3 of 20 sums are <= 7 (1 3 3), 3 are >= 14
     * (3 5 6) */
    const double tied[] = {1, 2, 2}, other[] = {2, 3, 4};
    EXPECT_NEAR(two_samples(tied, 3, other, 3), 6 / 20.0, 1e-15);
    EXPECT_NEAR(two_samples(tied + 1, 2, tied + 1, 2), 1, 1e-15);
    EXPECT(two_samples(a, 0, b, 4) == 1);

    /* 25 below 25: U = 0, z = (312.5 - .5) / sqrt(25 25 51 / 12) = 6.05369, p = erfc(z / sqrt 2) */
    double below[25], above[25], steps[60];
    for (int i = 0; i < 25; i++) {
        below[i] = i;
        above[i] = 25 + i;
    }
    EXPECT_NEAR(two_samples(below, 25, above, 25), 1.41565622e-9, 1e-16);
    EXPECT_NEAR(two_samples(below, 25, below, 25), 1, 1e-15);

    /* all 8 of one sign: 2 of 2^8 choices of signs; ranks 1 2 3 | 4: sum 6 of a mean of 5, and only
     * the sums 5 (1 4, 2 3) are nearer */
    const double up[] = {1, 2, 3, 4, 5, 6, 7, 8}, mixed[] = {1, 2, 3, -4, 0};
    EXPECT_NEAR(of_pairs(up, 8), 2 / 256.0, 1e-15);
    EXPECT_NEAR(of_pairs(mixed, 5), 14 / 16.0, 1e-15);
    /* three of one size and one sign: ranks 2 2 2, two of eight choices as far */
    const double equal[] = {5, 5, 5}, none[] = {0, 0};
    EXPECT_NEAR(of_pairs(equal, 3), 2 / 8.0, 1e-15);
    EXPECT(of_pairs(none, 2) == 1);
    /* 1 .. 60, the first twenty negative: W = 1620, (W - 915) / sqrt(60 61 121 / 24) = 5.18993 */
    for (int i = 0; i < 60; i++)
        steps[i] = i < 20 ? -1 - i : 1 + i;
    EXPECT_NEAR(of_pairs(steps, 60), 2.1037302e-7, 1e-14);

    /* .005 x 4, .01 x 3, .03 x 2, and .04 x 1 is no smaller than the one before */
    double p[] = {0.01, 0.04, NAN, 0.03, 0.005};
    const double want[] = {0.03, 0.06, NAN, 0.06, 0.02};
    holm(p, 5);
    for (int i = 0; i < 5; i++)
        if (i != 2) EXPECT_NEAR(p[i], want[i], 1e-15);
    EXPECT(isnan(p[2]));
    double large[] = {0.6, 0.9};
    holm(large, 2);
    EXPECT(large[0] == 1 && large[1] == 1);
}

/* Medians: of nine samples the bootstrap median is at most the k-th with the probability that a
 * binomial of 9 trials with k/9 is at least 5: .0014 .0304 .1448 ... .9696 .9986, so 95 % of them
 * lie from the second to the eighth. */
static void known_medians(selftest *t)
{
    const double one[] = {1}, nine[] = {9, 1, 8, 2, 7, 3, 6, 4, 5};
    const launch a = {one, NULL, 1}, b = {nine, NULL, 9};
    const bootstrap how = {RATIO_OF_MEDIANS, UNPAIRED, 10000, 1};
    interval of;
    EXPECT(bootstrap_interval(&how, &a, 1, &b, 1, &of) == OK);
    EXPECT(of.value == 5 && of.low == 2 && of.high == 8);
    /* nine launches of one value are drawn as nine samples are */
    launch launches[9], same[9];
    for (int i = 0; i < 9; i++) {
        launches[i] = (launch){&nine[i], NULL, 1};
        same[i] = a;
    }
    EXPECT(bootstrap_interval(&how, same, 9, launches, 9, &of) == OK);
    EXPECT(of.value == 5 && of.low == 2 && of.high == 8);
    /* launches that differ widen what their samples alone would say */
    const double low[] = {1, 1, 1}, high[] = {3, 3, 3};
    const launch two[] = {{low, NULL, 3}, {high, NULL, 3}};
    EXPECT(bootstrap_interval(&how, &a, 1, two, 2, &of) == OK);
    EXPECT(of.value == 2 && of.low == 1 && of.high == 3);
}

/* Means: of n samples 0 .. n-1 the mean has the deviation sqrt((n^2 - 1) / 12 / n). */
static void known_means(selftest *t)
{
    enum { N = 400 };
    double x[N], twice[N], two[N];
    const double zero[] = {0};
    const launch a = {zero, NULL, 1}, b = {x, NULL, N};
    const double reach = 1.959963984540054 * sqrt((N * N - 1) / 12.0 / N);
    bootstrap how = {DIFFERENCE_OF_MEANS, UNPAIRED, 10000, 2};
    interval of, again;
    for (int i = 0; i < N; i++) {
        x[i] = i;
        twice[i] = 2 * x[i];
        two[i] = 2;
    }
    EXPECT(bootstrap_interval(&how, &a, 1, &b, 1, &of) == OK);
    EXPECT_NEAR(of.value, (N - 1) / 2.0, 1e-12);
    EXPECT_NEAR(of.value - of.low, reach, 0.03 * reach);
    EXPECT_NEAR(of.high - of.value, reach, 0.03 * reach);
    /* sums over weights: the same means, the same draws */
    const launch weighed = {twice, two, N};
    EXPECT(bootstrap_interval(&how, &a, 1, &weighed, 1, &again) == OK);
    EXPECT_NEAR(again.low, of.low, 1e-12);
    /* pairs that differ by 1 everywhere differ by 1 */
    double more[N];
    for (int i = 0; i < N; i++)
        more[i] = x[i] + 1;
    const launch beside = {more, NULL, N}, sides[2][3] = {{b, b, b}, {beside, beside, beside}};
    how.by = BY_SAMPLE;
    EXPECT(bootstrap_interval(&how, sides[0], 3, sides[1], 3, &of) == OK);
    EXPECT_NEAR(of.low, 1, 1e-12);
    EXPECT_NEAR(of.high, 1, 1e-12);
    EXPECT(bootstrap_interval(&how, &a, 1, &b, 1, &of) == ERR_ARG); /* no pairs */
    EXPECT(bootstrap_interval(&how, &b, 1, sides[0], 3, &of) == ERR_ARG);
}

/* A machine that drifts from launch to launch: pairs do not see it. */
static void paired_launches(selftest *t)
{
    double x[5], y[5];
    launch a[5], b[5];
    bootstrap how = {RATIO_OF_MEDIANS, BY_LAUNCH, 1000, 3};
    interval of;
    for (int i = 0; i < 5; i++) {
        x[i] = 1 << i;
        y[i] = 1.25 * x[i];
        a[i] = (launch){&x[i], NULL, 1};
        b[i] = (launch){&y[i], NULL, 1};
    }
    EXPECT(bootstrap_interval(&how, a, 5, b, 5, &of) == OK);
    EXPECT(of.value == 1.25 && of.low == 1.25 && of.high == 1.25);
    how.by = UNPAIRED;
    EXPECT(bootstrap_interval(&how, a, 5, b, 5, &of) == OK);
    EXPECT(of.value == 1.25 && of.low < 0.5 && of.high > 2.5);
}

/* The bits depend on the seed and on nothing else. */
static void fixed_bits(selftest *t)
{
    double x[100];
    interval one, more, other;
    for (int i = 0; i < 100; i++)
        x[i] = 1 + sin(i);
    const launch l[] = {{x, NULL, 50}, {x + 50, NULL, 50}};
    bootstrap how = {RATIO_OF_MEDIANS, UNPAIRED, 2000, 4};
    const int threads = threads_now();
    threads_set(1);
    EXPECT(bootstrap_interval(&how, l, 2, l, 1, &one) == OK);
    threads_set(3);
    EXPECT(bootstrap_interval(&how, l, 2, l, 1, &more) == OK);
    threads_set(threads);
    how.seed = 5;
    EXPECT(bootstrap_interval(&how, l, 2, l, 1, &other) == OK);
    EXPECT(memcmp(&one, &more, sizeof one) == 0 && memcmp(&one, &other, sizeof one) != 0);
}

void selftest_bootstrap(selftest *t)
{
    known_medians(t);
    known_means(t);
    paired_launches(t);
    fixed_bits(t);
}

void selftest_judgements(selftest *t)
{
    static const struct {
        interval of;
        contrast c;
        double p;
        int more;
        const char *says;
    } rows[] = {
        {{1, 0.98, 1.02}, RATIO_OF_MEDIANS, 1, 0, "SAME"},
        {{1.01, 1.005, 1.02}, RATIO_OF_MEDIANS, 1e-9, 0, "SAME"}, /* seen, and too little */
        {{1.05, 1.04, 1.06}, RATIO_OF_MEDIANS, 1e-3, 0, "SLOWER"},
        {{1.05, 1.04, 1.06}, RATIO_OF_MEDIANS, 0.02, 0, "AMBIGUOUS"},
        {{1.05, 1.02, 1.06}, RATIO_OF_MEDIANS, 1e-3, 0, "AMBIGUOUS"},
        {{0.9, 0.89, 0.91}, RATIO_OF_MEDIANS, 1e-3, 0, "FASTER"},
        {{0.1, 0.05, 0.15}, DIFFERENCE_OF_MEANS, 1e-3, 1, "BETTER"},
        {{0.1, 0.05, 0.15}, DIFFERENCE_OF_MEANS, 1e-3, 0, "WORSE"},
        {{-0.1, -0.15, -0.05}, DIFFERENCE_OF_MEANS, 1e-3, 1, "WORSE"},
        {{-0.1, -0.15, -0.05}, DIFFERENCE_OF_MEANS, 1e-3, 0, "BETTER"},
        {{0, -0.1, 0.1}, DIFFERENCE_OF_MEANS, 1e-3, 1, "AMBIGUOUS"},
        {{NAN, NAN, NAN}, RATIO_OF_MEDIANS, 1e-3, 0, "AMBIGUOUS"},
        {{1.05, 1.04, 1.06}, RATIO_OF_MEDIANS, NAN, 0, "AMBIGUOUS"},
        {{1.05, 1.04, NAN}, RATIO_OF_MEDIANS, NAN, 0, "AMBIGUOUS"},
    };
    for (int64_t i = 0; i < COUNT(rows); i++) {
        const judgement j = judge(&rows[i].of, rows[i].c, 0.03, rows[i].p, 0.01, rows[i].more);
        EXPECT(strcmp(judgement_text(j, rows[i].c), rows[i].says) == 0);
    }
}
