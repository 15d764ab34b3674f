/* SPDX-License-Identifier: MIT
 *
 * automaton.c — drawing, minimising and naming the automata of RegBench (spec of the tasks,
 * section 4.1).
 *
 * Draw: N = 4 + below(9) states, alphabet of a = 4 + below(15) letters, distinct(18,a); per state
 * a degree 1 + below(3), as many distinct letters of the alphabet and distinct targets other than
 * the state itself.
 * Canonical form: reachable states; classes start as the sets of outgoing letters and are split by
 * (class, sorted (letter, class of the target)) until nothing changes; breadth-first numbers.
 */
#include "automaton.h"

#include <string.h>

void automaton_draw(rng *r, automaton *a)
{
    uint8_t seen[LETTERS] = {0};
    uint32_t alphabet[LETTERS], letter[DEGREE_MOST], target[DEGREE_MOST];
    int N = 4 + (int)rng_below(r, 9);
    uint32_t size = 4 + (uint32_t)rng_below(r, 15);
    *a = (automaton){.states = N};
    rng_distinct(r, LETTERS, size, alphabet, seen);
    for (int u = 0; u < N; u++) {
        uint32_t degree = 1 + (uint32_t)rng_below(r, 3);
        a->degree[u] = (uint8_t)degree;
        rng_distinct(r, size, degree, letter, seen);
        rng_distinct(r, (uint32_t)N - 1, degree, target, seen);
        for (uint32_t i = 0; i < degree; i++) {
            a->letter[u][i] = (uint8_t)alphabet[letter[i]];
            a->target[u][i] = (uint8_t)(target[i] + (target[i] >= (uint32_t)u));
        }
    }
}

int automaton_step(const automaton *a, int state, int letter)
{
    for (int i = 0; i < a->degree[state]; i++)
        if (a->letter[state][i] == letter) return a->target[state][i];
    return -1;
}

static void sort_edges(automaton *a)
{
    for (int u = 0; u < a->states; u++)
        for (int i = 1; i < a->degree[u]; i++)
            for (int j = i; j > 0 && a->letter[u][j] < a->letter[u][j - 1]; j--) {
                uint8_t l = a->letter[u][j], t = a->target[u][j];
                a->letter[u][j] = a->letter[u][j - 1];
                a->target[u][j] = a->target[u][j - 1];
                a->letter[u][j - 1] = l;
                a->target[u][j - 1] = t;
            }
}

/* Whether states u and v, whose edges are sorted, lead by equal letters to equal classes. */
static int alike(const automaton *a, const int *class, int u, int v)
{
    if (a->degree[u] != a->degree[v] || class[u] != class[v]) return 0;
    for (int i = 0; i < a->degree[u]; i++)
        if (a->letter[u][i] != a->letter[v][i] || class[a->target[u][i]] != class[a->target[v][i]])
            return 0;
    return 1;
}

/* Split the classes once (the class of a state is the least state like it); 1 if any changed.
 * The first round, from one class, compares the letters. */
static int split_classes(const automaton *a, int *class)
{
    int next[STATES_MOST] = {0}, changed = 0;
    for (int u = 0; u < a->states; u++) {
        int v = 0;
        while (!alike(a, class, u, v))
            v++;
        next[u] = v;
    }
    for (int u = 0; u < a->states; u++)
        changed |= next[u] != class[u];
    memcpy(class, next, sizeof next);
    return changed;
}

void automaton_minimize(const automaton *a, automaton *minimal)
{
    automaton sorted = *a;
    int class[STATES_MOST] = {0}, number[STATES_MOST], order[STATES_MOST], found = 1;
    sort_edges(&sorted);
    while (split_classes(&sorted, class))
        ;
    /* Breadth first from the start; unreachable classes are never met. */
    for (int u = 0; u < a->states; u++)
        number[u] = -1;
    number[class[0]] = 0;
    order[0] = class[0];
    for (int i = 0; i < found; i++)
        for (int e = 0; e < sorted.degree[order[i]]; e++) {
            int c = class[sorted.target[order[i]][e]];
            if (number[c] >= 0) continue;
            number[c] = found;
            order[found++] = c;
        }
    *minimal = (automaton){.states = found};
    for (int i = 0; i < found; i++) {
        minimal->degree[i] = sorted.degree[order[i]];
        for (int e = 0; e < minimal->degree[i]; e++) {
            minimal->letter[i][e] = sorted.letter[order[i]][e];
            minimal->target[i][e] = (uint8_t)number[class[sorted.target[order[i]][e]]];
        }
    }
}

int automaton_form(const automaton *minimal, uint8_t form[FORM_MOST])
{
    int at = 0;
    form[at++] = (uint8_t)minimal->states;
    for (int u = 0; u < minimal->states; u++) {
        form[at++] = minimal->degree[u];
        for (int i = 0; i < minimal->degree[u]; i++) {
            form[at++] = minimal->letter[u][i];
            form[at++] = minimal->target[u][i];
        }
    }
    return at;
}

const char *automaton_parse(const uint8_t *form, size_t bytes, automaton *a)
{
    size_t at = 1;
    *a = (automaton){0};
    if (bytes == 0 || form[0] < 1 || form[0] > STATES_MOST) return "an automaton of 1..12 states";
    a->states = form[0];
    for (int u = 0; u < a->states; u++) {
        if (at >= bytes || form[at] < 1 || form[at] > DEGREE_MOST ||
            bytes - at - 1 < 2 * (size_t)form[at])
            return "an out-degree 1..3 and its transitions";
        a->degree[u] = form[at++];
        for (int i = 0; i < a->degree[u]; i++, at += 2) {
            a->letter[u][i] = form[at];
            a->target[u][i] = form[at + 1];
            if (form[at] >= LETTERS || form[at + 1] >= a->states ||
                (i > 0 && form[at] <= a->letter[u][i - 1]))
                return "transitions by ascending letters 0..17 to states of the automaton";
        }
    }
    return at == bytes ? NULL : "nothing after the last state of the automaton";
}
