/* SPDX-License-Identifier: MIT
 *
 * attention_rows.cuh — sums over rows that a warp gathers by their numbers:
 *
 *     s = sum_i w_i x_i,   x (n,D) of 16 bits
 *
 * D / 8 lanes a row, 16 bytes each, several rows at a time. Few loads in flight per lane are best:
 * more of them wait for registers and for the last rows.
 */
#ifndef MOSAIC_ATTENTION_ROWS_CUH
#define MOSAIC_ATTENTION_ROWS_CUH

#include "common.cuh"

/* Which of the rows that a warp reads at a time is this lane's, and from which column on. */
template <int D> struct row_lanes {
    enum { WIDTH = 8, LANES = D / WIDTH, ROWS = WARP / LANES };
    __device__ __forceinline__ static int which()
    {
        return (int)threadIdx.x % WARP / LANES;
    }
    __device__ __forceinline__ static int column()
    {
        return (int)threadIdx.x % LANES * WIDTH;
    }
};

/* A sum in the making: of each lane's rows and columns. */
struct row_sum {
    float x[8];
};

/* s += sum_i w_i x_i, i < n, x_i at where(i), w_i = weight(i); AT_ONCE loads in flight. */
template <int AT_ONCE, typename T, int D, class Where, class Weight>
static __device__ __forceinline__ void add_rows(row_sum &s, const T *x, Where where, Weight weight,
                                                int n)
{
    typedef row_lanes<D> lanes;
    const int which = lanes::which(), column = lanes::column();
    const auto add = [&](float f, const uint4 &w) {
        float y[lanes::WIDTH];
        unpack(w, y, T());
#pragma unroll
        for (int c = 0; c < lanes::WIDTH; c++)
            s.x[c] = fmaf(f, y[c], s.x[c]);
    };
    int i = which;
    for (; i + (AT_ONCE - 1) * lanes::ROWS < n; i += AT_ONCE * lanes::ROWS) {
        uint4 w[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++)
            w[u] = *(const uint4 *)(x + where(i + u * lanes::ROWS) + column);
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++)
            add(weight(i + u * lanes::ROWS), w[u]);
    }
#pragma unroll 1
    for (; i < n; i += lanes::ROWS)
        add(weight(i), *(const uint4 *)(x + where(i) + column));
}

/* The row of a sum, over the lanes' rows in a fixed order. */
template <typename T, int D>
static __device__ __forceinline__ void put_row(T *row, const row_sum &s)
{
    typedef row_lanes<D> lanes;
    float x[lanes::WIDTH];
#pragma unroll
    for (int c = 0; c < lanes::WIDTH; c++) {
        x[c] = s.x[c];
#pragma unroll
        for (int o = lanes::LANES; o < WARP; o *= 2)
            x[c] += __shfl_xor_sync(ALL_LANES, x[c], o);
    }
    if (lanes::which()) return;
    store_pack(row + lanes::column(), x);
}

#endif
