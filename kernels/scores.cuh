/* SPDX-License-Identifier: MIT
 *
 * scores.cuh — attention with its scores in memory: matrices (T,T) of every head, products by
 * cuBLAS, the row transform in float between (weigh.cuh). Products run over all keys: what lies
 * beyond N(t) has weight 0 and must be finite.
 */
#ifndef MOSAIC_SCORES_CUH
#define MOSAIC_SCORES_CUH

#include "matmul.cuh"
#include "weigh.cuh"

/* The scratch of one call. */
typedef struct score_frame {
    matmul m;
    weigher w;
    void *product;
    int32_t *live;
    float *beta, *dbeta;
    size_t bytes;
} score_frame;

/* Lay the scratch out; bytes says how much there is. */
status score_plan(const args *a, const char *what, score_frame *f);
/* Products ready; live and beta of every row from lag and beta (H) or NULL. */
status score_begin(const args *a, score_frame *f, const float *beta);
/* y (B,H,T,T) = scale x w^T of every head, in float; x, w (B,T,H,D). */
status score(const args *a, const score_frame *f, float *y, const void *x, const void *w,
             double scale);
/* y (B,T,H,D) = scale p x, or p^T x; added to what y holds if `add`. p (B,H,T,T) in storage type.
 */
status score_mix(const args *a, const score_frame *f, void *y, const void *p, int transposed,
                 const void *x, double scale, int add);

#endif
