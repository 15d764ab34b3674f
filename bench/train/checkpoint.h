/* SPDX-License-Identifier: MIT
 *
 * checkpoint.h — a training run on disk. The file is HDF5 behind a seal (seal.h):
 *
 *     /params/<name> /moment1/<name> /moment2/<name>   double, the shapes of the model
 *     /train /eval                                     the rows so far (columns.def)
 *     /config                                          the words of the run, one attribute a key
 *     / step finished best vocab longest data_hash tokenizer_hash sources inputs unicode
 *
 * The seal is checked before the HDF5 library sees a byte, so a truncated or damaged file is
 * refused in one line. Dropout masks and the order of the data are functions of (seed, step): there
 * is no other random state. A file replaces its predecessor only when it is whole and on the disk.
 */
#ifndef MOSAIC_CHECKPOINT_H
#define MOSAIC_CHECKPOINT_H

#include "recipe.h"
#include "store/results.h"

typedef struct checkpoint {
    int64_t step;           /* updates done                                        */
    int64_t finished;       /* 1: the last evaluations are among the rows         */
    double best;            /* lowest validation loss so far, INFINITY before one  */
    int64_t vocab, longest; /* of the data, its longest sequence           */
    uint64_t data_hash, tokenizer_hash;
    train_row *train;
    eval_row *eval;
    stage_row *stage; /* of this run alone: no file knows them */
    int64_t trains, evals, stages;
} checkpoint;

status checkpoint_log_train(checkpoint *c, const train_row *row);
status checkpoint_log_eval(checkpoint *c, const eval_row *row);
void checkpoint_free(checkpoint *c); /* the rows */

/* ERR_FILE if it cannot be written: then the file of that name is as it was. */
status checkpoint_write(const char *path, const checkpoint *c, const recipe *r, const model *on,
                        const struct mosaic *m);
/* Everything but the tensors; *w receives the words of the run (words_free). ERR_FILE if there is
 * no such file, ERR_DATA if it is not ours, newer, truncated or damaged. */
status checkpoint_read(const char *path, checkpoint *c, words **w);
/* The tensors, into a model of the same configuration; moments: those of AdamW too. */
status checkpoint_tensors(const char *path, const model *on, struct mosaic *m, int moments);

#endif
