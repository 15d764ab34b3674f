/* SPDX-License-Identifier: MIT
 *
 * info.c — verb info: what a number was made with: commit, compiler, flags, machine, device.
 * MOSAIC_COMMIT in the environment names the commit where the tree has no history (an exported
 * copy); otherwise the build recorded it. SOURCE_DATE_EPOCH, if set, is the date.
 */
#include <hdf5.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends.h"
#include "bpe.h"
#include "buffer.h"
#include "verb.h"
#include "version.h"

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
line(buffer *t, const char *name, const char *format, ...)
{
    char value[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(value, sizeof value, format, list);
    va_end(list);
    for (char *c = value; *c; c++)
        if (*c == '\n' || *c == '\t') *c = ' ';
    buffer_add(t, "%s\t%s\n", name, value);
}

static void device_lines(buffer *t, const char *prefix, const backend *b)
{
    device_facts f = {0};
    char name[64];
    if (b->devices() == 0 || b->facts(&f) != OK) return;
    snprintf(name, sizeof name, "%s", prefix);
    line(t, name, "%s", f.name);
    snprintf(name, sizeof name, "%s_units", prefix);
    line(t, name, "%d", f.units);
    snprintf(name, sizeof name, "%s_cache", prefix);
    line(t, name, "%.0f", f.cache);
    if (f.sm == 0) return;
    snprintf(name, sizeof name, "%s_sm", prefix);
    line(t, name, "%d", f.sm);
    snprintf(name, sizeof name, "%s_memory", prefix);
    line(t, name, "%.0f", f.memory);
    snprintf(name, sizeof name, "%s_driver", prefix);
    line(t, name, "%s", f.driver);
    snprintf(name, sizeof name, "%s_runtime", prefix);
    line(t, name, "%s", f.runtime);
}

char *provenance_text(void)
{
    buffer t = {0};
    char date[32];
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t now = epoch && *epoch ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    const char *commit = getenv("MOSAIC_COMMIT");
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    line(&t, "created", "%s", date);
    line(&t, "commit", "%s", commit && *commit ? commit : MOSAIC_VERSION_COMMIT);
    line(&t, "sources", "%s", MOSAIC_SOURCES);
    line(&t, "version", "%s", MOSAIC_VERSION);
    line(&t, "build_type", "%s", MOSAIC_BUILD_TYPE);
    line(&t, "compiler", "%s", MOSAIC_COMPILER);
    line(&t, "cflags", "%s", MOSAIC_CFLAGS);
    line(&t, "hdf5", "%u.%u.%u", major, minor, release);
    char unicode[64];
    split_unicode(unicode);
    line(&t, "unicode", "%s", unicode);
    line(&t, "nvcc", "%s", MOSAIC_NVCC);
    device_lines(&t, "cpu", backend_at(0));
    line(&t, "cores", "%d", threads_cores());
    if (backend_at(1)) device_lines(&t, "device", backend_at(1));
    static const char *const watched[] = {"OMP_NUM_THREADS", "OPENBLAS_CORETYPE",
                                          "OPENBLAS_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG"};
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
        if (getenv(watched[i])) line(&t, watched[i], "%s", getenv(watched[i]));
    return t.text;
}

int runs_on_card(const char *name)
{
    const model *m;
    if (strcmp(name, "auto") != 0) return strcmp(name, "cuda") == 0;
    return model_find(name, &m) == OK && strcmp(m->name, "ref") != 0;
}

int verb_info(const words *w)
{
    (void)w;
    char *lines = provenance_text();
    if (!lines) return status_exit(fail(ERR_MEMORY, "info: out of memory"));
    fputs(lines, stdout);
    free(lines);
    return EXIT_GOOD;
}
