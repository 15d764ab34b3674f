/* SPDX-License-Identifier: MIT
 *
 * show.c — verb show: result files to tables, figures, claims and the report.
 */
#include "show.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "verb.h"

enum { MAX_KEYS = 256 };

status experiment_files(const show *s, const experiment *e, char ***paths, int *count)
{
    int room = e->count;
    for (int i = 0; i < s->all->count; i++)
        room += s->all->cell[i].of == e;
    *count = 0;
    *paths = calloc((size_t)room + 1, sizeof **paths);
    if (!*paths) return fail(ERR_MEMORY, "show: out of memory");
    for (int i = 0; i < s->all->count; i++)
        if (s->all->cell[i].of == e) (*paths)[(*count)++] = strdup(s->all->cell[i].result);
    for (int i = 0; i < e->count; i++) {
        const line *l = &e->lines[i];
        if (l->kind != LINE_DATA) continue;
        const char *name = l->word[0], *folder = s->root;
        if (strncmp(name, "@/", 2) == 0) {
            folder = s->results;
            name += 2;
        }
        char *path = malloc(strlen(folder) + strlen(name) + 2);
        if (path) sprintf(path, "%s/%s", folder, name);
        (*paths)[(*count)++] = path;
    }
    for (int i = 0; i < *count; i++)
        if (!(*paths)[i]) return fail(ERR_MEMORY, "show: out of memory");
    return OK;
}

static void free_files(char **paths, int count)
{
    for (int i = 0; paths && i < count; i++)
        free(paths[i]);
    free(paths);
}

status show_write(const show *s, const char *name, const char *extension, const char *text)
{
    char path[4096], partial[4200];
    if (!text) return fail(ERR_MEMORY, "show: out of memory");
    snprintf(path, sizeof path, "%s/%s.%s", s->out, name, extension);
    snprintf(partial, sizeof partial, "%s.tmp.%ld", path, (long)getpid());
    FILE *f = fopen(partial, "w");
    int good = f && fputs(text, f) >= 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) != 0) good = 0;
    if (good) good = rename(partial, path) == 0;
    if (good) return OK;
    unlink(partial);
    return fail(ERR_FILE, "%s: cannot be written: expected room on the disk and a writable folder",
                path);
}

static table table_by_name(const char *name)
{
    int t = 0;
    while (t < TABLES && strcmp(table_name((table)t), name) != 0)
        t++;
    return (table)t;
}

status line_source(const show *s, const experiment *e, const line *l, source *rows)
{
    char **paths = NULL;
    int count = 0, missing = 0;
    *rows = (source){0};
    table of = table_by_name(line_value(l, "from", ""));
    if (of == TABLES)
        return fail(ERR_DATA, "%s:%d: from=%s: expected check, time, train, eval or row",
                    s->p->path, l->number, line_value(l, "from", ""));
    status done = experiment_files(s, e, &paths, &count);
    if (done == OK) done = source_read(rows, of, paths, count, &missing);
    free_files(paths, count);
    return done;
}

status line_pivot(const show *s, const experiment *e, const line *l, const char *rows,
                  const char *cols, const char *value_of, const char *keep, pivot *p)
{
    source from;
    status done = line_source(s, e, l, &from);
    if (done == OK) done = pivot_make(p, &from, keep, rows, cols, value_of);
    source_free(&from);
    return done;
}

void line_label(const line *l, const char *columns, const char *text, char *label, size_t size)
{
    static const char tail[] = ", backward";
    key_label(columns, text, label, size);
    char *at = strstr(label, tail);
    if (at && strcmp(line_value(l, "labels", ""), "plain") == 0)
        memmove(at, at + strlen(tail), strlen(at + strlen(tail)) + 1);
}

status show_claim(const show *s, const experiment *e, const line *l, claim_result *c)
{
    const char *at = line_value(l, "at", ""), *sign = line_value(l, "sign", "");
    const char *cell_name = line_value(l, "cell", "value");
    pivot p = {0}, other = {0};
    double tol = NAN;
    *c = (claim_result){
        .text = l->word[0], .paper = NAN, .ours = NAN, .verdict = "not run at this scale"};
    parse_real(line_value(l, "paper", ""), &c->paper);
    parse_real(line_value(l, "tol", ""), &tol);
    if (*at && strcmp(at, s->p->profile) != 0) return OK;
    status done = line_pivot(s, e, l, "", "", cell_name, line_value(l, "keep", ""), &p);
    if (done == OK && p.count) c->ours = p.points[0].value;
    if (done == OK && *line_value(l, "versus", "")) {
        done = line_pivot(s, e, l, "", "", cell_name, line_value(l, "versus", ""), &other);
        c->ours -= done == OK && other.count ? other.points[0].value : NAN;
    }
    if (!isnan(c->ours)) {
        int agrees =
            *sign ? (*sign == '-' ? c->ours < 0 : c->ours > 0) : fabs(c->ours - c->paper) <= tol;
        c->verdict = agrees ? "agrees" : "differs";
    }
    pivot_free(&p);
    pivot_free(&other);
    return done;
}

/* What a result file was made with. */
typedef struct origin {
    char device[100], driver[60], commit[60], created[60], copy[60];
} origin;

static status origin_read(origin *o, const char *path)
{
    TRY(results_read_attribute(path, "device", o->device, sizeof o->device));
    if (!*o->device) TRY(results_read_attribute(path, "cpu", o->device, sizeof o->device));
    TRY(results_read_attribute(path, "device_driver", o->driver, sizeof o->driver));
    TRY(results_read_attribute(path, "commit", o->commit, sizeof o->commit));
    TRY(results_read_attribute(path, "created", o->created, sizeof o->created));
    return results_read_attribute(path, "copy_cuda", o->copy, sizeof o->copy);
}

/* What the tables of an experiment must confess: the scale of the profile; of measurements the
 * machine, of which there is one, the commit, date and copy bandwidth. */
static status experiment_scale(show *s, const experiment *e, char *const *paths, int count)
{
    origin first = {.device = ""}, one;
    int runs = 0, others = 0, used;
    double copy;
    for (int i = 0; i < e->count; i++)
        runs |= e->lines[i].kind == LINE_RUN;
    snprintf(s->scale, sizeof s->scale, "%s", runs && s->p->scale ? s->p->scale : "");
    if (*s->scale) return OK;
    for (int i = 0; i < count; i++) {
        if (access(paths[i], R_OK) != 0) continue;
        TRY(origin_read(&one, paths[i]));
        if (!*first.device) first = one;
        if (strcmp(first.device, one.device) != 0)
            return fail(ERR_DATA, "%s: measured on %s: expected %s, as in the rest of %s", paths[i],
                        one.device, first.device, e->id);
        others |= strcmp(first.driver, one.driver) != 0 || strcmp(first.commit, one.commit) != 0;
    }
    if (!*first.device) return OK;
    used = snprintf(s->scale, sizeof s->scale, "measured on %s%s%s%s, commit %.7s%s%s, %.10s",
                    first.device, *first.driver ? " (" : "", first.driver, *first.driver ? ")" : "",
                    first.commit, strstr(first.commit, "-dirty") ? "-dirty" : "",
                    others ? " and others" : "", first.created);
    if (parse_real(first.copy, &copy))
        snprintf(s->scale + used, sizeof s->scale - (size_t)used, "; copy %.2f TB/s", 1e-12 * copy);
    return OK;
}

static status show_experiment(show *s, const experiment *e)
{
    char **paths = NULL;
    int count = 0, missing = 0;
    page_section(s->page, e);
    status done = experiment_files(s, e, &paths, &count);
    if (done == OK) done = experiment_scale(s, e, paths, count);
    for (int i = 0; done == OK && i < count; i++)
        missing += access(paths[i], R_OK) != 0;
    for (int i = 0; done == OK && i < e->count; i++) {
        const line *l = &e->lines[i];
        claim_result c;
        if (l->kind == LINE_NOTE) page_note(s->page, l->word[0]);
        if (l->kind == LINE_TABLE) done = show_table(s, e, l);
        if (l->kind == LINE_FIGURE) done = show_figure(s, e, l);
        if (l->kind == LINE_CLAIM) {
            done = show_claim(s, e, l, &c);
            if (done == OK) page_claim(s->page, &c);
        }
    }
    if (done == OK) done = page_provenance(s->page, e, paths, count, missing);
    free_files(paths, count);
    return done;
}

static int wanted(const char *const *ids, int count, const char *id)
{
    for (int i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0) return 1;
    return count == 0;
}

int verb_show(const words *w)
{
    paper *p = NULL;
    cells all = {0}, some = {0};
    const char *ids[MAX_KEYS];
    char entry[PATH_MAX];
    int count = 0;
    if (strcmp(word_text(w, "ids"), "all") != 0)
        for (; count < word_count(w, "ids") && count < MAX_KEYS; count++)
            ids[count] = word_text_at(w, "ids", count);
    show s = {.out = word_text(w, "out"),
              .root = word_text(w, "root"),
              .results = word_text(w, "results"),
              .all = &all};
    snprintf(entry, sizeof entry, "%s/index.html", s.out);
    status done = paper_read(&p, word_text(w, "file"), word_text(w, "profile"));
    s.p = p;
    if (done == OK) done = cells_plan(p, word_text(w, "results"), ids, count, &some); /* known? */
    if (done == OK) done = cells_plan(p, word_text(w, "results"), NULL, 0, &all);
    if (done == OK && strlen(s.out) + 256 > PATH_MAX)
        done = fail(ERR_ARG, "%.60s...: path too long", s.out);
    if (done == OK && !make_folders(entry))
        done = fail(ERR_FILE, "%s: cannot be created: expected a writable place", s.out);
    if (done == OK) done = page_open(&s.page, p->scale);
    for (int i = 0; done == OK && i < p->count; i++)
        if (wanted(ids, count, p->experiments[i].id))
            done = show_experiment(&s, &p->experiments[i]);
    status closed = page_close(s.page, &s, done == OK);
    if (done == OK && closed == OK) printf("%s/index.html\n", s.out);
    cells_free(&some);
    cells_free(&all);
    paper_free(p);
    return status_exit(done != OK ? done : closed);
}
