/* SPDX-License-Identifier: MIT
 *
 * evidence.h — what an experiment shows: the files of its cells and of its data lines, each opened
 * (and so hashed) once. Their rows and what they were made with stay in memory while the lines of
 * the experiment are shown.
 */
#ifndef MOSAIC_EVIDENCE_H
#define MOSAIC_EVIDENCE_H

#include "experiment.h"
#include "pivot.h"

typedef struct evidence {
    char **path;      /* of all files */
    int files, found; /* found: those that are there                                           */
    sources all;      /* their rows, of the tables that lines speak of              */
} evidence;

/* cells: of every experiment. root: where the files of data lines lie; folder: those of `data @/`,
 * the results. A missing file has no rows. */
status evidence_read(evidence *v, const experiment *e, const cells *all, const char *root,
                     const char *folder);
void evidence_free(evidence *v);

#endif
