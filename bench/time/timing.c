/* SPDX-License-Identifier: MIT
 *
 * timing.c — a timed point: statistics, a TSV line, a row and its raw samples in the file.
 */
#include "timing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "op/sequences.h"

/* The words that decide a time and have no column. */
static void fill_config(time_row *row, const words *w, const key_stream *keys)
{
    static const char *const names[] = {"beta", "dalpha", "lag", "tied", "keep"};
    char text[400] = "", value[64];
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (word_is_default(w, names[i])) continue;
        word_value(w, names[i], value, sizeof value);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%.30s", used ? " " : "",
                                 names[i], value);
    }
    if (strcmp(row->input, "trained") == 0)
        snprintf(text + used, sizeof text - used, "%sfrom=%s", used ? " " : "", keys->about);
    words_put(row->config, text);
}

status timing_emit(timing *t, time_row *row, int64_t count)
{
    summary s;
    row->samples = count;
    row->median = row->q1 = row->q3 = row->min = NAN;
    if (count > 0) {
        TRY(summarize(t->samples, count, &s));
        row->median = s.median;
        row->q1 = s.q1;
        row->q3 = s.q3;
        row->min = s.min;
        t->noisy += is_noisy(s.q1, s.median, s.q3);
    }
    fill_config(row, t->w, t->keys);
    results_print(TIME, row, t->printed++ == 0);
    fflush(stdout);
    TRY(results_append(t->r, TIME, row));
    TRY(results_samples(t->r, RAW_TIMES, t->samples, count));
    return t->beside ? results_samples(t->r, RAW_YARDS, t->beside, count) : OK;
}
