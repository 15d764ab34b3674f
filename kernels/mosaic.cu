/* SPDX-License-Identifier: MIT
 *
 * mosaic — mosaic_cuda: the model of mosaic.h on a device (mosaic.cuh).
 *
 * The host runs ahead of the device: a step copies its batch to pinned memory and puts launches in
 * the stream; what became of it is written by the device, copied to pinned memory behind it, and
 * read when an event says that it is there. That a step is not finite is decided on the device: the
 * update then reads a norm that is NaN, and changes nothing.
 *
 * A part of a step of two layers is some 150 launches, 4 us of the host each, and 10 us a product.
 * They are not captured in a graph: a graph is of one shape, and parts cut by length hardly ever
 * have one twice.
 */
#include "mosaic.cuh"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- life ------------------------------------------------------------------------------------ */

status use_device(const mosaic *m)
{
    CUDA_TRY(cudaSetDevice(m->device), "model cuda: device");
    return OK;
}

status finish(const mosaic *m)
{
    CUDA_TRY(cudaStreamSynchronize(m->stream), "model cuda");
    return OK;
}

status take_memory(void **p, size_t bytes, const char *what)
{
    *p = NULL;
    const cudaError_t e = cudaMalloc(p, bytes ? bytes : 1);
    if (e == cudaSuccess) return OK;
    (void)cudaGetLastError();
    if (e == cudaErrorMemoryAllocation)
        return fail(ERR_MEMORY,
                    "model cuda: %s: %.2f GB of the device are not free: expected fewer rows at a "
                    "time (micro=), a smaller model, or backend=ref",
                    what, 1e-9 * (double)bytes);
    return fail(ERR_DEVICE, "model cuda: %s: %s", what, cudaGetErrorString(e));
}

static void cuda_destroy(mosaic *m)
{
    if (!m) return;
    if (m->stream) {
        (void)cudaSetDevice(m->device);
        (void)cudaStreamSynchronize(m->stream);
    }
    for (int i = 0; i < MOST_STEPS; i++)
        if (m->steps[i].done) (void)cudaEventDestroy(m->steps[i].done);
    for (int i = 0; i < STAGINGS; i++) {
        if (m->sent[i].sent) (void)cudaEventDestroy(m->sent[i].sent);
        (void)cudaFreeHost(m->sent[i].ids);
    }
    (void)cudaFreeHost(m->heard);
    clock_free(&m->watch);
    void *const owned[] = {m->slot[0], m->second, m->shadow, m->told, m->ids, m->room};
    for (void *p : owned)
        (void)cudaFree(p);
    if (m->stream) (void)cudaStreamDestroy(m->stream);
    (void)cudaGetLastError();
    free(m->list);
    free(m->layers);
    free(m->acts);
    free(m);
}

static status check_placement(const placement *where, int devices)
{
    const dtype type = where->type;
    if (type != F64 && type != F32 && type != BF16)
        return fail(ERR_ARG, "model cuda: type: expected f32 or bf16");
    if (where->tf32 && type == BF16) return fail(ERR_ARG, "model cuda: tf32: expected f32");
    if (where->micro < 0)
        return fail(ERR_ARG, "model cuda: micro: expected >= 0, got %lld", (long long)where->micro);
    if (where->devices < 0 || where->devices > 1)
        return fail(ERR_ARG, "model cuda: devices: expected one, got %d", where->devices);
    if (where->devices == 1 && (where->device[0] < 0 || where->device[0] >= devices))
        return fail(ERR_ARG, "model cuda: device: expected 0..%d, got %d", devices - 1,
                    where->device[0]);
    return OK;
}

/* A transform that refuses its parameters does so here and not in the first batch. */
static status check_transform(const method *f)
{
    size_t need = 0;
    args a = {};
    a.d.N = 1;
    a.p = f->p;
    a.type = F32;
    a.need = &need;
    op_fn *run = kernel_of(f->op, &a);
    return run ? run(&a)
               : fail(ERR_ARG, "model cuda: method: no kernel computes %s", op_name(f->op));
}

static status check(const mosaic_config *c, const placement *where)
{
    int devices = 0;
    TRY(config_check(c));
    const cudaError_t e = cudaGetDeviceCount(&devices);
    if (e != cudaSuccess || devices == 0) {
        (void)cudaGetLastError();
        return fail(ERR_DEVICE, "model cuda: no device (%s): expected backend=ref, or a GPU",
                    cudaGetErrorString(e == cudaSuccess ? cudaErrorNoDevice : e));
    }
    TRY(check_placement(where, devices));
    TRY(check_transform(&c->method));
    return c->arch == ARCH_MOSAIC && !c->attn_only ? check_transform(&c->pmem_method) : OK;
}

static status take_parameters(mosaic *m)
{
    const size_t total = (size_t)m->index.total, all = 4 * total * sizeof(float);
    TRY(take_memory((void **)&m->slot[0], all, "parameters"));
    for (int i = 1; i < 4; i++)
        m->slot[i] = m->slot[0] + (size_t)i * total;
    CUDA_TRY(cudaMemsetAsync(m->slot[0], 0, all, m->stream), "model cuda: parameters");
    m->into = m->slot[SLOT_GRAD];
    m->stale = 1;
    return m->type == F32 ? OK : take_memory(&m->shadow, total * dtype_size(m->type), "parameters");
}

/* What reports pass through: [MOST_STEPS] outcomes, a sum, norm and gate. */
static status take_reports(mosaic *m)
{
    const size_t outcomes = padded(sizeof(outcome) * MOST_STEPS);
    TRY(take_memory((void **)&m->told, outcomes + 2 * padded(1), "reports"));
    m->loss_sum = (double *)((char *)m->told + outcomes);
    m->norm = (float *)((char *)m->loss_sum + padded(1));
    m->gate = m->norm + 1;
    CUDA_TRY(cudaMallocHost((void **)&m->heard, sizeof(outcome) * MOST_STEPS),
             "model cuda: pinned memory");
    for (int i = 0; i < MOST_STEPS; i++)
        CUDA_TRY(cudaEventCreateWithFlags(&m->steps[i].done, cudaEventDisableTiming),
                 "model cuda: event");
    for (int i = 0; i < STAGINGS; i++)
        CUDA_TRY(cudaEventCreateWithFlags(&m->sent[i].sent, cudaEventDisableTiming),
                 "model cuda: event");
    return OK;
}

static status build(mosaic *m)
{
    TRY(use_device(m));
    TRY(cuda_backend.ready());
    CUDA_TRY(cudaStreamCreateWithFlags(&m->stream, cudaStreamNonBlocking), "model cuda: stream");
    m->now = m->stream;
    TRY(take_parameters(m));
    TRY(take_reports(m));
    return finish(m);
}

static status cuda_create(mosaic **out, const mosaic_config *c, const placement *where)
{
    const placement likes = {};
    *out = NULL;
    if (!where) where = &likes;
    TRY(check(c, where));
    mosaic *m = (mosaic *)calloc(1, sizeof *m);
    if (!m) return fail(ERR_MEMORY, "model cuda: out of memory");
    m->c = *c;
    m->type = where->type == BF16 ? BF16 : F32;
    m->tf32 = where->tf32;
    m->micro = where->micro;
    m->device = where->devices == 1 ? where->device[0] : 0;
    m->step = m->watch.step = -1;
    m->index = index_of(c, NULL, NULL);
    m->list = (parameter *)calloc((size_t)m->index.tensors, sizeof *m->list);
    m->layers = (layer_index *)calloc((size_t)c->L, sizeof *m->layers);
    m->acts = (layer_acts *)calloc((size_t)c->L, sizeof *m->acts);
    status s = m->list && m->layers && m->acts ? OK : fail(ERR_MEMORY, "model: out of memory");
    if (s == OK) m->index = index_of(c, m->list, m->layers);
    if (s == OK) s = build(m);
    if (s == OK)
        *out = m;
    else
        cuda_destroy(m);
    return s;
}

static const mosaic_config *cuda_config(const mosaic *m)
{
    return &m->c;
}

static int64_t cuda_parameters(const mosaic *m)
{
    return m->index.tensors;
}

static status check_index(const mosaic *m, int64_t i, slot s)
{
    if (i < 0 || i >= m->index.tensors || s < SLOT_VALUE || s > SLOT_MOMENT2)
        return fail(ERR_ARG, "model: tensor %lld: expected 0..%lld", (long long)i,
                    (long long)m->index.tensors - 1);
    return OK;
}

static status cuda_info(const mosaic *m, int64_t i, parameter_info *info)
{
    TRY(check_index(m, i, SLOT_VALUE));
    *info = m->list[i].info;
    return OK;
}

static status cuda_get(const mosaic *m, int64_t i, slot s, double *values)
{
    TRY(check_index(m, i, s));
    TRY(use_device(m));
    TRY(finish(m));
    return cuda_backend.get(values, m->slot[s] + m->list[i].at, (size_t)m->list[i].info.count, F32);
}

static status cuda_put(mosaic *m, int64_t i, slot s, const double *values)
{
    TRY(check_index(m, i, s));
    TRY(use_device(m));
    TRY(finish(m));
    const size_t count = (size_t)m->list[i].info.count;
    float *staged = (float *)malloc(count * sizeof *staged);
    if (!staged) return fail(ERR_MEMORY, "model cuda: %zu numbers on the host", count);
    for (size_t e = 0; e < count; e++)
        staged[e] = (float)values[e];
    /* in the stream of the model: another's copies would not be in order with its launches */
    const cudaError_t e =
        cudaMemcpyAsync(m->slot[s] + m->list[i].at, staged, count * sizeof *staged,
                        cudaMemcpyHostToDevice, m->stream);
    m->stale = m->stale || s == SLOT_VALUE;
    const status done = finish(m);
    free(staged);
    CUDA_TRY(e, "model cuda: parameters");
    return done;
}

status refresh(mosaic *m)
{
    if (m->type != F32 && m->stale)
        TRY(to_storage(m->type, m->shadow, m->slot[SLOT_VALUE], m->index.total, m->stream));
    m->stale = 0;
    return OK;
}

/* --- batches --------------------------------------------------------------------------------- */

static status check_batch(const mosaic *m, const batch *b)
{
    const int64_t most = INT64_C(1) << 31;
    if (b->B < 1 || b->T < 1 || b->B > most || b->T > most)
        return fail(ERR_ARG, "batch: expected B >= 1 and T >= 1, got %lld and %lld",
                    (long long)b->B, (long long)b->T);
    if (m->c.arch == ARCH_GPT && b->T > m->c.T)
        return fail(ERR_ARG, "batch: T: expected at most %lld learned positions, got %lld",
                    (long long)m->c.T, (long long)b->T);
    return OK;
}

static status check_ids(const mosaic *m, const int32_t *ids, int64_t count, int least,
                        const char *what)
{
    for (int64_t r = 0; r < count; r++)
        if (ids[r] < least || ids[r] >= m->c.V)
            return fail(ERR_DATA, "batch: %s %lld: expected %d..%lld, got %d", what, (long long)r,
                        least, (long long)m->c.V - 1, (int)ids[r]);
    return OK;
}

/* Targets that are scored in training. */
static int64_t count_scored(const mosaic *m, const batch *b)
{
    int64_t scored = 0;
    for (int64_t r = 0; r < b->B; r++)
        for (int64_t t = m->c.skip_tokens; t < b->T; t++)
            scored += b->targets[r * b->T + t] >= 0;
    return scored;
}

/* Room of pinned and of device memory for so many ids; taking more waits for the device, so that it
 * is taken for more than this batch. */
static status ids_room(mosaic *m, staging *s, int64_t count)
{
    const size_t bytes = 2 * (size_t)count * sizeof *s->ids;
    if (count > s->room) {
        (void)cudaFreeHost(s->ids);
        s->ids = NULL;
        s->room = 0;
        CUDA_TRY(cudaMallocHost((void **)&s->ids, bytes), "model cuda: pinned memory");
        s->room = 2 * count;
    }
    if (count <= m->ids_room) return OK;
    TRY(finish(m));
    (void)cudaFree(m->ids);
    m->ids = NULL;
    m->ids_room = 0;
    TRY(take_memory((void **)&m->ids, bytes, "tokens"));
    m->ids_room = 2 * count;
    return OK;
}

status send_batch(mosaic *m, const batch *b, int training, batch *there)
{
    const int64_t rows = b->B * b->T, count = b->targets ? 2 * rows : rows;
    staging *s = &m->sent[m->next_sent];
    CUDA_TRY(cudaEventSynchronize(s->sent), "model cuda"); /* of STAGINGS batches before */
    TRY(ids_room(m, s, count));
    memcpy(s->ids, b->tokens, (size_t)rows * sizeof *s->ids);
    if (b->targets) memcpy(s->ids + rows, b->targets, (size_t)rows * sizeof *s->ids);
    for (int64_t r = 0; r < b->B && b->targets && training; r++)
        for (int64_t t = 0; t < m->c.skip_tokens && t < b->T; t++)
            s->ids[rows + r * b->T + t] = -1;
    CUDA_TRY(cudaMemcpyAsync(m->ids, s->ids, (size_t)count * sizeof *m->ids, cudaMemcpyHostToDevice,
                             m->stream),
             "model cuda: tokens");
    CUDA_TRY(cudaEventRecord(s->sent, m->stream), "model cuda: event");
    m->next_sent = (m->next_sent + 1) % STAGINGS;
    *there = *b;
    there->tokens = m->ids;
    there->targets = b->targets ? m->ids + rows : NULL;
    return OK;
}

/* Rows [first, first + count) of a batch. */
static batch rows_of(const batch *b, int64_t first, int64_t count)
{
    batch part = *b;
    part.B = count;
    part.tokens += first * b->T;
    if (b->targets) part.targets += first * b->T;
    part.first_row += first;
    return part;
}

/* --- prediction ------------------------------------------------------------------------------ */

/* What a call without a gradient does with the logits (n,V) of rows [r, r + n) of a part. */
typedef struct reading {
    double *logits, *loss; /* of the part, on the host; NULL: not wanted */
    int32_t *argmax;
} reading;

static status widen_floats(const mosaic *m, double *to, const float *from, int64_t count)
{
    TRY(finish(m));
    return cuda_backend.get(to, from, (size_t)count, F32);
}

/* Loss and argmax of a piece, on the device. */
static status read_piece(mosaic *m, const batch *b, const reading *to, int64_t r, int64_t n)
{
    args ce = {};
    ce.type = F32;
    ce.in[0] = m->logits, ce.in[1] = b->targets + r;
    ce.out[0] = m->loss + r;
    ce.d.R = n, ce.d.V = m->c.V;
    if (to->loss) TRY(stage(m, OP_cross_entropy, &ce));
    if (to->argmax) TRY(part_argmax(m->now, m->argmax + r, (const float *)m->logits, n, m->c.V));
    return OK;
}

static status read_part(mosaic *m, const batch *b, const reading *to)
{
    const int64_t rows = b->B * b->T, V = m->c.V;
    TRY(reserve(m, b->B, b->T, 0));
    m->step = -1;
    TRY(forward(m, b));
    for (int64_t r = 0; r < rows; r += m->piece) {
        const int64_t n = rows - r < m->piece ? rows - r : m->piece;
        TRY(head_logits(m, r, n, (float *)m->logits));
        TRY(read_piece(m, b, to, r, n));
        if (to->logits) TRY(widen_floats(m, to->logits + r * V, (const float *)m->logits, n * V));
    }
    if (to->loss) TRY(widen_floats(m, to->loss, m->loss, rows));
    if (!to->argmax) return OK;
    TRY(finish(m));
    return cuda_backend.get(to->argmax, m->argmax, (size_t)rows, I32);
}

static status read_all(mosaic *m, const batch *b, const reading *to)
{
    int64_t most;
    batch there;
    TRY(check_batch(m, b));
    TRY(check_ids(m, b->tokens, b->B * b->T, 0, "token"));
    if (to->loss) TRY(check_ids(m, b->targets, b->B * b->T, -1, "target"));
    TRY(use_device(m));
    TRY(refresh(m));
    TRY(rows_at_once(m, b->B, b->T, 0, &most));
    batch here = *b;
    if (!to->loss) here.targets = NULL;
    TRY(send_batch(m, &here, 0, &there));
    for (int64_t r = 0; r < b->B; r += most) {
        const batch part = rows_of(&there, r, b->B - r < most ? b->B - r : most);
        const int64_t at = r * b->T;
        const reading now = {to->logits ? to->logits + at * m->c.V : NULL,
                             to->loss ? to->loss + at : NULL, to->argmax ? to->argmax + at : NULL};
        TRY(read_part(m, &part, &now));
    }
    return finish(m);
}

static status cuda_predict(mosaic *m, const batch *b, double *logits)
{
    const reading to = {logits, NULL, NULL};
    return read_all(m, b, &to);
}

static status cuda_score(mosaic *m, const batch *b, double *loss, int32_t *argmax)
{
    const reading to = {NULL, loss, argmax};
    return read_all(m, b, &to);
}

/* --- training -------------------------------------------------------------------------------- */

/* Begin a step, or see that a part follows the one before. */
static status open_step(mosaic *m, const batch *b)
{
    if (b->first_row != 0 && b->first_row != m->open.rows)
        return fail(ERR_ARG, "batch: first_row: expected 0 or %lld, the rows before, got %lld",
                    (long long)m->open.rows, (long long)b->first_row);
    if (b->first_row != 0 && b->scored != m->open.divisor)
        return fail(ERR_ARG, "batch: scored: expected %lld as in the parts before, got %lld",
                    (long long)m->open.divisor, (long long)b->scored);
    if (b->whole_T != 0 && b->whole_T < b->T)
        return fail(ERR_ARG, "batch: whole_T: expected at least T = %lld, got %lld",
                    (long long)b->T, (long long)b->whole_T);
    if (b->first_row != 0) return OK;
    m->open.rows = m->open.scored = 0;
    m->open.divisor = b->scored > 0 ? b->scored : count_scored(m, b);
    return m->open.divisor > 0 ? OK : fail(ERR_DATA, "batch: expected at least one scored target");
}

status second_gradient(mosaic *m)
{
    const size_t bytes = (size_t)m->index.total * sizeof(float);
    if (m->second) return OK;
    TRY(take_memory((void **)&m->second, bytes, "a second gradient"));
    CUDA_TRY(cudaMemsetAsync(m->second, 0, bytes, m->stream), "model cuda"); /* the gaps */
    return OK;
}

/* Forward and backward of a part; its gradient is added to that of the parts before. */
static status add_part(mosaic *m, const batch *b)
{
    const int more = m->open.rows > 0;
    if (more) TRY(second_gradient(m));
    m->open.rows += b->B;
    TRY(reserve(m, b->B, b->T, 1));
    m->first_row = b->first_row;
    m->whole_T = b->whole_T;
    m->into = more ? m->second : m->slot[SLOT_GRAD];
    if (!more) TRY(part_fill(m->now, m->gate, 0, 1));
    TRY(forward(m, b));
    TRY(backward(m, b, more));
    m->into = m->slot[SLOT_GRAD];
    return more ? part_accumulate(m->now, m->slot[SLOT_GRAD], m->second, m->index.total) : OK;
}

static status cuda_gradient(mosaic *m, const batch *b, uint64_t seed, int64_t dropout_step)
{
    int64_t most;
    batch there;
    TRY(check_batch(m, b));
    TRY(check_ids(m, b->tokens, b->B * b->T, 0, "token"));
    TRY(check_ids(m, b->targets, b->B * b->T, -1, "target"));
    TRY(open_step(m, b));
    TRY(use_device(m));
    if (b->first_row == 0) TRY(clock_begin(m, "step", &m->watch.step));
    TRY(refresh(m));
    TRY(rows_at_once(m, b->B, b->T, 1, &most));
    TRY(send_batch(m, b, 1, &there));
    m->open.scored += count_scored(m, b);
    m->seed = seed;
    m->step = dropout_step;
    status s = OK;
    for (int64_t r = 0; s == OK && r < b->B; r += most) {
        const batch part = rows_of(&there, r, b->B - r < most ? b->B - r : most);
        s = add_part(m, &part);
    }
    if (s != OK) m->open.rows = 0; /* a step without one of its parts is none */
    return s;
}

/* AdamW on the tensors from `first` on. */
static status update_tensors(mosaic *m, const optimizer *o, int64_t update, int64_t first,
                             int64_t count, double decay)
{
    args a = {};
    a.type = F32;
    for (int i = 0; i < 4; i++)
        a.in[i] = m->slot[i] + first;
    a.in[4] = m->gate;
    a.out[0] = m->slot[SLOT_VALUE] + first;
    a.out[1] = m->slot[SLOT_MOMENT1] + first;
    a.out[2] = m->slot[SLOT_MOMENT2] + first;
    a.d.N = count;
    a.p.lr = o->lr, a.p.beta1 = o->beta1, a.p.beta2 = o->beta2, a.p.eps = o->eps;
    a.p.decay = decay, a.p.clip = o->clip, a.p.update = update;
    return stage(m, OP_adamw, &a);
}

static status update_parameters(mosaic *m, const optimizer *o, int64_t update)
{
    const int64_t decayed = m->index.decayed;
    TRY(update_tensors(m, o, update, 0, decayed, o->decay));
    TRY(update_tensors(m, o, update, decayed, m->index.total - decayed, 0));
    m->stale = 1;
    return OK;
}

static status cuda_apply(mosaic *m, const optimizer *o, int64_t update)
{
    if (m->open.rows == 0) return fail(ERR_ARG, "apply: expected a gradient before");
    if (m->open.scored != m->open.divisor)
        return fail(ERR_ARG, "apply: expected parts of %lld scored targets, got %lld",
                    (long long)m->open.divisor, (long long)m->open.scored);
    if (m->waiting == MOST_STEPS)
        return fail(ERR_ARG, "apply: %d steps wait to be collected", MOST_STEPS);
    TRY(use_device(m));
    const int at = (m->first + m->waiting) % MOST_STEPS;
    args a = {};
    a.type = F32;
    a.in[0] = m->slot[SLOT_GRAD], a.out[0] = m->norm;
    a.d.N = m->index.total;
    TRY(stage(m, OP_global_norm, &a));
    TRY(part_close_step(m->now, m->told + at, m->gate, m->loss_sum, m->norm, m->open.divisor));
    if (o) TRY(update_parameters(m, o, update));
    CUDA_TRY(cudaMemcpyAsync(m->heard + at, m->told + at, sizeof(outcome), cudaMemcpyDeviceToHost,
                             m->stream),
             "model cuda: report");
    TRY(clock_end(m, m->watch.step));
    m->watch.step = -1;
    CUDA_TRY(cudaEventRecord(m->steps[at].done, m->stream), "model cuda: event");
    m->steps[at].update = update;
    m->steps[at].scored = m->open.divisor;
    m->open.rows = 0;
    m->waiting++;
    return OK;
}

static status cuda_collect(mosaic *m, int wait, step_report *r, int *ready)
{
    step_slot *s = &m->steps[m->first];
    *ready = 0;
    if (m->waiting == 0) return OK;
    TRY(use_device(m));
    const cudaError_t e = wait ? cudaEventSynchronize(s->done) : cudaEventQuery(s->done);
    if (e == cudaErrorNotReady) return OK;
    CUDA_TRY(e, "model cuda: a step");
    const outcome *heard = m->heard + m->first;
    *r = step_report{s->update, s->scored, heard->loss, (double)heard->norm,
                     isfinite(heard->loss) && isfinite(heard->norm)};
    *ready = 1;
    m->first = (m->first + 1) % MOST_STEPS;
    m->waiting--;
    return OK;
}

extern "C" const model mosaic_cuda = {"cuda",          cuda_create, cuda_destroy,    cuda_config,
                                      cuda_parameters, cuda_info,   cuda_get,        cuda_put,
                                      cuda_predict,    cuda_score,  cuda_gradient,   cuda_apply,
                                      cuda_collect,    stream_open, stream_token,    stream_close,
                                      clock_switch,    clock_stage, INT64_C(1) << 19};
