/* SPDX-License-Identifier: MIT
 *
 * normrelu — normalised ReLU: the Epanechnikov kernel of fixed bandwidth on unit-norm keys.
 *
 *     p_j = a_j / S,   a_j = [A c_j + b]_+ = [A x_j + B]_+,   x_j = c_j - m,   B = A m + b
 *     da_j = 1[p_j > 0] (G_j - sum_i p_i G_i) / S,   dc_j = A da_j
 *     dbeta = sum_j da_j (c_j A' + b'):  (2/beta)(a_j - 1) in the paper form,
 *             (4/beta)(a_j - 1) + 4 beta in code_matrix, 0 in the others;  a_j = S p_j
 *
 * A and b by form: normrelu_form in spec.h. A row with S = 0 follows params.empty.
 * Method: B in double, once per row; then A x + B errs by a unit of the largest activation, however
 * much A c and b cancel.
 * Source: model 1.4.
 */
#include "grad.cuh"

struct line {
    double A, b;
};

__device__ static line line_of(normrelu_form form, double slope, double offset, double beta)
{
    const double b2 = beta * beta;
    switch (form) {
    case NORMRELU_PAPER: return line{2 * b2, 1 - 2 * b2};
    case NORMRELU_CODE_MATRIX: return line{2 * b2 * b2, 1 - 2 * b2};
    case NORMRELU_CODE_EFT: return line{1, 0};
    case NORMRELU_AFFINE: break;
    }
    return line{slope, offset};
}

struct normrelu_rule {
    double slope, offset;
    normrelu_form form;
    empty_rule empty;
    float A, B, scale, S;
    int arg;

    __device__ float activation(float x) const
    {
        return x > -INFINITY ? fmaxf(fmaf(A, x, B), 0.0f) : 0.0f;
    }
    template <class Tile> __device__ void solve(const Tile &t, team &g, const row_facts &row)
    {
        float s[CHAINS] = {0, 0, 0, 0};
        int keys = 0;
        const line l = line_of(form, slope, offset, row.beta);
        A = (float)l.A;
        B = (float)(l.A * row.m + l.b);
        t.each([&](float x, int, int chain) { s[chain] += activation(x); });
        S = g.sum(folded(s), 0.0f).a;
        const bool none = !row.idle && !(S > 0.0f);
        scale = 1.0f / S;
        arg = -1;
        if (!g.any(none)) return;
        int first = INT32_MAX;
        t.each([&](float x, int j, int) {
            keys += x > -INFINITY;
            if (x == 0.0f) first = min(first, j);
        });
        const int2 f = g.first_and_count(first, keys);
        if (!none) return;
        A = 0.0f;
        B = 1.0f;
        scale = empty == EMPTY_UNIFORM ? 1.0f / (float)f.y : 0.0f;
        if (empty == EMPTY_ARGMAX) arg = f.x;
    }
    __device__ float weight(float x, int j) const
    {
        return j == arg ? 1.0f : activation(x) * scale;
    }
    __device__ float norm() const
    {
        return S;
    }
};

struct normrelu_grad_rule {
    double steepness, offset;
    normrelu_form form;
    float A, S, mean, over_s, rate, constant;

    template <class Tile> __device__ void solve(const Tile &t, team &g, const grad_facts &row)
    {
        float s[CHAINS] = {0, 0, 0, 0};
        A = (float)line_of(form, steepness, offset, row.beta).A;
        S = row.norm;
        over_s = S > 0.0f ? 1.0f / S : 0.0f;
        rate = form == NORMRELU_PAPER         ? 2.0f / row.beta
               : form == NORMRELU_CODE_MATRIX ? 4.0f / row.beta
                                              : 0.0f;
        constant = form == NORMRELU_CODE_MATRIX ? 4.0f * row.beta : 0.0f;
        t.each([&](float p, float G, int, int chain) { s[chain] += p * G; });
        mean = g.sum(folded(s), 0.0f).a;
    }
    __device__ float grad(float p, float G, int) const
    {
        return p > 0 ? A * over_s * (G - mean) : 0.0f;
    }
    __device__ float slope(float p, float G, int) const
    {
        return p > 0 ? over_s * (G - mean) * fmaf(rate, S * p - 1.0f, constant) : 0.0f;
    }
};

extern "C" status normrelu_rows(const args *a)
{
    normrelu_rule rule = {};
    rule.slope = a->p.slope;
    rule.offset = a->p.offset;
    rule.form = a->p.form;
    rule.empty = a->p.empty;
    return BY_TYPE(a->type, "normrelu", forward_rows, a, "normrelu", rule);
}

extern "C" status normrelu_grad_rows(const args *a)
{
    normrelu_grad_rule rule = {};
    rule.steepness = a->p.slope;
    rule.offset = a->p.offset;
    rule.form = a->p.form;
    return BY_TYPE(a->type, "normrelu_grad", backward_rows, a, "normrelu_grad", rule);
}
