/* SPDX-License-Identifier: MIT
 *
 * script.c — the gnuplot script of a figure: style, words, axes, and one plot command a format.
 * Style lives in plots/style.gp, of which a script holds a copy, and in the looks of the lists.
 *
 * A curve is a line, its bars, and its hollow points, which the line leaves out; running means have
 * the curve itself behind them, pale and thin. split=Y draws two panels with an axis each, above
 * and below Y.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "drawing.h"
#include "gnuplot.h"
#include "marks.h"
#include "verb.h"

enum { WORDS_WIDTH = 125 }; /* characters of a line below a picture */

/* What all figures share. */
static status add_style(buffer *b, const show *s)
{
    char path[4096];
    bytes style = {0};
    snprintf(path, sizeof path, "%s/plots/style.gp", s->root);
    TRY(file_read(path, 0, &style));
    buffer_add(b, "%.*s", (int)style.count, style.v);
    free(style.v);
    return OK;
}

/* Words below the picture, in lines from the bottom up. Returns how many lines. */
static int add_small_print(buffer *b, const char *said, int lines)
{
    size_t n = strlen(said);
    if (n > WORDS_WIDTH) {
        n = WORDS_WIDTH;
        while (n > 0 && said[n] != ' ')
            n--;
        if (n == 0) n = WORDS_WIDTH;
        lines = add_small_print(b, said + n + 1, lines);
    }
    if (n == 0) return lines;
    char row[WORDS_WIDTH + 1];
    snprintf(row, sizeof row, "%.*s", (int)n, said);
    buffer_add(b, "set label ");
    gnuplot_quote(b, row);
    buffer_add(b, " at screen 0.01, screen %.3f @NOTE\n", 0.022 + 0.03 * lines);
    return lines + 1;
}

/* --- axes ------------------------------------------------------------------------------------- */

static int is_log(const line *l, char axis)
{
    return strchr(line_value(l, "log", ""), axis) != NULL;
}

/* Powers of 2 times the least, at most eight. */
static void add_binary_ticks(buffer *b, char axis, const double range[2])
{
    const int steps = (int)round(log2(range[1] / range[0])), every = 1 + steps / 8;
    buffer_add(b, "set %ctics (", axis);
    for (int i = 0; i <= steps; i += every)
        buffer_add(b, "%s%.6g", i ? ", " : "", ldexp(range[0], i));
    buffer_add(b, ")\n");
}

/* A step of 1, 2 or 5 times a power of ten that divides a length into at most four. */
static double tick_step(double length)
{
    const double ten = pow(10, floor(log10(length / 4)));
    return ten * 4 >= length       ? ten
           : 2 * ten * 4 >= length ? 2 * ten
           : 5 * ten * 4 >= length ? 5 * ten
                                   : 10 * ten;
}

/* A logarithmic axis: from a little below the least to a little above the largest, with ticks at 1,
 * 2 and 5 of each decade where it has few decades. */
static void add_log_axis(buffer *b, char axis, const double range[2], int binary)
{
    buffer_add(b, "set logscale %c%s\n", axis, binary ? " 2" : "");
    if (!(range[0] > 0) || !(range[1] > range[0])) return;
    const double margin = pow(range[1] / range[0], 0.03), decades = log10(range[1] / range[0]);
    buffer_add(b, "set %crange [%.6g:%.6g]\n", axis, range[0] / margin, range[1] * margin);
    if (binary) add_binary_ticks(b, axis, range);
    if (binary || decades > 2.5) return;
    static const double fine[] = {1, 1.5, 2, 3, 4, 5, 7}, coarse[] = {1, 2, 5};
    const int few = decades < 1.1, count = few ? 7 : 3;
    int ticks = 0;
    buffer_add(b, "set %ctics (", axis);
    for (int e = (int)floor(log10(range[0])) - 1; e <= (int)ceil(log10(range[1])); e++)
        for (int i = 0; i < count; i++) {
            const double at = (few ? fine[i] : coarse[i]) * pow(10, e);
            if (at < range[0] / margin || at > range[1] * margin) continue;
            buffer_add(b, "%s%.6g", ticks++ ? ", " : "", at);
        }
    buffer_add(b, ")\n");
}

static void add_asked_range(buffer *b, const line *l, const char *name)
{
    if (*line_value(l, name, "")) buffer_add(b, "set %s [%s]\n", name, line_value(l, name, ""));
}

static void add_axes(buffer *b, const drawing *d)
{
    const line *l = d->l;
    const char *x = line_value(l, "x", "");
    const int points = strcmp(line_value(l, "style", ""), "lines") != 0;
    if (is_log(l, 'x'))
        add_log_axis(b, 'x', d->x, log2(d->x[1] / d->x[0]) == floor(log2(d->x[1] / d->x[0])));
    else if (points && d->x[1] > d->x[0]) /* room for the marks at the ends */
        buffer_add(b, "set xrange [%.6g:%.6g]\n", d->x[0] - 0.02 * (d->x[1] - d->x[0]),
                   d->x[1] + 0.02 * (d->x[1] - d->x[0]));
    if (is_log(l, 'y')) add_log_axis(b, 'y', d->y, 0);
    add_asked_range(b, l, "xrange");
    add_asked_range(b, l, "yrange");
    if (strcmp(x, "layers") == 0) buffer_add(b, "set xtics 1\n");
}

/* --- curves ----------------------------------------------------------------------------------- */

/* x, moved aside by the place of the curve among those with bars, so that no bar hides another. */
static void add_x(buffer *b, const drawing *d, int place, int places)
{
    const double aside = place - 0.5 * (places - 1), width = 0.008;
    if (d->of == TIME || places < 2 || aside == 0)
        buffer_add(b, "1");
    else if (is_log(d->l, 'x'))
        buffer_add(b, "($1*%.6g)", pow(d->x[1] / d->x[0], width * aside));
    else
        buffer_add(b, "($1%+.6g)", width * aside * (d->x[1] - d->x[0]));
}

static int has_bars(const curve *c)
{
    for (int j = 0; j < c->count; j++)
        if (!isnan(c->at[j].low)) return 1;
    return 0;
}

static int has_hollow(const curve *c)
{
    for (int j = 0; j < c->count; j++)
        if (c->at[j].hollow) return 1;
    return 0;
}

static void add_file(buffer *b, const drawing *d, int index)
{
    buffer_add(b, "%s", b->used ? ", \\\n  " : "");
    gnuplot_quote(b, d->l->word[0]);
    buffer_add(b, ".'.tsv' index %d using ", index);
}

static void add_dash(buffer *b, const look *k)
{
    buffer_add(b, *k->dash ? " dt (%s)" : " dt solid%s", *k->dash ? k->dash : "");
}

static void add_curve(buffer *b, const drawing *d, int i, int place, int places)
{
    const curve *c = &d->curve[i];
    const look k = key_look(c->of, i);
    const char *style = line_value(d->l, "style", "linespoints");
    const int lines_only = strcmp(style, "lines") == 0, marks = k.mark && !c->level && !lines_only;
    const int hollow = has_hollow(c);
    char label[200];
    line_label(d->l, c->of, label, sizeof label);
    if (c->smooth) {
        add_file(b, d, i);
        buffer_add(b, "1:2 with lines lc rgb '#d8%s' lw 0.7 dt solid notitle", k.colour + 1);
    }
    if (has_bars(c)) {
        add_file(b, d, i);
        add_x(b, d, place, places);
        buffer_add(b, ":2:5:6 with yerrorbars lc rgb '%s' lw 1 dt solid pt -1 notitle", k.colour);
    }
    add_file(b, d, c->smooth ? d->curves + i : i);
    add_x(b, d, place, places);
    buffer_add(b, hollow ? ":($7==1?NaN:$2)" : ":2");
    buffer_add(b, " with %s lc rgb '%s' lw %s", marks ? style : "lines", k.colour,
               c->level ? "1.3" : "2");
    add_dash(b, &k);
    if (marks) buffer_add(b, " pt %d ps 0.8", k.mark);
    buffer_add(b, " title ");
    gnuplot_quote(b, label);
    if (!hollow) return;
    add_file(b, d, i);
    add_x(b, d, place, places);
    buffer_add(b, ":($7==1?$2:NaN) with points lc rgb '%s' lw 1 pt %d ps 0.9 notitle", k.colour,
               hollow_mark(k.mark));
}

/* Everything behind the word plot. */
static void add_curves(buffer *b, const drawing *d)
{
    int places = 0, place = 0;
    for (int i = 0; i < d->curves; i++)
        places += has_bars(&d->curve[i]);
    for (int i = 0; i < d->curves; i++) {
        const int at = d->order[i], bars = has_bars(&d->curve[at]);
        add_curve(b, d, at, place, bars ? places : 0);
        place += bars;
    }
    if (d->floor.count == 0) return;
    add_file(b, d, d->curves && d->curve[0].smooth ? 2 * d->curves : d->curves);
    buffer_add(b, "1:2 with lines lc rgb '#888888' lw 1 dt (3,3) title 'floor'");
}

/* --- the script ------------------------------------------------------------------------------- */

/* Two panels, of which the upper has most of the height; then, since a key is cut to the height of
 * what it belongs to, the key of an empty plot as high as both. */
static void add_panels(buffer *b, const drawing *d, double split, double bottom, const char *curves)
{
    const double low = d->y[0], high = d->y[1], between = bottom + 0.27 * (0.90 - bottom);
    const double above = high + 0.05 * (high - split), below = low - 0.05 * (split - low);
    buffer_add(b, "set multiplot\nunset key\nset lmargin at screen 0.09\n"
                  "set rmargin at screen 0.70\n");
    buffer_add(b, "set tmargin at screen 0.90\nset bmargin at screen %.3f\n", between + 0.02);
    buffer_add(b,
               "set format x ''\nset xlabel ''\nset ytics autofreq\n"
               "set yrange [%.6g:%.6g]\nplot %s\n",
               split, above, curves);
    buffer_add(b,
               "unset title\nunset label\nset ylabel ''\n"
               "set tmargin at screen %.3f\nset bmargin at screen %.3f\n",
               between - 0.02, bottom);
    buffer_add(b,
               "set format x '%%g'\nset xlabel XLABEL\nset ytics %.6g\n"
               "set yrange [%.6g:%.6g]\nplot %s\n",
               tick_step(split - low), below, split, curves);
    buffer_add(b,
               "set tmargin at screen 0.90\nset key at screen 0.715, screen 0.90 left top\n"
               "set xlabel ''\nset format x ''\nset format y ''\nset border 0\n"
               "set tics scale 0\nunset grid\nset yrange [%.6g:%.6g]\nplot %s\n",
               above + 1, above + 2, curves);
    buffer_add(b,
               "unset multiplot\nset format '%%g'\nset border 3\nset tics scale 0.6\nset grid\n");
}

status drawing_script(const drawing *d, const show *s, const char *title, const char *said,
                      buffer *b)
{
    static const char *const formats[] = {"svg", "SVG", "png", "PNG", "pdf", "PDF"};
    const line *l = d->l;
    buffer curves = {0}, below = {0};
    double split = NAN;
    parse_real(line_value(l, "split", ""), &split);
    const int panels = split > d->y[0] && split < d->y[1];
    TRY(add_style(b, s));
    add_curves(&curves, d);
    const int lines = add_small_print(&below, said, *s->scale != 0);
    add_small_print(&below, s->scale, 0);
    buffer_add(b, "if (!exists('to')) to = ");
    gnuplot_quote(b, l->word[0]);
    buffer_add(b, "\nXLABEL = ");
    gnuplot_quote(b, line_value(l, "xlabel", line_value(l, "x", "")));
    buffer_add(b, "\n");
    add_axes(b, d);
    for (int i = 0; i < 6; i += 2) {
        buffer_add(b, "@%s\nset output to.'.%s'\n%sset title ", formats[i + 1], formats[i],
                   buffer_text(&below)); /* a picture is passed on without its page */
        gnuplot_quote(b, title);
        buffer_add(b, "\nset ylabel ");
        gnuplot_quote(b, line_value(l, "ylabel", line_value(l, "y", "")));
        buffer_add(b, "\nset xlabel XLABEL\nset key %s\n",
                   line_value(l, "key", "outside right top"));
        if (panels)
            add_panels(b, d, split, 0.15 + 0.03 * lines, buffer_text(&curves));
        else
            buffer_add(b, "set bmargin at screen %.3f\nplot %s\n", 0.15 + 0.03 * lines,
                       buffer_text(&curves));
        buffer_add(b, "unset output\nunset label\n");
    }
    const int failed = buffer_failed(&curves) || buffer_failed(&below);
    free(curves.text);
    free(below.text);
    return failed ? fail(ERR_MEMORY, "show: out of memory") : OK;
}
