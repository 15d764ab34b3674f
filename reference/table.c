/* SPDX-License-Identifier: MIT
 *
 * table.c — the reference of every operation by its identity (ops.def).
 */
#include "stage.h"

static const struct row {
    const char *name;
    op_fn *run;
    op_id grad;
    op_kind kind;
    unsigned reads;
} rows[OPS] = {
#define OP(name, title, signature, grad, kind, reads, ...)                                         \
    {#name, name##_ref, OP_##grad, kind, reads},
#include "ops.def"
#undef OP
};

static int known(op_id id)
{
    return id >= 0 && id < OPS;
}

const char *op_name(op_id id)
{
    return known(id) ? rows[id].name : "none";
}

op_fn *reference_of(op_id id)
{
    return known(id) ? rows[id].run : NULL;
}

op_id gradient_of(op_id id)
{
    return known(id) ? rows[id].grad : OP_none;
}

unsigned reads_of(op_id id)
{
    return known(id) ? rows[id].reads : P_NOTHING;
}

status transform_check(const char *name, op_id id)
{
    if (known(id) && rows[id].kind < REGRESSION && rows[id].grad != OP_none) return OK;
    return fail(ERR_ARG, "%s: transform: expected a row transform with a gradient, got %s", name,
                op_name(id));
}
