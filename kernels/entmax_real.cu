/* SPDX-License-Identifier: MIT
 *
 * entmax_real — alpha-entmax for 1 < alpha < 2: newton.cuh with powers of any exponent r =
 * 1/(alpha-1), by another way where r is large.
 */
#include "entmax.cuh"
#include "newton.cuh"

template <typename T> static status forward_of(const args *a)
{
    steep_power power;
    power.a = (float)(a->p.alpha - 1);
    power.r = (float)(1 / (a->p.alpha - 1));
    if (power.r < 8) return forward_rows<T>(a, "entmax", newton_for<real_power>(power, a->d.N));
    return forward_rows<T>(a, "entmax", newton_for(power, a->d.N));
}

status entmax_real(const args *a)
{
    return BY_TYPE(a->type, "entmax", forward_of, a);
}
