/* SPDX-License-Identifier: MIT
 *
 * masks.cuh — dropout of any dense tensor whose values are addressed in a larger one (dropout.cu).
 */
#ifndef MOSAIC_MASKS_CUH
#define MOSAIC_MASKS_CUH

#include "stage.cuh"

/* A call has (outer, rows, width) values; value (o, r, w) of it stands at
 * ((first + o) whole_rows + r) whole_width + w in the whole step. straight: that is shift + its
 * place in the call. */
typedef struct mask_map {
    int64_t first, rows, whole_rows, width, whole_width, shift;
    bool straight;
} mask_map;

mask_map mask_map_of(int64_t first, int64_t rows, int64_t whole_rows, int64_t width,
                     int64_t whole_width);

/* y = dropout(x) of `count` values of a type; y may be x. Reads rate, seed, site, step of p. */
status mask_values(const params *p, const mask_map *map, dtype type, const void *x, void *y,
                   int64_t count, cudaStream_t stream);

#endif
