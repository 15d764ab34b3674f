/* SPDX-License-Identifier: MIT
 *
 * report.c — OUT/index.html: one offline page with every claim, table and figure (inline SVG), and
 * what each was made with. Every experiment has a block in each of the three parts of the page, so
 * that showing some of them renews their blocks and leaves the others as they are.
 */
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "bytes.h"
#include "show.h"

enum { BODY, CLAIMS, PROVENANCE, PARTS };
static const char *const part_names[PARTS] = {"body", "claims", "provenance"};
static const char block_end[] = "<!-- end -->\n";

struct page {
    const paper *p;
    bytes old; /* the page that is there; empty if all of it is renewed */
    int claims;
    char device[200]; /* of a report of a card: what measured the first file of it */
    buffer part[PARTS];
};

/* What begins a block, and what says whose page it is. */
static void block_begin(char text[400], int part, const experiment *e)
{
    snprintf(text, 400, "<!-- %s %.300s -->\n", part_names[part], e->id);
}

static void page_of(char text[400], const paper *p)
{
    const char *slash = strrchr(p->path, '/');
    snprintf(text, 400, "<!-- %.200s profile=%.100s -->\n", slash ? slash + 1 : p->path,
             p->profile);
}

static const char *const head =
    "<style>\n"
    "body{font:16px/1.5 Georgia,serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\n"
    "h1,h2,th{font-family:Helvetica,Arial,sans-serif;font-weight:600}\n"
    "h2{margin-top:2.5em;border-bottom:1px solid #ccc}\n"
    "table{border-collapse:collapse;margin:1em 0;font-size:14px}\n"
    "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #e5e5e5}\n"
    "td:first-child,th:first-child{text-align:left}\n"
    "tr:first-child td{font-weight:600;border-bottom:1px solid #888}\n"
    ".scale{color:#8a4b00;font-size:14px}.small{font-size:12px;color:#555}\n"
    ".contents{columns:2;font-size:14px}\n"
    ".agrees{color:#1a7a3c}.differs{color:#b02020}\n"
    "figure{margin:1.5em 0}figcaption{font-size:14px}svg{max-width:100%;height:auto}\n"
    "</style></head><body>\n";

static void add_escaped(buffer *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            buffer_add(b, "&lt;");
        else if (*text == '>')
            buffer_add(b, "&gt;");
        else if (*text == '"')
            buffer_add(b, "&quot;");
        else if (*text == '&')
            buffer_add(b, "&amp;");
        else
            buffer_add(b, "%c", *text);
    }
}

/* A name in a link. */
static void add_link(buffer *b, const char *name)
{
    static const char kept[] = "-._~";
    for (; *name; name++)
        if (isalnum((unsigned char)*name) || strchr(kept, *name))
            buffer_add(b, "%c", *name);
        else
            buffer_add(b, "%%%02X", (unsigned char)*name);
}

status page_open(page **out, const show *s, int some)
{
    char path[4096], mine[400];
    page *pg = *out = calloc(1, sizeof **out);
    if (!pg) return fail(ERR_MEMORY, "show: out of memory");
    pg->p = s->p;
    snprintf(path, sizeof path, "%s/index.html", s->out);
    if (!some || access(path, F_OK) != 0) return OK;
    TRY(file_read(path, 0, &pg->old));
    TRY(bytes_put(&pg->old, "", 1));
    page_of(mine, s->p);
    if (strstr(pg->old.v, mine)) return OK;
    return fail(ERR_ARG,
                "%s: not the report of this file and profile=%s: expected another out=, or all of "
                "its experiments",
                path, s->p->profile);
}

void page_keep(page *pg, const experiment *e)
{
    char begin[400];
    for (int i = 0; pg->old.v && i < PARTS; i++) {
        block_begin(begin, i, e);
        const char *from = strstr(pg->old.v, begin);
        const char *end = from ? strstr(from, block_end) : NULL;
        if (!end) continue;
        buffer_add(&pg->part[i], "%.*s%s", (int)(end - from), from, block_end);
        if (i == CLAIMS && end > from + strlen(begin)) pg->claims++;
    }
}

void page_section_end(page *pg)
{
    for (int i = 0; i < PARTS; i++)
        buffer_add(&pg->part[i], block_end);
}

void page_section(page *pg, const experiment *e)
{
    char begin[400];
    for (int i = 0; i < PARTS; i++) {
        block_begin(begin, i, e);
        buffer_add(&pg->part[i], "%s", begin);
    }
    buffer_add(&pg->part[BODY], "<h2 id=\"%s\">", e->id);
    add_escaped(&pg->part[BODY], e->title);
    buffer_add(&pg->part[BODY], "</h2>\n");
}

void page_note(page *pg, const char *text)
{
    buffer_add(&pg->part[BODY], "<p>");
    add_escaped(&pg->part[BODY], text);
    buffer_add(&pg->part[BODY], "</p>\n");
}

void page_table(page *pg, const char *id, const char *title, const char *scale, const char *html,
                const char *under, int folded)
{
    buffer_add(&pg->part[BODY], "%s<b>", folded ? "<details><summary>" : "<p>");
    add_escaped(&pg->part[BODY], title);
    buffer_add(&pg->part[BODY],
               "</b> <span class=\"small\"><a href=\"%s.tsv\">tsv</a> <a href=\"%s.md\">md</a> "
               "<a href=\"%s.tex\">tex</a></span>%s<span class=\"scale\">",
               id, id, id, folded ? "</summary>" : "<br>");
    add_escaped(&pg->part[BODY], scale);
    buffer_add(&pg->part[BODY], "</span>%s\n<table>\n%s</table>", folded ? "" : "</p>", html);
    if (*under) {
        buffer_add(&pg->part[BODY], "<p class=\"small\">");
        add_escaped(&pg->part[BODY], under);
        buffer_add(&pg->part[BODY], "</p>");
    }
    buffer_add(&pg->part[BODY], "%s\n", folded ? "</details>" : "");
}

void page_story(page *pg, const char *id, const char *title, const char *scale, const char *html)
{
    buffer_add(&pg->part[BODY], "<p><b>");
    add_escaped(&pg->part[BODY], title);
    buffer_add(&pg->part[BODY],
               "</b> <span class=\"small\"><a href=\"%s.md\">md</a></span><br>"
               "<span class=\"scale\">",
               id);
    add_escaped(&pg->part[BODY], scale);
    buffer_add(&pg->part[BODY], "</span></p>\n%s", html);
}

void page_figure(page *pg, const show *s, const char *id, const char *title, const char *said)
{
    char path[4096], text[4096];
    snprintf(path, sizeof path, "%s/%s.svg", s->out, id);
    FILE *f = fopen(path, "r");
    buffer_add(&pg->part[BODY], "<figure>\n");
    /* Skip the XML declaration and doctype: inside HTML only the <svg> element belongs. */
    int inside = 0;
    while (f && fgets(text, sizeof text, f)) {
        char *start = inside ? text : strstr(text, "<svg");
        if (!start) continue;
        inside = 1;
        buffer_add(&pg->part[BODY], "%s", start);
    }
    if (f) fclose(f);
    buffer_add(&pg->part[BODY], "<figcaption>");
    add_escaped(&pg->part[BODY], title);
    if (*said) buffer_add(&pg->part[BODY], " (");
    add_escaped(&pg->part[BODY], said);
    buffer_add(&pg->part[BODY],
               "%s <span class=\"small\"><a href=\"%s.svg\">svg</a> <a href=\"%s.png\">png</a> "
               "<a href=\"%s.pdf\">pdf</a> <a href=\"%s.tsv\">data</a></span></figcaption>"
               "</figure>\n",
               *said ? ")" : "", id, id, id, id);
}

/* A number, of how many seeds it is the mean, and between what it may lie. */
static void add_number(buffer *b, double x, int64_t n, double low, double high)
{
    buffer_add(b, "<td>");
    if (isnan(x))
        buffer_add(b, "–");
    else
        buffer_add(b, "%.4g", x);
    if (!isnan(x) && !isnan(low) && !isnan(high)) buffer_add(b, " [%.4g, %.4g]", low, high);
    if (!isnan(x) && n > 1) buffer_add(b, " (n = %lld)", (long long)n);
    buffer_add(b, "</td>");
}

void page_claim(page *pg, const show *s, const claim_result *c)
{
    buffer *b = &pg->part[CLAIMS];
    pg->claims++;
    buffer_add(b, "<tr><td>");
    add_escaped(b, c->text);
    buffer_add(b, "</td>");
    add_number(b, c->paper, 1, NAN, NAN);
    add_number(b, c->ours, c->n, c->low, c->high);
    add_number(b, c->tol, 1, NAN, NAN);
    buffer_add(b, "<td>%s</td><td class=\"%s\">%s</td><td class=\"small\"><code>",
               isnan(c->ours) ? "–" : s->p->profile, c->verdict, c->verdict);
    add_escaped(b, c->command);
    buffer_add(b, "</code></td></tr>\n");
}

/* A cell of the provenance table: what the first file says, and whether others say something else.
 * at: offset of the text in an origin. */
static void add_origin(buffer *b, const evidence *v, size_t at)
{
    const char *first = v->all.origins ? (const char *)&v->all.origin[0] + at : "";
    int mixed = 0;
    for (int i = 1; i < v->all.origins; i++)
        mixed |= strcmp(first, (const char *)&v->all.origin[i] + at) != 0;
    buffer_add(b, "<td>");
    if (v->all.origins) add_escaped(b, *first ? first : "–");
    buffer_add(b, "%s</td>", mixed ? " and others" : "");
}

void page_provenance(page *pg, const experiment *e, const evidence *v)
{
    static const size_t columns[] = {offsetof(origin, commit), offsetof(origin, compiler),
                                     offsetof(origin, cpu), offsetof(origin, device),
                                     offsetof(origin, driver)};
    if (v->all.origins && !*pg->device)
        snprintf(pg->device, sizeof pg->device, "%s", origin_device(&v->all.origin[0]));
    buffer_add(&pg->part[PROVENANCE], "<tr><td><a href=\"#%s\">%s</a></td><td>%d of %d</td>", e->id,
               e->id, v->found, v->files);
    for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
        add_origin(&pg->part[PROVENANCE], v, columns[j]);
    buffer_add(&pg->part[PROVENANCE], "</tr>\n");
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
            add_link(b, name);
            buffer_add(b, "/index.html\">");
            add_escaped(b, name);
            buffer_add(b, "</a>");
        }
        free(entry[i]);
    }
    if (count >= 0) free(entry);
    if (links) buffer_add(b, "</p>\n");
}

/* What is on the page, with links. */
static void add_contents(buffer *all, const page *pg)
{
    char mark[400];
    int links = 0;
    for (int i = 0; i < pg->p->count; i++) {
        const experiment *e = &pg->p->experiments[i];
        block_begin(mark, BODY, e);
        if (!strstr(buffer_text(&pg->part[BODY]), mark)) continue;
        buffer_add(all, "%s<li><a href=\"#%s\">", links++ ? "" : "<ul class=\"contents\">\n",
                   e->id);
        add_escaped(all, e->title);
        buffer_add(all, "</a></li>\n");
    }
    if (links) buffer_add(all, "<li><a href=\"#provenance\">Provenance</a></li>\n</ul>\n");
}

/* What the page is of: the paper, or a card. A card that was shown before keeps its name. */
static void add_title(buffer *all, const page *pg)
{
    static const char before[] = "<h1>";
    const char *old = pg->old.v ? strstr(pg->old.v, before) : NULL;
    if (pg->p->card && !*pg->device && old) {
        buffer_add(all, "%.*s", (int)strcspn(old + strlen(before), "<"), old + strlen(before));
        return;
    }
    if (!pg->p->card) {
        buffer_add(all, "mosaic: sparse attention as compact kernel regression");
        return;
    }
    buffer_add(all, "mosaic on ");
    add_escaped(all, *pg->device ? pg->device : pg->p->card);
}

/* The parts behind one another. */
static void add_page(buffer *all, const page *pg, const show *s)
{
    char mine[400];
    page_of(mine, pg->p);
    buffer_add(all, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>");
    add_title(all, pg);
    buffer_add(all, "</title>\n%s%s<h1>", head, mine);
    add_title(all, pg);
    buffer_add(all, "</h1>\n");
    if (pg->p->card) /* a folder of the report of the paper, as `make figures` writes it */
        buffer_add(all, "<p><a href=\"../index.html\">back to the report of the paper</a></p>\n");
    if (pg->p->scale) {
        buffer_add(all, "<p class=\"scale\">");
        add_escaped(all, pg->p->scale);
        buffer_add(all, "</p>\n");
    }
    add_contents(all, pg);
    add_beside(all, s->out);
    if (pg->claims)
        buffer_add(all,
                   "<h2>Claims</h2>\n<p class=\"small\">Ours is what ran at the scale that the "
                   "row names, with ± one deviation of several seeds, or the 95 %% Wilson "
                   "interval of one, in brackets. It is judged where the claim is about that "
                   "scale: within the tolerance, or of the sign that is claimed. A theorem is "
                   "judged by its error.</p>\n<table>\n<tr><td>claim of the paper</td><td>paper"
                   "</td><td>ours</td><td>tolerance</td><td>scale</td><td>verdict</td>"
                   "<td>command</td></tr>\n");
    buffer_add(all, "%s%s%s", buffer_text(&pg->part[CLAIMS]), pg->claims ? "</table>\n" : "",
               buffer_text(&pg->part[BODY]));
    buffer_add(all,
               "<h2 id=\"provenance\">Provenance</h2>\n<table class=\"small\">\n<tr><td>experiment"
               "</td><td>cells</td>"
               "<td>commit</td><td>compiler</td><td>cpu</td><td>device</td><td>driver</td></tr>\n"
               "%s</table>\n<p class=\"small\">Each result file holds the whole of it: "
               "<code>mosaic print FILE.h5</code>.</p>\n</body></html>\n",
               buffer_text(&pg->part[PROVENANCE]));
}

status page_close(page *pg, const show *s, int keep)
{
    status done = OK;
    buffer all = {0};
    int failed = 0;
    if (!pg) return OK;
    for (int i = 0; i < PARTS; i++)
        failed |= buffer_failed(&pg->part[i]);
    if (keep && !failed) add_page(&all, pg, s);
    if (keep)
        done = failed ? fail(ERR_MEMORY, "show: out of memory")
                      : show_write(s, "index", "html", all.text);
    free(all.text);
    for (int i = 0; i < PARTS; i++)
        free(pg->part[i].text);
    free(pg->old.v);
    free(pg);
    return done;
}
