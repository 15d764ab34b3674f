/* SPDX-License-Identifier: MIT
 *
 * figure.c — a figure is a TSV with one block a curve, a gnuplot script that draws it (script.c),
 * and what gnuplot made of it (picture.c). Here: from the pivot to curves, their data, and the
 * words that belong to them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "drawing.h"
#include "verb.h"

enum { MOST_PLACES = 4096 };

/* --- curves ----------------------------------------------------------------------------------- */

static int asked(const line *l, const char *name)
{
    return strcmp(line_value(l, name, "0"), "1") == 0;
}

/* The one value of a series that is known at one x only, NULL if it has more. */
static const point *only_point(const pivot *p, const key *series, const key *const *xs, int n)
{
    const point *only = NULL;
    for (int j = 0; j < n; j++) {
        const point *at = pivot_find(p, series, xs[j]);
        if (!at || !isfinite(at->value)) continue;
        if (only) return NULL;
        only = at;
    }
    return only;
}

static drawn drawn_of(const drawing *d, const key *series, const key *x, const point *at)
{
    const point *mark = pivot_find(&d->hollow, series, x);
    const int wide = at->spread > WIDE_QUARTILES;
    return (drawn){.x = x->count ? x->part[0].number : NAN,
                   .y = at->value,
                   .sd = isnan(at->sd) ? 0 : at->sd,
                   .low = at->high > at->low ? at->low : NAN,
                   .high = at->high > at->low ? at->high : NAN,
                   .n = at->n,
                   .trials = at->trials,
                   .hollow = wide || (mark && !(mark->value == 0))};
}

/* The places x at which a curve that is no level has a point. */
static void keep_places(const drawing *d, const key **xs, int *n)
{
    int kept = 0;
    for (int j = 0; j < *n; j++) {
        int used = 0;
        for (int i = 0; i < d->curves && !used; i++)
            used = !d->curve[i].level && pivot_find(&d->p, d->curve[i].of, xs[j]);
        if (used) xs[kept++] = xs[j];
    }
    if (kept) *n = kept; /* levels alone keep the places that they have */
}

static status fill_curve(const drawing *d, curve *c, const key *const *xs, int n,
                         const point *level)
{
    c->at = calloc((size_t)n + 1, sizeof *c->at);
    if (!c->at) return fail(ERR_MEMORY, "show: out of memory");
    for (int j = 0; j < n; j++) {
        const point *at = level ? level : pivot_find(&d->p, c->of, xs[j]);
        if (!at || !isfinite(at->value)) continue;
        c->at[c->count] = drawn_of(d, c->of, xs[j], at);
        if (level) c->at[c->count].sd = 0, c->at[c->count].low = c->at[c->count].high = NAN;
        if (level) c->at[c->count].n = 1, c->at[c->count].hollow = 0;
        c->count++;
    }
    return OK;
}

/* Running means of `width` points about each, fewer at the ends. */
static status smooth_curve(curve *c, int width)
{
    c->smooth = calloc((size_t)c->count + 1, sizeof *c->smooth);
    if (!c->smooth) return fail(ERR_MEMORY, "show: out of memory");
    for (int i = 0; i < c->count; i++) {
        const int half = width / 2;
        const int from = i < half ? 0 : i - half,
                  to = i + half < c->count ? i + half : c->count - 1;
        for (int j = from; j <= to; j++)
            c->smooth[i] += c->at[j].y / (to - from + 1);
    }
    return OK;
}

static void widen(double range[2], double x)
{
    if (!isfinite(x)) return;
    if (!(range[0] <= x)) range[0] = x;
    if (!(range[1] >= x)) range[1] = x;
}

static void measure_drawing(drawing *d)
{
    d->x[0] = d->x[1] = d->y[0] = d->y[1] = NAN;
    for (int i = 0; i < d->curves; i++)
        for (int j = 0; j < d->curve[i].count; j++) {
            const drawn *at = &d->curve[i].at[j];
            widen(d->x, at->x);
            widen(d->y, at->y);
            widen(d->y, at->low);
            widen(d->y, at->high);
            d->wide |= at->n > 1 || !isnan(at->low) || at->hollow;
        }
}

/* By the lists, and what is in none of them as it came. */
static void order_curves(drawing *d)
{
    for (int i = 0; i < d->curves; i++) {
        int at = i;
        for (; at > 0 && key_rank(d->curve[d->order[at - 1]].of) > key_rank(d->curve[i].of); at--)
            d->order[at] = d->order[at - 1];
        d->order[at] = i;
    }
}

status drawing_make(drawing *d, const show *s, const line *l)
{
    const char *x = line_value(l, "x", ""), *y = line_value(l, "y", "");
    const char *keep = line_value(l, "keep", ""), *hollow = line_value(l, "hollow", "");
    const char *floor = line_value(l, "floor", ""), *series = line_value(l, "series", "");
    const key *curves[MOST_CURVES], *xs[MOST_PLACES];
    double width = 0;
    *d = (drawing){.l = l, .of = table_find(line_value(l, "from", ""))};
    TRY(line_pivot(s, l, series, x, y, keep, &d->p));
    if (*hollow) TRY(line_pivot(s, l, series, x, y, hollow, &d->hollow));
    if (*floor) TRY(line_pivot(s, l, "", x, floor, keep, &d->floor));
    int n = pivot_keys(&d->p, 0, xs, MOST_PLACES);
    d->curves = pivot_keys(&d->p, 1, curves, MOST_CURVES);
    for (int i = 0; i < d->curves; i++)
        d->curve[i] = (curve){.of = curves[i],
                              .level = asked(l, "levels") && only_point(&d->p, curves[i], xs, n)};
    const key *all[MOST_PLACES];
    memcpy(all, xs, sizeof all);
    const int places = n;
    keep_places(d, xs, &n);
    for (int i = 0; i < d->curves; i++) {
        const point *level = d->curve[i].level ? only_point(&d->p, curves[i], all, places) : NULL;
        TRY(fill_curve(d, &d->curve[i], xs, n, level));
        if (parse_real(line_value(l, "smooth", ""), &width) && width > 1)
            TRY(smooth_curve(&d->curve[i], (int)width));
    }
    measure_drawing(d);
    order_curves(d);
    return OK;
}

void drawing_free(drawing *d)
{
    for (int i = 0; i < d->curves; i++) {
        free(d->curve[i].at);
        free(d->curve[i].smooth);
    }
    pivot_free(&d->p);
    pivot_free(&d->hollow);
    pivot_free(&d->floor);
}

/* --- data ------------------------------------------------------------------------------------- */

static void add_drawn(const drawing *d, const curve *c, buffer *b)
{
    for (int j = 0; j < c->count; j++) {
        const drawn *at = &c->at[j];
        buffer_add(b, "%.9g\t%.9g\t%.9g", at->x, at->y, at->sd);
        if (d->wide)
            buffer_add(b, "\t%lld\t%.9g\t%.9g\t%d", (long long)at->n, at->low, at->high,
                       at->hollow);
        buffer_add(b, "\n");
    }
}

/* The largest `floor` at each x. */
static void add_floor(const drawing *d, buffer *b)
{
    const key *xs[MOST_PLACES];
    const int n = pivot_keys(&d->floor, 0, xs, MOST_PLACES);
    buffer_add(b, "\n\n# floor\n");
    for (int j = 0; j < n; j++) {
        const point *at = pivot_find(&d->floor, &d->floor.points[0].row, xs[j]);
        if (at && isfinite(at->value) && xs[j]->count)
            buffer_add(b, "%.9g\t%.9g\t0\n", xs[j]->part[0].number, at->value);
    }
}

void drawing_data(const drawing *d, buffer *b)
{
    char name[200];
    if (d->wide) buffer_add(b, "# x value sd n low high hollow\n");
    for (int i = 0; i < d->curves; i++) {
        key_text(d->curve[i].of, name, sizeof name);
        buffer_add(b, "%s# %s\n", i ? "\n\n" : "", name);
        add_drawn(d, &d->curve[i], b);
    }
    for (int i = 0; i < d->curves && d->curve[0].smooth; i++) {
        const curve *c = &d->curve[i];
        key_text(c->of, name, sizeof name);
        buffer_add(b, "\n\n# %s, running mean\n", name);
        for (int j = 0; j < c->count; j++)
            buffer_add(b, "%.9g\t%.9g\t0\n", c->at[j].x, c->smooth[j]);
    }
    if (d->floor.count) add_floor(d, b);
    buffer_add(b, "\n");
}

/* --- words ------------------------------------------------------------------------------------ */

static double as_drawn(const drawing *d, const curve *c, int j)
{
    const double y = c->smooth ? c->smooth[j] : c->at[j].y;
    return strchr(line_value(d->l, "log", ""), 'y') ? log(y) : y;
}

/* The height of the picture (with two panels of the larger one) in what is drawn. */
static double seen_height(const drawing *d)
{
    double low = d->y[0], high = d->y[1], bound;
    char from[64];
    const char *range = line_value(d->l, "yrange", ""), *to = strchr(range, ':');
    snprintf(from, sizeof from, "%.*s", (int)strcspn(range, ":"), range);
    if (parse_real(from, &bound)) low = bound;
    if (to && parse_real(to + 1, &bound)) high = bound;
    if (parse_real(line_value(d->l, "split", ""), &bound) && bound > low && bound < high)
        low = bound;
    return strchr(line_value(d->l, "log", ""), 'y') ? log(high) - log(low) : high - low;
}

/* Does every point of a lie within a line's width of a point of b at the same x? */
static int lies_under(const drawing *d, const curve *a, const curve *b)
{
    const double height = seen_height(d);
    int found = 0;
    for (int j = 0; j < a->count; j++) {
        int k = 0;
        while (k < b->count && b->at[k].x != a->at[j].x)
            k++;
        if (k == b->count || !(fabs(as_drawn(d, a, j) - as_drawn(d, b, k)) <= 0.006 * height))
            return 0;
        found++;
    }
    return found > 0;
}

static void add_sentence(buffer *b, const char *text)
{
    buffer_add(b, "%s%s", b->used ? "; " : "", text);
}

static void add_hidden(const drawing *d, buffer *b)
{
    char text[500], under[200], over[200];
    for (int i = 0; i < d->curves; i++)
        for (int j = i + 1; j < d->curves; j++) {
            const curve *a = &d->curve[d->order[i]], *c = &d->curve[d->order[j]];
            if (!lies_under(d, a, c)) continue;
            line_label(d->l, a->of, under, sizeof under);
            line_label(d->l, c->of, over, sizeof over);
            snprintf(text, sizeof text, "%s lies under %s", under, over);
            add_sentence(b, text);
            break;
        }
}

static void range_text(int64_t least, int64_t most, char *text, size_t size)
{
    if (least == most)
        snprintf(text, size, "%lld", (long long)most);
    else
        snprintf(text, size, "%lld to %lld", (long long)least, (long long)most);
}

/* What bars are: of means their deviation, of one proportion or time what it says itself. */
static void add_bars(const drawing *d, buffer *b)
{
    int64_t seeds[2] = {INT64_MAX, 0}, trials[2] = {INT64_MAX, 0};
    int times = 0;
    char text[200], many[80];
    for (int i = 0; i < d->curves; i++)
        for (int j = 0; j < d->curve[i].count; j++) {
            const drawn *at = &d->curve[i].at[j];
            const int64_t n = at->n > 1 ? at->n : at->trials;
            int64_t *range = at->n > 1 ? seeds : trials;
            times |= !isnan(at->low) && n == 0;
            if (isnan(at->low) || n == 0) continue;
            range[0] = n < range[0] ? n : range[0];
            range[1] = n > range[1] ? n : range[1];
        }
    if (seeds[1]) {
        range_text(seeds[0], seeds[1], many, sizeof many);
        snprintf(text, sizeof text, "bars: mean ± standard deviation of n = %s seeds", many);
        add_sentence(b, text);
    }
    if (trials[1]) {
        range_text(trials[0], trials[1], many, sizeof many);
        snprintf(text, sizeof text, "bars%s: 95 %% Wilson intervals of n = %s trials",
                 seeds[1] ? " of one seed" : "", many);
        add_sentence(b, text);
    }
    if (times) add_sentence(b, "bars: quartiles");
}

void drawing_words(const drawing *d, buffer *b)
{
    char text[300];
    int wide = 0, marked = 0;
    buffer_add(b, "%s", "");
    add_bars(d, b);
    if (d->curves && d->curve[0].smooth) {
        snprintf(text, sizeof text, "running means of %s points, pale behind them the points",
                 line_value(d->l, "smooth", ""));
        add_sentence(b, text);
    }
    for (int i = 0; i < d->p.count; i++)
        wide |= d->p.points[i].spread > WIDE_QUARTILES;
    for (int i = 0; i < d->hollow.count; i++)
        marked |= !(d->hollow.points[i].value == 0);
    if (wide) {
        snprintf(text, sizeof text,
                 "hollow and off the line: quartiles more than %.0f %% of the median apart, no "
                 "measurement",
                 100 * WIDE_QUARTILES);
        add_sentence(b, text);
    }
    if (marked) {
        snprintf(text, sizeof text, "hollow: %s", line_value(d->l, "hollow_note", "marked"));
        add_sentence(b, text);
    }
    add_hidden(d, b);
}

status show_figure(const show *s, const experiment *e, const line *l)
{
    const char *id = l->word[0], *title = line_value(l, "title", e->title);
    drawing *d = malloc(sizeof *d);
    buffer data = {0}, script = {0}, said = {0};
    if (!d) return fail(ERR_MEMORY, "show: out of memory");
    status done = drawing_make(d, s, l);
    if (done == OK && d->curves > 0) {
        drawing_data(d, &data);
        drawing_words(d, &said);
        done = buffer_failed(&said) ? fail(ERR_MEMORY, "show: out of memory") : OK;
        if (done == OK) done = drawing_script(d, s, title, buffer_text(&said), &script);
        if (done == OK) done = show_write(s, id, "tsv", data.text);
        if (done == OK) done = show_write(s, id, "gp", script.text);
        if (done == OK) done = picture_draw(s, id);
        if (done == OK) page_figure(s->page, s, id, title, buffer_text(&said));
    } else if (done == OK) {
        page_note(s->page, "A figure has no data yet: its cells were not run.");
    }
    free(data.text);
    free(script.text);
    free(said.text);
    drawing_free(d);
    free(d);
    return done;
}
