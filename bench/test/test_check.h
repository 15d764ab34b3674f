/* SPDX-License-Identifier: MIT
 *
 * test_check.h — an implementation through the laws and the comparison, for the tests of the
 * checks.
 */
#ifndef MOSAIC_TEST_CHECK_H
#define MOSAIC_TEST_CHECK_H

#include "op/call.h"
#include "check/match.h"

/* An implementation to be tested: doubles on the reference's backend, else every storage. */
impl tested(op_id id, const char *name, op_fn *run, const backend *where);
/* Failed laws, and outputs at least as bad as `least`, over all input families at 16 x 33;
 * negative if a call fails. */
int law_failures(const op *o, const impl *i, dtype type);
int match_failures(const op *o, const impl *i, dtype type, verdict least);

#endif
