/* SPDX-License-Identifier: MIT
 *
 * grad.cuh — the skeleton of the backward of a row transform:
 * beta (R), p (R,N), stat (R,4), dp = G (R,N) -> dc (R,N), dbeta (R).
 *
 * Teams as in row.cuh. A thread holds its entries of p in registers and those of G, as they are
 * stored, in shared memory that only it touches, so that both are read once; rows too long for
 * that are read again in every pass. A rule:
 *
 *     solve(pair, team, row)  finds the row's constants
 *     grad(p, G, j)           dc_j, 0 where p = 0 (but for an anchor)
 *     slope(p, G, j)          the share of the entry in dbeta
 *
 * G is read as 0 where p = 0: keys without weight may hold anything there.
 */
#ifndef MOSAIC_GRAD_CUH
#define MOSAIC_GRAD_CUH

#include "row.cuh"

/* What a backward may know of its row: stat, and p and G at STAT_ARG (0 if there is none). */
struct grad_facts {
    float beta, norm, p_max, G_max;
    int arg;
    int64_t r;
    bool real, broken; /* false in a team without a row; a NaN row */
};

/* 16 bytes from global to shared memory that need no register on the way. */
__device__ __forceinline__ void copy_async(uint4 *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global)
                 : "memory");
}
__device__ __forceinline__ void copies_arrived()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* p in registers, G in shared memory: pack v of thread i is kept[v * blockDim.x + i]. */
template <typename T> struct resident_pair {
    enum { width = pack<T>::width, packs = ITEMS / width };
    resident<T> p;
    uint4 *kept;

    __device__ __forceinline__ void open(const T *p_row, const T *g_row, int live, const team &g,
                                         uint4 *shared)
    {
        kept = shared + threadIdx.x;
        const int first = g.rank * width - frame_shift(p_row), step = g.size * width;
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = first + v * step;
            if (j >= 0 && j + width <= live && (uintptr_t)(g_row + j) % 16 == 0)
                copy_async(kept + v * blockDim.x, g_row + j);
            else if (j < live)
                for (int i = 0; i < width; i++)
                    if (j + i >= 0 && j + i < live)
                        ((T *)(kept + v * blockDim.x))[i] = g_row[j + i];
        }
        p.open(p_row, live, g, 0.0f);
        copies_arrived();
    }
    __device__ __forceinline__ void forget()
    {
        p.forget();
    }
    __device__ __forceinline__ void pack_at(int v, float *G) const
    {
        unpack(kept[v * blockDim.x], G, T());
#pragma unroll
        for (int i = 0; i < width; i++)
            if (!(p.x[v * width + i] > 0)) G[i] = 0.0f;
    }
    /* f(p_j, G_j, j, chain) */
    template <class F> __device__ __forceinline__ void each(F f) const
    {
#pragma unroll
        for (int v = 0; v < packs; v++) {
            float G[width];
            pack_at(v, G);
#pragma unroll
            for (int i = 0; i < width; i++)
                f(p.x[v * width + i], G[i], p.first + v * p.step + i, i % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *row, int n, F f) const
    {
#pragma unroll
        for (int v = 0; v < packs; v++) {
            const int j = p.first + v * p.step;
            float G[width];
            pack_at(v, G);
#pragma unroll
            for (int i = 0; i < width; i++) G[i] = f(p.x[v * width + i], G[i], j + i);
            if (j < n) store_any(row, j, n, G);
        }
    }
};

template <typename T> struct streamed_pair {
    enum { width = pack<T>::width };
    streamed<T> p;
    const T *g_row;

    __device__ __forceinline__ void open(const T *p_row, const T *g_row_, int live, const team &g,
                                         uint4 *)
    {
        p.open(p_row, live, g);
        g_row = g_row_;
    }
    __device__ __forceinline__ void forget()
    {
    }
    __device__ __forceinline__ void at(int64_t j, float *x, float *G) const
    {
        if (j >= 0 && j + width <= p.live && (uintptr_t)(g_row + j) % 16 == 0) {
            load_pack(p.row + j, x);
            load_pack(g_row + j, G);
        } else {
            load_partial(p.row, j, p.live, 0.0f, x);
            load_partial(g_row, j, p.live, 0.0f, G);
        }
#pragma unroll
        for (int i = 0; i < width; i++)
            if (!(x[i] > 0)) G[i] = 0.0f;
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int64_t j = p.first; j < p.live; j += p.step) {
            float x[width], G[width];
            at(j, x, G);
#pragma unroll
            for (int i = 0; i < width; i++) f(x[i], G[i], (int)j + i, i % CHAINS);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
        for (int64_t j = p.first; j < n; j += p.step) {
            float x[width], G[width];
            at(j, x, G);
#pragma unroll
            for (int i = 0; i < width; i++) x[i] = f(x[i], G[i], (int)j + i);
            store_any(out, j, n, x);
        }
    }
};

template <typename T> struct backward_call {
    const float *beta;
    const T *p;
    const float *stat;
    const T *dp;
    T *dc;
    float *dbeta;
    const int32_t *live;
    int64_t rows;
    int n, size;
};

template <typename T, class Pair, class Rule>
__global__ void __launch_bounds__(MAX_THREADS, 1) row_backward(const backward_call<T> a, Rule rule)
{
    __shared__ team_slots slots;
    extern __shared__ uint4 kept[];
    team g(a.size, &slots);
    const int64_t r = blockIdx.x * (int64_t)(blockDim.x / a.size) + threadIdx.x / a.size;
    const bool real = r < a.rows;
    const int64_t at = real ? r * a.n : 0;
    const float *stat = a.stat + (real ? r * STATS : 0);
    const int live = !real ? 0 : a.live ? a.live[r] : a.n;
    const int arg = real ? (int)stat[STAT_ARG] : -1;
    const bool broken = isnan(stat[STAT_MAX]), idle = broken || arg < 0;
    Pair t;
    t.open(a.p + at, a.dp + at, idle ? 0 : live, g, kept);
    const grad_facts row = {real && a.beta ? a.beta[r] : 1.0f,
                            idle ? 1.0f : stat[STAT_NORM],
                            idle ? 1.0f : widen(a.p[at + arg]),
                            idle ? 0.0f : widen(a.dp[at + arg]),
                            arg,
                            r,
                            real,
                            broken};
    rule.solve(t, g, row);
    t.forget();
    if (a.dbeta) {
        float s[CHAINS] = {0, 0, 0, 0};
        t.each([&](float p, float G, int j, int chain) { s[chain] += rule.slope(p, G, j); });
        const float slope = g.sum(folded(s), 0.0f).a;
        if (real && g.rank == 0) a.dbeta[r] = broken ? NAN : idle ? 0.0f : slope;
        t.forget();
    }
    if (!real) return;
    T *dc = a.dc + at;
    if (idle)
        for (int j = g.rank; j < a.n; j += g.size)
            dc[j] = narrow<T>(broken && j < live ? NAN : 0.0f);
    else
        t.store(dc, a.n, [&](float p, float G, int j) { return rule.grad(p, G, j); });
}

template <typename T, class Rule> status backward_rows(const args *a, const char *what, Rule rule)
{
    backward_call<T> b = {IN(float, 0),  IN(T, 1), IN(float, 2), IN(T, 3),        OUT(T, 0),
                          OUT(float, 1), a->live,  a->d.R,       (int)a->d.N, 0};
    if (a->need) return *a->need = 0, OK;
    TRY(rows_fit(what, a));
    if (!b.rows) return OK;
    cudaStream_t stream = (cudaStream_t)a->stream;
    b.size = team_size(frame_span(b.n, sizeof(T), b.p));
    if (b.size) {
        const int threads = b.size > WARP ? b.size : WARP_BLOCK;
        const size_t bytes = (size_t)threads * ITEMS * sizeof(T);
        const unsigned blocks = (unsigned)ceil_div(b.rows, threads / b.size);
        CUDA_TRY(cudaFuncSetAttribute(row_backward<T, resident_pair<T>, Rule>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
                 what);
        row_backward<T, resident_pair<T>, Rule><<<blocks, threads, bytes, stream>>>(b, rule);
    } else {
        b.size = MAX_THREADS;
        row_backward<T, streamed_pair<T>, Rule>
            <<<(unsigned)b.rows, MAX_THREADS, 0, stream>>>(b, rule);
    }
    return launched(what);
}

#endif
