/* SPDX-License-Identifier: MIT
 *
 * relumax.cuh — the rules of ReLUmax; see relumax.cu.
 */
#ifndef MOSAIC_RELUMAX_CUH
#define MOSAIC_RELUMAX_CUH

#include "grad.cuh"

struct relumax_rule {
    enum { compact = 0, shifted = 1 };
    double b, over_b;
    float k, rest, inverse, S;
    int power;

    __device__ __forceinline__ float activation(float x) const
    {
        return __saturatef(fmaf(rest, x, fmaf(k, x, 1.0f)));
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &t, Team &g, const row_facts &row)
    {
        float s[CHAINS] = {0, 0, 0, 0};
        const double b2 = (double)row.beta * row.beta;
        const double steep = (power == 4 ? b2 * b2 : b2) * over_b;
        k = clamp_scale((float)steep);
        rest = k == (float)steep ? (float)(steep - k) : 0.0f;
        t.each([&](float x, int, int chain) { s[chain] += activation(x); });
        const float sum = g.sum(folded(s));
        inverse = 1.0f / sum;
        S = (float)(b * sum);
    }
    __device__ float weight(float x, int) const
    {
        return activation(x) * inverse;
    }
    __device__ float norm() const
    {
        return S;
    }
};

struct relumax_grad_rule {
    enum { rereads = 0 };
    float b, scale, gap, ref_G, anchor, slope;
    int power, arg;

    __device__ void begin(const grad_facts &row)
    {
        const float b2 = row.beta * row.beta;
        scale = (power == 4 ? b2 * b2 : b2) / row.norm;
        ref_G = row.G_max;
        arg = row.arg;
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    template <class Pair, class Team> __device__ void solve(Pair &t, Team &g, const grad_facts &row)
    {
        const centred c = centre(t, g, ref_G);
        gap = (float)c.gap;
        anchor = (float)(-c.gap - c.plain);
        slope = (float)(power * reciprocal(row.beta) *
                        (c.weighted - b * reciprocal(row.norm) * c.plain));
    }
    __device__ __forceinline__ float grad(float p, float G, int j) const
    {
        return scale * (j == arg ? anchor : p > 0.0f ? (G - ref_G) - gap : 0.0f);
    }
    __device__ float dbeta(const grad_facts &) const
    {
        return slope;
    }
};

#endif
