/* SPDX-License-Identifier: MIT
 *
 * gate_verb.c — verb gate: launches of `mosaic time`, the points of each in another order, against
 * a baseline of the same device or in turns with another build (ABBA), and what is said of them.
 *
 * A baseline is a result file: the launches that made it, merged. The points are its commands.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"
#include "output.h"
#include "stop.h"
#include "tabular.h"

enum { MOST_LINES = 64, MOST_WORDS = 40, LINE_ROOM = 1000 };

/* The two sides that are run: of a baseline only the fresh one. */
enum { OTHER, OWN };

typedef struct gate {
    const words *w;
    char line[MOST_LINES][LINE_ROOM]; /* words of `mosaic time`, one command each          */
    int lines;
    char baseline[PATH_MAX]; /* its file                                          */
    char folder[PATH_MAX];   /* of the launches, which is removed                 */
    char said[PATH_MAX + 8]; /* what a launch says, there                         */
    char **path[2];          /* files of the launches of both sides, in order      */
    int64_t paths[2];
} gate;

/* --- where the baseline lies, and which points it has
 * --------------------------------------------- */

/* What this machine is called in provenance; 1 if it is there. */
static int provenance_of(const char *name, char *value, size_t size)
{
    char *text = provenance_text();
    const size_t n = strlen(name);
    *value = '\0';
    for (char *at = text; at && *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, name, n) == 0 && at[n] == '\t')
            snprintf(value, size, "%.*s", (int)strcspn(at + n + 1, "\n"), at + n + 1);
    free(text);
    return *value != '\0';
}

/* The device of this machine, or else its CPU. */
static void own_device(char *device, size_t size)
{
    if (!provenance_of("device", device, size)) (void)provenance_of("cpu", device, size);
}

/* "Intel(R) Xeon(R) Processor" is intel-r-xeon-r-processor.h5. */
static void device_file(char *name, size_t size)
{
    char device[200];
    size_t used = 0;
    own_device(device, sizeof device);
    for (const char *c = device; *c && used + 4 < size; c++)
        if (isalnum((unsigned char)*c))
            name[used++] = (char)tolower((unsigned char)*c);
        else if (used > 0 && name[used - 1] != '-')
            name[used++] = '-';
    while (used > 0 && name[used - 1] == '-')
        used--;
    snprintf(name + used, size - used, ".h5");
}

static status find_baseline(gate *g)
{
    const char *path = word_text(g->w, "baseline");
    char name[256];
    struct stat st;
    device_file(name, sizeof name);
    const int folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (snprintf(g->baseline, sizeof g->baseline, folder ? "%s/%s" : "%s", path, name) >=
        (int)sizeof g->baseline)
        return fail(ERR_ARG, "gate: baseline: path too long");
    return OK;
}

static status add_points_line(gate *g, const char *text)
{
    for (int i = 0; i < g->lines; i++)
        if (strcmp(g->line[i], text) == 0) return OK;
    if (g->lines == MOST_LINES || strlen(text) >= LINE_ROOM)
        return fail(ERR_DATA, "gate: expected at most %d lines of %d characters", (int)MOST_LINES,
                    (int)LINE_ROOM);
    snprintf(g->line[g->lines++], LINE_ROOM, "%s", text);
    return OK;
}

/* Lines of words of `mosaic time`; # begins a comment. */
static status read_points(gate *g, const char *path)
{
    char text[LINE_ROOM + 2];
    FILE *f = fopen(path, "r");
    status s = OK;
    if (!f)
        return fail(ERR_FILE, "%s: cannot be read: expected lines of words of `mosaic time`", path);
    while (s == OK && fgets(text, sizeof text, f)) {
        text[strcspn(text, "\n#")] = '\0';
        for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
            text[n - 1] = '\0';
        if (*text) s = add_points_line(g, text);
    }
    fclose(f);
    if (s == OK && g->lines == 0) s = fail(ERR_DATA, "%s: expected a line of words", path);
    return s;
}

/* The commands that a baseline was made by. */
static status points_of_baseline(gate *g)
{
    stored *f;
    int64_t origins = 0;
    TRY(stored_open(g->baseline, &f));
    status s = stored_origins(f, &origins);
    for (int64_t i = 0; s == OK && i < origins; i++) {
        char key[LINE_ROOM];
        s = stored_origin_text(f, i, "key", key, sizeof key);
        if (s == OK && strncmp(key, "time ", 5) != 0)
            s = fail(ERR_DATA, "%s: made by `%.40s`: expected launches of time", g->baseline, key);
        if (s == OK) s = add_points_line(g, key + 5);
    }
    stored_close(f);
    return s;
}

/* --- launches
 * --------------------------------------------------------------------------------------- */

static int64_t threads_of(const gate *g)
{
    return word_int(g->w, "threads");
}

/* The child: `program time LINE out=PATH`, quiet. */
static void become_launch(const gate *g, const char *program, const char *line, const char *path)
{
    char text[LINE_ROOM], out[PATH_MAX + 100], threads[24], *argv[MOST_WORDS + 8], *rest = NULL;
    int n = 0;
    snprintf(text, sizeof text, "%s", line);
    snprintf(out, sizeof out, "out=%s", path);
    snprintf(threads, sizeof threads, "%lld", (long long)threads_of(g));
    argv[n++] = "mosaic";
    argv[n++] = "time";
    for (char *one = strtok_r(text, " ", &rest); one && n < MOST_WORDS;
         one = strtok_r(NULL, " ", &rest))
        argv[n++] = one;
    argv[n++] = out;
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int null = open("/dev/null", O_WRONLY),
              said = open(g->said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (null >= 0) dup2(null, STDOUT_FILENO);
    if (said >= 0) dup2(said, STDERR_FILENO);
    if (threads_of(g) > 0) setenv("OMP_NUM_THREADS", threads, 1);
    setenv("MOSAIC_QUIET", "1", 1);
    execv(program, argv);
    _exit(127);
}

/* The first line that a launch said. */
static void what_was_said(const gate *g, char line[400])
{
    FILE *f = fopen(g->said, "r");
    *line = '\0';
    if (f && !fgets(line, 400, f)) *line = '\0';
    if (f) fclose(f);
    line[strcspn(line, "\n")] = '\0';
    if (!*line) snprintf(line, 400, "died without a word");
}

/* Run one launch; *skipped: there is nothing to time here. */
static status launch_line(const gate *g, const char *program, const char *line, const char *path,
                          int *skipped)
{
    int how = 0;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) become_launch(g, program, line, path);
    if (pid < 0) return fail(ERR_MEMORY, "gate: a process cannot be started");
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    const int code = WIFEXITED(how) ? WEXITSTATUS(how) : 128;
    *skipped = code == EXIT_SKIP;
    TRY(stop_check());
    if (code == EXIT_GOOD || *skipped) return OK;
    char said[400];
    what_was_said(g, said);
    return fail(ERR_DATA, "gate: `time %.300s`: %s", line, said);
}

static status note_path(gate *g, int side, const char *path)
{
    char **more = realloc(g->path[side], (size_t)(g->paths[side] + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "gate: out of memory");
    g->path[side] = more;
    more[g->paths[side]] = strdup(path);
    return more[g->paths[side]++] ? OK : fail(ERR_MEMORY, "gate: out of memory");
}

static status one_launch(gate *g, int side, int line, int number)
{
    const char *program = side == OWN ? "/proc/self/exe" : word_text(g->w, "against");
    char path[PATH_MAX + 64];
    int skipped = 0;
    snprintf(path, sizeof path, "%s/%d-%04d-%02d.h5", g->folder, side, number, line);
    status s = launch_line(g, program, g->line[line], path, &skipped);
    if (s == OK && !skipped) s = note_path(g, side, path);
    if (s != OK) unlink(path); /* it may have been whole before a signal came */
    return s;
}

/* All launches: each goes through the lines from another one on; of two builds in turns, ABBA. */
static status run_launches(gate *g)
{
    const int64_t launches = word_int(g->w, "launches");
    const int two = word_given(g->w, "against");
    progress bar;
    status s = OK;
    progress_start(&bar, "gate", launches * g->lines);
    for (int64_t i = 0; s == OK && i < launches; i++)
        for (int k = 0; s == OK && k < g->lines; k++) {
            const int line = (int)((k + i) % g->lines), first = two && i % 2 ? OTHER : OWN;
            s = one_launch(g, first, line, (int)i);
            if (s == OK && two) s = one_launch(g, !first, line, (int)i);
            progress_step(&bar, i * g->lines + k + 1, NULL);
        }
    progress_end(&bar);
    return s;
}

static status make_folder(gate *g)
{
    const char *under = getenv("TMPDIR");
    snprintf(g->folder, sizeof g->folder, "%s/mosaic-gate-XXXXXX",
             under && *under ? under : "/tmp");
    if (!mkdtemp(g->folder))
        return fail(ERR_FILE, "%s: cannot be created: expected a writable folder", g->folder);
    snprintf(g->said, sizeof g->said, "%s/said", g->folder);
    return OK;
}

/* Forget the launches. */
static void drop_launches(gate *g)
{
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < g->paths[side]; i++)
            unlink(g->path[side][i]);
        results_paths_free(g->path[side], g->paths[side]);
        g->path[side] = NULL;
        g->paths[side] = 0;
    }
}

/* --- what they say
 * -------------------------------------------------------------------------------- */

typedef struct gated {
    sources all;
    behind *relative; /* of each row of time */
    compare_plan *plan;
    comparison c;
} gated;

static void gated_free(gated *d)
{
    comparison_free(&d->c);
    gate_relative_free(d->relative, d->all.rows[TIME].count);
    sources_free(&d->all);
    free(d->plan);
    *d = (gated){.plan = NULL};
}

static status compare_launches(gate *g, gated *d)
{
    const int wanted[TABLES] = {[TIME] = SAMPLES_TOO};
    const int two = word_given(g->w, "against");
    sources_start(&d->all);
    d->c = (comparison){0};
    d->plan = calloc(1, sizeof *d->plan);
    if (!d->plan) return fail(ERR_MEMORY, "gate: out of memory");
    for (int64_t i = 0; two && i < g->paths[OTHER]; i++)
        TRY(sources_read(&d->all, g->path[OTHER][i], wanted));
    if (!two) TRY(sources_read(&d->all, g->baseline, wanted));
    const int64_t border = d->all.rows[TIME].count;
    for (int64_t i = 0; i < g->paths[OWN]; i++)
        TRY(sources_read(&d->all, g->path[OWN][i], wanted));
    TRY(gate_relative(d->all.each[TIME], d->all.rows[TIME].count, &d->relative));
    *d->plan = (compare_plan){.rows = &d->all.rows[TIME],
                              .each = d->relative,
                              .by = "",
                              .across = ACROSS_BUILD,
                              .margin = word_real(g->w, "margin"),
                              .level = word_real(g->w, "level"),
                              .resamples = word_int(g->w, "resamples"),
                              .seed = (uint64_t)word_int(g->w, "seed"),
                              .in_turns = two,
                              .own_spread = 1};
    d->plan->base =
        (side_plan){.name = two ? word_text(g->w, "against") : "baseline", .last = border};
    d->plan->fresh =
        (side_plan){.name = "this build", .first = border, .last = d->all.rows[TIME].count};
    return compare_rows(d->plan, &d->c);
}

static int has_moved(const comparison *c)
{
    for (int64_t i = 0; i < c->count; i++)
        if (strcmp(c->row[i].verdict, "SLOWER") == 0 || strcmp(c->row[i].verdict, "FASTER") == 0)
            return 1;
    return 0;
}

/* A point that moved must do so again. */
static status second_run(gate *g, gated *first)
{
    gated again = {.plan = NULL};
    if (!has_moved(&first->c)) return OK;
    if (!getenv("MOSAIC_QUIET")) fprintf(stderr, "gate: something moved: a second run\n");
    drop_launches(g);
    status s = run_launches(g);
    if (s == OK) s = compare_launches(g, &again);
    if (s == OK) gate_agree(first->c.row, first->c.count, again.c.row, again.c.count);
    gated_free(&again);
    return s;
}

static status keep_rows(const gate *g, const gated *d)
{
    results *r;
    TRY(results_create(&r, word_text(g->w, "out"), g->w));
    status s = OK;
    for (int64_t i = 0; s == OK && i < d->c.count; i++)
        s = results_append(r, COMPARED, &d->c.row[i]);
    const source *times = &d->all.rows[TIME];
    for (int64_t i = d->plan->fresh.first; s == OK && i < times->count; i++) {
        const behind *b = &d->all.each[TIME][i];
        s = results_append(r, TIME, times->rows + (size_t)i * table_row_size(TIME));
        if (s == OK && b->x) s = results_samples(r, RAW_TIMES, b->x, b->count);
        if (s == OK && b->weight) s = results_samples(r, RAW_YARDS, b->weight, b->count);
    }
    const status closed = results_close(r, s == OK);
    return s != OK ? s : closed;
}

/* --- the verb
 * ------------------------------------------------------------------------------------- */

/* Processors of one name may differ: the size of their caches is told too. */
static void add_cache(char *device, size_t size, const char *cache)
{
    const size_t used = strlen(device);
    if (*cache) snprintf(device + used, size - used, ", %s bytes of cache", cache);
}

static status device_of_baseline(const gate *g, char *device, size_t size)
{
    stored *f;
    TRY(stored_open(g->baseline, &f));
    char cache[40] = "";
    status s = stored_text(f, "device", device, size);
    const int on_cpu = s == OK && !*device;
    if (on_cpu) s = stored_text(f, "cpu", device, size);
    if (on_cpu && s == OK) s = stored_text(f, "cpu_cache", cache, sizeof cache);
    add_cache(device, size, cache);
    stored_close(f);
    return s;
}

/* No baseline of this device is no verdict: *there = 0. */
static status has_baseline(const gate *g, int *there)
{
    char device[300], own[300], cache[200];
    *there = 1;
    const char *against = word_text(g->w, "against");
    if (*against && access(against, X_OK) != 0)
        return fail(ERR_FILE, "gate: against=%s: expected a mosaic that can be run", against);
    if (*against) return OK;
    own_device(own, sizeof own);
    if (!provenance_of("device", cache, sizeof cache) &&
        provenance_of("cpu_cache", cache, sizeof cache))
        add_cache(own, sizeof own, cache);
    *there = access(g->baseline, F_OK) == 0;
    if (*there) {
        TRY(device_of_baseline(g, device, sizeof device));
        *there = strcmp(device, own) == 0;
    }
    if (!*there)
        fprintf(stderr,
                "mosaic: gate: %s: no baseline of %s: expected one that update=1 made here\n",
                g->baseline, own);
    return OK;
}

static status write_baseline(gate *g)
{
    status s = run_launches(g);
    if (s == OK && g->paths[OWN] == 0) s = fail(ERR_DATA, "gate: nothing was timed here");
    if (s == OK)
        s = results_merge((const char *const *)g->path[OWN], g->paths[OWN], g->baseline, g->w);
    if (s == OK)
        printf("%s\t%lld launches of %d commands\n", g->baseline,
               (long long)word_int(g->w, "launches"), g->lines);
    return s;
}

static status judge_build(gate *g, gated *d)
{
    TRY(run_launches(g));
    TRY(compare_launches(g, d));
    if (word_int(g->w, "again")) TRY(second_run(g, d));
    comparison_print(g->w, &d->c);
    TRY(keep_rows(g, d));
    comparison_tell("gate", &d->c, d->plan);
    return OK;
}

static status find_points(gate *g)
{
    const char *points = word_text(g->w, "points");
    if (*points) return read_points(g, points);
    if (access(g->baseline, R_OK) == 0) return points_of_baseline(g);
    return fail(ERR_ARG, "gate: expected points=FILE, or a baseline whose points are timed again");
}

int verb_gate(const words *w)
{
    gate *g = calloc(1, sizeof *g);
    gated d = {.plan = NULL};
    const int update = (int)word_int(w, "update");
    int there = 1;
    if (!g) return (void)status_exit(fail(ERR_MEMORY, "gate: out of memory")), EXIT_NO_VERDICT;
    g->w = w;
    tabular_format(word_text(w, "format"));
    stop_watch(NULL);
    status s = find_baseline(g);
    if (s == OK && !update) s = has_baseline(g, &there);
    if (!there) return free(g), EXIT_SKIP;
    if (s == OK) s = find_points(g);
    if (s == OK) s = make_folder(g);
    if (s == OK) s = update ? write_baseline(g) : judge_build(g, &d);
    const int code = s != OK  ? EXIT_NO_VERDICT
                     : update ? EXIT_GOOD
                              : comparison_exit(d.c.row, d.c.count);
    drop_launches(g);
    if (*g->said) unlink(g->said);
    if (*g->folder) rmdir(g->folder);
    stop_end("gate", "", "");
    if (s != OK) (void)status_exit(s);
    gated_free(&d);
    free(g);
    return code;
}
