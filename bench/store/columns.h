/* SPDX-License-Identifier: MIT
 *
 * columns.h — the tables of columns.def as C: a struct for a row of each, and what their columns
 * are called and mean.
 */
#ifndef MOSAIC_COLUMNS_H
#define MOSAIC_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

typedef char NAME_[40];
typedef char WORDS_[256];
typedef int64_t I64_;
typedef double F64_;
#define FIELD(name, type, role, unit, meaning) type##_ name;
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
typedef struct stage_row {
#define STAGE_COLUMN FIELD
#include "columns.def"
} stage_row;
typedef struct sample_row {
#define SAMPLE_COLUMN FIELD
#include "columns.def"
} sample_row;
typedef struct compare_row {
#define COMPARE_COLUMN FIELD
#include "columns.def"
} compare_row;
#undef FIELD

typedef enum table { CHECK, TIME, TRAIN, EVAL, ROW, STAGE_TIMES, SAMPLES, COMPARED, TABLES } table;

/* What stands behind the rows of a table: a dataset with a row of numbers for each. */
typedef enum raw {
    RAW_TIMES,  /* /time_samples: seconds of each sample                          */
    RAW_YARDS,  /* /time_yardsticks: of the yardstick beside it, if there was one  */
    RAW_SUMS,   /* /eval_sums: what each sample adds to the sum of the metric      */
    RAW_COUNTS, /* /eval_counts: and to its count                                  */
    RAWS
} raw;

typedef enum column_type { COL_NAME, COL_WORDS, COL_I64, COL_F64 } column_type;
typedef enum column_role { ROLE_KEY, ROLE_SEED, ROLE_EACH, ROLE_FOUND } column_role;
typedef struct column {
    const char *name, *unit, *meaning;
    column_type type;
    column_role role;
    size_t offset; /* in the row */
} column;

const char *raw_name(raw what);
table raw_table(raw what);
const char *table_name(table t);
table table_find(const char *name); /* TABLES if there is none of this name */
size_t table_row_size(table t);
const column *table_columns(table t, int *count);
int column_is_text(const column *c);
size_t column_size(const column *c); /* bytes in the row */
/* A text in a column of WORDS; one that is too long ends in a hash of the whole. */
void words_put(WORDS_ to, const char *text);

#endif
