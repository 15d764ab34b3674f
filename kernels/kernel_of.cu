/* SPDX-License-Identifier: MIT
 *
 * kernel_of — which row of kernels.def runs a call.
 */
#include "kernels.h"

extern "C" op_fn *kernel_of(op_id op, const args *a)
{
    static const struct {
        op_id op;
        op_fn *run;
        unsigned types;
        uint64_t transforms;
        int64_t width, length;
    } rows[] = {
#define KERNEL(op, name, types, transforms, width, length, idea)                                   \
    {OP_##op, op##_##name, types, transforms, width, length},
#include "kernels.def"
#undef KERNEL
    };
    for (const auto &row : rows)
        if (row.op == op && row.types & TYPE_BIT(a->type) &&
            row.transforms & UINT64_C(1) << a->transform &&
            (row.width == ANY || a->d.D <= row.width) &&
            (row.length == ANY || a->d.T <= row.length))
            return row.run;
    return NULL;
}
