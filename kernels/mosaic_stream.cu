/* SPDX-License-Identifier: MIT
 *
 * mosaic_stream — inference one token at a time, of several rows in step.
 *
 * Per layer the state is the leaky sums of both halves, the inputs that a convolution still wants,
 * what the unfinished value is made of, and the growing lists of keys and values. At token t the
 * value of t - 1 is completed with its peek at t, and the query is the key of t; so that N(t) is
 * exactly what the lists hold. GPT keeps keys and values alone. Rows without a token change
 * nothing. Source: model 2.13.
 *
 * A token is a batch of T = 1 for the stages that know no time; those that do have a kernel here.
 * The parameters and the room are the model's, which must outlive the stream.
 */
#include "mosaic.cuh"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 256, FIRST_ROOM = 64 };

typedef struct mosaic_stream {
    mosaic *m;
    int64_t rows, room;    /* positions of the lists                                         */
    int64_t longest;       /* with the token under way, the most of any row                  */
    int32_t *count, *now;  /* host: tokens of a row before; device (2,rows): tokens, counts  */
    char *state;           /* sums (L,2,rows,d) in float; (L,2,rows,K,d), (L,rows,2,d)       */
    char *lists;           /* (L,2,rows,room,d): keys, values                                */
    float *score, *weight; /* (rows,H,room)                                                  */
    float *stat, *beta;    /* (rows,H,S), (rows,H)                                           */
    int32_t *live;         /* (rows,H)                                                       */
    void *work;            /* of the transform                                               */
    float *heard;          /* host: logits (rows,V) */
    int32_t *said;
} mosaic_stream;

/* --- kernels --------------------------------------------------------------------------------- */

__device__ static int64_t self()
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

/* x_rc += p_(count_r)c */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    position_kernel(T *x, const T *p, const int32_t *now, int64_t rows, int64_t d)
{
    const int64_t i = self();
    if (i < rows * d) x[i] = narrow<T>(widen(x[i]) + widen(p[now[rows + i / d] * d + i % d]));
}

/* The last K inputs, history (rows,K,d), x the newest: to (rows,d,K), or (rows,K,d) if by_time. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    recall_kernel(T *to, T *history, const T *x, const int32_t *now, int64_t rows, int64_t d,
                  int64_t K, bool by_time)
{
    const int64_t i = self(), r = i / d, c = i % d;
    if (i >= rows * d) return;
    for (int64_t k = 0; k < K; k++) {
        const T value = k + 1 < K ? history[(r * K + k + 1) * d + c] : x[i];
        to[by_time ? (r * K + k) * d + c : i * K + k] = value;
        if (now[r] >= 0) history[(r * K + k) * d + c] = value;
    }
}

/* sum = rho sum + k, s its value in storage. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    leak_kernel(T *s, float *sum, const T *k, const float *theta, const int32_t *now, int64_t rows,
                int64_t d, int64_t D)
{
    const int64_t i = self();
    if (i >= rows * d) return;
    const float rho = (float)exp(-10 * fabs((double)theta[i % d / D]));
    const float next = fmaf(rho, sum[i], widen(k[i]));
    s[i] = narrow<T>(next);
    if (now[i / d] >= 0) sum[i] = next;
}

/* list_(count_r - back) = the first of `apart` rows of x for every row with a token. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    keep_kernel(T *list, const T *x, const int32_t *now, int64_t rows, int64_t d, int64_t room,
                int back, int apart)
{
    const int64_t i = self(), r = i / d, c = i % d;
    if (i >= rows * d) return;
    const int at = now[rows + r] - back;
    if (now[r] >= 0 && at >= 0) list[(r * room + at) * d + c] = x[r * apart * d + c];
}

/* live and beta of every row of scores. */
static __global__ void __launch_bounds__(THREADS)
    live_kernel(int32_t *live, float *row_beta, const float *beta, const int32_t *now, int64_t rows,
                int64_t H, int lag)
{
    const int64_t i = self();
    if (i >= rows * H) return;
    const int seen = now[rows + i / H] + 1 - lag;
    live[i] = seen > 0 ? seen : 0;
    row_beta[i] = beta ? beta[i % H] : 1;
}

/* score (rows,H,N) = scale <q, key_j>, j < live */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    score_kernel(float *score, const T *q, const T *keys, const int32_t *live, int64_t rows,
                 int64_t H, int64_t D, int64_t N, int64_t room, float scale)
{
    const int64_t i = self(), head = i / N, j = i % N, r = head / H, h = head % H;
    if (head >= rows * H || j >= live[head]) return;
    const T *x = q + head * D, *y = keys + ((r * room + j) * H + h) * D;
    float s = 0;
#pragma unroll 8
    for (int64_t e = 0; e < D; e++)
        s = fmaf(widen(x[e]), widen(y[e]), s);
    score[i] = scale * s;
}

/* z_rhe = sum_j weight_rhj value_jhe over the j that weigh anything */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    mix_kernel(T *z, const float *weight, const T *values, const int32_t *live, int64_t rows,
               int64_t H, int64_t D, int64_t N, int64_t room)
{
    const int64_t i = self(), d = H * D, r = i / d, head = i / D;
    if (i >= rows * d) return;
    float s = 0;
#pragma unroll 4
    for (int64_t j = 0; j < live[head]; j++) {
        const float w = weight[head * N + j];
        if (w != 0) s = fmaf(w, widen(values[(r * room + j) * d + i % d]), s);
    }
    z[i] = narrow<T>(s);
}

/* n threads in the stream of s. */
#define LAUNCH(n, kernel, ...)                                                                     \
    kernel<<<(unsigned)ceil_div((n), THREADS), THREADS, 0, s->m->stream>>>(__VA_ARGS__)

/* --- launches, by storage type --------------------------------------------------------------- */

template <typename T> static status add_position(mosaic_stream *s, void *x)
{
    const int64_t d = s->m->c.d;
    LAUNCH(s->rows * d, position_kernel<T>, (T *)x, (const T *)weight(s->m, s->m->index.wpe),
           s->now, s->rows, d);
    return launched("stream");
}

template <typename T>
static status recall(mosaic_stream *s, void *to, void *history, const void *x, int64_t K,
                     bool by_time)
{
    const int64_t d = s->m->c.d;
    LAUNCH(s->rows * d, recall_kernel<T>, (T *)to, (T *)history, (const T *)x, s->now, s->rows, d,
           K, by_time);
    return launched("stream");
}

template <typename T>
static status leak(mosaic_stream *s, void *to, float *sum, const void *k, const float *theta)
{
    const int64_t d = s->m->c.d;
    LAUNCH(s->rows * d, leak_kernel<T>, (T *)to, sum, (const T *)k, theta, s->now, s->rows, d,
           d / s->m->c.H);
    return launched("stream");
}

template <typename T>
static status keep(mosaic_stream *s, void *list, const void *x, int back, int apart)
{
    const int64_t d = s->m->c.d;
    LAUNCH(s->rows * d, keep_kernel<T>, (T *)list, (const T *)x, s->now, s->rows, d, s->room, back,
           apart);
    return launched("stream");
}

template <typename T>
static status score_pairs(mosaic_stream *s, const void *q, const void *keys, double scale)
{
    const int64_t H = s->m->c.H, N = s->longest;
    LAUNCH(s->rows * H * N, score_kernel<T>, s->score, (const T *)q, (const T *)keys, s->live,
           s->rows, H, s->m->c.d / H, N, s->room, (float)scale);
    return launched("stream");
}

template <typename T> static status mix_pairs(mosaic_stream *s, void *z, const void *values)
{
    const int64_t H = s->m->c.H, d = s->m->c.d;
    LAUNCH(s->rows * d, mix_kernel<T>, (T *)z, s->weight, (const T *)values, s->live, s->rows, H,
           d / H, s->longest, s->room);
    return launched("stream");
}

#define BY_STORAGE(f, ...) BY_TYPE(s->m->type, "stream", f, s, __VA_ARGS__)

/* --- places ---------------------------------------------------------------------------------- */

static int64_t row_numbers(const mosaic_stream *s)
{
    return s->rows * s->m->c.d;
}

static float *sums(const mosaic_stream *s, int64_t layer, int which)
{
    return (float *)s->state + (2 * layer + which) * row_numbers(s);
}

/* Of the key convolutions of both halves (K inputs each), then of the values (2). */
static void *history(const mosaic_stream *s, int64_t layer, int which)
{
    const int64_t K = s->m->c.k_kernel;
    char *behind_sums = (char *)sums(s, s->m->c.L, 0);
    return behind(s->m, behind_sums, (layer * (2 * K + 2) + which * K) * row_numbers(s));
}

static void *list_of(const mosaic_stream *s, int64_t layer, int values)
{
    return behind(s->m, s->lists, (2 * layer + values) * row_numbers(s) * s->room);
}

/* --- life ------------------------------------------------------------------------------------ */

static void free_lists(mosaic_stream *s)
{
    void *const owned[] = {s->lists, s->score, s->weight, s->work};
    for (void *p : owned)
        (void)cudaFree(p);
    s->lists = NULL;
    s->score = s->weight = NULL;
    s->work = NULL;
}

void stream_close(mosaic_stream *s)
{
    if (!s) return;
    if (use_device(s->m) == OK) (void)finish(s->m);
    free_lists(s);
    void *const owned[] = {s->state, s->now, s->stat, s->beta, s->live};
    for (void *p : owned)
        (void)cudaFree(p);
    free(s->count);
    free(s->heard);
    free(s->said);
    free(s);
}

static status open_rows(mosaic_stream *s)
{
    const mosaic *m = s->m;
    const int64_t heads = s->rows * m->c.H, n = row_numbers(s);
    const size_t bytes =
        (size_t)(m->c.L * n) *
        (2 * sizeof(float) + (size_t)(2 * m->c.k_kernel + 2) * dtype_size(m->type));
    TRY(use_device(m));
    TRY(finish(m));
    TRY(take_memory((void **)&s->now, sizeof(int32_t) * 2 * (size_t)s->rows, "a stream"));
    TRY(take_memory((void **)&s->stat, sizeof(float) * STATS * (size_t)heads, "a stream"));
    TRY(take_memory((void **)&s->beta, sizeof(float) * (size_t)heads, "a stream"));
    TRY(take_memory((void **)&s->live, sizeof(int32_t) * (size_t)heads, "a stream"));
    TRY(take_memory((void **)&s->state, bytes, "a stream"));
    CUDA_TRY(cudaMemsetAsync(s->state, 0, bytes, m->stream), "stream");
    return finish(m);
}

status stream_open(mosaic *m, int64_t rows, mosaic_stream **out)
{
    *out = NULL;
    if (rows < 1) return fail(ERR_ARG, "stream: expected at least one row");
    mosaic_stream *s = (mosaic_stream *)calloc(1, sizeof *s);
    if (!s) return fail(ERR_MEMORY, "stream: out of memory");
    s->m = m;
    s->rows = rows;
    s->count = (int32_t *)calloc((size_t)rows, sizeof *s->count);
    s->heard = (float *)malloc((size_t)(rows * m->c.V) * sizeof *s->heard);
    s->said = (int32_t *)malloc((size_t)rows * sizeof *s->said);
    status result =
        s->count && s->heard && s->said ? OK : fail(ERR_MEMORY, "stream: out of memory");
    if (result == OK) result = open_rows(s);
    if (result == OK)
        *out = s;
    else
        stream_close(s);
    return result;
}

/* The transform of `rows` H rows of N scores, by its default kernel; need NULL: run it. */
static status transform(mosaic_stream *s, int64_t N, size_t *need)
{
    const method *f = &s->m->c.method;
    args a = {};
    a.in[0] = s->score, a.in[1] = s->beta, a.out[0] = s->weight, a.out[1] = s->stat;
    a.live = s->live;
    a.d.R = s->rows * s->m->c.H, a.d.N = N;
    a.p = f->p;
    a.type = F32;
    a.need = need;
    a.work = s->work;
    a.stream = s->m->stream;
    return kernel_of(f->op, &a)(&a);
}

/* Lists of twice the length, with what they held. */
static status make_room(mosaic_stream *s)
{
    const mosaic *m = s->m;
    if (s->longest <= s->room) return OK;
    const int64_t room = s->room ? 2 * s->room : (int64_t)FIRST_ROOM, lists = 2 * m->c.L * s->rows;
    const size_t row = (size_t)m->c.d * dtype_size(m->type);
    const size_t scores = sizeof(float) * (size_t)(s->rows * m->c.H * room);
    char *longer;
    size_t need = 0;
    TRY(finish(m));
    TRY(take_memory((void **)&longer, (size_t)(lists * room) * row, "keys and values"));
    cudaError_t e = cudaSuccess;
    if (s->room > 0)
        e = cudaMemcpy2DAsync(longer, (size_t)room * row, s->lists, (size_t)s->room * row,
                              (size_t)s->room * row, (size_t)lists, cudaMemcpyDeviceToDevice,
                              m->stream);
    const status copied = finish(m);
    free_lists(s);
    s->lists = longer;
    s->room = room;
    CUDA_TRY(e, "stream: keys and values");
    TRY(copied);
    TRY(transform(s, room, &need));
    TRY(take_memory((void **)&s->score, scores, "scores"));
    TRY(take_memory((void **)&s->weight, scores, "weights"));
    return take_memory(&s->work, need, "scratch");
}

/* --- a token --------------------------------------------------------------------------------- */

/* z from the first `live` pairs of a layer. */
static status read_pairs(mosaic_stream *s, int64_t layer, const void *query, const float *beta,
                         int64_t lag, double scale, void *z)
{
    const int64_t heads = s->rows * s->m->c.H;
    LAUNCH(heads, live_kernel, s->live, s->beta, beta, s->now, s->rows, s->m->c.H, (int)lag);
    TRY(launched("stream"));
    TRY(BY_STORAGE(score_pairs, query, list_of(s, layer, 0), scale));
    TRY(transform(s, s->longest, NULL));
    return BY_STORAGE(mix_pairs, z, list_of(s, layer, 1));
}

/* x->key of this token, from x->h. */
static status key_step(mosaic_stream *s, int64_t layer, int which, const half_index *i,
                       half_acts *x)
{
    mosaic *m = s->m;
    const int64_t K = m->c.k_kernel, d = m->c.d;
    const void *in = x->h;
    void *k = m->t[0];
    if (K > 1) {
        TRY(BY_STORAGE(recall, m->wide[0], history(s, layer, which), x->h, K, false));
        in = m->wide[0];
    }
    TRY(project(m, in, K * d, i->wk, i->bk, d, k));
    TRY(BY_STORAGE(leak, x->s, sums(s, layer, which), k, value(m, i->theta)));
    return unit_forward(m, x->s, x->key, x->key_norm);
}

/* The value of the token before, now that this one is known. */
static status value_step(mosaic_stream *s, int64_t layer, const half_index *i, half_acts *x)
{
    mosaic *m = s->m;
    const int64_t d = m->c.d;
    const int conv = m->c.v_conv;
    void *pair = conv ? m->wide[0] : m->t[1], *mix = conv ? m->t[2] : pair, *now = m->t[0];
    if (!conv) TRY(project(m, x->h, d, i->wv, i->bv, d, now));
    TRY(BY_STORAGE(recall, pair, history(s, layer, 2), conv ? x->h : now, 2, !conv));
    if (conv) TRY(project(m, pair, 2 * d, i->wv, i->bv, d, mix));
    args a = {};
    a.in[0] = mix, a.in[1] = x->scalar + COEF * m->c.H, a.in[2] = x->scalar + NU * m->c.H;
    a.out[0] = x->value, a.out[1] = x->value_norm;
    a.p = norm_params(m);
    a.d = head_dims(m);
    a.d.T = conv ? 1 : 2;
    TRY(stage(m, OP_value_mix, &a));
    return BY_STORAGE(keep, list_of(s, layer, 1), x->value, 1, (int)a.d.T);
}

typedef status step_fn(mosaic_stream *s, int64_t layer, half_acts *x, void *out);

static status contextual_step(mosaic_stream *s, int64_t layer, half_acts *x, void *out)
{
    mosaic *m = s->m;
    const half_index *i = &m->layers[layer].ctx;
    TRY(scalars(m, i, x));
    TRY(key_step(s, layer, 0, i, x));
    TRY(value_step(s, layer, i, x));
    TRY(BY_STORAGE(keep, list_of(s, layer, 0), x->key, 0, 1));
    TRY(read_pairs(s, layer, x->key, x->scalar + BETA * m->c.H, m->c.visible_lag, 1, x->z));
    return project(m, x->z, m->c.d, i->wo, i->bo, m->c.d, out);
}

static status persistent_step(mosaic_stream *s, int64_t layer, half_acts *x, void *out)
{
    const half_index *i = &s->m->layers[layer].pers;
    TRY(scalars(s->m, i, x));
    TRY(key_step(s, layer, 1, i, x));
    return persistent_read(s->m, layer, x, out);
}

static status gpt_step(mosaic_stream *s, int64_t layer, half_acts *x, void *out)
{
    mosaic *m = s->m;
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d;
    const int cosine = m->c.gpt_cosine;
    const double scale = cosine ? 1 : 1 / sqrt((double)(d / m->c.H));
    TRY(gpt_split(m, i, x));
    TRY(BY_STORAGE(keep, list_of(s, layer, 0), x->key, 0, 1));
    TRY(BY_STORAGE(keep, list_of(s, layer, 1), x->value, 0, 1));
    TRY(read_pairs(s, layer, x->query, cosine ? x->scalar + BETA * m->c.H : NULL, 0, scale, x->z));
    return project(m, x->z, d, i->wo, i->bo, d, out);
}

static status gpt_mlp_step(mosaic_stream *s, int64_t layer, half_acts *x, void *out)
{
    return gpt_mlp_forward(s->m, layer, x, out);
}

static status half_step(mosaic_stream *s, int64_t layer, const half_index *i, half_acts *a,
                        step_fn *f, void *x)
{
    mosaic *m = s->m;
    void *out = m->t[5];
    const norm_place n = {i->ln_w, i->ln_b, x, a->h, a->mean, a->rstd};
    TRY(norm_forward(m, &n));
    TRY(f(s, layer, a, out));
    return add_rows(m, x, m->c.pre_ln || m->c.arch == ARCH_GPT ? x : a->h, out);
}

/* One token of every row, whose ids and counts are on the device: m->last_h. */
static status read_token(mosaic_stream *s)
{
    mosaic *m = s->m;
    const int gpt = m->c.arch == ARCH_GPT;
    void *x = m->last;
    args a = {};
    a.in[0] = s->now, a.in[1] = weight(m, m->index.emb), a.out[0] = x;
    a.d.R = s->rows, a.d.C = m->c.d, a.d.V = m->c.V;
    TRY(stage(m, OP_embedding, &a));
    if (gpt) TRY(BY_STORAGE(add_position, x));
    for (int64_t l = 0; l < m->c.L; l++) {
        const layer_index *i = &m->layers[l];
        layer_acts *room = &m->acts[l];
        TRY(half_step(s, l, &i->ctx, &room->ctx, gpt ? gpt_step : contextual_step, x));
        if (gpt || !m->c.attn_only)
            TRY(half_step(s, l, &i->pers, &room->pers, gpt ? gpt_mlp_step : persistent_step, x));
    }
    const norm_place n = {m->index.ln_w, m->index.ln_b, x, m->last_h, m->last_mean, m->last_rstd};
    return norm_forward(m, &n);
}

/* Nothing is read unless every row can be. */
static status check_tokens(mosaic_stream *s, const int32_t *tokens)
{
    const mosaic_config *c = &s->m->c;
    s->longest = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        if (tokens[r] < -1 || tokens[r] >= c->V)
            return fail(ERR_DATA, "stream: row %lld: expected a token in -1..%lld, got %d",
                        (long long)r, (long long)c->V - 1, (int)tokens[r]);
        if (tokens[r] >= 0 && c->arch == ARCH_GPT && s->count[r] >= c->T)
            return fail(ERR_ARG, "stream: expected at most %lld tokens, one per learned position",
                        (long long)c->T);
        if (s->count[r] + 1 > s->longest) s->longest = s->count[r] + 1;
    }
    return OK;
}

/* What the rows with a token say. */
static status tell(mosaic_stream *s, const int32_t *tokens, int32_t *argmax, double *logits)
{
    mosaic *m = s->m;
    const int64_t V = m->c.V;
    for (int64_t r = 0; r < s->rows; r += m->piece) {
        const int64_t n = s->rows - r < m->piece ? s->rows - r : m->piece;
        float *z = (float *)m->logits;
        TRY(head_logits(m, r, n, z));
        if (argmax) TRY(part_argmax(m->stream, m->argmax + r, z, n, V));
        if (logits)
            CUDA_TRY(cudaMemcpyAsync(s->heard + r * V, z, (size_t)(n * V) * sizeof *z,
                                     cudaMemcpyDeviceToHost, m->stream),
                     "stream: logits");
    }
    if (argmax)
        CUDA_TRY(cudaMemcpyAsync(s->said, m->argmax, (size_t)s->rows * sizeof *s->said,
                                 cudaMemcpyDeviceToHost, m->stream),
                 "stream: argmax");
    TRY(finish(m));
    for (int64_t r = 0; r < s->rows; r++) {
        if (tokens[r] < 0) continue;
        if (argmax) argmax[r] = s->said[r];
        for (int64_t v = 0; logits && v < V; v++)
            logits[r * V + v] = s->heard[r * V + v];
    }
    return OK;
}

status stream_token(mosaic_stream *s, const int32_t *tokens, int32_t *argmax, double *logits)
{
    mosaic *m = s->m;
    const size_t bytes = (size_t)s->rows * sizeof(int32_t);
    TRY(check_tokens(s, tokens));
    TRY(use_device(m));
    TRY(refresh(m));
    TRY(make_room(s));
    TRY(reserve(m, s->rows, 2, 0)); /* a value is mixed of two positions */
    CUDA_TRY(cudaMemcpyAsync(s->now, tokens, bytes, cudaMemcpyHostToDevice, m->stream),
             "stream: tokens");
    CUDA_TRY(cudaMemcpyAsync(s->now + s->rows, s->count, bytes, cudaMemcpyHostToDevice, m->stream),
             "stream: counts");
    m->step = -1;
    m->B = s->rows;
    m->T = 1;
    TRY(read_token(s));
    TRY(tell(s, tokens, argmax, logits));
    for (int64_t r = 0; r < s->rows; r++)
        s->count[r] += tokens[r] >= 0;
    return OK;
}
