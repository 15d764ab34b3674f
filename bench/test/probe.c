/* SPDX-License-Identifier: MIT
 *
 * probe.c — see probe.h.
 */
#include "probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int probe_open(selftest *t, probe *p, const char *task, const data_options *o)
{
    *p = (probe){0};
    status s = dataset_open(task, o, &p->d);
    EXPECT(s == OK);
    if (s != OK) {
        fprintf(stderr, "%s\n", last_error());
        return 0;
    }
    p->s.x = malloc((size_t)p->d->longest * sizeof *p->s.x);
    p->s.y = malloc((size_t)p->d->longest * sizeof *p->s.y);
    p->logits = malloc((size_t)(p->d->longest * p->d->vocab) * sizeof *p->logits);
    p->loss = malloc((size_t)p->d->longest * sizeof *p->loss);
    p->argmax = malloc((size_t)p->d->longest * sizeof *p->argmax);
    if (p->s.x && p->s.y && p->logits && p->loss && p->argmax) return 1;
    EXPECT(!"out of memory");
    probe_close(p);
    return 0;
}

int probe_sample(selftest *t, probe *p, int64_t i)
{
    status s = p->d->sample(p->d, i, &p->s);
    EXPECT(s == OK);
    if (s != OK) return 0;
    int32_t eos = p->d->pad - 1, sep = p->d->pad - 2;
    int64_t end = 1, T = p->s.T;
    p->first = 0;
    while (p->first < T && p->s.y[p->first] == IGNORE)
        p->first++;
    p->trg = p->s.y + p->first;
    for (p->R = 0; p->first + p->R < T && p->trg[p->R] != eos && p->trg[p->R] != IGNORE; p->R++)
        ;
    /* Without a separator the source ends before EOS, or at the prompt of the first target. */
    while (end < T && p->s.x[end] != sep && p->s.x[end] != eos)
        end++;
    p->src = p->s.x + 1;
    p->S = end < T ? end - 1 : p->s.answer;
    return 1;
}

void probe_say(probe *p, int64_t t, int32_t id)
{
    double *row = p->logits + t * p->d->vocab;
    for (int32_t c = 0; c < p->d->vocab; c++)
        row[c] = c == id ? 0 : -1000;
}

status probe_score(probe *p, metrics *all)
{
    prediction said = {.loss = p->loss, .argmax = p->argmax, .logits = p->logits};
    prediction_read(&p->s, p->d->vocab, &said);
    return p->d->score(p->d, &p->s, &said, all);
}

double probe_mean(const metrics *all, const char *name)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->m[i].name, name) == 0) return all->m[i].sum / (double)all->m[i].count;
    return NAN;
}

void probe_close(probe *p)
{
    dataset_close(p->d);
    free(p->s.x);
    free(p->s.y);
    free(p->logits);
    free(p->loss);
    free(p->argmax);
    *p = (probe){0};
}
