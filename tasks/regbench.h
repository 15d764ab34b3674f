/* SPDX-License-Identifier: MIT
 *
 * regbench.h — the parts of the RegBench task. For tasks/ and its tests.
 */
#ifndef MOSAIC_REGBENCH_H
#define MOSAIC_REGBENCH_H

#include "automaton.h"
#include "sequence_file.h"
#include "task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ids: 0 `.` pads, 1..18 the letters a..r, 19 `|` between strings. */
enum {
    BAR = 19,
    REGBENCH_VOCAB = 20,
    STRINGS_MOST = 19,
    STRING_MOST = 49,
    REGBENCH_LONGEST = STRINGS_MOST * STRING_MOST + STRINGS_MOST - 1 /* ids of a sequence */
};

typedef struct regbench_state {
    int64_t *stream; /* [samples] stream index of each sequence; NULL: its own index */
    int read;        /* 1: text holds the data                                       */
    lines text;
} regbench_state;

/* Draw the strings of one sequence, joined by `|`; returns how many ids. */
int64_t regbench_draw(rng *r, const automaton *a, int32_t ids[REGBENCH_LONGEST]);

/* Accepted stream indices of the first `samples` automata of a split, none of whose languages
 * occurs earlier in it, in test, or (for train) in validation. The caller frees *stream. */
status regbench_accept(uint64_t seed, int split, int64_t samples, int64_t **stream);

/* Parse "hex of the form TAB letters and |". At most `room` ids are stored, *count is how many
 * there are. NULL, or what was expected. */
const char *regbench_parse(const char *line, size_t length, automaton *a, int32_t *ids,
                           int64_t room, int64_t *count);
/* Open regbench_{train|val|test}.txt in a folder, or a file: checks every line, fills samples,
 * longest and hash of d. */
status regbench_read(dataset *d, regbench_state *q);
status regbench_write(const struct task *t, const data_options *o, const char *out);

/* Automaton and ids of sequence `index`, at most `room` of them stored (room 0: ids may be NULL).
 */
status regbench_get(const dataset *d, int64_t index, automaton *a, int32_t *ids, int64_t room,
                    int64_t *count);

status regbench_ngram(const dataset *d, const sample *s, int order, double *logits);

#ifdef __cplusplus
}
#endif
#endif
