/* SPDX-License-Identifier: MIT
 *
 * corpus.c — from what the user named to one stream of token ids.
 *
 * A split comes from one of three sources: generated stories, JSON lines, or ids. Texts are
 * encoded by several threads, each a run of neighbouring stories; a story's ids depend on nothing
 * else, so the stream is the same for any number of threads.
 */
#include "corpus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_lines.h"
#include "rng.h"
#include "story.h"
#include "token_file.h"

enum { PATH_BYTES = 4096, TOKENIZER_STORIES = 2000, STORIES = 20000, HELD_OUT = 2000 };
enum { STORIES_PER_THREAD = 256, MAX_THREADS = 64 };

typedef enum kind { GENERATED, TEXT, IDS } kind;

/* Where the stories of a split are. */
typedef struct source {
    kind kind;
    const data_options *options;
    char path[PATH_BYTES];
    char list[PATH_BYTES]; /* merge list of the folder; "" if it has none                 */
    int split;             /* 1: one file holds both splits, training before validation   */
    int held_out;          /* the split is not the training split                         */
    bytes file;
    json_lines lines;     /* TEXT                                                        */
    int64_t first, count; /* stories of the split: lines of the file, generator indices  */
} source;

/* The first name that exists in a folder, also with .zst; 0 if none does. */
static int find_in(const char *folder, const char *const *names, char path[PATH_BYTES])
{
    for (; *names; names++)
        for (int packed = 0; packed < 2; packed++) {
            int n = snprintf(path, PATH_BYTES, "%s/%s%s", folder, *names, packed ? ".zst" : "");
            if (n < PATH_BYTES && file_exists(path)) return 1;
        }
    path[0] = '\0';
    return 0;
}

static int ends_in(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* The merge list beside a file of ids. */
static void locate_list(source *src)
{
    static const char *const list[] = {CORPUS_TOKENIZER, NULL};
    char folder[PATH_BYTES] = ".";
    const char *slash = strrchr(src->path, '/');
    if (slash) snprintf(folder, sizeof folder, "%.*s", (int)(slash - src->path) + 1, src->path);
    find_in(folder, list, src->list);
}

static status locate_in_folder(source *src, const char *folder)
{
    static const char *const ids[2][2] = {{"train.bin", NULL}, {"val.bin", NULL}};
    static const char *const texts[2][3] = {{"traindataset.txt", NULL},
                                            {"valdataset.txt", "testdataset.txt", NULL}};
    static const char *const list[] = {CORPUS_TOKENIZER, NULL};
    const char *wanted = src->options->tokenizer;
    find_in(folder, list, src->list);
    /* Ids are of use only if they are those of the tokenizer that was asked for. */
    if (!wanted || strcmp(wanted, src->list[0] ? "builtin" : "gpt2") == 0) {
        src->kind = IDS;
        if (find_in(folder, ids[src->held_out], src->path)) return OK;
    }
    src->kind = TEXT;
    if (find_in(folder, texts[src->held_out], src->path)) return OK;
    return fail(ERR_FILE, "%s: no %s data for this tokenizer: expected %s or %s", folder,
                src->held_out ? "validation" : "training", ids[src->held_out][0],
                src->held_out ? "valdataset.txt or testdataset.txt" : "traindataset.txt");
}

static status locate(const data_options *o, int held_out, source *src)
{
    *src = (source){.options = o, .held_out = held_out};
    const char *path = o->data ? o->data : o->corpus;
    if (o->data && o->corpus)
        return fail(ERR_ARG, "babistories: both data and corpus are given: expected one");
    if (!path) return OK;
    if (folder_exists(path)) return locate_in_folder(src, path);
    if (!file_exists(path))
        return fail(ERR_FILE, "%s: no such file or folder: expected stories", path);
    if (strlen(path) >= PATH_BYTES) return fail(ERR_FILE, "%.80s...: path too long", path);
    strcpy(src->path, path);
    src->split = 1;
    src->kind = ends_in(path, ".bin") || ends_in(path, ".bin.zst") ? IDS : TEXT;
    if (src->kind == IDS) locate_list(src);
    return OK;
}

/* The stories of this split among `count`; the last 5 % are validation. */
static status take_part(source *src, int64_t count)
{
    int64_t last = count / 20 > 1 ? count / 20 : 1;
    src->first = 0;
    src->count = count;
    if (!src->split) return OK;
    if (count < 2)
        return fail(ERR_DATA, "%s: one story: expected two or more, the last 5 %% are validation",
                    src->path);
    src->first = src->held_out ? count - last : 0;
    src->count = src->held_out ? last : count - last;
    return OK;
}

static void source_close(source *src)
{
    free(src->file.v);
    free(src->lines.start);
    src->file = (bytes){0};
    src->lines = (json_lines){0};
}

/* limit > 0: a prefix of the file is enough; its last line, perhaps cut, is left out. */
static status source_open(source *src, size_t limit)
{
    if (src->kind == GENERATED) {
        int64_t train = src->options->stories > 0 ? src->options->stories : STORIES;
        int64_t rest = train / 10 < HELD_OUT ? train / 10 : HELD_OUT;
        src->count = !src->held_out ? train : rest > 1 ? rest : 1;
        return OK;
    }
    TRY(file_read(src->path, limit, &src->file));
    if (src->kind == IDS) return OK;
    size_t size = src->file.count;
    if (limit > 0 && size >= limit) {
        while (size > 0 && src->file.v[size - 1] != '\n')
            size--;
        if (size == 0 || !memchr(src->file.v, '\n', size - 1)) { /* fewer than two whole stories */
            source_close(src);
            return source_open(src, 0);
        }
    }
    static const char mark[] = "\xef\xbb\xbf"; /* of the byte order: some editors begin a file so */
    const size_t skip = size >= 3 && memcmp(src->file.v, mark, 3) == 0 ? 3 : 0;
    TRY(json_lines_find(src->path, src->file.v + skip, size - skip, &src->lines));
    return take_part(src, src->lines.count);
}

/* What one thread needs to turn stories into texts. */
typedef struct reader {
    const source *src;
    story story;
    bytes text;
    int64_t lone;
} reader;

static status read_story(void *user, int64_t i, const char **text, size_t *count)
{
    reader *r = user;
    const source *src = r->src;
    if (src->kind == GENERATED) {
        story_make(src->options->seed, (uint64_t)src->options->split, (uint64_t)i, &r->story);
        *text = r->story.text;
        *count = r->story.bytes;
        return OK;
    }
    size_t n;
    json_fault fault;
    const char *line = json_lines_line(&src->lines, src->first + i, &n);
    r->text.count = 0;
    status s = json_decode(line, n, &r->text, &r->lone, &fault);
    if (s == ERR_DATA)
        s = fail(s, "%s: line %lld: byte %zu: expected %s", src->path,
                 (long long)(src->first + i + 1), fault.byte, fault.expected);
    *text = r->text.v;
    *count = r->text.count;
    return s;
}

/* The lines of the file that belong to the other split: nothing is trained on half a file. */
static status check_rest(const source *src)
{
    status s = OK;
    reader *r = calloc(1, sizeof *r);
    if (!r) return fail(ERR_MEMORY, "%s: no memory", src->path);
    r->src = src;
    for (int64_t i = 0; s == OK && i < src->lines.count; i++) {
        const char *text;
        size_t n;
        if (i >= src->first && i < src->first + src->count) continue;
        s = read_story(r, i - src->first, &text, &n);
    }
    free(r->text.v);
    free(r);
    return s;
}

/* 1 for each token that has a byte in a callback span, 0 for the others. */
static status mark_callbacks(const story *s, const bpe *b, const uint16_t *ids, size_t count,
                             bytes *marks)
{
    size_t at = 0, span = 0;
    TRY(bytes_room(marks, count));
    for (size_t i = 0; i < count; i++) {
        size_t n;
        bpe_bytes(b, ids[i], &n);
        while (span < s->spans && s->span[span].end <= at)
            span++;
        marks->v[marks->count++] = span < s->spans && s->span[span].begin < at + n && n > 0;
        at += n;
    }
    return OK;
}

typedef struct job {
    reader reader;
    const bpe *b;
    int64_t first, count;
    tokens ids;
    bytes marks;
    status status;
    char error[512]; /* last_error() belongs to the thread */
} job;

static status encode_range(job *j)
{
    encoder *e;
    TRY(encoder_open(j->b, &e));
    status s = OK;
    uint16_t end = (uint16_t)j->b->end;
    for (int64_t i = j->first; s == OK && i < j->first + j->count; i++) {
        const char *text;
        size_t n, before = j->ids.count;
        if ((s = read_story(&j->reader, i, &text, &n)) != OK) break;
        if ((s = encode(e, text, n, &j->ids)) != OK) break;
        s = tokens_put(&j->ids, &end, 1);
        if (s == OK && j->reader.src->kind == GENERATED)
            s = mark_callbacks(&j->reader.story, j->b, j->ids.v + before, j->ids.count - before,
                               &j->marks);
    }
    encoder_close(e);
    return s;
}

static void *run_job(void *user)
{
    job *j = user;
    j->status = encode_range(j);
    if (j->status != OK) snprintf(j->error, sizeof j->error, "%s", last_error());
    return NULL;
}

static status collect_jobs(job *jobs, int count, corpus *out)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        if (jobs[i].status != OK) return fail(jobs[i].status, "%s", jobs[i].error);
        total += jobs[i].ids.count;
    }
    TRY(tokens_room(&out->stream, total));
    for (int i = 0; i < count; i++) {
        TRY(tokens_put(&out->stream, jobs[i].ids.v, jobs[i].ids.count));
        TRY(bytes_put(&out->callback, jobs[i].marks.v, jobs[i].marks.count));
        out->lone += jobs[i].reader.lone;
    }
    return OK;
}

static status encode_source(const source *src, corpus *out)
{
    const int64_t most = threads_now(), n = src->count / STORIES_PER_THREAD;
    int threads = (int)(n < 1 ? 1 : n < most ? n : most);
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    job *jobs = calloc((size_t)threads, sizeof *jobs);
    pthread_t *thread = calloc((size_t)threads, sizeof *thread);
    char *started = calloc((size_t)threads, 1);
    status s = OK;
    if (!jobs || !thread || !started) {
        s = fail(ERR_MEMORY, "babistories: no memory for %d threads", threads);
        goto done;
    }
    for (int i = 0; i < threads; i++) {
        int64_t first = src->count * i / threads, end = src->count * (i + 1) / threads;
        jobs[i].reader.src = src;
        jobs[i].b = out->tokenizer;
        jobs[i].first = first;
        jobs[i].count = end - first;
        started[i] = i > 0 && pthread_create(&thread[i], NULL, run_job, &jobs[i]) == 0;
    }
    for (int i = 0; i < threads; i++) {
        if (started[i])
            pthread_join(thread[i], NULL);
        else
            run_job(&jobs[i]);
    }
    s = collect_jobs(jobs, threads, out);
done:
    for (int i = 0; jobs && i < threads; i++) {
        free(jobs[i].reader.text.v);
        free(jobs[i].ids.v);
        free(jobs[i].marks.v);
    }
    free(jobs);
    free(thread);
    free(started);
    return s;
}

/* Ids of a file; of a file with both splits, the stories of this one. */
static status take_ids(source *src, corpus *out)
{
    const bpe *b = out->tokenizer;
    tokens *stream = &out->stream;
    TRY(token_file_decode(src->path, src->file.v, src->file.count, 256 + b->merges, b->end,
                          stream));
    int64_t stories = 0;
    for (size_t i = 0; i < stream->count; i++)
        stories += stream->v[i] == b->end;
    TRY(take_part(src, stories));
    size_t begin = 0, end = stream->count;
    stories = 0;
    for (size_t i = 0; i < stream->count; i++) {
        if (stream->v[i] != b->end) continue;
        stories++;
        if (stories == src->first) begin = i + 1;
        if (stories == src->first + src->count) end = i + 1;
    }
    memmove(stream->v, stream->v + begin, (end - begin) * sizeof *stream->v);
    stream->count = end - begin;
    return OK;
}

/* Learn a tokenizer from the first training stories. */
static status train_tokenizer(const data_options *o, bpe **out)
{
    data_options train = *o;
    train.split = SPLIT_TRAIN;
    source src;
    TRY(locate(&train, 0, &src));
    if (src.kind == IDS)
        return fail(ERR_ARG, "%s: holds GPT-2 ids: expected tokenizer=gpt2", src.path);
    status s = source_open(&src, (size_t)TOKENIZER_STORIES << 14);
    reader *r = calloc(1, sizeof *r);
    if (s == OK && !r) s = fail(ERR_MEMORY, "tokenizer: no memory");
    if (s == OK) {
        r->src = &src;
        int64_t count =
            src.kind == GENERATED || src.count > TOKENIZER_STORIES ? TOKENIZER_STORIES : src.count;
        s = bpe_train(read_story, r, count, (int32_t)o->vocab, out);
        free(r->text.v);
    }
    free(r);
    source_close(&src);
    return s;
}

static status open_tokenizer(const source *src, bpe **out)
{
    const data_options *o = src->options;
    const char *name = o->tokenizer;
    if (!name) name = src->kind == GENERATED || src->list[0] ? "builtin" : "gpt2";
    if (strcmp(name, "gpt2") == 0) return bpe_gpt2(out);
    if (strcmp(name, "builtin") != 0)
        return fail(ERR_ARG, "tokenizer \"%.40s\": expected gpt2 or builtin", name);
    if (!src->list[0]) {
        if (o->vocab < 257 || o->vocab > BPE_MAX_VOCAB)
            return fail(ERR_ARG, "vocab %lld: expected 257..%d", (long long)o->vocab,
                        BPE_MAX_VOCAB);
        return train_tokenizer(o, out);
    }
    bytes list = {0};
    status s = file_read(src->list, 0, &list);
    if (s == OK) s = bpe_read(src->list, list.v, list.count, out);
    free(list.v);
    return s;
}

status corpus_open(const data_options *o, corpus *out)
{
    source src;
    *out = (corpus){0};
    TRY(locate(o, o->split != SPLIT_TRAIN, &src));
    status s = open_tokenizer(&src, &out->tokenizer);
    if (s == OK) s = source_open(&src, 0);
    if (s == OK) s = check_rest(&src);
    if (s == OK) s = src.kind == IDS ? take_ids(&src, out) : encode_source(&src, out);
    if (s == OK && out->lone > 0)
        fprintf(stderr, "warning: %s: %lld lone surrogates became U+FFFD\n", src.path,
                (long long)out->lone);
    if (s == OK && src.kind == GENERATED) {
        char recipe[128];
        int n = snprintf(recipe, sizeof recipe, "stories seed=%llu split=%d count=%lld",
                         (unsigned long long)o->seed, o->split, (long long)src.count);
        out->hash = fnv1a(FNV_OFFSET, recipe, (size_t)n);
    } else if (s == OK) {
        out->hash = fnv1a(FNV_OFFSET, src.file.v, src.file.count);
    }
    out->stories = src.count;
    source_close(&src);
    if (s != OK) corpus_close(out);
    return s;
}

void corpus_close(corpus *c)
{
    bpe_free(c->tokenizer);
    free(c->stream.v);
    free(c->callback.v);
    *c = (corpus){0};
}
