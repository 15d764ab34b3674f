/* SPDX-License-Identifier: MIT
 *
 * run.c — verb run: the cells of an experiment file, each a process of its own, finished ones
 * skipped. A cell is finished if its file is whole and was made by the same words, from files of
 * the same content, with the same sources; a killed run therefore goes on where it was. Timings run
 * alone, one after another with all cores; everything else runs `jobs` at a time on one core each,
 * which suits small models.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cost.h"
#include "experiment.h"
#include "stop.h"
#include "output.h"
#include "store/hdf.h"
#include "store/results.h"
#include "verb.h"
#include "version.h"

enum { WAITING, RUNNING, DONE, FAILED, SKIPPED };

/* The cells that run, for whoever ends the run: they end with it. */
enum { MOST_JOBS = 1024 };
static volatile pid_t running[MOST_JOBS];

static void end_cells(int number)
{
    (void)number;
    for (int i = 0; i < MOST_JOBS; i++)
        if (running[i] > 0) kill(running[i], SIGTERM);
}

/* Put a process in the place of another, 0 being none. */
static void swap_running(pid_t from, pid_t to)
{
    int i = 0;
    while (i < MOST_JOBS && running[i] != from)
        i++;
    if (i < MOST_JOBS) running[i] = to;
}

typedef struct runner {
    cells all;
    int *state;
    pid_t *child;
    cost *cost;
    char **line;     /* of each cell, as it can be typed */
    int jobs, again; /* again: force=1 */
    int finished, failed;
} runner;

int make_folders(const char *path)
{
    char text[4096];
    snprintf(text, sizeof text, "%s", path);
    for (char *c = text + 1; *c; c++)
        if (*c == '/') {
            *c = '\0';
            if (mkdir(text, 0777) != 0 && errno != EEXIST) return 0;
            *c = '/';
        }
    return 1;
}

/* What decides the numbers of a cell, as its finished file records it. */
typedef struct identity {
    char *key; /* the caller's to free */
    char inputs[FILES_DIGEST];
    /* What decides nothing: */
    cost cost;
    char *line; /* the command as it can be typed; the caller's to free */
} identity;

static status cell_identity(const cells *all, const cell *c, identity *id)
{
    words *w;
    char *text[LINE_WORDS + 1], from[4200];
    int count = 0;
    *id = (identity){0};
    for (; count < c->count; count++)
        text[count] = c->word[count];
    const char *model = c->after >= 0 ? all->cell[c->after].checkpoint : NULL;
    if (model && access(model, R_OK) == 0) {
        snprintf(from, sizeof from, "from=%s", model);
        text[count++] = from;
    }
    TRY(words_parse(c->verb, count, text, &w));
    files_digest(w, id->inputs);
    id->cost = cost_of(w, (c->checkpoint != NULL) + (c->best != NULL));
    id->key = words_key(w);
    id->line = words_canonical(w, NULL);
    words_free(w);
    return id->key && id->line ? OK : fail(ERR_MEMORY, "run: out of memory");
}

static void identity_free(identity *id)
{
    free(id->key);
    free(id->line);
    *id = (identity){0};
}

static int says(const stored *f, const char *name, const char *expected)
{
    char text[8192];
    return stored_text(f, name, text, sizeof text) == OK && strcmp(text, expected) == 0;
}

/* Are all files of a cell there, and was its result made by these words from the content of these
 * files with these sources? */
static int is_finished(const cell *c, const identity *id)
{
    stored *f;
    if (access(c->result, R_OK) != 0 || (c->checkpoint && access(c->checkpoint, R_OK) != 0) ||
        (c->best && access(c->best, R_OK) != 0) || stored_open(c->result, &f) != OK)
        return 0;
    const int same = stored_finished(f) && says(f, "key", id->key) &&
                     says(f, "inputs", id->inputs) && says(f, "sources", MOSAIC_SOURCES);
    stored_close(f);
    return same;
}

/* A model that was begun by other sources or from other files is no beginning of this one: it is
 * put aside, and so is one that is to be made again. */
static void put_aside(const char *path, const identity *id, int again)
{
    char sources[80], inputs[FILES_DIGEST], aside[4300];
    hid_t file;
    if (!path || access(path, F_OK) != 0) return;
    if (!again && hdf_open_sealed(path, "checkpoint", &file) == OK) {
        const int same = hdf_text(file, "sources", sources, sizeof sources) == OK &&
                         strcmp(sources, MOSAIC_SOURCES) == 0 &&
                         hdf_text(file, "inputs", inputs, sizeof inputs) == OK &&
                         strcmp(inputs, id->inputs) == 0;
        H5Fclose(file);
        if (same) return;
    }
    snprintf(aside, sizeof aside, "%s.old", path);
    rename(path, aside);
}

/* Replace this process by the cell's command; its chatter goes to NAME.log. */
static void become(const cells *all, const cell *c, int alone, pid_t parent)
{
    char *argv[LINE_WORDS + 8], extra[4][4200], log[4200], file[OUTPUT_PATH];
    int n = 0, made = 0;
    argv[n++] = "mosaic";
    argv[n++] = c->verb;
    for (int i = 0; i < c->count; i++)
        argv[n++] = c->word[i];
    snprintf(extra[made], sizeof extra[0], "out=%s", c->result);
    argv[n++] = extra[made++];
    if (c->checkpoint) {
        snprintf(extra[made], sizeof extra[0], "checkpoint=%s", c->checkpoint);
        argv[n++] = extra[made++];
    }
    if (c->best) {
        snprintf(extra[made], sizeof extra[0], "best=%s", c->best);
        argv[n++] = extra[made++];
    }
    if (c->after >= 0) {
        snprintf(extra[made], sizeof extra[0], "from=%s", all->cell[c->after].checkpoint);
        argv[n++] = extra[made++];
    }
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* also a run that is killed ends its cells */
    if (getppid() != parent) _exit(127);
    snprintf(log, sizeof log, "%s.log", c->result);
    int null = open("/dev/null", O_WRONLY), fd = null;
    if (output_file(log, "log", file) == OK) fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0) dup2(fd, STDERR_FILENO);
    if (null >= 0) dup2(null, STDOUT_FILENO);
    setenv("MOSAIC_PROGRESS", "5", 1); /* which told_part reads */
    unsetenv("MOSAIC_QUIET");
    if (!alone) setenv("OMP_NUM_THREADS", "1", 1);
    setenv("OPENBLAS_NUM_THREADS", alone ? "" : "1", 1);
    if (alone) unsetenv("OPENBLAS_NUM_THREADS");
    execv("/proc/self/exe", argv);
    _exit(127);
}

static void print_log_tail(const cell *c)
{
    char log[4200], text[400] = "", last[400] = "";
    snprintf(log, sizeof log, "%s.log", c->result);
    FILE *f = fopen(log, "r");
    while (f && fgets(text, sizeof text, f))
        if (*text != '\n') snprintf(last, sizeof last, "%s", text);
    if (f) fclose(f);
    last[strcspn(last, "\n")] = '\0';
    fprintf(stderr, "%s: %s\n", c->name, *last ? last : "died without a word");
}

static int ready(const runner *r, int i)
{
    int after = r->all.cell[i].after;
    return r->state[i] == WAITING &&
           (after < 0 || r->state[after] == DONE || r->state[after] == SKIPPED);
}

/* A cell that cannot run because the one before it failed. */
static void drop_orphans(runner *r)
{
    for (int i = 0; i < r->all.count; i++) {
        int after = r->all.cell[i].after;
        if (r->state[i] == WAITING && after >= 0 && r->state[after] == FAILED) {
            r->state[i] = FAILED;
            r->failed++;
            r->finished++;
        }
    }
}

static status start(runner *r, int i, int alone)
{
    if (!make_folders(r->all.cell[i].result))
        return fail(ERR_FILE, "%s: cannot be created: expected a writable folder",
                    r->all.cell[i].result);
    identity id;
    TRY(cell_identity(&r->all, &r->all.cell[i], &id));
    put_aside(r->all.cell[i].checkpoint, &id, r->again);
    put_aside(r->all.cell[i].best, &id, r->again);
    identity_free(&id);
    fflush(NULL);
    const pid_t parent = getpid(), pid = fork();
    if (pid < 0) return fail(ERR_MEMORY, "run: a process cannot be started");
    if (pid == 0) become(&r->all, &r->all.cell[i], alone, parent);
    swap_running(0, pid);
    if (stop_signal()) end_cells(0); /* it came before this one was noted */
    r->child[i] = pid;
    r->state[i] = RUNNING;
    return OK;
}

/* Does it run alone? */
static int is_timing(const cell *c)
{
    return strcmp(c->verb, "time") == 0;
}

/* What a cell counts among all: the time that it holds up a run. */
static double weight_of(const runner *r, int i)
{
    return r->cost[i].seconds / (is_timing(&r->all.cell[i]) ? 1 : r->jobs);
}

/* How much of a running cell is done, by the last line of its log ("...: 3 of 10, ..."); 0 if it
 * does not say. */
static double told_part(const cell *c)
{
    char log[4200], end[600];
    long long done = 0, all = 0;
    size_t n = 0;
    snprintf(log, sizeof log, "%s.log", c->result);
    FILE *f = fopen(log, "r");
    if (f && fseek(f, 0, SEEK_END) == 0) {
        const long size = ftell(f), from = size > 500 ? size - 500 : 0;
        if (fseek(f, from, SEEK_SET) == 0) n = fread(end, 1, sizeof end - 1, f);
    }
    if (f) fclose(f);
    end[n] = '\0';
    if (n && end[n - 1] == '\n') end[n - 1] = '\0';
    const char *last = strrchr(end, '\n');
    const char *colon = strstr(last ? last : end, ": ");
    if (!colon || sscanf(colon, ": %lld of %lld, ", &done, &all) != 2 || all <= 0) return 0;
    return (double)done / (double)all;
}

/* What tells a cell from the others of its experiment, for a reader: "lm softmax 2". */
static void short_name(const cell *c, char *text, size_t size)
{
    static const char *const telling[] = {"method=", "layers=", "seed=", "model="};
    size_t used = (size_t)snprintf(text, size, "%.20s", c->of->id);
    for (int i = 0; i < c->count; i++)
        for (int k = 0; k < 4; k++)
            if (strncmp(c->word[i], telling[k], strlen(telling[k])) == 0 && used < size)
                used += (size_t)snprintf(text + used, size - used, " %.14s",
                                         c->word[i] + strlen(telling[k]));
}

/* Show what is done, by weight, and the cells that run with the share that is done of each. */
static void show_running(const runner *r, progress *p, int before)
{
    double done = 0, all = 0;
    char note[400] = "", name[80];
    size_t used = 0;
    for (int i = 0; i < r->all.count; i++) {
        const double weight = weight_of(r, i);
        if (r->state[i] == WAITING || (r->child[i] && r->state[i] != SKIPPED)) all += weight;
        if (r->child[i] && r->state[i] != RUNNING && r->state[i] != SKIPPED) done += weight;
        if (r->state[i] != RUNNING) continue;
        const double part = told_part(&r->all.cell[i]);
        done += part * weight;
        short_name(&r->all.cell[i], name, sizeof name);
        if (used < sizeof note)
            used += (size_t)snprintf(note + used, sizeof note - used, "%s%s %.0f %%",
                                     used ? "; " : "", name, 100 * part);
    }
    progress_part(p, r->finished - before, all > 0 ? done / all : 0, *note ? note : NULL);
}

/* Wait for one child and book its end; meanwhile show what runs. */
static void reap(runner *r, progress *p, int before)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    int how;
    pid_t pid;
    while ((pid = waitpid(-1, &how, WNOHANG)) == 0) {
        show_running(r, p, before);
        nanosleep(&pause, NULL);
    }
    for (int i = 0; i < r->all.count; i++) {
        if (r->state[i] != RUNNING || r->child[i] != pid) continue;
        int code = WIFEXITED(how) ? WEXITSTATUS(how) : 128;
        r->state[i] = code == EXIT_GOOD ? DONE : code == EXIT_SKIP ? SKIPPED : FAILED;
        swap_running(pid, 0);
        r->finished++;
        if (r->state[i] == DONE) continue;
        if (r->state[i] == FAILED) r->failed++;
        if (stop_signal()) continue; /* it was ended with us */
        print_log_tail(&r->all.cell[i]);
    }
}

/* Timings first and alone, then the rest in parallel, then the timings of what that made. */
static status execute(runner *r)
{
    progress p;
    progress_start(&p, "run", r->all.count - r->finished);
    int before = r->finished;
    p.first = before;
    for (int pass = 0; pass < 3; pass++) {
        const int alone = pass != 1;
        int begun = 0, jobs = alone ? 1 : r->jobs;
        for (;;) {
            int next = -1;
            drop_orphans(r);
            for (int i = 0; next < 0 && i < r->all.count; i++) {
                if (is_timing(&r->all.cell[i]) == alone && ready(r, i)) next = i;
            }
            if (stop_signal()) next = -1;
            if (next < 0 && begun == 0) break;
            if (next >= 0 && begun < jobs) {
                TRY(start(r, next, alone));
                begun++;
                continue;
            }
            reap(r, &p, before);
            begun--;
            show_running(r, &p, before);
        }
    }
    progress_end(&p);
    return stop_check();
}

/* The cells with what they may take; in words, what is to do. */
static int print_plan(const runner *r)
{
    cost all = {0};
    int to_do = 0;
    char time[40], bytes[40];
    for (int i = 0; i < r->all.count; i++) {
        const cell *c = &r->all.cell[i];
        const int waits = r->state[i] == WAITING;
        cost_time(r->cost[i].seconds, time, sizeof time);
        cost_size(r->cost[i].bytes, bytes, sizeof bytes);
        printf("%s\t%s\t%s\t%s\tmosaic %s\n", c->of->id,
               r->state[i] == DONE ? "done"
               : waits             ? "to do"
                                   : "elsewhere",
               time, bytes, r->line[i]);
        if (!waits) continue;
        to_do++;
        all.seconds += weight_of(r, i);
        all.bytes += r->cost[i].bytes;
    }
    cost_time(all.seconds, time, sizeof time);
    cost_size(all.bytes, bytes, sizeof bytes);
    fprintf(stderr, "run: %d cells, %d to do: about %s with %d at a time, %s of files\n",
            r->all.count, to_do, time, r->jobs, bytes);
    return EXIT_GOOD;
}

/* i/n: every n-th chain of cells (a cell and those after it), so that job arrays share a folder. */
static status take_shard(runner *r, const char *text)
{
    int i, n, used = 0, chain = -1;
    if (sscanf(text, "%d/%d%n", &i, &n, &used) != 2 || text[used] || i < 1 || n < i)
        return fail(ERR_ARG, "run: shard=%s: expected i/n with 1 <= i <= n", text);
    for (int c = 0; c < r->all.count; c++) {
        if (r->all.cell[c].after < 0) chain++;
        if (chain % n != i - 1 && r->state[c] == WAITING) {
            r->state[c] = SKIPPED;
            r->finished++;
        }
    }
    return OK;
}

int verb_run(const words *w)
{
    runner r = {.again = (int)word_int(w, "force")};
    paper *p = NULL;
    const char *ids[256];
    int count = 0, all = strcmp(word_text(w, "ids"), "all") == 0, code = EXIT_GOOD;
    for (int64_t i = 0; !all && i < word_count(w, "ids") && count < 256; i++)
        ids[count++] = word_text_at(w, "ids", i);
    status s = paper_read(&p, word_text(w, "file"), word_text(w, "profile"));
    if (s == OK) s = cells_plan(p, word_text(w, "results"), ids, count, &r.all);
    if (s == OK) {
        r.state = calloc((size_t)r.all.count + 1, sizeof *r.state);
        r.child = calloc((size_t)r.all.count + 1, sizeof *r.child);
        r.cost = calloc((size_t)r.all.count + 1, sizeof *r.cost);
        r.line = calloc((size_t)r.all.count + 1, sizeof *r.line);
        if (!r.state || !r.child || !r.cost || !r.line) s = fail(ERR_MEMORY, "run: out of memory");
    }
    for (int i = 0; s == OK && i < r.all.count; i++) {
        const cell *c = &r.all.cell[i];
        identity id;
        s = cell_identity(&r.all, c, &id);
        if (s != OK) s = fail(s, "%s: experiment %s: %s", p->path, c->of->id, last_error());
        r.cost[i] = id.cost;
        const int begun = c->after >= 0 && r.state[c->after] != DONE; /* its model comes anew */
        if (s == OK && !word_int(w, "force") && !begun && is_finished(c, &id)) {
            r.state[i] = DONE;
            r.finished++;
        }
        if (s == OK) r.line[i] = id.line, id.line = NULL;
        identity_free(&id);
    }
    if (s == OK) s = take_shard(&r, word_text(w, "shard"));
    const int64_t jobs = word_int(w, "jobs") > 0 ? word_int(w, "jobs") : threads_cores();
    r.jobs = jobs < MOST_JOBS ? (int)jobs : MOST_JOBS;
    if (s == OK && word_int(w, "dry")) {
        code = print_plan(&r);
    } else if (s == OK) {
        int done = r.finished;
        stop_watch(end_cells);
        s = execute(&r);
        if (s == OK)
            fprintf(stderr, "run: %d cells: %d were finished, %d ran, %d failed\n", r.all.count,
                    done, r.finished - done - r.failed, r.failed);
        if (r.failed) code = EXIT_CHECK;
    }
    for (int i = 0; r.line && i < r.all.count; i++)
        free(r.line[i]);
    free(r.line);
    cells_free(&r.all);
    free(r.state);
    free(r.child);
    free(r.cost);
    paper_free(p);
    stop_end("run", "; the same line goes on in ", word_text(w, "results"));
    return s != OK ? status_exit(s) : code;
}
