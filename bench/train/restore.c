/* SPDX-License-Identifier: MIT
 *
 * restore.c — see restore.h.
 */
#include "restore.h"

#include "backends.h"

/* The model, once the words of the run are known. */
static status restore_model(restored *x, const words *w)
{
    predictor *p = &x->p;
    TRY(model_find(word_text(w, "backend"), &p->on));
    TRY(recipe_config(&x->r, x->c.vocab, x->c.longest, &x->config));
    const placement at = recipe_placement(w, p->on);
    TRY(p->on->create(&p->m, &x->config, &at));
    TRY(checkpoint_tensors(x->path, p->on, p->m, 0));
    p->name = x->r.method;
    p->where = p->on->name;
    p->layers = x->r.layers;
    p->width = x->config.d;
    p->seed = x->r.seed;
    p->step = x->c.step;
    recipe_columns(&x->r, w, p->on, x->c.data_hash, p->config);
    return OK;
}

status restore_open(restored *x, const char *path, const words *w)
{
    *x = (restored){.path = path};
    TRY(checkpoint_read(path, &x->c, &x->w));
    x->r = recipe_cell(x->w, 0, 0, 0);
    x->data = x->r.data;
    data_words(w, 1, &x->data);
    const status s = restore_model(x, w);
    if (s != OK) restore_close(x);
    return s;
}

void restore_close(restored *x)
{
    if (x->p.m) x->p.on->destroy(x->p.m);
    checkpoint_free(&x->c);
    words_free(x->w);
    *x = (restored){0};
}

status restore_check(const restored *x, const dataset *d)
{
    const checkpoint *c = &x->c;
    if (d->vocab == c->vocab && d->tokenizer_hash == c->tokenizer_hash) return OK;
    return fail(ERR_DATA,
                "%s: trained on %lld ids (tokenizer %016llx), the data of %s has %d ids "
                "(tokenizer %016llx): expected the same",
                x->path, (long long)c->vocab, (unsigned long long)c->tokenizer_hash, d->task->name,
                (int)d->vocab, (unsigned long long)d->tokenizer_hash);
}
