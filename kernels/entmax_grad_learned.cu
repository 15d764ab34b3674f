/* SPDX-License-Identifier: MIT
 *
 * entmax_grad_learned — the backward of alpha-entmax with the gradient of alpha, for any alpha > 1.
 *
 *     g_j = w_j (G_j - sum_i w_i G_i / W),   w = p^(2-alpha),   dc = beta^2 g,
 *     dbeta = (2/beta) omega / (a p_max^a) sum_j p_j (G_j - sum_i w_i G_i / W),   a = alpha-1
 *     dalpha = sum_j G_j dp_j/dalpha
 *
 * With L = ln p, y_j = L_j^2 q(-a L_j), q(u) = (e^u - 1 - u)/u^2, and bars for means under p,
 *
 *     dp_j/dalpha = p_j ((ybar - y_j)(1 - a Lbar) - a (L_j - Lbar) ybar) / (1 - a Lbar + a^2 ybar)
 *
 * is the derivative of model 1.3 with its terms in 1/a^2 and 1/a cancelled by hand. What is left
 * still is a difference of means over the row: all of it in double. That is hundreds of
 * instructions an entry, beside which reading it again costs little, and repeated for each of ITEMS
 * entries they would be several times what a multiprocessor keeps of a program.
 */
#include "entmax.cuh"
#include "grad.cuh"

/* (e^u - 1 - u) / u^2 for u >= 0; called, as its divisions are long */
__device__ __noinline__ static double second_order(double u)
{
    if (u > 0.5) return (expm1(u) - u) / (u * u);
    double q = 0.0;
    for (int k = 16; k >= 2; k--)
        q = (q * u + 1.0) / k;
    return q;
}

struct learned_rule {
    enum { rereads = 1 };
    double a;
    float *dalpha;
    double b2, w_ref, share, ref_g, moment;
    float ref_G;
    int ref;

    __device__ void begin(const grad_facts &row)
    {
        b2 = (double)row.beta * row.beta;
        ref = row.arg, ref_G = row.G_max;
        w_ref = pow((double)row.p_max, 1 - a);
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    template <class Pair, class Team>
    __device__ void alpha_grad(Pair &t, Team &g, const grad_facts &row) const
    {
        double Lbar = 0, ybar = 0, total = 0;
        t.raw([&](float p, float, int, int) {
            if (!(p > 0.0f)) return;
            const double L = log((double)p);
            Lbar += p * L;
            ybar += p * (L * L * second_order(-a * L));
        });
        Lbar = g.sum(Lbar), ybar = g.sum(ybar);
        const double scale = 1 - a * Lbar;
        t.raw([&](float p, float G, int, int) {
            if (!(p > 0.0f)) return;
            const double L = log((double)p), y = L * L * second_order(-a * L);
            total += ((double)G - row.G_max) * p * ((ybar - y) * scale - a * (L - Lbar) * ybar);
        });
        total = g.sum(total) / (scale + a * a * ybar);
        if (row.real && g.rank == 0)
            dalpha[row.r] = row.broken ? NAN : row.arg < 0 ? 0.0f : (float)total;
    }
    template <class Pair, class Team> __device__ void solve(Pair &t, Team &g, const grad_facts &row)
    {
        double A = 0, V = 0, pd = 0, P = 0;
        if (a > 1) {
            const least_key least = find_least(t, g);
            ref = least.j, ref_G = least.G;
            w_ref = pow((double)least.p, 1 - a);
        }
        t.raw([&](float p, float G, int j, int) {
            if (!(p > 0.0f)) return;
            const double d = (double)G - ref_G;
            pd += p * d;
            P += p;
            if (j == ref) return;
            const double w = pow((double)p, 1 - a);
            A += w * d;
            V += w;
        });
        A = g.sum(A), V = g.sum(V), pd = g.sum(pd), P = g.sum(P);
        share = A / (w_ref + V);
        ref_g = -A / (1 + V / w_ref);
        moment = pd - share * P;
        alpha_grad(t, g, row);
    }
    __device__ __forceinline__ float grad(float p, float G, int j) const
    {
        if (!(p > 0.0f)) return 0.0f;
        return (float)(b2 *
                       (j == ref ? ref_g : pow((double)p, 1 - a) * (((double)G - ref_G) - share)));
    }
    __device__ float dbeta(const grad_facts &row) const
    {
        return (float)(2.0 / row.beta * row.norm / a / pow((double)row.p_max, a) * moment);
    }
};

status entmax_grad_learned(const args *a)
{
    learned_rule rule = {};
    rule.a = a->p.alpha - 1;
    rule.dalpha = OUT(float, 2);
    return BY_TYPE(a->type, "entmax_grad", backward_rows, a, "entmax_grad", rule);
}
