/* SPDX-License-Identifier: MIT
 *
 * relumax — ReLUmax: the Epanechnikov kernel anchored at the nearest key, with a fixed margin.
 *
 *     p_j = a_j / S,   a_j = [b + beta^e x_j]_+ = b [1 + k x_j]_+,   x_j = c_j - m,   e = 2 or 4
 *     da_j = 1[p_j > 0] (G_j - sum_i p_i G_i) / S
 *     dc_j = beta^e (da_j - 1[j = j*] sum_i da_i),   dbeta = (e/beta) sum_j da_j (S p_j - b)
 *
 * Method: x <= 0, so [.]_+ is a saturation to [0, 1], which the multiply-add does for free. What
 * the rounding of k leaves is added: it moves all keys near the threshold alike, and S by their
 * number. Source: model 1.5.
 */
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

static status check(const char *what, const params *p)
{
    if (p->relumax_power != 2 && p->relumax_power != 4)
        return fail(ERR_ARG, "%s: power is %d: expected 2 or 4", what, p->relumax_power);
    if (!(p->relumax_b > 0 && p->relumax_b < INFINITY))
        return fail(ERR_ARG, "%s: b is %g: expected a positive number", what, p->relumax_b);
    return OK;
}

extern "C" status relumax_rows(const args *a)
{
    relumax_rule rule = {};
    TRY(check("relumax", &a->p));
    rule.b = (float)a->p.relumax_b;
    rule.over_b = 1 / rule.b;
    rule.power = a->p.relumax_power;
    return BY_TYPE(a->type, "relumax", forward_rows, a, "relumax", rule);
}

extern "C" status relumax_grad_rows(const args *a)
{
    relumax_grad_rule rule = {};
    TRY(check("relumax_grad", &a->p));
    rule.b = (float)a->p.relumax_b;
    rule.power = a->p.relumax_power;
    return BY_TYPE(a->type, "relumax_grad", backward_rows, a, "relumax_grad", rule);
}
