/* SPDX-License-Identifier: MIT
 *
 * kernel_of — the function of the row that runs a call by default (choice.h).
 */
#include "taken.cuh"

extern "C" card kernels_card(void)
{
    return card_here();
}

extern "C" op_fn *kernel_of(op_id op, const args *a)
{
    static op_fn *const functions[] = {
#define KERNEL(op, name, ...) op##_##name,
#include "kernels.def"
#undef KERNEL
    };
    const card c = card_here();
    const kernel_row *r = kernel_choice(op, a, &c);
    return r ? functions[r - kernel_row_at(0)] : NULL;
}
