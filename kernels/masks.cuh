/* SPDX-License-Identifier: MIT
 *
 * masks.cuh — dropout of any dense tensor whose values are addressed in a larger one (dropout.cu).
 */
#ifndef MOSAIC_MASKS_CUH
#define MOSAIC_MASKS_CUH

#include "philox.cuh"
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

/* What packs of 16 bytes of such a call are multiplied by. */
typedef struct drop_mask {
    philox_masks words;
    mask_map map;
    bool packs; /* every pack lies in one row of the whole, from a multiple of four on */
} drop_mask;

/* `vec` values a pack; packs start at multiples of `vec` of a call, or of each of its rows where
 * `by_row`. Reads rate, seed, site, step of p. */
drop_mask mask_of(const params *p, const mask_map *map, int vec, bool by_row);

/* The place of element `at` of a call in the whole step. */
__device__ __forceinline__ uint64_t masked_place(const mask_map &map, int64_t at)
{
    const int64_t row = at / map.width, outer = row / map.rows;
    return (uint64_t)(((map.first + outer) * map.whole_rows + row % map.rows) * map.whole_width +
                      at % map.width);
}

/* o = dropout of the pack x, whose first value is number `at` of the `count` of a call. */
template <typename T>
__device__ __forceinline__ void drop_pack(float (&o)[packed<T>::width], const drop_mask &m,
                                          int64_t at, int64_t count, const packed<T> &x)
{
    const uint32_t least = m.words.threshold;
    const float kept = m.words.kept;
    const uint64_t first = m.map.straight ? (uint64_t)(m.map.shift + at) : masked_place(m.map, at);
#pragma unroll
    for (int g = 0; g < packed<T>::width; g += 4) {
        uint4 w = m.packs ? philox(m.words, first / 4 + g / 4) : make_uint4(0, 0, 0, 0);
        if (!m.packs) {
            uint32_t own[4];
            for (int k = 0; k < 4; k++) {
                const uint64_t i = at + g + k < count ? masked_place(m.map, at + g + k) : 0;
                own[k] = word_of(philox(m.words, i / 4), i % 4);
            }
            w = make_uint4(own[0], own[1], own[2], own[3]);
        }
        o[g + 0] = w.x >= least ? x[g + 0] * kept : 0;
        o[g + 1] = w.y >= least ? x[g + 1] * kept : 0;
        o[g + 2] = w.z >= least ? x[g + 2] * kept : 0;
        o[g + 3] = w.w >= least ? x[g + 3] * kept : 0;
    }
}

/* y = dropout(x) of `count` values of a type; y may be x. Reads rate, seed, site, step of p. */
status mask_values(const params *p, const mask_map *map, dtype type, const void *x, void *y,
                   int64_t count, cudaStream_t stream);

#endif
