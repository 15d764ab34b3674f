/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c — see checkpoint.h for the layout.
 */
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "store/hdf.h"
#include "store/seal.h"

static const struct part {
    const char *group;
    slot slot;
} parts[] = {{"params", SLOT_VALUE}, {"moment1", SLOT_MOMENT1}, {"moment2", SLOT_MOMENT2}};
enum { PARTS = sizeof parts / sizeof *parts };

static status grow(void **rows, int64_t count, size_t size)
{
    if (count & (count - 1)) return OK; /* room for the next power of two is there */
    void *more = realloc(*rows, (size_t)(count ? 2 * count : 1) * size);
    if (!more) return fail(ERR_MEMORY, "checkpoint: out of memory for %lld rows", (long long)count);
    *rows = more;
    return OK;
}

status checkpoint_log_train(checkpoint *c, const train_row *row)
{
    void *rows = c->train;
    TRY(grow(&rows, c->trains, sizeof *row));
    c->train = rows;
    c->train[c->trains++] = *row;
    return OK;
}

status checkpoint_log_eval(checkpoint *c, const eval_row *row)
{
    void *rows = c->eval;
    TRY(grow(&rows, c->evals, sizeof *row));
    c->eval = rows;
    c->eval[c->evals++] = *row;
    return OK;
}

void checkpoint_free(checkpoint *c)
{
    free(c->train);
    free(c->eval);
    *c = (checkpoint){0};
}

/* --- writing: every function returns 1 if all went well ------------------------------------- */

static int put_rows(hid_t file, table t, const void *rows, int64_t count)
{
    if (count == 0) return 1;
    hid_t type = hdf_row_type(t);
    int good = hdf_dataset(file, table_name(t), type, 1, &(hsize_t){(hsize_t)count}, rows, 0);
    H5Tclose(type);
    return good;
}

static hid_t make_group(hid_t file, const char *name)
{
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, 0);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Pclose(plist);
    return group;
}

static int put_config(hid_t file, const recipe *r)
{
    char text[RECIPE_TEXT];
    hid_t group = make_group(file, "config");
    int good = group >= 0;
    for (int i = 0; good && recipe_key(i); i++) {
        recipe_value(r, recipe_key(i), text);
        good = hdf_text(group, recipe_key(i), text);
    }
    if (group >= 0) H5Gclose(group);
    return good;
}

static int put_tensors(hid_t file, const struct part *p, const model *on, const struct mosaic *m)
{
    double *values = NULL;
    hid_t group = make_group(file, p->group);
    int good = group >= 0;
    for (int64_t i = 0; good && i < on->parameters(m); i++) {
        parameter_info info;
        hsize_t shape[4];
        good = on->info(m, i, &info) == OK;
        double *room = good ? realloc(values, (size_t)info.count * sizeof *values) : NULL;
        if (!room) good = 0;
        if (!good) break;
        values = room;
        for (int k = 0; k < info.rank; k++)
            shape[k] = (hsize_t)info.shape[k];
        good = on->get(m, i, p->slot, values) == OK &&
               hdf_dataset(group, info.name, H5T_NATIVE_DOUBLE, info.rank, shape, values, 0);
    }
    free(values);
    if (group >= 0) H5Gclose(group);
    return good;
}

static int put_all(hid_t file, const checkpoint *c, const recipe *r, const model *on,
                   const struct mosaic *m)
{
    int good = hdf_attribute(file, "step", H5T_NATIVE_INT64, &c->step) &&
               hdf_attribute(file, "finished", H5T_NATIVE_INT64, &c->finished) &&
               hdf_attribute(file, "best", H5T_NATIVE_DOUBLE, &c->best) &&
               hdf_attribute(file, "vocab", H5T_NATIVE_INT64, &c->vocab) &&
               hdf_attribute(file, "longest", H5T_NATIVE_INT64, &c->longest) &&
               hdf_attribute(file, "data_hash", H5T_NATIVE_UINT64, &c->data_hash) &&
               hdf_attribute(file, "tokenizer_hash", H5T_NATIVE_UINT64, &c->tokenizer_hash) &&
               put_config(file, r) && put_rows(file, TRAIN, c->train, c->trains) &&
               put_rows(file, EVAL, c->eval, c->evals);
    for (int i = 0; good && i < PARTS; i++)
        good = put_tensors(file, &parts[i], on, m);
    return good;
}

status checkpoint_write(const char *path, const checkpoint *c, const recipe *r, const model *on,
                        const struct mosaic *m)
{
    sealed s;
    TRY(seal_create(&s, path, "checkpoint"));
    int good = put_all(s.file, c, r, on, m);
    TRY(seal_close(&s, good));
    return good ? OK : fail(ERR_MEMORY, "%s: checkpoint cannot be made: out of memory", path);
}

/* --- reading --------------------------------------------------------------------------------- */

static status open_verified(const char *path, hid_t *file)
{
    TRY(seal_verify(path, "checkpoint"));
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    *file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    return *file >= 0 ? OK : fail(ERR_DATA, "%s: checkpoint is damaged: not HDF5", path);
}

static int get_attribute(hid_t where, const char *name, hid_t type, void *value)
{
    hid_t a = H5Aopen(where, name, H5P_DEFAULT);
    int good = a >= 0 && H5Aread(a, type, value) >= 0;
    if (a >= 0) H5Aclose(a);
    return good;
}

static status damaged(const char *path, const char *what)
{
    return fail(ERR_DATA, "%s: checkpoint is damaged: expected %s", path, what);
}

/* "name=value" of one attribute of /config, NULL if it is absent or empty. */
static status get_word(hid_t group, const char *path, const char *name, char **word)
{
    status s = OK;
    size_t prefix = strlen(name) + 1;
    *word = NULL;
    if (H5Aexists(group, name) <= 0) return OK;
    hid_t a = H5Aopen(group, name, H5P_DEFAULT), type = H5Aget_type(a);
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || size == 0 ||
        size > RECIPE_TEXT)
        s = damaged(path, "words");
    char *text = s == OK ? calloc(1, prefix + size + 1) : NULL;
    if (s == OK && !text) s = fail(ERR_MEMORY, "%s: out of memory", path);
    if (s == OK) {
        snprintf(text, prefix + 1, "%s=", name);
        if (H5Aread(a, type, text + prefix) < 0) s = damaged(path, "words");
    }
    H5Tclose(type);
    H5Aclose(a);
    if (s == OK && text[prefix])
        *word = text;
    else
        free(text);
    return s;
}

static status get_config(hid_t file, const char *path, words **w)
{
    enum { MOST = 64 };
    char *text[MOST];
    int count = 0;
    status s = OK;
    hid_t group = H5Gopen2(file, "config", H5P_DEFAULT);
    if (group < 0) return damaged(path, "words");
    for (int i = 0; s == OK && recipe_key(i) && count < MOST; i++)
        if ((s = get_word(group, path, recipe_key(i), &text[count])) == OK && text[count]) count++;
    if (s == OK) s = words_parse("train", count, text, w);
    if (s == ERR_ARG) s = damaged(path, "words that train knows");
    for (int i = 0; i < count; i++)
        free(text[i]);
    H5Gclose(group);
    return s;
}

/* Extent of a dataset; 0 if it has not this rank. */
static int has_shape(hid_t set, int rank, hsize_t *shape)
{
    hid_t space = H5Dget_space(set);
    int good = space >= 0 && H5Sget_simple_extent_ndims(space) == rank &&
               H5Sget_simple_extent_dims(space, shape, NULL) == rank;
    if (space >= 0) H5Sclose(space);
    return good;
}

static status get_rows(hid_t file, const char *path, table t, void **rows, int64_t *count)
{
    hsize_t n = 0;
    *rows = NULL;
    *count = 0;
    if (H5Lexists(file, table_name(t), H5P_DEFAULT) == 0) return OK;
    hid_t set = H5Dopen2(file, table_name(t), H5P_DEFAULT), type = hdf_row_type(t);
    int good = set >= 0 && has_shape(set, 1, &n) && n > 0 && n < (hsize_t)1 << 32;
    status s = good ? OK : damaged(path, "rows");
    size_t room = 1;
    while (room < n)
        room *= 2; /* as checkpoint_log_* expects */
    if (s == OK && !(*rows = calloc(room, table_row_size(t))))
        s = fail(ERR_MEMORY, "%s: out of memory", path);
    if (s == OK && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *rows) < 0)
        s = damaged(path, "rows");
    if (s == OK) *count = (int64_t)n;
    if (set >= 0) H5Dclose(set);
    H5Tclose(type);
    return s;
}

status checkpoint_read(const char *path, checkpoint *c, words **w)
{
    hid_t file;
    void *train = NULL, *eval = NULL;
    *c = (checkpoint){0};
    *w = NULL;
    TRY(open_verified(path, &file));
    int good = get_attribute(file, "step", H5T_NATIVE_INT64, &c->step) &&
               get_attribute(file, "finished", H5T_NATIVE_INT64, &c->finished) &&
               get_attribute(file, "best", H5T_NATIVE_DOUBLE, &c->best) &&
               get_attribute(file, "vocab", H5T_NATIVE_INT64, &c->vocab) &&
               get_attribute(file, "longest", H5T_NATIVE_INT64, &c->longest) &&
               get_attribute(file, "data_hash", H5T_NATIVE_UINT64, &c->data_hash) &&
               get_attribute(file, "tokenizer_hash", H5T_NATIVE_UINT64, &c->tokenizer_hash);
    status s = good ? OK : damaged(path, "steps and sizes");
    if (s == OK) s = get_rows(file, path, TRAIN, &train, &c->trains);
    if (s == OK) s = get_rows(file, path, EVAL, &eval, &c->evals);
    if (s == OK) s = get_config(file, path, w);
    H5Fclose(file);
    c->train = train;
    c->eval = eval;
    if (s != OK) checkpoint_free(c);
    return s;
}

/* One tensor of a group, its shape compared before anything is read. */
static int get_tensor(hid_t group, const parameter_info *info, double *values)
{
    hsize_t shape[4];
    hid_t set = H5Dopen2(group, info->name, H5P_DEFAULT);
    int good = set >= 0 && has_shape(set, info->rank, shape);
    for (int k = 0; good && k < info->rank; k++)
        good = (int64_t)shape[k] == info->shape[k];
    good = good && H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (set >= 0) H5Dclose(set);
    return good;
}

static status get_tensors(hid_t file, const struct part *p, const char *path, const model *on,
                          struct mosaic *m)
{
    double *values = NULL;
    status s = OK;
    hid_t group = H5Gopen2(file, p->group, H5P_DEFAULT);
    if (group < 0) return fail(ERR_DATA, "%s: /%s is missing", path, p->group);
    for (int64_t i = 0; s == OK && i < on->parameters(m); i++) {
        parameter_info info;
        if ((s = on->info(m, i, &info)) != OK) break;
        double *room = realloc(values, (size_t)info.count * sizeof *values);
        if (!room) {
            s = fail(ERR_MEMORY, "%s: out of memory", path);
            break;
        }
        values = room;
        s = get_tensor(group, &info, values)
                ? on->put(m, i, p->slot, values)
                : fail(ERR_DATA, "%s: /%s/%s: expected a tensor of %lld numbers", path, p->group,
                       info.name, (long long)info.count);
    }
    free(values);
    H5Gclose(group);
    return s;
}

status checkpoint_tensors(const char *path, const model *on, struct mosaic *m, int moments)
{
    hid_t file;
    status s = OK;
    TRY(open_verified(path, &file));
    for (int i = 0; s == OK && i < (moments ? PARTS : 1); i++)
        s = get_tensors(file, &parts[i], path, on, m);
    H5Fclose(file);
    return s;
}
