/* SPDX-License-Identifier: MIT
 *
 * relumax — ReLUmax: the Epanechnikov kernel anchored at the nearest key, with a fixed margin.
 *
 *     p_j = a_j / S,   a_j = [b + beta^e x_j]_+ = b [1 + k x_j]_+,   x_j = c_j - m,   e = 2 or 4
 *     da_j = 1[p_j > 0] (G_j - sum_i p_i G_i) / S
 *     dc_j = beta^e (da_j - 1[j = j*] sum_i da_i),   dbeta = (e/beta) sum_j da_j (S p_j - b)
 *
 * Method: x <= 0, so [.]_+ is a saturation to [0, 1], which the multiply-add does for free. What
 * the rounding of k leaves is added: it moves all keys near the threshold alike, and S by their
 * number. Source: model 1.5.
 */
#include "relumax.cuh"

static status check(const char *what, const params *p)
{
    if (p->relumax_power != 2 && p->relumax_power != 4)
        return fail(ERR_ARG, "%s: power is %d: expected 2 or 4", what, p->relumax_power);
    if (!(p->relumax_b > 0 && p->relumax_b < INFINITY))
        return fail(ERR_ARG, "%s: b is %g: expected a positive number", what, p->relumax_b);
    return OK;
}

extern "C" status relumax_rows(const args *a)
{
    relumax_rule rule = {};
    TRY(check("relumax", &a->p));
    rule.b = (float)a->p.relumax_b;
    rule.over_b = 1 / rule.b;
    rule.power = a->p.relumax_power;
    return BY_TYPE(a->type, "relumax", forward_rows, a, "relumax", rule);
}

extern "C" status relumax_grad_rows(const args *a)
{
    relumax_grad_rule rule = {};
    TRY(check("relumax_grad", &a->p));
    rule.b = (float)a->p.relumax_b;
    rule.power = a->p.relumax_power;
    return BY_TYPE(a->type, "relumax_grad", backward_rows, a, "relumax_grad", rule);
}
