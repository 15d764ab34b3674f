/* SPDX-License-Identifier: MIT
 *
 * measure.c — medians and quartiles, and when to stop sampling.
 *
 * Type 7 quantiles: for sorted x_0..x_{n-1} the q-quantile is x_i + f (x_{i+1} - x_i) with
 * i + f = q (n - 1). Source: Hyndman & Fan 1996.
 */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "stop.h"
#include "verb.h"

static double quantile(const double *sorted, int64_t n, double q)
{
    double at = q * (double)(n - 1), i = floor(at);
    int64_t low = (int64_t)i, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - i) * (sorted[high] - sorted[low]);
}

status summarize(const double *samples, int64_t count, summary *s)
{
    if (count < 1)
        return fail(ERR_ARG, "summary: %lld samples: expected at least 1", (long long)count);
    double *sorted = malloc((size_t)count * sizeof *sorted);
    if (!sorted) return fail(ERR_MEMORY, "summary: out of memory");
    memcpy(sorted, samples, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    *s = (summary){count,
                   sorted[0],
                   quantile(sorted, count, 0.25),
                   quantile(sorted, count, 0.5),
                   quantile(sorted, count, 0.75),
                   sorted[count - 1]};
    free(sorted);
    return OK;
}

status measure(const sampling *p, status (*sample)(void *user, double *seconds), void *user,
               double *samples, int64_t *count)
{
    double ignored, start = seconds_now();
    *count = 0;
    for (int i = 0; i < p->warmups; i++)
        TRY(sample(user, &ignored));
    while (*count < p->most) {
        TRY(stop_check());
        TRY(sample(user, &samples[*count]));
        ++*count;
        if (*count < p->least) continue;
        summary s;
        TRY(summarize(samples, *count, &s));
        if (s.q3 - s.q1 <= p->spread * s.median || seconds_now() - start > p->seconds) break;
    }
    return OK;
}
