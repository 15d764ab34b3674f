/* SPDX-License-Identifier: MIT
 *
 * embedding — x_r = w[token_r]; dw_v = sum over the r with token_r = v of dx_r.
 *
 * token (R), w (V, C) -> x (R, C). A token outside 0..V-1 has the row 0 and adds to no gradient.
 * Backward, deterministic: sort the positions by token (stable), find where each token starts,
 * cut the sorted positions into tiles of TILE; a token within one tile is summed at once in the
 * order of its positions, one that crosses tiles from one partial sum per tile, in order.
 */
#include "stage.cuh"

#include <cub/device/device_radix_sort.cuh>

enum { THREADS = 128, AHEAD = 4, TILE = 64, BATCH = 16 };

/* The packs of all rows in order, AHEAD of them in flight per thread. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    embedding_kernel(const int32_t *token, const T *w, T *x, int64_t R, int64_t C, int64_t V,
                     unsigned packs, bool wide)
{
    const int64_t before = (int64_t)blockIdx.x * (AHEAD * THREADS), first = before / packs;
    const unsigned rest = (unsigned)(before - first * packs) + threadIdx.x;
    packed<T> r[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        const unsigned at = rest + i * THREADS;
        const int64_t row = first + at / packs, c = (int64_t)(at % packs) * packed<T>::width;
        const int64_t v = row < R ? token[row] : -1;
        const bool known = v >= 0 && v < V;
        r[i] = load_some(known ? w + v * C + c : w, known ? C - c : 0, wide);
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        const unsigned at = rest + i * THREADS;
        const int64_t row = first + at / packs, c = (int64_t)(at % packs) * packed<T>::width;
        if (row < R) store_some(x + row * C + c, r[i], C - c, wide);
    }
}

/* The keys of the sort: unknown tokens go last. */
static __global__ void __launch_bounds__(THREADS)
    keys_kernel(const int32_t *token, uint32_t *key, int32_t *position, int64_t R, int64_t V)
{
    const int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (r >= R) return;
    key[r] = token[r] >= 0 && token[r] < V ? (uint32_t)token[r] : (uint32_t)V;
    position[r] = (int32_t)r;
}

/* start[v] = first sorted position with key >= v, v <= V: a warp narrows it down 32 parts at once.
 */
static __global__ void __launch_bounds__(THREADS)
    starts_kernel(const uint32_t *key, int32_t *start, int64_t R, int64_t V)
{
    const int64_t v = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (v > V) return;
    int64_t low = 0, high = R;
    while (low < high) {
        const int64_t step = (high - low + WARP - 1) / WARP;
        const int64_t at = low + threadIdx.x % WARP * step;
        const int less = __popc(__ballot_sync(ALL_LANES, at < high && key[at] < v));
        if (less == 0) break;
        high = min(high, low + less * step);
        low += (less - 1) * step + 1;
    }
    if (threadIdx.x % WARP == 0) start[v] = (int32_t)low;
}

/* Column sums of the rows dx[position[i]], first <= i < last, at this thread's pack: BATCH of them
 * in flight, for each waits for its position. */
template <typename T>
__device__ static void add_rows(float *sum, const T *dx, const int32_t *position, int first,
                                int last, int64_t C, int64_t c, bool wide)
{
    enum { VEC = packed<T>::width };
    for (int i = first; i < last; i += BATCH) {
        packed<T> r[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            const bool exists = i + j < last;
            r[j] = load_some(dx + (exists ? position[i + j] : 0) * C + c, exists ? C - c : 0, wide);
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++)
#pragma unroll
            for (int k = 0; k < VEC; k++)
                sum[k] += r[j][k];
    }
}

/* partial[tile][0] and [1]: the sums of the token that enters a tile from before and of the one
 * that leaves it. One block per tile and THREADS packs of columns. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    tiles_kernel(const T *dx, const uint32_t *key, const int32_t *start, const int32_t *position,
                 float *partial, int64_t R, int64_t C, int64_t V, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t first = (int64_t)blockIdx.x * TILE, last = first + TILE < R ? first + TILE : R;
    const int64_t c = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * VEC;
    if (c >= C) return;
    for (int side = 0; side < 2; side++) {
        const int64_t v = key[side == 0 ? first : last - 1];
        if (v >= V) continue;
        const int64_t begin = start[v], end = start[v + 1];
        const bool crosses = side == 0 ? begin < first : begin >= first && end > last;
        if (!crosses) continue;
        float sum[VEC] = {0};
        add_rows(sum, dx, position, (int)(begin > first ? begin : first),
                 (int)(end < last ? end : last), C, c, wide);
        float *p = partial + ((int64_t)blockIdx.x * 2 + side) * C + c;
#pragma unroll
        for (int k = 0; k < VEC; k += 4)
            store_some(p + k, packed_of<float>(sum + k), C - c - k, wide);
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    rows_kernel(const T *dx, const int32_t *start, const int32_t *position, const float *partial,
                T *dw, int64_t C, bool wide)
{
    enum { VEC = packed<T>::width };
    const int64_t v = blockIdx.x, c = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * VEC;
    const int first = start[v], last = start[v + 1], from = first / TILE;
    const int to = last > first ? (last - 1) / TILE : from;
    if (c >= C) return;
    float sum[VEC] = {0};
    if (from == to) {
        add_rows(sum, dx, position, first, last, C, c, wide);
    } else {
#pragma unroll 8
        for (int tile = from; tile <= to; tile++) {
            /* a token that fills a tile from its very start has not entered from before */
            const int side = first >= tile * TILE;
            const float *p = partial + ((int64_t)tile * 2 + side) * C + c;
#pragma unroll
            for (int k = 0; k < VEC; k += 4) {
                const packed<float> f = load_some(p + k, C - c - k, wide);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[k + j] += f[j];
            }
        }
    }
    store_some(dw + v * C + c, packed_of<T>(sum), C - c, wide);
}

template <typename T> static status run(const args *a)
{
    const int64_t R = a->d.R, C = a->d.C;
    const T *w = IN(T, 1);
    T *x = OUT(T, 0);
    const bool wide = C % packed<T>::width == 0 && aligned16(w) && aligned16(x);
    const int64_t packs = ceil_div(C, packed<T>::width);
    if (R == 0 || C == 0) return OK;
    embedding_kernel<T>
        <<<(unsigned)ceil_div(R * packs, AHEAD * THREADS), THREADS, 0, stream_of(a)>>>(
            IN(int32_t, 0), w, x, R, C, a->d.V, (unsigned)packs, wide);
    return launched("embedding");
}

extern "C" status embedding_gather(const args *a)
{
    NO_SCRATCH(a);
    return BY_TYPE(a->type, "embedding", run, a);
}

/* Scratch of the backward. */
typedef struct sorted {
    uint32_t *key, *key_sorted;
    int32_t *position, *position_sorted, *start;
    float *partial;
    void *sort;
    size_t sort_bytes, bytes;
} sorted;

static int key_bits(int64_t V)
{
    int bits = 1;
    while (bits < 32 && V >> bits)
        bits++;
    return bits;
}

static status plan(const args *a, sorted *s)
{
    const int64_t R = a->d.R, V = a->d.V;
    char *base = (char *)a->work;
    if (R >= INT32_MAX || V >= INT32_MAX)
        return fail(ERR_ARG, "embedding_grad: R, V: expected fewer than 2^31 - 1");
    s->sort_bytes = 0;
    CUDA_TRY(cub::DeviceRadixSort::SortPairs(NULL, s->sort_bytes, s->key, s->key_sorted,
                                             s->position, s->position_sorted, (int)R, 0,
                                             key_bits(V), stream_of(a)),
             "embedding_grad: sort");
    const size_t sizes[] = {4 * (size_t)R,       4 * (size_t)R,
                            4 * (size_t)R,       4 * (size_t)R,
                            4 * (size_t)(V + 1), 8 * (size_t)(ceil_div(R, TILE) * a->d.C),
                            s->sort_bytes};
    void **parts[] = {(void **)&s->key,
                      (void **)&s->key_sorted,
                      (void **)&s->position,
                      (void **)&s->position_sorted,
                      (void **)&s->start,
                      (void **)&s->partial,
                      &s->sort};
    s->bytes = 0;
    for (int i = 0; i < 7; i++) {
        *parts[i] = base + s->bytes;
        s->bytes += padded(sizes[i]);
    }
    return OK;
}

template <typename T> static status run_grad(const args *a, sorted s)
{
    const int64_t R = a->d.R, C = a->d.C, V = a->d.V;
    const cudaStream_t stream = stream_of(a);
    const T *dx = IN(T, 1);
    T *dw = OUT(T, 0);
    const bool wide = C % packed<T>::width == 0 && aligned16(dx) && aligned16(dw);
    const unsigned slabs = (unsigned)ceil_div(C, THREADS * packed<T>::width);
    if (V == 0 || C == 0) return OK;
    if (R > 0) {
        keys_kernel<<<(unsigned)ceil_div(R, THREADS), THREADS, 0, stream>>>(IN(int32_t, 0), s.key,
                                                                            s.position, R, V);
        CUDA_TRY(cub::DeviceRadixSort::SortPairs(s.sort, s.sort_bytes, s.key, s.key_sorted,
                                                 s.position, s.position_sorted, (int)R, 0,
                                                 key_bits(V), stream),
                 "embedding_grad: sort");
    }
    starts_kernel<<<(unsigned)ceil_div(V + 1, THREADS / WARP), THREADS, 0, stream>>>(s.key_sorted,
                                                                                     s.start, R, V);
    if (R > 0)
        tiles_kernel<T><<<dim3((unsigned)ceil_div(R, TILE), slabs), THREADS, 0, stream>>>(
            dx, s.key_sorted, s.start, s.position_sorted, s.partial, R, C, V, wide);
    rows_kernel<T><<<dim3((unsigned)V, slabs), THREADS, 0, stream>>>(dx, s.start, s.position_sorted,
                                                                     s.partial, dw, C, wide);
    return launched("embedding_grad");
}

extern "C" status embedding_grad_gather(const args *a)
{
    sorted s = {};
    TRY(plan(a, &s));
    if (a->need) {
        *a->need = s.bytes;
        return OK;
    }
    return BY_TYPE(a->type, "embedding_grad", run_grad, a, s);
}
