/* SPDX-License-Identifier: MIT
 *
 * dropout — zero each value with probability `rate`, scale the others by 1/(1-rate).
 *
 *     y_i = x_i m_i / (1-rate),   m_i = 1 iff word_(i mod 4) >= floor(rate 2^32)
 *     words = Philox4x32-10(key = seed, counter = (i/4 low, i/4 high, site, step))
 *
 * x (B,T,C) -> y (B,T,C); y may be x. i = ((first_row + b) whole_T + t) C + c, the place of the
 * value in the tensor of the whole step. One thread draws the words of one 16-byte pack (one or two
 * counters) and moves it: one read and one write per element. Where a pack's places do not start at
 * a multiple of four, or leave its row, each value draws words of its own.
 * Source: Srivastava et al. 2014; Salmon et al. 2011.
 */
#include "masks.cuh"

enum { THREADS = 256 };

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    dropout_kernel(const T *x, T *y, int64_t N, drop_mask m, bool wide)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * packed<T>::width;
    if (at >= N) return;
    float o[packed<T>::width];
    drop_pack<T>(o, m, at, N, load_some(x + at, N - at, wide));
    store_some(y + at, packed_of<T>(o), N - at, wide);
}

mask_map mask_map_of(int64_t first, int64_t rows, int64_t whole_rows, int64_t width,
                     int64_t whole_width)
{
    mask_map map = {first, rows, whole_rows, width, whole_width, 0, false};
    map.straight = rows == whole_rows && width == whole_width;
    map.shift = first * whole_rows * whole_width;
    return map;
}

drop_mask mask_of(const params *p, const mask_map *map, int vec, bool by_row)
{
    drop_mask m = {philox_masks_of(p), *map, false};
    const bool in_row = map->width % vec == 0;
    m.packs = map->straight ? map->shift % 4 == 0 && (in_row || !by_row)
                            : in_row && map->whole_width % 4 == 0;
    return m;
}

template <typename T>
static status run(const params *p, const mask_map *map, const void *x, void *y, int64_t N,
                  cudaStream_t stream)
{
    enum { VEC = packed<T>::width };
    if (N == 0) return OK;
    dropout_kernel<T><<<(unsigned)ceil_div(N, THREADS * VEC), THREADS, 0, stream>>>(
        (const T *)x, (T *)y, N, mask_of(p, map, VEC, false), aligned16(x) && aligned16(y));
    return launched("dropout");
}

status mask_values(const params *p, const mask_map *map, dtype type, const void *x, void *y,
                   int64_t count, cudaStream_t stream)
{
    return BY_TYPE(type, "dropout", run, p, map, x, y, count, stream);
}

extern "C" status dropout_philox(const args *a)
{
    NO_SCRATCH(a);
    TRY(rate_fits(&a->p, "dropout"));
    const mask_map map =
        mask_map_of(a->p.first_row, a->d.T, params_whole_T(&a->p, a->d.T), a->d.C, a->d.C);
    return mask_values(&a->p, &map, a->type, a->in[0], a->out[0], a->d.B * a->d.T * a->d.C,
                       stream_of(a));
}
