/* SPDX-License-Identifier: MIT
 *
 * shared_row.cuh — a row in shared memory, where any entry can be read again by its number, and the
 * same operations on a row too long for that.
 */
#ifndef MOSAIC_SHARED_ROW_CUH
#define MOSAIC_SHARED_ROW_CUH

#include "team.cuh"

enum {
    WORDS = 8,        /* of 16 bytes, of a row per thread  */
    LONGEST = 1 << 15 /* entries of a row in shared memory */
};

/* The largest of the entries in a word, NaN if any is. */
__device__ __forceinline__ float word_max(uint4 w, float)
{
    return max_nan(max_nan(__uint_as_float(w.x), __uint_as_float(w.y)),
                   max_nan(__uint_as_float(w.z), __uint_as_float(w.w)));
}
__device__ __forceinline__ uint32_t pair_max(uint32_t a, uint32_t b, bf16)
{
    asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
    return a;
}
__device__ __forceinline__ uint32_t pair_max(uint32_t a, uint32_t b, fp16)
{
    asm("max.NaN.f16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
    return a;
}
template <typename T> __device__ __forceinline__ float word_max(uint4 w, T t)
{
    float x[8];
    w.x = pair_max(pair_max(w.x, w.y, t), pair_max(w.z, w.w, t), t);
    unpack(w, x, t);
    return max_nan(x[0], x[1]);
}

/* Each thread reads its own words only: packs rank, rank + size, ... of an aligned row (W entries,
 * a word), else entries rank, rank + size, ... (W = 1). It knows the maximum of each of its words,
 * and makes `tops` maxima of them. */
template <typename T, int W, int tops_> struct shared_row {
    enum { width = pack<T>::width, items = WORDS * width, tops = tops_ };
    uint4 *word;
    float peak[WORDS];
    int first, step;

    __device__ shared_row(const team &g) : first(g.rank * W), step(g.size * W)
    {
    }
    __device__ __forceinline__ uint4 *at(unsigned v) const
    {
        return word + v * blockDim.x;
    }
    /* The index in the row of entry i of this thread. */
    __device__ __forceinline__ int index(unsigned i) const
    {
        return first + (int)(i / W) * step + (int)(i % W);
    }
    /* Start moving the row to this thread's words. Addresses are computed here: compilers would
     * start from the parameters for every word. */
    __device__ __forceinline__ void fetch(const T *row, int live, uint4 *words)
    {
        uint32_t to = (uint32_t)__cvta_generic_to_shared(words);
        asm volatile("" : "+l"(row), "+r"(to));
        word = words;
#pragma unroll(W > 1 ? WORDS : 1)
        for (unsigned v = 0; v < WORDS; v++) {
            if constexpr (W > 1) {
                const int j = index(v * W);
                if (j < live) copy_async(to + v * blockDim.x * 16, row + (unsigned)j);
            } else {
                T x[width];
#pragma unroll
                for (unsigned i = 0; i < width; i++) {
                    const int j = index(v * width + i);
                    x[i] = j < live ? row[j] : narrow<T>(-INFINITY);
                }
                memcpy(at(v), x, sizeof x);
            }
        }
    }
    /* Wait for it; what lies beyond live becomes -inf. */
    __device__ __forceinline__ void arrive(int live)
    {
        if constexpr (W > 1) {
            copies_arrived();
            if (live < WORDS * step)
#pragma unroll 1
                for (unsigned v = 0; v < WORDS; v++)
                    for (unsigned i = 0; i < W; i++)
                        if (index(v * W + i) >= live) ((T *)at(v))[i] = narrow<T>(-INFINITY);
        }
    }
    __device__ __forceinline__ void maxima(float (&top)[tops])
    {
#pragma unroll
        for (int v = 0; v < WORDS; v++) {
            peak[v] = word_max(*at(v), T());
            top[v % tops] = v < tops ? peak[v] : max_nan(top[v % tops], peak[v]);
        }
    }
    /* f(x_j, j, chain) */
    template <class F> __device__ __forceinline__ void each(F f) const
    {
#pragma unroll 1
        for (unsigned v = 0; v < WORDS; v++) {
            float x[width];
            unpack(*at(v), x, T());
#pragma unroll
            for (unsigned i = 0; i < width; i++)
                f(x[i], index(v * width + i), (int)i % CHAINS);
        }
    }
    /* begin(n), n the number of this thread's entries >= bound; if that is true, add(x_j, j) for
     * each of them. */
    template <class Begin, class Add>
    __device__ __forceinline__ void reaching(float bound, Begin begin, Add add) const
    {
        unsigned some = 0;
        uint64_t hit = 0;
#pragma unroll
        for (int v = 0; v < WORDS; v++)
            some |= (unsigned)(peak[v] >= bound) << v;
        for (; some; some &= some - 1) {
            const int v = __ffs((int)some) - 1;
            float x[width];
            unsigned here = 0;
            unpack(*at(v), x, T());
#pragma unroll
            for (int i = 0; i < width; i++)
                here |= (unsigned)(x[i] >= bound) << i;
            hit |= (uint64_t)here << v * width;
        }
        if (hit && !begin(__popcll(hit))) return;
        for (; hit; hit &= hit - 1) {
            const unsigned i = (unsigned)__ffsll((long long)hit) - 1;
            add(widen(((const T *)at(i / width))[i % width]), index(i));
        }
    }
    /* Zeros, of which a store needs no data. */
    __device__ __forceinline__ void clear(T *row, int n) const
    {
        asm volatile("" : "+l"(row));
        __builtin_assume(__isGlobal(row));
#pragma unroll(W > 1 ? WORDS : 1)
        for (unsigned i = 0; i < items; i += W) {
            const int j = index(i);
            if (j >= n) continue;
            if constexpr (W > 1)
                store_word(row + (unsigned)j, uint4());
            else
                row[j] = narrow<T>(0.0f);
        }
    }
    template <class F> __device__ __forceinline__ void store(T *row, int n, F f) const
    {
#pragma unroll 1
        for (unsigned v = 0; v < WORDS; v++) {
            float x[width], y[width];
            unpack(*at(v), x, T());
#pragma unroll
            for (unsigned i = 0; i < width; i++)
                y[i] = f(x[i], index(v * width + i));
            if constexpr (W > 1) {
                if (index(v * W) < n) store_pack(row + index(v * W), y);
            } else {
#pragma unroll
                for (unsigned i = 0; i < width; i++)
                    if (index(v * width + i) < n) row[index(v * width + i)] = narrow<T>(y[i]);
            }
        }
    }
};

/* The row in memory, read again by every pass. */
template <typename T> struct distant_row {
    enum { items = 0, tops = CHAINS };
    const T *row;
    int live, first, step;

    __device__ distant_row(const team &g) : first(g.rank), step(g.size)
    {
    }
    __device__ __forceinline__ float at(int64_t j) const
    {
        return j < live ? widen(row[j]) : -INFINITY;
    }
    __device__ __forceinline__ void fetch(const T *row_, int live_, uint4 *)
    {
        row = row_, live = live_;
    }
    __device__ __forceinline__ void arrive(int)
    {
    }
    __device__ __forceinline__ void maxima(float (&top)[tops])
    {
#pragma unroll
        for (int i = 0; i < tops; i++)
            top[i] = -INFINITY;
        each([&](float x, int, int chain) { top[chain] = max_nan(top[chain], x); });
    }
    template <class F> __device__ __forceinline__ void each(F f) const
    {
        for (int64_t j = first; j < live; j += CHAINS * step) {
            float x[CHAINS];
#pragma unroll
            for (int i = 0; i < CHAINS; i++)
                x[i] = at(j + i * step);
#pragma unroll
            for (int i = 0; i < CHAINS; i++)
                f(x[i], (int)(j + i * step), i);
        }
    }
    template <class Begin, class Add>
    __device__ __forceinline__ void reaching(float bound, Begin begin, Add add) const
    {
        each([&](float x, int j, int) {
            if (x >= bound && begin(1)) add(x, j);
        });
    }
    __device__ __forceinline__ void clear(T *out, int n) const
    {
        store(out, n, [](float, int) { return 0.0f; });
    }
    template <class F> __device__ __forceinline__ void store(T *out, int n, F f) const
    {
        for (int64_t j = first; j < n; j += step)
            out[j] = narrow<T>(f(at(j), (int)j));
    }
};

#endif
