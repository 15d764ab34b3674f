/* SPDX-License-Identifier: MIT
 *
 * test_figure.c — figures: looks of methods, intervals, what is drawn hollow, what must be said.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mosaic.h"
#include "paper/drawing.h"
#include "scratch.h"
#include "selftest.h"

static int same_look(look a, look b)
{
    return strcmp(a.colour, b.colour) == 0 && strcmp(a.dash, b.dash) == 0 && a.mark == b.mark;
}

/* A method has its look whatever else a series is told apart by, an operation that of its method,
 * and nobody else has it. */
void selftest_key_looks(selftest *t)
{
    const datum of_seed = {.column = "seed", .number = 2};
    const key family = {.count = 1, .part[0] = {"method", "entmax:1.3", 1, NAN}};
    const key beta = {.count = 1, .part[0] = {.column = "beta", .number = 1}};
    for (int i = 0; method_name(i); i++) {
        method m;
        EXPECT(method_find(method_name(i), &m) == OK);
        key k = {.count = 1, .part[0] = {.column = "method", .is_name = 1}};
        snprintf(k.part[0].name, sizeof k.part[0].name, "%s", m.name);
        const look own = key_look(&k, 0);
        EXPECT(strcmp(own.colour, m.colour) == 0 && own.mark > 0);
        for (int index = 0; index < 20; index++) {
            const key seeded = {.count = 2, .part = {k.part[0], of_seed}};
            const key before = {.count = 2, .part = {of_seed, k.part[0]}};
            EXPECT(same_look(key_look(&k, index), own));
            EXPECT(same_look(key_look(&seeded, index), own));
            EXPECT(same_look(key_look(&before, index), own));
            EXPECT(strcmp(key_look(&family, index).colour, m.colour) != 0);
            EXPECT(strcmp(key_look(&beta, index).colour, m.colour) != 0);
        }
    }
    const struct {
        const char *op, *method;
        double alpha;
    } rows[] = {{"softmax", "softmax", NAN},
                {"sparsemax_grad", "epanechnikov", NAN},
                {"entmax", "biweight", 1.5},
                {"entmax_grad", "triweight", 4.0 / 3},
                {"topk_softmax", "top16_softmax", NAN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        key op = {.count = 2, .part = {{"op", "", 1, NAN}, {"alpha", "", 0, rows[i].alpha}}};
        key of = {.count = 1, .part[0] = {"method", "", 1, NAN}};
        snprintf(op.part[0].name, sizeof op.part[0].name, "%s", rows[i].op);
        snprintf(of.part[0].name, sizeof of.part[0].name, "%s", rows[i].method);
        EXPECT(same_look(key_look(&op, 3), key_look(&of, 0)) && key_rank(&op) == key_rank(&of));
    }
    const key none = {.count = 2, .part = {{"op", "entmax", 1, NAN}, {"alpha", "", 0, 1.7}}};
    EXPECT(strcmp(key_look(&none, 0).colour, key_look(&beta, 0).colour) == 0);
}

/* CIE L*a*b* (of daylight) of "#rrggbb" as seen through a matrix on linear RGB. */
static void lab_of(const char *colour, const double seen[3][3], double lab[3])
{
    static const double to_xyz[3][3] = {{0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505},
                                        {0.2126, 0.7152, 0.0722},
                                        {0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089}};
    double rgb[3], f[3];
    for (int i = 0; i < 3; i++) {
        const char digits[] = {colour[1 + 2 * i], colour[2 + 2 * i], '\0'};
        const double v = (double)strtol(digits, NULL, 16) / 255;
        rgb[i] = v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
    }
    for (int i = 0; i < 3; i++) {
        double x = 0;
        for (int j = 0; j < 3; j++) {
            double c = 0;
            for (int k = 0; k < 3; k++)
                c += seen[j][k] * rgb[k];
            x += to_xyz[i][j] * fmin(1, fmax(0, c));
        }
        f[i] = x > 0.008856 ? cbrt(x) : 7.787 * x + 16.0 / 116;
    }
    lab[0] = 116 * f[1] - 16;
    lab[1] = 500 * (f[0] - f[1]);
    lab[2] = 200 * (f[1] - f[2]);
}

/* The methods of the paper are told apart by lightness alone (grey print), by the colour-blind
 * (Machado et al. 2009, full protanopia and deuteranopia) and, all rows, by dashes alone. */
void selftest_looks_apart(selftest *t)
{
    static const double plain[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    static const double blind[2][3][3] = {{{0.152286, 1.052583, -0.204868},
                                           {0.114503, 0.786281, 0.099216},
                                           {-0.003882, -0.048116, 1.051998}},
                                          {{0.367322, 0.860646, -0.227968},
                                           {0.280085, 0.672501, 0.047413},
                                           {-0.011820, 0.042940, 0.968881}}};
    static const struct row {
        const char *name, *colour, *dash, *shown;
    } rows[] = {
#define METHOD(name, label, op, colour, dash, mark, shown, ...) {#name, colour, dash, #shown},
#include "methods.def"
#undef METHOD
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < i; j++) {
            const struct row *a = &rows[i], *b = &rows[j];
            double x[3], y[3];
            selftest_expect(t, strcmp(a->dash, b->dash) != 0, a->name, j, "a dash of its own");
            if (strcmp(a->shown, "VARIANT") == 0 || strcmp(b->shown, "VARIANT") == 0) continue;
            lab_of(a->colour, plain, x);
            lab_of(b->colour, plain, y);
            selftest_expect(t, !(fabs(x[0] - y[0]) <= 5), a->name, j, "a lightness of its own");
            for (int k = 0; k < 2; k++) {
                lab_of(a->colour, blind[k], x);
                lab_of(b->colour, blind[k], y);
                const double apart = hypot(hypot(x[0] - y[0], x[1] - y[1]), x[2] - y[2]);
                selftest_expect(t, !(apart <= 12), a->name, j, "a colour for the colour-blind");
            }
        }
}

/* The words and the data of the only line of a paper; rows of eval and time. */
typedef struct figure_said {
    char words[2000], data[8000];
} figure_said;

static void draw_line(selftest *t, const char *line_words, const evidence *v, figure_said *said)
{
    char text[2000];
    paper *p = NULL;
    drawing *d = malloc(sizeof *d);
    buffer told = {0}, data = {0};
    *said = (figure_said){{0}, {0}};
    snprintf(text, sizeof text, "profile smoke\nexperiment one \"t\"\n figure f %s\n", line_words);
    EXPECT(d && paper_read(&p, scratch_text(t, scratch_folder(t), "one.exp", text), "smoke") == OK);
    if (!d || !p) return;
    const show s = {.p = p, .of = v};
    EXPECT(drawing_make(d, &s, &p->experiments[0].lines[0]) == OK);
    drawing_words(d, &told);
    drawing_data(d, &data);
    snprintf(said->words, sizeof said->words, "%s", buffer_text(&told));
    snprintf(said->data, sizeof said->data, "%s", buffer_text(&data));
    free(told.text);
    free(data.text);
    drawing_free(d);
    free(d);
    paper_free(p);
}

static int says_of(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

/* Bars are the deviation of several seeds or the bounds of one proportion, in figure and data. */
void selftest_figure_bars(selftest *t)
{
    eval_row rows[] = {
        {.method = "softmax", .length = 1, .value = 0.5, .low = 0.4, .high = 0.6, .count = 99},
        {.method = "softmax", .length = 2, .value = 0.25, .low = 0.2, .high = 0.4, .count = 99},
        {.method = "relumax", .length = 1, .seed = 1, .value = 0.1, .low = NAN, .high = NAN},
        {.method = "relumax", .length = 1, .seed = 2, .value = 0.3, .low = NAN, .high = NAN}};
    evidence v = {.all.rows[EVAL] = {.of = EVAL, .rows = (char *)rows, .count = 2}};
    const char *line_words = "from=eval x=length y=value series=method";
    figure_said said;
    draw_line(t, line_words, &v, &said);
    EXPECT(strcmp(said.words, "bars: 95 % Wilson intervals of n = 99 trials") == 0);
    EXPECT(says_of(said.data, "\n1\t0.5\t0\t1\t0.4\t0.6\t0\n2\t0.25\t0\t1\t0.2\t0.4\t0\n"));
    v.all.rows[EVAL].count = 4;
    draw_line(t, line_words, &v, &said);
    EXPECT(says_of(said.words,
                   "bars: mean ± standard deviation of n = 2 seeds; bars of one seed: 95 % "
                   "Wilson intervals of n = 99 trials"));
    EXPECT(says_of(said.data, "# relumax\n1\t0.2\t0.141421356\t2\t0.0585786438\t0.341421356\t0\n"));
    rows[0].low = rows[0].high = rows[1].low = rows[1].high = NAN;
    v.all.rows[EVAL].count = 2;
    draw_line(t, line_words, &v, &said);
    EXPECT(*said.words == '\0' && strcmp(said.data, "# softmax\n1\t0.5\t0\n2\t0.25\t0\n\n") == 0);
}

/* Quartiles are bars, in the unit of the figure; where they are wide the point is hollow. */
void selftest_figure_times(selftest *t)
{
    time_row rows[] = {{.op = "softmax",
                        .n = 64,
                        .rows = 1,
                        .alpha = NAN,
                        .median = 64e-9,
                        .q1 = 63e-9,
                        .q3 = 66e-9},
                       {.op = "softmax",
                        .n = 128,
                        .rows = 1,
                        .alpha = NAN,
                        .median = 12.8e-6,
                        .q1 = 1e-6,
                        .q3 = 13e-6}};
    evidence v = {.all.rows[TIME] = {.of = TIME, .rows = (char *)rows, .count = 2}};
    figure_said said;
    draw_line(t, "from=time x=n y=ns_per_element series=op", &v, &said);
    EXPECT(says_of(said.words, "bars: quartiles; hollow and off the line"));
    EXPECT(says_of(said.data, "64\t1\t0\t1\t0.984375\t1.03125\t0\n"));
    EXPECT(says_of(said.data, "128\t100\t0\t1\t7.8125\t101.5625\t1\n"));
    draw_line(t, "from=time x=n y=rows series=op", &v, &said); /* no time, no quartiles */
    EXPECT(strcmp(said.data, "# softmax\n64\t1\t0\n128\t1\t0\n\n") == 0);
}

/* No curve hides another without a word; a baseline is a line at the places of the others. */
void selftest_figure_hidden(selftest *t)
{
    row_row rows[] = {{.method = "softmax", .quantity = "kernel", .x = 0, .value = 1},
                      {.method = "softmax", .quantity = "kernel", .x = 1, .value = 0.5},
                      {.method = "relumax", .quantity = "kernel", .x = 0, .value = 1},
                      {.method = "relumax", .quantity = "kernel", .x = 1, .value = 0},
                      {.method = "top16_softmax", .quantity = "kernel", .x = 0, .value = 1},
                      {.method = "top16_softmax", .quantity = "kernel", .x = 1, .value = 0.501},
                      {.method = "relumax", .quantity = "empty", .x = 1, .value = 0.25},
                      {.method = "relumax", .quantity = "empty", .x = 0, .value = 0}};
    const eval_row depth[] = {{.method = "softmax", .layers = 1, .value = 2},
                              {.method = "softmax", .layers = 2, .value = 1},
                              {.method = "2gram", .layers = 0, .value = 1.5}};
    evidence v = {.all.rows[ROW] = {.of = ROW, .rows = (char *)rows, .count = 8},
                  .all.rows[EVAL] = {.of = EVAL, .rows = (char *)(uintptr_t)depth, .count = 3}};
    figure_said said;
    draw_line(t, "from=row keep=quantity:kernel x=x y=value series=method", &v, &said);
    EXPECT(strcmp(said.words, "softmax lies under top-16 softmax") == 0);
    draw_line(t, "from=row keep=quantity:kernel x=x y=value series=method yrange=0.4:0.5", &v,
              &said);
    EXPECT(*said.words == '\0'); /* a tenth of the height seen: they are apart */
    rows[5].value = 0.51;
    draw_line(t, "from=row keep=quantity:kernel x=x y=value series=method", &v, &said);
    EXPECT(*said.words == '\0');
    draw_line(t, "from=row keep=quantity:kernel x=x y=value series=method smooth=3", &v, &said);
    EXPECT(says_of(said.words, "running means of 3"));
    EXPECT(says_of(said.data, "# relumax, running mean\n0\t0.5\t0\n1\t0.5\t0\n"));
    draw_line(t,
              "from=row keep=quantity:kernel x=x y=value series=method hollow=quantity:empty "
              "hollow_note=\"none in reach\"",
              &v, &said);
    EXPECT(strcmp(said.words, "hollow: none in reach") == 0);
    EXPECT(says_of(said.data, "# relumax\n0\t1\t0\t1\tnan\tnan\t0\n1\t0\t0\t1\tnan\tnan\t1\n"));
    draw_line(t, "from=eval x=layers y=value series=method levels=1", &v, &said);
    EXPECT(strcmp(said.data,
                  "# softmax\n1\t2\t0\n2\t1\t0\n\n\n# 2gram\n1\t1.5\t0\n2\t1.5\t0\n\n") == 0);
}
