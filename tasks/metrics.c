/* SPDX-License-Identifier: MIT
 *
 * metrics.c — sums of scores (spec of the tasks, section 8): everything is accumulated in double
 * and divided by its own count at the very end, so means are token-weighted, never means of means.
 *
 *   ce(t) = ln sum_c exp(l_tc) - l_ty    natural logarithm (logits.h)
 */
#include "logits.h"
#include "task.h"

#include <assert.h>
#include <string.h>

metric *metrics_find(metrics *all, const char *name, int proportion)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->m[i].name, name) == 0) return &all->m[i];
    assert(all->count < MAX_METRICS && strlen(name) < sizeof all->m->name);
    metric *m = &all->m[all->count++];
    *m = (metric){.proportion = proportion};
    strcpy(m->name, name);
    return m;
}

void metrics_add(metrics *all, const char *name, int proportion, double sum, int64_t count)
{
    metric *m = metrics_find(all, name, proportion);
    m->sum += sum;
    m->count += count;
}

void metrics_take(metrics *all, const metrics *from, const char *name, int64_t count)
{
    for (int i = 0; i < from->count; i++)
        if (strcmp(from->m[i].name, name) == 0)
            metrics_add(all, name, from->m[i].proportion, from->m[i].sum, count);
}

void metrics_merge(metrics *a, const metrics *b)
{
    for (int i = 0; i < b->count; i++)
        metrics_add(a, b->m[i].name, b->m[i].proportion, b->m[i].sum, b->m[i].count);
}

void prediction_read(const sample *s, int32_t vocab, prediction *p)
{
    logits_read(p->logits, s->T, vocab, s->y, p->loss, p->argmax);
}

void score_tokens(const sample *s, const prediction *p, int32_t skip_target, metrics *all)
{
    double ce = 0;
    int64_t scored = 0, counted = 0, correct = 0;
    for (int64_t t = 0; t < s->T; t++) {
        if (s->y[t] == IGNORE) continue;
        ce += p->loss[t];
        scored++;
        if (s->y[t] == skip_target) continue;
        counted++;
        correct += p->argmax[t] == s->y[t];
    }
    metrics_add(all, "ce", 0, ce, scored);
    metrics_add(all, "token_acc", 1, (double)correct, counted);
    metrics_add(all, "exact", 1, correct == counted, 1);
}
