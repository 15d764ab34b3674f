/* SPDX-License-Identifier: MIT
 *
 * sampling.h — what a model says next, id after id, by streaming inference (spec of the model,
 * section 2.13).
 *
 *     p = softmax(z / temperature) over the top_k largest logits of the ids that can be said
 *     the next id is the first one whose cumulated p exceeds u_t, the first uniform number of the
 *     stream key(seed, t), t the ids read so far
 *
 * A draw is addressed by its position, so what is said does not depend on how much of it was the
 * prompt. Temperature 0 is the limit: the likeliest id, the lowest on ties.
 */
#ifndef MOSAIC_SAMPLING_H
#define MOSAIC_SAMPLING_H

#include "mosaic.h"

typedef struct sampling {
    double temperature;
    int64_t top_k; /* 0: all */
    uint64_t seed;
} sampling;

/* The weights p [V] of logits z [V], -inf where an id cannot be said, and the id they give at
 * position t. ERR_NUMERIC if a logit is NaN or inf, or no id can be said. */
status sampling_draw(const sampling *how, const double *z, int64_t V, int64_t t, double *p,
                     int32_t *id);

/* A model that reads and says one sequence. */
typedef struct speaker speaker;
/* sayable [V]: 0 where an id is never said. The model must outlive the speaker. */
status speaker_open(speaker **s, const model *on, struct mosaic *m, const char *sayable,
                    const sampling *how);
void speaker_close(speaker *s); /* NULL is fine */
/* Read one id. Of the next one: a draw, which is not read; and how unlikely it is, -ln
 * softmax(z)_id in nats, at temperature 1 over all ids (NaN before the first). */
status speaker_read(speaker *s, int32_t id);
status speaker_say(speaker *s, int32_t *id);
double speaker_loss(const speaker *s, int32_t id);
/* Ids read so far. */
int64_t speaker_position(const speaker *s);

#endif
