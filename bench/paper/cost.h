/* SPDX-License-Identifier: MIT
 *
 * cost.h — about what a cell takes: so that a plan can say how long, and a run how much is left.
 */
#ifndef MOSAIC_COST_H
#define MOSAIC_COST_H

#include "verb.h"

/* Seconds of one core (of a training on a GPU: of the card), and bytes of its files. Within a
 * factor of two or so: what a cell counts among others. */
typedef struct cost {
    double seconds, bytes;
} cost;
/* models: how many checkpoints it keeps. */
cost cost_of(const words *w, int models);

/* "12 s", "3 min", "2.5 h", "40 days", "3 years". */
void cost_time(double seconds, char *text, size_t size);
/* "12 kB", "3.1 MB", "2.0 GB". */
void cost_size(double bytes, char *text, size_t size);

#endif
