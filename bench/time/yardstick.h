/* SPDX-License-Identifier: MIT
 *
 * yardstick.h — a computation that no commit of interest changes, timed in turns with what is
 * timed: sample and yardstick, yardstick and sample. Their ratio does not see a machine that grows
 * slower, so samples of two days can be compared. On a CPU it is the reference softmax of 64 rows
 * of 1024, on a device the copy of a gigabyte at the measured rate.
 */
#ifndef MOSAIC_YARDSTICK_H
#define MOSAIC_YARDSTICK_H

#include "op/call.h"

typedef struct yardstick {
    const backend *where;
    call *of; /* NULL on a device */
} yardstick;

status yardstick_open(yardstick *y, const backend *where);
void yardstick_close(yardstick *y);
status yardstick_sample(const yardstick *y, double *seconds);

/* A way to sample, beside which a yardstick is sampled: for measure(). */
typedef struct beside {
    const yardstick *y;
    status (*sample)(void *user, double *seconds);
    void *user;
    int64_t calls, warmups;
    double *seconds; /* of the yardstick, a place for each sample */
} beside;
status beside_sample(void *user, double *seconds);

#endif
