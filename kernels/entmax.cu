/* SPDX-License-Identifier: MIT
 *
 * entmax — alpha-entmax, alpha > 1: which method serves which alpha.
 *
 *     r = 1/(alpha-1) = 1 .. 10    power.cuh: multiplications only
 *     other alpha < 2              general.cuh: the same Newton in theta = ln p_max
 *     alpha > 2                    order.cuh: the smallest weight is the unknown
 *
 * All solve the equation exactly; params.solver chooses among ways of the reference and is not read,
 * but for adasplash5, which is another function.
 * Source: Peters et al. 2019; model 1.3.
 */
#include "general.cuh"
#include "order.cuh"
#include "power.cuh"

/* The integer 1/(alpha-1) in 1 .. 10, or 0. */
static int integer_exponent(double alpha)
{
    for (int r = 1; r <= 10; r++)
        if (fabs(alpha - (1 + 1.0 / r)) <= 1e-12) return r;
    return 0;
}

static status check(const char *what, const params *p)
{
    if (!(p->alpha > 1 && p->alpha < INFINITY))
        return fail(ERR_ARG, "%s: alpha is %g: expected alpha > 1", what, p->alpha);
    if (p->solver == SOLVER_ADASPLASH5)
        return fail(ERR_ARG, "%s: solver adasplash5: expected one that solves exactly", what);
    return OK;
}

template <typename T> static status forward_of(const args *a)
{
    switch (integer_exponent(a->p.alpha)) {
#define CASE(r)                                                                                    \
    case r:                                                                                        \
        return forward_rows<T>(a, "entmax", power_rule<r>())
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(6);
        CASE(7);
        CASE(8);
        CASE(9);
        CASE(10);
#undef CASE
    }
    if (a->p.alpha < 2) {
        general_rule rule = {};
        rule.a = (float)(a->p.alpha - 1);
        return forward_rows<T>(a, "entmax", rule);
    }
    order_rule rule = {};
    rule.a = a->p.alpha - 1;
    return forward_rows<T>(a, "entmax", rule);
}

template <typename T> static status backward_of(const args *a)
{
    if (!a->out[2]) switch (integer_exponent(a->p.alpha)) {
        case 1: return backward_rows<T>(a, "entmax_grad", power_grad_rule<1>());
        case 2: return backward_rows<T>(a, "entmax_grad", power_grad_rule<2>());
        case 3: return backward_rows<T>(a, "entmax_grad", power_grad_rule<3>());
        }
    general_grad_rule rule = {};
    rule.a = (float)(a->p.alpha - 1);
    rule.dalpha = OUT(float, 2);
    return backward_rows<T>(a, "entmax_grad", rule);
}

extern "C" status entmax_rows(const args *a)
{
    TRY(check("entmax", &a->p));
    return BY_TYPE(a->type, "entmax", forward_of, a);
}

extern "C" status entmax_grad_rows(const args *a)
{
    TRY(check("entmax_grad", &a->p));
    return BY_TYPE(a->type, "entmax_grad", backward_of, a);
}
