/* SPDX-License-Identifier: MIT
 *
 * automaton.h — the random automata of RegBench. For tasks/ and its tests.
 */
#ifndef MOSAIC_AUTOMATON_H
#define MOSAIC_AUTOMATON_H

#include "rng.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LETTERS = 18,
    STATES_MOST = 12,
    DEGREE_MOST = 3,
    FORM_MOST = 1 + STATES_MOST * (1 + 2 * DEGREE_MOST) /* bytes of a canonical form */
};

/* Deterministic, partial; state 0 starts, every state accepts, a missing letter rejects. */
typedef struct automaton {
    int states;
    uint8_t degree[STATES_MOST];
    uint8_t letter[STATES_MOST][DEGREE_MOST]; /* 0..17, in order of creation */
    uint8_t target[STATES_MOST][DEGREE_MOST];
} automaton;

/* Draw one (spec of the tasks, section 4.1). */
void automaton_draw(rng *r, automaton *a);
/* The state after a letter 0..17, or -1. */
int automaton_step(const automaton *a, int state, int letter);
/* The minimal automaton of the same language, states numbered breadth first along ascending
 * letters: equal languages give equal results. */
void automaton_minimize(const automaton *a, automaton *minimal);
/* [states, then per state: degree, then letter, target ascending by letter]; returns its bytes. */
int automaton_form(const automaton *minimal, uint8_t form[FORM_MOST]);
/* The automaton of a form. NULL, or what the bytes should have been. */
const char *automaton_parse(const uint8_t *form, size_t bytes, automaton *a);

#ifdef __cplusplus
}
#endif
#endif
