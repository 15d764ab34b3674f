/* SPDX-License-Identifier: MIT
 *
 * golden_model.c — a model against a file of one.
 *
 * Layout: attributes method, V, d, H, L, B, T, and M (a mosaic; without it, GPT); tokens, targets
 * (B,T); params/<name>, grads/<name>; logits (B,T,V); loss; and, each optional,
 * block0_contextual/{input,keys,values,cosines,weights,output}, block0_persistent_output,
 * adamw_losses and adamw_grad_norms (steps) with the recipe as attributes of adamw_losses.
 * The parameter names must be those of the model, all and no others.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mosaic.h"
#include "store/hdf.h"
#include "worse.h"

typedef struct reader {
    const char *path;
    hid_t file;
    const model *on;
    mosaic_config c;
    batch b;
    int32_t *tokens, *targets;
    struct mosaic *m;
    double *got, *want; /* room for the largest tensor */
    golden_row *emit;
    void *user;
} reader;

/* All of a dataset of exactly `count` numbers. */
static status read_all(const reader *r, const char *name, hid_t type, int64_t count, void *to)
{
    const int64_t found = hdf_count(r->file, name);
    if (found < 0) return fail(ERR_DATA, "%s: %s: expected a dataset", r->path, name);
    if (found != count)
        return fail(ERR_DATA, "%s: %s: expected %lld numbers, got %lld", r->path, name,
                    (long long)count, (long long)found);
    if (hdf_get(r->file, name, type, count, to)) return OK;
    return fail(ERR_DATA, "%s: %s: expected readable numbers", r->path, name);
}

static status read_size(const reader *r, const char *name, int64_t *to)
{
    if (hdf_get_number(r->file, name, H5T_NATIVE_INT64, to)) return OK;
    return fail(ERR_DATA, "%s: expected an attribute %s", r->path, name);
}

static status read_method(const reader *r, method *m)
{
    char *text;
    TRY(hdf_get_text(r->file, "method", &text));
    status s = text ? method_find(text, m)
                    : fail(ERR_DATA, "%s: expected an attribute method, a text", r->path);
    free(text);
    return s;
}

/* |got - want| / |want|, or |got| where want is 0. */
static double distance(const double *got, const double *want, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return size == 0 ? sqrt(error) : sqrt(error / size);
}

static status compare(const reader *r, const char *name, const double *got, int64_t n, double tol)
{
    TRY(read_all(r, name, H5T_NATIVE_DOUBLE, n, r->want));
    r->emit(r->user, name, distance(got, r->want, n), tol);
    return OK;
}

static status read_config(reader *r)
{
    const struct {
        const char *name;
        int64_t *to;
    } sizes[] = {{"V", &r->c.V}, {"d", &r->c.d}, {"H", &r->c.H},
                 {"L", &r->c.L}, {"B", &r->b.B}, {"T", &r->b.T}};
    r->c = config_default();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        TRY(read_size(r, sizes[i].name, sizes[i].to));
        if (*sizes[i].to < 1 || *sizes[i].to > 1 << 20)
            return fail(ERR_DATA, "%s: attribute %s: expected 1..%d, got %lld", r->path,
                        sizes[i].name, 1 << 20, (long long)*sizes[i].to);
    }
    r->c.T = r->b.T;
    r->c.arch = H5Aexists(r->file, "M") > 0 ? ARCH_MOSAIC : ARCH_GPT;
    if (r->c.arch == ARCH_MOSAIC) TRY(read_size(r, "M", &r->c.M));
    TRY(read_method(r, &r->c.method));
    return config_check(&r->c);
}

static status count_links(const reader *r, const char *group, int64_t want)
{
    H5G_info_t info;
    if (!hdf_has(r->file, group) || H5Gget_info_by_name(r->file, group, &info, H5P_DEFAULT) < 0)
        return fail(ERR_DATA, "%s: %s: expected a group", r->path, group);
    if ((int64_t)info.nlinks != want)
        return fail(ERR_DATA, "%s: %s: expected %lld tensors, got %lld", r->path, group,
                    (long long)want, (long long)info.nlinks);
    return OK;
}

/* Room for the batch and the largest tensor, and the model with the parameters of the file. */
static status load(reader *r)
{
    const int64_t rows = r->b.B * r->b.T;
    TRY(r->on->create(&r->m, &r->c, NULL));
    const int64_t tensors = r->on->parameters(r->m);
    int64_t most = rows * (r->c.V > r->c.d ? r->c.V : r->c.d);
    if (most < rows * r->b.T * r->c.H) most = rows * r->b.T * r->c.H;
    parameter_info info;
    for (int64_t i = 0; i < tensors; i++) {
        TRY(r->on->info(r->m, i, &info));
        if (most < info.count) most = info.count;
    }
    r->tokens = malloc((size_t)rows * sizeof *r->tokens);
    r->targets = malloc((size_t)rows * sizeof *r->targets);
    r->got = malloc((size_t)most * sizeof *r->got);
    r->want = malloc((size_t)most * sizeof *r->want);
    if (!r->tokens || !r->targets || !r->got || !r->want)
        return fail(ERR_MEMORY, "%s: expected room for %lld numbers", r->path, (long long)most);
    r->b.tokens = r->tokens;
    r->b.targets = r->targets;
    TRY(read_all(r, "tokens", H5T_NATIVE_INT32, rows, r->tokens));
    TRY(read_all(r, "targets", H5T_NATIVE_INT32, rows, r->targets));
    TRY(count_links(r, "params", tensors));
    for (int64_t i = 0; i < tensors; i++) {
        char name[128];
        TRY(r->on->info(r->m, i, &info));
        snprintf(name, sizeof name, "params/%s", info.name);
        TRY(read_all(r, name, H5T_NATIVE_DOUBLE, info.count, r->want));
        TRY(r->on->put(r->m, i, SLOT_VALUE, r->want));
    }
    return OK;
}

static status check_forward(const reader *r)
{
    static const char *const inside[] = {"input",   "keys",   "values",           "cosines",
                                         "weights", "output", "persistent_output"};
    const int64_t rows = r->b.B * r->b.T;
    TRY(r->on->predict(r->m, &r->b, r->got));
    TRY(compare(r, "logits", r->got, rows * r->c.V, 1e-10));
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        char name[64];
        const double *got;
        int64_t n;
        snprintf(name, sizeof name,
                 i + 1 < sizeof inside / sizeof *inside ? "block0_contextual/%s" : "block0_%s",
                 inside[i]);
        if (r->on != &mosaic_ref || !hdf_has(r->file, name))
            continue; /* it alone shows its inside */
        TRY(mosaic_ref_probe(r->m, inside[i], &got, &n));
        TRY(compare(r, name, got, n, 1e-10));
    }
    return OK;
}

/* A step without dropout, and its report. */
static status step(const reader *r, struct mosaic *m, const optimizer *o, int64_t update,
                   step_report *report)
{
    int ready;
    TRY(r->on->gradient(m, &r->b, 0, -1));
    TRY(r->on->apply(m, o, update));
    return r->on->collect(m, 1, report, &ready);
}

static status check_gradient(const reader *r)
{
    const int64_t tensors = r->on->parameters(r->m);
    step_report report;
    TRY(step(r, r->m, NULL, 0, &report));
    TRY(compare(r, "loss", &report.loss, 1, 1e-10));
    TRY(count_links(r, "grads", tensors));
    for (int64_t i = 0; i < tensors; i++) {
        char name[128];
        parameter_info info;
        TRY(r->on->info(r->m, i, &info));
        TRY(r->on->get(r->m, i, SLOT_GRAD, r->got));
        snprintf(name, sizeof name, "grads/%s", info.name);
        TRY(compare(r, name, r->got, info.count, 1e-10));
    }
    return OK;
}

enum { STEPS = 1000, TWINS = 4 };

static status length_of(const reader *r, const char *name, int64_t *n)
{
    *n = hdf_count(r->file, name);
    if (*n >= 1 && *n <= STEPS) return OK;
    return fail(ERR_DATA, "%s: %s: expected 1..%d steps", r->path, name, STEPS);
}

/* The recipe: attributes of the losses, each with the value it has where there is none. */
static status read_recipe(const reader *r, const char *name, optimizer *o)
{
    *o = (optimizer){.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .clip = 1};
    const struct {
        const char *name;
        double *to;
    } recipe[] = {{"lr", &o->lr},   {"beta1", &o->beta1},        {"beta2", &o->beta2},
                  {"eps", &o->eps}, {"weight_decay", &o->decay}, {"clip", &o->clip}};
    status s = OK;
    hid_t losses = H5Dopen2(r->file, name, H5P_DEFAULT);
    for (size_t i = 0; s == OK && i < sizeof recipe / sizeof *recipe; i++)
        if (H5Aexists(losses, recipe[i].name) > 0 &&
            !hdf_get_number(losses, recipe[i].name, H5T_NATIVE_DOUBLE, recipe[i].to))
            s = fail(ERR_DATA, "%s: %s: expected an attribute %s, a number", r->path, name,
                     recipe[i].name);
    H5Dclose(losses);
    return s;
}

/* Loss and norm of the gradient before each update, from the parameters of the file; with twin > 0,
 * from parameters one rounding away, in directions drawn by it. */
static status trajectory(const reader *r, const optimizer *o, int64_t steps, int twin,
                         double *losses, double *norms)
{
    struct mosaic *m;
    uint64_t z = (uint64_t)twin;
    status result;
    TRY(r->on->create(&m, &r->c, NULL));
    for (int64_t i = 0; i < r->on->parameters(m); i++) {
        parameter_info info;
        if ((result = r->on->info(m, i, &info)) != OK) goto done;
        if ((result = r->on->get(r->m, i, SLOT_VALUE, r->got)) != OK) goto done;
        for (int64_t e = 0; e < info.count && twin; e++) {
            z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            r->got[e] *= z >> 63 ? 1 + 0x1p-52 : 1 - 0x1p-52;
        }
        if ((result = r->on->put(m, i, SLOT_VALUE, r->got)) != OK) goto done;
    }
    for (int64_t i = 0; i < steps; i++) {
        step_report report;
        if ((result = step(r, m, o, i + 1, &report)) != OK) goto done;
        losses[i] = report.loss;
        norms[i] = report.grad_norm;
    }
done:
    r->on->destroy(m);
    return result;
}

/* The farthest twin over the first n steps; infinite if one of them is NaN. */
static double spread(double (*twins)[STEPS], const double *got, int64_t n)
{
    double most = 0;
    for (int k = 0; k < TWINS; k++)
        most = worse(most, distance(twins[k], got, n));
    return most;
}

/* Training amplifies rounding: of two runs whose parameters differ in the last bit, some stay
 * together to 1e-9 and some part by 1e-4 within 20 updates. The twin runs measure it: the steps
 * that they show to be determined must agree to 1e-8, and all of them to 10 times the distance of
 * the farthest twin. */
static void judge(const reader *r, const char *name, const double *got, double (*twins)[STEPS],
                  const double *want, int64_t steps)
{
    char label[64];
    int64_t n = 0;
    while (n < steps && spread(twins, got, n + 1) <= 1e-9)
        n++;
    snprintf(label, sizeof label, "%s[0..%lld]", name, (long long)n - 1);
    if (n > 0) r->emit(r->user, label, distance(got, want, n), 1e-8);
    if (n == steps) return;
    /* a twin that is NaN determines nothing, and excuses nothing */
    const double far = 10 * spread(twins, got, steps);
    r->emit(r->user, name, distance(got, want, steps), far < INFINITY && far > 1e-8 ? far : 1e-8);
}

static status check_training(const reader *r)
{
    static const char *const sets[] = {"adamw_losses", "adamw_grad_norms"};
    optimizer o;
    int64_t steps;
    double got[2][STEPS], twins[2][TWINS][STEPS], want[STEPS];
    if (!hdf_has(r->file, sets[0])) return OK;
    TRY(length_of(r, sets[0], &steps));
    TRY(read_recipe(r, sets[0], &o));
    TRY(trajectory(r, &o, steps, 0, got[0], got[1]));
    for (int k = 0; k < TWINS; k++)
        TRY(trajectory(r, &o, steps, k + 1, twins[0][k], twins[1][k]));
    for (int i = 0; i < 2 && hdf_has(r->file, sets[i]); i++) {
        TRY(read_all(r, sets[i], H5T_NATIVE_DOUBLE, steps, want));
        judge(r, sets[i], got[i], twins[i], want, steps);
    }
    return OK;
}

status golden_model(const char *path, golden_row *emit, void *user)
{
    reader r = {.path = path, .on = &mosaic_ref, .emit = emit, .user = user};
    TRY(hdf_open(path, &r.file));
    status s = read_config(&r);
    if (s == OK) s = load(&r);
    if (s == OK) s = check_forward(&r);
    if (s == OK) s = check_gradient(&r);
    if (s == OK) s = check_training(&r);
    if (r.m) r.on->destroy(r.m);
    free(r.tokens);
    free(r.targets);
    free(r.got);
    free(r.want);
    H5Fclose(r.file);
    return s;
}
