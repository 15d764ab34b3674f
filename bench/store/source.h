/* SPDX-License-Identifier: MIT
 *
 * source.h — the rows of many result files, each with what made it.
 */
#ifndef MOSAIC_SOURCE_H
#define MOSAIC_SOURCE_H

#include "results.h"

/* What made rows; "" if their file does not say. */
typedef struct origin {
    const char *path;
    char commit[200], created[60], sources[80], compiler[200], cpu[200], device[200], driver[60];
    double copy; /* bandwidth of the device in B/s; NaN if not measured */
} origin;

typedef struct source {
    table of;
    char *rows; /* count rows of table_row_size(of) */
    int64_t count;
    const int *from; /* of each row, its origin; NULL: they have one */
    const origin *origin;
} source;

typedef struct sources {
    origin *origin; /* in order of the files; a merged one has those of its sources           */
    int origins;
    int unfinished;      /* files of programs that are running, or were ended                   */
    int *from[TABLES];   /* of each row, its origin                                             */
    source rows[TABLES]; /* all their rows, file after file: of the tables that were wanted     */
} sources;

void sources_start(sources *v);
/* Add the rows of a file: of the tables wanted[TABLES]. ERR_FILE, ERR_DATA, ERR_MEMORY; what was
 * there before stays. */
status sources_read(sources *v, const char *path, const int *wanted);
void sources_free(sources *v);

/* The device of rows, or else the CPU. */
const char *origin_device(const origin *o);
/* OK if rows i and j may share a number: one build made them and, where the machine decides, one
 * device. ERR_DATA says what differs. */
status source_same_origin(const source *s, int64_t i, int64_t j);
/* OK if they differ in their seeds and in nothing else that says what they are; ERR_DATA names what
 * differs. */
status source_same_but_seed(const source *s, int64_t i, int64_t j);

#endif
