/* SPDX-License-Identifier: MIT
 *
 * print_parts.c — see print.h.
 */
#include "print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hdf.h"
#include "tabular.h"

/* ---- raw samples -------------------------------------------------------------------------------
 */

static const tabular_column sample_columns[] = {
    {"op", "", 0, 12},       {"impl", "", 0, 8},   {"type", "", 0, 5}, {"input", "", 0, 8},
    {"n", "", 1, 8},         {"alpha", "", 1, 8},  {"k", "", 1, 4},    {"sample", "", 1, 6},
    {"seconds", "s", 1, 12}, {"origin", "", 0, 0},
};
enum { SAMPLE_COLUMNS = sizeof sample_columns / sizeof *sample_columns };

static void print_sample(const time_row *r, int64_t sample, double seconds, const char *origin)
{
    char n[24], alpha[24], k[24], at[24], value[32];
    const char *cells[] = {r->op, r->impl, r->type, r->input, n, alpha, k, at, value, origin};
    snprintf(n, sizeof n, "%lld", (long long)r->n);
    snprintf(alpha, sizeof alpha, "%.9g", r->alpha);
    snprintf(k, sizeof k, "%lld", (long long)r->k);
    snprintf(at, sizeof at, "%lld", (long long)sample);
    snprintf(value, sizeof value, "%.9g", seconds);
    tabular_row(cells);
}

status print_samples(const stored *f, const char *path, int many, int64_t *printed)
{
    void *rows = NULL;
    double *samples = NULL;
    int64_t count = 0, sampled = 0, width = 0;
    TRY(stored_rows(f, TIME, &rows, &count));
    status s = stored_samples(f, RAW_TIMES, &samples, &sampled, &width);
    for (int64_t i = 0; s == OK && i < count && sampled; i++)
        for (int64_t j = 0; j < width; j++) {
            if (isnan(samples[i * width + j])) continue;
            if ((*printed)++ == 0)
                tabular_begin(NULL, sample_columns, many ? SAMPLE_COLUMNS : SAMPLE_COLUMNS - 1);
            print_sample((const time_row *)rows + i, j, samples[i * width + j], path);
        }
    free(samples);
    free(rows);
    return s;
}

/* ---- checkpoints -------------------------------------------------------------------------------
 */

static herr_t print_word(hid_t from, const char *name, const H5A_info_t *info, void *path)
{
    char value[4096];
    (void)info;
    if (hdf_text(from, name, value, sizeof value) != OK) return -1;
    if (*value) print_pair(path, name, value);
    return 0;
}

/* The numbers of the file, then the words of its training. */
static int print_words(hid_t file, const char *path)
{
    void *name = (void *)(uintptr_t)path;
    hid_t config = H5Gopen2(file, "config", H5P_DEFAULT);
    int good = config >= 0 &&
               H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, print_word, name) >= 0 &&
               H5Aiterate2(config, H5_INDEX_NAME, H5_ITER_INC, NULL, print_word, name) >= 0;
    if (config >= 0) H5Gclose(config);
    return good;
}

typedef struct tensors {
    const char *origin; /* of several files, else NULL */
    int64_t *printed;
} tensors;

static const tabular_column tensor_columns[] = {
    {"tensor", "", 0, 44}, {"shape", "", 0, 14}, {"values", "", 1, 10},
    {"mean", "", 1, 12},   {"rms", "", 1, 12},   {"origin", "", 0, 0},
};

static herr_t print_tensor(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    const tensors *all = user;
    const int64_t count = hdf_count(group, name);
    double *x = count > 0 ? malloc((size_t)count * sizeof *x) : NULL, sum = 0, square = 0;
    char shape[80] = "", values[24], mean[32], rms[32];
    hsize_t extents[4];
    (void)info;
    if (!x || !hdf_get(group, name, H5T_NATIVE_DOUBLE, count, x)) {
        free(x);
        return -1;
    }
    for (int64_t i = 0; i < count; i++)
        sum += x[i], square += x[i] * x[i];
    free(x);
    for (int rank = 1; rank <= 4 && !*shape; rank++)
        for (int k = 0; hdf_shape(group, name, rank, extents) && k < rank; k++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), k ? "x%llu" : "%llu",
                     (unsigned long long)extents[k]);
    snprintf(values, sizeof values, "%lld", (long long)count);
    snprintf(mean, sizeof mean, "%.9g", sum / (double)count);
    snprintf(rms, sizeof rms, "%.9g", sqrt(square / (double)count));
    if ((*all->printed)++ == 0) tabular_begin(NULL, tensor_columns, all->origin ? 6 : 5);
    const char *cells[] = {name, shape, values, mean, rms, all->origin};
    tabular_row(cells);
    return 0;
}

static int print_tensors(hid_t file, const char *origin, int64_t *printed)
{
    tensors all = {origin, printed};
    hid_t group = H5Gopen2(file, "params", H5P_DEFAULT);
    int good =
        group >= 0 && H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, print_tensor, &all) >= 0;
    if (group >= 0) H5Gclose(group);
    return good;
}

static status print_log(hid_t file, const char *path, table t, int many, int64_t *printed)
{
    void *rows = NULL;
    int64_t count = 0;
    TRY(hdf_get_rows(file, path, t, &rows, &count));
    for (int64_t i = 0; i < count; i++)
        results_print_origin(t, (const char *)rows + (size_t)i * table_row_size(t),
                             (*printed)++ == 0, many ? path : NULL);
    free(rows);
    return OK;
}

status print_checkpoint(const char *path, const char *what, int many, int64_t *printed)
{
    hid_t file;
    status s = OK;
    const table t = table_find(what);
    const char *origin = many ? path : NULL;
    TRY(hdf_open_sealed(path, "checkpoint", &file));
    int good = 1;
    if (strcmp(what, "provenance") == 0)
        good = print_words(file, origin);
    else if (strcmp(what, "tensors") == 0)
        good = print_tensors(file, origin, printed);
    else if (t != TABLES)
        s = print_log(file, path, t, many, printed);
    H5Fclose(file);
    return s == OK && !good ? fail(ERR_DATA, "%s: checkpoint is damaged", path) : s;
}
