/* SPDX-License-Identifier: MIT
 *
 * weigh — see weigh.cuh. Dropout is the operation of that name on the whole tensor of weights, so
 * that element i of it meets word i of the generator; the mask acts on the weights going forward
 * and on their gradient going back.
 */
#include "weigh.cuh"

enum { THREADS = 256 };

template <typename To, typename From>
static __global__ void __launch_bounds__(THREADS) convert_kernel(To *y, const From *x, int64_t n)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 4;
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (at + k < n) y[at + k] = narrow<To>(widen(x[at + k]));
}

template <typename To, typename From>
static status convert(const weigher *w, void *y, const void *x)
{
    const int64_t n = w->R * w->N;
    if (n > 0)
        convert_kernel<To, From>
            <<<(unsigned)ceil_div(n, 4 * THREADS), THREADS, 0, stream_of(w->call)>>>(
                (To *)y, (const From *)x, n);
    return launched(w->what);
}
template <typename T> static status to_storage(const weigher *w, void *y, const float *x)
{
    return convert<T, float>(w, y, x);
}
template <typename T> static status to_float(const weigher *w, float *y, const void *x)
{
    return convert<float, T>(w, y, x);
}

static status drop(const weigher *w, const void *x, void *y, dtype type)
{
    args f = {};
    f.in[0] = x, f.out[0] = y;
    f.d.N = w->R * w->N;
    f.p = w->call->p, f.type = type, f.stream = w->call->stream;
    return dropout_philox(&f);
}

static args transform(const weigher *w)
{
    args f = {};
    f.d.R = w->R, f.d.N = w->N;
    f.live = w->live;
    f.p = w->call->p, f.type = F32;
    f.work = w->own, f.stream = w->call->stream;
    return f;
}

static status run_forward(const weigher *w, const float *c, float *p, float *stat)
{
    args f = transform(w);
    f.in[0] = c, f.in[1] = w->beta, f.out[0] = p, f.out[1] = stat;
    return w->forward(&f);
}

static status run_backward(const weigher *w, const float *p, const float *stat, float *dbeta)
{
    args f = transform(w);
    f.in[0] = w->beta, f.in[1] = p, f.in[2] = stat, f.in[3] = w->a;
    f.out[0] = w->c, f.out[1] = dbeta;
    return w->backward(&f);
}

status weigher_plan(weigher *w, char *work, size_t *bytes)
{
    size_t forward = 0, backward = 0;
    const size_t matrix = padded(sizeof(float) * (size_t)(w->R * w->N));
    args f = transform(w);
    if (!w->forward && !w->backward)
        return fail(ERR_ARG, "%s: weights: expected a transform of the scores", w->what);
    if (w->call->p.rate < 0 || !(w->call->p.rate < 1))
        return fail(ERR_ARG, "%s: rate: expected 0 <= rate < 1, got %g", w->what, w->call->p.rate);
    f.need = &forward;
    if (w->forward) TRY(w->forward(&f));
    f.need = &backward;
    if (w->backward) TRY(w->backward(&f));
    float **parts[] = {&w->a, &w->b, &w->c};
    for (int i = 0; i < 3; i++) {
        *parts[i] = (float *)(work + *bytes);
        *bytes += matrix;
    }
    w->stat = (float *)(work + *bytes);
    *bytes += padded(sizeof(float) * STATS * (size_t)w->R);
    w->own = work + *bytes;
    *bytes += padded(forward > backward ? forward : backward);
    return OK;
}

status weigh(const weigher *w, void *p, float *stat, const void **mixed)
{
    const dtype type = w->call->type;
    void *stored = p;
    if (type == F32) {
        if (!p) stored = w->b;
        TRY(run_forward(w, w->a, (float *)stored, stat));
    } else {
        if (!p) stored = w->a;
        TRY(run_forward(w, w->a, w->b, stat));
        TRY(BY_TYPE(type, w->what, to_storage, w, stored, w->b));
    }
    *mixed = stored;
    if (w->call->p.rate > 0) {
        TRY(drop(w, stored, w->c, type));
        *mixed = w->c;
    }
    return OK;
}

status weigh_again(const weigher *w, const void *p, const float *stat, const float **weights,
                   const float **row_stat, const void **mixed)
{
    const dtype type = w->call->type;
    const bool given = p && stat;
    *row_stat = given ? stat : w->stat;
    if (given && type == F32) {
        *weights = (const float *)p;
    } else if (given) {
        TRY(BY_TYPE(type, w->what, to_float, w, w->b, p));
        *weights = w->b;
    } else if (w->forward) {
        TRY(run_forward(w, w->a, w->b, w->stat));
        *weights = w->b;
    } else {
        return fail(ERR_ARG, "%s: expected p and stat, or the transform", w->what);
    }
    *mixed = given ? p : *weights;
    if (!given && type != F32) {
        TRY(BY_TYPE(type, w->what, to_storage, w, w->c, *weights));
        *mixed = w->c;
    }
    if (w->call->p.rate > 0) {
        TRY(drop(w, *mixed, w->c, type));
        *mixed = w->c;
    }
    return OK;
}

status weigh_grad(const weigher *w, const float *weights, const float *row_stat, float *dbeta,
                  const void **dc)
{
    const dtype type = w->call->type;
    if (!w->backward)
        return fail(ERR_ARG, "%s: weights_grad: expected the gradient of the transform", w->what);
    if (w->call->p.rate > 0) TRY(drop(w, w->a, w->a, F32));
    TRY(run_backward(w, weights, row_stat, dbeta));
    *dc = w->c;
    if (type == F32) return OK;
    TRY(BY_TYPE(type, w->what, to_storage, w, w->a, w->c));
    *dc = w->a;
    return OK;
}
