/* SPDX-License-Identifier: MIT
 *
 * cross_entropy — loss_r = lse_r - z_r[target_r], lse_r = ln sum_v exp(z_rv).
 *
 *     dz_rv = dloss_r (exp(z_rv - lse_r) - 1[v = target_r])
 *
 * z (R, V), target (R) -> loss, lse (R). A target outside 0..V-1 (the code is -1) is not scored:
 * its loss and its row of dz are 0, its lse is not. One read of z, with a running maximum and sum
 * per thread, the next packs in flight; the backward is one read and one write. Packs are cut from
 * the 16-byte frame in which a row lies, so that any V runs at speed. dz may be z. NaN or +inf in a
 * row: its loss is NaN. Source: model 2.1.
 */
#include "stage.cuh"

enum { THREADS = 256, AHEAD = 16, NARROW = 2048 }; /* AHEAD: elements in flight per thread */
static const float LOG2_E = 1.44269504f;

/* sum_v exp(z_v) = s exp(m) */
struct running {
    float m, s;
};

/* e^x for x <= 0 in three instructions; below 2^-126 it is 0. */
__device__ static float exponential(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * LOG2_E));
    return y;
}

/* s of x at the common maximum m, which may be that of no entries. */
__device__ static float rescaled(running x, float m)
{
    return x.m == -INFINITY && m == m ? 0 : x.s * exponential(x.m - m);
}

/* Over the blockDim.x threads of a row, a team or the block. */
__device__ static running row_join(running x)
{
    __shared__ running room[WARP];
    const int lanes = blockDim.x < WARP ? (int)blockDim.x : (int)WARP, lane = threadIdx.x % WARP;
    float m = team_max(x.m, lanes);
    x = running{m, team_sum(rescaled(x, m), lanes)};
    if (blockDim.x <= WARP) return x;
    if (lane == 0) room[threadIdx.x / WARP] = x;
    __syncthreads();
    x = lane < (int)blockDim.x / WARP ? room[lane] : running{-INFINITY, 0};
    m = team_max(x.m, WARP);
    return running{m, team_sum(rescaled(x, m), WARP)};
}

/* Elements [j, j + width) of the frame of a row of V; those outside are `absent`. */
template <typename T>
__device__ static packed<T> load_framed(const T *row, int j, int V, float absent)
{
    __align__(16) T e[packed<T>::width];
    if (j >= 0) return load_some(row + j, V - j, true, absent);
#pragma unroll
    for (int k = 0; k < packed<T>::width; k++)
        e[k] = j + k >= 0 && j + k < V ? row[j + k] : narrow<T>(absent);
    return packed<T>{*(const uint4 *)e};
}

template <typename T> __device__ static int frame_start(const T *row)
{
    return -(int)((uintptr_t)row % 16 / sizeof(T));
}

template <typename T, int UNROLL>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(const T *z, const int32_t *target, float *loss, float *lse, int64_t R,
                         int V)
{
    enum { VEC = packed<T>::width };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const int width = row < R ? V : 0; /* every lane of a warp takes part in its sums */
    const int step = (int)blockDim.x * VEC;
    const T *p = z + row * V;
    packed<T> next[UNROLL];
    running x = {-INFINITY, 0};
    int j = frame_start(p) + (int)threadIdx.x * VEC;
#pragma unroll
    for (int u = 0; u < UNROLL; u++)
        next[u] = load_framed(p, j + u * step, width, -INFINITY);
    for (; j < width; j += UNROLL * step) {
        packed<T> r[UNROLL];
        float m = x.m;
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            r[u] = next[u];
            next[u] = load_framed(p, j + (UNROLL + u) * step, width, -INFINITY);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                m = max_nan(m, r[u][k]);
        if (m == -INFINITY) continue;
        float s = x.s * exponential(x.m - m);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                s += exponential(r[u][k] - m);
        x = running{m, s};
    }
    x = row_join(x);
    if (threadIdx.x == 0 && row < R) {
        const int t = target[row];
        const float log_s = logf(x.s);
        /* m - z first: it is exact where the loss is small */
        loss[row] = t >= 0 && t < V ? x.m - widen(p[t]) + log_s : 0;
        if (lse) lse[row] = x.m + log_s;
    }
}

template <typename T, int UNROLL>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_grad_kernel(const T *z, const int32_t *target, const float *lse,
                              const float *dloss, T *dz, int64_t R, int V, bool same_frame)
{
    enum { VEC = packed<T>::width };
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= R) return;
    const int step = (int)blockDim.x * VEC, t = target[row];
    const T *p = z + row * V;
    T *d = dz + row * V;
    const bool scored = t >= 0 && t < V;
    const float l = lse[row], g = scored ? dloss[row] : 0;
    for (int j = frame_start(p) + (int)threadIdx.x * VEC; j < V; j += UNROLL * step) {
        packed<T> r[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            r[u] = load_framed(p, j + u * step, V, 0);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int at = j + u * step;
            float o[VEC];
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const float w = exponential(r[u][k] - l);
                o[k] = scored ? g * (at + k == t ? w - 1 : w) : 0;
            }
            if (at >= 0) {
                store_some(d + at, packed_of<T>(o), V - at, same_frame);
                continue;
            }
#pragma unroll
            for (int k = 0; k < VEC; k++)
                if (at + k >= 0 && at + k < V) d[at + k] = narrow<T>(o[k]);
        }
    }
}

/* A team of lanes per row while rows are short, a block per row above. */
template <typename T> static dim3 threads_of(int64_t V)
{
    const int lanes = team_lanes(V / packed<T>::width + 2);
    return V <= NARROW ? dim3(lanes, THREADS / lanes) : dim3(THREADS);
}

/* Whether a row is at most one pack per lane, whatever its frame. */
template <typename T> static bool is_short(int64_t V)
{
    return V / packed<T>::width + 2 <= WARP;
}

static status check(const char *what, const args *a)
{
    return a->d.V < INT32_MAX / 2 ? OK : fail(ERR_ARG, "%s: V: expected below 2^30", what);
}

template <typename T> static status run(const args *a)
{
    enum { UNROLL = AHEAD / packed<T>::width };
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of<T>(V);
    const auto kernel =
        is_short<T>(V) ? cross_entropy_kernel<T, 1> : cross_entropy_kernel<T, UNROLL>;
    if (R == 0) return OK;
    TRY(check("cross_entropy", a));
    kernel<<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        IN(T, 0), IN(int32_t, 1), OUT(float, 0), OUT(float, 1), R, (int)V);
    return launched("cross_entropy");
}

template <typename T> static status run_grad(const args *a)
{
    enum { UNROLL = AHEAD / packed<T>::width };
    const int64_t R = a->d.R, V = a->d.V;
    const dim3 threads = threads_of<T>(V);
    const auto kernel =
        is_short<T>(V) ? cross_entropy_grad_kernel<T, 1> : cross_entropy_grad_kernel<T, UNROLL>;
    const T *z = IN(T, 0);
    T *dz = OUT(T, 0);
    if (R == 0) return OK;
    TRY(check("cross_entropy_grad", a));
    kernel<<<(unsigned)ceil_div(R, threads.y), threads, 0, stream_of(a)>>>(
        z, IN(int32_t, 1), IN(float, 2), IN(float, 3), dz, R, (int)V,
        (uintptr_t)z % 16 == (uintptr_t)dz % 16);
    return launched("cross_entropy_grad");
}

extern "C" status cross_entropy_online(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "cross_entropy", run, a);
}

extern "C" status cross_entropy_grad_online(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "cross_entropy_grad", run_grad, a);
}
