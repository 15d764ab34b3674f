/* SPDX-License-Identifier: MIT
 *
 * weigh.cuh — from scores to the weights that mix the values, and back: the part that attention
 * and the persistent memory have in common. Scores, weights and their gradients are float here,
 * whatever the storage type; what enters a matrix product has the storage type.
 */
#ifndef MOSAIC_WEIGH_CUH
#define MOSAIC_WEIGH_CUH

#include "stage.cuh"

/* R rows of N weights by the transform `forward`, whose gradient is `backward` (unused forward).
 * Scratch: a, b, c of R N floats, stat (R, STATS), own: what the transforms ask for. */
typedef struct weigher {
    const char *what;
    int64_t R, N;
    op_fn *forward, *backward;
    const int32_t *live;
    const float *beta; /* R, or NULL */
    const args *call;  /* params, type, stream */
    float *a, *b, *c, *stat;
    void *own;
} weigher;

/* Bytes of scratch of a weigher with its buffers, after `bytes` other bytes at `work`; sets the
 * buffers. */
status weigher_plan(weigher *w, char *work, size_t *bytes);

/* Scores in w->a. Writes the weights to p (storage type) and stat, each if not NULL; *mixed
 * receives what multiplies the values: the weights in storage type, after dropout. */
status weigh(const weigher *w, void *p, float *stat, const void **mixed);

/* The weights again for the backward: from p and stat if both are given, else from the scores in
 * w->a. *weights (float) and *row_stat are what the gradient reads, *mixed as above; w->a is free
 * afterwards, w->c until *mixed is used. */
status weigh_again(const weigher *w, const void *p, const float *stat, const float **weights,
                   const float **row_stat, const void **mixed);

/* The gradient of the mixed weights is in w->a. *dc receives that of the scores, in storage type;
 * dbeta (R) if not NULL. */
status weigh_grad(const weigher *w, const float *weights, const float *row_stat, float *dbeta,
                  const void **dc);

#endif
