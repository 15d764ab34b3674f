/* SPDX-License-Identifier: MIT
 *
 * kernels.h — the C ABI of the CUDA room: one op_fn per row of kernels.def, and the backend.
 * Pointers in args are device pointers (args.live too), args.type is F32, BF16 or F16.
 */
#ifndef MOSAIC_KERNELS_H
#define MOSAIC_KERNELS_H

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KERNEL(op, name, ...) op_fn op##_##name;
#include "kernels.def"
#undef KERNEL

extern const backend cuda_backend;

#ifdef __cplusplus
}
#endif
#endif
