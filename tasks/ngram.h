/* SPDX-License-Identifier: MIT
 *
 * ngram.h — interpolated n-gram models of a token stream, n = 1, 2, 3: the yardstick of every
 * language model here.
 */
#ifndef MOSAIC_NGRAM_H
#define MOSAIC_NGRAM_H

#include "spec.h"

enum { NGRAM_ORDERS = 3 };

typedef struct ngram ngram;

/* Count a stream of ids, all less than `vocab` <= 65536. On failure *out is NULL. */
status ngram_build(const uint16_t *ids, size_t count, int32_t vocab, ngram **out);
/* Row t of logits [T][vocab]: ln P(next id | the last order-1 ids of x[0..t]); at the start of x
 * the context is as long as there is. 1 <= order <= 3. Threads may share the model. */
status ngram_logits(const ngram *g, const int32_t *x, int64_t T, int order, double *logits);
void ngram_free(ngram *g); /* NULL is fine */

#endif
