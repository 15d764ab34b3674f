/* SPDX-License-Identifier: MIT
 *
 * story.c — what a model said (verb sample), put together from its rows: a paragraph for each
 * sequence, its prompt in bold. As Markdown, and as HTML in the report.
 */
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "show.h"

/* The two forms differ in what stands around a paragraph and a prompt, and in what must be quoted.
 */
typedef struct prose {
    const char *begin, *end, *bold, *plain, *line;
    int markdown;
} prose;

static void add_prose(buffer *b, const prose *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            buffer_add(b, "%s", f->line);
        else if (f->markdown)
            buffer_add(b, "%s%c", strchr("\\`*_<>[]#|", *text) ? "\\" : "", *text);
        else if (*text == '<' || *text == '&')
            buffer_add(b, *text == '<' ? "&lt;" : "&amp;");
        else
            buffer_add(b, "%c", *text);
    }
}

/* All paragraphs; a sequence begins where the position does not grow. */
static void add_stories(buffer *b, const prose *f, const sample_row *r, int64_t count)
{
    int bold = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || r[i].position <= r[i - 1].position) buffer_add(b, "%s", f->begin);
        const int wanted = !r[i].said && *r[i].text;
        if (wanted != bold && *r[i].text) buffer_add(b, "%s", wanted ? f->bold : f->plain);
        if (*r[i].text) bold = wanted;
        add_prose(b, f, r[i].text);
        if (i + 1 < count && r[i + 1].position > r[i].position) continue;
        buffer_add(b, "%s%s", bold ? f->plain : "", f->end);
        bold = 0;
    }
}

status show_story(const show *s, const experiment *e, const line *l)
{
    static const prose markdown = {"\n> ", "\n", "**", "**", "\n> ", 1};
    static const prose html = {"<blockquote>", "</blockquote>\n", "<b>", "</b>", "<br>", 0};
    const source *from;
    const char *title = line_value(l, "title", e->title);
    buffer b = {0};
    TRY(line_source(s, l, &from));
    const sample_row *rows = (const void *)from->rows;
    if (from->of != SAMPLES)
        return fail(ERR_DATA, "%s:%d: expected from=sample", s->p->path, l->number);
    if (from->count == 0) {
        page_note(s->page, "A story is not told yet: its cells were not run.");
        return OK;
    }
    buffer_add(&b, "*%s (%s)*\n", title, s->scale);
    add_stories(&b, &markdown, rows, from->count);
    status done = show_write(s, l->word[0], "md", b.text);
    b.used = 0;
    add_stories(&b, &html, rows, from->count);
    if (done == OK && buffer_failed(&b)) done = fail(ERR_MEMORY, "show: out of memory");
    if (done == OK) page_story(s->page, l->word[0], title, s->scale, buffer_text(&b));
    free(b.text);
    return done;
}
