/* SPDX-License-Identifier: MIT
 *
 * stream.c — inference one token at a time, with the bits of the batched forward.
 *
 * Per layer the state is the leaky sums of both halves, the inputs that a convolution still wants,
 * the last unfinished value, and the growing lists of keys and values. At token t the value of
 * t - 1 is completed with its peek at t, and the query is the key of t; so that N(t) is exactly
 * what the lists hold. GPT keeps keys and values alone.
 *
 * What a token costs. Every key is looked at: any of them may be the nearest of the next query, and
 * bounds on the cosines of neighbouring keys left most of the products (REPRODUCE.md has numbers);
 * so scores and transform grow with t. Of the values only those are read whose weight is not 0. A
 * bounded support leaves few of them, softmax leaves all.
 * Source: model 2.13.
 *
 * The stages run on a copy of the model's struct with rooms of its own for one row; the parameters
 * are the model's, which must outlive the stream. The rows of a stream are read one after the
 * other in these rooms; each has a past of its own.
 */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "matmul.h"
#include "stage.h"

typedef struct memory {
    double *s[2];          /* leaky sums: contextual, persistent                            */
    double *history[2];    /* (k_kernel,d): the last inputs of the key convolutions         */
    double *pending;       /* (2,d): what the value of t - 1 is made of: inputs or W_v h    */
    double *keys, *values; /* (d,room), as a score reads them, and (room,d), of which `tokens` and
                              `tokens - 1` are known */
    double *own;           /* s, history and pending lie here                               */
} memory;

/* What one row has read. */
typedef struct past {
    memory *layers;
    int64_t tokens, room; /* of keys and values */
} past;

typedef struct mosaic_stream {
    mosaic m;
    int64_t rows;
    past *row, *now; /* the row that is being read */
    int64_t room;
    double *scores, *weights, *stat; /* (H,room), (H,room), (H,S)      */
    double *support;                 /* (room,D): values that weigh anything */
    double *logits;                  /* (V): where the caller wants none */
} mosaic_stream;

static status open_layer(const mosaic *m, memory *x)
{
    const int64_t d = m->c.d, K = m->c.k_kernel;
    x->own = calloc((size_t)((4 + 2 * K) * d), sizeof(double));
    if (!x->own) return fail(ERR_MEMORY, "stream: out of memory");
    x->s[0] = x->own;
    x->s[1] = x->s[0] + d;
    x->pending = x->s[1] + d;
    x->history[0] = x->pending + 2 * d;
    x->history[1] = x->history[0] + K * d;
    return OK;
}

void stream_close(mosaic_stream *s)
{
    if (!s) return;
    for (int64_t r = 0; r < s->rows && s->row; r++) {
        memory *layers = s->row[r].layers;
        for (int64_t l = 0; l < s->m.c.L && layers; l++) {
            free(layers[l].own);
            free(layers[l].keys);
            free(layers[l].values);
        }
        free(layers);
    }
    free(s->row);
    free(s->m.acts);
    free(s->m.arena);
    free(s->m.work);
    free(s->scores);
    free(s->weights);
    free(s->support);
    free(s->stat);
    free(s->logits);
    free(s);
}

static status open_rows(mosaic_stream *s)
{
    const mosaic_config *c = &s->m.c;
    s->m.acts = calloc((size_t)c->L, sizeof *s->m.acts);
    s->row = calloc((size_t)s->rows, sizeof *s->row);
    s->stat = calloc((size_t)(c->H * STATS), sizeof *s->stat);
    s->logits = malloc((size_t)c->V * sizeof *s->logits);
    if (!s->m.acts || !s->row || !s->stat || !s->logits)
        return fail(ERR_MEMORY, "stream: out of memory");
    TRY(activations_reserve(&s->m, 1, 2, 0));
    s->m.B = s->m.T = 1;
    for (int64_t r = 0; r < s->rows; r++) {
        s->row[r].layers = calloc((size_t)c->L, sizeof(memory));
        if (!s->row[r].layers) return fail(ERR_MEMORY, "stream: out of memory");
        for (int64_t l = 0; l < c->L; l++)
            TRY(open_layer(&s->m, &s->row[r].layers[l]));
    }
    return OK;
}

status stream_open(mosaic *m, int64_t rows, mosaic_stream **out)
{
    *out = NULL;
    if (rows < 1) return fail(ERR_ARG, "stream: expected at least one row");
    mosaic_stream *s = calloc(1, sizeof *s);
    if (!s) return fail(ERR_MEMORY, "stream: out of memory");
    s->rows = rows;
    s->m = *m;
    s->m.arena = NULL;
    s->m.arena_size = 0;
    s->m.work = NULL;
    s->m.work_size = 0;
    s->m.probe = NULL;
    s->m.step = -1;
    const status result = open_rows(s);
    if (result == OK)
        *out = s;
    else
        stream_close(s);
    return result;
}

static status grow(double **x, int64_t count)
{
    double *more = realloc(*x, (size_t)count * sizeof **x);
    if (!more) return fail(ERR_MEMORY, "stream: expected %lld numbers", (long long)count);
    *x = more;
    return OK;
}

/* Keys (d,room) become (d,longer), for which there is memory: from the last channel, which moves
 * farthest. */
static void spread_keys(double *keys, int64_t d, int64_t room, int64_t longer)
{
    for (int64_t e = d - 1; e > 0; e--)
        memmove(keys + e * longer, keys + e * room, (size_t)room * sizeof *keys);
}

static status make_room(mosaic_stream *s)
{
    const mosaic_config *c = &s->m.c;
    past *row = s->now;
    if (row->tokens == row->room) {
        const int64_t room = row->room ? 2 * row->room : 64;
        for (int64_t l = 0; l < c->L; l++) {
            TRY(grow(&row->layers[l].keys, room * c->d));
            TRY(grow(&row->layers[l].values, room * c->d));
        }
        for (int64_t l = 0; l < c->L; l++)
            spread_keys(row->layers[l].keys, c->d, row->room, room);
        row->room = room;
    }
    if (row->room <= s->room) return OK;
    TRY(grow(&s->scores, c->H * row->room));
    TRY(grow(&s->weights, c->H * row->room));
    TRY(grow(&s->support, c->d / c->H * row->room));
    s->room = row->room;
    return OK;
}

/* z (D) = sum_j p_j v_j, rows of v d apart, over the support of p alone, which is moved together. A
 * weight of 0 would have changed no bit of the sum. */
static void mix(mosaic_stream *s, double *p, const double *v, int64_t live, double *z)
{
    const int64_t d = s->m.c.d, D = d / s->m.c.H;
    int64_t n = 0;
    for (int64_t j = 0; j < live; j++)
        n += p[j] != 0;
    view values = {v, d, 1};
    if (n < live) {
        int64_t at = 0;
        for (int64_t j = 0; j < live; j++) {
            if (p[j] == 0) continue;
            memcpy(s->support + at * D, v + j * d, (size_t)D * sizeof *v);
            p[at++] = p[j];
        }
        values = (view){s->support, D, 1};
    }
    matmul(1, D, n, (view){p, n, 1}, values, z, D, 0);
}

/* z_h = sum_j p_hj v_j over the first `live` pairs. */
static status read_pairs(mosaic_stream *s, const memory *x, const double *query, int64_t live,
                         const double *beta, double scale, double *z)
{
    const int64_t d = s->m.c.d, H = s->m.c.H, D = d / H;
    memset(z, 0, (size_t)d * sizeof *z);
    if (live <= 0) return OK;
    for (int64_t h = 0; h < H; h++) {
        const view k = {x->keys + h * D * s->now->room, s->now->room, 1};
        matmul(1, live, D, (view){query + h * D, D, 1}, k, s->scores + h * live, live, 0);
    }
    for (int64_t i = 0; i < H * live && scale != 1; i++)
        s->scores[i] *= scale;
    args a = {.in = {s->scores, beta}, .out = {s->weights, s->stat}, .p = s->m.c.method.p};
    a.d = (dims){.R = H, .N = live};
    TRY(reference_of(s->m.c.method.op)(&a));
    for (int64_t h = 0; h < H; h++)
        mix(s, s->weights + h * live, x->values + h * D, live, z + h * D);
    return OK;
}

/* The key of this token joins the list. */
static void keep_key(const mosaic_stream *s, const memory *x, const double *key)
{
    for (int64_t e = 0; e < s->m.c.d; e++)
        x->keys[e * s->now->room + s->now->tokens] = key[e];
}

/* The key of this token: x->key from x->h, by one step of the leaky average. */
static status key_step(mosaic_stream *s, const half_index *i, double *history, double *sum,
                       half_acts *x)
{
    mosaic *m = &s->m;
    const int64_t d = m->c.d, H = m->c.H, K = m->c.k_kernel;
    double *in = m->wide[0], *k = m->t[0];
    memmove(history, history + d, (size_t)((K - 1) * d) * sizeof *history);
    memcpy(history + (K - 1) * d, x->h, (size_t)d * sizeof *history);
    for (int64_t e = 0; e < d; e++)
        for (int64_t tau = 0; tau < K; tau++)
            in[e * K + tau] = history[tau * d + e];
    TRY(project(m, in, K * d, i->wk, i->bk, d, k));
    for (int64_t e = 0; e < d; e++) {
        const double theta = m->slot[SLOT_VALUE][i->theta + e / (d / H)];
        sum[e] = exp(-10 * fabs(theta)) * sum[e] + k[e];
    }
    return unit_forward(m, sum, x->key, x->key_norm);
}

/* The value of the previous token, now that this one is known; `pending` moves on. */
static status value_step(mosaic_stream *s, const half_index *i, memory *x, const half_acts *a)
{
    mosaic *m = &s->m;
    const int64_t d = m->c.d, H = m->c.H, previous = s->now->tokens - 1;
    double *last = x->pending, *now = x->pending + d, *y = m->t[1], *in = m->wide[0];
    double *nu = m->per_head, *coef = nu + H;
    if (m->c.v_conv) {
        memcpy(now, a->h, (size_t)d * sizeof *now);
        for (int64_t e = 0; e < d; e++) {
            in[2 * e] = last[e];
            in[2 * e + 1] = now[e];
        }
        TRY(project(m, in, 2 * d, i->wv, i->bv, d, m->t[0]));
    } else {
        TRY(project(m, a->h, d, i->wv, i->bv, d, now));
    }
    value_scalars(m, i, nu, coef);
    args mix = {.in = {m->c.v_conv ? m->t[0] : last, coef, nu}, .out = {y}, .p = norm_params(m)};
    mix.d = head_dims(m);
    mix.d.T = m->c.v_conv ? 1 : 2;
    TRY(stage_run(m, value_mix_ref, &mix));
    if (previous >= 0) memcpy(x->values + previous * d, y, (size_t)d * sizeof *y);
    memcpy(last, now, (size_t)d * sizeof *now);
    return OK;
}

static status contextual_step(mosaic_stream *s, int64_t layer, half_acts *a, double *out)
{
    mosaic *m = &s->m;
    memory *x = &s->now->layers[layer];
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, t = s->now->tokens;
    TRY(key_step(s, i, x->history[0], x->s[0], a));
    TRY(value_step(s, i, x, a));
    keep_key(s, x, a->key);
    bandwidths(m, i->kappa, m->per_head);
    TRY(read_pairs(s, x, a->key, t + 1 - m->c.visible_lag, m->per_head, 1, a->z));
    return project(m, a->z, d, i->wo, i->bo, d, out);
}

static status persistent_step(mosaic_stream *s, int64_t layer, half_acts *a, double *out)
{
    memory *x = &s->now->layers[layer];
    TRY(key_step(s, &s->m.layers[layer].pers, x->history[1], x->s[1], a));
    return persistent_read(&s->m, layer, a, out);
}

static status gpt_step(mosaic_stream *s, int64_t layer, half_acts *a, double *out)
{
    mosaic *m = &s->m;
    memory *x = &s->now->layers[layer];
    const half_index *i = &m->layers[layer].ctx;
    const int64_t d = m->c.d, t = s->now->tokens;
    const size_t row = (size_t)d * sizeof(double);
    double *q = m->wide[0], *k = q + d, *v = k + d;
    TRY(project(m, a->h, d, i->wk, i->bk, 3 * d, q));
    if (m->c.gpt_cosine) {
        TRY(unit_forward(m, q, a->query, a->query_norm));
        TRY(unit_forward(m, k, m->t[0], a->key_norm));
        k = m->t[0];
        bandwidths(m, i->kappa, m->per_head);
    } else {
        memcpy(a->query, q, row);
    }
    keep_key(s, x, k);
    memcpy(x->values + t * d, v, row);
    const double scale = m->c.gpt_cosine ? 1 : 1 / sqrt((double)(d / m->c.H));
    TRY(read_pairs(s, x, a->query, t + 1, m->c.gpt_cosine ? m->per_head : NULL, scale, a->z));
    return project(m, a->z, d, i->wo, i->bo, d, out);
}

typedef status step_fn(mosaic_stream *s, int64_t layer, half_acts *a, double *out);

static status gpt_mlp_step(mosaic_stream *s, int64_t layer, half_acts *a, double *out)
{
    return gpt_mlp_forward(&s->m, layer, a, out);
}

static status half_step(mosaic_stream *s, int64_t layer, const half_index *i, half_acts *a,
                        step_fn *f, double *x)
{
    mosaic *m = &s->m;
    double *out = m->t[5];
    TRY(norm_forward(m, i->ln_w, i->ln_b, x, a->h, a->mean, a->rstd));
    TRY(f(s, layer, a, out));
    const double *from = m->c.pre_ln || m->c.arch == ARCH_GPT ? x : a->h;
    for (int64_t e = 0; e < m->c.d; e++)
        x[e] = from[e] + out[e];
    return OK;
}

static status read_token(mosaic_stream *s, int32_t token, double *logits)
{
    mosaic *m = &s->m;
    const int gpt = m->c.arch == ARCH_GPT;
    double *x = m->last;
    args a = {.in = {&token, m->slot[SLOT_VALUE] + m->index.emb}, .out = {x}};
    a.d = (dims){.R = 1, .C = m->c.d, .V = m->c.V};
    TRY(stage_run(m, embedding_ref, &a));
    TRY(make_room(s));
    if (gpt) add_to(x, m->slot[SLOT_VALUE] + m->index.wpe + s->now->tokens * m->c.d, m->c.d);
    for (int64_t l = 0; l < m->c.L; l++) {
        const layer_index *i = &m->layers[l];
        layer_acts *room = &m->acts[0];
        TRY(half_step(s, l, &i->ctx, &room->ctx, gpt ? gpt_step : contextual_step, x));
        if (gpt || !m->c.attn_only)
            TRY(half_step(s, l, &i->pers, &room->pers, gpt ? gpt_mlp_step : persistent_step, x));
    }
    TRY(norm_forward(m, m->index.ln_w, m->index.ln_b, x, m->last_h, m->last_mean, m->last_rstd));
    const double by = gpt ? 1 : 1 / sqrt((double)m->c.d);
    for (int64_t e = 0; e < m->c.d && by != 1; e++)
        m->last_h[e] *= by;
    s->now->tokens++;
    return project(m, m->last_h, m->c.d, m->index.head, -1, m->c.V, logits);
}

/* Nothing is read unless every row can be. */
static status check_tokens(const mosaic_stream *s, const int32_t *tokens)
{
    const mosaic_config *c = &s->m.c;
    for (int64_t r = 0; r < s->rows; r++) {
        if (tokens[r] < -1 || tokens[r] >= c->V)
            return fail(ERR_DATA, "stream: row %lld: expected a token in -1..%lld, got %d",
                        (long long)r, (long long)c->V - 1, (int)tokens[r]);
        if (tokens[r] >= 0 && c->arch == ARCH_GPT && s->row[r].tokens >= c->T)
            return fail(ERR_ARG, "stream: expected at most %lld tokens, one per learned position",
                        (long long)c->T);
    }
    return OK;
}

status stream_token(mosaic_stream *s, const int32_t *tokens, int32_t *argmax, double *logits)
{
    const int64_t V = s->m.c.V;
    TRY(check_tokens(s, tokens));
    for (int64_t r = 0; r < s->rows; r++) {
        if (tokens[r] == -1) continue;
        double *to = logits ? logits + r * V : s->logits;
        s->now = &s->row[r];
        TRY(read_token(s, tokens[r], to));
        if (argmax) logits_read(to, 1, V, NULL, NULL, argmax + r);
    }
    return OK;
}
