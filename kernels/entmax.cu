/* SPDX-License-Identifier: MIT
 *
 * entmax — alpha-entmax, alpha > 1: which method serves which alpha.
 *
 *     alpha <= 2    newton.cuh; r = 1/(alpha-1) = 1 .. 5 and 10 by multiplications only
 *     alpha > 2     order.cuh: the smallest weight is the unknown
 *
 * All solve the equation exactly; params.solver names ways of the reference and is not read here,
 * but for adasplash5, which is another function.
 * Source: Peters et al. 2019; model 1.3.
 */
#include "entmax.cuh"
#include "newton.cuh"
#include "order.cuh"

template <typename T> static status forward_of(const args *a)
{
    switch (integer_exponent(a->p.alpha)) {
#define CASE(r)                                                                                    \
    case r:                                                                                        \
        return forward_rows<T>(a, "entmax", newton_for(integer_power<r>(), a->d.N))
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(10);
#undef CASE
    }
    if (a->p.alpha < 2) {
        steep_power power;
        power.a = (float)(a->p.alpha - 1);
        power.r = (float)(1 / (a->p.alpha - 1));
        if (power.r < 8) return forward_rows<T>(a, "entmax", newton_for<real_power>(power, a->d.N));
        return forward_rows<T>(a, "entmax", newton_for(power, a->d.N));
    }
    order_rule rule = {};
    rule.a = a->p.alpha - 1;
    return forward_rows<T>(a, "entmax", rule);
}

extern "C" status entmax_rows(const args *a)
{
    TRY(entmax_check("entmax", &a->p));
    return BY_TYPE(a->type, "entmax", forward_of, a);
}
