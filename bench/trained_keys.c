/* SPDX-License-Identifier: MIT
 *
 * trained_keys.c — see trained_keys.h.
 *
 *     key, value: blocks.0.attn, unit keys and mixed values,    beta_h = exp(min(10 kappa_h, 5))
 *
 * Source: model 2.4, 2.5.
 */
#include "trained_keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/restore.h"

static status copy_probe(const struct mosaic *m, const char *name, double **to)
{
    const double *from;
    int64_t count;
    TRY(mosaic_ref_probe(m, name, &from, &count));
    *to = malloc((size_t)count * sizeof **to);
    if (!*to) return fail(ERR_MEMORY, "keys: out of memory");
    memcpy(*to, from, (size_t)count * sizeof **to);
    return OK;
}

/* All ones where the transform has no bandwidth. */
static status read_beta(const restored *x, key_stream *s)
{
    const model *on = x->p.on;
    s->beta = malloc((size_t)s->H * sizeof *s->beta);
    if (!s->beta) return fail(ERR_MEMORY, "keys: out of memory");
    for (int64_t h = 0; h < s->H; h++)
        s->beta[h] = 1;
    for (int64_t i = 0; i < on->parameters(x->p.m); i++) {
        parameter_info info;
        TRY(on->info(x->p.m, i, &info));
        if (strcmp(info.name, "blocks.0.attn.kernel_beta") != 0) continue;
        TRY(on->get(x->p.m, i, SLOT_VALUE, s->beta));
        for (int64_t h = 0; h < s->H; h++)
            s->beta[h] = exp(fmin(10 * s->beta[h], 5));
    }
    return OK;
}

/* T ids of the samples, one behind the other. */
static status read_tokens(const dataset *d, int64_t T, int32_t *tokens)
{
    int32_t *room = malloc(2 * (size_t)d->longest * sizeof *room);
    sample s = {.x = room, .y = room + d->longest};
    status done = room ? OK : fail(ERR_MEMORY, "keys: out of memory");
    for (int64_t at = 0, i = 0; done == OK && at < T; i++) {
        done = d->sample(d, d->samples ? i % d->samples : i, &s);
        for (int64_t t = 0; done == OK && t < s.T && at < T; t++)
            tokens[at++] = s.x[t];
    }
    free(room);
    return done;
}

static status run_model(const restored *x, const dataset *d, int64_t T)
{
    int32_t *tokens = malloc((size_t)T * sizeof *tokens);
    double *logits = malloc((size_t)(T * x->config.V) * sizeof *logits);
    status s = tokens && logits ? OK : fail(ERR_MEMORY, "keys: out of memory");
    if (s == OK) s = restore_check(x, d);
    if (s == OK) s = read_tokens(d, T, tokens);
    const batch b = {.B = 1, .T = T, .tokens = tokens};
    if (s == OK) s = x->p.on->predict(x->p.m, &b, logits);
    free(tokens);
    free(logits);
    return s;
}

static status read_model(const restored *x, int64_t T, key_stream *s)
{
    data_options o = x->data;
    dataset *d;
    if (x->config.arch != ARCH_MOSAIC) return fail(ERR_ARG, "%s: keys: expected a mosaic", x->path);
    TRY(split_find("validation", 0, &o.split));
    o.length = 0;
    TRY(dataset_open(x->r.task, &o, &d));
    status done = run_model(x, d, T);
    dataset_close(d);
    s->H = x->config.H;
    s->T = T;
    s->D = x->config.d / x->config.H;
    snprintf(s->about, sizeof s->about, "%.40s:%.40s:%lld", x->r.task, x->p.name,
             (long long)x->c.step);
    if (done == OK) done = copy_probe(x->p.m, "keys", &s->key);
    if (done == OK) done = copy_probe(x->p.m, "values", &s->value);
    return done == OK ? read_beta(x, s) : done;
}

status trained_keys_read(key_stream **keys, const char *path, int64_t T)
{
    char *text[] = {"backend=ref"};
    words *w;
    restored x;
    *keys = NULL;
    if (*path == '\0') return fail(ERR_ARG, "time: input=trained: expected from=CHECKPOINT");
    TRY(words_parse("eval", 1, text, &w));
    key_stream *s = calloc(1, sizeof *s);
    status done = s ? restore_open(&x, path, w) : fail(ERR_MEMORY, "keys: out of memory");
    if (done == OK) {
        done = read_model(&x, T, s);
        restore_close(&x);
    }
    words_free(w);
    if (done == OK)
        *keys = s;
    else
        trained_keys_free(s);
    return done;
}

void trained_keys_free(key_stream *s)
{
    if (!s) return;
    free(s->key);
    free(s->value);
    free(s->beta);
    free(s);
}
