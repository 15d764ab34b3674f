/* SPDX-License-Identifier: MIT
 *
 * mosaic_index — parameters.def for a configuration: names, shapes and decay of the tensors, and
 * where they lie on the device: those that decay first, then the others, each from a multiple of
 * PLACE elements on, so that an update is two calls and every tensor is aligned (model 2.11, 2.12).
 */
#include "mosaic.cuh"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef enum level { MODEL, LAYER, BANK, LEVELS } level;

typedef struct row {
    level of;
    size_t place; /* in model_index, or in layer_index */
    const char *name;
    int64_t shape[4]; /* ends at the first 0 */
    bool path;
} row;

enum {
    ROWS = 0
#define LET(name, value)
#define PARAMETER(...) +1
#include "parameters.def"
#undef PARAMETER
#undef LET
};

static int rows_of(const mosaic_config *c, row rows[ROWS])
{
    int n = 0;
#define IN_MODEL(field) offsetof(model_index, field)
#define IN_LAYER(field) offsetof(layer_index, field)
#define IN_BANK(field) offsetof(layer_index, field)
#define LIST(...) __VA_ARGS__
#define LET(name, value) const int64_t name = value;
#define PARAMETER(of, place, name, when, shape, init, number, path)                                \
    if (when) rows[n++] = row{of, IN_##of(place), name, {LIST shape}, (path) != 0};
#include "parameters.def"
#undef PARAMETER
#undef LET
    return n;
}

/* One walk over the tensors in canonical order. */
typedef struct walk {
    const mosaic_config *c;
    parameter *list;
    layer_index *layers;
    model_index index;
    int64_t turn[LEVELS], turns[LEVELS]; /* which layer, which bank; of how many */
    int decays;                          /* places are given to those that do, or do not */
} walk;

static void visit(walk *w, const row *r)
{
    parameter p = {};
    snprintf(p.info.name, sizeof p.info.name, r->name, (int)w->turn[LAYER], (int)w->turn[BANK]);
    p.info.count = 1;
    for (int i = 0; i < 4 && r->shape[i] > 0; i++) {
        p.info.shape[p.info.rank++] = r->shape[i];
        p.info.count *= r->shape[i];
    }
    p.info.decays = (p.info.rank >= 2 || w->c->decay_all) && (r->path || w->c->decay_pathless);
    const int64_t number = w->index.tensors++;
    if (p.info.decays != w->decays) return;
    p.at = w->index.total;
    w->index.total += ceil_div(p.info.count, PLACE) * PLACE;
    if (w->list) w->list[number] = p;
    char *index = r->of == MODEL ? (char *)&w->index
                  : w->layers    ? (char *)&w->layers[w->turn[LAYER]]
                                 : NULL;
    int64_t *place = index ? (int64_t *)(index + r->place) : NULL;
    if (place && *place < 0) *place = p.at;
}

/* Rows of a level above `of` repeat together with their neighbours. */
static void visit_all(walk *w, const row *r, const row *end, int of)
{
    while (r < end) {
        const row *inner = r;
        while (r < end && r->of > of)
            r++;
        if (r == inner) {
            visit(w, r++);
            continue;
        }
        for (w->turn[of + 1] = 0; w->turn[of + 1] < w->turns[of + 1]; w->turn[of + 1]++)
            visit_all(w, inner, r, of + 1);
    }
}

model_index index_of(const mosaic_config *c, parameter *list, layer_index *layers)
{
    row rows[ROWS];
    walk w = {c, list, layers, {}, {}, {1, c->L, c->banks}, 0};
    const int n = rows_of(c, rows);
    /* all bytes 0xff: every place is -1, no such tensor */
    memset(&w.index, -1, sizeof w.index);
    if (layers) memset(layers, -1, (size_t)c->L * sizeof *layers);
    w.index.total = 0;
    for (w.decays = 1; w.decays >= 0; w.decays--) {
        w.index.tensors = 0;
        visit_all(&w, rows, rows + n, MODEL);
        if (w.decays) w.index.decayed = w.index.total;
    }
    if (c->tied) w.index.head = w.index.emb;
    /* keys and values of a bank are neighbours, unless only one of them decays */
    const int64_t slots = ceil_div(c->M * c->d, PLACE) * PLACE;
    const half_index *i = layers ? &layers[0].pers : NULL;
    if (i) w.index.bank = i->mv == i->mk + slots ? 2 * slots : slots;
    return w.index;
}
