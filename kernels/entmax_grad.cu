/* SPDX-License-Identifier: MIT
 *
 * entmax_grad — the backward of alpha-entmax: which method serves which alpha.
 *
 *     r = 1/(alpha-1) = 1 .. 5, 10    power_grad.cuh: multiplications, one root per entry
 *     other alpha > 1                 general.cuh: one logarithm per entry
 *     dalpha wanted                   learned.cuh, in double
 *
 * Source: Peters et al. 2019; model 1.3.
 */
#include "entmax.cuh"
#include "general_grad.cuh"
#include "learned.cuh"
#include "power_grad.cuh"

template <int r, typename T> static status backward_power(const args *a)
{
    power_grad_rule<r> rule = {};
    rule.measured = true;
    return backward_rows<T>(a, "entmax_grad", rule);
}

template <typename T> static status backward_of(const args *a)
{
    if (a->out[2]) {
        learned_rule rule = {};
        rule.a = a->p.alpha - 1;
        rule.dalpha = OUT(float, 2);
        return backward_rows<T>(a, "entmax_grad", rule);
    }
    switch (integer_exponent(a->p.alpha)) {
    case 1: return backward_power<1, T>(a);
    case 2: return backward_power<2, T>(a);
    case 3: return backward_power<3, T>(a);
    case 4: return backward_power<4, T>(a);
    case 5: return backward_power<5, T>(a);
    case 10: return backward_power<10, T>(a);
    }
    general_grad_rule rule = {};
    rule.a = (float)(a->p.alpha - 1);
    return backward_rows<T>(a, "entmax_grad", rule);
}

extern "C" status entmax_grad_rows(const args *a)
{
    TRY(entmax_check("entmax_grad", &a->p));
    return BY_TYPE(a->type, "entmax_grad", backward_of, a);
}
