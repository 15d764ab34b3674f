/* SPDX-License-Identifier: MIT
 *
 * sampling.c — see sampling.h. The weights are the project's own softmax and top-k softmax, of
 * logits for scores and 1/temperature for beta^2.
 */
#include "sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "rng.h"

struct speaker {
    const model *on;
    const mosaic_config *c;
    struct mosaic_stream *stream;
    sampling how;
    int64_t position;
    char *sayable;          /* [V] */
    double *z, *masked, *p; /* [V] each */
};

status sampling_draw(const sampling *how, const double *z, int64_t V, int64_t t, double *p,
                     int32_t *id)
{
    const double inverse = sqrt(1 / how->temperature);
    const int greedy = !(inverse * inverse < INFINITY);
    const double beta = greedy ? 1 : inverse;
    double stat[STATS], sum = 0;
    rng r = {rng_key((uint64_t[]){how->seed, (uint64_t)t}, 2)};
    args a = {.in = {z, &beta}, .out = {p, stat}, .d = {.R = 1, .N = V}, .p = params_default()};
    a.p.k = how->top_k;
    TRY(how->top_k > 0 ? topk_softmax_ref(&a) : softmax_ref(&a));
    *id = (int32_t)stat[STAT_ARG];
    if (*id < 0)
        return fail(ERR_NUMERIC, "sample: position %lld: expected finite logits", (long long)t);
    if (greedy) return OK;
    const double u = rng_uniform(&r);
    for (int64_t v = 0; v < V && !(sum > u); v++) {
        if (!(p[v] > 0)) continue;
        sum += p[v]; /* rounding may end it below u: then the last id is it */
        *id = (int32_t)v;
    }
    return OK;
}

status speaker_open(speaker **out, const model *on, struct mosaic *m, const char *sayable,
                    const sampling *how)
{
    const mosaic_config *c = on->config(m);
    const size_t V = (size_t)c->V;
    speaker *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(ERR_MEMORY, "sample: out of memory");
    *s = (speaker){.on = on, .c = c, .how = *how};
    s->sayable = malloc(V);
    s->z = malloc(3 * V * sizeof *s->z);
    status done = s->sayable && s->z ? on->stream_open(m, 1, &s->stream)
                                     : fail(ERR_MEMORY, "sample: out of memory");
    if (done != OK) {
        speaker_close(s);
        *out = NULL;
        return done;
    }
    s->masked = s->z + V;
    s->p = s->masked + V;
    memcpy(s->sayable, sayable, V);
    return OK;
}

void speaker_close(speaker *s)
{
    if (!s) return;
    if (s->stream) s->on->stream_close(s->stream);
    free(s->sayable);
    free(s->z);
    free(s);
}

status speaker_read(speaker *s, int32_t id)
{
    TRY(s->on->stream_token(s->stream, &id, NULL, s->z));
    s->position++;
    return OK;
}

status speaker_say(speaker *s, int32_t *id)
{
    for (int64_t v = 0; v < s->c->V; v++)
        s->masked[v] = s->sayable[v] ? s->z[v] : -INFINITY;
    return sampling_draw(&s->how, s->masked, s->c->V, s->position, s->p, id);
}

double speaker_loss(const speaker *s, int32_t id)
{
    return s->position > 0 ? log_sum_exp(s->z, s->c->V, NULL) - s->z[id] : NAN;
}

int64_t speaker_position(const speaker *s)
{
    return s->position;
}
