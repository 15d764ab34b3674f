/* SPDX-License-Identifier: MIT
 *
 * recipe.h — what a line of `mosaic train` says: one model, one optimiser, one data set. The words
 * that decide the numbers of a run travel with its checkpoint, as text, so that a run can be
 * resumed, its model rebuilt and its data found again by reading them back.
 */
#ifndef MOSAIC_RECIPE_H
#define MOSAIC_RECIPE_H

#include "mosaic.h"
#include "store/columns.h"
#include "task.h"
#include "verb.h"

/* One cell of the lists method x layers x seed of the words of train, read once. The texts belong
 * to the words. */
typedef struct recipe {
    const words *w; /* the line, for what is stored as text */
    const char *task, *method, *backend;
    const char *checkpoint, *best; /* NULL: none */
    int64_t layers, seed, batch, steps;
    int64_t log_every, save_every; /* save_every 0: by the clock                    */
    double save_seconds;
    int64_t eval_every, eval_samples, profile; /* eval_every 0: only at the end     */
    int64_t tests, test_samples;               /* lengths to test at: recipe_test               */
    int greedy, threads;
    optimizer adam; /* lr: the peak                                  */
    double lr_min;
    int64_t warmup, horizon; /* of the schedule, resolved                     */
    int regbench;            /* its schedule; else the cosine                 */
    data_options data;       /* of training                                   */
} recipe;

/* The cell of the i-th method, j-th depth and k-th seed. */
recipe recipe_cell(const words *w, int64_t i, int64_t j, int64_t k);

/* Keys whose values decide parameters and losses; NULL past the end. */
const char *recipe_key(int i);
/* Value of such a key in the one spelling that is compared and stored. */
enum { RECIPE_TEXT = 4096 };
void recipe_value(const recipe *r, const char *name, char text[RECIPE_TEXT]);
/* "key=value ..." of those that are no default and have no column of their own: column `config`.
 * on: where it runs; data_hash: of what it learns from. */
void recipe_columns(const recipe *r, const words *where, const model *on, uint64_t data_hash,
                    WORDS_ config);
/* The same of the words about data alone: of a baseline, whose data is data_hash if it was read. */
void data_columns(const words *w, uint64_t data_hash, WORDS_ config);
/* OK if `old` (of a checkpoint) and `r` describe the same run, but for where its files lie and
 * where it is computed; else ERR_ARG naming the key. */
status recipe_same(const recipe *r, const recipe *old);

/* The model for data of this vocabulary, trained on sequences of at most `longest`. */
status recipe_config(const recipe *r, int64_t vocab, int64_t longest, mosaic_config *c);
/* How the words type= and micro= want a model to run; the reference is always in double. */
placement recipe_placement(const words *w, const model *on);
/* The optimiser at a 0-based step. */
optimizer recipe_optimizer(const recipe *r, int64_t step);
status recipe_check(const recipe *r);
/* What the i-th test is made of. */
status recipe_test(const recipe *r, int64_t i, data_options *o);

/* The data keys that train, eval and data share. given: only those the user typed. */
void data_words(const words *w, int given, data_options *o);
/* "train", "validation" or "test" as the split that holds shards of this nominal length: shard i
 * has length 64 * 2^i, other lengths belong to the next one above. ERR_ARG for another word. */
status split_find(const char *word, int64_t length, int *split);
/* 0: all cores */
void threads_set(int64_t threads);

/* i-th element of a random permutation of 0..n-1 that belongs to `which` (a Feistel network on the
 * smallest even number of bits that holds n, walked until it lands inside). */
int64_t shuffled(int64_t i, int64_t n, uint64_t which);

#endif
