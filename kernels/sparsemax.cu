/* SPDX-License-Identifier: MIT
 *
 * sparsemax — the Euclidean projection onto the simplex: alpha-entmax at alpha = 2, r = 1, where
 * the Newton step of newton.cuh is Michelot's and ends exactly once the support stands.
 *
 *     p_j = [z_j - tau]_+,  z = beta^2 c,  sum_j p_j = 1;   STAT_NORM = z_max - tau = p_max
 *
 * Source: Martins & Astudillo 2016; Michelot 1986; model 1.3.
 */
#include "power_grad.cuh"

extern "C" status sparsemax_rows(const args *a)
{
    newton_rule<integer_power<1>> rule = {};
    return BY_TYPE(a->type, "sparsemax", forward_rows, a, "sparsemax", rule);
}

extern "C" status sparsemax_grad_rows(const args *a)
{
    power_grad_rule<1> rule = {};
    return BY_TYPE(a->type, "sparsemax_grad", backward_rows, a, "sparsemax_grad", rule);
}
