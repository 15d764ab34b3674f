/* SPDX-License-Identifier: MIT
 *
 * adamw — one decoupled step on a buffer that concatenates any number of parameter tensors:
 *
 *     g <- g min(1, clip/(norm + 1e-6))         only if clip > 0 and norm is given
 *     m <- b1 m + (1-b1) g,   v <- b2 v + (1-b2) g^2
 *     w <- w - lr decay w - lr (m/(1-b1^i)) / (sqrt(v/(1-b2^i)) + eps)
 *
 * w, g, m, v (N), norm (1) -> w1, m1, v1 (N), all float; an output may be its input. A norm that is
 * not finite is no step: w1 = w, m1 = m, v1 = v. One thread per 16 bytes: four reads and three
 * writes per element. Source: Loshchilov & Hutter 2019.
 */
#include "stage.cuh"

#include <math.h>

enum { THREADS = 256 };

typedef struct step_size {
    float keep1, take1, keep2, take2; /* b1, 1-b1, b2, 1-b2 */
    float shrink;                     /* lr decay */
    float rate;                       /* lr / (1-b1^i) */
    float spread;                     /* 1 / sqrt(1-b2^i) */
    float eps, clip;
} step_size;

static __global__ void __launch_bounds__(THREADS)
    adamw_kernel(const float *w, const float *g, const float *m, const float *v, const float *norm,
                 float *w1, float *m1, float *v1, int64_t N, step_size s, bool wide)
{
    enum { VEC = packed<float>::width };
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * VEC, left = N - at;
    if (left <= 0) return;
    const packed<float> pw = load_some(w + at, left, wide), pg = load_some(g + at, left, wide);
    const packed<float> pm = load_some(m + at, left, wide), pv = load_some(v + at, left, wide);
    float ow[VEC], om[VEC], ov[VEC], factor = 1;
    const bool none = norm && !isfinite(*norm);
    if (norm && s.clip > 0) {
        factor = s.clip / (*norm + 1e-6f);
        if (factor >= 1) factor = 1;
    }
#pragma unroll
    for (int k = 0; k < VEC; k++) {
        const float d = pg[k] * factor;
        om[k] = none ? pm[k] : s.keep1 * pm[k] + s.take1 * d;
        ov[k] = none ? pv[k] : s.keep2 * pv[k] + s.take2 * d * d;
        const float change = s.rate * om[k] / (sqrtf(ov[k]) * s.spread + s.eps);
        ow[k] = none ? pw[k] : pw[k] - (s.shrink * pw[k] + change);
    }
    store_some(w1 + at, packed_of<float>(ow), left, wide);
    if (m1) store_some(m1 + at, packed_of<float>(om), left, wide);
    if (v1) store_some(v1 + at, packed_of<float>(ov), left, wide);
}

extern "C" status adamw_stream(const args *a)
{
    NO_SCRATCH(a);
    const params *p = &a->p;
    const int64_t N = a->d.N;
    bool wide = true;
    if (p->update < 1)
        return fail(ERR_ARG, "adamw: update: expected >= 1, got %lld", (long long)p->update);
    for (int i = 0; i < 4; i++)
        wide = wide && aligned16(a->in[i]) && (i == 3 || aligned16(a->out[i]));
    const step_size s = {(float)p->beta1,
                         (float)(1 - p->beta1),
                         (float)p->beta2,
                         (float)(1 - p->beta2),
                         (float)(p->lr * p->decay),
                         (float)(p->lr / (1 - pow(p->beta1, (double)p->update))),
                         (float)(1 / sqrt(1 - pow(p->beta2, (double)p->update))),
                         (float)p->eps,
                         (float)p->clip};
    if (N == 0) return OK;
    adamw_kernel<<<(unsigned)ceil_div(N, THREADS * packed<float>::width), THREADS, 0,
                   stream_of(a)>>>(IN(float, 0), IN(float, 1), IN(float, 2), IN(float, 3),
                                   IN(float, 4), OUT(float, 0), OUT(float, 1), OUT(float, 2), N, s,
                                   wide);
    return launched("adamw");
}
