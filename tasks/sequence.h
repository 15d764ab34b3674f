/* SPDX-License-Identifier: MIT
 *
 * sequence.h — what the tasks made of a source line and a target line share: forms of a sample,
 * generated and read datasets, scores, oracle, in-context n-grams. Inside tasks/ only.
 */
#ifndef MOSAIC_SEQUENCE_H
#define MOSAIC_SEQUENCE_H

#include "rng.h"
#include "sequence_file.h"
#include "task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How S source and R target ids become x and y. Ids `symbols` + 0..3 are BOS, SEP, EOS, PAD. */
typedef enum sequence_form {
    FORM_PROMPT, /* s = BOS src SEP trg EOS, x = s[0..n-2], y = s[1..n-1] from SEP on; T = S+R+2 */
    FORM_READ,   /* s = BOS src trg EOS, scored from the last source token on; T = S+R+1         */
    FORM_LABEL   /* x = BOS src EOS, y = IGNORE trg IGNORE; R = S, T = S+2                        */
} sequence_form;

typedef struct sequence_rule {
    sequence_form form;
    int32_t inputs, labels; /* ids in src are below inputs, in trg below labels          */
    int32_t symbols;        /* data ids, max(inputs, labels)                             */
    int64_t center, vary;   /* training: L uniform on center-vary .. center+vary         */
    int64_t shortest;       /* least nominal length that makes a sample                  */
    /* Most ids that a sample of nominal length L can have. */
    void (*room)(const data_options *o, int64_t L, int64_t *S, int64_t *R);
    /* Draw a sample of nominal length L. own: what prepare made. */
    void (*generate)(const dataset *d, const void *own, rng *r, int64_t L, int32_t *src, int64_t *S,
                     int32_t *trg, int64_t *R);
    /* The target line of a source line; trg has room for S + 1 ids. */
    void (*solve)(const dataset *d, const int32_t *src, int64_t S, int32_t *trg, int64_t *R);
    /* Whether a pair of lines can be a sample, and what to expect if not. */
    int (*fits)(int64_t S, int64_t R);
    const char *expected;
    /* What a generated split needs beside its stream, or NULL; freed with free(). */
    status (*prepare)(const data_options *o, void **own);
    status (*score)(const dataset *d, const sample *s, const prediction *p, metrics *all);
} sequence_rule;

/* The parts of a sample: source ids x[1..S], target ids y[first..first+R-1]. */
typedef struct sequence_parts {
    const int32_t *src, *trg;
    int64_t S, R, first;
} sequence_parts;
sequence_parts sequence_split(const dataset *d, const sample *s);
const sequence_rule *sequence_rule_of(const dataset *d);

status sequence_open(const struct task *t, const data_options *o, const sequence_rule *rule,
                     dataset **out);
/* task.write of every such task: STEM.src, STEM.trg and their .idx of the split in o. */
status sequence_write(const struct task *t, const data_options *o, const char *out);

/* "ce" over all targets, "token_acc" and "exact" over trg, "em_eos" with EOS. */
status sequence_score(const dataset *d, const sample *s, const prediction *p, metrics *all);
/* Chance (order 0) and in-context n-grams, see sequence_ngram.c. ERR_ARG for orders above 0 where
 * the answer does not continue a text. */
status sequence_ngram(const dataset *d, const sample *s, int order, double *logits);

/* Both lines have equally many ids. */
int sequence_equal(int64_t S, int64_t R);
/* room of tasks with |src| = |trg| = L */
void sequence_room(const data_options *o, int64_t L, int64_t *S, int64_t *R);

#ifdef __cplusplus
}
#endif
#endif
