/* SPDX-License-Identifier: MIT
 *
 * intervals.c — comparisons as a picture: a line for each point, its interval across it; a band is
 * the margin.
 */
#include <math.h>

#include "compare.h"
#include "gnuplot.h"

static const struct hue {
    const char *verdict, *colour;
} hues[] = {{"SAME", "#666666"},   {"AMBIGUOUS", "#c99700"}, {"FASTER", "#1b7837"},
            {"BETTER", "#1b7837"}, {"SLOWER", "#b2182b"},    {"WORSE", "#b2182b"}};
enum { HUES = sizeof hues / sizeof *hues };

static void add_points(buffer *b, const compare_row *row, int64_t count, const char *verdict)
{
    buffer_add(b, "$%s << END\n", verdict);
    for (int64_t i = 0; i < count; i++)
        if (strcmp(row[i].verdict, verdict) == 0 && isfinite(row[i].value))
            buffer_add(b, "%.9g %lld %.9g %.9g\n", row[i].value, (long long)(count - i), row[i].low,
                       row[i].high);
    buffer_add(b, "END\n");
}

/* By the end of the name; PDF in inches. */
static void add_terminal(buffer *b, const char *out, int64_t height)
{
    const size_t n = strlen(out);
    const char *end = n > 4 ? out + n - 4 : "";
    if (strcmp(end, ".svg") == 0)
        buffer_add(b, "set terminal svg dynamic background rgb 'white' size 900,%lld",
                   (long long)height);
    else if (strcmp(end, ".pdf") == 0)
        buffer_add(b, "set terminal pdfcairo size 9,%.2f", (double)height / 100);
    else
        buffer_add(b, "set terminal pngcairo size 900,%lld", (long long)height);
    buffer_add(b, " font 'Sans,11'\nset output ");
}

/* All intervals and the whole margin, with a little room beside them. */
static void add_interval_range(buffer *b, const compare_row *row, int64_t count, double zero)
{
    double low = zero - row->margin, high = zero + row->margin;
    for (int64_t i = 0; i < count; i++) {
        if (row[i].low < low) low = row[i].low;
        if (row[i].high > high) high = row[i].high;
    }
    const double room = 0.03 * (high - low);
    if (room > 0) buffer_add(b, "set xrange [%.9g:%.9g]\n", low - room, high + room);
}

static void add_picture(buffer *b, const compare_row *row, int64_t count, const char *title,
                        const picture *to)
{
    const double zero = strcmp(row->contrast, "ratio") == 0;
    char name[POINT_NAME], text[200];
    int drawn = 0;
    for (int k = 0; k < HUES; k++)
        add_points(b, row, count, hues[k].verdict);
    add_terminal(b, to->out, 120 + 22 * count);
    gnuplot_quote(b, to->partial);
    buffer_add(b, "\nset title ");
    gnuplot_quote(b, title);
    snprintf(text, sizeof text, "%s of %s: %s %s %s", row->contrast, row->measured, row->fresh,
             zero ? "/" : "-", row->base);
    buffer_add(b, " noenhanced\nset xlabel ");
    gnuplot_quote(b, text);
    buffer_add(b,
               " noenhanced\nset key outside bottom center horizontal noenhanced\n"
               "set grid x lc rgb '#dddddd'\nset yrange [0.3:%lld.7]\nset ytics noenhanced (",
               (long long)count);
    for (int64_t i = 0; i < count; i++) {
        comparison_name(row, count, i, name);
        buffer_add(b, i ? ", " : "");
        gnuplot_quote(b, name);
        buffer_add(b, " %lld", (long long)(count - i));
    }
    buffer_add(b, ")\n");
    add_interval_range(b, row, count, zero);
    buffer_add(b,
               "set object 1 rectangle from %.9g, graph 0 to %.9g, graph 1 behind fc rgb "
               "'#eeeeee' fs noborder\nset arrow 1 from %.9g, graph 0 to %.9g, graph 1 nohead lc "
               "rgb '#999999'\n",
               zero - row->margin, zero + row->margin, zero, zero);
    for (int k = 0; k < HUES; k++)
        for (int64_t i = 0; i < count; i++) {
            if (strcmp(row[i].verdict, hues[k].verdict) != 0) continue;
            buffer_add(b,
                       "%s $%s using 1:2:3:4 with xerrorbars pt 7 ps 0.7 lw 2 lc rgb '%s' "
                       "title '%s'",
                       drawn++ ? "," : "plot", hues[k].verdict, hues[k].colour, hues[k].verdict);
            break;
        }
    buffer_add(b, "%s\nunset output\n", drawn ? "" : "plot NaN notitle");
}

status comparison_draw(const compare_row *row, int64_t count, const char *title, const char *out)
{
    picture to;
    buffer script = {0};
    status s = picture_begin(&to, out);
    if (s == OK) add_picture(&script, row, count, title, &to);
    if (s == OK && buffer_failed(&script)) s = fail(ERR_MEMORY, "compare: out of memory");
    s = picture_end(&to, buffer_text(&script), s);
    free(script.text);
    return s;
}
