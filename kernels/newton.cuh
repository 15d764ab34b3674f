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
 * steps see the maximum of each group of entries only, and bring omega so near that one or two
 * steps over the row remain, in which groups that do not reach the support are left out. In a row
 * of many blocks, where every step over it is a barrier of them all, they see the maximum of each
 * warp, which all have from the search for m.
 *
 * Many keys just inside the threshold (G >> F) make F answer to the last bit of k: it moves G/F
 * units. So the last step is not rounded into k. From the residual rho = omega^r F - 1 at the k in
 * use,
 *
 *     k' = k + rest,  rest/k = (F/G) rho / r,   F' = F (1 - (1 - F/G) rho),   p_j = y_j(k')^r / F'
 *
 * where y_j(k') = [(1 + k x_j) + rest x_j]_+ rounds relative to y_j itself.
 */
#ifndef MOSAIC_NEWTON_CUH
#define MOSAIC_NEWTON_CUH

#include "row.cuh"

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

/* A power: y^r, and y^(r-1) to *low, for y = 1 + k x, which is cut to 0 ... 1. */
template <int r_> struct integer_power {
    enum { from_one = 0 };
    static constexpr float r = r_;

    __device__ double slope() const
    {
        return 1.0 / r_;
    }
    __device__ __forceinline__ float at(float y, float *low) const
    {
        y = __saturatef(y);
        *low = r_ == 1 ? (y > 0.0f ? 1.0f : 0.0f) : power<r_ - 1>(y);
        return r_ == 1 ? y : *low * y;
    }
    /* w^(r-1) */
    __device__ __forceinline__ float low(float w) const
    {
        return power<r_ - 1>(w);
    }
    /* F^(-1/r), F >= 1, to two units in the last place */
    __device__ __forceinline__ float root(float F) const
    {
        if constexpr (r_ == 1)
            return quotient(1.0f, F);
        else if constexpr (r_ == 2)
            return inverse_root(F);
        else {
            const float y = power_of_two(logarithm(F) * (-1.0f / r));
            return fmaf(y, fmaf(-F, power<r_>(y), 1.0f) * (1.0f / r), y);
        }
    }
};

struct real_power {
    enum { from_one = 0 };
    float a, r;

    __device__ double slope() const
    {
        return a;
    }
    __device__ __forceinline__ float at(float y, float *low) const
    {
        y = __saturatef(y);
        *low = power_of_two((r - 1.0f) * logarithm(y));
        return *low * y;
    }
    __device__ __forceinline__ float low(float w) const
    {
        return expf((r - 1.0f) * logf(w));
    }
    __device__ __forceinline__ float root(float F) const
    {
        return expf(-a * logf(F));
    }
};

/* For r so large that the rounding of 1 + k x, which costs a weight near the maximum r units,
 * shows: omega, whose r-th root hides it, comes from there; the weights and F from k x itself. */
struct steep_power : real_power {
    enum { from_one = 1 };

    /* (1 + v)^r, v <= 0 */
    __device__ __forceinline__ float from(float v) const
    {
        return v > -1.0f ? power_of_two(r * (LOG2_E * log1pf(v))) : 0.0f;
    }
};

template <class Power> struct newton_rule {
    enum { shifted = 1, compact = 1 };
    Power power;
    float settled; /* relative to omega, the step after which none is taken */
    float scale, k, rest, inverse, omega;

    __device__ __forceinline__ void steepen(float w)
    {
        k = clamp_scale(quotient(scale, w));
    }
    __device__ __forceinline__ float inside(float x) const
    {
        return fmaf(k, x, 1.0f);
    }
    /* The step from omega = w, to be subtracted. */
    __device__ __forceinline__ float step_from(float w, sum2 s)
    {
        omega = power.root(s.a);
        return quotient(s.a, s.b) * (w - omega);
    }
    /* omega from some keys of the row: KEYS per thread, of all the threads that `sum` adds. */
    template <int KEYS, class Team, class Sum>
    __device__ __forceinline__ float bound(Team &g, const row_facts &row, const float (&top)[KEYS],
                                           Sum sum)
    {
        float w = 1.0f;
#pragma unroll 1
        for (int i = 0; i < MAX_STEPS; i++) {
            float F = 0.0f, G = 0.0f, low;
            steepen(w);
#pragma unroll
            for (int j = 0; j < KEYS; j++) {
                F += power.at(inside(top[j]), &low);
                G += low;
            }
            const float step = step_from(w, sum(F, G));
            if (step > 0.0f) w -= step;
            if (!g.any(!row.idle && step > w * (1.0f / 256))) break;
        }
        return w;
    }
    /* omega from the row: on from w until no step is left. Returns F and G there. */
    template <class Tile, class Team>
    __device__ __forceinline__ sum2 newton(const Tile &t, Team &g, const row_facts &row, float w)
    {
        sum2 s;
#pragma unroll 1
        for (int i = 0; i < MAX_STEPS; i++) {
            float F[CHAINS] = {0, 0, 0, 0}, G[CHAINS] = {0, 0, 0, 0};
            steepen(w);
            t.each_of(
                row.top, [&](float x) { return inside(x) > 0.0f; },
                [&](float x, int, int chain) {
                    float low;
                    F[chain] += power.at(inside(x), &low);
                    G[chain] += low;
                });
            s = g.sum(folded(F), folded(G));
            const float step = step_from(w, s);
            /* the bound may have passed the root by its rounding: the first step may go up */
            const bool more = !row.idle && fabsf(step) > settled * w && (step > 0.0f || i == 0);
            if (!g.any(more)) break;
            if (more) w -= step;
        }
        return s;
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        float w;
        scale = (float)(power.slope() * row.beta * row.beta);
        if constexpr (Team::blocks > 1) {
            float top[Team::blocks];
#pragma unroll
            for (int e = 0; e < Team::blocks; e++)
                top[e] = g.warp_max(e) - row.m;
            w = bound(g, row, top, [&](float F, float G) { return g.sum_in_warp(F, G); });
        } else {
            w = bound(g, row, row.top, [&](float F, float G) { return g.sum(F, G); });
        }
        const sum2 s = newton(t, g, row, w);
        rest = 0.0f;
        if constexpr (Power::from_one)
            recount(t, g, row);
        else
            inverse = 1.0f / s.a, refine(s.a, s.b);
    }
    /* F itself, once omega stands. */
    template <class Tile, class Team>
    __device__ __forceinline__ void recount(const Tile &t, Team &g, const row_facts &row)
    {
        float F[CHAINS] = {0, 0, 0, 0};
        t.each_of(
            row.top, [&](float x) { return reaches(x); },
            [&](float x, int, int chain) { F[chain] += power.from(k * x); });
        const float sum = g.sum(folded(F));
        inverse = 1.0f / sum;
        omega = power.root(sum);
    }
    __device__ __forceinline__ void refine(float F, float G)
    {
        /* omega^r F - 1 at omega = scale/k; what the quotient leaves comes from its remainder */
        const float w = __fdividef(scale, k), left = __fdividef(fmaf(-w, k, scale), scale);
        const float rho = fmaf(w, power.low(w) * F, -1.0f) + power.r * left;
        if (!(fabsf(rho) < 0.5f)) return; /* k at an end of its range, or no keys */
        const float share = F / G, sum = F - F * (1.0f - share) * rho;
        rest = k * (share * rho * (float)power.slope());
        inverse = 1.0f / sum;
        omega = power.root(sum);
    }
    __device__ __forceinline__ float moved(float x) const
    {
        return fmaf(rest, x, inside(x));
    }
    __device__ __forceinline__ bool reaches(float x) const
    {
        return moved(x) > 0.0f;
    }
    __device__ __forceinline__ float weight(float x, int) const
    {
        float low;
        if constexpr (Power::from_one) return power.from(k * x) * inverse;
        return power.at(moved(x), &low) * inverse;
    }
    __device__ float norm() const
    {
        return omega;
    }
};

/* The rule for rows of n entries. A last step of share d of omega leaves F' right to
 * r (r-1)/2 sum_j y_j^(r-2) (1-y_j)^2 d^2 <= n d^2 for r >= 2; omega that is off by d moves a steep
 * power's weights by d times their scores. */
template <class Power> static inline newton_rule<Power> newton_for(Power power, int64_t n)
{
    newton_rule<Power> rule = {};
    rule.power = power;
    rule.settled = power.r < 2       ? ULP
                   : Power::from_one ? 2 * ULP
                                     : fmaxf(ULP, 0x1p-12f / sqrtf((float)n));
    return rule;
}

#endif
