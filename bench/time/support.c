/* SPDX-License-Identifier: MIT
 *
 * support.c — see support.h. The weights are those of the reference, a strip of 64 rows at a time:
 * nobody has room for all of a long sequence.
 */
#include "support.h"

#include <stdlib.h>

#include "stage.h"

enum { TILE = 64 };

/* Whole numbers, so that no order of adding them matters. */
typedef struct counts {
    double rows, keys, most, tiles, alive;
} counts;

/* A strip of rows: p is TILE rows of T, stat TILE rows. */
static void count_strip(const double *p, const double *stat, int64_t T, const int32_t *live,
                        int64_t rows, counts *n)
{
    for (int64_t r = 0; r < rows; r++) {
        const double keys = stat[r * STATS + STAT_COUNT];
        if (live[r] == 0) continue;
        n->rows++;
        n->keys += keys;
        if (keys > n->most) n->most = keys;
    }
    for (int64_t j = 0; j < live[rows - 1]; j += TILE) {
        const int64_t end = live[rows - 1] < j + TILE ? live[rows - 1] : j + TILE;
        int alive = 0;
        for (int64_t r = 0; r < rows && !alive; r++)
            for (int64_t i = j; i < end; i++)
                alive |= p[r * T + i] > 0;
        n->tiles++;
        n->alive += alive;
    }
}

static status measure_strip(const args *a, const double *beta, const int32_t *live, int64_t head,
                            int64_t t, counts *n)
{
    const int64_t T = a->d.T, rows = T - t < TILE ? T - t : TILE;
    double *room = malloc((size_t)(TILE * (2 * T + STATS + 1)) * sizeof *room);
    if (!room) return ERR_MEMORY;
    double *p = room + TILE * T, *stat = p + TILE * T, *row_beta = stat + TILE * STATS;
    const status s = attention_rows(a, beta, live, head, t, rows, room, row_beta, p, stat);
    if (s == OK) count_strip(p, stat, T, live + t, rows, n);
    free(room);
    return s;
}

status support_measure(const call *c, support *s)
{
    const args a = {.in = {call_in(c, "q"), call_in(c, "k")},
                    .d = c->a.d,
                    .p = c->a.p,
                    .transform = c->a.transform};
    const int64_t strips = (a.d.T + TILE - 1) / TILE, all = a.d.B * a.d.H * strips;
    int32_t *live = malloc((size_t)a.d.T * sizeof *live);
    counts *n = calloc((size_t)all, sizeof *n), sum = {0};
    status done = live && n ? OK : ERR_MEMORY;
    if (done == OK) attention_live(&a, live);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < (done == OK ? all : 0); i++) {
        const status got =
            measure_strip(&a, call_in(c, "beta"), live, i / strips, i % strips * TILE, &n[i]);
        if (got == OK) continue;
#pragma omp critical
        done = got;
    }
    for (int64_t i = 0; done == OK && i < all; i++) {
        sum.rows += n[i].rows;
        sum.keys += n[i].keys;
        sum.tiles += n[i].tiles;
        sum.alive += n[i].alive;
        if (n[i].most > sum.most) sum.most = n[i].most;
    }
    *s = (support){sum.keys / sum.rows, sum.most, sum.alive / sum.tiles};
    free(live);
    free(n);
    return done == OK ? OK : fail(done, "support: weights: %s", status_text(done));
}
