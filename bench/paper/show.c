/* SPDX-License-Identifier: MIT
 *
 * show.c — verb show: result files to tables, figures, claims and the report.
 */
#include "show.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "verb.h"

enum { MAX_KEYS = 256 };

/* Two points that are compared have one origin. */
static status same_origin(const show *s, const line *l, const pivot *a, const pivot *b)
{
    const source *from;
    TRY(line_source(s, l, &from));
    if (source_same_origin(from, a->points[0].last, b->points[0].last) == OK) return OK;
    return fail(ERR_DATA, "%s:%d: versus=: %s", s->p->path, l->number, last_error());
}

/* ours -= other, and the interval of a difference of independent numbers with intervals of their
 * own (Newcombe 1998, method 10). */
static void subtract(claim_result *c, const point *a, const point *b)
{
    const double d = a->value - b->value;
    c->ours = d;
    c->low = d - hypot(a->value - a->low, b->high - b->value);
    c->high = d + hypot(a->high - a->value, b->value - b->low);
    c->n = a->n < b->n ? a->n : b->n;
}

status show_claim(const show *s, const experiment *e, const line *l, claim_result *c)
{
    const char *at = line_value(l, "at", ""), *sign = line_value(l, "sign", "");
    const char *cell_name = line_value(l, "cell", "value");
    pivot p = {0}, other = {0};
    *c = (claim_result){.text = l->word[0],
                        .paper = NAN,
                        .ours = NAN,
                        .tol = NAN,
                        .low = NAN,
                        .high = NAN,
                        .verdict = "not run at this scale"};
    snprintf(c->command, sizeof c->command, "mosaic run %.120s %.60s profile=%.60s", s->p->path,
             e->id, s->p->profile);
    parse_real(line_value(l, "paper", ""), &c->paper);
    parse_real(line_value(l, "tol", ""), &c->tol);
    status done = line_pivot(s, l, "", "", cell_name, line_value(l, "keep", ""), &p);
    int there = done == OK && p.count;
    if (there) {
        const point *ours = &p.points[0];
        c->ours = ours->value, c->n = ours->n, c->low = ours->low, c->high = ours->high;
    }
    if (done == OK && *line_value(l, "versus", "")) {
        done = line_pivot(s, l, "", "", cell_name, line_value(l, "versus", ""), &other);
        there &= done == OK && other.count;
        c->ours = c->low = c->high = NAN;
        if (there) subtract(c, &p.points[0], &other.points[0]);
        if (there) done = same_origin(s, l, &p, &other);
    }
    if (there && done == OK) done = claim_interval(s, l, &c->low, &c->high);
    if (there) {
        const int judged = !*at || strcmp(at, s->p->profile) == 0;
        c->verdict = judged ? claim_verdict(c, sign) : "another scale";
    }
    pivot_free(&p);
    pivot_free(&other);
    return done;
}

/* The theorems that were checked, a line of the claims table each. */
static status show_theorems(const show *s, const line *l)
{
    pivot error = {0}, tol = {0}, failed = {0};
    const char *keep = line_value(l, "keep", "");
    const char *name;
    char text[400];
    status done = line_pivot(s, l, "subject", "", "error:max", keep, &error);
    if (done == OK) done = line_pivot(s, l, "subject", "", "tol:max", keep, &tol);
    if (done == OK) done = line_pivot(s, l, "subject", "", "failed:sum", keep, &failed);
    for (int i = 0; done == OK && (name = list_name("claims", i)); i++) {
        claim_result c = {.text = text, .paper = NAN, .low = NAN, .high = NAN, .n = 1};
        snprintf(text, sizeof text, "%s: %s", name, list_cell("claims", i, "theorem"));
        snprintf(c.command, sizeof c.command, "mosaic check what=claim claim=%s", name);
        c.ours = c.tol = NAN;
        c.verdict = "not run at this scale";
        for (int j = 0; j < error.count; j++) {
            if (strcmp(error.points[j].row.part[0].name, name) != 0) continue;
            c.ours = error.points[j].value;
            c.tol = tol.points[j].value;
            c.verdict = failed.points[j].value == 0 ? "agrees" : "differs";
        }
        page_claim(s->page, s, &c);
    }
    pivot_free(&error);
    pivot_free(&tol);
    pivot_free(&failed);
    return done;
}

/* What the tables of an experiment must confess: the scale of the profile; of measurements the
 * machine, of which there is one, the commit, date and copy bandwidth. */
static status find_scale(show *s, const experiment *e)
{
    const evidence *v = s->of;
    const origin *first = v->all.origin;
    int runs = 0, others = 0, used;
    for (int i = 0; i < e->count; i++)
        runs |= e->lines[i].kind == LINE_RUN;
    snprintf(s->scale, sizeof s->scale, "%s", runs && s->p->scale ? s->p->scale : "");
    if (*s->scale || v->all.origins == 0) return OK;
    for (int i = 1; i < v->all.origins; i++) {
        const origin *one = &v->all.origin[i];
        if (strcmp(origin_device(first), origin_device(one)) != 0)
            return fail(ERR_DATA, "%s: measured on %s: expected %s, as in the rest of %s",
                        one->path, origin_device(one), origin_device(first), e->id);
        others |=
            strcmp(first->driver, one->driver) != 0 || strcmp(first->commit, one->commit) != 0;
    }
    used = snprintf(s->scale, sizeof s->scale, "measured on %s%s%s%s, commit %.7s%s%s, %.10s",
                    origin_device(first), *first->driver ? " (" : "", first->driver,
                    *first->driver ? ")" : "", first->commit,
                    strstr(first->commit, "-dirty") ? "-dirty" : "", others ? " and others" : "",
                    first->created);
    if (!isnan(first->copy))
        snprintf(s->scale + used, sizeof s->scale - (size_t)used, "; copy %.2f TB/s",
                 1e-12 * first->copy);
    return OK;
}

static void confess(show *s, const char *text)
{
    const size_t used = strlen(s->scale);
    snprintf(s->scale + used, sizeof s->scale - used, "%s%s", used ? "; " : "", text);
}

/* ... and that some of their rows are still to come. */
static void confess_unfinished(show *s)
{
    const evidence *v = s->of;
    char text[100];
    if (v->found > 0 && v->found < v->files) {
        snprintf(text, sizeof text, "partial: %d of %d files are there", v->found, v->files);
        confess(s, text);
    }
    if (v->all.unfinished == 0) return;
    snprintf(text, sizeof text, "%d of %d files unfinished", v->all.unfinished, v->found);
    confess(s, text);
}

static status show_line(const show *s, const experiment *e, const line *l)
{
    claim_result c;
    switch (l->kind) {
    case LINE_NOTE:
        page_note(s->page, l->word[0]);
        return OK;
    case LINE_TABLE:
        return show_table(s, e, l);
    case LINE_FIGURE:
        return show_figure(s, e, l);
    case LINE_STORY:
        return show_story(s, e, l);
    case LINE_COMPARED:
        return show_compared(s, e, l);
    case LINE_CLAIM:
        if (*line_value(l, "each", "")) return show_theorems(s, l);
        TRY(show_claim(s, e, l, &c));
        page_claim(s->page, s, &c);
        return OK;
    default:
        return OK;
    }
}

static status show_experiment(show *s, const experiment *e, const cells *all, const char *folder)
{
    evidence v;
    page_section(s->page, e);
    status done = evidence_read(&v, e, all, s->root, folder);
    s->of = &v;
    if (done == OK) done = find_scale(s, e);
    if (done == OK) confess_unfinished(s);
    for (int i = 0; done == OK && i < e->count; i++)
        done = show_line(s, e, &e->lines[i]);
    if (done == OK) page_provenance(s->page, e, &v);
    page_section_end(s->page);
    evidence_free(&v);
    s->of = NULL;
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
    const char *folder = word_text(w, "results");
    show s = {.out = word_text(w, "out"), .root = word_text(w, "root")};
    snprintf(entry, sizeof entry, "%s/index.html", s.out);
    status done = paper_read(&p, word_text(w, "file"), word_text(w, "profile"));
    s.p = p;
    if (done == OK) done = cells_plan(p, folder, ids, count, &some); /* known? */
    if (done == OK) done = cells_plan(p, folder, NULL, 0, &all);
    if (done == OK && strlen(s.out) + 256 > PATH_MAX)
        done = fail(ERR_ARG, "%.60s...: path too long", s.out);
    if (done == OK && !make_folders(entry))
        done = fail(ERR_FILE, "%s: cannot be created: expected a writable place", s.out);
    if (done == OK) done = page_open(&s.page, &s, count > 0);
    for (int i = 0; done == OK && i < p->count; i++)
        if (wanted(ids, count, p->experiments[i].id))
            done = show_experiment(&s, &p->experiments[i], &all, folder);
        else
            page_keep(s.page, &p->experiments[i]);
    status closed = page_close(s.page, &s, done == OK);
    if (done == OK && closed == OK) printf("%s/index.html\n", s.out);
    cells_free(&some);
    cells_free(&all);
    paper_free(p);
    return status_exit(done != OK ? done : closed);
}
