/* SPDX-License-Identifier: MIT
 *
 * test_storage.c — the comparison knows rounding from error: a backend on the host keeps tensors as
 * float, or rounded to bfloat16. The reference behind it passes; moved by 1e-6 in float32 it is
 * marginal, by 5e-6 wrong.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "selftest.h"
#include "test_check.h"

static float bf16_round(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isfinite(f)) bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static int host_devices(void)
{
    return 1;
}

static status host_alloc(void **p, size_t bytes)
{
    return ref_backend.alloc(p, 2 * bytes); /* bfloat16 rests in a float here */
}

static status host_put(void *to, const void *from, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = ((const int32_t *)from)[i];
        else
            ((float *)to)[i] = type == BF16 ? bf16_round(((const double *)from)[i])
                                            : (float)((const double *)from)[i];
    }
    return OK;
}

static status host_get(void *to, const void *from, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = ((const int32_t *)from)[i];
        else
            ((double *)to)[i] = ((const float *)from)[i];
    }
    return OK;
}

static status host_poison(void *to, size_t count, dtype type)
{
    for (size_t i = 0; i < count; i++) {
        if (type == I32)
            ((int32_t *)to)[i] = INT32_MIN;
        else
            ((float *)to)[i] = NAN;
    }
    return OK;
}

static status host_sync(void)
{
    return OK;
}

static void host_release(void *p)
{
    ref_backend.release(p);
}

static const backend host = {.name = "host",
                             .devices = host_devices,
                             .alloc = host_alloc,
                             .release = host_release,
                             .put = host_put,
                             .get = host_get,
                             .poison = host_poison,
                             .sync = host_sync};

/* The reference on float tensors: c beta -> p stat, with p moved by `defect`. */
static status through_float(const args *a, op_fn *f, double defect)
{
    const size_t rows = (size_t)a->d.R, all = rows * (size_t)a->d.N;
    double *x = malloc((2 * all + (1 + STATS) * rows) * sizeof *x);
    double *c = x, *p = x + all, *beta = x + 2 * all, *stat = beta + rows;
    args b = *a;
    if (a->need) return free(x), *a->need = 0, OK;
    if (!x) return fail(ERR_MEMORY, "test: no memory");
    host_get(c, a->in[0], all, F32);
    for (size_t r = 0; r < rows; r++)
        beta[r] = a->in[1] ? IN(float, 1)[r] : 1;
    b.in[0] = c;
    b.in[1] = beta;
    b.out[0] = p;
    b.out[1] = stat;
    b.type = F64;
    status s = f(&b);
    for (size_t j = 0; j < all; j++)
        p[j] *= 1 + defect;
    host_put(a->out[0], p, all, a->type);
    if (a->out[1]) host_put(a->out[1], stat, STATS * rows, F32);
    free(x);
    return s;
}

static status float_right(const args *a)
{
    return through_float(a, sparsemax_ref, 0);
}

static status float_wrong(const args *a)
{
    return through_float(a, sparsemax_ref, 5e-6);
}

static status float_nearly(const args *a)
{
    return through_float(a, sparsemax_ref, 1e-6);
}

void selftest_check_storage(selftest *t)
{
    const op *o = op_find("sparsemax");
    const impl good = {"sparsemax", "right", "", float_right, &host};
    const impl wrong = {"sparsemax", "wrong", "", float_wrong, &host};
    const impl nearly = {"sparsemax", "nearly", "", float_nearly, &host};
    EXPECT(law_failures(o, &good, F32) == 0);
    EXPECT(law_failures(o, &good, BF16) == 0);
    EXPECT(law_failures(o, &wrong, F32) > 0);
    EXPECT(match_failures(o, &good, F32, MARGINAL) == 0);
    EXPECT(match_failures(o, &good, BF16, MARGINAL) == 0);
    EXPECT(match_failures(o, &nearly, F32, MARGINAL) > 0);
    EXPECT(match_failures(o, &nearly, F32, FAIL) == 0);
    EXPECT(match_failures(o, &wrong, F32, FAIL) > 0);
}
