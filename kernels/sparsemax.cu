/* SPDX-License-Identifier: MIT
 *
 * sparsemax — the Euclidean projection onto the simplex: alpha-entmax at alpha = 2, r = 1, where
 * the Newton step of newton.cuh is Michelot's and ends exactly once the support stands.
 *
 *     p_j = [z_j - tau]_+,  z = beta^2 c,  sum_j p_j = 1;   STAT_NORM = z_max - tau = p_max
 *
 * alpha-entmax comes here at alpha = 2. Source: Martins & Astudillo 2016; Michelot 1986; model 1.3.
 */
#include "entmax.cuh"
#include "entmax_grad.cuh"
#include "newton.cuh"

status projection(const args *a, const char *what)
{
    return BY_TYPE(a->type, what, forward_rows, a, what, newton_for(integer_power<1>(), a->d.N));
}

status projection_grad(const args *a, const char *what, bool measured)
{
    entmax_grad_rule<support_weight> rule = entmax_grad_of<support_weight>(2);
    rule.measured = measured;
    return BY_TYPE(a->type, what, backward_rows, a, what, rule);
}

extern "C" status sparsemax_rows(const args *a)
{
    return projection(a, "sparsemax");
}

extern "C" status sparsemax_grad_rows(const args *a)
{
    return projection_grad(a, "sparsemax_grad", false);
}
