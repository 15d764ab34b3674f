/* SPDX-License-Identifier: MIT
 *
 * golden_transforms.c — the reference against weights and gradients made by other code, one group
 * /<method>/n<N> each: cosines, weights, grad_weights, grad_cosines [R][N], beta, valid_keys,
 * grad_beta [R].
 *
 * The largest difference of a row, relative to the norm of the row: weights to 1e-12 (and u max
 * |s|, for the scores s = beta^2 c were rounded before they were shifted), gradients to 1e-10.
 * Where several keys attain the maximum (ReLUmax, whose gradient passes through one of them) or the
 * k-th place (top-k), the other code may have chosen another of the equal keys: such rows are
 * compared by what every choice has in common, the sorted weights and the sum of the gradient, and
 * reported apart, as "<method>/n<N> tied rows".
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "match.h"
#include "mosaic.h"
#include "op/op.h"
#include "order.h"
#include "store/hdf.h"

typedef struct group {
    const char *path, *name; /* file; "<method>/n<N>" */
    method m;
    int64_t R, N;
    double *c, *p, *dp, *dc, *beta, *dbeta, *valid; /* of the file */
    double *q, *dq, *db, *stat;                     /* ours */
    int32_t *live;
} group;

static status read_array(hid_t where, const group *g, const char *name, int rank, double **values)
{
    hsize_t size[2] = {0, 1};
    int good = hdf_shape(where, name, rank, size) && (int64_t)size[0] == g->R &&
               (rank == 1 || (int64_t)size[1] == g->N);
    const int64_t count = (int64_t)(size[0] * size[1]);
    *values = good ? malloc((size_t)count * sizeof **values) : NULL;
    if (good && !*values) return fail(ERR_MEMORY, "%s: no memory", g->path);
    if (good && hdf_get(where, name, H5T_NATIVE_DOUBLE, count, *values)) return OK;
    return fail(ERR_DATA, "%s: /%s/%s: expected %lld x %lld numbers", g->path, g->name, name,
                (long long)g->R, (long long)(rank == 2 ? g->N : 1));
}

/* R and N from the shape of cosines. */
static status read_shape(hid_t where, group *g)
{
    hsize_t size[2] = {0, 0};
    const int good = hdf_shape(where, "cosines", 2, size);
    g->R = (int64_t)size[0];
    g->N = (int64_t)size[1];
    if (!good || g->R < 1 || g->N < 1 || g->R > 1 << 20 || g->N > 1 << 20)
        return fail(ERR_DATA, "%s: /%s/cosines: expected a matrix", g->path, g->name);
    return OK;
}

static status read_group(hid_t where, group *g)
{
    TRY(read_shape(where, g));
    TRY(read_array(where, g, "cosines", 2, &g->c));
    TRY(read_array(where, g, "weights", 2, &g->p));
    TRY(read_array(where, g, "grad_weights", 2, &g->dp));
    TRY(read_array(where, g, "grad_cosines", 2, &g->dc));
    TRY(read_array(where, g, "beta", 1, &g->beta));
    TRY(read_array(where, g, "grad_beta", 1, &g->dbeta));
    TRY(read_array(where, g, "valid_keys", 1, &g->valid));
    const size_t rows = (size_t)g->R, all = rows * (size_t)g->N;
    g->q = malloc(all * sizeof *g->q);
    g->dq = malloc(all * sizeof *g->dq);
    g->db = malloc(rows * sizeof *g->db);
    g->stat = malloc(rows * STATS * sizeof *g->stat);
    g->live = malloc(rows * sizeof *g->live);
    if (!g->q || !g->dq || !g->db || !g->stat || !g->live)
        return fail(ERR_MEMORY, "%s: no memory", g->path);
    for (int64_t r = 0; r < g->R; r++) {
        if (!(g->valid[r] >= 0 && g->valid[r] <= (double)g->N))
            return fail(ERR_DATA, "%s: /%s/valid_keys: expected 0 to %lld", g->path, g->name,
                        (long long)g->N);
        g->live[r] = (int32_t)g->valid[r];
    }
    return OK;
}

static status run_group(group *g)
{
    for (int64_t i = 0; i < g->R * g->N; i++)
        g->q[i] = g->dq[i] = NAN;
    for (int64_t r = 0; r < g->R; r++)
        g->db[r] = NAN;
    const args forward = {.in = {g->c, g->beta},
                          .out = {g->q, g->stat},
                          .d = {.R = g->R, .N = g->N},
                          .live = g->live,
                          .p = g->m.p};
    const args backward = {.in = {g->beta, g->q, g->stat, g->dp},
                           .out = {g->dq, g->db},
                           .d = {.R = g->R, .N = g->N},
                           .live = g->live,
                           .p = g->m.p};
    const op *transform = op_at(g->m.op);
    TRY(transform->ref(&forward));
    return op_grad(transform)->ref(&backward);
}

/* Is there a choice among equal keys in row r? */
static int has_choice(const group *g, int64_t r)
{
    const double *c = g->c + r * g->N;
    const int64_t n = g->live[r];
    int64_t above = 0, equal = 0;
    double last = -INFINITY;
    if (op_at(g->m.op)->reads & P_k) { /* the k-th largest */
        for (int64_t j = 0; j < n; j++)
            if (g->q[r * g->N + j] > 0) last = last == -INFINITY || c[j] < last ? c[j] : last;
        for (int64_t j = 0; j < n; j++) {
            above += c[j] > last;
            equal += c[j] == last;
        }
        return above + equal > g->m.p.k;
    }
    if (g->m.op == OP_relumax) {
        for (int64_t j = 0; j < n; j++)
            equal += c[j] == g->stat[r * STATS + STAT_MAX];
        return equal > 1;
    }
    return 0;
}

/* Largest |a - b| of a row, less `rounding`, relative to the norm of b. */
static double relative(const double *a, const double *b, int64_t n, double rounding)
{
    double most = 0, norm = 0;
    for (int64_t j = 0; j < n; j++) {
        const double e = fabs(a[j] - b[j]) - rounding;
        most = worse(most, e);
        norm += b[j] * b[j];
    }
    return most / (norm > 0 ? sqrt(norm) : 1);
}

/* The scores beta^2 c that the other code formed, and then differences of them, are rounded. */
static double score_rounding(const group *g, int64_t r)
{
    double most = 0;
    for (int64_t j = 0; j < g->live[r]; j++)
        most = fmax(most, fabs(g->c[r * g->N + j])); /* a scale, no error */
    return 0x1p-53 * g->beta[r] * g->beta[r] * most;
}

/* A row with a choice: its weights agree as multisets, its gradients in their sum, which is 0. */
static void compare_choice(const group *g, int64_t r, double *weights, double *gradient)
{
    const int64_t N = g->N, at = r * N;
    double ours = 0, theirs = 0, size = 0;
    double *sorted = malloc((size_t)(2 * N) * sizeof *sorted);
    if (!sorted) {
        *weights = INFINITY;
        return;
    }
    memcpy(sorted, g->q + at, (size_t)N * sizeof *sorted);
    memcpy(sorted + N, g->p + at, (size_t)N * sizeof *sorted);
    qsort(sorted, (size_t)N, sizeof *sorted, ascending);
    qsort(sorted + N, (size_t)N, sizeof *sorted, ascending);
    *weights = worse(*weights, relative(sorted, sorted + N, N, 0));
    for (int64_t j = 0; j < N; j++) {
        ours += g->dq[at + j];
        theirs += g->dc[at + j];
        size += fabs(g->dc[at + j]);
    }
    *gradient = worse(*gradient, fabs(ours - theirs) / (size > 0 ? size : 1));
    free(sorted);
}

static void compare_group(const group *g, golden_row *emit, void *user)
{
    static const char *const parts[] = {"weights", "grad_cosines", "grad_beta"};
    double error[3] = {0, 0, 0}, tied[2] = {0, 0};
    int64_t choices = 0;
    char text[80];
    for (int64_t r = 0; r < g->R; r++) {
        const int64_t at = r * g->N;
        if (has_choice(g, r)) {
            choices++;
            compare_choice(g, r, &tied[0], &tied[1]);
            continue;
        }
        const double e[] = {relative(g->q + at, g->p + at, g->N, score_rounding(g, r)),
                            relative(g->dq + at, g->dc + at, g->N, 0),
                            fabs(g->db[r] - g->dbeta[r]) / fmax(1, fabs(g->dbeta[r]))};
        for (int i = 0; i < 3; i++)
            error[i] = worse(error[i], e[i]);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s %s", g->name, parts[i]);
        emit(user, text, error[i], i == 0 ? 1e-12 : 1e-10);
    }
    for (int i = 0; choices && i < 2; i++) {
        snprintf(text, sizeof text, "%s tied rows %s", g->name, parts[i]);
        emit(user, text, tied[i], i == 0 ? 1e-12 : 1e-10);
    }
}

static void free_group(group *g)
{
    double *const arrays[] = {g->c,     g->p, g->dp, g->dc, g->beta, g->dbeta,
                              g->valid, g->q, g->dq, g->db, g->stat};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(g->live);
}

static status check_group(hid_t file, const char *path, const char *name, golden_row *emit,
                          void *user)
{
    group g = {.path = path, .name = name};
    char method_text[64];
    snprintf(method_text, sizeof method_text, "%.*s", (int)strcspn(name, "/"), name);
    TRY(method_find(method_text, &g.m));
    hid_t where = H5Gopen2(file, name, H5P_DEFAULT);
    if (where < 0) return fail(ERR_DATA, "%s: /%s: expected a group", path, name);
    status s = read_group(where, &g);
    if (s == OK) s = run_group(&g);
    if (s == OK) compare_group(&g, emit, user);
    free_group(&g);
    H5Gclose(where);
    return s;
}

/* The i-th member of a group as "prefix/name"; 0 past the end. */
static int member(hid_t where, hsize_t i, const char *prefix, char *name, size_t size)
{
    H5G_info_t info;
    char last[64];
    if (H5Gget_info(where, &info) < 0 || i >= info.nlinks) return 0;
    if (H5Lget_name_by_idx(where, ".", H5_INDEX_NAME, H5_ITER_INC, i, last, sizeof last,
                           H5P_DEFAULT) < 0)
        return 0;
    snprintf(name, size, "%s%s%s", prefix, *prefix ? "/" : "", last);
    return 1;
}

status golden_transforms(const char *path, golden_row *emit, void *user)
{
    char method_text[128], name[200];
    status s = OK;
    hid_t file;
    TRY(hdf_open(path, &file));
    for (hsize_t i = 0; s == OK && member(file, i, "", method_text, sizeof method_text); i++) {
        hid_t where = H5Gopen2(file, method_text, H5P_DEFAULT);
        if (where < 0) s = fail(ERR_DATA, "%s: /%s: expected a group", path, method_text);
        for (hsize_t j = 0; s == OK && member(where, j, method_text, name, sizeof name); j++)
            s = check_group(file, path, name, emit, user);
        if (where >= 0) H5Gclose(where);
    }
    H5Fclose(file);
    return s;
}

status golden_file(const char *path, const golden_subject *who, golden_row *emit, void *user)
{
    hid_t file;
    TRY(hdf_open(path, &file));
    /* only a model says its method there; of transforms each group is named after one */
    const int whole = H5Aexists(file, "method") > 0;
    H5Fclose(file);
    if (whole) return golden_model(path, who, emit, user);
    if (!who || who->on == &mosaic_ref) return golden_transforms(path, emit, user);
    return fail(ERR_ARG, "%s: backend=%s: expected the file of a model", path, who->on->name);
}
