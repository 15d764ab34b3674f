/* SPDX-License-Identifier: MIT
 *
 * experiment.h — the paper as a file. Lines of words; "double quotes" keep spaces together, #
 * starts a comment, $name is a variable of the chosen profile or names of a list (listed.c), a
 * trailing \ continues the line.
 *
 *   profile NAME key=value ...        variables of a scale (smoke, lite, paper) or a card ($name
 *                                     ends where letters, digits and _ end); scale=
 *                                     is what its tables confess, else it is what measured them
 *   experiment ID "title"             opens an experiment; the lines below belong to it
 *     note "text"                     printed under every table of it
 *     run VERB words                  one cell for every choice of the {a,b,...} lists in the words
 *                                     checkpoint=@ keeps its model; best=@ has the tests made with
 *                                     that of the lowest validation loss
 *     then VERB words                 after each cell of the run above; from=@ is its checkpoint
 *     data FILE                       a committed measurement, shown with the cells; @/FILE lies in
 *                                     the folder of the results. A file that is missing has no rows
 *     table ID words                  see show.h
 *     figure ID words
 *     story ID words
 *     compare ID words
 *   claim "text" words                a number of the paper beside ours, or theorems; see show.h
 *
 * A line may begin with @NAME[,NAME]: it then exists in those profiles only; with @!NAME[,NAME] in
 * all others.
 */
#ifndef MOSAIC_EXPERIMENT_H
#define MOSAIC_EXPERIMENT_H

#include "spec.h"

enum { LINE_WORDS = 48 };

typedef enum line_kind {
    LINE_NOTE,
    LINE_RUN,
    LINE_THEN,
    LINE_DATA,
    LINE_TABLE,
    LINE_FIGURE,
    LINE_STORY,
    LINE_COMPARED,
    LINE_CLAIM
} line_kind;

typedef struct line {
    line_kind kind;
    int number; /* in the file, for messages      */
    int count;  /* words after the kind           */
    char *word[LINE_WORDS];
} line;

typedef struct experiment {
    char *id, *title;
    line *lines;
    int count;
} experiment;

typedef struct paper {
    char *path;
    const char *profile;
    char *scale;        /* of the profile; NULL if it has none */
    char *card;         /* the same */
    char profiles[400]; /* all that the file has */
    experiment *experiments;
    int count;
} paper;

/* Names of a list by a name of their own, with commas or `between` them (listed.c); "" if there is
 * no such list, NULL without memory. Caller frees. */
char *listed_names(const char *list, size_t length, char between);

/* Read an experiment file for one profile. ERR_FILE / ERR_DATA with file and line. */
status paper_read(paper **p, const char *path, const char *profile);
void paper_free(paper *p); /* NULL is fine */
/* Every word of the lines that show is known (known.c): their keys, columns and values. ERR_DATA
 * with file, line and a guess. */
status paper_check(const paper *p);

/* The value of key= among the words of a line, or fallback. */
const char *line_value(const line *l, const char *name, const char *fallback);

/* One cell: a command and the files it makes. */
typedef struct cell {
    const experiment *of;
    char *verb;
    int count;
    char *word[LINE_WORDS]; /* key=value, without out= and those with @ */
    char *name;             /* folder/file stem: the words, made fit for a file name */
    char *result;           /* NAME.h5                                         */
    char *checkpoint;       /* NAME.checkpoint.h5, or NULL                     */
    char *best;             /* NAME.best.h5, or NULL                           */
    int after;              /* index of the cell whose checkpoint it reads; -1 */
} cell;

typedef struct cells {
    cell *cell;
    int count;
} cells;

/* The cells of the chosen experiments (ids: count 0 is all) under `results`/profile/id/. */
status cells_plan(const paper *p, const char *results, const char *const *ids, int ids_count,
                  cells *all);
void cells_free(cells *all);

/* Create the folders that lead to a file; 0 if one cannot be. */
int make_folders(const char *path);

#endif
