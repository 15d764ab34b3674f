/* SPDX-License-Identifier: MIT
 *
 * entmax.cuh — what the forward and the backward of alpha-entmax ask of their parameters.
 */
#ifndef MOSAIC_ENTMAX_CUH
#define MOSAIC_ENTMAX_CUH

#include <math.h>

#include "common.cuh"

/* 1/(alpha-1) if it is an integer up to 10, else 0. */
static inline int integer_exponent(double alpha)
{
    for (int r = 1; r <= 10; r++)
        if (fabs(alpha - (1 + 1.0 / r)) <= 1e-12) return r;
    return 0;
}

static inline status entmax_check(const char *what, const params *p)
{
    if (!(p->alpha > 1 && p->alpha < INFINITY))
        return fail(ERR_ARG, "%s: alpha is %g: expected alpha > 1", what, p->alpha);
    if (p->solver == SOLVER_ADASPLASH5)
        return fail(ERR_ARG, "%s: solver adasplash5: expected one that solves exactly", what);
    return OK;
}

#endif
