/* SPDX-License-Identifier: MIT
 *
 * test_selftest.c — what the tests stand on: comparisons that no NaN passes, folders that are gone
 * when a test ends.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/match.h"
#include "scratch.h"

/* Does a comparison of the tests fail? */
static int near_fails(double got, double want, double tol)
{
    selftest inner = {.failures = 1000}; /* so many that no more are printed */
    selftest_near(&inner, got, want, tol, __FILE__, __LINE__, "");
    return inner.failures > 1000;
}

void selftest_refuses_nan(selftest *t)
{
    EXPECT(!near_fails(1, 1.5, 0.5) && near_fails(1, 1.5, 0.4));
    EXPECT(near_fails(NAN, 1, 1) && near_fails(1, NAN, 1) && near_fails(1, 1, NAN));
    EXPECT(near_fails(NAN, NAN, INFINITY) && near_fails(INFINITY, INFINITY, 1));

    EXPECT(worse(1, 2) == 2 && worse(2, 1) == 2 && worse(0, 0) == 0);
    EXPECT(worse(NAN, 1) == INFINITY && worse(1, NAN) == INFINITY && worse(NAN, NAN) == INFINITY);
    EXPECT(worse(worse(0, NAN), 1) == INFINITY);
    const double flat[5] = {0}, far[5] = {0, -3, 0, 2, 0};
    EXPECT(farthest(flat, far, 5) == 3 && farthest(far, flat, 5) == 3 &&
           farthest(far, far, 5) == 0);
    for (int j = 0; j < 5; j++) {
        double x[5] = {0};
        x[j] = NAN;
        EXPECT(farthest(x, flat, 5) == INFINITY && farthest(flat, x, 5) == INFINITY);
        EXPECT(farthest(x, x, 5) == INFINITY);
    }

    const match sound = {.error = 1, .tol = 1, .limit = 2};
    match m = sound;
    EXPECT(match_verdict(&m) == PASS);
    m.error = NAN;
    EXPECT(match_verdict(&m) == FAIL);
    m = sound;
    m.tol = m.limit = NAN;
    EXPECT(match_verdict(&m) == FAIL);
}

/* The folders of a test that fails lie under TMPDIR, are its own, and are gone when it ends. */
void selftest_scratch(selftest *t)
{
    const char *parent = scratch_folder(t), *before = getenv("TMPDIR");
    char *kept = before ? strdup(before) : NULL;
    selftest inner = {.failures = 1000}, other = {0};
    setenv("TMPDIR", parent, 1);
    const char *a = scratch_folder(&inner), *b = scratch_folder(&inner);
    const char *foreign = scratch_folder(&other);
    EXPECT(strncmp(a, parent, strlen(parent)) == 0);
    EXPECT(strcmp(a, b) != 0 && strcmp(a, foreign) != 0);
    const char *path = scratch_text(&inner, a, "x", "text"), *below = scratch_path(&inner, b, "y");
    EXPECT(access(path, R_OK) == 0 && access(b, W_OK) == 0);
    EXPECT(symlink(foreign, below) == 0); /* what it points to stays */
    EXPECT(inner.failures == 1000);
    scratch_text(&inner, a, "none/x", "text");
    EXPECT(inner.failures == 1001);
    scratch_end(&inner);
    EXPECT(access(foreign, W_OK) == 0 && rmdir(parent) != 0);
    scratch_end(&other);
    EXPECT(rmdir(parent) == 0);
    setenv("TMPDIR", "/dev/null", 1);
    scratch_text(&inner, scratch_folder(&inner), "x", "text");
    EXPECT(inner.failures == 1003);
    scratch_end(&inner);
    EXPECT(inner.failures == 1003);
    if (kept)
        setenv("TMPDIR", kept, 1);
    else
        unsetenv("TMPDIR");
    free(kept);
}
