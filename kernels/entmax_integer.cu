/* SPDX-License-Identifier: MIT
 *
 * entmax_integer — alpha-entmax at alpha = 1 + 1/r for an integer r > 1: the powers of newton.cuh
 * are products.
 */
#include "entmax.cuh"
#include "newton.cuh"

template <typename T> static status forward_of(const args *a, int r)
{
    switch (r) {
#define CASE(r)                                                                                    \
    case r:                                                                                        \
        return forward_rows<T>(a, "entmax", newton_for(integer_power<r>(), a->d.N))
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(10);
#undef CASE
    }
    return fail(ERR_ARG, "entmax: 1/(alpha-1) is %d: expected 2 .. 5 or 10", r);
}

status entmax_integer(const args *a, int r)
{
    return BY_TYPE(a->type, "entmax", forward_of, a, r);
}
