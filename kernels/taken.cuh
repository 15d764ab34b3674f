/* SPDX-License-Identifier: MIT
 *
 * taken.cuh — the card of this thread, and a row's own refusal of what it does not take.
 */
#ifndef MOSAIC_TAKEN_CUH
#define MOSAIC_TAKEN_CUH

#include "choice.h"
#include "common.cuh"

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

/* ERR_ARG with what is taken if the row `name` of an operation does not take a call by its limits.
 */
static inline status taken(op_id op, const char *name, const args *a)
{
    const card c = card_here();
    const kernel_row *r;
    for (int i = 0; (r = kernel_row_at(i)) != NULL; i++) {
        if (r->op != op || strcmp(r->name, name) != 0) continue;
        const char *only = limit_broken(r->limits, a, &c);
        if (only) return fail(ERR_ARG, "%s/%s takes %s", op_name(op), name, only);
    }
    return OK;
}

#endif
