/* SPDX-License-Identifier: MIT
 *
 * plot.c — verb plot: columns of result files against each other, drawn by gnuplot on the terminal
 * or into a PNG, without an experiment file. Means and what may be averaged are those of figures
 * (pivot.h).
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "evidence.h"
#include "gnuplot.h"
#include "verb.h"

enum { CURVES = 64, PLACES = 4096 };

/* The files as the evidence of an experiment of data lines, all tables asked for. */
static status read_files(const words *w, evidence *v)
{
    const int files = (int)word_count(w, "file");
    const cells none = {0};
    experiment e = {.lines = calloc((size_t)files + TABLES, sizeof(line))};
    char from[TABLES][40];
    status s = e.lines ? OK : fail(ERR_MEMORY, "plot: out of memory");
    for (int i = 0; s == OK && i < files; i++) {
        const char *path = word_text_at(w, "file", i);
        line *l = &e.lines[e.count++];
        l->kind = LINE_DATA;
        l->count = 1;
        if (!(l->word[0] = realpath(path, NULL)))
            s = fail(ERR_FILE, "%s: cannot be read: expected a result written by mosaic", path);
        else
            memmove(l->word[0], l->word[0] + 1, strlen(l->word[0])); /* under the folder "" */
    }
    const int named = e.count;
    for (int t = 0; s == OK && t < TABLES; t++) {
        line *l = &e.lines[e.count++];
        snprintf(from[t], sizeof from[t], "from=%s", table_name((table)t));
        l->kind = LINE_FIGURE;
        l->count = 1;
        l->word[0] = from[t];
    }
    if (s == OK) s = evidence_read(v, &e, &none, "", "");
    for (int i = 0; e.lines && i < named; i++)
        free(e.lines[i].word[0]);
    free(e.lines);
    return s;
}

/* The table asked for, or the first that has rows and these columns. */
static status find_source(const words *w, const evidence *v, const source **of)
{
    const char *x = word_text(w, "x"), *y = word_text(w, "y"), *table_asked = word_text(w, "table");
    char columns[400];
    status s = OK;
    int rows = 0;
    snprintf(columns, sizeof columns, "%s%s%s", x, *word_text(w, "series") ? "+" : "",
             word_text(w, "series"));
    for (int t = 0; t < TABLES; t++) {
        const source *one = &v->all.rows[t];
        if (one->count == 0 || (*table_asked && strcmp(table_name((table)t), table_asked) != 0))
            continue;
        rows++;
        s = pivot_check((table)t, word_text(w, "keep"), columns, y);
        if (s == OK) return *of = one, OK;
    }
    if (rows == 0)
        return fail(ERR_DATA, "plot: %s: no rows%s%s: see `mosaic print`", word_text(w, "file"),
                    *table_asked ? " of " : "", table_asked);
    return rows == 1 ? s
                     : fail(ERR_ARG,
                            "plot: no table of these files has x=%s y=%s series=%s: see "
                            "`mosaic list columns`",
                            x, y, word_text(w, "series"));
}

static int add_data(buffer *b, const pivot *p, const key *const *curve, int curves)
{
    const key *xs[PLACES];
    const int n = pivot_keys(p, 0, xs, PLACES);
    int points = 0;
    for (int i = 0; i < curves; i++) {
        buffer_add(b, "$curve%d << END\n", i);
        for (int j = 0; j < n; j++) {
            const point *at = pivot_find(p, curve[i], xs[j]);
            const double x = xs[j]->count ? xs[j]->part[0].number : NAN;
            if (!at || !isfinite(at->value) || !isfinite(x)) continue;
            buffer_add(b, "%.9g %.9g\n", x, at->value);
            points++;
        }
        buffer_add(b, "END\n");
    }
    return points;
}

/* png: where it goes; NULL: the terminal. */
static void add_plot(buffer *b, const words *w, const key *const *curve, int curves,
                     const char *png)
{
    const char *log = word_text(w, "log"), *columns = getenv("COLUMNS"), *lines = getenv("LINES");
    char label[200];
    if (png) {
        buffer_add(b, "set terminal pngcairo size 900,600\nset output ");
        gnuplot_quote(b, png);
        buffer_add(b, "\n");
    } else {
        buffer_add(b, "set terminal dumb size %d,%d\n",
                   columns && atoi(columns) > 40 ? atoi(columns) : 100,
                   lines && atoi(lines) > 15 ? atoi(lines) - 2 : 30);
    }
    buffer_add(b, "set xlabel ");
    gnuplot_quote(b, word_text(w, "x"));
    buffer_add(b, "\nset ylabel ");
    gnuplot_quote(b, word_text(w, "y"));
    buffer_add(b, "\nset key outside right top noenhanced\n");
    if (*log) buffer_add(b, "set logscale %s\n", log);
    for (int i = 0; i < curves; i++) {
        key_label(curve[i], 0, label, sizeof label);
        const look k = key_look(curve[i], i);
        buffer_add(b, "%s $curve%d using 1:2 with %s lc rgb '%s' lw 2 dt %s%s%s", i ? "," : "plot",
                   i, k.mark ? "linespoints" : "lines", k.colour, *k.dash ? "(" : "",
                   *k.dash ? k.dash : "solid", *k.dash ? ")" : "");
        if (k.mark && png) buffer_add(b, " pt %d ps 0.8", k.mark);
        buffer_add(b, " title ");
        gnuplot_quote(b, *label ? label : word_text(w, "y"));
    }
    buffer_add(b, "\nunset output\n");
}

static status draw(const words *w, const pivot *p)
{
    const key *curve[CURVES];
    const char *out = word_text(w, "out");
    const int curves = pivot_keys(p, 1, curve, CURVES);
    picture to;
    buffer script = {0};
    status s = picture_begin(&to, out);
    if (s == OK && add_data(&script, p, curve, curves) == 0)
        s = fail(ERR_DATA, "plot: no points: expected x=%s and y=%s to be numbers",
                 word_text(w, "x"), word_text(w, "y"));
    if (s == OK) add_plot(&script, w, curve, curves, *out ? to.partial : NULL);
    if (s == OK && buffer_failed(&script)) s = fail(ERR_MEMORY, "plot: out of memory");
    s = picture_end(&to, buffer_text(&script), s);
    free(script.text);
    return s;
}

int verb_plot(const words *w)
{
    evidence v = {0};
    const source *of = NULL;
    pivot p = {0};
    if (word_count(w, "file") == 0) return usage_error("plot: expected file=HDF5 files");
    if (!*word_text(w, "x") || !*word_text(w, "y")) return usage_error("plot: expected x= and y=");
    status s = read_files(w, &v);
    if (s == OK) s = find_source(w, &v, &of);
    if (s == OK)
        s = pivot_make(&p, of, word_text(w, "keep"), word_text(w, "series"), word_text(w, "x"),
                       word_text(w, "y"));
    if (s == OK) s = draw(w, &p);
    pivot_free(&p);
    evidence_free(&v);
    return status_exit(s);
}
