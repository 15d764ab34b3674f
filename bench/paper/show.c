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

status show_claim(const show *s, const line *l, claim_result *c)
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
    status done = line_pivot(s, l, "", "", cell_name, line_value(l, "keep", ""), &p);
    int there = done == OK && p.count;
    if (there) c->ours = p.points[0].value, c->n = p.points[0].n;
    if (done == OK && *line_value(l, "versus", "")) {
        done = line_pivot(s, l, "", "", cell_name, line_value(l, "versus", ""), &other);
        there &= done == OK && other.count;
        c->ours -= there ? other.points[0].value : NAN;
        if (there) done = same_origin(s, l, &p, &other);
    }
    if (there) {
        int agrees =
            *sign ? (*sign == '-' ? c->ours < 0 : c->ours > 0) : fabs(c->ours - c->paper) <= tol;
        c->verdict = agrees ? "agrees" : "differs";
    }
    pivot_free(&p);
    pivot_free(&other);
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

/* ... and that some of their rows are still to come. */
static void confess_unfinished(show *s)
{
    const size_t used = strlen(s->scale);
    if (s->of->all.unfinished == 0) return;
    snprintf(s->scale + used, sizeof s->scale - used, "%s%d of %d files unfinished",
             used ? "; " : "", s->of->all.unfinished, s->of->found);
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
    case LINE_CLAIM:
        TRY(show_claim(s, l, &c));
        page_claim(s->page, &c);
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
