/* SPDX-License-Identifier: MIT
 *
 * support.h — how sparse the weights of attention are, by the reference.
 */
#ifndef MOSAIC_SUPPORT_H
#define MOSAIC_SUPPORT_H

#include "op/call.h"

typedef struct support {
    double mean, most; /* keys that weigh something, over the rows that see a key    */
    double tiles;      /* share of the tiles of 64 rows by 64 keys, of those with a key that a row
                          may see, in which a key weighs something                 */
} support;

/* Of the queries and keys that a call has on the host. */
status support_measure(const call *c, support *s);

#endif
