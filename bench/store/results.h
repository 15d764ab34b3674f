/* SPDX-License-Identifier: MIT
 *
 * results.h — result files. One HDF5 file holds any of the tables of columns.def as compound
 * datasets /check /time /train /eval /row /stage /sample /compare, what stands behind them (raw of
 * columns.h: a row for each row of its table, padded with NaN), and provenance as attributes of /.
 * A file appears under its name only when it is whole: it is written to NAME.tmp.PID, sealed
 * (seal.h), flushed to disk and renamed.
 */
#ifndef MOSAIC_RESULTS_H
#define MOSAIC_RESULTS_H

#include "columns.h"
#include "verb.h"

typedef struct results results;

/* Start a file; nothing is visible until results_close. path "" or NULL: *r = NULL, and every
 * call below accepts NULL and does nothing. The words go into the provenance, with the build and
 * the machine (provenance_text of verb.h). */
status results_create(results **r, const char *path, const words *w);
status results_append(results *r, table t, const void *row);
/* What stands behind the row appended last to its table. */
status results_samples(results *r, raw what, const double *values, int64_t count);
/* One more attribute of /. */
status results_attribute(results *r, const char *name, const char *value);
status results_attribute_number(results *r, const char *name, double value);
/* What there is so far, whole and sealed under its name, with an attribute `unfinished`; the file
 * goes on. over = 0: not over what another program left there. */
status results_save(results *r, int over);
/* Flush, close, rename; or with keep = 0 throw away what was not saved. NULL is fine. */
status results_close(results *r, int keep);

/* A result file, open for reading: its seal is checked once, here. ERR_FILE / ERR_DATA with one
 * line if it is not ours, of a newer schema, or damaged. */
typedef struct stored stored;
status stored_open(const char *path, stored **f);
void stored_close(stored *f); /* NULL is fine */
/* 0: it holds the rows of a program that was still running, or was ended (results_save). */
int stored_finished(const stored *f);
/* The rows of one table, none if it is absent; the caller frees them. */
status stored_rows(const stored *f, table t, void **rows, int64_t *count);
/* An attribute of / as text, numbers in full; "" if it is absent. */
status stored_text(const stored *f, const char *name, char *value, size_t size);
/* One that is a number; NaN if it is not. */
double stored_number(const stored *f, const char *name);
/* What stands behind the rows of a table, [rows][width]; the caller frees it. ERR_DATA also if it
 * is not of as many rows as the table has; none: NULL. */
status stored_samples(const stored *f, raw what, double **samples, int64_t *rows, int64_t *width);
/* How many of `width` numbers are no padding. */
int64_t samples_count(const double *samples, int64_t width);

/* A merged file has an origin for each file that it was made of, another file is one: what was said
 * of its making, and how many rows it brought, in order. A file that was merged before there were
 * counts is one origin if all of it was made on one machine; else ERR_DATA. */
status stored_origins(const stored *f, int64_t *count);
/* Of origin i what stored_text and stored_number tell of a file. */
status stored_origin_text(const stored *f, int64_t i, const char *name, char *value, size_t size);
double stored_origin_number(const stored *f, int64_t i, const char *name);
/* How many of `rows` rows of a table are of origin i. */
int64_t stored_origin_rows(const stored *f, int64_t i, table t, int64_t rows);

/* Note where the rows appended since the last call come from: the origins of f become attributes of
 * /sources/<n>, with counts rows_<table>. */
status results_source(results *r, const stored *f);
/* After the last source: / says what all of them say, and of what they differ in what each says. */
status results_summary(results *r);
/* The result file, or those of a folder in name order, which may lie beside their models, behind
 * *count others in *list. */
status results_paths(const char *path, char ***list, int64_t *count);
void results_paths_free(char **list, int64_t count);
/* All tables and samples of `count` files, in order, in one file (merge.c). */
status results_merge(const char *const *paths, int64_t count, const char *out, const words *w);

/* Print a row as TSV on stdout (print.c); header first when `header`. */
void results_print(table t, const void *row, int header);
/* The same with a last column `origin`, which is NULL where all rows have one. */
void results_print_origin(table t, const void *row, int header, const char *origin);

#endif
