/* SPDX-License-Identifier: MIT
 *
 * selftest.c — verb selftest: runs rows of selftests.def and counts what failed.
 */
#include "selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "spec.h"
#include "verb.h"

void selftest_expect(selftest *t, int holds, const char *file, int line, const char *text)
{
    t->checks++;
    if (holds) return;
    t->failures++;
    if (t->failures <= 20) fprintf(stderr, "%s:%d: expected %s\n", file, line, text);
}

void selftest_near(selftest *t, double got, double want, double tol, const char *file, int line,
                   const char *text)
{
    t->checks++;
    if (fabs(got - want) <= tol) return;
    t->failures++;
    if (t->failures <= 20)
        fprintf(stderr, "%s:%d: expected %s within %g: got %.17g, want %.17g\n", file, line, text,
                tol, got, want);
}

void selftest_skip(selftest *t, const char *reason)
{
    t->skip = reason;
}

void selftest_error(selftest *t)
{
    EXPECT(fail(ERR_DATA, "%s: line %d", "x", 3) == ERR_DATA);
    EXPECT(strcmp(last_error(), "x: line 3") == 0);
    EXPECT(strcmp(status_text(ERR_MEMORY), "out of memory") == 0);
}

static const struct row {
    const char *name, *label, *about;
    void (*run)(selftest *t);
} rows[] = {
#define SELFTEST(name, label, about) {#name, #label, about, selftest_##name},
#include "selftests.def"
#undef SELFTEST
};

int verb_selftest(const words *w)
{
    int code = EXIT_GOOD;
    setenv("MOSAIC_QUIET", "1", 1); /* bars of progress would hide what failed */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!word_chooses(w, "name", rows[i].name)) continue;
        selftest t = {0};
        rows[i].run(&t);
        scratch_end(&t);
        const int idle = t.checks == 0 && !t.skip; /* shows nothing, and does not say why */
        const char *verdict = t.failures || idle ? "FAIL" : t.skip ? "skip" : "pass";
        printf("%s\t%s\t%ld checks\t%ld failures\t%s\n", rows[i].name, verdict, t.checks,
               t.failures, t.skip ? t.skip : rows[i].about);
        if (strcmp(verdict, "FAIL") == 0)
            code = EXIT_CHECK;
        else if (t.skip && code == EXIT_GOOD)
            code = EXIT_SKIP;
    }
    return code;
}
