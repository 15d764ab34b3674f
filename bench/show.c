/* SPDX-License-Identifier: MIT
 *
 * show.c — verb show: result files to tables (.tsv .md .tex), figures and the report.
 */
#include "show.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "verb.h"

enum { MAX_KEYS = 256 };

const char *scale_caption(const experiment *e, const char *profile)
{
    int runs = e == NULL;
    for (int i = 0; e && i < e->count; i++)
        runs |= e->lines[i].kind == LINE_RUN;
    if (!runs) return "committed measurement, machine named in its file";
    if (strcmp(profile, "paper") == 0) return "profile paper";
    if (strcmp(profile, "lite") == 0) return "profile lite: not the paper's scale";
    return "profile smoke: CPU scale, not the paper's; the numbers show that the chain works";
}

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
        char *path = malloc(strlen(s->root) + strlen(l->word[0]) + 2);
        if (path) sprintf(path, "%s/%s", s->root, l->word[0]);
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

/* The rows a line speaks of, from the files of its experiment. */
static status line_source(const show *s, const experiment *e, const line *l, source *rows)
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

static void format_point(char *text, size_t size, const char *format, const point *at)
{
    double v = at ? at->mean : NAN;
    int digits = 3;
    char kind = 'f';
    if (isnan(v)) {
        snprintf(text, size, "–");
        return;
    }
    sscanf(format, "%%.%d%c", &digits, &kind);
    int used = kind == 'g' ? snprintf(text, size, "%.*g", digits, v)
                           : snprintf(text, size, "%.*f", digits, v);
    if (at->n > 1 && at->sd > 0 && used > 0 && (size_t)used < size)
        snprintf(text + used, size - (size_t)used, kind == 'g' ? " ± %.*g" : " ± %.*f", digits,
                 at->sd);
}

/* The four forms of one table differ in what stands around cells. */
typedef struct form {
    const char *extension, *begin, *between, *end, *rule;
} form;

static void escape_tex(char *out, size_t size, const char *in)
{
    size_t n = 0;
    for (; *in && n + 16 < size; in++) {
        if (strchr("%&_#$", *in)) out[n++] = '\\';
        if (strncmp(in, "α", 2) == 0)
            n += (size_t)snprintf(out + n, size - n, "$\\alpha$"), in++;
        else if (strncmp(in, "±", 2) == 0)
            n += (size_t)snprintf(out + n, size - n, "$\\pm$"), in++;
        else if (strncmp(in, "–", 3) == 0)
            n += (size_t)snprintf(out + n, size - n, "--"), in += 2;
        else
            out[n++] = *in;
    }
    out[n] = '\0';
}

static void add_cell(buffer *b, const form *f, const char *text, int first)
{
    char tex[400];
    escape_tex(tex, sizeof tex, text);
    buffer_add(b, "%s%s", first ? f->begin : f->between,
               strcmp(f->extension, "tex") == 0 ? tex : text);
}

static void add_body(buffer *b, const form *f, const pivot *p, const line *l, const char *corner)
{
    const char *rows[MAX_KEYS], *cols[MAX_KEYS];
    int nr = pivot_keys(p, 1, rows, MAX_KEYS), nc = pivot_keys(p, 0, cols, MAX_KEYS);
    char text[200];
    add_cell(b, f, corner, 1);
    for (int j = 0; j < nc; j++) {
        key_label(line_value(l, "cols", ""), cols[j], text, sizeof text);
        add_cell(b, f, *text ? text : line_value(l, "cell", "value"), 0);
    }
    buffer_add(b, "%s", f->end);
    if (*f->rule) {
        if (strcmp(f->extension, "md") == 0)
            for (int j = 0; j <= nc; j++)
                buffer_add(b, j ? " ---: |" : "| --- |");
        buffer_add(b, "%s", f->rule);
    }
    for (int i = 0; i < nr; i++) {
        key_label(line_value(l, "rows", ""), rows[i], text, sizeof text);
        add_cell(b, f, text, 1);
        for (int j = 0; j < nc; j++) {
            format_point(text, sizeof text, line_value(l, "format", "%.3f"),
                         pivot_find(p, rows[i], cols[j]));
            add_cell(b, f, text, 0);
        }
        buffer_add(b, "%s", f->end);
    }
}

static status write_form(const show *s, const form *f, const pivot *p, const experiment *e,
                         const line *l)
{
    buffer b = {0};
    const char *title = line_value(l, "title", e->title), *unit = line_value(l, "unit", "");
    char corner[200], caption[600];
    snprintf(corner, sizeof corner, "%s", line_value(l, "corner", line_value(l, "rows", "")));
    snprintf(caption, sizeof caption, "%s%s%s%s (%s)", title, *unit ? " [" : "", unit,
             *unit ? "]" : "", scale_caption(e, s->p->profile));
    if (strcmp(f->extension, "tex") == 0) {
        char tex[700];
        escape_tex(tex, sizeof tex, caption);
        buffer_add(&b, "%% %s\n\\begin{tabular}{l*{20}{r}}\n\\toprule\n", tex);
        add_body(&b, f, p, l, corner);
        buffer_add(&b, "\\bottomrule\n\\end{tabular}\n");
    } else {
        buffer_add(&b, strcmp(f->extension, "md") == 0 ? "*%s*\n\n" : "# %s\n", caption);
        add_body(&b, f, p, l, corner);
    }
    status done = show_write(s, l->word[0], f->extension, b.text);
    free(b.text);
    return done;
}

status show_table(const show *s, const experiment *e, const line *l)
{
    static const form forms[] = {{"tsv", "", "\t", "\n", ""},
                                 {"md", "| ", " | ", " |\n", "\n"},
                                 {"tex", "", " & ", " \\\\\n", "\\midrule\n"}};
    static const form html = {"html", "<tr><td>", "</td><td>", "</td></tr>\n", ""};
    pivot p = {0};
    buffer b = {0};
    status done = line_pivot(s, e, l, line_value(l, "rows", ""), line_value(l, "cols", ""),
                             line_value(l, "cell", "value"), line_value(l, "keep", ""), &p);
    for (int i = 0; done == OK && i < 3; i++)
        done = write_form(s, &forms[i], &p, e, l);
    if (done == OK) {
        add_body(&b, &html, &p, l, line_value(l, "corner", line_value(l, "rows", "")));
        page_table(s->page, l->word[0], line_value(l, "title", e->title),
                   scale_caption(e, s->p->profile), buffer_text(&b));
        if (buffer_failed(&b)) done = fail(ERR_MEMORY, "show: out of memory");
    }
    free(b.text);
    pivot_free(&p);
    return done;
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
    if (done == OK && p.count) c->ours = p.points[0].mean;
    if (done == OK && *line_value(l, "versus", "")) {
        done = line_pivot(s, e, l, "", "", cell_name, line_value(l, "versus", ""), &other);
        c->ours -= done == OK && other.count ? other.points[0].mean : NAN;
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

static status show_experiment(const show *s, const experiment *e)
{
    char **paths = NULL;
    int count = 0, missing = 0;
    page_section(s->page, e);
    status done = experiment_files(s, e, &paths, &count);
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
    int count = 0;
    if (strcmp(word_text(w, "ids"), "all") != 0)
        for (; count < word_count(w, "ids") && count < MAX_KEYS; count++)
            ids[count] = word_text_at(w, "ids", count);
    show s = {.out = word_text(w, "out"), .root = word_text(w, "root"), .all = &all};
    status done = paper_read(&p, word_text(w, "file"), word_text(w, "profile"));
    s.p = p;
    if (done == OK) done = cells_plan(p, word_text(w, "results"), ids, count, &some); /* known? */
    if (done == OK) done = cells_plan(p, word_text(w, "results"), NULL, 0, &all);
    if (done == OK && strlen(s.out) + 256 > PATH_MAX)
        done = fail(ERR_ARG, "%.60s...: path too long", s.out);
    if (done == OK && mkdir(s.out, 0777) != 0 && errno != EEXIST)
        done = fail(ERR_FILE, "%s: cannot be created: expected a writable place", s.out);
    if (done == OK) done = page_open(&s.page, &s);
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
