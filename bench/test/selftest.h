/* SPDX-License-Identifier: MIT
 *
 * selftest.h — hand-written tests. A test is a row of selftests.def and a function
 *
 *     void selftest_<name>(selftest *t)
 *
 * that states facts with EXPECT and EXPECT_NEAR; each false fact is printed with its place and
 * counted. EXPECT_NEAR fails on NaN. A test that cannot run here calls selftest_skip with a reason.
 */
#ifndef MOSAIC_SELFTEST_H
#define MOSAIC_SELFTEST_H

#include <stddef.h>

typedef struct selftest {
    long checks, failures;
    const char *skip;
    struct { /* scratch.h: the folder of its folders, their number, the paths it was told */
        char *root, **path;
        size_t paths;
        int folders;
    } scratch;
} selftest;

void selftest_expect(selftest *t, int holds, const char *file, int line, const char *text);
void selftest_near(selftest *t, double got, double want, double tol, const char *file, int line,
                   const char *text);
void selftest_skip(selftest *t, const char *reason);

#define EXPECT(condition) selftest_expect(t, (condition) != 0, __FILE__, __LINE__, #condition)
/* |got - want| <= tol */
#define EXPECT_NEAR(got, want, tol)                                                                \
    selftest_near(t, (got), (want), (tol), __FILE__, __LINE__, #got " == " #want)

#define SELFTEST(name, label, about) void selftest_##name(selftest *t);
#include "selftests.def"
#undef SELFTEST

#endif
