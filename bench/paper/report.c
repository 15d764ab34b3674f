/* SPDX-License-Identifier: MIT
 *
 * report.c — OUT/index.html: one offline page with every claim, table and figure (inline SVG), and
 * what each was made with.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "show.h"

struct page {
    const char *scale; /* of the profile, or NULL */
    buffer body, claims, provenance;
};

static const char *const head =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>mosaic "
    "report</title>\n"
    "<style>\n"
    "body{font:16px/1.5 Georgia,serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\n"
    "h1,h2,th{font-family:Helvetica,Arial,sans-serif;font-weight:600}\n"
    "h2{margin-top:2.5em;border-bottom:1px solid #ccc}\n"
    "table{border-collapse:collapse;margin:1em 0;font-size:14px}\n"
    "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #e5e5e5}\n"
    "td:first-child,th:first-child{text-align:left}\n"
    "tr:first-child td{font-weight:600;border-bottom:1px solid #888}\n"
    ".scale{color:#8a4b00;font-size:14px}.small{font-size:12px;color:#555}\n"
    ".agrees{color:#1a7a3c}.differs{color:#b02020}\n"
    "figure{margin:1.5em 0}figcaption{font-size:14px}svg{max-width:100%;height:auto}\n"
    "</style></head><body>\n";

static void add_escaped(buffer *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            buffer_add(b, "&lt;");
        else if (*text == '&')
            buffer_add(b, "&amp;");
        else
            buffer_add(b, "%c", *text);
    }
}

status page_open(page **out, const char *scale)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return fail(ERR_MEMORY, "show: out of memory");
    (*out)->scale = scale;
    return OK;
}

void page_section(page *pg, const experiment *e)
{
    buffer_add(&pg->body, "<h2 id=\"%s\">", e->id);
    add_escaped(&pg->body, e->title);
    buffer_add(&pg->body, "</h2>\n");
}

void page_note(page *pg, const char *text)
{
    buffer_add(&pg->body, "<p>");
    add_escaped(&pg->body, text);
    buffer_add(&pg->body, "</p>\n");
}

void page_table(page *pg, const char *id, const char *title, const char *scale, const char *html,
                int folded)
{
    buffer_add(&pg->body, "%s<b>", folded ? "<details><summary>" : "<p>");
    add_escaped(&pg->body, title);
    buffer_add(&pg->body,
               "</b> <span class=\"small\"><a href=\"%s.tsv\">tsv</a> <a href=\"%s.md\">md</a> "
               "<a href=\"%s.tex\">tex</a></span>%s<span class=\"scale\">%s</span>%s\n"
               "<table>\n%s</table>%s\n",
               id, id, id, folded ? "</summary>" : "<br>", scale, folded ? "" : "</p>", html,
               folded ? "</details>" : "");
}

void page_story(page *pg, const char *id, const char *title, const char *scale, const char *html)
{
    buffer_add(&pg->body, "<p><b>");
    add_escaped(&pg->body, title);
    buffer_add(&pg->body,
               "</b> <span class=\"small\"><a href=\"%s.md\">md</a></span><br>"
               "<span class=\"scale\">%s</span></p>\n%s",
               id, scale, html);
}

void page_figure(page *pg, const show *s, const char *id, const char *title)
{
    char path[4096], text[4096];
    snprintf(path, sizeof path, "%s/%s.svg", s->out, id);
    FILE *f = fopen(path, "r");
    buffer_add(&pg->body, "<figure>\n");
    /* Skip the XML declaration and doctype: inside HTML only the <svg> element belongs. */
    int inside = 0;
    while (f && fgets(text, sizeof text, f)) {
        char *start = inside ? text : strstr(text, "<svg");
        if (!start) continue;
        inside = 1;
        buffer_add(&pg->body, "%s", start);
    }
    if (f) fclose(f);
    buffer_add(&pg->body, "<figcaption>");
    add_escaped(&pg->body, title);
    buffer_add(&pg->body,
               " <span class=\"small\"><a href=\"%s.svg\">svg</a> <a href=\"%s.png\">png</a> "
               "<a href=\"%s.tsv\">data</a></span></figcaption></figure>\n",
               id, id, id);
}

/* A number, and of how many seeds it is the mean. */
static void add_number(buffer *b, double x, int64_t n)
{
    if (isnan(x))
        buffer_add(b, "<td>–</td>");
    else if (n > 1)
        buffer_add(b, "<td>%.4g (n = %lld)</td>", x, (long long)n);
    else
        buffer_add(b, "<td>%.4g</td>", x);
}

void page_claim(page *pg, const claim_result *c)
{
    buffer_add(&pg->claims, "<tr><td>");
    add_escaped(&pg->claims, c->text);
    buffer_add(&pg->claims, "</td>");
    add_number(&pg->claims, c->paper, 1);
    add_number(&pg->claims, c->ours, c->n);
    buffer_add(&pg->claims, "<td class=\"%s\">%s</td></tr>\n", c->verdict, c->verdict);
}

/* A cell of the provenance table: what the first file says, and whether others say something else.
 * at: offset of the text in an origin. */
static void add_origin(buffer *b, const evidence *v, size_t at)
{
    const char *first = v->origins ? (const char *)&v->origin[0] + at : "";
    int mixed = 0;
    for (int i = 1; i < v->origins; i++)
        mixed |= strcmp(first, (const char *)&v->origin[i] + at) != 0;
    buffer_add(b, "<td>");
    if (v->origins) add_escaped(b, *first ? first : "–");
    buffer_add(b, "%s</td>", mixed ? " and others" : "");
}

void page_provenance(page *pg, const experiment *e, const evidence *v)
{
    static const size_t columns[] = {offsetof(origin, commit), offsetof(origin, compiler),
                                     offsetof(origin, cpu), offsetof(origin, device),
                                     offsetof(origin, driver)};
    buffer_add(&pg->provenance, "<tr><td><a href=\"#%s\">%s</a></td><td>%d of %d</td>", e->id,
               e->id, v->found, v->files);
    for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
        add_origin(&pg->provenance, v, columns[j]);
    buffer_add(&pg->provenance, "</tr>\n");
}

/* Links to the reports in folders of this one, such as those of cards. */
static void add_beside(buffer *b, const char *out)
{
    struct dirent **entry;
    int count = scandir(out, &entry, NULL, alphasort), links = 0;
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s/index.html", out, name);
        if (*name != '.' && access(path, R_OK) == 0) {
            buffer_add(b, "%s<a href=\"", links++ ? ", " : "<p>Measured on GPUs: ");
            add_escaped(b, name);
            buffer_add(b, "/index.html\">");
            add_escaped(b, name);
            buffer_add(b, "</a>");
        }
        free(entry[i]);
    }
    if (count >= 0) free(entry);
    if (links) buffer_add(b, "</p>\n");
}

status page_close(page *pg, const show *s, int keep)
{
    status done = OK;
    buffer all = {0};
    if (!pg) return OK;
    if (buffer_failed(&pg->body) || buffer_failed(&pg->claims) || buffer_failed(&pg->provenance)) {
        done = fail(ERR_MEMORY, "show: out of memory");
    } else if (keep) {
        buffer_add(&all, "%s<h1>mosaic: sparse attention as compact kernel regression</h1>\n",
                   head);
        if (pg->scale) buffer_add(&all, "<p class=\"scale\">%s</p>\n", pg->scale);
        add_beside(&all, s->out);
        if (pg->claims.used)
            buffer_add(&all,
                       "<h2>Claims</h2>\n<table>\n<tr><td>claim of the paper</td><td>paper</td>"
                       "<td>ours</td><td>verdict</td></tr>\n%s</table>\n",
                       pg->claims.text);
        buffer_add(&all, "%s", buffer_text(&pg->body));
        buffer_add(
            &all,
            "<h2>Provenance</h2>\n<table class=\"small\">\n<tr><td>experiment</td><td>cells</td>"
            "<td>commit</td><td>compiler</td><td>cpu</td><td>device</td><td>driver</td></tr>\n"
            "%s</table>\n<p class=\"small\">Each result file holds the whole of it: "
            "<code>h5dump -A FILE.h5</code>.</p>\n</body></html>\n",
            buffer_text(&pg->provenance));
        done = show_write(s, "index", "html", all.text);
    }
    free(all.text);
    free(pg->body.text);
    free(pg->claims.text);
    free(pg->provenance.text);
    free(pg);
    return done;
}
