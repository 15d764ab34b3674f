/* SPDX-License-Identifier: MIT
 *
 * entmax — alpha-entmax, alpha > 1: which method serves which alpha.
 *
 *     alpha <= 2    newton.cuh; r = 1/(alpha-1) = 1 .. 5 and 10 by multiplications only
 *     alpha > 2     entmax_order.cu: the smallest weight is the unknown
 *
 * All solve the equation exactly; params.solver names ways of the reference and is not read here,
 * but for adasplash5, which is another function.
 * Source: Peters et al. 2019; model 1.3.
 */
#include "entmax.cuh"

/* 1/(alpha-1) if it is one of the exponents that have kernels, else 0. */
static int integer_exponent(double alpha)
{
    static const int exponents[] = {1, 2, 3, 4, 5, 10};
    for (int r : exponents)
        if (fabs(alpha - (1 + 1.0 / r)) <= 1e-12) return r;
    return 0;
}

extern "C" status entmax_rows(const args *a)
{
    TRY(entmax_check("entmax", &a->p));
    const int r = integer_exponent(a->p.alpha);
    if (r == 1) return projection(a, "entmax");
    if (r) return entmax_integer(a, r);
    return a->p.alpha < 2 ? entmax_real(a) : entmax_order(a);
}
