/* SPDX-License-Identifier: MIT
 *
 * test_measure.c — quantiles of small samples by hand, and when the protocol is content.
 */
#include "selftest.h"
#include "time/measure.h"

static status next_of_list(void *user, double *seconds)
{
    double **at = user;
    *seconds = *(*at)++;
    return OK;
}

void selftest_measure(selftest *t)
{
    const double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
    summary s;
    EXPECT(summarize(odd, 3, &s) == OK);
    EXPECT_NEAR(s.median, 2, 0);
    EXPECT_NEAR(s.q1, 1.5, 0);
    EXPECT(summarize(even, 4, &s) == OK);
    EXPECT_NEAR(s.median, 2.5, 0);
    EXPECT_NEAR(s.q3, 3.25, 0);
    EXPECT(odd[0] == 3 && even[0] == 4);
    EXPECT(summarize(odd, 0, &s) == ERR_ARG);

    double steady[] = {9, 9, 5, 5, 5, 5, 5, 5}, *at = steady, taken[8];
    int64_t count;
    sampling p = {.warmups = 2, .least = 3, .most = 6, .spread = 0.01, .seconds = 60};
    EXPECT(measure(&p, next_of_list, &at, taken, &count) == OK);
    EXPECT(count == 3 && taken[0] == 5);
    double noisy[] = {9, 9, 1, 2, 3, 4, 5, 6};
    at = noisy;
    EXPECT(measure(&p, next_of_list, &at, taken, &count) == OK);
    EXPECT(count == 6 && taken[5] == 6);
}
