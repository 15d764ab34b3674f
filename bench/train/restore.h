/* SPDX-License-Identifier: MIT
 *
 * restore.h — a checkpoint that is used rather than trained on: its words, its model where the
 * words backend= and type= of a verb want it, and its data, of which what the user says overrides
 * what it was trained on.
 */
#ifndef MOSAIC_RESTORE_H
#define MOSAIC_RESTORE_H

#include "checkpoint.h"
#include "evaluate.h"

typedef struct restored {
    const char *path;
    checkpoint c;
    words *w; /* of the run, which r refers to */
    recipe r;
    mosaic_config config;
    data_options data;
    predictor p;
} restored;

/* ERR_FILE, ERR_DATA, ERR_ARG with one line; then nothing is open. */
status restore_open(restored *x, const char *path, const words *w);
void restore_close(restored *x); /* one that was not opened is fine */
/* ERR_DATA unless the data speaks the language of the checkpoint. */
status restore_check(const restored *x, const dataset *d);

#endif
