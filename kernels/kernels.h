/* SPDX-License-Identifier: MIT
 *
 * kernels.h — the C ABI of the CUDA room: one op_fn per row of kernels.def, what the rows take, the
 * backend and the model. Pointers in args are device pointers (args.live too), args.type is F32,
 * BF16 or F16.
 */
#ifndef MOSAIC_KERNELS_H
#define MOSAIC_KERNELS_H

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KERNEL(op, name, ...) op_fn op##_##name;
#include "kernels.def"
#undef KERNEL

/* Sets of types (1 << F32, ...) and of transforms (1 << OP_softmax, ...) that a row takes. */
#define TYPE_BIT(type) (1u << (type))
#define HALVES (TYPE_BIT(BF16) | TYPE_BIT(F16))
#define FLOATS (TYPE_BIT(F32) | HALVES)
#define TRANSFORM_BIT(op) (UINT64_C(1) << OP_##op)
#define ANY_TRANSFORM (~UINT64_C(0))
#define THRESHOLDS                                                                                 \
    (TRANSFORM_BIT(softmax) | TRANSFORM_BIT(sparsemax) | TRANSFORM_BIT(entmax) |                   \
     TRANSFORM_BIT(relumax) | TRANSFORM_BIT(normrelu)) /* softmax, and [u]_+^r */
#define COMPACT                                                                                    \
    (TRANSFORM_BIT(sparsemax) | TRANSFORM_BIT(entmax) | TRANSFORM_BIT(relumax) |                   \
     TRANSFORM_BIT(topk_softmax) | TRANSFORM_BIT(topk_uniform))   /* supports of few keys */
#define SMOOTH (TRANSFORM_BIT(softmax) | TRANSFORM_BIT(normrelu)) /* one sweep over the scores */
enum { ANY = 0 }; /* width or length without a limit */

/* The default of an operation: the first row of kernels.def that takes the type, transform and
 * sizes of the call; NULL if none does. */
op_fn *kernel_of(op_id op, const args *a);

/* Of a finished call of attention_gather, whose scratch and `keep` nobody has written since: the
 * share of its rows that had no room in the lists, or saw what is not finite, and were done over
 * all keys. */
status attention_gather_redone(const args *a, double *share);

extern const backend cuda_backend;
/* The Memory Mosaic and the GPT on one device: F32 (strict, or tf32) or BF16 activations, fp32
 * parameters, moments and gradients. */
extern const struct model mosaic_cuda;

#ifdef __cplusplus
}
#endif
#endif
