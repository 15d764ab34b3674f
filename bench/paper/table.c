/* SPDX-License-Identifier: MIT
 *
 * table.c — a table is a pivot in four forms: .tsv, .md, .tex, and the HTML of the report.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "show.h"
#include "statistics.h"
#include "tabular.h"

enum { MAX_KEYS = 256 };

/* The n-th item of a,b,c as text; returns 0 past the end. */
static int list_item(const char *list, int n, char *text, size_t size)
{
    for (; n > 0 && *list; n--) {
        list += strcspn(list, ",");
        list += *list == ',';
    }
    snprintf(text, size, "%.*s", (int)strcspn(list, ","), list);
    return *text != '\0';
}

/* Append the points of one column of a table, under this head. */
static status add_column(pivot *p, const pivot *column_of, const char *head)
{
    point *more = realloc(p->points, (size_t)(p->count + column_of->count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "show: out of memory");
    p->points = more;
    for (int i = 0; i < column_of->count; i++) {
        point *at = &p->points[p->count++];
        *at = column_of->points[i];
        at->col = key_head(head);
    }
    return OK;
}

/* The pivot of a table: by cols=, or a column for each of the values of cell=. */
static status table_pivot(const show *s, const line *l, pivot *p)
{
    const char *rows = line_value(l, "rows", ""), *keep = line_value(l, "keep", "");
    const char *values = line_value(l, "cell", "value"), *cols = line_value(l, "cols", "");
    char value[100], head[96];
    *p = (pivot){0};
    if (*cols) return line_pivot(s, l, rows, cols, values, keep, p);
    status done = OK;
    for (int i = 0; done == OK && list_item(values, i, value, sizeof value); i++) {
        pivot one;
        done = line_pivot(s, l, rows, "", value, keep, &one);
        if (!list_item(line_value(l, "heads", ""), i, head, sizeof head))
            snprintf(head, sizeof head, "%.95s", value);
        if (done == OK) done = add_column(p, &one, head);
        pivot_free(&one);
    }
    return done;
}

/* A value and how certain it is: of several seeds ± their deviation, of one proportion its bounds,
 * of a time a mark if its quartiles are far apart. */
static void format_point(char *text, size_t size, const char *format, const point *at)
{
    double v = at ? at->value : NAN;
    int digits = 3;
    char kind = 'f';
    if (isnan(v)) {
        snprintf(text, size, "–");
        return;
    }
    sscanf(format, "%%.%d%c", &digits, &kind);
    int used = kind == 'g' ? snprintf(text, size, "%.*g", digits, v)
                           : snprintf(text, size, "%.*f", digits, v);
    if (used < 0 || (size_t)used >= size) return;
    if (at->n == 1 && at->trials)
        snprintf(text + used, size - (size_t)used, kind == 'g' ? " [%.*g, %.*g]" : " [%.*f, %.*f]",
                 digits, at->low, digits, at->high);
    if (at->n == 1 && at->spread > NOISY_SHARE) snprintf(text + used, size - (size_t)used, "~");
    if (isnan(at->sd)) return;
    if (at->sd > 0)
        used += snprintf(text + used, size - (size_t)used, kind == 'g' ? " ± %.*g" : " ± %.*f",
                         digits, at->sd);
    if ((size_t)used < size)
        snprintf(text + used, size - (size_t)used, " (n = %lld)", (long long)at->n);
}

/* What stands below a table: what its brackets and marks are. */
static void under_table(const pivot *p, char *text, size_t size)
{
    int64_t least = INT64_MAX, most = 0;
    int noisy = 0, used = 0;
    *text = '\0';
    for (int i = 0; i < p->count; i++) {
        const point *at = &p->points[i];
        if (at->n != 1) continue;
        noisy |= at->spread > NOISY_SHARE;
        if (!at->trials || isnan(at->low)) continue;
        least = at->trials < least ? at->trials : least;
        most = at->trials > most ? at->trials : most;
    }
    if (most && least == most)
        used = snprintf(text, size, "In brackets: 95 %% Wilson intervals of n = %lld trials.",
                        (long long)most);
    else if (most)
        used =
            snprintf(text, size, "In brackets: 95 %% Wilson intervals of n = %lld to %lld trials.",
                     (long long)least, (long long)most);
    if (noisy)
        snprintf(text + used, size - (size_t)used,
                 "%s~ quartiles further apart than %.0f %% of the median.", used ? " " : "",
                 100 * NOISY_SHARE);
}

/* The one point of a row, NULL if it has more. */
static const point *only_in_row(const pivot *p, const key *row, const key *const *cols, int count)
{
    const point *only = NULL;
    for (int j = 0; j < count; j++) {
        const point *at = pivot_find(p, row, cols[j]);
        if (at && only) return NULL;
        if (at) only = at;
    }
    return only;
}

const form table_forms[TABLE_FORMS] = {{"tsv", "", "\t", "\n", ""},
                                       {"md", "| ", " | ", " |\n", "\n"},
                                       {"tex", "", " & ", " \\\\\n", "\\midrule\n"}};
const form page_form = {"html", "<tr><td>", "</td><td>", "</td></tr>\n", ""};

/* What a character or sign becomes; signs of several bytes stand in full. */
static const escape for_md[] = {{"|", "\\|"}, {NULL, NULL}};
static const escape for_html[] = {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {NULL, NULL}};
static const escape for_tsv[] = {{NULL, NULL}};

/* A text for a form: no cell ends early, no line breaks, no sign is a command. */
static void add_cell(buffer *b, const form *f, const char *text)
{
    const char *x = f->extension;
    const int md = strcmp(x, "md") == 0;
    const escape *table_of = strcmp(x, "tex") == 0    ? tex_escapes
                             : md                     ? for_md
                             : strcmp(x, "html") == 0 ? for_html
                                                      : for_tsv;
    while (*text) {
        const escape *e = table_of;
        while (e->sign && strncmp(text, e->sign, strlen(e->sign)) != 0)
            e++;
        /* Markdown reads a backslash before punctuation as a command, and no other. */
        if (md && *text == '\\' && ispunct((unsigned char)text[1]))
            buffer_add(b, "\\\\");
        else if (e->sign)
            buffer_add(b, "%s", e->becomes);
        else
            buffer_add(b, "%c", (unsigned char)*text < ' ' ? ' ' : *text);
        text += e->sign ? strlen(e->sign) : 1;
    }
}

void form_text(buffer *b, const form *f, const char *text, int first)
{
    buffer_add(b, "%s", first ? f->begin : f->between);
    add_cell(b, f, text);
}

void form_rule(buffer *b, const form *f, int numbers)
{
    if (!*f->rule) return;
    if (strcmp(f->extension, "md") == 0)
        for (int j = 0; j <= numbers; j++)
            buffer_add(b, j ? " ---: |" : "| --- |");
    buffer_add(b, "%s", f->rule);
}

static void add_body(buffer *b, const form *f, const pivot *p, const line *l, const char *corner)
{
    const key *rows[MAX_KEYS], *cols[MAX_KEYS];
    int nr = pivot_keys(p, 1, rows, MAX_KEYS), nc = pivot_keys(p, 0, cols, MAX_KEYS);
    char text[200];
    form_text(b, f, corner, 1);
    for (int j = 0; j < nc; j++) {
        line_label(l, cols[j], text, sizeof text);
        form_text(b, f, text, 0);
    }
    buffer_add(b, "%s", f->end);
    form_rule(b, f, nc);
    const int levels = strcmp(line_value(l, "levels", "0"), "1") == 0;
    for (int i = 0; i < nr; i++) {
        const point *level =
            levels && key_untrained(rows[i]) ? only_in_row(p, rows[i], cols, nc) : NULL;
        line_label(l, rows[i], text, sizeof text);
        form_text(b, f, text, 1);
        for (int j = 0; j < nc; j++) {
            format_point(text, sizeof text, line_value(l, "format", "%.3f"),
                         level ? level : pivot_find(p, rows[i], cols[j]));
            form_text(b, f, text, 0);
        }
        buffer_add(b, "%s", f->end);
    }
}

static void table_title(const experiment *e, const line *l, char *title, size_t size)
{
    const char *unit = line_value(l, "unit", "");
    snprintf(title, size, "%s%s%s%s", line_value(l, "title", e->title), *unit ? " [" : "", unit,
             *unit ? "]" : "");
}

status form_write(const show *s, const form *f, const char *id, const char *title,
                  const char *under, const buffer *rows)
{
    buffer b = {0};
    char caption[800];
    const int tex = strcmp(f->extension, "tex") == 0, md = strcmp(f->extension, "md") == 0;
    snprintf(caption, sizeof caption, "%s (%s)", title, s->scale);
    buffer_add(&b, tex ? "%% " : md ? "*" : "# ");
    add_cell(&b, f, caption);
    buffer_add(&b, tex ? "\n\\begin{tabular}{l*{20}{r}}\n\\toprule\n" : md ? "*\n\n" : "\n");
    buffer_add(&b, "%s", buffer_text(rows));
    if (tex) buffer_add(&b, "\\bottomrule\n\\end{tabular}\n");
    if (*under) {
        buffer_add(&b, tex ? "%% " : md ? "\n" : "# ");
        add_cell(&b, f, under);
        buffer_add(&b, "\n");
    }
    status done = buffer_failed(rows) ? fail(ERR_MEMORY, "show: out of memory")
                                      : show_write(s, id, f->extension, b.text);
    free(b.text);
    return done;
}

static status write_form(const show *s, const form *f, const pivot *p, const experiment *e,
                         const line *l)
{
    buffer rows = {0};
    char corner[200], title[300], under[200];
    under_table(p, under, sizeof under);
    snprintf(corner, sizeof corner, "%s", line_value(l, "corner", line_value(l, "rows", "")));
    table_title(e, l, title, sizeof title);
    add_body(&rows, f, p, l, corner);
    const status done = form_write(s, f, l->word[0], title, under, &rows);
    free(rows.text);
    return done;
}

status show_table(const show *s, const experiment *e, const line *l)
{
    pivot p = {0};
    buffer b = {0};
    char title[300], under[200];
    status done = table_pivot(s, l, &p);
    for (int i = 0; done == OK && p.count > 0 && i < TABLE_FORMS; i++)
        done = write_form(s, &table_forms[i], &p, e, l);
    if (done == OK && p.count == 0) {
        page_note(s->page, "A table has no data yet: its cells were not run.");
    } else if (done == OK) {
        add_body(&b, &page_form, &p, l, line_value(l, "corner", line_value(l, "rows", "")));
        table_title(e, l, title, sizeof title);
        under_table(&p, under, sizeof under);
        page_table(s->page, l->word[0], title, s->scale, buffer_text(&b), under,
                   strcmp(line_value(l, "folded", "0"), "1") == 0);
        if (buffer_failed(&b)) done = fail(ERR_MEMORY, "show: out of memory");
    }
    free(b.text);
    pivot_free(&p);
    return done;
}
