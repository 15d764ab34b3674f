/* SPDX-License-Identifier: MIT
 *
 * mosaic_room — one piece of device memory for everything a call of the model writes, laid out
 * again only when a call wants another size.
 *
 * A gradient keeps the activations of every half; a prediction has one set that all blocks share.
 * What attention and the memory keep for their gradients is kept if that of all layers fits KEPT
 * bytes; if not, the backward computes it again. The scratch of the operations lies behind the
 * activations: how much it is a walk over the pass finds out, with the stream `now` NULL.
 */
#include "mosaic.cuh"

#include <string.h>

static const double KEPT = 4e9;              /* bytes                                       */
static const double SPARE = 512e6;           /* bytes that are left to others               */
enum { PIECE = 1 << 27, LEAST_PIECE = 128 }; /* logits at a time; rows that are worth a call */

typedef struct arena {
    char *base; /* NULL: only count */
    size_t used;
} arena;

static void *take(arena *a, int64_t count, size_t size)
{
    void *at = a->base + a->used;
    a->used += padded((size_t)count * size);
    return at;
}

static float *take_floats(arena *a, int64_t count)
{
    return (float *)take(a, count, sizeof(float));
}

static void stream_room(arena *a, const mosaic *m, half_acts *x, int64_t rows)
{
    const size_t size = dtype_size(m->type);
    x->x = take(a, rows * m->c.d, size);
    x->h = take(a, rows * m->c.d, size);
    x->mean = take_floats(a, rows);
    x->rstd = take_floats(a, rows);
    x->scalar = take_floats(a, SCALARS * m->c.H);
}

static void keys_room(arena *a, const mosaic *m, half_acts *x, int64_t rows)
{
    const size_t size = dtype_size(m->type);
    x->s = take(a, rows * m->c.d, size);
    x->key = take(a, rows * m->c.d, size);
    x->key_norm = take_floats(a, rows * m->c.H);
    x->z = take(a, rows * m->c.d, size);
}

/* What the operations of a layer would like to keep for their gradients, in bytes. */
typedef struct keeping {
    size_t attention, memory; /* memory: of each bank */
} keeping;

static void keep_room(arena *a, half_acts *x, size_t kept, int64_t banks)
{
    x->kept = kept;
    if (kept > 0) x->keep = (char *)take(a, (int64_t)kept * banks, 1);
}

static void layer_room(arena *a, const mosaic *m, layer_acts *l, int64_t rows, keeping kept)
{
    const size_t size = dtype_size(m->type);
    const int64_t d = m->c.d, H = m->c.H;
    *l = layer_acts{};
    stream_room(a, m, &l->ctx, rows);
    keys_room(a, m, &l->ctx, rows);
    l->ctx.value = take(a, rows * d, size);
    keep_room(a, &l->ctx, kept.attention, 1);
    if (m->c.arch == ARCH_GPT) {
        l->ctx.query = take(a, rows * d, size);
        l->ctx.query_norm = take_floats(a, rows * H);
        stream_room(a, m, &l->pers, rows);
        l->pers.raw = take(a, rows * 4 * d, size);
        l->pers.z = take(a, rows * 4 * d, size);
        return;
    }
    l->ctx.mix = take(a, rows * d, size);
    l->ctx.value_norm = take_floats(a, rows * H);
    if (m->c.attn_only) return;
    stream_room(a, m, &l->pers, rows);
    keys_room(a, m, &l->pers, rows);
    keep_room(a, &l->pers, kept.memory, m->c.banks);
}

/* Bytes that an operation with a method would like to keep of a call of this size. */
static size_t op_keeps(const mosaic *m, op_id op, const method *by, double rate, int64_t B,
                       int64_t T)
{
    size_t need = 0, keep = 0;
    args a = {};
    a.d = head_dims(m);
    a.d.B = B, a.d.T = T;
    a.p = by->p;
    a.p.rate = rate;
    a.type = m->type;
    a.transform = by->op;
    a.need = &need;
    a.keep_need = &keep;
    op_fn *f = kernel_of(op, &a);
    return f && f(&a) == OK ? padded(keep) : 0;
}

static keeping layer_keeps(const mosaic *m, int64_t B, int64_t T)
{
    const bool memory = m->c.arch != ARCH_GPT && !m->c.attn_only;
    const keeping none = {0, 0};
    const double rate = m->c.ctx_dropout ? m->c.drop_context : 0;
    keeping k = {op_keeps(m, OP_attention, &m->c.method, rate, B, T), 0};
    if (memory)
        k.memory = op_keeps(m, OP_persistent_memory, &m->c.pmem_method, m->c.drop_memory, B, T);
    const double all = (double)k.attention + (double)m->c.banks * (double)k.memory;
    return (double)m->c.L * all > KEPT ? none : k;
}

/* Rows scratch of both passes. */
static void scratch_room(arena *a, mosaic *m, int64_t rows, int gradient)
{
    const mosaic_config *c = &m->c;
    const int gpt = c->arch == ARCH_GPT;
    const int64_t d = c->d, K = c->k_kernel, slots = gpt || c->attn_only ? 0 : c->M * d;
    const size_t size = dtype_size(m->type);
    const int64_t widest = gpt ? 4 : K > 1 ? K : c->v_conv ? 2 : 0;
    for (int i = 0; i < 6; i++)
        m->t[i] = take(a, rows * d, size);
    m->wide[0] = take(a, rows * widest * d, size);
    m->wide[1] = take(a, gradient && !gpt ? rows * widest * d : 0, size);
    m->per_head = take_floats(a, 2 * c->H);
    m->unit_slots = take(a, c->pmem_norm ? 2 * slots : 0, size);
    m->slot_norm = take_floats(a, c->pmem_norm && slots > 0 ? c->H * c->M : 0);
    for (int i = 0; i < 2; i++)
        m->slot_grad[i] = take(a, gradient && m->type != F32 ? slots : 0, size);
}

/* The final stream, losses and logits. */
static void head_room(arena *a, mosaic *m, int64_t rows, int gradient)
{
    const int64_t d = m->c.d, V = m->c.V;
    const size_t size = dtype_size(m->type);
    m->last = take(a, rows * d, size);
    m->last_h = take(a, rows * d, size);
    m->last_mean = take_floats(a, rows);
    m->last_rstd = take_floats(a, rows);
    m->loss = take_floats(a, rows);
    m->lse = take_floats(a, rows);
    m->dloss = take_floats(a, rows);
    m->argmax = (int32_t *)take(a, rows, sizeof(int32_t));
    m->piece = PIECE / V / LEAST_PIECE * LEAST_PIECE;
    if (m->piece < LEAST_PIECE) m->piece = LEAST_PIECE;
    if (m->piece > rows) m->piece = rows;
    m->logits = take(a, m->piece * V, gradient ? size : sizeof(float));
    const int apart = gradient && (m->c.tied || m->type != F32);
    m->emb_grad = take(a, apart ? V * d : 0, size);
}

static void lay_out(arena *a, mosaic *m, int64_t B, int64_t T, int gradient)
{
    const int64_t rows = B * T;
    const keeping kept = gradient ? layer_keeps(m, B, T) : keeping{0, 0};
    for (int64_t l = 0; l < m->c.L; l++) {
        if (gradient || l == 0)
            layer_room(a, m, &m->acts[l], rows, kept);
        else
            m->acts[l] = m->acts[0];
    }
    scratch_room(a, m, rows, gradient);
    head_room(a, m, rows, gradient);
}

status scratch(mosaic *m, size_t bytes, void **p)
{
    if (!m->now && bytes > m->work_bytes) m->work_bytes = bytes;
    if (m->now && bytes > m->work_bytes)
        return fail(ERR_DEVICE, "model cuda: scratch: expected at most %zu bytes, got %zu",
                    m->work_bytes, bytes);
    *p = m->now ? m->work : NULL;
    return OK;
}

/* Walk the passes of a call of B rows without launching anything: m->work_bytes. The last walk is
 * known. */
static status walk(mosaic *m, int64_t B, int64_t T, int gradient)
{
    if (m->walked.B == B && m->walked.T == T && m->walked.gradient == gradient) {
        m->work_bytes = m->walked.bytes;
        return OK;
    }
    m->walked.B = 0;
    const cudaStream_t stream = m->now;
    const int64_t step = m->step;
    batch b = {};
    b.B = B, b.T = T;
    m->now = NULL;
    m->work_bytes = 0;
    m->step = 0; /* with dropout */
    status s = forward(m, &b);
    if (s == OK) s = gradient ? backward(m, &b, 0) : head_logits(m, 0, m->piece, NULL);
    m->now = stream;
    m->step = step;
    if (s != OK) return s;
    m->walked.B = B, m->walked.T = T, m->walked.gradient = gradient;
    m->walked.bytes = m->work_bytes;
    return OK;
}

/* Bytes of the room for a call; nothing stays laid out. */
static status room_for(mosaic *m, int64_t B, int64_t T, int gradient, size_t *bytes)
{
    arena count = {};
    m->room_B = 0;
    lay_out(&count, m, B, T, gradient);
    TRY(walk(m, B, T, gradient));
    *bytes = count.used + padded(m->work_bytes);
    return OK;
}

static status free_memory(const mosaic *m, double *bytes)
{
    size_t left, all;
    CUDA_TRY(cudaMemGetInfo(&left, &all), "model cuda: memory");
    *bytes = (double)left + (double)m->room_bytes - SPARE;
    if (*bytes < 0) *bytes = 0;
    return OK;
}

/* The most of B rows that fit `room` bytes; 0: not one. */
static status most_rows(mosaic *m, int64_t B, int64_t T, int gradient, double room, int64_t *rows)
{
    int64_t low = 0, high = B + 1; /* low fits, high does not */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        size_t bytes;
        TRY(room_for(m, middle, T, gradient, &bytes));
        if ((double)bytes <= room)
            low = middle;
        else
            high = middle;
    }
    *rows = low;
    return OK;
}

static status too_large(mosaic *m, int64_t B, int64_t T, int gradient, double bytes)
{
    double room = 0;
    int64_t rows;
    TRY(free_memory(m, &room));
    TRY(most_rows(m, B, T, gradient, room, &rows));
    if (rows > 0)
        return fail(ERR_MEMORY,
                    "model cuda: %lld rows of %lld positions want %.2f GB of the device, %.2f GB "
                    "are free: expected micro=%lld or less",
                    (long long)B, (long long)T, 1e-9 * bytes, 1e-9 * room, (long long)rows);
    size_t one;
    TRY(room_for(m, 1, T, gradient, &one));
    return fail(
        ERR_MEMORY,
        "model cuda: a row of %lld positions wants %.2f GB of the device, %.2f GB are free: "
        "expected shorter rows or a smaller model",
        (long long)T, 1e-9 * (double)one, 1e-9 * room);
}

static status release_room(mosaic *m)
{
    TRY(finish(m));
    (void)cudaFree(m->room);
    m->room = NULL;
    m->room_bytes = 0;
    return OK;
}

/* Room of at least so many bytes. */
static status grow(mosaic *m, size_t bytes)
{
    if (bytes <= m->room_bytes) return OK;
    TRY(release_room(m));
    TRY(take_memory((void **)&m->room, bytes, "activations"));
    m->room_bytes = bytes;
    return OK;
}

status reserve(mosaic *m, int64_t B, int64_t T, int gradient)
{
    size_t bytes;
    double room = 0;
    if (m->room && B == m->room_B && T == m->room_T && gradient == m->room_gradient) return OK;
    TRY(room_for(m, B, T, gradient, &bytes));
    if (bytes > m->room_bytes) {
        TRY(free_memory(m, &room));
        if ((double)bytes > room + SPARE / 2) return too_large(m, B, T, gradient, (double)bytes);
    }
    TRY(grow(m, bytes));
    arena real = {m->room, 0};
    lay_out(&real, m, B, T, gradient);
    m->work = m->room + real.used;
    m->room_B = B;
    m->room_T = T;
    m->room_gradient = gradient;
    return OK;
}

/* As few calls of equal size as fit. */
static status rows_that_fit(mosaic *m, int64_t B, int64_t T, int gradient, int64_t *rows)
{
    size_t bytes;
    double room = 0;
    *rows = B;
    TRY(room_for(m, B, T, gradient, &bytes));
    if (bytes <= m->room_bytes) return OK;
    TRY(free_memory(m, &room));
    if ((double)bytes <= room) return OK;
    if (gradient) { /* which will be added up from parts */
        TRY(release_room(m));
        TRY(second_gradient(m));
        TRY(free_memory(m, &room));
    }
    TRY(most_rows(m, B, T, gradient, room, rows));
    if (*rows == 0) return too_large(m, B, T, gradient, (double)bytes);
    *rows = ceil_div(B, ceil_div(B, *rows));
    return OK;
}

status rows_at_once(mosaic *m, int64_t B, int64_t T, int gradient, int64_t *rows)
{
    if (m->micro > 0) return *rows = m->micro < B ? m->micro : B, OK;
    if (m->fit.B != B || m->fit.T != T || m->fit.gradient != gradient) {
        m->fit.B = 0;
        TRY(rows_that_fit(m, B, T, gradient, &m->fit.rows));
        m->fit.B = B, m->fit.T = T, m->fit.gradient = gradient;
    }
    *rows = m->fit.rows;
    return OK;
}
