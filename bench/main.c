/* SPDX-License-Identifier: MIT
 *
 * main.c — argv to a verb, and the help that the tables write.
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

static int print_help(void)
{
    printf("mosaic VERB key=value ...\n\nverbs\n");
    for (int i = 0; i < VERBS; i++)
        printf("  %-9s %s\n", verbs[i].name, verbs[i].about);
    printf(
        "\nA value is a list item[,item...]; an item is a word, a number (4/3 too), a range\n"
        "a..b, a..b:xF, a..b:+S, or all. `mosaic VERB --help` lists the keys of a verb.\n"
        "There, (of ops) is a name that `mosaic list ops` prints.\n"
        "Standard output is TSV (of sample: text), chatter goes to stderr. Interrupted, a verb "
        "keeps\n"
        "what is finished: its rows in out=, marked unfinished, and what the same line goes on "
        "from.\n"
        "Exit codes: 0 good, 1 a check failed, 2 usage, 3 a file is missing, damaged or cannot be\n"
        "written, 4 out of memory or the device failed, 77 nothing to do here.\n");
    return EXIT_GOOD;
}

static int print_verb_help(const char *verb)
{
    static const struct row {
        const char *verb, *key, *fallback, *bound, *help;
        key_kind kind;
    } rows[] = {
#define VERB(name, about) {#name, NULL, NULL, NULL, about, TEXT},
#define KEY(name, kind, fallback, bound, help) {NULL, #name, fallback, bound, help, kind},
#include "verbs.def"
#undef VERB
#undef KEY
    };
    static const char *const kinds[] = {"word",   "path",    "file",    "folder",
                                        "words",  "files",   "integer", "integers",
                                        "number", "numbers", "0|1"};
    int inside = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].verb) {
            inside = strcmp(rows[i].verb, verb) == 0;
            if (inside) printf("mosaic %s — %s\n", verb, rows[i].help);
        } else if (inside) {
            printf("  %-13s %-9s %s", rows[i].key, kinds[rows[i].kind], rows[i].help);
            if (*rows[i].bound) printf(" (%s)", rows[i].bound);
            if (*rows[i].fallback) printf(" [%s]", rows[i].fallback);
            printf("\n");
        }
    }
    return EXIT_GOOD;
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
        if (strcmp(text[j], "--help") == 0 || strcmp(text[j], "-h") == 0)
            return print_verb_help(verb);
    words *w;
    status s = words_parse(verb, count, text, &w);
    if (s != OK) return status_exit(s);
    s = files_check(w);
    if (files_written(w)) signal(SIGPIPE, SIG_IGN); /* files first, words second */
    int code = s == OK ? verbs[i].run(w) : status_exit(s);
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
    /* A reader that leaves early (`mosaic list | head`) ends us quietly, if no file would be lost;
     * a full file size limit is an error of write(), not a signal. */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        print_help();
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return print_help();
    int code = verb_dispatch(argv[1], argc - 2, argv + 2);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !reader_left()) {
        fprintf(stderr, "mosaic: standard output: cannot be written\n");
        return code == EXIT_GOOD ? EXIT_DATA : code;
    }
    return code;
}
