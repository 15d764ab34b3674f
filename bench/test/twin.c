/* SPDX-License-Identifier: MIT
 *
 * twin.c — see twin.h.
 */
#include "twin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "tiny.h"
#include "worse.h"

int answer_of(selftest *t, const model *on, struct mosaic *m, const batch *b, int64_t dropout_step,
              answer *a)
{
    step_report r;
    *a = (answer){.logit_count = b->B * b->T * on->config(m)->V};
    a->logits = malloc((size_t)a->logit_count * sizeof *a->logits);
    status s = a->logits ? on->predict(m, b, a->logits) : ERR_MEMORY;
    if (s == OK) s = model_step(on, m, b, 4, dropout_step, NULL, 0, &r);
    if (s == OK) a->gradient = slot_get(t, on, m, SLOT_GRAD, &a->count);
    if (s != OK) fprintf(stderr, "%s: %s\n", on->name, last_error());
    a->loss = s == OK ? r.loss : NAN;
    EXPECT(s == OK && a->gradient);
    return s == OK && a->gradient;
}

void answer_free(answer *a)
{
    free(a->logits);
    free(a->gradient);
}

double distance_of(const double *got, const double *want, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return size == 0 ? sqrt(error) : sqrt(error / size);
}

static void add_twin(const struct mosaic *ref, const answer *twin, const answer *want, spread *s)
{
    parameter_info info;
    int64_t at = 0;
    s->logits = worse(s->logits, distance_of(twin->logits, want->logits, want->logit_count));
    s->loss = worse(s->loss, distance_of(&twin->loss, &want->loss, 1));
    for (int64_t i = 0; mosaic_ref.info(ref, i, &info) == OK; i++, at += info.count)
        s->gradient[i] = worse(s->gradient[i],
                               distance_of(twin->gradient + at, want->gradient + at, info.count));
}

int spread_of(selftest *t, struct mosaic *ref, const batch *b, int64_t dropout_step,
              const answer *want, double rounding, spread *s)
{
    int64_t n = 0;
    double *values = slot_get(t, &mosaic_ref, ref, SLOT_VALUE, &n), *moved;
    *s = (spread){.gradient = calloc((size_t)mosaic_ref.parameters(ref), sizeof(double))};
    moved = malloc((size_t)(n > 0 ? n : 1) * sizeof *moved);
    int good = values && moved && s->gradient;
    for (int twin = 0; good && twin < TWINS; twin++) {
        answer a;
        rng r = {(uint64_t)twin + 1};
        for (int64_t i = 0; i < n; i++)
            moved[i] = values[i] * (1 + (rng_below(&r, 2) ? rounding : -rounding));
        slot_put(t, &mosaic_ref, ref, SLOT_VALUE, moved);
        good = answer_of(t, &mosaic_ref, ref, b, dropout_step, &a);
        if (good) add_twin(ref, &a, want, s);
        answer_free(&a);
    }
    if (values) slot_put(t, &mosaic_ref, ref, SLOT_VALUE, values);
    free(values);
    free(moved);
    EXPECT(good);
    return good;
}

void spread_free(spread *s)
{
    free(s->gradient);
}

void expect_near_twins(selftest *t, const char *what, const char *tensor, double distance,
                       double tol, double twins)
{
    const double room = fmax(tol, TWIN_ROOM * twins);
    if (!(distance <= room))
        fprintf(stderr, "%s: %s: off by %g, expected at most %g (twins: %g)\n", what, tensor,
                distance, room, twins);
    EXPECT(distance <= room);
}

void expect_answer(selftest *t, const char *what, const struct mosaic *ref, const answer *got,
                   const answer *want, const spread *s, double tol)
{
    parameter_info info;
    int64_t at = 0;
    EXPECT(got->count == want->count && got->logit_count == want->logit_count);
    expect_near_twins(t, what, "logits", distance_of(got->logits, want->logits, want->logit_count),
                      tol, s->logits);
    expect_near_twins(t, what, "loss", distance_of(&got->loss, &want->loss, 1), tol, s->loss);
    for (int64_t i = 0; mosaic_ref.info(ref, i, &info) == OK; i++, at += info.count)
        expect_near_twins(t, what, info.name,
                          distance_of(got->gradient + at, want->gradient + at, info.count), tol,
                          s->gradient[i]);
}
