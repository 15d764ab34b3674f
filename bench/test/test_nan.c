/* SPDX-License-Identifier: MIT
 *
 * test_nan.c — no NaN passes: one is seeded into every value that a check compares, one at a time,
 * and each must be caught. The comparisons of the tests themselves: test_selftest.c.
 */
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "check/check.h"
#include "check/golden.h"
#include "check/laws.h"
#include "op/inputs.h"
#include "scratch.h"
#include "test_check.h"

/* The reference, but for a NaN in one value of one output; after some calls without. */
static struct {
    op_fn *ref;
    int output, calls;
    int64_t at;
} seed;

static status seeded(const args *a)
{
    TRY(seed.ref(a));
    if (!a->need && seed.calls-- <= 0 && a->out[seed.output])
        OUT(double, seed.output)[seed.at] = NAN;
    return OK;
}

static impl seeded_impl(const op *o, int output)
{
    seed.ref = o->ref;
    seed.output = output;
    seed.at = seed.calls = 0;
    return tested(o->id, "seeded", seeded, &ref_backend);
}

/* A filled call of small size; odd sizes, so that nothing is alike by chance. */
static call *small_call(selftest *t, const impl *i, const variant *v, const char *family)
{
    const op *o = op_at(i->op);
    dims d = call_dims(o, 5, 1);
    call *c = NULL;
    d.R = 7;
    EXPECT(call_create(&c, o, i, &d, &v->p, F64) == OK);
    if (!c) return NULL;
    c->a.transform = v->transform;
    EXPECT(inputs_fill(c, family, 0, 7) == OK);
    return c;
}

static int matches_fail(const call *c, int output)
{
    match m[MAX_TENSORS];
    int count = 0;
    return match_call(c, m, &count) == OK && output < count && match_verdict(&m[output]) == FAIL;
}

/* In every value of every output of one operation; returns how many. */
static long seed_everywhere(selftest *t, const op *o, const variant *v, const char *family)
{
    const impl wrong = seeded_impl(o, 0);
    call *c = small_call(t, &wrong, v, family);
    call *right = small_call(t, impl_reference(o->id), v, family);
    long places = 0;
    EXPECT(right && call_once(right) == OK);
    for (; c && right && seed.output < c->sig.outputs; seed.output++)
        for (seed.at = 0; seed.at < c->out_count[seed.output]; seed.at++) {
            const double *y = right->out[seed.output];
            if (isnan(y[seed.at])) continue;
            const int caught = call_once(c) == OK && matches_fail(c, seed.output);
            places++;
            if (!caught)
                fprintf(stderr, "%s %s, %s: %s[%lld]\n", o->name, v->label, family,
                        c->sig.out[seed.output].name, (long long)seed.at);
            EXPECT(caught);
        }
    call_destroy(c);
    call_destroy(right);
    return places;
}

/* Of every operation, with every set of parameters, on every family of inputs. */
void selftest_nan_match(selftest *t)
{
    const op *o;
    variant v;
    long places = 0;
    for (int i = 0; (o = op_at(i)); i++)
        for (int k = 0; check_variant(o, k, 1.5, 3, &v); k++)
            for (int f = 0; input_name(f); f++)
                if (input_applies(input_name(f), o))
                    places += seed_everywhere(t, o, &v, input_name(f));
    EXPECT(places > 10000);
}

static void count_failed(void *user, const char *what, double error, double tol, const spot *at)
{
    (void)what;
    (void)at;
    *(int *)user += !(error <= tol);
}

/* In every weight of every transform. */
void selftest_nan_laws(selftest *t)
{
    const op *o;
    for (int i = 0; (o = op_at(i)); i++) {
        variant v;
        if (!op_is_transform(o) || !check_variant(o, 0, 1.5, 3, &v)) continue;
        const impl wrong = seeded_impl(o, 0);
        call *c = small_call(t, &wrong, &v, "gauss");
        for (seed.at = 0; c && seed.at < c->out_count[0]; seed.at++) {
            int failed = 0;
            EXPECT(laws_check(c, 7, count_failed, &failed) == OK && failed > 0);
        }
        call_destroy(c);
    }
}

/* In every value of every gradient, and of the forward operation from its first call on, or only
 * where it is moved. */
void selftest_nan_differences(selftest *t)
{
    const op *o;
    for (int i = 0; (o = op_at(i)); i++) {
        const op *grad = op_grad(o);
        const char *family = op_is_transform(o) ? "unit" : "gauss";
        variant v;
        if (!grad || !check_variant(o, 0, 1.5, 3, &v)) continue;
        impl wrong = seeded_impl(grad, 0);
        call *f = small_call(t, impl_reference(o->id), &v, family);
        call *g = small_call(t, &wrong, &v, family);
        for (; f && g && seed.output < g->sig.outputs; seed.output++) {
            const int64_t last = g->out_count[seed.output] - 1;
            for (seed.at = 0; seed.at <= last; seed.at += last > 1 ? last / 2 : 1) {
                int failed = 0;
                EXPECT(differences_check(f, g, 7, count_failed, &failed) == OK && failed > 0);
            }
        }
        call_destroy(f);
        call_destroy(g);
        wrong = seeded_impl(o, 0);
        f = small_call(t, &wrong, &v, family);
        g = small_call(t, impl_reference(grad->id), &v, family);
        for (int late = 0; f && g && late < 2; late++) {
            int failed = 0;
            seed.calls = late;
            EXPECT(differences_check(f, g, 7, count_failed, &failed) == OK && failed > 0);
        }
        call_destroy(f);
        call_destroy(g);
    }
}

/* ---- golden files --------------------------------------------------------------------------- */

enum { LARGEST = 1 << 16 };

/* Put a number in place of value `at` of a dataset; returns what was there, NaN if there is none.
 */
static double replace_value(const char *path, const char *name, int64_t at, double value)
{
    static double all[LARGEST];
    double before = NAN;
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = -1, space = -1;
    if (file >= 0) set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set >= 0) space = H5Dget_space(set);
    const hssize_t count = space >= 0 ? H5Sget_simple_extent_npoints(space) : 0;
    if (at < count && count <= LARGEST &&
        H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0) {
        before = all[at];
        all[at] = value;
        if (H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) < 0) before = NAN;
    }
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    if (file >= 0) H5Fclose(file);
    return before;
}

static const char *copy_of(selftest *t, const char *name)
{
    const char *path = scratch_path(t, MOSAIC_SOURCE_DIR "/reference/golden", name);
    bytes whole = {0};
    EXPECT(file_read(path, 0, &whole) == OK);
    path = scratch_put(t, scratch_folder(t), name, whole.v, whole.count);
    free(whole.v);
    return path;
}

static void golden_failed(void *user, const char *what, double error, double tol)
{
    count_failed(user, what, error, tol, NULL);
}

/* A NaN there makes the file fail, or be refused; without it the file is as before. */
static void expect_nan_seen(selftest *t, const char *path, const char *name, int64_t at)
{
    int failed = 0;
    const double before = replace_value(path, name, at, NAN);
    const status s = golden_file(path, NULL, golden_failed, &failed);
    const int seen = !isnan(before) && (s != OK || failed > 0);
    if (!seen) fprintf(stderr, "%s[%lld]\n", name, (long long)at);
    EXPECT(seen);
    replace_value(path, name, at, before);
}

/* In the first values of what golden files hold. */
void selftest_nan_golden(selftest *t)
{
    static const char *const of_model[] = {"logits",
                                           "loss",
                                           "grads/emb.weight",
                                           "params/ln_out.weight",
                                           "block0_contextual/weights",
                                           "block0_contextual/output",
                                           "block0_persistent_output",
                                           "adamw_losses",
                                           "adamw_grad_norms"};
    static const char *const by_row[] = {"biweight/n33/weights", "biweight/n33/grad_cosines",
                                         "biweight/n33/cosines", "top4_uniform/n33/weights",
                                         "top4_uniform/n33/grad_cosines"};
    static const char *const numbers[] = {"biweight/n33/beta", "biweight/n33/grad_beta",
                                          "biweight/n33/valid_keys"};
    int failed = 0;
    const char *path = copy_of(t, "model_top4_uniform.h5");
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
        expect_nan_seen(t, path, of_model[i], 0);
    EXPECT(golden_file(path, NULL, golden_failed, &failed) == OK && failed == 0);
    path = copy_of(t, "transforms.h5");
    for (int r = 1; r < 4; r++) { /* row 0 has no keys */
        for (size_t i = 0; i < sizeof by_row / sizeof *by_row; i++)
            expect_nan_seen(t, path, by_row[i], 33 * r);
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            expect_nan_seen(t, path, numbers[i], r);
    }
    EXPECT(golden_file(path, NULL, golden_failed, &failed) == OK && failed == 0);
}
