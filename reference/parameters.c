/* SPDX-License-Identifier: MIT
 *
 * parameters.c — parameters.def for a configuration: the list of tensors, where they lie in the
 * flat arrays of the reference, and their initial values (model 2.10).
 */
#include "pipeline.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

typedef enum level { MODEL, LAYER, BANK } level;

typedef struct row {
    level of;
    size_t place; /* in model_index, or in layer_index */
    const char *name;
    int64_t shape[4]; /* ends at the first 0 */
    init_kind init;
    double number;
    int path;
} row;

enum {
    ROWS = 0
#define LET(name, value)
#define PARAMETER(of, place, name, when, shape, init, number, path) +1
#include "parameters.def"
#undef PARAMETER
#undef LET
};

/* The rows that exist under c; returns how many. */
static int rows_of(const mosaic_config *c, row rows[ROWS])
{
    int n = 0;
#define IN_MODEL(place) offsetof(model_index, place)
#define IN_LAYER(place) offsetof(layer_index, place)
#define IN_BANK(place) offsetof(layer_index, place)
#define LIST(...) __VA_ARGS__
#define LET(name, value) const int64_t name = value;
#define PARAMETER(of, place, name, when, shape, init, number, path)                                \
    if (when)                                                                                      \
        rows[n++] = (row){of, IN_##of(place), name, {LIST shape}, INIT_##init, number, (int)(path)};
#include "parameters.def"
#undef PARAMETER
#undef LET
    return n;
}

typedef struct builder {
    const mosaic_config *c;
    parameter *list;
    layer_index *layers;
    model_index index;
    int64_t layer, bank; /* whose turn it is */
} builder;

static void add(builder *b, const row *r)
{
    parameter p = {.at = b->index.total, .init = r->init};
    p.scale = r->init == INIT_NORMAL ? sqrt(r->number) : r->number;
    snprintf(p.info.name, sizeof p.info.name, r->name, (int)b->layer, (int)b->bank);
    p.info.count = 1;
    for (; p.info.rank < 4 && r->shape[p.info.rank] > 0; p.info.rank++) {
        p.info.shape[p.info.rank] = r->shape[p.info.rank];
        p.info.count *= r->shape[p.info.rank];
    }
    p.info.decays = (p.info.rank >= 2 || b->c->decay_all) && (r->path || b->c->decay_pathless);
    if (b->list) b->list[b->index.tensors] = p;
    char *index = r->of == MODEL ? (char *)&b->index
                  : b->layers    ? (char *)&b->layers[b->layer]
                                 : NULL;
    int64_t *place = index ? (int64_t *)(index + r->place) : NULL;
    if (place && *place < 0) *place = p.at;
    b->index.tensors++;
    b->index.total += p.info.count;
}

/* Past the rows from r on that repeat within one of `of`. */
static const row *past(const row *r, const row *end, level of)
{
    while (r < end && r->of > of)
        r++;
    return r;
}

static void add_layer(builder *b, const row *r, const row *end)
{
    while (r < end) {
        const row *bank = r;
        r = past(r, end, LAYER);
        for (b->bank = 0; bank < r && b->bank < b->c->banks; b->bank++)
            for (const row *one = bank; one < r; one++)
                add(b, one);
        if (r < end) add(b, r++);
    }
}

static void add_model(builder *b, const row *r, const row *end)
{
    while (r < end) {
        const row *layer = r;
        r = past(r, end, MODEL);
        for (b->layer = 0; layer < r && b->layer < b->c->L; b->layer++)
            add_layer(b, layer, r);
        if (r < end) add(b, r++);
    }
}

model_index parameters_list(const mosaic_config *c, parameter *list, layer_index *layers)
{
    row rows[ROWS];
    builder b = {.c = c, .list = list, .layers = layers};
    const int n = rows_of(c, rows);
    /* all bytes 0xff: every place is -1, no such tensor */
    memset(&b.index, -1, sizeof b.index);
    if (layers) memset(layers, -1, (size_t)c->L * sizeof *layers);
    b.index.tensors = b.index.total = 0;
    add_model(&b, rows, rows + n);
    if (c->tied) b.index.head = b.index.emb;
    return b.index;
}

/* Rows draw from streams of their own, so that they can be filled in any order. */
static void initial_values(const parameter *p, uint64_t seed, int64_t index, double *w)
{
    const int64_t n = p->info.count, width = p->info.shape[p->info.rank - 1];
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += width) {
        const uint64_t init_stream = UINT64_C(0x696e6974); /* "init" */
        rng r = rng_sample(seed, init_stream, (uint64_t)index, (uint64_t)(at / width));
        for (int64_t i = at; i < at + width; i++) {
            if (p->init == INIT_NORMAL) w[i] = p->scale * rng_normal(&r);
            if (p->init == INIT_UNIFORM) w[i] = p->scale * rng_uniform(&r);
            if (p->init == INIT_CONSTANT) w[i] = p->scale;
            if (p->init == INIT_LEAKY) /* lambda from 0.5 to 5 over the heads */
                w[i] = n > 1 ? (0.5 + 4.5 * (double)i / (double)(n - 1)) / 10 : 0.05;
        }
    }
}

status model_initialise(const model *on, mosaic *m, uint64_t seed)
{
    const model_index index = parameters_list(on->config(m), NULL, NULL);
    int64_t most = 0;
    parameter *list = calloc((size_t)index.tensors, sizeof *list);
    if (list) parameters_list(on->config(m), list, NULL);
    for (int64_t i = 0; list && i < index.tensors; i++)
        if (list[i].info.count > most) most = list[i].info.count;
    double *values = malloc((size_t)most * sizeof *values);
    status s = list && values ? OK : fail(ERR_MEMORY, "model: out of memory");
    for (int64_t i = 0; s == OK && i < index.tensors; i++) {
        initial_values(&list[i], seed, i, values);
        s = on->put(m, i, SLOT_VALUE, values);
    }
    free(values);
    free(list);
    return s;
}
