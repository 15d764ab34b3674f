/* SPDX-License-Identifier: MIT
 *
 * babistories.c — language modelling on children's stories (spec of the tasks, sections 5 and 6).
 *
 * d[0..N-1] is the token stream of the split, story boundaries are ignored. A sample is a window
 * of T ids at offset o: x = d[o..o+T-1], y = d[o+1..o+T], all of it scored.
 *   training    o = below(N-T) from the stream key(seed, 10, 0, index): one stream per sample, so
 *               that any sample is addressable whatever the batch size
 *   otherwise   o = index T, for every T ids and what remains: each id but the first is a target
 *               once
 * Scores: "ce" and "token_acc"; "ce_after_end" at the first token of a story; "ce_pos_<p>" at
 * window positions p .. 4p-1 (0, 1, 4, 16, ...); on generated stories "ce_callback" at tokens that
 * repeat a fact stated earlier, and "ce_other".
 * Files: traindataset.txt, valdataset.txt, train.bin, val.bin and, where ids are not GPT-2's,
 * tokenizer.bpe.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corpus.h"
#include "json_lines.h"
#include "ngram.h"
#include "rng.h"
#include "sequence_file.h"
#include "token_file.h"

enum { STREAM_CHUNKS = 10, WINDOW = 512 };

typedef struct stories {
    corpus corpus;
    int64_t T;
    pthread_mutex_t lock; /* of the n-grams, counted when first asked for */
    ngram *grams;
} stories;

static int64_t chunk_offset(const dataset *d, int64_t index)
{
    const stories *st = d->state;
    if (d->options.split != SPLIT_TRAIN) return index * st->T;
    rng r = rng_sample(d->options.seed, STREAM_CHUNKS, 0, (uint64_t)index);
    return (int64_t)rng_below(&r, st->corpus.stream.count - (uint64_t)st->T);
}

static status stories_sample(const dataset *d, int64_t index, sample *s)
{
    const stories *st = d->state;
    if (index < 0 || (d->samples > 0 && index >= d->samples))
        return fail(ERR_ARG, "babistories: sample %lld: expected 0..%lld", (long long)index,
                    (long long)d->samples - 1);
    int64_t o = chunk_offset(d, index), left = (int64_t)st->corpus.stream.count - 1 - o;
    const uint16_t *ids = st->corpus.stream.v + o;
    s->T = left < st->T ? left : st->T;
    s->index = index;
    s->answer = 0;
    for (int64_t t = 0; t < s->T; t++) {
        s->x[t] = ids[t];
        s->y[t] = ids[t + 1];
    }
    return OK;
}

typedef struct mean {
    double sum;
    int64_t count;
} mean;

static void add_to_mean(mean *m, double value)
{
    m->sum += value;
    m->count++;
}

static status stories_score(const dataset *d, const sample *s, const prediction *p, metrics *all)
{
    enum { BUCKETS = 8 };
    const stories *st = d->state;
    const bytes *marks = &st->corpus.callback;
    mean ce = {0}, right = {0}, after_end = {0}, fact[2] = {{0}}, position[BUCKETS] = {{0}};
    int64_t o = chunk_offset(d, s->index);
    for (int64_t t = 0; t < s->T; t++) {
        const double loss = p->loss[t];
        int bucket = 0;
        for (int64_t at = t; at > 0 && bucket < BUCKETS - 1; at /= 4)
            bucket++;
        add_to_mean(&ce, loss);
        add_to_mean(&right, p->argmax[t] == s->y[t]);
        add_to_mean(&position[bucket], loss);
        if (s->x[t] == st->corpus.tokenizer->end) add_to_mean(&after_end, loss);
        if (marks->count > 0) add_to_mean(&fact[(int)marks->v[o + t + 1]], loss);
    }
    metrics_add(all, "ce", 0, ce.sum, ce.count);
    metrics_add(all, "token_acc", 1, right.sum, right.count);
    metrics_add(all, "ce_after_end", 0, after_end.sum, after_end.count);
    if (marks->count > 0) {
        metrics_add(all, "ce_callback", 0, fact[1].sum, fact[1].count);
        metrics_add(all, "ce_other", 0, fact[0].sum, fact[0].count);
    }
    for (int i = 0, at = 0; i < BUCKETS && at < st->T; i++, at = at ? 4 * at : 1) {
        char name[24];
        snprintf(name, sizeof name, "ce_pos_%d", at);
        metrics_add(all, name, 0, position[i].sum, position[i].count);
    }
    return OK;
}

/* Count the training split, which may not be the one that is open. */
static status count_training(const dataset *d, ngram **out)
{
    const stories *st = d->state;
    data_options train = d->options;
    train.split = SPLIT_TRAIN;
    if (d->options.split == SPLIT_TRAIN)
        return ngram_build(st->corpus.stream.v, st->corpus.stream.count, d->vocab, out);
    corpus c;
    TRY(corpus_open(&train, &c));
    status s = ngram_build(c.stream.v, c.stream.count, d->vocab, out);
    corpus_close(&c);
    return s;
}

static status stories_ngram(const dataset *d, const sample *s, int order, double *logits)
{
    stories *st = d->state;
    status result = OK;
    if (order == 0) { /* chance */
        for (int64_t i = 0; i < s->T * d->vocab; i++)
            logits[i] = 0;
        return OK;
    }
    pthread_mutex_lock(&st->lock);
    if (!st->grams) result = count_training(d, &st->grams);
    pthread_mutex_unlock(&st->lock);
    return result == OK ? ngram_logits(st->grams, s->x, s->T, order, logits) : result;
}

/* A story begins after the end of another, in training and here. */
static status stories_prompt(const dataset *d, const char *text, size_t count, tokens *ids)
{
    static const char mark[] = "<|endoftext|>";
    const stories *st = d->state;
    const uint16_t end = (uint16_t)st->corpus.tokenizer->end;
    encoder *e;
    for (size_t i = 0; i + sizeof mark - 1 <= count; i++)
        if (memcmp(text + i, mark, sizeof mark - 1) == 0)
            return fail(ERR_ARG, "prompt: byte %zu: %s is no text: expected the words of a story",
                        i + 1, mark);
    TRY(encoder_open(st->corpus.tokenizer, &e));
    status s = tokens_put(ids, &end, 1);
    if (s == OK) s = encode(e, text, count, ids);
    encoder_close(e);
    return s;
}

static status stories_spell(const dataset *d, int32_t id, bytes *text)
{
    const stories *st = d->state;
    size_t count;
    const char *from = bpe_bytes(st->corpus.tokenizer, id, &count);
    if (count > 0 || id == d->end) return bytes_put(text, from, count);
    return fail(ERR_DATA, "babistories: id %d never occurs", id);
}

static void stories_close(dataset *d)
{
    stories *st = d->state;
    corpus_close(&st->corpus);
    ngram_free(st->grams);
    pthread_mutex_destroy(&st->lock);
    free(st);
    free(d);
}

static status check_window(const data_options *o, const corpus *c, int64_t *T)
{
    *T = o->window > 0 ? o->window : o->length > 0 ? o->length : WINDOW;
    if (o->window < 0) return fail(ERR_ARG, "babistories: window: expected 1 or more");
    if ((int64_t)c->stream.count >= *T + 1) return OK;
    return fail(ERR_DATA, "babistories: %zu tokens: expected more than a window of %lld",
                c->stream.count, (long long)*T);
}

static status stories_open(const struct task *t, const data_options *o, dataset **out)
{
    *out = NULL;
    dataset *d = calloc(1, sizeof *d);
    stories *st = calloc(1, sizeof *st);
    status s = d && st ? corpus_open(o, &st->corpus) : fail(ERR_MEMORY, "babistories: no memory");
    if (s == OK && (s = check_window(o, &st->corpus, &st->T)) != OK) corpus_close(&st->corpus);
    if (s != OK) {
        free(d);
        free(st);
        return s;
    }
    pthread_mutex_init(&st->lock, NULL);
    int64_t windows = ((int64_t)st->corpus.stream.count - 2) / st->T + 1;
    *d = (dataset){
        .task = t,
        .options = *o,
        .samples = o->split == SPLIT_TRAIN || (o->samples > 0 && o->samples < windows) ? o->samples
                                                                                       : windows,
        .longest = st->T,
        .vocab = st->corpus.tokenizer->width,
        .pad = st->corpus.tokenizer->end,
        .hash = st->corpus.hash,
        .tokenizer_hash = st->corpus.tokenizer->hash,
        .state = st,
        .sample = stories_sample,
        .score = stories_score,
        .ngram = stories_ngram,
        .prompt = stories_prompt,
        .spell = stories_spell,
        .between = "",
        .end = st->corpus.tokenizer->end,
        .close = stories_close,
    };
    *out = d;
    return OK;
}

/* To the disk under a temporary name; stories_write names all of them at the end. */
static status write_file(const char *folder, const char *name, const bytes *from, text_file *file)
{
    char path[PATH_ROOM];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return fail(ERR_FILE, "%.80s...: path too long", folder);
    TRY(text_create(path, file));
    fwrite(from->v, 1, from->count, file->f); /* text_finish sees its errors */
    return text_finish(file);
}

/* The stream of a split as ids and, decoded story by story, as JSON lines. */
static status write_stream(const corpus *c, const char *folder, const char *ids_name,
                           const char *text_name, text_file *file)
{
    bytes ids = {0}, text = {0}, list = {0};
    status s = token_file_encode(&c->stream, &ids);
    for (size_t i = 0, begin = 0; s == OK && i < c->stream.count; i++) {
        if (c->stream.v[i] != c->tokenizer->end) continue;
        text.count = 0;
        s = bpe_decode(c->tokenizer, c->stream.v + begin, i - begin, &text);
        if (s == OK) s = json_encode(text.v, text.count, &list);
        if (s == OK) s = bytes_put(&list, "\n", 1);
        begin = i + 1;
    }
    if (s == OK) s = write_file(folder, text_name, &list, &file[0]);
    if (s == OK) s = write_file(folder, ids_name, &ids, &file[1]);
    free(ids.v);
    free(text.v);
    free(list.v);
    return s;
}

static status write_tokenizer(const bpe *b, const char *folder, text_file *file)
{
    bytes list = {0};
    if (strcmp(b->name, "gpt2") == 0) return OK;
    status s = bpe_write(b, &list);
    if (s == OK) s = write_file(folder, CORPUS_TOKENIZER, &list, file);
    free(list.v);
    return s;
}

static status stories_write(const struct task *t, const data_options *o, const char *folder)
{
    (void)t;
    enum { FILES = 5 };
    corpus train, held_out = {0};
    data_options each = *o;
    text_file *file = calloc(FILES, sizeof *file);
    if (!file) return fail(ERR_MEMORY, "babistories: no memory");
    each.split = SPLIT_TRAIN;
    status s = corpus_open(&each, &train);
    if (s != OK) goto done;
    each.split = SPLIT_VALIDATION;
    s = corpus_open(&each, &held_out);
    if (s == OK) s = folder_make(folder);
    if (s == OK) s = write_tokenizer(train.tokenizer, folder, &file[0]);
    if (s == OK) s = write_stream(&train, folder, "train.bin", "traindataset.txt", &file[1]);
    if (s == OK) s = write_stream(&held_out, folder, "val.bin", "valdataset.txt", &file[3]);
    for (int i = 0; s == OK && i < FILES; i++)
        if (file[i].ready) s = text_commit(&file[i]);
    corpus_close(&train);
    corpus_close(&held_out);
done:
    for (int i = 0; i < FILES; i++)
        text_abandon(&file[i]);
    free(file);
    return s;
}

const struct task babistories_task = {
    .name = "babistories",
    .title = "BabiStories",
    .source = "Zhang et al. 2024 (Memory Mosaics), section 5; stand-in: built-in stories",
    .id = 9,
    .metrics = "ce token_acc ce_after_end ce_callback ce_other ce_pos_0 ce_pos_1 ce_pos_4 "
               "ce_pos_16 ce_pos_64 ce_pos_256 ce_pos_1024 ce_pos_4096",
    .validation_only = 1,
    .open = stories_open,
    .write = stories_write,
};
