/* SPDX-License-Identifier: MIT
 *
 * measure.c — when to stop sampling.
 */
#include "measure.h"

#include "stop.h"
#include "verb.h"

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
