/* SPDX-License-Identifier: MIT
 *
 * prefetch.c — a bounded ring of batches, filled by worker threads, read in order.
 *
 * Batch i lives in slot i mod K. Workers take batch numbers from one counter, so which thread
 * fills a batch is chance, but what is in it is not: every sample is addressed by its index.
 * A worker waits until its slot was released by the reader; the reader waits until the slot of the
 * next batch is full. K = threads + 2 lets every worker run ahead while one batch is in use.
 * An error travels in the slot of its batch, with its message, and is met in order.
 *
 * Padding. The rows of a batch are sorted by length. Rows [a,b), padded to T_a, the longest, are
 * cut in two where that spares most, max over c of (b - c) (T_a - T_c),   if that is more than
 * `apart`, the price of a part; then each half likewise. With apart = 0 no position is padded.
 */
#include "task.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
    int64_t holds; /* number of the batch in it, or -1 */
    int64_t B, T, parts;
    int32_t *drawn;            /* x and y of the rows as they are drawn: [2][B][longest] */
    int32_t *tokens, *targets; /* of the parts: room for [B][longest] each               */
    sample *row;               /* [B] */
    task_part *part;           /* [B] */
    status error;
    char message[512];
} slot;

struct prefetch {
    const dataset *d;
    prefetch_plan plan;
    int64_t end; /* number past the last batch, or -1 */
    int threads, started, slots;
    slot *slot;
    pthread_t *thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, released;
    int64_t take, next; /* the batch that a worker takes, that the reader gets, next */
    int reading, stop;  /* reading: batch next-1 is in the reader's hands            */
};

/* Sample index of a row; negative: none. */
static int64_t row_index(const prefetch *p, int64_t batch, int64_t row)
{
    if (p->plan.index) return p->plan.index(p->plan.user, batch, row);
    int64_t i = batch * p->plan.B + row;
    return p->d->samples > 0 && i >= p->d->samples ? -1 : i;
}

/* The samples of a batch, in the order of their rows. */
static status draw_rows(const prefetch *p, int64_t batch, slot *s)
{
    const dataset *d = p->d;
    const int64_t room = p->plan.B * d->longest;
    s->B = 0;
    for (int64_t r = 0; r < p->plan.B; r++) {
        const int64_t i = row_index(p, batch, r);
        sample *one = &s->row[s->B];
        if (i < 0) continue;
        *one = (sample){.x = s->drawn + r * d->longest, .y = s->drawn + room + r * d->longest};
        TRY(d->sample(d, i, one));
        s->B++;
    }
    return OK;
}

/* Longest first; of one length, as they were drawn. */
static int longest_first(const void *a, const void *b)
{
    const sample *s = a, *t = b;
    return s->T != t->T ? (s->T < t->T) - (s->T > t->T) : (s->x > t->x) - (s->x < t->x);
}

/* Cut rows [first, last), or make them one part. */
static void cut_rows(slot *s, int64_t first, int64_t last, int64_t apart)
{
    const int64_t T = s->row[first].T;
    int64_t at = first, most = apart;
    for (int64_t r = first + 1; r < last; r++) {
        const int64_t spared = (last - r) * (T - s->row[r].T);
        if (spared > most) most = spared, at = r;
    }
    if (at == first) {
        s->part[s->parts++] = (task_part){.first = first, .B = last - first, .T = T};
        return;
    }
    cut_rows(s, first, at, apart);
    cut_rows(s, at, last, apart);
}

/* Rows to [B][T] from x and y on; they lie there from now on. */
static void lay_rows(const dataset *d, slot *s, const task_part *part, int32_t *x, int32_t *y)
{
    for (int64_t r = 0; r < part->B; r++, x += part->T, y += part->T) {
        sample *one = &s->row[part->first + r];
        memcpy(x, one->x, (size_t)one->T * sizeof *x);
        memcpy(y, one->y, (size_t)one->T * sizeof *y);
        for (int64_t t = one->T; t < part->T; t++) {
            x[t] = d->pad;
            y[t] = IGNORE;
        }
        one->x = x;
        one->y = y;
    }
}

static status make_batch(const prefetch *p, int64_t batch, slot *s)
{
    int64_t at = 0;
    TRY(draw_rows(p, batch, s));
    qsort(s->row, (size_t)s->B, sizeof *s->row, longest_first);
    s->T = s->B > 0 ? s->row[0].T : 0;
    s->parts = 0;
    if (s->B > 0) cut_rows(s, 0, s->B, p->plan.apart);
    for (int64_t i = 0; i < s->parts; i++) {
        task_part *part = &s->part[i];
        part->tokens = s->tokens + at;
        part->targets = s->targets + at;
        lay_rows(p->d, s, part, s->tokens + at, s->targets + at);
        at += part->B * part->T;
    }
    return OK;
}

static void fill_slot(const prefetch *p, int64_t batch, slot *s)
{
    s->error = make_batch(p, batch, s);
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
    const size_t B = (size_t)p->plan.B, tokens = B * (size_t)p->d->longest;
    p->slot = calloc((size_t)p->slots, sizeof *p->slot);
    p->thread = calloc((size_t)p->threads + 1, sizeof *p->thread);
    if (!p->slot || !p->thread) return fail(ERR_MEMORY, "prefetch: out of memory");
    for (int i = 0; i < p->slots; i++) {
        slot *s = &p->slot[i];
        s->holds = -1;
        s->drawn = calloc(2 * tokens, sizeof *s->drawn);
        s->tokens = calloc(tokens, sizeof *s->tokens);
        s->targets = calloc(tokens, sizeof *s->targets);
        s->row = calloc(B, sizeof *s->row);
        s->part = calloc(B, sizeof *s->part);
        if (!s->drawn || !s->tokens || !s->targets || !s->row || !s->part)
            return fail(ERR_MEMORY, "prefetch: out of memory for batches of %lld x %lld tokens",
                        (long long)B, (long long)p->d->longest);
    }
    return OK;
}

status prefetch_open(const dataset *d, const prefetch_plan *plan, prefetch **out)
{
    *out = NULL;
    if (plan->B < 1 || plan->first < 0 || plan->count < 0 || plan->apart < 0)
        return fail(ERR_ARG,
                    "prefetch: expected a batch of at least 1, first, count and apart >= 0");
    prefetch *p = calloc(1, sizeof *p);
    if (!p) return fail(ERR_MEMORY, "prefetch: out of memory");
    p->d = d;
    p->plan = *plan;
    p->end = plan->count > 0 ? plan->first + plan->count : -1;
    p->threads = plan->threads > 0 ? plan->threads : 0;
    p->slots = p->threads + 2;
    p->take = p->next = plan->first;
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
    *b = (task_batch){s->B, s->T, s->row, s->part, s->parts};
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
        slot *s = &p->slot[i];
        free(s->drawn);
        free(s->tokens);
        free(s->targets);
        free(s->row);
        free(s->part);
    }
    free(p->slot);
    free(p->thread);
    pthread_cond_destroy(&p->released);
    pthread_cond_destroy(&p->filled);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
