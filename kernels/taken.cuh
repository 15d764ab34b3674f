/* SPDX-License-Identifier: MIT
 *
 * taken.cuh — a row's own refusal of what it does not take.
 */
#ifndef MOSAIC_TAKEN_CUH
#define MOSAIC_TAKEN_CUH

#include "card.cuh"
#include "choice.h"
#include "common.cuh"

/* ERR_ARG with what is taken if the row `name` of an operation does not take a call by its limits.
 */
static inline status taken(op_id op, const char *name, const args *a)
{
    const card c = card_here();
    const kernel_row *r;
    for (int i = 0; (r = kernel_row_at(i)) != NULL; i++) {
        if (r->op != op || strcmp(r->name, name) != 0) continue;
        const char *only = limit_broken(r->limits, a, &c);
        if (only) return fail(ERR_ARG, "%s/%s takes %s", op_name(op), name, only);
    }
    return OK;
}

#endif
