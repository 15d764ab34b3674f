/* SPDX-License-Identifier: MIT
 *
 * sparsemax — the Euclidean projection onto the simplex: alpha-entmax at alpha = 2, r = 1, where
 * the Newton step of newton.cuh is Michelot's and ends exactly once the support stands.
 *
 *     p_j = [z_j - tau]_+,  z = beta^2 c,  sum_j p_j = 1;   STAT_NORM = z_max - tau = p_max
 *
 * Source: Martins & Astudillo 2016; Michelot 1986; model 1.3.
 */
#include "entmax_grad.cuh"
#include "newton.cuh"

extern "C" status sparsemax_rows(const args *a)
{
    return BY_TYPE(a->type, "sparsemax", forward_rows, a, "sparsemax",
                   newton_for(integer_power<1>(), a->d.N));
}

extern "C" status sparsemax_grad_rows(const args *a)
{
    entmax_grad_rule<support_weight> rule = entmax_grad_of<support_weight>(2);
    rule.measured = false;
    return BY_TYPE(a->type, "sparsemax_grad", backward_rows, a, "sparsemax_grad", rule);
}
