/* SPDX-License-Identifier: MIT
 *
 * recipe.c — words of train to a model, an optimiser and data options, and back to text.
 */
#include "recipe.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

static const struct row {
    const char *name;
    char sort;     /* w: word, i: integer, r: real, l: list of words */
    char identity; /* 0: where files lie; what is in them is compared by hash */
} keys[] = {
    {"task", 'w', 1},      {"method", 'w', 1},    {"arch", 'w', 1},    {"backend", 'w', 1},
    {"width", 'i', 1},     {"heads", 'i', 1},     {"layers", 'i', 1},  {"slots", 'i', 1},
    {"window", 'i', 1},    {"batch", 'i', 1},     {"seed", 'i', 1},    {"lr", 'r', 1},
    {"lr_min", 'r', 1},    {"warmup", 'i', 1},    {"horizon", 'i', 1}, {"schedule", 'w', 1},
    {"beta1", 'r', 1},     {"beta2", 'r', 1},     {"decay", 'r', 1},   {"clip", 'r', 1},
    {"dropout", 'r', 1},   {"data_seed", 'i', 1}, {"corpus", 'w', 0},  {"data", 'w', 0},
    {"tokenizer", 'w', 1}, {"vocab", 'i', 1},     {"stories", 'i', 1}, {"length", 'i', 1},
    {"automata", 'i', 1},  {"dedup", 'i', 1},     {"flip_p", 'r', 1},  {"nback", 'i', 1},
    {"switches", 'l', 1},
};

recipe recipe_cell(const words *w, int64_t i, int64_t j, int64_t k)
{
    recipe r = {w, word_text_at(w, "method", i), word_int_at(w, "layers", j),
                word_int_at(w, "seed", k), word_int(w, "horizon")};
    if (r.horizon == 0) r.horizon = word_int(w, "steps");
    return r;
}

const char *recipe_key(int i)
{
    return i < (int)(sizeof keys / sizeof *keys) ? keys[i].name : NULL;
}

static int64_t integer_of(const recipe *r, const char *name)
{
    if (strcmp(name, "layers") == 0) return r->layers;
    if (strcmp(name, "seed") == 0) return r->seed;
    if (strcmp(name, "horizon") == 0) return r->horizon;
    return word_int(r->w, name);
}

void recipe_value(const recipe *r, const char *name, char text[RECIPE_TEXT])
{
    char sort = 'w';
    size_t at = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].name, name) == 0) sort = keys[i].sort;
    *text = '\0';
    if (sort == 'i')
        snprintf(text, RECIPE_TEXT, "%lld", (long long)integer_of(r, name));
    else if (sort == 'r')
        snprintf(text, RECIPE_TEXT, "%.17g", word_real(r->w, name));
    else if (sort == 'w')
        snprintf(text, RECIPE_TEXT, "%s",
                 strcmp(name, "method") == 0 ? r->method : word_text(r->w, name));
    else
        for (int64_t i = 0; i < word_count(r->w, name) && at < RECIPE_TEXT; i++)
            at += (size_t)snprintf(text + at, RECIPE_TEXT - at, "%s%s", i ? "," : "",
                                   word_text_at(r->w, name, i));
}

status recipe_same(const recipe *r, const recipe *old)
{
    char mine[RECIPE_TEXT], theirs[RECIPE_TEXT];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!keys[i].identity) continue;
        recipe_value(r, keys[i].name, mine);
        recipe_value(old, keys[i].name, theirs);
        if (strcmp(mine, theirs) != 0)
            return fail(ERR_ARG,
                        "train: %s=%.60s but the checkpoint was made with %s=%.60s: expected the "
                        "same run or another checkpoint=",
                        keys[i].name, mine, keys[i].name, theirs);
    }
    return OK;
}

/* One `name:value` of switches=. */
static status apply_switch(mosaic_config *c, const char *text)
{
    char name[64];
    const char *colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof name)
        return fail(ERR_ARG, "switches=%.60s: expected name:value", text);
    memcpy(name, text, (size_t)(colon - text));
    name[colon - text] = '\0';
    return config_set(c, name, colon + 1);
}

status recipe_config(const recipe *r, int64_t vocab, int64_t longest, mosaic_config *c)
{
    *c = config_default();
    c->arch = strcmp(word_text(r->w, "arch"), "gpt") == 0 ? ARCH_GPT : ARCH_MOSAIC;
    c->V = vocab;
    c->d = word_int(r->w, "width");
    c->H = word_int(r->w, "heads");
    c->L = r->layers;
    c->M = word_int(r->w, "slots");
    c->T = c->arch == ARCH_GPT ? longest : 0;
    c->drop_context = c->drop_memory = c->drop_residual = word_real(r->w, "dropout");
    TRY(method_find(r->method, &c->method));
    for (int64_t i = 0; i < word_count(r->w, "switches"); i++)
        TRY(apply_switch(c, word_text_at(r->w, "switches", i)));
    return config_check(c);
}

status recipe_check(const recipe *r)
{
    if (word_int(r->w, "save_every") > 0 && *word_text(r->w, "checkpoint") == '\0')
        return fail(ERR_ARG, "save_every: expected checkpoint=FILE to save to");
    method found;
    return method_find(r->method, &found);
}

optimizer recipe_optimizer(const recipe *r, int64_t step)
{
    double lr = word_real(r->w, "lr");
    int64_t warmup = word_int(r->w, "warmup");
    int cosine = strcmp(word_text(r->w, "schedule"), "cosine") == 0;
    return (optimizer){
        .lr = cosine ? schedule_cosine(step, lr, word_real(r->w, "lr_min"), warmup, r->horizon)
                     : schedule_regbench(step, lr, warmup, r->horizon),
        .beta1 = word_real(r->w, "beta1"),
        .beta2 = word_real(r->w, "beta2"),
        .eps = 1e-8,
        .decay = word_real(r->w, "decay"),
        .clip = word_real(r->w, "clip"),
    };
}

static void take_text(const words *w, int given, const char *name, const char **to)
{
    if (given && !word_given(w, name)) return;
    const char *text = word_text(w, name);
    *to = *text ? text : NULL;
}

static void take_int(const words *w, int given, const char *name, int64_t *to)
{
    if (!given || word_given(w, name)) *to = word_int(w, name);
}

void data_words(const words *w, int given, data_options *o)
{
    int64_t seed = (int64_t)o->seed, dedup = o->dedup;
    take_int(w, given, "data_seed", &seed);
    take_text(w, given, "corpus", &o->corpus);
    take_text(w, given, "data", &o->data);
    take_text(w, given, "tokenizer", &o->tokenizer);
    take_int(w, given, "vocab", &o->vocab);
    take_int(w, given, "stories", &o->stories);
    take_int(w, given, "window", &o->window);
    take_int(w, given, "automata", &o->automata);
    take_int(w, given, "dedup", &dedup);
    take_int(w, given, "nback", &o->nback);
    if (!given || word_given(w, "flip_p")) o->flip_p = word_real(w, "flip_p");
    o->seed = (uint64_t)seed;
    o->dedup = (int)dedup;
}

status split_find(const char *word, int64_t length, int *split)
{
    int shard = 0;
    *split = SPLIT_TRAIN;
    if (strcmp(word, "train") == 0) return OK;
    while (shard < 0xff && shard < 56 && ((int64_t)64 << shard) < length)
        shard++;
    *split = (strcmp(word, "test") == 0 ? SPLIT_TEST : SPLIT_VALIDATION) + shard;
    if (strcmp(word, "test") == 0 || strcmp(word, "validation") == 0) return OK;
    return fail(ERR_ARG, "split=%.40s: expected train, validation or test", word);
}

void threads_set(int64_t threads)
{
    if (threads > 0) omp_set_num_threads(threads < 1024 ? (int)threads : 1024);
}

int64_t shuffled(int64_t i, int64_t n, uint64_t which)
{
    int half = 1;
    while (((int64_t)1 << (2 * half)) < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, x = (uint64_t)i;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t next = left ^ (rng_fold(which ^ round, right) & mask);
            left = right;
            right = next;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
