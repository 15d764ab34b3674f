/* SPDX-License-Identifier: MIT
 *
 * main.c — argv to a verb.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verb.h"

static const struct verb {
    const char *name, *about;
    verb_fn *run;
} verbs[] = {
#define VERB(name, about) {#name, about, verb_##name},
#define KEY(name, kind, fallback, bound, help)
#include "verbs.def"
#undef VERB
#undef KEY
};
enum { VERBS = sizeof verbs / sizeof *verbs };

/* The exit code of a verb that could not begin. */
static int refused_verb(const char *verb, status s)
{
    const int code = status_exit(s);
    return strcmp(verb, "compare") == 0 || strcmp(verb, "gate") == 0 ? EXIT_NO_VERDICT : code;
}

int verb_dispatch(const char *verb, int count, char *const *text)
{
    int i = 0;
    while (i < VERBS && strcmp(verbs[i].name, verb) != 0)
        i++;
    if (i == VERBS) {
        const char *names[VERBS];
        for (int j = 0; j < VERBS; j++)
            names[j] = verbs[j].name;
        return status_exit(
            fail_unknown("unknown verb", verb, names, VERBS, "a verb of `mosaic --help`"));
    }
    for (int j = 0; j < count; j++)
        if (strcmp(text[j], "--help") == 0 || strcmp(text[j], "-h") == 0) {
            help_verb(verb);
            return EXIT_GOOD;
        }
    words *w;
    status s = words_parse(verb, count, text, &w);
    if (s != OK) return refused_verb(verb, s);
    s = files_check(w);
    if (files_written(w)) signal(SIGPIPE, SIG_IGN); /* files first, words second */
    int code = s == OK ? verbs[i].run(w) : refused_verb(verb, s);
    words_free(w);
    return code;
}

/* Threads that wait must sleep. OpenMP's spin, and as soon as two programs share the cores they
 * take the time of those they wait for: a training step then lasts twenty times as long. The
 * runtime reads its environment before main, so the program starts itself again with the right one.
 */
static void start_patiently(char **argv)
{
    if (getenv("OMP_WAIT_POLICY")) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv); /* comes back only if there is no such file: then we spin */
}

/* What cannot be written to a pipe has no reader any more: not our failure. */
static int reader_left(void)
{
    struct stat st;
    return fstat(STDOUT_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int main(int argc, char **argv)
{
    start_patiently(argv);
    /* HDF5 only reads files here, which their writers replace and never change: they need no lock,
     * which some file systems do not have. */
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    threads_start(0, getenv("OMP_NUM_THREADS") != NULL);
    /* A reader that leaves early (`mosaic list | head`) ends us quietly, if no file would be lost;
     * a full file size limit is an error of write(), not a signal. */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        help_program();
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help_program();
        return EXIT_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("%s\n", version_line());
        return EXIT_GOOD;
    }
    int code = verb_dispatch(argv[1], argc - 2, argv + 2);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !reader_left()) {
        fprintf(stderr, "mosaic: standard output: cannot be written\n");
        return code == EXIT_GOOD ? EXIT_DATA : code;
    }
    return code;
}
