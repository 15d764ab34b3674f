/* SPDX-License-Identifier: MIT
 *
 * newton.cuh — alpha-entmax for 1 < alpha <= 2, sparsemax at 2.
 *
 *     p_j = y_j^r / F,   y_j = [1 + k x_j]_+,   k = (alpha-1) beta^2 / omega,   F = sum_j y_j^r,
 *     r = 1/(alpha-1),   omega = z_max - tau the root of omega^r F(omega) = 1;   x_j = c_j - m
 *
 * Method: Newton on the r-norm ||[z - tau]_+||_r - 1, which is convex and decreasing in tau, hence
 * monotone: with G = sum_j y_j^(r-1),
 *
 *     omega <- omega - (F/G) (omega - F^(-1/r))
 *
 * falls from 1 to the root, every iterate a bound. On equal keys, or one key, one step is exact; as
 * alpha -> 1 one step is softmax. The root of any subset of the keys is a bound as well: the first
 * steps see the largest keys of each thread, in each warp by itself. If r is a small integer the
 * powers are multiplications, cheaper than anything that would spare some. Else they are logarithms:
 * the keys inside the bound contain the support; where they are few, each thread lists its own, and
 * the iteration runs on the list, with rough logarithms first.
 *
 * Many keys just inside the threshold (G >> F) make F answer to the last bit of k: it moves G/F units.
 * So the last step is not rounded into k. From the residual rho = omega^r F - 1 at the k in use,
 *
 *     k' = k + rest,  rest/k = (F/G) rho / r,   F' = F (1 - (1 - F/G) rho),   p_j = y_j(k')^r / F'
 *
 * where y_j(k') = [(1 + k x_j) + rest x_j]_+ rounds relative to y_j itself.
 */
#ifndef MOSAIC_NEWTON_CUH
#define MOSAIC_NEWTON_CUH

#include "row.cuh"

enum { MAX_STEPS = 64 };
static const float ULP = 1.1920929e-7f; /* 2^-23 */
static const float LOG2_E = 1.44269504f;

template <int E> __device__ __forceinline__ float power(float y)
{
    if constexpr (E == 0)
        return 1.0f;
    else if constexpr (E == 1)
        return y;
    else if constexpr (E % 2)
        return power<E - 1>(y) * y;
    else
        return power<E / 2>(y) * power<E / 2>(y);
}

template <int r> struct integer_power {
    enum { lists = 0, rough_first = 0, part_steps = 3 };

    __device__ double slope() const
    {
        return 1.0 / r;
    }
    __device__ static float settled()
    {
        return ULP;
    }
    __device__ static bool by_distance()
    {
        return true;
    }
    /* y^r, and y^(r-1) to *low */
    template <bool exact> __device__ __forceinline__ float of(float x, float k, float *low) const
    {
        return at(fmaf(k, x, 1.0f), low);
    }
    /* the same from 1 + k x, negative or NaN beyond the support */
    __device__ __forceinline__ float at(float distance, float *low) const
    {
        const float y = __saturatef(distance);
        *low = r == 1 ? (y > 0.0f ? 1.0f : 0.0f) : power<r - 1>(y);
        return r == 1 ? y : *low * y;
    }
    /* F^(-1/r), F >= 1, to two units in the last place */
    __device__ __forceinline__ float root(float F) const
    {
        if constexpr (r == 1)
            return __fdividef(1.0f, F);
        else if constexpr (r == 2)
            return rsqrtf(F);
        else {
            const float y = power_of_two(__log2f(F) * (-1.0f / r));
            return fmaf(y, fmaf(-F, power<r>(y), 1.0f) * (1.0f / r), y);
        }
    }
    /* omega^r F - 1 at omega = scale/k; what the quotient leaves comes from its remainder */
    __device__ __forceinline__ float residual(float scale, float k, float F) const
    {
        const float w = __fdividef(scale, k), left = __fdividef(fmaf(-w, k, scale), scale);
        return fmaf(w, power<r - 1>(w) * F, -1.0f) + r * left;
    }
};

struct real_power {
    enum { lists = 1, rough_first = 1, part_steps = 5 };
    float a, r;

    __device__ double slope() const
    {
        return a;
    }
    __device__ static float settled()
    {
        return 2.0f * ULP;
    }
    /* The rounding of 1 + k x costs p r units near the maximum; that of k x, G/F units. */
    __device__ bool by_distance() const
    {
        return r < 4.0f;
    }
    template <bool exact> __device__ __forceinline__ float of(float x, float k, float *low) const
    {
        if (exact && by_distance()) return at(fmaf(k, x, 1.0f), low);
        const float u = -k * x;
        float e = 0.0f;
        *low = 0.0f;
        if (u < 1.0f) {
            e = power_of_two(r * (exact ? LOG2_E * log1pf(-u) : __log2f(1.0f - u)));
            *low = __fdividef(e, 1.0f - u);
        }
        return e;
    }
    __device__ __forceinline__ float at(float y, float *low) const
    {
        float e = 0.0f;
        *low = 0.0f;
        if (y > 0.0f) {
            e = power_of_two(r * log2f(y));
            *low = __fdividef(e, y);
        }
        return e;
    }
    __device__ __forceinline__ float root(float F) const
    {
        return expf(-a * logf(F));
    }
    __device__ __forceinline__ float residual(float scale, float k, float F) const
    {
        const float w = __fdividef(scale, k), left = __fdividef(fmaf(-w, k, scale), scale);
        return fmaf(w, expf((r - 1.0f) * logf(w)) * F, -1.0f) + r * left;
    }
};

template <class Power> struct newton_rule {
    enum { keeps_list = Power::lists, shifted = 1 };
    Power power;
    float scale, k, rest, inverse, omega;

    __device__ __forceinline__ void steepen(float w)
    {
        k = clamp_scale(__fdividef(scale, w));
    }
    /* Newton from w until a step is below tol w; returns the last omega. */
    template <bool exact, class Source>
    __device__ __forceinline__ float newton(const Source &t, team &g, float w, float tol, bool idle)
    {
        sum2 s;
#pragma unroll 1
        for (int step = 0; step < MAX_STEPS; step++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0};
            steepen(w);
            t.each([&](float x, int, int chain) {
                float low;
                F[chain] += power.template of<exact>(x, k, &low);
                G[chain] += low;
            });
            s = g.sum(folded(F), folded(G));
            omega = power.root(s.a);
            const float gap = w - omega, next = w - __fdividef(s.a, s.b) * gap;
            /* a rough start may have gone below the root by its own error: one step goes up */
            const bool more = !idle && fabsf(gap) > tol * w && (next < w || step == 0);
            if (!exact && !idle) w = next;
            if (!g.any(more)) break;
            if (exact && more) w = next;
        }
        inverse = 1.0f / s.a;
        rest = 0.0f;
        if (exact && power.by_distance()) refine(s.a, s.b);
        return w;
    }
    __device__ __forceinline__ void refine(float F, float G)
    {
        const float rho = power.residual(scale, k, F);
        if (!(fabsf(rho) < 0.5f)) return; /* k at an end of its range, or no keys */
        const float share = F / G, sum = F - F * (1.0f - share) * rho;
        rest = k * (share * rho * (float)power.slope());
        inverse = 1.0f / sum;
        omega = power.root(sum);
    }
    template <class Source>
    __device__ __forceinline__ void finish(const Source &t, team &g, float w, bool idle)
    {
        if (Power::rough_first) w = newton<false>(t, g, w, 1e-3f, idle);
        newton<true>(t, g, w, Power::settled(), idle);
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        float w = 1.0f;
        scale = (float)(power.slope() * row.beta * row.beta);
#pragma unroll 1
        for (int step = 0; step < Power::part_steps; step++) {
            float F = 0.0f, G = 0.0f, low;
            steepen(w);
#pragma unroll
            for (int i = 0; i < CHAINS; i++) {
                F += power.template of<false>(row.top[i], k, &low);
                G += low;
            }
            const sum2 s = g.part(F, G);
            const float gap = w - power.root(s.a);
            if (gap > 0.0f) w -= __fdividef(s.a, s.b) * gap;
        }
        if (g.warps > 1) w = -g.max(-w);
        if constexpr (Power::lists) {
            steepen(w);
            const survivors list(t, -1.0001f / k, row.kept);
            const bool full = g.count(!list.whole) > 0;
            if (!g.any(full && !row.idle)) return finish(list, g, w, row.idle);
        }
        finish(t, g, w, row.idle);
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        float low;
        const float y = power.by_distance() ? power.at(fmaf(rest, x, fmaf(k, x, 1.0f)), &low)
                                            : power.template of<true>(x, k, &low);
        return y * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

#endif
