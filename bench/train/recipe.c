/* SPDX-License-Identifier: MIT
 *
 * recipe.c — words of train to a model, an optimiser and data options, and back to text.
 */
#include "recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

/* What decides the numbers of a run. Where files lie is no part of its identity: what is in them is
 * compared by hash; nor where it is computed: a run may go on elsewhere. */
static const struct row {
    const char *name;
    int identity;
} keys[] = {
    {"task", 1},    {"method", 1},   {"arch", 1},     {"width", 1}, {"heads", 1},  {"layers", 1},
    {"slots", 1},   {"batch", 1},    {"seed", 1},     {"lr", 1},    {"lr_min", 1}, {"warmup", 1},
    {"horizon", 1}, {"schedule", 1}, {"beta1", 1},    {"beta2", 1}, {"decay", 1},  {"clip", 1},
    {"dropout", 1}, {"length", 1},   {"switches", 1},
#define OPTION(key, field, kind, fallback, bound, help) {#key, kind != PATH},
#include "options.def"
#undef OPTION
};

enum { CONFIG_TEXT = 8192 };

/* A text that may be missing. */
static const char *text_or_null(const words *w, const char *name)
{
    const char *text = word_text(w, name);
    return *text ? text : NULL;
}

static optimizer adam_of(const words *w)
{
    return (optimizer){.lr = word_real(w, "lr"),
                       .beta1 = word_real(w, "beta1"),
                       .beta2 = word_real(w, "beta2"),
                       .eps = 1e-8,
                       .decay = word_real(w, "decay"),
                       .clip = word_real(w, "clip")};
}

recipe recipe_cell(const words *w, int64_t i, int64_t j, int64_t k)
{
    recipe r = {
        .w = w,
        .task = word_text(w, "task"),
        .method = word_text_at(w, "method", i),
        .backend = word_text(w, "backend"),
        .checkpoint = text_or_null(w, "checkpoint"),
        .best = text_or_null(w, "best"),
        .layers = word_int_at(w, "layers", j),
        .seed = word_int_at(w, "seed", k),
        .batch = word_int(w, "batch"),
        .steps = word_int(w, "steps"),
        .log_every = word_int(w, "log_every"),
        .save_every = word_int(w, "save_every"),
        .save_seconds = word_real(w, "save_seconds"),
        .eval_every = word_int(w, "eval_every"),
        .eval_samples = word_int(w, "eval_samples"),
        .profile = word_int(w, "profile"),
        .tests = word_count(w, "test_length"),
        .test_samples = word_int(w, "test_samples"),
        .greedy = (int)word_int(w, "greedy"),
        .threads = (int)word_int(w, "threads"),
        .adam = adam_of(w),
        .lr_min = word_real(w, "lr_min"),
        .warmup = word_int(w, "warmup"),
        .horizon = word_int(w, "horizon"),
        .regbench = strcmp(word_text(w, "schedule"), "regbench") == 0,
        .data = data_options_default(),
    };
    if (r.horizon == 0) r.horizon = r.steps;
    data_words(w, 0, &r.data);
    r.data.length = word_int(w, "length");
    return r;
}

const char *recipe_key(int i)
{
    return i < (int)(sizeof keys / sizeof *keys) ? keys[i].name : NULL;
}

void recipe_value(const recipe *r, const char *name, char text[RECIPE_TEXT])
{
    const struct chosen {
        const char *name;
        int64_t value;
    } chosen[] = {{"layers", r->layers}, {"seed", r->seed}, {"horizon", r->horizon}};
    for (size_t i = 0; i < sizeof chosen / sizeof *chosen; i++)
        if (strcmp(name, chosen[i].name) == 0) {
            snprintf(text, RECIPE_TEXT, "%lld", (long long)chosen[i].value);
            return;
        }
    if (strcmp(name, "method") == 0)
        snprintf(text, RECIPE_TEXT, "%s", r->method);
    else
        word_value(r->w, name, text, RECIPE_TEXT);
}

/* Append " key=value"; a number as short as it can be. */
static void add_word(char *text, const char *name, const char *value)
{
    const size_t used = strlen(text);
    double number;
    char brief[64];
    if (parse_real(value, &number)) {
        snprintf(brief, sizeof brief, "%.15g", number);
        double again;
        if (parse_real(brief, &again) && again == number) value = brief;
    }
    snprintf(text + used, CONFIG_TEXT - used, "%s%s=%s", used ? " " : "", name, value);
}

static void add_hash(char *text, uint64_t hash)
{
    char value[24];
    snprintf(value, sizeof value, "%016llx", (unsigned long long)hash);
    const size_t used = strlen(text);
    snprintf(text + used, CONFIG_TEXT - used, "%sdata_hash=%s", used ? " " : "", value);
}

void recipe_columns(const recipe *r, const words *where, const model *on, uint64_t data_hash,
                    WORDS_ config)
{
    char text[CONFIG_TEXT] = "", value[RECIPE_TEXT];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *name = keys[i].name;
        const int own = strcmp(name, "task") == 0 || strcmp(name, "method") == 0 ||
                        strcmp(name, "width") == 0 || strcmp(name, "layers") == 0 ||
                        strcmp(name, "seed") == 0;
        const int resolved = strcmp(name, "horizon") == 0; /* never what was not given */
        if (!keys[i].identity || own || (!resolved && word_is_default(r->w, name))) continue;
        recipe_value(r, name, value);
        add_word(text, name, value);
    }
    if (recipe_placement(where, on).type != F64) add_word(text, "type", word_text(where, "type"));
    add_hash(text, data_hash);
    words_put(config, text);
}

void data_columns(const words *w, uint64_t data_hash, WORDS_ config)
{
    static const struct {
        const char *name;
        int path;
    } options[] = {
#define OPTION(key, field, kind, fallback, bound, help) {#key, kind == PATH},
#include "options.def"
#undef OPTION
    };
    char text[CONFIG_TEXT] = "", value[RECIPE_TEXT];
    int reads = 0;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *name = options[i].name;
        if (word_is_default(w, name) || strcmp(name, "data_seed") == 0) continue; /* column seed */
        word_value(w, name, value, sizeof value);
        if (options[i].path)
            reads = 1;
        else
            add_word(text, name, value);
    }
    if (reads) add_hash(text, data_hash);
    words_put(config, text);
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
    if (r->save_every > 0 && !r->checkpoint)
        return fail(ERR_ARG, "save_every: expected checkpoint=FILE to save to");
    method found;
    return method_find(r->method, &found);
}

status recipe_test(const recipe *r, int64_t i, data_options *o)
{
    *o = r->data;
    o->length = word_int_at(r->w, "test_length", i);
    o->samples = r->test_samples;
    return split_find("test", o->length, &o->split);
}

placement recipe_placement(const words *w, const model *on)
{
    const char *type = word_text(w, "type");
    placement where = {.type = F64};
    if (strcmp(on->name, mosaic_ref.name) == 0) return where;
    where.type = strcmp(type, "bf16") == 0 ? BF16 : F32;
    where.tf32 = strcmp(type, "tf32") == 0;
    return where;
}

optimizer recipe_optimizer(const recipe *r, int64_t step)
{
    optimizer o = r->adam;
    o.lr = r->regbench ? schedule_regbench(step, o.lr, r->warmup, r->horizon)
                       : schedule_cosine(step, o.lr, r->lr_min, r->warmup, r->horizon);
    return o;
}

/* A word as the value of an option, by its kind. */
#define PATH_word text_or_null
#define TEXT_word text_or_null
#define INT_word word_int
#define REAL_word word_real
#define FLAG_word (int)word_int

void data_words(const words *w, int given, data_options *o)
{
#define OPTION(key, field, kind, fallback, bound, help)                                            \
    if (!given || word_given(w, #key)) o->field = kind##_word(w, #key);
#include "options.def"
#undef OPTION
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
    if (threads > 0) threads_start(threads, 1);
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
