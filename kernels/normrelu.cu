/* SPDX-License-Identifier: MIT
 *
 * normrelu — normalised ReLU: the Epanechnikov kernel of fixed bandwidth on unit-norm keys.
 *
 *     p_j = a_j / S,   a_j = [A c_j + b]_+ = [A (c_j - t) + B]_+,   t ~ -b/A,   B = A t + b
 *     da_j = 1[p_j > 0] (G_j - sum_i p_i G_i) / S,   dc_j = A da_j
 *     dbeta = sum_j da_j (c_j A' + b'):  (2/beta)(a_j - 1) in the paper form,
 *             (4/beta)(a_j - 1) + 4 beta in code_matrix, 0 in the others;  a_j = S p_j
 *
 * A and b by form: normrelu_form in spec.h. A row with S = 0 follows params.empty.
 * Method: t is the threshold as a float, B what its rounding leaves, in double, once per row. Then
 * c - t is exact near t and right to a unit elsewhere, so that every activation is right to a few
 * units of itself, however much A c and b cancel and however far the scores reach. Activations are
 * in units of the largest, so that no sum overflows; S, which may, is stored as the largest float
 * then. Source: model 1.4.
 */
#include "grad.cuh"
#include "normrelu.cuh"

/* rising: A > 0, where a_j over the largest is in 0 ... 1 by saturation, which takes -inf too. */
template <bool rising> struct normrelu_rule {
    enum { compact = 0, shifted = 0 };
    double slope, offset;
    normrelu_form form;
    empty_rule empty;
    float A, B, t, scale, S;
    int arg;

    __device__ __forceinline__ float activation(float x) const
    {
        const float y = fmaf(A, x - t, B);
        if (rising) return __saturatef(y);
        return x > -INFINITY ? fmaxf(y, 0.0f) : 0.0f;
    }
    /* The smallest score above -inf, where a line that falls is largest; 0 if there is none. */
    template <class Tile, class Team> static __device__ float lowest(const Tile &tile, Team &g)
    {
        float low = INFINITY;
        tile.each([&](float x, int, int) {
            if (x > -INFINITY) low = fminf(low, x);
        });
        low = -g.max(-low);
        return low < INFINITY ? low : 0.0f;
    }
    template <class Tile, class Team>
    __device__ void solve(const Tile &tile, Team &g, const row_facts &row)
    {
        float s[CHAINS] = {0, 0, 0, 0};
        int keys = 0;
        const line l = line_of(form, slope, offset, row.beta);
        t = (float)(-l.b * reciprocal(l.A));
        if (!(fabsf(t) < 1e30f)) t = 0.0f; /* no threshold within reach */
        const float steepest = rising ? row.m : lowest(tile, g);
        const double rest = l.A * t + l.b, most = l.A * steepest + l.b;
        /* the unit of a: the largest, times a power of two where A over it would overflow */
        const double unit =
            rising ? (most > l.A * 1e-38 ? most : most * 0x1p64) : (most > 1 ? most : 1.0);
        const double inverse = reciprocal(unit);
        A = (float)(l.A * inverse);
        B = (float)(rest * inverse);
        if (rising && !(most > 0)) A = 0.0f, B = -INFINITY;
        tile.each([&](float x, int, int chain) { s[chain] += activation(x); });
        const float sum = g.sum(folded(s));
        const bool none = !row.idle && !(sum > 0.0f);
        S = fminf((float)(unit * sum), 3.40282347e+38f);
        scale = 1.0f / sum;
        arg = -1;
        if (!g.any(none)) return;
        int first = INT32_MAX;
        tile.each([&](float x, int j, int) {
            keys += x > -INFINITY;
            if (x == row.m) first = min(first, j);
        });
        const int2 f = g.first_and_count(first, keys);
        if (!none) return;
        A = 0.0f; /* 0 * -inf + 1 saturates to 0 */
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
    enum { rereads = 0 };
    double steepness, offset;
    normrelu_form form;
    double over_S;
    float scale, gap, ref_G, slope;

    __device__ void begin(const grad_facts &row)
    {
        const double A = line_of(form, steepness, offset, row.beta).A;
        over_S = row.norm > 0.0f ? reciprocal(row.norm) : 0.0;
        scale = fminf((float)(A * over_S), 3.40282347e+38f); /* times 0 it is 0 */
        ref_G = row.G_max;
    }
    __device__ __forceinline__ float key(float p) const
    {
        return p;
    }
    template <class Pair, class Team> __device__ void solve(Pair &t, Team &g, const grad_facts &row)
    {
        const centred c = centre(t, g, ref_G);
        const double beta = row.beta, lift = row.norm * c.weighted - c.plain;
        double sum = 0;
        if (form == NORMRELU_PAPER) sum = 2 * reciprocal(beta) * lift;
        if (form == NORMRELU_CODE_MATRIX) sum = 4 * reciprocal(beta) * lift + 4 * beta * c.plain;
        gap = (float)c.gap;
        slope = (float)(sum * over_S);
    }
    __device__ __forceinline__ float grad(float p, float G, int) const
    {
        return p > 0.0f ? scale * ((G - ref_G) - gap) : 0.0f;
    }
    __device__ float dbeta(const grad_facts &) const
    {
        return slope;
    }
};

template <bool rising> static status normrelu_of(const args *a)
{
    normrelu_rule<rising> rule = {};
    rule.slope = a->p.slope;
    rule.offset = a->p.offset;
    rule.form = a->p.form;
    rule.empty = a->p.empty;
    return BY_TYPE(a->type, "normrelu", forward_rows, a, "normrelu", rule);
}

extern "C" status normrelu_rows(const args *a)
{
    return a->p.form == NORMRELU_AFFINE && !(a->p.slope > 0) ? normrelu_of<false>(a)
                                                             : normrelu_of<true>(a);
}

extern "C" status normrelu_grad_rows(const args *a)
{
    normrelu_grad_rule rule = {};
    rule.steepness = a->p.slope;
    rule.offset = a->p.offset;
    rule.form = a->p.form;
    return BY_TYPE(a->type, "normrelu_grad", backward_rows, a, "normrelu_grad", rule);
}
