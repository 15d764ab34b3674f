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

status task_find(const char *name, const struct task **t)
{
    const char *names[sizeof table / sizeof *table];
    *t = NULL;
    for (int i = 0; i < task_count(); i++) {
        names[i] = table[i]->name;
        if (strcmp(name, names[i]) == 0) *t = table[i];
    }
    if (*t) return OK;
    return fail_unknown("task: no task named", name, names, (size_t)task_count(),
                        "a row of tasks.def");
}

const char *split_name(int split)
{
    const int kind = split & ~0xff;
    return kind == SPLIT_TEST ? "test" : kind == SPLIT_VALIDATION ? "validation" : "train";
}

data_options data_options_default(void)
{
    return (data_options){
#define PATH(fallback) NULL
#define TEXT(fallback) NULL
#define INT(fallback) fallback
#define REAL(fallback) fallback
#define FLAG(fallback) fallback
#define OPTION(key, field, kind, fallback, bound, help) .field = kind(fallback),
#include "options.def"
#undef OPTION
    };
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
