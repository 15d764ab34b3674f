/* SPDX-License-Identifier: MIT
 *
 * sequences.h — named families of inputs of attention (sequences.def), the same on every machine.
 */
#ifndef MOSAIC_SEQUENCES_H
#define MOSAIC_SEQUENCES_H

#include "call.h"

/* Keys and values of heads of one sequence, (H,T,D), which are the queries too, with the inverse
 * bandwidth of each head: those of a trained mosaic. */
typedef struct key_stream {
    int64_t H, T, D;
    double *key, *value, *beta;
    char about[200]; /* whose they are */
} key_stream;

/* Name of the i-th family; NULL past the end. */
const char *sequence_name(int i);
/* 1 if it is one, of an operation that is given queries and keys. */
int sequence_applies(const char *family, const op *o);
/* The factor of the scores that belongs to a family. */
double sequence_scale(const char *family, int64_t D);
/* Fill the host inputs of attention or of attention_weights; k is q if the call is tied. beta: of
 * every head, 0 mixes them. The family `trained` copies c->keys, its heads over and over: ERR_ARG
 * without them, or if they are shorter than the call or not as wide. */
status sequences_fill(call *c, const char *family, double beta, uint64_t seed);

#endif
