/* SPDX-License-Identifier: MIT
 *
 * regbench_split.c — which automata belong to which split (spec of the tasks, section 4.3).
 *
 * Automaton and sequence j of split c come from the stream key(seed, 8, c, j). Test takes its j in
 * increasing order, skipping languages it has; then validation, skipping those of test too; then
 * train, skipping both. So test and validation are the same for every size of the training set,
 * and training sets are nested. Languages are compared by canonical form.
 */
#include <stdlib.h>
#include <string.h>

#include "regbench.h"

enum { HELD_OUT = 500 };

/* A set of canonical forms, each padded with zeros: open addressing, at most half full. */
typedef struct form_set {
    uint8_t (*slot)[FORM_MOST];
    size_t room; /* power of two */
} form_set;

/* 1 if the form was new. */
static int set_add(form_set *set, const uint8_t form[FORM_MOST])
{
    size_t i = (size_t)fnv1a(FNV_OFFSET, form, FORM_MOST) & (set->room - 1);
    for (; set->slot[i][0]; i = (i + 1) & (set->room - 1))
        if (memcmp(set->slot[i], form, FORM_MOST) == 0) return 0;
    memcpy(set->slot[i], form, FORM_MOST);
    return 1;
}

static void accept(uint64_t seed, int split, int64_t count, form_set *set, int64_t *stream)
{
    int64_t taken = 0;
    for (int64_t j = 0; taken < count; j++) {
        automaton a, minimal;
        uint8_t form[FORM_MOST] = {0};
        rng r = rng_sample(seed, 8, (uint64_t)split, (uint64_t)j);
        automaton_draw(&r, &a);
        automaton_minimize(&a, &minimal);
        automaton_form(&minimal, form);
        if (!set_add(set, form)) continue;
        if (stream) stream[taken] = j;
        taken++;
    }
}

status regbench_accept(uint64_t seed, int split, int64_t samples, int64_t **stream)
{
    static const int order[] = {SPLIT_TEST, SPLIT_VALIDATION, SPLIT_TRAIN};
    form_set set = {.room = 1024};
    while (set.room < 2 * (size_t)(samples + 2 * HELD_OUT))
        set.room *= 2;
    set.slot = calloc(set.room, sizeof *set.slot);
    *stream = malloc((size_t)samples * sizeof **stream);
    if (!set.slot || !*stream) {
        free(set.slot);
        free(*stream);
        *stream = NULL;
        return fail(ERR_MEMORY, "regbench: out of memory for %lld automata", (long long)samples);
    }
    int i = 0;
    for (; order[i] != split; i++)
        accept(seed, order[i], HELD_OUT, &set, NULL);
    accept(seed, split, samples, &set, *stream);
    free(set.slot);
    return OK;
}
