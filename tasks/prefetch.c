/* SPDX-License-Identifier: MIT
 *
 * prefetch.c — a bounded ring of batches, filled by worker threads, read in order.
 *
 * Batch i lives in slot i mod K. Workers take batch numbers from one counter, so which thread
 * fills a batch is chance, but what is in it is not: every sample is addressed by its index.
 * A worker waits until its slot was released by the reader; the reader waits until the slot of the
 * next batch is full. K = threads + 2 lets every worker run ahead while one batch is in use.
 * An error travels in the slot of its batch, with its message, and is met in order.
 */
#include "task.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
    int64_t holds; /* number of the batch in it, or -1 */
    int64_t T;
    int32_t *tokens, *targets; /* room for [B][longest] */
    sample *row;               /* [B] */
    status error;
    char message[512];
} slot;

struct prefetch {
    const dataset *d;
    int64_t B, end; /* end: number past the last batch, or -1 */
    int64_t (*index)(void *user, int64_t batch, int64_t row);
    void *user;
    int threads, started, slots;
    slot *slot;
    pthread_t *thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, released;
    int64_t take, next; /* the batch that a worker takes, that the reader gets, next */
    int reading, stop;  /* reading: batch next-1 is in the reader's hands            */
};

/* Sample index of a row; negative: an empty row. */
static int64_t row_index(const prefetch *p, int64_t batch, int64_t row)
{
    if (p->index) return p->index(p->user, batch, row);
    int64_t i = batch * p->B + row;
    return p->d->samples > 0 && i >= p->d->samples ? -1 : i;
}

static status draw_rows(const prefetch *p, int64_t batch, slot *s)
{
    const dataset *d = p->d;
    s->T = 0;
    for (int64_t r = 0; r < p->B; r++) {
        int64_t i = row_index(p, batch, r);
        sample *one = &s->row[r];
        *one = (sample){.x = s->tokens + r * d->longest, .y = s->targets + r * d->longest};
        if (i >= 0) TRY(d->sample(d, i, one));
        if (one->T > s->T) s->T = one->T;
    }
    /* From rows of `longest` to rows of T, in place: a row never moves up. */
    for (int64_t r = 0; r < p->B; r++) {
        int32_t *x = s->tokens + r * s->T, *y = s->targets + r * s->T;
        sample *one = &s->row[r];
        memmove(x, one->x, (size_t)one->T * sizeof *x);
        memmove(y, one->y, (size_t)one->T * sizeof *y);
        for (int64_t t = one->T; t < s->T; t++) {
            x[t] = d->pad;
            y[t] = IGNORE;
        }
        one->x = x;
        one->y = y;
    }
    return OK;
}

static void fill_slot(const prefetch *p, int64_t batch, slot *s)
{
    s->error = draw_rows(p, batch, s);
    if (s->error != OK) {
        strncpy(s->message, last_error(), sizeof s->message - 1);
        s->message[sizeof s->message - 1] = 0;
    }
}

static void *work(void *argument)
{
    prefetch *p = argument;
    pthread_mutex_lock(&p->lock);
    while (!p->stop && (p->end < 0 || p->take < p->end)) {
        int64_t batch = p->take++;
        slot *s = &p->slot[batch % p->slots];
        /* The slot is free once the reader is past the batch K before this one. */
        while (!p->stop && batch - (p->next - p->reading) >= p->slots)
            pthread_cond_wait(&p->released, &p->lock);
        if (p->stop) break;
        pthread_mutex_unlock(&p->lock);
        fill_slot(p, batch, s);
        pthread_mutex_lock(&p->lock);
        s->holds = batch;
        pthread_cond_broadcast(&p->filled);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static status allocate(prefetch *p)
{
    size_t tokens = (size_t)p->B * (size_t)p->d->longest;
    p->slot = calloc((size_t)p->slots, sizeof *p->slot);
    p->thread = calloc((size_t)p->threads + 1, sizeof *p->thread);
    if (!p->slot || !p->thread) return fail(ERR_MEMORY, "prefetch: out of memory");
    for (int i = 0; i < p->slots; i++) {
        slot *s = &p->slot[i];
        s->holds = -1;
        s->tokens = calloc(tokens, sizeof *s->tokens);
        s->targets = calloc(tokens, sizeof *s->targets);
        s->row = calloc((size_t)p->B, sizeof *s->row);
        if (!s->tokens || !s->targets || !s->row)
            return fail(ERR_MEMORY, "prefetch: out of memory for batches of %lld x %lld tokens",
                        (long long)p->B, (long long)p->d->longest);
    }
    return OK;
}

status prefetch_open(const dataset *d, int64_t B, int64_t first, int64_t count, int threads,
                     int64_t (*index)(void *user, int64_t batch, int64_t row), void *user,
                     prefetch **out)
{
    *out = NULL;
    if (B < 1 || first < 0 || count < 0)
        return fail(ERR_ARG, "prefetch: expected a batch of at least 1, first and count >= 0");
    prefetch *p = calloc(1, sizeof *p);
    if (!p) return fail(ERR_MEMORY, "prefetch: out of memory");
    p->d = d;
    p->B = B;
    p->end = count > 0 ? first + count : -1;
    p->index = index;
    p->user = user;
    p->threads = threads > 0 ? threads : 0;
    p->slots = p->threads + 2;
    p->take = p->next = first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->filled, NULL);
    pthread_cond_init(&p->released, NULL);
    status s = allocate(p);
    while (s == OK && p->started < p->threads) {
        if (pthread_create(&p->thread[p->started], NULL, work, p) != 0)
            s = fail(ERR_MEMORY, "prefetch: cannot start a thread");
        else
            p->started++;
    }
    if (s != OK) {
        prefetch_close(p);
        return s;
    }
    *out = p;
    return OK;
}

status prefetch_next(prefetch *p, task_batch *b)
{
    *b = (task_batch){0};
    if (p->end >= 0 && p->next >= p->end) return OK;
    slot *s = &p->slot[p->next % p->slots];
    pthread_mutex_lock(&p->lock);
    p->reading = 0;
    pthread_cond_broadcast(&p->released);
    while (p->threads > 0 && s->holds != p->next)
        pthread_cond_wait(&p->filled, &p->lock);
    pthread_mutex_unlock(&p->lock);
    if (p->threads == 0) fill_slot(p, p->next, s);
    if (s->error != OK) return fail(s->error, "%s", s->message);
    pthread_mutex_lock(&p->lock);
    p->next++;
    p->reading = 1;
    pthread_mutex_unlock(&p->lock);
    *b = (task_batch){p->B, s->T, s->tokens, s->targets, s->row};
    return OK;
}

void prefetch_close(prefetch *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->released);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->thread[i], NULL);
    for (int i = 0; p->slot && i < p->slots; i++) {
        free(p->slot[i].tokens);
        free(p->slot[i].targets);
        free(p->slot[i].row);
    }
    free(p->slot);
    free(p->thread);
    pthread_cond_destroy(&p->released);
    pthread_cond_destroy(&p->filled);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
