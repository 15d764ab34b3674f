/* SPDX-License-Identifier: MIT
 *
 * weigh.cuh — from scores to the weights that mix the values, and back: the part that attention
 * and the persistent memory have in common. Scores, weights and their gradients are float here,
 * whatever the storage type; what enters a matrix product has the storage type.
 */
#ifndef MOSAIC_WEIGH_CUH
#define MOSAIC_WEIGH_CUH

#include "masks.cuh"

/* R rows of N weights by args.transform of `call` and its gradient. */
typedef struct weigher {
    const char *what;
    int64_t R, N;
    mask_map masks; /* of the weights */
    const int32_t *live;
    const float *beta; /* R, or NULL */
    const args *call;  /* transform, params, type, stream */
    float *a, *b, *c, *stat;
    void *own;
    op_fn *forward, *backward;
} weigher;

/* Resolve the transform; bytes of scratch of a weigher with its buffers, after `bytes` other bytes
 * at `work`; sets the buffers. */
status weigher_plan(weigher *w, char *work, size_t *bytes);

/* Scores in w->a. Writes the weights before dropout to p (float; NULL: they are not wanted) and
 * stat if not NULL; *mixed receives what multiplies the values: the weights in storage type, after
 * dropout. */
status weigh(const weigher *w, float *p, float *stat, const void **mixed);

/* The weights alone, in storage type. */
status weights_of(const weigher *w, void *p, float *stat);

/* The weights again for the backward: p and stat if both are given, else from the scores in w->a.
 * *weights and *row_stat are what the gradient reads, *mixed as above; w->a is free afterwards,
 * w->c until *mixed is used. */
status weigh_again(const weigher *w, const float *p, const float *stat, const float **weights,
                   const float **row_stat, const void **mixed);

/* The gradient of the mixed weights is in w->a. *dc receives that of the scores, in storage type;
 * dbeta (R) if not NULL. */
status weigh_grad(const weigher *w, const float *weights, const float *row_stat, float *dbeta,
                  const void **dc);

#endif
