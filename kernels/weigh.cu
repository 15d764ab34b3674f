/* SPDX-License-Identifier: MIT
 *
 * weigh — see weigh.cuh. Dropout is that of the whole tensor of weights, so that element i of it
 * meets word i of the generator; the mask acts on the weights going forward and on their gradient
 * going back. The transform is the default kernel of its operation.
 */
#include "kernels.h"
#include "philox.cuh"
#include "weigh.cuh"

/* R N weights in the storage type of the call. */
static status stored(const weigher *w, void *y, const float *x)
{
    return to_storage(w->call->type, y, x, w->R * w->N, stream_of(w->call));
}

static op_id gradient_of(op_id id)
{
    static const op_id grads[] = {
#define OP(name, title, signature, grad, ...) OP_##grad,
#include "ops.def"
#undef OP
    };
    return id >= 0 && id < OPS ? grads[id] : OP_none;
}

static status drop(const weigher *w, const void *x, void *y, dtype type)
{
    return mask_values(&w->call->p, &w->masks, type, x, y, w->R * w->N, stream_of(w->call));
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
    w->forward = kernel_of(w->call->transform, &f);
    w->backward = kernel_of(gradient_of(w->call->transform), &f);
    if (!w->forward || !w->backward)
        return fail(ERR_ARG, "%s: transform: expected a row transform with a gradient", w->what);
    TRY(rate_fits(&w->call->p, w->what));
    f.need = &forward;
    TRY(w->forward(&f));
    f.need = &backward;
    TRY(w->backward(&f));
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

/* What multiplies the values, from the weights: in w->c unless it is the weights themselves. */
static status mixing(const weigher *w, const float *weights, const void **mixed)
{
    const dtype type = w->call->type;
    *mixed = weights;
    if (type != F32) {
        TRY(stored(w, w->c, weights));
        *mixed = w->c;
    }
    if (!(w->call->p.rate > 0)) return OK;
    TRY(drop(w, *mixed, w->c, type));
    *mixed = w->c;
    return OK;
}

status weigh(const weigher *w, float *p, float *stat, const void **mixed)
{
    float *weights = p ? p : w->b;
    TRY(run_forward(w, w->a, weights, stat));
    return mixing(w, weights, mixed);
}

status weights_of(const weigher *w, void *p, float *stat)
{
    const dtype type = w->call->type;
    if (type == F32) return run_forward(w, w->a, (float *)p, stat);
    TRY(run_forward(w, w->a, w->b, stat));
    return stored(w, p, w->b);
}

status weigh_again(const weigher *w, const float *p, const float *stat, const float **weights,
                   const float **row_stat, const void **mixed)
{
    const bool given = p && stat;
    *row_stat = given ? stat : w->stat;
    *weights = given ? p : w->b;
    if (!given) TRY(run_forward(w, w->a, w->b, w->stat));
    return mixing(w, *weights, mixed);
}

status weigh_grad(const weigher *w, const float *weights, const float *row_stat, float *dbeta,
                  const void **dc)
{
    const dtype type = w->call->type;
    if (w->call->p.rate > 0) TRY(drop(w, w->a, w->a, F32));
    TRY(run_backward(w, weights, row_stat, dbeta));
    *dc = w->c;
    if (type == F32) return OK;
    TRY(stored(w, w->a, w->c));
    *dc = w->a;
    return OK;
}
