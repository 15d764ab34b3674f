/* SPDX-License-Identifier: MIT
 *
 * results.h — result files. One HDF5 file holds any of the tables of columns.def as compound
 * datasets /check /time /train /eval /row, the raw samples /time_samples (one row per row of
 * /time, padded with NaN), and provenance as attributes of /. A file appears under its name only
 * when it is whole: it is written to NAME.tmp.PID, sealed (seal.h), flushed to disk and renamed.
 */
#ifndef MOSAIC_RESULTS_H
#define MOSAIC_RESULTS_H

#include "spec.h"
#include "verb.h"

typedef char NAME_[40];
typedef int64_t I64_;
typedef double F64_;
#define FIELD(name, type, unit, meaning) type##_ name;
typedef struct check_row {
#define CHECK_COLUMN FIELD
#include "columns.def"
} check_row;
typedef struct time_row {
#define TIME_COLUMN FIELD
#include "columns.def"
} time_row;
typedef struct train_row {
#define TRAIN_COLUMN FIELD
#include "columns.def"
} train_row;
typedef struct eval_row {
#define EVAL_COLUMN FIELD
#include "columns.def"
} eval_row;
typedef struct row_row {
#define ROW_COLUMN FIELD
#include "columns.def"
} row_row;
#undef FIELD

typedef enum table { CHECK, TIME, TRAIN, EVAL, ROW, TABLES } table;

typedef enum column_type { COL_NAME, COL_I64, COL_F64 } column_type;
typedef struct column {
    const char *name, *unit, *meaning;
    column_type type;
    size_t offset;
} column;

const char *table_name(table t);
size_t table_row_size(table t);
const column *table_columns(table t, int *count);

typedef struct results results;

/* Start a file; nothing is visible until results_close. path "" or NULL: *r = NULL, and every
 * call below accepts NULL and does nothing. The words go into the provenance, with the build and
 * the machine (see provenance.c). */
status results_create(results **r, const char *path, const words *w);
status results_append(results *r, table t, const void *row);
/* Raw samples (seconds) of the time row appended last. */
status results_samples(results *r, const double *seconds, int64_t count);
/* One more attribute of /. */
status results_attribute(results *r, const char *name, const char *value);
status results_attribute_number(results *r, const char *name, double value);
/* Flush, close, rename; or with keep = 0 throw the file away. NULL is fine. */
status results_close(results *r, int keep);

/* Reading: rows of one table (count 0 if absent; caller frees *rows), an attribute of / ("" if
 * absent), the raw samples. ERR_FILE / ERR_DATA with one line if the file is not ours, of a newer
 * schema, or damaged. */
status results_rows(const char *path, table t, void **rows, int64_t *count);
status results_read_attribute(const char *path, const char *name, char *value, size_t size);
status results_read_samples(const char *path, double **samples, int64_t *rows, int64_t *width);
/* Copy the attributes of `path` (a result file) to /sources/<i> of r; those of source 0 but for its
 * command also to /, so that a merged file tells the machine its numbers come from. */
status results_source(results *r, const char *path, int64_t i);
/* All tables and samples of `count` files, in order, in one file (merge.c). */
status results_merge(const char *const *paths, int64_t count, const char *out, const words *w);

/* Provenance as "name\tvalue" lines for `mosaic info`. Caller frees. */
char *provenance_text(void);

/* Print a row as TSV on stdout; header first when `header`. */
void results_print(table t, const void *row, int header);
/* Print the attributes of / as TSV, a line each. */
status results_print_provenance(const char *path);

#endif
