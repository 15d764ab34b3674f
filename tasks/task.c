/* SPDX-License-Identifier: MIT
 *
 * task.c — the table of tasks, and opening a dataset by the name of its task.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define TASK(name, file, title) extern const struct task name##_task;
#include "tasks.def"
#undef TASK

static const struct task *const table[] = {
#define TASK(name, file, title) &name##_task,
#include "tasks.def"
#undef TASK
};

int task_count(void)
{
    return (int)(sizeof table / sizeof *table);
}

const struct task *task_row(int i)
{
    return i >= 0 && i < task_count() ? table[i] : NULL;
}

/* Levenshtein distance; words longer than the row count as far away. */
static int distance(const char *a, const char *b)
{
    int row[32];
    int n = (int)strlen(b);
    if (n >= 31) return 31;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

status task_find(const char *name, const struct task **t)
{
    const struct task *nearest = table[0];
    int least = 1 << 30;
    for (int i = 0; i < task_count(); i++) {
        int d = distance(name, table[i]->name);
        if (d < least) {
            least = d;
            nearest = table[i];
        }
    }
    *t = least == 0 ? nearest : NULL;
    if (*t) return OK;
    return fail(ERR_ARG, "task: no task named \"%.40s\": did you mean \"%s\"?", name,
                nearest->name);
}

data_options data_options_default(void)
{
    return (data_options){
        .seed = 1, .vocab = 2048, .flip_p = 0.1, .nback = 2, .dedup = 1, .automata = 1000};
}

static status options_check(const char *task, const data_options *o)
{
    int shard = o->split & 0xff, kind = o->split - shard;
    if ((kind != SPLIT_TRAIN && kind != SPLIT_VALIDATION && kind != SPLIT_TEST) ||
        (kind == SPLIT_TRAIN && shard != 0))
        return fail(ERR_ARG, "%s: split %d: expected train, or validation or test and a shard",
                    task, o->split);
    if (o->length < 0 || o->samples < 0)
        return fail(ERR_ARG, "%s: length and samples: expected 0 or more", task);
    return OK;
}

status dataset_open(const char *task, const data_options *o, dataset **out)
{
    *out = NULL;
    const struct task *t;
    TRY(task_find(task, &t));
    TRY(options_check(task, o));
    return t->open(t, o, out);
}

void dataset_close(dataset *d)
{
    if (d) d->close(d);
}
