/* SPDX-License-Identifier: MIT
 *
 * train.h — one training run, as `mosaic train` and the tests make it.
 */
#ifndef MOSAIC_TRAIN_H
#define MOSAIC_TRAIN_H

#include "checkpoint.h"
#include "evaluate.h"

/* Train one cell on a model from the start, or from the checkpoint that the recipe names. On return
 * c holds every row of the run, also those made before it was resumed (checkpoint_free). `out`
 * (NULL: none) is given the rows and saved while it runs: with each checkpoint, and every few
 * seconds. The sink (NULL: none) sees the rows of /eval as they are made. ERR_NUMERIC if a step is
 * not finite or far from all sense: the last checkpoint stays as it is, `out` has the steps before.
 */
status train(const recipe *r, const model *on, checkpoint *c, results *out, eval_sink *sink,
             void *user);

#endif
