/* SPDX-License-Identifier: MIT
 *
 * warpgroup.cuh — attention by tile.cuh's rules on the products of wgmma.cuh, for compute
 * capability 9.0a: softmax, and normalised ReLU, whose threshold is known before.
 *
 * A call is one of tile.cuh, and leaves behind what one of tile.cuh leaves.
 */
#ifndef MOSAIC_WARPGROUP_CUH
#define MOSAIC_WARPGROUP_CUH

#include "tile.cuh"

/* Does as tile_run. Storage of 16 bits, heads of width 16, 32, 64 or 128. */
tile_runner warpgroup_run;

#endif
