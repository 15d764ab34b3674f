/* SPDX-License-Identifier: MIT
 *
 * fuzz_regbench.c — libFuzzer target of the reader of regbench_*.txt: the input is the file.
 *
 * Every sequence of a line that is accepted must be a walk of its automaton.
 */
#include <stdlib.h>
#include <string.h>

#include "regbench.h"

static void check_walk(const automaton *a, const int32_t *ids, int64_t count)
{
    int state = 0;
    for (int64_t i = 0; i < count; i++) {
        state = ids[i] == BAR ? 0 : automaton_step(a, state, ids[i] - 1);
        if (state < 0 || state >= a->states) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lines l;
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    if (lines_from("fuzz", text, size, NULL, 0, &l) == OK) {
        for (int64_t i = 0; i < l.count; i++) {
            int32_t ids[REGBENCH_LONGEST];
            automaton a, minimal;
            int64_t count;
            size_t length;
            const char *line = lines_get(&l, i, &length);
            if (regbench_parse(line, length, &a, ids, REGBENCH_LONGEST, &count) != NULL) continue;
            check_walk(&a, ids, count < REGBENCH_LONGEST ? count : REGBENCH_LONGEST);
            automaton_minimize(&a, &minimal);
            if (minimal.states > a.states) abort();
        }
        lines_close(&l);
    }
    free(text);
    return 0;
}
