/* SPDX-License-Identifier: MIT
 *
 * figure.c — a figure is a TSV with one block a series, a gnuplot script that draws it, and what
 * gnuplot made of it: SVG and PNG. Style lives in plots/style.gp.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer.h"
#include "show.h"
#include "verb.h"

enum { SERIES = 64, POINTS = 4096 };

static void add_blocks(buffer *b, const pivot *p, const char *const *series, int count)
{
    const char *xs[POINTS];
    int n = pivot_keys(p, 0, xs, POINTS);
    for (int i = 0; i < count; i++) {
        buffer_add(b, "%s# %s\n", i ? "\n\n" : "", series[i]);
        for (int j = 0; j < n; j++) {
            const point *at = pivot_find(p, series[i], xs[j]);
            if (at && isfinite(at->mean))
                buffer_add(b, "%.9g\t%.9g\t%.9g\n", at->col_number, at->mean,
                           isnan(at->sd) ? 0 : at->sd);
        }
    }
    buffer_add(b, "\n");
}

/* gnuplot reads '' as one quote inside single quotes. */
static void quote(char *out, size_t size, const char *in)
{
    size_t n = 0;
    for (; *in && n + 3 < size; in++) {
        if (*in == '\'') out[n++] = '\'';
        out[n++] = *in;
    }
    out[n] = '\0';
}

static void add_script(buffer *b, const show *s, const experiment *e, const line *l,
                       const char *const *series, int count)
{
    const char *id = l->word[0], *style = line_value(l, "style", "linespoints");
    const char *log = line_value(l, "log", "");
    char text[400], label[200];
    buffer_add(b, "load '%s/plots/style.gp'\n", s->root);
    quote(text, sizeof text, line_value(l, "title", e->title));
    buffer_add(b, "set title '%s'\n", text);
    quote(text, sizeof text, line_value(l, "xlabel", line_value(l, "x", "")));
    buffer_add(b, "set xlabel '%s'\n", text);
    quote(text, sizeof text, line_value(l, "ylabel", line_value(l, "y", "")));
    buffer_add(b, "set ylabel '%s'\n", text);
    if (*log) buffer_add(b, "set logscale %s\n", log);
    if (strchr(log, 'x') && strcmp(line_value(l, "x", ""), "n") == 0)
        buffer_add(b, "set logscale x 2\n");
    if (*line_value(l, "yrange", ""))
        buffer_add(b, "set yrange [%s]\n", line_value(l, "yrange", ""));
    if (*line_value(l, "xrange", ""))
        buffer_add(b, "set xrange [%s]\n", line_value(l, "xrange", ""));
    buffer_add(b, "set key %s\n", line_value(l, "key", "outside right top"));
    for (int format = 0; format < 2; format++) {
        buffer_add(b, "%s\nset output '%s/%s.%s'\nplot", format ? "@PNG" : "@SVG", s->out, id,
                   format ? "png" : "svg");
        for (int i = 0; i < count; i++) {
            key_label(line_value(l, "series", ""), series[i], label, sizeof label);
            quote(text, sizeof text, label);
            buffer_add(b, "%s '%s/%s.tsv' index %d using 1:2 with %s lc rgb '%s' %s title '%s'",
                       i ? ", \\\n " : "", s->out, id, i, style, key_colour(series[i], i),
                       strcmp(style, "lines") == 0    ? "lw 2"
                       : strcmp(style, "points") == 0 ? "pt 7 ps 0.6"
                                                      : "lw 2 pt 7 ps 0.6",
                       text);
        }
        buffer_add(b, "\nunset output\n");
    }
}

static status run_gnuplot(const show *s, const char *id)
{
    char script[4096];
    snprintf(script, sizeof script, "%s/%s.gp", s->out, id);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(errno == ENOENT ? 126 : 127);
    }
    int how = 0;
    if (pid < 0 || waitpid(pid, &how, 0) < 0) return fail(ERR_MEMORY, "gnuplot: cannot be started");
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return OK;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 126)
        return fail(ERR_FILE, "gnuplot: not found: expected gnuplot on PATH (run ci/setup)");
    return fail(ERR_DATA, "%s: gnuplot failed", script);
}

status show_figure(const show *s, const experiment *e, const line *l)
{
    pivot p = {0};
    const char *series[SERIES];
    buffer data = {0}, script = {0};
    status done = line_pivot(s, e, l, line_value(l, "series", ""), line_value(l, "x", ""),
                             line_value(l, "y", ""), line_value(l, "keep", ""), &p);
    int n = done == OK ? pivot_keys(&p, 1, series, SERIES) : 0;
    if (done == OK && n > 0) {
        add_blocks(&data, &p, series, n);
        add_script(&script, s, e, l, series, n);
        done = show_write(s, l->word[0], "tsv", data.text);
        if (done == OK) done = show_write(s, l->word[0], "gp", script.text);
        if (done == OK) done = run_gnuplot(s, l->word[0]);
        if (done == OK) page_figure(s->page, s, l->word[0], line_value(l, "title", e->title));
    } else if (done == OK) {
        page_note(s->page, "A figure has no data yet: its cells were not run.");
    }
    free(data.text);
    free(script.text);
    pivot_free(&p);
    return done;
}
