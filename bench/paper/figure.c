/* SPDX-License-Identifier: MIT
 *
 * figure.c — a figure is a TSV with one block a series, a gnuplot script that draws it, and what
 * gnuplot made of it: SVG and PNG. Style lives in plots/style.gp, of which a script holds a copy.
 * gnuplot works inside the folder of the report and without the start-up files of its user, so
 * that no path is ever read as a command and a picture depends on nothing but its script and data.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer.h"
#include "bytes.h"
#include "output.h"
#include "show.h"

enum { SERIES = 64, POINTS = 4096 };

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

/* levels: a series of one point (a baseline) is drawn across, at every x. */
static void add_blocks(buffer *b, const pivot *p, const key *const *series, int count, int levels)
{
    const key *xs[POINTS];
    int n = pivot_keys(p, 0, xs, POINTS);
    char name[200];
    for (int i = 0; i < count; i++) {
        const point *level = levels ? only_point(p, series[i], xs, n) : NULL;
        key_text(series[i], name, sizeof name);
        buffer_add(b, "%s# %s\n", i ? "\n\n" : "", name);
        for (int j = 0; j < n; j++) {
            const double x = xs[j]->count ? xs[j]->part[0].number : NAN;
            const point *at = level ? level : pivot_find(p, series[i], xs[j]);
            if (!at || !isfinite(at->value)) continue;
            buffer_add(b, "%.9g\t%.9g\t%.9g", x, at->value, level || isnan(at->sd) ? 0 : at->sd);
            if (at->n > 1 && !isnan(at->sd)) buffer_add(b, "\t%lld", (long long)at->n);
            buffer_add(b, "\n");
        }
    }
    buffer_add(b, "\n");
}

/* The largest `floor` at each x, a block behind the series. */
static void add_floor(buffer *b, const pivot *floor)
{
    const key *xs[POINTS];
    const int n = pivot_keys(floor, 0, xs, POINTS);
    buffer_add(b, "\n# floor\n");
    for (int j = 0; j < n; j++) {
        const point *at = pivot_find(floor, &floor->points[0].row, xs[j]);
        if (at && isfinite(at->value) && xs[j]->count)
            buffer_add(b, "%.9g\t%.9g\t0\n", xs[j]->part[0].number, at->value);
    }
    buffer_add(b, "\n");
}

/* gnuplot reads '' as one quote inside single quotes, in which nothing else has a meaning but the
 * end of the line. */
static void quote(char *out, size_t size, const char *in)
{
    size_t n = 0;
    for (; *in && n + 3 < size; in++) {
        if (*in == '\'') out[n++] = '\'';
        out[n++] = (unsigned char)*in < ' ' ? ' ' : *in;
    }
    out[n] = '\0';
}

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

static void add_script(buffer *b, const show *s, const experiment *e, const line *l,
                       const key *const *series, int count)
{
    const char *id = l->word[0], *style = line_value(l, "style", "linespoints");
    const char *log = line_value(l, "log", "");
    char text[400], label[200];
    buffer_add(b, "if (!exists('to')) to = '%s'\n", id);
    quote(text, sizeof text, line_value(l, "title", e->title));
    buffer_add(b, "set title '%s'\n", text);
    quote(text, sizeof text, line_value(l, "xlabel", line_value(l, "x", "")));
    buffer_add(b, "set xlabel '%s'\n", text);
    quote(text, sizeof text, line_value(l, "ylabel", line_value(l, "y", "")));
    buffer_add(b, "set ylabel '%s'\n", text);
    quote(text, sizeof text, s->scale);
    buffer_add(b, "set label '%s' @NOTE\n", text); /* a picture is passed on without its page */
    if (*log) buffer_add(b, "set logscale %s\n", log);
    if (strchr(log, 'x') && strcmp(line_value(l, "x", ""), "n") == 0)
        buffer_add(b, "set logscale x 2\n");
    if (*line_value(l, "yrange", ""))
        buffer_add(b, "set yrange [%s]\n", line_value(l, "yrange", ""));
    if (*line_value(l, "xrange", ""))
        buffer_add(b, "set xrange [%s]\n", line_value(l, "xrange", ""));
    if (strcmp(line_value(l, "x", ""), "layers") == 0) buffer_add(b, "set xtics 1\n");
    buffer_add(b, "set key %s\n", line_value(l, "key", "outside right top"));
    static const int marks[] = {7,  5, 9, 13,
                                11, 6, 4}; /* shapes of gnuplot, the first five filled */
    for (int format = 0; format < 2; format++) {
        buffer_add(b, "%s\nset output to.'.%s'\nplot", format ? "@PNG" : "@SVG",
                   format ? "png" : "svg");
        for (int i = 0; i < count; i++) {
            line_label(l, series[i], label, sizeof label);
            quote(text, sizeof text, label);
            buffer_add(b, "%s '%s.tsv' index %d using 1:2 with %s lc rgb '%s' lw 2",
                       i ? ", \\\n " : "", id, i, style, key_colour(series[i], i));
            if (strcmp(style, "lines") != 0)
                buffer_add(b, " pt %d ps 0.6", marks[i % (int)(sizeof marks / sizeof *marks)]);
            buffer_add(b, " title '%s'", text);
        }
        if (*line_value(l, "floor", ""))
            buffer_add(
                b,
                ", \\\n  '%s/%s.tsv' index %d using 1:2 with lines lc rgb '#999999' lw 1 dt 2 "
                "title 'floor'",
                s->out, id, count);
        buffer_add(b, "\nunset output\n");
    }
}

/* Does a file end so, but for white space? gnuplot's exit code says nothing of a full disk. */
static int ends_with(const char *path, const char *end)
{
    char tail[64];
    size_t n = 0, size = strlen(end);
    FILE *f = fopen(path, "rb");
    if (f && fseek(f, -(long)sizeof tail, SEEK_END) == 0) n = fread(tail, 1, sizeof tail, f);
    if (f) fclose(f);
    while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == ' '))
        n--;
    return n >= size && memcmp(tail + n - size, end, size) == 0;
}

/* Run the script of a folder with its pictures going to TO.svg and TO.png there; what it says goes
 * nowhere. */
static status run_gnuplot(const char *folder, const char *script, const char *to)
{
    char where[4300];
    snprintf(where, sizeof where, "to = '%s'", to);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0) dup2(null, STDERR_FILENO);
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", "-d", "-e", where, script, (char *)NULL);
        _exit(errno == ENOENT ? 126 : 127);
    }
    int how = 0;
    if (pid < 0 || waitpid(pid, &how, 0) < 0) return fail(ERR_MEMORY, "gnuplot: cannot be started");
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return OK;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 126)
        return fail(ERR_FILE, "gnuplot: not found: expected gnuplot on PATH (run ci/setup)");
    return fail(ERR_DATA, "%s/%s: gnuplot failed: `gnuplot -d %s` in that folder says why", folder,
                script, script);
}

/* The pictures of a figure appear whole or not at all. */
static status draw_pictures(const show *s, const char *id)
{
    static const struct picture {
        const char *extension, *end;
    } pictures[] = {{"svg", "</svg>"}, {"png", "IEND\xae\x42\x60\x82"}};
    char script[1024], to[1024], partial[8192], path[8192], file[OUTPUT_PATH];
    snprintf(script, sizeof script, "%.900s.gp", id);
    snprintf(to, sizeof to, "%.900s.tmp.%ld", id, (long)getpid());
    status done = run_gnuplot(s->out, script, to);
    for (int i = 0; i < 2; i++) {
        const struct picture *p = &pictures[i];
        snprintf(partial, sizeof partial, "%s/%s.%s", s->out, to, p->extension);
        snprintf(path, sizeof path, "%s/%s.%s", s->out, id, p->extension);
        if (done == OK) done = output_file(path, "picture", file);
        if (done == OK && !(ends_with(partial, p->end) && rename(partial, file) == 0))
            done = fail(ERR_FILE, "%s: cannot be written: expected room on the disk", path);
        if (done != OK) unlink(partial);
    }
    return done;
}

status show_figure(const show *s, const experiment *e, const line *l)
{
    pivot p = {0}, floor = {0};
    const char *below = line_value(l, "floor", "");
    const key *series[SERIES];
    buffer data = {0}, script = {0};
    status done = line_pivot(s, l, line_value(l, "series", ""), line_value(l, "x", ""),
                             line_value(l, "y", ""), line_value(l, "keep", ""), &p);
    if (done == OK && *below)
        done =
            line_pivot(s, l, "", line_value(l, "x", ""), below, line_value(l, "keep", ""), &floor);
    int n = done == OK ? pivot_keys(&p, 1, series, SERIES) : 0;
    if (done == OK && n > 0) {
        add_blocks(&data, &p, series, n, strcmp(line_value(l, "levels", "0"), "1") == 0);
        done = add_style(&script, s);
        if (*below) add_floor(&data, &floor);
        if (done == OK) add_script(&script, s, e, l, series, n);
        if (done == OK) done = show_write(s, l->word[0], "tsv", data.text);
        if (done == OK) done = show_write(s, l->word[0], "gp", script.text);
        if (done == OK) done = draw_pictures(s, l->word[0]);
        if (done == OK) page_figure(s->page, s, l->word[0], line_value(l, "title", e->title));
    } else if (done == OK) {
        page_note(s->page, "A figure has no data yet: its cells were not run.");
    }
    free(data.text);
    free(script.text);
    pivot_free(&p);
    pivot_free(&floor);
    return done;
}
