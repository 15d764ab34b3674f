/* SPDX-License-Identifier: MIT
 *
 * warpgroup_part — the kernels of warpgroup_grad.cuh for one storage type and one rule, and their
 * launches, by the compiler's definitions PART_TYPE and PART_RULE, so that they compile side by
 * side.
 */
#include "warpgroup_grad.cuh"

template <typename T, int D, int R>
static status by_rows(const tile_call *f, cudaStream_t stream, const char *what)
{
    typedef rows_shape<D> shape;
    typedef rows_room<D, shape> room;
    const dtype type = (dtype)dtype_of<T>::value;
    const dims keys = dims_of_keys(f);
    const auto kernel = f->dbeta ? gradient_rows_kernel<T, D, R, true, shape>
                                 : gradient_rows_kernel<T, D, R, false, shape>;
    const int64_t blocks = ceil_div(f->N, room::rows), all = f->groups * blocks;
    CUtensorMap k, v;
    if (all > INT32_MAX)
        return fail(ERR_ARG, "%s: %lld blocks of %d rows: expected fewer than 2^31", what,
                    (long long)all, (int)room::rows);
    TRY(tile_map(&k, what, f->k, type, &keys, shape::keys));
    TRY(tile_map(&v, what, f->v, type, &keys, shape::keys));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)room::bytes),
        what);
    kernel<<<(unsigned)all, room::threads, room::bytes, stream>>>(k, v, *f, (int)blocks);
    return launched(what);
}

template <typename T, int D, int R>
static status by_keys(const tile_call *f, cudaStream_t stream, const char *what)
{
    typedef keys_shape<D> shape;
    typedef keys_room<D, R, shape> room;
    const dtype type = (dtype)dtype_of<T>::value;
    const dims rows = dims_of_rows(f), keys = dims_of_keys(f);
    const auto kernel = gradient_keys_kernel<T, D, R, shape>;
    const int64_t blocks = ceil_div(f->M, room::keys), all = f->groups * blocks * f->splits;
    CUtensorMap k, v, q, g, bits = {};
    if (all > INT32_MAX)
        return fail(ERR_ARG, "%s: %lld blocks of %d keys: expected fewer than 2^31", what,
                    (long long)all, (int)room::keys);
    TRY(tile_map(&k, what, f->k, type, &keys, room::keys));
    TRY(tile_map(&v, what, f->v, type, &keys, room::keys));
    TRY(tile_map(&q, what, f->q, type, &rows, shape::queries));
    TRY(tile_map(&g, what, f->g, type, &rows, shape::queries));
    if (f->drop)
        TRY(word_map(&bits, what, f->bits, f->groups, f->N, f->words, shape::queries, room::words));
    CUDA_TRY(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)room::bytes),
        what);
    kernel<<<(unsigned)all, room::threads, room::bytes, stream>>>(k, v, q, g, bits, *f,
                                                                  (int)blocks);
    return launched(what);
}

template <typename T, int D, int R>
static status of_width(const tile_call *f, cudaStream_t stream, const char *what)
{
    TRY((by_rows<T, D, R>(f, stream, what)));
    if (!f->dk && !f->dv) return OK;
    TRY((by_keys<T, D, R>(f, stream, what)));
    return f->splits > 1 ? tile_join(f, (dtype)dtype_of<T>::value, stream, what) : OK;
}

template <typename T, int R>
status warpgroup_gradients(const tile_call *f, cudaStream_t stream, const char *what)
{
    switch (f->D) {
    case 16:
        return of_width<T, 16, R>(f, stream, what);
    case 32:
        return of_width<T, 32, R>(f, stream, what);
    case 64:
        return of_width<T, 64, R>(f, stream, what);
    default:
        return of_width<T, 128, R>(f, stream, what);
    }
}

template status warpgroup_gradients<PART_TYPE, PART_RULE>(const tile_call *f, cudaStream_t stream,
                                                          const char *what);
