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
#include "philox.cuh"

enum { THREADS = 256 };

/* The place of element `at` of a call in the whole step. */
__device__ static uint64_t place(const mask_map &map, int64_t at)
{
    const int64_t row = at / map.width, outer = row / map.rows;
    return (uint64_t)(((map.first + outer) * map.whole_rows + row % map.rows) * map.whole_width +
                      at % map.width);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    dropout_kernel(const T *x, T *y, int64_t N, philox_masks m, mask_map map, bool packs, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (at >= N) return;
    const packed<T> r = load_some(x + at, N - at, wide);
    const uint64_t first = map.straight ? (uint64_t)(map.shift + at) : place(map, at);
    float o[VEC];
#pragma unroll
    for (int g = 0; g < VEC / 4; g++) {
        uint4 w = packs ? philox(m, first / 4 + g) : make_uint4(0, 0, 0, 0);
        if (!packs) {
            uint32_t own[4];
            for (int k = 0; k < 4; k++) {
                const uint64_t i = at + 4 * g + k < N ? place(map, at + 4 * g + k) : 0;
                const uint4 all = philox(m, i / 4);
                own[k] = word_of(all, i % 4);
            }
            w = make_uint4(own[0], own[1], own[2], own[3]);
        }
        o[4 * g + 0] = w.x >= m.threshold ? r[4 * g + 0] * m.kept : 0;
        o[4 * g + 1] = w.y >= m.threshold ? r[4 * g + 1] * m.kept : 0;
        o[4 * g + 2] = w.z >= m.threshold ? r[4 * g + 2] * m.kept : 0;
        o[4 * g + 3] = w.w >= m.threshold ? r[4 * g + 3] * m.kept : 0;
    }
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

/* Does every pack of VEC values lie in one row, from a multiple of four on? */
static bool packs_fit(const mask_map &map, int vec)
{
    if (map.straight) return map.shift % 4 == 0;
    return map.width % vec == 0 && map.whole_width % 4 == 0;
}

template <typename T>
static status run(const params *p, const mask_map *map, const void *x, void *y, int64_t N,
                  cudaStream_t stream)
{
    const philox_masks m = philox_masks_of(p);
    if (N == 0) return OK;
    dropout_kernel<T><<<(unsigned)ceil_div(N, THREADS * packed<T>::width), THREADS, 0, stream>>>(
        (const T *)x, (T *)y, N, m, *map, packs_fit(*map, packed<T>::width),
        aligned16(x) && aligned16(y));
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
