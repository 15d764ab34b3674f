/* SPDX-License-Identifier: MIT
 *
 * golden_model.c — a model against a file of one.
 *
 * The reference must agree to 1e-10. A model in other arithmetic must agree as well as its type
 * says, or within TWIN_ROOM times the farthest of its twins, whose parameters are moved by one
 * rounding: a selection of keys that nearly ties is nobody's fault.
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

enum { STEPS = 1000, TWINS = 4, TWIN_ROOM = 64 };

typedef struct reader {
    const char *path;
    hid_t file;
    const golden_subject *who;
    const model *on;
    mosaic_config c;
    batch b;
    int32_t *tokens, *targets;
    struct mosaic *m;
    struct mosaic *twin[TWINS]; /* none of the reference */
    double *got, *want;         /* room for the largest tensor */
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
    TRY(r->on->create(&r->m, &r->c, &r->who->where));
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

/* Of the parameters of the file; with twin > 0, one rounding away from them, in directions drawn by
 * it. */
static status twin_of(const reader *r, int twin, struct mosaic **m)
{
    uint64_t z = (uint64_t)twin;
    parameter_info info;
    TRY(r->on->create(m, &r->c, &r->who->where));
    status s = OK;
    for (int64_t i = 0; s == OK && i < r->on->parameters(*m); i++) {
        s = r->on->info(*m, i, &info);
        if (s == OK) s = r->on->get(r->m, i, SLOT_VALUE, r->got);
        for (int64_t e = 0; s == OK && e < info.count && twin; e++) {
            z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            r->got[e] *= z >> 63 ? 1 + r->who->rounding : 1 - r->who->rounding;
        }
        if (s == OK) s = r->on->put(*m, i, SLOT_VALUE, r->got);
    }
    if (s != OK) r->on->destroy(*m);
    return s;
}

static status make_twins(reader *r)
{
    for (int k = 0; k < TWINS && r->on != &mosaic_ref; k++) {
        const status s = twin_of(r, k + 1, &r->twin[k]);
        if (s != OK) r->twin[k] = NULL;
        TRY(s);
    }
    return OK;
}

static double room_of(const reader *r, double spread)
{
    const double far = TWIN_ROOM * spread; /* a twin that is NaN excuses nothing */
    return far < INFINITY && far > r->who->tol ? far : r->who->tol;
}

/* The farthest twin from what is in r->got, of the same prediction; 0 without twins. */
static status logits_spread(const reader *r, int64_t count, double *most)
{
    *most = 0;
    for (int k = 0; k < TWINS && r->twin[k]; k++) {
        TRY(r->on->predict(r->twin[k], &r->b, r->want));
        *most = worse(*most, distance(r->want, r->got, count));
    }
    return OK;
}

/* ... of the gradient of a tensor. */
static status tensor_spread(const reader *r, int64_t tensor, int64_t count, double *most)
{
    *most = 0;
    for (int k = 0; k < TWINS && r->twin[k]; k++) {
        TRY(r->on->get(r->twin[k], tensor, SLOT_GRAD, r->want));
        *most = worse(*most, distance(r->want, r->got, count));
    }
    return OK;
}

static status check_forward(const reader *r)
{
    double far;
    static const char *const inside[] = {"input",   "keys",   "values",           "cosines",
                                         "weights", "output", "persistent_output"};
    const int64_t rows = r->b.B * r->b.T;
    TRY(r->on->predict(r->m, &r->b, r->got));
    TRY(logits_spread(r, rows * r->c.V, &far));
    TRY(compare(r, "logits", r->got, rows * r->c.V, room_of(r, far)));
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
        TRY(compare(r, name, got, n, r->who->tol));
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
    step_report report, other;
    double far = 0;
    TRY(step(r, r->m, NULL, 0, &report));
    for (int k = 0; k < TWINS && r->twin[k]; k++) {
        TRY(step(r, r->twin[k], NULL, 0, &other));
        far = worse(far, distance(&other.loss, &report.loss, 1));
    }
    TRY(compare(r, "loss", &report.loss, 1, room_of(r, far)));
    TRY(count_links(r, "grads", tensors));
    for (int64_t i = 0; i < tensors; i++) {
        char name[128];
        parameter_info info;
        TRY(r->on->info(r->m, i, &info));
        TRY(r->on->get(r->m, i, SLOT_GRAD, r->got));
        snprintf(name, sizeof name, "grads/%s", info.name);
        TRY(tensor_spread(r, i, info.count, &far));
        TRY(compare(r, name, r->got, info.count, room_of(r, far)));
    }
    return OK;
}

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

/* Loss and norm of the gradient before each update, of the parameters of the file or of a twin. */
static status trajectory(const reader *r, const optimizer *o, int64_t steps, int twin,
                         double *losses, double *norms)
{
    struct mosaic *m;
    step_report report;
    TRY(twin_of(r, twin, &m));
    status s = OK;
    for (int64_t i = 0; s == OK && i < steps; i++) {
        s = step(r, m, o, i + 1, &report);
        losses[i] = report.loss;
        norms[i] = report.grad_norm;
    }
    r->on->destroy(m);
    return s;
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
 * that they show to be determined, to a tenth of what is asked, must agree as asked (the reference
 * to 1e-8), and all of them to 10 times the distance of the farthest twin. */
static void judge(const reader *r, const char *name, const double *got, double (*twins)[STEPS],
                  const double *want, int64_t steps)
{
    const double tol = r->who->training;
    char label[64];
    int64_t n = 0;
    while (n < steps && spread(twins, got, n + 1) <= tol / 10)
        n++;
    snprintf(label, sizeof label, "%s[0..%lld]", name, (long long)n - 1);
    if (n > 0) r->emit(r->user, label, distance(got, want, n), tol);
    if (n == steps) return;
    /* a twin that is NaN determines nothing, and excuses nothing */
    const double far = 10 * spread(twins, got, steps);
    r->emit(r->user, name, distance(got, want, steps), far < INFINITY && far > tol ? far : tol);
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

golden_subject golden_subject_of(const model *on, dtype type)
{
    golden_subject who = {.on = on, .where = {.type = type}};
    who.tol = type == F64 ? 1e-10 : type == F32 ? 1e-5 : 0x1p-7;
    who.training = type == F64 ? 1e-8 : type == F32 ? 1e-4 : 0x1p-5;
    who.rounding = type == F64 ? 0x1p-52 : type == F32 ? 0x1p-23 : 0x1p-8;
    return who;
}

status golden_model(const char *path, const golden_subject *who, golden_row *emit, void *user)
{
    const golden_subject reference = golden_subject_of(&mosaic_ref, F64);
    reader r = {.path = path, .who = who ? who : &reference, .emit = emit, .user = user};
    r.on = r.who->on;
    TRY(hdf_open(path, &r.file));
    status s = read_config(&r);
    if (s == OK) s = load(&r);
    if (s == OK) s = make_twins(&r);
    if (s == OK) s = check_forward(&r);
    if (s == OK) s = check_gradient(&r);
    if (s == OK) s = check_training(&r);
    if (r.m) r.on->destroy(r.m);
    for (int k = 0; k < TWINS; k++)
        if (r.twin[k]) r.on->destroy(r.twin[k]);
    free(r.tokens);
    free(r.targets);
    free(r.got);
    free(r.want);
    H5Fclose(r.file);
    return s;
}
