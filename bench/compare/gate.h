/* SPDX-License-Identifier: MIT
 *
 * gate.h — has this build become slower? What a gate says of two sets of launches: a baseline's,
 * and those of now, or those of two builds in turns.
 *
 * A launch is a process of `mosaic time yardstick=1`; its samples count relative to the yardstick
 * beside each, so a slower machine is no slower commit. A point is SLOWER or FASTER if its interval
 * lies beyond the margin, the larger of 3 % and three times the spread of the base's own launches,
 * and p < level (statistics.h); and if it is so again in a second run.
 */
#ifndef MOSAIC_GATE_H
#define MOSAIC_GATE_H

#include "compare.h"

/* Every sample divided by the median of the yardsticks beside its launch, where there are some: a
 * copy, which the caller frees. (Not by the one beside it: whichever of the two is interrupted
 * would make an outlier.) ERR_MEMORY. */
status gate_relative(const behind *each, int64_t rows, behind **relative);
void gate_relative_free(behind *relative, int64_t rows);
/* The spread of a ratio of two sets of launches of one thing: of `base` launches as they are, and
 * as many of the other side as `launches`. */
status gate_spread(const launch *base, int64_t count, int64_t launches, double *spread);
/* Two runs of one comparison: what they do not both say is AMBIGUOUS. `first` is changed. */
void gate_agree(compare_row *first, int64_t count, const compare_row *second, int64_t again);

#endif
