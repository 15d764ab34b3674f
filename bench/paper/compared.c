/* SPDX-License-Identifier: MIT
 *
 * compared.c — a line that compares: two sides of the rows of an experiment point by point
 * (compare.h), as a table in all forms and as a picture of the intervals.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "compare/compare.h"
#include "show.h"

static status plan_comparison(const show *s, const line *l, compare_plan *p)
{
    const source *rows;
    TRY(line_source(s, l, &rows));
    const char *a = line_value(l, "a", ""), *b = line_value(l, "b", "");
    *p = (compare_plan){.rows = rows,
                        .each = s->of->all.each[rows->of],
                        .by = line_value(l, "by", ""),
                        .resamples = 10000,
                        .seed = 1};
    p->fresh = (side_plan){.name = a, .last = rows->count};
    p->base = (side_plan){.name = b, .last = rows->count};
    (void)parse_real(line_value(l, "margin", "0"), &p->margin);
    TRY(filter_read(&p->keep, rows->of, line_value(l, "keep", "")));
    TRY(filter_read(&p->fresh.keep, rows->of, a));
    if (!table_compares(rows->of))
        return fail(ERR_DATA, "from=%s: expected time, eval or stage", table_name(rows->of));
    return filter_read(&p->base.keep, rows->of, b);
}

/* How a verdict, interval and p are told. */
static void add_point(buffer *b, const form *f, const comparison *c, int64_t i)
{
    const compare_row *r = &c->row[i];
    char name[POINT_NAME], text[80];
    comparison_name(c->row, c->count, i, name);
    form_text(b, f, name, 1);
    snprintf(text, sizeof text, "%.4g", r->base_value);
    form_text(b, f, text, 0);
    snprintf(text, sizeof text, "%.4g", r->fresh_value);
    form_text(b, f, text, 0);
    snprintf(text, sizeof text, "%.4g [%.4g, %.4g]", r->value, r->low, r->high);
    form_text(b, f, text, 0);
    snprintf(text, sizeof text, "%.2g", r->p);
    form_text(b, f, text, 0);
    snprintf(text, sizeof text, "%lld + %lld", (long long)r->base_launches, (long long)r->launches);
    form_text(b, f, text, 0);
    snprintf(text, sizeof text, "%s%s", r->verdict, r->noisy ? " ~" : "");
    form_text(b, f, text, 0);
    buffer_add(b, "%s", f->end);
}

static void add_comparison(buffer *b, const form *f, const compare_plan *p, const comparison *c)
{
    const int times = strcmp(c->row[0].contrast, "ratio") == 0;
    const char *heads[] = {"point",       p->base.name,
                           p->fresh.name, times ? "ratio [95 %]" : "difference [95 %]",
                           "p",           times ? "launches" : "seeds",
                           "verdict"};
    enum { HEADS = sizeof heads / sizeof *heads };
    for (int i = 0; i < HEADS; i++)
        form_text(b, f, heads[i], i == 0);
    buffer_add(b, "%s", f->end);
    form_rule(b, f, HEADS - 1);
    for (int64_t i = 0; i < c->count; i++)
        add_point(b, f, c, i);
}

/* What all points have in common, and what the numbers are. */
static void under_comparison(const compare_plan *p, const comparison *c, char *text, size_t size)
{
    char common[POINT_NAME];
    comparison_common(c->row, c->count, common);
    snprintf(text, size,
             "All of %s. Intervals: hierarchical bootstrap, %lld resamples, seed %lld; p by Holm "
             "for all points.",
             common, (long long)p->resamples, (long long)p->seed);
}

static status write_comparison(const show *s, const line *l, const char *title,
                               const compare_plan *p, const comparison *c)
{
    static const char *const pictures[] = {"svg", "png", "pdf"};
    char path[4200], under[600];
    status done = OK;
    under_comparison(p, c, under, sizeof under);
    for (int i = 0; done == OK && i < TABLE_FORMS; i++) {
        buffer body = {0};
        add_comparison(&body, &table_forms[i], p, c);
        done = form_write(s, &table_forms[i], l->word[0], title, under, &body);
        free(body.text);
    }
    for (int i = 0; done == OK && i < 3; i++) {
        snprintf(path, sizeof path, "%.4000s/%.150s.%s", s->out, l->word[0], pictures[i]);
        done = comparison_draw(c->row, c->count, title, path);
    }
    return done;
}

status show_compared(const show *s, const experiment *e, const line *l)
{
    compare_plan *p = malloc(sizeof *p);
    comparison c = {0};
    buffer html = {0};
    char under[600];
    const char *title = line_value(l, "title", e->title);
    status done = p ? plan_comparison(s, l, p) : fail(ERR_MEMORY, "show: out of memory");
    const int none = done == OK && !comparison_possible(p);
    if (none) page_note(s->page, "A comparison has no data yet: its cells were not run.");
    if (done == OK && !none) done = compare_rows(p, &c);
    if (done == ERR_DATA) done = fail(done, "%s:%d: %s", s->p->path, l->number, last_error());
    if (done == OK && !none) done = write_comparison(s, l, title, p, &c);
    if (done == OK && !none) {
        add_comparison(&html, &page_form, p, &c);
        under_comparison(p, &c, under, sizeof under);
        page_table(s->page, l->word[0], title, s->scale, buffer_text(&html), under, 0);
        page_figure(s->page, s, l->word[0], title, "");
        if (buffer_failed(&html)) done = fail(ERR_MEMORY, "show: out of memory");
    }
    comparison_free(&c);
    free(html.text);
    free(p);
    return done;
}
