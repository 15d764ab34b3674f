/* SPDX-License-Identifier: MIT
 *
 * card.cuh — the card that kernels are launched on.
 */
#ifndef MOSAIC_CARD_CUH
#define MOSAIC_CARD_CUH

#include <cuda_runtime.h>

#include "card.h"

/* The current device; all 0 if there is none. */
static inline card card_here(void)
{
    card c = {};
    int device = 0, major = 0, minor = 0, shared = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
            cudaSuccess)
        return c;
    c.sm = 10 * major + minor;
    c.shared = shared;
    return c;
}

#endif
