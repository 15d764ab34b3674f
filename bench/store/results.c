/* SPDX-License-Identifier: MIT
 *
 * results.c — HDF5 files of rows, written (results_read.c reads them). Object times are off, so
 * equal content is equal bytes; a file is written beside its place, flushed to disk and renamed, so
 * a reader never sees half of one. What is saved on the way is a copy: the bytes of a finished file
 * do not depend on it.
 */
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hdf.h"
#include "seal.h"

struct results {
    sealed to;
    int saved; /* what lies under its name is ours */
    char *rows[TABLES];
    int64_t count[TABLES], room[TABLES];
    int64_t sources, sourced[TABLES]; /* merged: files so far, and rows whose origin is noted */
    struct behind {
        double **samples; /* of each row of its table, or NULL */
        int64_t *widths;
    } behind[RAWS];
};

static status write_provenance(results *r, const words *w)
{
    int good = hdf_put_text(r->to.file, "schema", RESULT_SCHEMA);
    char *text = provenance_text();
    char *line = words_canonical(w, NULL), *cell = words_key(w);
    char inputs[FILES_DIGEST];
    files_digest(w, inputs);
    if (!text || !line || !cell) good = 0;
    if (good)
        good = hdf_put_text(r->to.file, "command", line) && hdf_put_text(r->to.file, "key", cell);
    if (good && *inputs) good = hdf_put_text(r->to.file, "inputs", inputs);
    for (char *at = text; good && at && *at;) {
        char *tab = strchr(at, '\t'), *end = strchr(at, '\n');
        *tab = *end = '\0';
        good = hdf_put_text(r->to.file, at, tab + 1);
        at = end + 1;
    }
    free(text);
    free(line);
    free(cell);
    return good ? OK : fail(ERR_MEMORY, "%s: provenance: out of memory", r->to.path);
}

status results_create(results **out, const char *path, const words *w)
{
    *out = NULL;
    if (!path || !*path) return OK;
    results *r = calloc(1, sizeof *r);
    if (!r) return fail(ERR_MEMORY, "results: out of memory");
    status s = seal_create(&r->to, path, "result");
    if (s == OK) s = write_provenance(r, w);
    if (s != OK) {
        results_close(r, 0);
        return s;
    }
    *out = r;
    return OK;
}

/* Room for what stands behind so many rows. */
static int behind_grow(struct behind *b, int64_t room)
{
    double **samples = realloc(b->samples, (size_t)room * sizeof *samples);
    if (!samples) return 0;
    b->samples = samples;
    int64_t *widths = realloc(b->widths, (size_t)room * sizeof *widths);
    if (!widths) return 0;
    b->widths = widths;
    return 1;
}

static status results_grow(results *r, table t)
{
    const int64_t room = r->room[t] ? 2 * r->room[t] : 64;
    char *rows = realloc(r->rows[t], (size_t)room * table_row_size(t));
    int good = rows != NULL;
    if (good) r->rows[t] = rows;
    for (int k = 0; good && k < RAWS; k++)
        if (raw_table((raw)k) == t) good = behind_grow(&r->behind[k], room);
    if (!good) return fail(ERR_MEMORY, "results: out of memory");
    r->room[t] = room;
    return OK;
}

status results_append(results *r, table t, const void *row)
{
    if (!r) return OK;
    if (r->count[t] == r->room[t]) TRY(results_grow(r, t));
    for (int k = 0; k < RAWS; k++) {
        if (raw_table((raw)k) != t) continue;
        r->behind[k].samples[r->count[t]] = NULL;
        r->behind[k].widths[r->count[t]] = 0;
    }
    const size_t size = table_row_size(t);
    memcpy(r->rows[t] + (size_t)r->count[t]++ * size, row, size);
    return OK;
}

status results_samples(results *r, raw what, const double *values, int64_t count)
{
    if (!r || count == 0) return OK;
    struct behind *b = &r->behind[what];
    const int64_t row = r->count[raw_table(what)] - 1;
    double *copy = malloc((size_t)count * sizeof *copy);
    if (!copy) return fail(ERR_MEMORY, "results: out of memory");
    memcpy(copy, values, (size_t)count * sizeof *copy);
    free(b->samples[row]);
    b->samples[row] = copy;
    b->widths[row] = count;
    return OK;
}

status results_attribute(results *r, const char *name, const char *value)
{
    if (!r || hdf_put_text(r->to.file, name, value)) return OK;
    return fail(ERR_MEMORY, "%s: attribute %s: out of memory", r->to.path, name);
}

status results_attribute_number(results *r, const char *name, double value)
{
    if (!r || hdf_put_attribute(r->to.file, name, H5T_NATIVE_DOUBLE, &value)) return OK;
    return fail(ERR_MEMORY, "%s: attribute %s: out of memory", r->to.path, name);
}

static int write_samples(const results *r, raw what, hid_t file)
{
    const struct behind *b = &r->behind[what];
    int64_t width = 0, rows = r->count[raw_table(what)];
    for (int64_t i = 0; i < rows; i++)
        if (b->widths[i] > width) width = b->widths[i];
    if (width == 0) return 1;
    double *flat = malloc((size_t)(rows * width) * sizeof *flat);
    if (!flat) return 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            flat[i * width + j] = j < b->widths[i] ? b->samples[i][j] : NAN;
    hsize_t shape[2] = {(hsize_t)rows, (hsize_t)width};
    int good = hdf_put(file, raw_name(what), H5T_NATIVE_DOUBLE, 2, shape, flat, 1);
    free(flat);
    return good;
}

static int write_tables(const results *r, hid_t file)
{
    int good = file >= 0;
    for (int t = 0; good && t < TABLES; t++)
        good = hdf_put_rows(file, (table)t, r->rows[t], r->count[t], 1);
    for (int k = 0; good && k < RAWS; k++)
        good = write_samples(r, (raw)k, file);
    return good;
}

/* Bring a file to the disk if it is `good`. */
static status seal(sealed *to, int good)
{
    TRY(seal_close(to, good));
    return good ? OK : fail(ERR_MEMORY, "%s: out of memory", to->path);
}

static int mark_unfinished(hid_t file)
{
    return hdf_put_text(file, UNFINISHED, "the rows so far");
}

status results_save(results *r, int over)
{
    sealed now;
    if (!r || (!over && !r->saved && access(r->to.path, F_OK) == 0)) return OK;
    TRY(seal_copy(&now, &r->to));
    TRY(seal(&now, mark_unfinished(now.file) && write_tables(r, now.file)));
    r->saved = 1;
    return OK;
}

status results_close(results *r, int keep)
{
    if (!r) return OK;
    status s = keep ? seal(&r->to, write_tables(r, r->to.file)) : seal_close(&r->to, 0);
    for (int k = 0; k < RAWS; k++) {
        for (int64_t i = 0; i < r->count[raw_table((raw)k)]; i++)
            free(r->behind[k].samples[i]);
        free(r->behind[k].samples);
        free(r->behind[k].widths);
    }
    for (int t = 0; t < TABLES; t++)
        free(r->rows[t]);
    free(r);
    return s;
}

/* --- origins ---------------------------------------------------------------------------------- */

/* One attribute, as text or number, from one object to another. */
static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *info, void *to)
{
    (void)info;
    hid_t a = H5Aopen(from, name, H5P_DEFAULT), type = H5Aget_type(a);
    void *value = calloc(1, H5Tget_size(type));
    int good =
        value && H5Aread(a, type, value) >= 0 && hdf_put_attribute(*(hid_t *)to, name, type, value);
    free(value);
    H5Tclose(type);
    H5Aclose(a);
    return good ? 0 : -1;
}

/* The group of the next source, with the attributes of `from` and counts of rows. */
static int put_source(results *r, hid_t from, const int64_t *rows)
{
    char name[64];
    hid_t lcpl = H5Pcreate(H5P_LINK_CREATE), gcpl = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_create_intermediate_group(lcpl, 1);
    H5Pset_attr_phase_change(gcpl, 0, 0);
    hdf_source_name(r->sources++, name);
    hid_t group = H5Gcreate2(r->to.file, name, lcpl, gcpl, H5P_DEFAULT);
    int good = group >= 0 &&
               H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &group) >= 0;
    for (int t = 0; good && t < TABLES; t++) {
        hdf_count_name((table)t, name);
        good = hdf_put_attribute(group, name, H5T_NATIVE_INT64, &rows[t]);
    }
    if (group >= 0) H5Gclose(group);
    H5Pclose(lcpl);
    H5Pclose(gcpl);
    return good;
}

status results_source(results *r, const stored *f)
{
    int64_t origins, rows[TABLES], new[TABLES];
    int good = 1;
    TRY(stored_origins(f, &origins));
    for (int t = 0; t < TABLES; t++) {
        new[t] = r->count[t] - r->sourced[t];
        r->sourced[t] = r->count[t];
    }
    for (int64_t i = 0; good && i < origins; i++) {
        hid_t from = stored_origin(f, i);
        for (int t = 0; t < TABLES; t++)
            rows[t] = stored_origin_rows(f, i, (table)t, new[t]);
        good = from >= 0 && put_source(r, from, rows);
        if (from >= 0) H5Oclose(from);
    }
    if (good && !stored_finished(f)) good = mark_unfinished(r->to.file);
    return good ? OK : fail(ERR_MEMORY, "%s: provenance of %s: out of memory", r->to.path, f->path);
}

/* What source i says of a name, as text; "none" if nothing. */
static int source_says(const results *r, int64_t i, const char *name, char *text, size_t size)
{
    char path[64];
    hdf_source_name(i, path);
    hid_t group = H5Gopen2(r->to.file, path, H5P_DEFAULT);
    int good = group >= 0 && hdf_text(group, name, text, size) == OK;
    if (group >= 0) H5Gclose(group);
    if (good && *text == '\0') snprintf(text, size, "none");
    return good;
}

/* An attribute of / for one of a source: as it is if all say the same, else the different texts. */
static herr_t sum_up(hid_t from, const char *name, const H5A_info_t *info, void *user)
{
    enum { MOST_TEXTS = 4 };
    results *r = user;
    char all[1000] = "", text[200];
    int texts = 0, more = 0;
    if (strncmp(name, "rows_", 5) == 0 || strcmp(name, "command") == 0 ||
        strcmp(name, "key") == 0 || strcmp(name, "inputs") == 0 || strcmp(name, UNFINISHED) == 0)
        return 0;
    for (int64_t i = 0; i < r->sources; i++) {
        if (!source_says(r, i, name, text, sizeof text)) return -1;
        if (texts > 0 && strstr(all, text)) continue;
        const size_t used = strlen(all);
        if (texts++ < MOST_TEXTS)
            snprintf(all + used, sizeof all - used, "%s%s", used ? "; " : "", text);
        else
            more = 1;
    }
    if (texts == 1) return copy_attribute(from, name, info, &r->to.file);
    if (more) snprintf(all + strlen(all), sizeof all - strlen(all), "; ...");
    return hdf_put_text(r->to.file, name, all) ? 0 : -1;
}

status results_summary(results *r)
{
    char path[64];
    int good = 1;
    for (int64_t i = 0; good && i < r->sources; i++) {
        hdf_source_name(i, path);
        hid_t group = H5Gopen2(r->to.file, path, H5P_DEFAULT);
        good = group >= 0 && H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, NULL, sum_up, r) >= 0;
        if (group >= 0) H5Gclose(group);
    }
    return good ? OK : fail(ERR_MEMORY, "%s: provenance: out of memory", r->to.path);
}
