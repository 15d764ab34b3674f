/* SPDX-License-Identifier: MIT
 *
 * data.c — verb data: write a task in the official file format, one file set a split and length.
 */
#include <signal.h>
#include <string.h>

#include "recipe.h"
#include "sequence_file.h"
#include "stop.h"

static status write_shards(const words *w, const struct task *t, const char *split)
{
    data_options o = data_options_default();
    data_words(w, 0, &o);
    o.samples = word_int(w, "samples");
    int lengths = strcmp(split, "train") == 0 ? 1 : (int)word_count(w, "length");
    for (int i = 0; i < lengths; i++) {
        o.length = strcmp(split, "train") == 0 ? 0 : word_int_at(w, "length", i);
        TRY(split_find(split, o.length, &o.split));
        TRY(t->write(t, &o, word_text(w, "out")));
    }
    return OK;
}

/* A length that the task refuses is refused before a file is written. */
static status check_lengths(const words *w)
{
    for (int64_t i = 0; i < word_count(w, "length"); i++) {
        data_options o = data_options_default();
        dataset *d;
        data_words(w, 0, &o);
        o.length = word_int_at(w, "length", i);
        if (o.length == 0) continue;
        TRY(split_find("validation", o.length, &o.split));
        TRY(dataset_open(word_text(w, "task"), &o, &d));
        dataset_close(d);
    }
    return OK;
}

static status write_data(const words *w)
{
    const struct task *t;
    if (*word_text(w, "task") == '\0') return fail(ERR_ARG, "data: expected task=");
    if (*word_text(w, "out") == '\0') return fail(ERR_ARG, "data: expected out=FOLDER");
    TRY(task_find(word_text(w, "task"), &t));
    TRY(check_lengths(w));
    int64_t count = t->validation_only ? 1 : word_count(w, "split");
    for (int64_t i = 0; i < count; i++)
        TRY(write_shards(w, t, word_text_at(w, "split", i)));
    return OK;
}

/* Whoever stops us finds no half a file. */
static void stop(int number)
{
    text_remove_all();
    signal(number, SIG_DFL);
    raise(number);
}

int verb_data(const words *w)
{
    stop_watch(stop);
    return status_exit(write_data(w));
}
