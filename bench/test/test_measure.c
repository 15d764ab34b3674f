/* SPDX-License-Identifier: MIT
 *
 * test_measure.c — when the protocol of sampling is content.
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
