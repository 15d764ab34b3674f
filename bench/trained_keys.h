/* SPDX-License-Identifier: MIT
 *
 * trained_keys.h — what the attention of a trained mosaic is given: the keys, values and bandwidths
 * of its first block, for timing kernels on what they meet in training.
 */
#ifndef MOSAIC_TRAINED_KEYS_H
#define MOSAIC_TRAINED_KEYS_H

#include "op/sequences.h"

/* Of one sequence of T positions: the validation samples of what the checkpoint was trained on, one
 * behind the other, read by the reference. ERR_ARG without a path or for a model that is no mosaic,
 * else what reading a checkpoint or its data may say. */
status trained_keys_read(key_stream **keys, const char *path, int64_t T);
void trained_keys_free(key_stream *keys); /* NULL is fine */

#endif
