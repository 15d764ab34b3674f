/* SPDX-License-Identifier: MIT
 *
 * entmax.cuh — alpha-entmax on the host: what the forward and the backward ask of their parameters,
 * and the methods they choose from: files of their own, for which compilers need a long time.
 */
#ifndef MOSAIC_ENTMAX_CUH
#define MOSAIC_ENTMAX_CUH

#include <math.h>

#include "common.cuh"

/* c beta -> p stat, each in the file of its name (projection: sparsemax.cu); r = 1/(alpha-1) */
status projection(const args *a, const char *what); /* alpha = 2 */
status entmax_integer(const args *a, int r);        /* r = 2, 3, 4, 5 or 10 */
status entmax_real(const args *a);                  /* alpha < 2 */
status entmax_order(const args *a);                 /* alpha > 2 */

/* beta p stat dp -> dc dbeta; of the second dalpha too. measured: see entmax_grad.cuh */
status projection_grad(const args *a, const char *what, bool measured); /* alpha = 2 */
status entmax_grad_learned(const args *a);                              /* alpha > 1 */

static inline status entmax_check(const char *what, const params *p)
{
    if (!(p->alpha > 1 && p->alpha < INFINITY))
        return fail(ERR_ARG, "%s: alpha is %g: expected alpha > 1", what, p->alpha);
    if (p->solver == SOLVER_ADASPLASH5)
        return fail(ERR_ARG, "%s: solver adasplash5: expected one that solves exactly", what);
    return OK;
}

#endif
