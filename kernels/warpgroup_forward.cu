/* SPDX-License-Identifier: MIT
 *
 * warpgroup_forward — the forward of warpgroup.cuh: its launches.
 */
#include "warpgroup_forward.cuh"

template <typename T, int D, bool SOFT>
static status note(const tile_call *f, cudaStream_t stream, const char *what)
{
    typedef forward_room<D, note_shape> room;
    const dtype type = (dtype)dtype_of<T>::value;
    const dims rows = dims_of_rows(f), keys = dims_of_keys(f);
    const auto kernel = note_kernel<T, D, SOFT>;
    const int64_t blocks = ceil_div(f->N, room::rows), all = f->groups * blocks;
    CUtensorMap q, k;
    if (all > INT32_MAX)
        return fail(ERR_ARG, "%s: %lld blocks of %d rows: expected fewer than 2^31", what,
                    (long long)all, (int)room::rows);
    TRY(tile_map(&q, what, f->q, type, &rows, room::rows));
    TRY(tile_map(&k, what, f->k, type, &keys, note_shape::keys));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)room::bytes),
        what);
    kernel<<<(unsigned)all, room::threads, room::bytes, stream>>>(q, k, *f, (int)blocks);
    return launched(what);
}

template <typename T, int D, bool SOFT>
static status forward(const tile_call *f, cudaStream_t stream, const char *what)
{
    typedef forward_shape<D> shape;
    typedef forward_room<D, shape> room;
    const dtype type = (dtype)dtype_of<T>::value;
    const dims rows = dims_of_rows(f), keys = dims_of_keys(f);
    const auto kernel = forward_kernel<T, D, SOFT, shape>;
    const int64_t blocks = ceil_div(f->N, room::rows), all = f->groups * blocks;
    CUtensorMap q, k, v;
    if (all > INT32_MAX)
        return fail(ERR_ARG, "%s: %lld blocks of %d rows: expected fewer than 2^31", what,
                    (long long)all, (int)room::rows);
    TRY(tile_map(&q, what, f->q, type, &rows, room::rows));
    TRY(tile_map(&k, what, f->k, type, &keys, shape::keys));
    TRY(tile_map(&v, what, f->v, type, &keys, shape::keys));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)room::bytes),
        what);
    kernel<<<(unsigned)all, room::threads, room::bytes, stream>>>(q, k, v, *f, (int)blocks);
    TRY(launched(what));
    return f->stat ? note<T, D, SOFT>(f, stream, what) : OK;
}

template <typename T, bool SOFT>
static status by_width(const tile_call *f, cudaStream_t stream, const char *what)
{
    switch (f->D) {
    case 16:
        return forward<T, 16, SOFT>(f, stream, what);
    case 32:
        return forward<T, 32, SOFT>(f, stream, what);
    case 64:
        return forward<T, 64, SOFT>(f, stream, what);
    default:
        return forward<T, 128, SOFT>(f, stream, what);
    }
}

template <typename T>
static status by_rule(const tile_call *f, cudaStream_t stream, const char *what)
{
    return f->rule == RULE_SOFTMAX ? by_width<T, true>(f, stream, what)
                                   : by_width<T, false>(f, stream, what);
}

static status by_type(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    return type == BF16 ? by_rule<bf16>(f, stream, what) : by_rule<fp16>(f, stream, what);
}

status warpgroup_run(const tile_call *f, dtype type, cudaStream_t stream, const char *what)
{
    if (type != BF16 && type != F16)
        return fail(ERR_ARG, "%s: type %d: expected BF16 or F16", what, (int)type);
    if (f->rule != RULE_SOFTMAX && f->rule != RULE_NORMRELU)
        return fail(ERR_ARG, "%s: transform: expected softmax or normrelu", what);
    if (!f->wide) return fail(ERR_ARG, "%s: expected tensors that begin on 16 bytes", what);
    if (f->N == 0) return OK;
    return tile_slices(f, type, false, stream, what, by_type);
}
