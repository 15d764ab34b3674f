/* SPDX-License-Identifier: MIT
 *
 * global norm — norm = sqrt(sum_i g_i^2) over all elements of all gradients laid end to end.
 *
 * g (N) -> norm (1).   Source: Pascanu et al. 2013; model 4.
 */
#include "stage.h"

#include <math.h>

status global_norm_ref(const args *a)
{
    if (a->need) return *a->need = 0, OK;
    const double *g = IN(double, 0);
    *OUT(double, 0) = sqrt(dot(g, g, a->d.N));
    return OK;
}
