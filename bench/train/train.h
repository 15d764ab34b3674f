/* SPDX-License-Identifier: MIT
 *
 * train.h — one training run, as `mosaic train` and the tests make it.
 */
#ifndef MOSAIC_TRAIN_H
#define MOSAIC_TRAIN_H

#include "checkpoint.h"
#include "evaluate.h"

/* Train one cell on a model from the start, or from the checkpoint that the recipe names. On return
 * c holds every row of the run, also those made before it was resumed (checkpoint_free). The sink
 * (NULL: none) sees the rows of /eval as they are made. ERR_NUMERIC if a step is not finite: the
 * last checkpoint stays as it is. */
status train(const recipe *r, const model *on, checkpoint *c, eval_sink *sink, void *user);

#endif
