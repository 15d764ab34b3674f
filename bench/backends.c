/* SPDX-License-Identifier: MIT
 *
 * backends.c — see backends.h. This is the project's one WITH_CUDA: the names of the kernels are
 * always known; only a build with CUDA can run them.
 */
#include "backends.h"

#include <math.h>
#include <string.h>

#ifdef WITH_CUDA
#define RUN(f) f
#define DEVICE &cuda_backend
#define MODEL &mosaic_cuda
#define CARD kernels_card()
#define REDONE attention_gather_redone
#else
#define RUN(f) NULL
#define DEVICE NULL
#define MODEL NULL
#define CARD no_card
#define REDONE NULL
static const card no_card;
#endif

#ifdef WITH_OPENBLAS
op_fn linear_openblas; /* op/openblas.c */
#endif

static const impl impls[] = {
#define OP(name, ...)                                                                              \
    {OP_##name,     "ref",         "the reference, in double",                                     \
     name##_ref,    &ref_backend,  1,                                                              \
     TYPE_BIT(F64), ANY_TRANSFORM, ANY,                                                            \
     ANY,           NO_LIMIT,      "nothing"},
#include "ops.def"
#undef OP
#define KERNEL(op, name, types, transforms, width, length, limits, keeps, idea)                    \
    {OP_##op, #name,      idea,  RUN(op##_##name), DEVICE, 0,                                      \
     types,   transforms, width, length,           limits, #keeps},
#include "kernels.def"
#undef KERNEL
#ifdef WITH_OPENBLAS
    {OP_linear, "openblas", "dgemm: the yardstick", linear_openblas, &ref_backend, 0, TYPE_BIT(F64),
     ANY_TRANSFORM, ANY, ANY, NO_LIMIT, "nothing"},
#endif
};

const backend *backend_at(int i)
{
    return i == 0 ? &ref_backend : i == 1 ? DEVICE : NULL;
}

const model *model_at(int i)
{
    return i == 0 ? &mosaic_ref : i == 1 ? MODEL : NULL;
}

status model_find(const char *name, const model **m)
{
    const int automatic = strcmp(name, "auto") == 0;
    *m = model_at(0);
    if (strcmp(name, (*m)->name) == 0 || (automatic && !model_at(1))) return OK;
    if (!model_at(1))
        return fail(ERR_ARG, "backend=%.40s: this build trains on the CPU: expected backend=ref",
                    name);
    const status s = backend_at(1)->ready();
    if (s == ERR_ARG && automatic) return OK; /* there is none; one that is broken is told */
    if (s != OK) return fail(s, "backend=%.40s: %s", name, last_error());
    *m = model_at(1);
    return OK;
}

status impl_redone(const impl *i, const args *a, double *share)
{
    status (*const ask)(const args *, double *) = REDONE;
    *share = NAN;
    if (!ask || i->op != OP_attention || strcmp(i->name, "gather") != 0) return OK;
    return ask(a, share);
}

card card_present(void)
{
    return CARD;
}

const impl *impl_at(int i)
{
    return i < (int)(sizeof impls / sizeof *impls) ? &impls[i] : NULL;
}
