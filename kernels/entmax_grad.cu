/* SPDX-License-Identifier: MIT
 *
 * entmax_grad — the backward of alpha-entmax: which method serves which alpha.
 *
 *     alpha > 1          entmax_grad.cuh: one weight p^(2-alpha) per entry
 *     dalpha wanted      entmax_grad_learned.cu, in double
 *
 * Source: Peters et al. 2019; model 1.3.
 */
#include "entmax_grad.cuh"
#include "entmax.cuh"

template <typename T> static status backward_of(const args *a)
{
    const double alpha = a->p.alpha;
    const char *what = "entmax_grad";
    if (alpha == 1.5) return backward_rows<T>(a, what, entmax_grad_of<root_weight>(alpha));
    if (alpha < 2) return backward_rows<T>(a, what, entmax_grad_of<real_weight>(alpha));
    return backward_rows<T>(a, what, entmax_grad_of<steep_weight>(alpha));
}

extern "C" status entmax_grad_rows(const args *a)
{
    TRY(entmax_check("entmax_grad", &a->p));
    if (a->out[2]) return entmax_grad_learned(a);
    if (a->p.alpha == 2) return projection_grad(a, "entmax_grad", true);
    return BY_TYPE(a->type, "entmax_grad", backward_of, a);
}
