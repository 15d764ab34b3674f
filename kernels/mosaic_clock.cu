/* SPDX-License-Identifier: MIT
 *
 * mosaic_clock — where the time of a step goes: a pair of events around every operation and
 * product, read when the timing ends. What lies between the stages (small kernels, gaps) is what
 * the whole step, a stage of its own, has more than all others.
 */
#include "mosaic.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which stage has this name; a new one if none has. */
static int stage_of(stopwatch *w, const char *name)
{
    int i = 0;
    while (i < w->stages && strcmp(w->stage[i].name, name) != 0)
        i++;
    if (i == w->stages && i < MOST_STAGES) {
        snprintf(w->stage[i].name, sizeof w->stage[i].name, "%s", name);
        w->stage[i].calls = 0;
        w->stage[i].seconds = 0;
        w->stages++;
    }
    return i < MOST_STAGES ? i : MOST_STAGES - 1;
}

static status more_laps(stopwatch *w)
{
    const int room = w->room ? 2 * w->room : 1024;
    lap *longer = (lap *)realloc(w->laps, (size_t)room * sizeof *longer);
    if (!longer) return fail(ERR_MEMORY, "model cuda: out of memory for %d times", room);
    memset(longer + w->room, 0, (size_t)(room - w->room) * sizeof *longer);
    w->laps = longer;
    w->room = room;
    return OK;
}

status clock_begin(mosaic *m, const char *name, int *which)
{
    stopwatch *w = &m->watch;
    *which = -1;
    if (!w->on || !m->now || (w->step < 0 && which != &w->step)) return OK;
    if (w->used == w->room) TRY(more_laps(w));
    lap *l = &w->laps[w->used];
    for (int side = 0; side < 2 && !l->event[side]; side++)
        CUDA_TRY(cudaEventCreate(&l->event[side]), "model cuda: event");
    l->stage = stage_of(w, name);
    l->ended = 0;
    CUDA_TRY(cudaEventRecord(l->event[0], m->now), "model cuda: event");
    *which = w->used++;
    return OK;
}

status clock_end(mosaic *m, int which)
{
    if (which < 0) return OK;
    m->watch.laps[which].ended = 1;
    CUDA_TRY(cudaEventRecord(m->watch.laps[which].event[1], m->now), "model cuda: event");
    return OK;
}

status clock_switch(mosaic *m, int on)
{
    stopwatch *w = &m->watch;
    TRY(use_device(m));
    TRY(finish(m));
    for (int i = 0; i < w->used; i++) {
        const lap *l = &w->laps[i];
        float ms;
        if (!l->ended) continue; /* a call that failed */
        CUDA_TRY(cudaEventElapsedTime(&ms, l->event[0], l->event[1]), "model cuda: event");
        w->stage[l->stage].calls++;
        w->stage[l->stage].seconds += 1e-3 * ms;
    }
    w->used = 0;
    if (on) w->stages = 0;
    w->on = on;
    w->step = -1;
    return OK;
}

int clock_stage(const mosaic *m, int i, stage_time *t)
{
    if (i < 0 || i >= m->watch.stages) return 0;
    *t = m->watch.stage[i];
    return 1;
}

void clock_free(stopwatch *w)
{
    for (int i = 0; i < w->room; i++)
        for (int side = 0; side < 2; side++)
            if (w->laps[i].event[side]) (void)cudaEventDestroy(w->laps[i].event[side]);
    free(w->laps);
}
