/* SPDX-License-Identifier: MIT
 *
 * learned.cuh — the backward of alpha-entmax with the gradient of alpha, for any alpha > 1.
 *
 *     g_j = w_j (G_j - sum_i w_i G_i / W),   w = p^(2-alpha),   dc = beta^2 g,
 *     dbeta = (2/beta) sum_j g_j omega ((p_j/p_max)^a - 1) / a,   a = alpha-1
 *     dalpha = sum_j G_j dp_j/dalpha
 *
 * With L = ln p, y_j = L_j^2 q(-a L_j), q(u) = (e^u - 1 - u)/u^2, and bars for means under p,
 *
 *     dp_j/dalpha = p_j ((ybar - y_j)(1 - a Lbar) - a (L_j - Lbar) ybar) / (1 - a Lbar + a^2 ybar)
 *
 * is the derivative of model 1.3 with its terms in 1/a^2 and 1/a cancelled by hand. What is left
 * still is a difference of means over the row: all of it in double.
 */
#ifndef MOSAIC_LEARNED_CUH
#define MOSAIC_LEARNED_CUH

#include "grad.cuh"

/* (e^u - 1 - u) / u^2 for u >= 0 */
__device__ static double second_order(double u)
{
    if (u > 0.5) return (expm1(u) - u) / (u * u);
    double q = 0.0;
    for (int k = 16; k >= 2; k--) q = (q * u + 1.0) / k;
    return q;
}

struct learned_rule {
    double a;
    float *dalpha;
    double b2, omega, p_max, w_ref, share, ref_g, factor;
    float ref_G;
    int ref;

    __device__ void begin(const grad_facts &row)
    {
        b2 = (double)row.beta * row.beta;
        p_max = row.p_max;
        factor = 2.0 / row.beta * row.norm / a;
        ref = row.arg, ref_G = row.G_max;
        w_ref = pow(p_max, 1 - a);
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    __device__ __forceinline__ bool has(float p) const
    {
        return p > 0.0f;
    }
    template <class Pair>
    __device__ void alpha_grad(const Pair &t, team &g, const grad_facts &row) const
    {
        double Lbar = 0, ybar = 0, total = 0;
        t.each([&](float p, float, int, int) {
            if (!has(p)) return;
            const double L = log((double)p);
            Lbar += p * L;
            ybar += p * (L * L * second_order(-a * L));
        });
        Lbar = g.sum(Lbar), ybar = g.sum(ybar);
        const double scale = 1 - a * Lbar;
        t.each([&](float p, float G, int, int) {
            if (!has(p)) return;
            const double L = log((double)p), y = L * L * second_order(-a * L);
            total += ((double)G - row.G_max) * p * ((ybar - y) * scale - a * (L - Lbar) * ybar);
        });
        total = g.sum(total) / (scale + a * a * ybar);
        if (row.real && g.rank == 0)
            dalpha[row.r] = row.broken ? NAN : row.arg < 0 ? 0.0f : (float)total;
    }
    template <class Pair> __device__ void find_smallest(const Pair &t, team &g)
    {
        float least = -INFINITY, G = 0.0f;
        int first = INT32_MAX;
        t.each([&](float p, float, int, int) {
            if (has(p)) least = fmaxf(least, -p);
        });
        least = -g.max(least);
        t.each([&](float p, float, int j, int) {
            if (p == least) first = min(first, j);
        });
        ref = g.first_and_count(first, 0).x;
        t.each([&](float, float G_j, int j, int) {
            if (j == ref) G = G_j;
        });
        ref_G = g.sum(G);
        w_ref = pow((double)least, 1 - a);
    }
    template <class Pair> __device__ void solve(const Pair &t, team &g, const grad_facts &row)
    {
        double A = 0, V = 0;
        if (a > 1) find_smallest(t, g);
        t.each([&](float p, float G, int j, int) {
            if (!has(p) || j == ref) return;
            const double w = pow((double)p, 1 - a);
            A += w * ((double)G - ref_G);
            V += w;
        });
        A = g.sum(A), V = g.sum(V);
        share = A / (w_ref + V);
        ref_g = -A / (1 + V / w_ref);
        alpha_grad(t, g, row);
    }
    __device__ __forceinline__ float grad(float p, float G, int j, float *slope) const
    {
        if (!has(p)) return 0.0f;
        const double d = j == ref ? ref_g : pow((double)p, 1 - a) * (((double)G - ref_G) - share);
        *slope += (float)(d * expm1(a * log(p / p_max)));
        return (float)(b2 * d);
    }
    __device__ float dbeta(float sum) const
    {
        return (float)(factor * sum);
    }
};

#endif
