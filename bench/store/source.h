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

/* What stands behind a row: of a time the seconds of its samples, and as weight those of the
 * yardstick beside each; of a score what each sample adds to its sum, and as weight to its count.
 */
typedef struct behind {
    double *x, *weight; /* NULL if there is nothing */
    int64_t count;
} behind;

typedef struct sources {
    origin *origin; /* in order of the files; a merged one has those of its sources           */
    int origins;
    char **path; /* of the files, to which the origins point                       */
    int paths;
    int unfinished;       /* files of programs that are running, or were ended                   */
    int *from[TABLES];    /* of each row, its origin                                             */
    source rows[TABLES];  /* all their rows, file after file: of the tables that were wanted     */
    behind *each[TABLES]; /* of each row, if SAMPLES_TOO were wanted                             */
} sources;

void sources_start(sources *v);
enum { ROWS_ONLY = 1, SAMPLES_TOO };
/* Add the rows of a file: of the tables wanted[TABLES] (0: not this one). ERR_FILE, ERR_DATA,
 * ERR_MEMORY; what was there before stays. */
status sources_read(sources *v, const char *path, const int *wanted);
void sources_free(sources *v);

/* The device of rows, or else the CPU. */
const char *origin_device(const origin *o);
/* OK if rows i and j may share a number: one build made them and, where the machine decides, one
 * device. ERR_DATA says what differs. */
status source_same_origin(const source *s, int64_t i, int64_t j);
/* OK if they may stand beside each other, one build and device apart if `across` says so. */
enum { ACROSS_DEVICE = 1, ACROSS_BUILD = 2 };
status source_comparable(const source *s, int64_t i, int64_t j, unsigned across);
/* OK if two rows are the same but for their seeds; ERR_DATA names what else differs of what says
 * what they are. *seeds: do they differ? */
status source_same_but_seed(const source *s, int64_t i, int64_t j, int *seeds);
/* Have two rows the same in a column? text: what each has. */
int same_value(const column *c, const char *a, const char *b, char text[2][64]);
/* Do two configurations differ, but for the words of `but`, by commas? what: the first that does,
 * and how. */
int configs_differ(table of, const char *a, const char *b, const char *but, char what[200]);

#endif
