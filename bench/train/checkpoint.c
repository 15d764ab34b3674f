/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c — see checkpoint.h for the layout.
 */
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "store/hdf.h"
#include "store/seal.h"
#include "version.h"

static const struct part {
    const char *group;
    slot slot;
} parts[] = {{"params", SLOT_VALUE}, {"moment1", SLOT_MOMENT1}, {"moment2", SLOT_MOMENT2}};
enum { PARTS = sizeof parts / sizeof *parts };

static status grow_rows(void **rows, int64_t count, size_t size)
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
    TRY(grow_rows(&rows, c->trains, sizeof *row));
    c->train = rows;
    c->train[c->trains++] = *row;
    return OK;
}

status checkpoint_log_eval(checkpoint *c, const eval_row *row)
{
    void *rows = c->eval;
    TRY(grow_rows(&rows, c->evals, sizeof *row));
    c->eval = rows;
    c->eval[c->evals++] = *row;
    return OK;
}

void checkpoint_free(checkpoint *c)
{
    free(c->train);
    free(c->eval);
    free(c->stage);
    *c = (checkpoint){0};
}

/* The numbers of a checkpoint, attributes of its file. */
static const struct number {
    const char *name;
    size_t at;
    char kind; /* i: int64_t, u: uint64_t, r: double */
} numbers[] = {
    {"step", offsetof(checkpoint, step), 'i'},
    {"finished", offsetof(checkpoint, finished), 'i'},
    {"best", offsetof(checkpoint, best), 'r'},
    {"vocab", offsetof(checkpoint, vocab), 'i'},
    {"longest", offsetof(checkpoint, longest), 'i'},
    {"data_hash", offsetof(checkpoint, data_hash), 'u'},
    {"tokenizer_hash", offsetof(checkpoint, tokenizer_hash), 'u'},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static hid_t type_of(const struct number *n)
{
    return n->kind == 'i'   ? H5T_NATIVE_INT64
           : n->kind == 'u' ? H5T_NATIVE_UINT64
                            : H5T_NATIVE_DOUBLE;
}

/* --- writing: every function returns 1 if all went well ------------------------------------- */

static int put_config(hid_t file, const recipe *r)
{
    char text[RECIPE_TEXT];
    hid_t group = hdf_make_group(file, "config");
    int good = group >= 0;
    for (int i = 0; good && recipe_key(i); i++) {
        recipe_value(r, recipe_key(i), text);
        good = hdf_put_text(group, recipe_key(i), text);
    }
    if (group >= 0) H5Gclose(group);
    return good;
}

static int put_tensors(hid_t file, const struct part *p, const model *on, const struct mosaic *m)
{
    double *values = NULL;
    hid_t group = hdf_make_group(file, p->group);
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
               hdf_put(group, info.name, H5T_NATIVE_DOUBLE, info.rank, shape, values, 0);
    }
    free(values);
    if (group >= 0) H5Gclose(group);
    return good;
}

static int put_all(hid_t file, const checkpoint *c, const recipe *r, const model *on,
                   const struct mosaic *m)
{
    char inputs[FILES_DIGEST];
    char unicode[64];
    files_digest(r->w, inputs);
    split_unicode(unicode);
    int good = hdf_put_text(file, "sources", MOSAIC_SOURCES) &&
               hdf_put_text(file, "inputs", inputs) && hdf_put_text(file, "unicode", unicode) &&
               put_config(file, r) && hdf_put_rows(file, TRAIN, c->train, c->trains, 0) &&
               hdf_put_rows(file, EVAL, c->eval, c->evals, 0);
    for (int i = 0; good && i < NUMBERS; i++)
        good = hdf_put_attribute(file, numbers[i].name, type_of(&numbers[i]),
                                 (const char *)c + numbers[i].at);
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

static status damaged(const char *path, const char *what)
{
    return fail(ERR_DATA, "%s: checkpoint is damaged: expected %s", path, what);
}

/* "name=value" of one attribute of /config, NULL if it is absent or empty. */
static status get_word(hid_t group, const char *path, const char *name, char **word)
{
    char *text;
    status s = OK;
    *word = NULL;
    TRY(hdf_get_text(group, name, &text));
    if (text && strlen(text) >= RECIPE_TEXT) s = damaged(path, "words");
    if (text && *text && s == OK) {
        const size_t size = strlen(name) + strlen(text) + 2;
        *word = malloc(size);
        if (*word)
            snprintf(*word, size, "%s=%s", name, text);
        else
            s = fail(ERR_MEMORY, "%s: out of memory", path);
    }
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

status checkpoint_read(const char *path, checkpoint *c, words **w)
{
    hid_t file;
    void *train = NULL, *eval = NULL;
    *c = (checkpoint){0};
    *w = NULL;
    TRY(hdf_open_sealed(path, "checkpoint", &file));
    int good = 1;
    for (int i = 0; good && i < NUMBERS; i++)
        good =
            hdf_get_number(file, numbers[i].name, type_of(&numbers[i]), (char *)c + numbers[i].at);
    status s = good ? OK : damaged(path, "steps and sizes");
    if (s == OK) s = hdf_get_rows(file, path, TRAIN, &train, &c->trains);
    if (s == OK) s = hdf_get_rows(file, path, EVAL, &eval, &c->evals);
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
    int good = hdf_shape(group, info->name, info->rank, shape);
    for (int k = 0; good && k < info->rank; k++)
        good = (int64_t)shape[k] == info->shape[k];
    return good && hdf_get(group, info->name, H5T_NATIVE_DOUBLE, info->count, values);
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
    TRY(hdf_open_sealed(path, "checkpoint", &file));
    for (int i = 0; s == OK && i < (moments ? PARTS : 1); i++)
        s = get_tensors(file, &parts[i], path, on, m);
    H5Fclose(file);
    return s;
}
