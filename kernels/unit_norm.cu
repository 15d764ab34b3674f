/* SPDX-License-Identifier: MIT
 *
 * unit_norm — rows of length one.
 *
 *     y = x / max(|x|, eps)   or, with eps_add,   y = x / (|x| + eps)
 *     dx = (dy - y <y,dy>) / |x|,   |x| < eps: dx = dy / eps
 *     eps_add: dx = (dy - y <y,dy> (|x| + eps)/|x|) / (|x| + eps),   x = 0: dx = dy / eps
 *
 * x (R, D) -> y (R, D), norm (R) = |x|. Reads eps, eps_add. A row of up to one pack for each lane
 * of a warp has another row in flight beside it; a longer one lies in registers, up to 8 packs for
 * each thread of a warp or a block, and what lies beyond is read again from the cache. Source:
 * model 2.4.
 */
#include "stage.cuh"

template <typename T, int HELD, int ROWS>
static __global__ void __launch_bounds__(ROW_THREADS)
    unit_norm_kernel(const T *x, T *y, float *norm, int64_t R, int64_t D, norm_rule rule, bool wide)
{
    enum { VEC = packed<T>::width };
    __shared__ float room[2][1][WARP / 2];
    int turn = 0;
    const int64_t row0 = (int64_t)blockIdx.x * blockDim.y * ROWS + threadIdx.y;
    held_row<T, HELD> h[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * blockDim.y;
        h[i].read(x + row * D, row < R ? D : 0, wide);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * blockDim.y;
        const float n = vector_length([&](float scale) {
            float sum[1] = {0};
            h[i].each([&](const packed<T> &p, int64_t) {
#pragma unroll
                for (int k = 0; k < VEC; k++)
                    sum[0] += scale * p[k] * (scale * p[k]);
            });
            row_sums(sum, room, turn ^= 1);
            return sum[0];
        });
        const float f = 1 / divisor(rule, n);
        h[i].each([&](const packed<T> &p, int64_t c) {
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = p[k] * f;
            store_some(y + row * D + c, packed_of<T>(o), D - c, wide);
        });
        if (norm && threadIdx.x == 0 && row < R) norm[row] = n;
    }
}

template <typename T, int HELD, int ROWS>
static __global__ void __launch_bounds__(ROW_THREADS)
    unit_norm_grad_kernel(const T *y, const float *norm, const T *dy, T *dx, int64_t R, int64_t D,
                          norm_rule rule, bool wide)
{
    enum { VEC = packed<T>::width };
    __shared__ float room[2][1][WARP / 2];
    const int64_t row0 = (int64_t)blockIdx.x * blockDim.y * ROWS + threadIdx.y;
    held_row<T, HELD> hy[ROWS], hd[ROWS];
    float n[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * blockDim.y, width = row < R ? D : 0;
        hy[i].read(y + row * D, width, wide);
        hd[i].read(dy + row * D, width, wide);
        n[i] = row < R ? norm[row] : 1;
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = row0 + i * blockDim.y;
        float dot[1] = {0};
        hy[i].each_with(hd[i], [&](const packed<T> &u, const packed<T> &d, int64_t) {
#pragma unroll
            for (int k = 0; k < VEC; k++)
                dot[0] += u[k] * d[k];
        });
        row_sums(dot, room, i % 2);
        const float by = divisor(rule, n[i]), f = 1 / by;
        const float along = is_flat(rule, n[i]) ? 0 : dot[0] * (by / n[i]);
        hy[i].each_with(hd[i], [&](const packed<T> &u, const packed<T> &d, int64_t c) {
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++)
                o[k] = (d[k] - u[k] * along) * f;
            store_some(dx + row * D + c, packed_of<T>(o), D - c, wide);
        });
    }
}

/* Whether a row is one pack per lane: then two rows are in flight. */
template <typename T> static bool is_short(int64_t D)
{
    return D <= WARP * packed<T>::width;
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *x = IN(T, 0);
    T *y = OUT(T, 0);
    const bool two = is_short<T>(D);
    const dim3 threads = row_block(ceil_div(D, packed<T>::width));
    const unsigned blocks = (unsigned)ceil_div(R, (int64_t)threads.y * (two ? 2 : 1));
    const bool wide = D % packed<T>::width == 0 && aligned16(x) && aligned16(y);
    const auto kernel = two ? unit_norm_kernel<T, 1, 2> : unit_norm_kernel<T, MOST_HELD, 1>;
    if (R == 0) return OK;
    kernel<<<blocks, threads, 0, stream_of(a)>>>(x, y, OUT(float, 1), R, D, norm_rule_of(&a->p),
                                                 wide);
    return launched("unit_norm");
}

template <typename T> static status run_grad(const args *a)
{
    const int64_t R = a->d.R, D = a->d.D;
    const T *y = IN(T, 0), *dy = IN(T, 2);
    T *dx = OUT(T, 0);
    const bool two = is_short<T>(D);
    const dim3 threads = row_block(ceil_div(D, packed<T>::width));
    const unsigned blocks = (unsigned)ceil_div(R, (int64_t)threads.y * (two ? 2 : 1));
    const bool wide = D % packed<T>::width == 0 && aligned16(y) && aligned16(dy) && aligned16(dx);
    const auto kernel =
        two ? unit_norm_grad_kernel<T, 1, 2> : unit_norm_grad_kernel<T, MOST_HELD, 1>;
    if (R == 0) return OK;
    kernel<<<blocks, threads, 0, stream_of(a)>>>(y, IN(float, 1), dy, dx, R, D, norm_rule_of(&a->p),
                                                 wide);
    return launched("unit_norm_grad");
}

extern "C" status unit_norm_team(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "unit_norm", run, a);
}

extern "C" status unit_norm_grad_team(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "unit_norm_grad", run_grad, a);
}
