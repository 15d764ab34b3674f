/* SPDX-License-Identifier: MIT
 *
 * tile_part — one of the kernels of tile.cuh for one storage type and width of a tile, by the
 * compiler's definitions TILE_PART (forward, rows, keys), TILE_TYPE, TILE_WIDTH and TILE_SOFT, so
 * that they compile side by side.
 */
#include "tile_forward.cuh"
#include "tile_keys.cuh"
#include "tile_rows.cuh"

#define PASTE(a, b) a##b
#define NAMED(part) PASTE(tile_, part)

template status NAMED(TILE_PART)<TILE_TYPE, TILE_WIDTH, TILE_SOFT>(const tile_call *a,
                                                                   cudaStream_t stream,
                                                                   const char *what);
