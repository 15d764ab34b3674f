/* SPDX-License-Identifier: MIT
 *
 * warpgroup_grad — the gradient of warpgroup.cuh: which kernels of warpgroup_part.cu a call is of.
 */
#include "choice.h"
#include "warpgroup_grad.cuh"

/* Of a threshold; 0: of one that is not taken. */
static int exponent_of(const tile_call *f)
{
    const float r = f->rule == RULE_NORMRELU ? 1.0f : (float)(1 / (f->alpha - 1));
    return f->rule != RULE_RELUMAX && is_power(r) ? (int)r : 0;
}

template <typename T>
static status by_rule(const tile_call *f, cudaStream_t stream, const char *what)
{
    if (f->rule == RULE_SOFTMAX) return warpgroup_gradients<T, SOFT_RULE>(f, stream, what);
    switch (exponent_of(f)) {
    case 3:
        return warpgroup_gradients<T, 3>(f, stream, what);
    case 2:
        return warpgroup_gradients<T, 2>(f, stream, what);
    default:
        return warpgroup_gradients<T, 1>(f, stream, what);
    }
}

static status by_type(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return type == BF16 ? by_rule<bf16>(f, stream, what) : by_rule<fp16>(f, stream, what);
}

size_t warpgroup_query_bytes(const tile_call *f)
{
    return padded(sizeof(float) * MOST_FIELDS * (size_t)(f->groups * whole_queries(f->N)));
}

template <int D> static void split(tile_call *f)
{
    tile_split(f, keys_room<D, SOFT_RULE, keys_shape<D>>::keys, (int)keys_shape<D>::blocks);
}
void warpgroup_split(tile_call *f)
{
    if (f->D > 64)
        split<128>(f);
    else
        split<64>(f);
}

status warpgroup_run_grad(const tile_call *f, dtype type, bool drawn, cudaStream_t stream,
                          const char *what)
{
    if (type != BF16 && type != F16)
        return fail(ERR_ARG, "%s: type %d: expected BF16 or F16", what, (int)type);
    if (f->rule != RULE_SOFTMAX && exponent_of(f) == 0)
        return fail(ERR_ARG, "%s: transform: expected softmax, normrelu or alpha 4/3, 1.5 or 2",
                    what);
    if (!f->wide) return fail(ERR_ARG, "%s: expected tensors that begin on 16 bytes", what);
    if (f->groups * f->N == 0) return OK;
    return tile_slices(f, type, drawn, stream, what, by_type);
}
