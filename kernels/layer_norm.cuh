/* SPDX-License-Identifier: MIT
 *
 * layer_norm.cuh — LayerNorm together with what stands around it on a residual stream, in one
 * kernel each way: rows are read and written once where three operations would do so thrice.
 *
 *     x = base + dropout(out),   y = LN(x)
 *     dx = plus + (the gradient of LN),   dropped = dropout(dx)
 */
#ifndef MOSAIC_LAYER_NORM_CUH
#define MOSAIC_LAYER_NORM_CUH

#include "masks.cuh"

/* Arrays of rows (B T, C) of the type of the call. Each may be the array of the result. */
typedef struct joined {
    const void *base, *out;
} joined;
/* As layer_norm, but in[0], the rows x, is written. d: B, T and C, R = B T; p: those of dropout
 * too, rate 0: none. */
status layer_norm_join(const args *a, const joined *j);

typedef struct parted {
    const void *plus; /* NULL: nothing is added; may be dx            */
    void *dropped;    /* NULL: not wanted; p.rate and so on say how   */
} parted;
/* As layer_norm_grad, scratch by question too. */
status layer_norm_grad_part(const args *a, const parted *to);

#endif
