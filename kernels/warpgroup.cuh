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
/* Does as tile_run_grad, of alpha 4/3, 1.5 and 2 too, with room at `queries`. */
tile_gradient_runner warpgroup_run_grad;
size_t warpgroup_query_bytes(const tile_call *f);
/* Splits of the queries by its blocks. */
void warpgroup_split(tile_call *f);

/* Do as tile_run and tile_run_grad, of sequences of up to 512 positions and heads of width 16, 32
 * or 64 (resident.cuh). */
tile_runner resident_run;
tile_gradient_runner resident_run_grad;

/* The tensors of a call as TMA sees them: the rows, and the keys. */
static inline dims dims_of_rows(const tile_call *f)
{
    dims d = {};
    d.B = f->mask_T ? 1 : ceil_div(f->first_group + f->groups, f->H);
    d.T = f->N, d.H = f->H, d.D = f->D;
    return d;
}
static inline dims dims_of_keys(const tile_call *f)
{
    dims d = dims_of_rows(f);
    if (f->mask_T) d.B = f->H, d.H = 1;
    d.T = f->M;
    return d;
}

template <typename T> struct dtype_of;
template <> struct dtype_of<bf16> {
    enum { value = BF16 };
};
template <> struct dtype_of<fp16> {
    enum { value = F16 };
};

#endif
