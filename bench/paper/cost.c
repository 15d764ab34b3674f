/* SPDX-License-Identifier: MIT
 *
 * cost.c — what a training costs: six operations a parameter and token (Kaplan et al. 2020), and
 * six L T d of causal attention, at the rate that was measured of the reference on one core, and of
 * a model of some millions of parameters on an H200; a test is a third of that. A timing takes what
 * it may. Everything else takes seconds.
 *
 *   parameters   V d + L (8 d^2 + 2 M d)       model 2.10, without the small ones
 *   files        a row of /train a logged step; a checkpoint holds parameters and two moments
 */
#include "cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "store/columns.h"

static const double core_rate = 1e10, card_rate = 3e13; /* operations a second */

/* Positions of a sample of nominal length L (0: the task's own), and ids. */
static void sample_shape(const words *w, int64_t L, double *T, double *V)
{
    const char *task = word_text(w, "task");
    const int stories = strcmp(task, "babistories") == 0, regbench = strcmp(task, "regbench") == 0;
    const double nominal = L > 0 ? (double)L : 64, window = (double)word_int(w, "window");
    const int large = strcmp(word_text(w, "tokenizer"), "gpt2") == 0 || *word_text(w, "corpus") ||
                      *word_text(w, "data");
    *V = !stories ? 300 : large ? 50304 : (double)word_int(w, "vocab");
    if (window > 0)
        *T = window;
    else if (stories || regbench)
        *T = stories ? 512 : 375;
    else /* source and target, of MQMTAR a few words */
        *T = strcmp(task, "mqmtar") == 0 ? nominal + 20 : 2 * nominal;
}

static double operations_of_token(double T, double V, double d, double L, double M)
{
    return 6 * (V * d + L * (8 * d * d + 2 * M * d)) + 6 * L * T * d;
}

/* One training of these layers. */
static void add_training(const words *w, double L, int models, cost *c)
{
    const double d = (double)word_int(w, "width"), M = (double)word_int(w, "slots");
    const double steps = (double)word_int(w, "steps"), size = (double)word_int(w, "batch");
    const double every = (double)word_int(w, "eval_every");
    const double samples = (double)word_int(w, "eval_samples");
    double T, V, tested = 0;
    for (int64_t i = 0; i < word_count(w, "test_length"); i++) {
        const double n = (double)word_int(w, "test_samples");
        sample_shape(w, word_int_at(w, "test_length", i), &T, &V);
        tested += (n > 0 ? n : 1000) * T * operations_of_token(T, V, d, L, M) / 3;
    }
    sample_shape(w, word_int(w, "length"), &T, &V);
    const double each = T * operations_of_token(T, V, d, L, M);
    const double validated =
        (1 + (every > 0 ? steps / every : 0)) * (samples > 0 ? samples : 500) * each / 3;
    c->seconds += (steps * size * each + validated + tested) /
                  (runs_on_card(word_text(w, "backend")) ? card_rate : core_rate);
    c->bytes += steps / (double)word_int(w, "log_every") * (double)table_row_size(TRAIN);
    c->bytes += models * 24 * (V * d + L * (8 * d * d + 2 * M * d));
}

static double choices_of(const words *w, const char *name)
{
    const double n = (double)word_count(w, name);
    return n > 1 ? n : 1;
}

cost cost_of(const words *w, int models)
{
    cost c = {.seconds = 2, .bytes = 1e5};
    if (strcmp(words_verb(w), "time") == 0)
        c.seconds += word_real(w, "seconds") * choices_of(w, "op") * choices_of(w, "n") *
                     choices_of(w, "alpha") * choices_of(w, "type");
    if (strcmp(words_verb(w), "train") != 0) return c;
    for (int64_t i = 0; i < word_count(w, "layers"); i++) {
        cost one = {0};
        add_training(w, (double)word_int_at(w, "layers", i), models, &one);
        const double runs = choices_of(w, "method") * choices_of(w, "seed");
        c.seconds += runs * one.seconds;
        c.bytes += runs * one.bytes;
    }
    return c;
}

void cost_time(double seconds, char *text, size_t size)
{
    static const struct unit {
        const char *name;
        double seconds;
    } units[] = {{"years", 31557600}, {"days", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    int i = 0;
    while (i < 4 && seconds < 1.5 * units[i].seconds)
        i++;
    const double n = seconds / units[i].seconds;
    snprintf(text, size, n < 10 && i < 4 ? "%.1f %s" : "%.0f %s", n, units[i].name);
}

void cost_size(double bytes, char *text, size_t size)
{
    const int g = bytes >= 1e9, m = bytes >= 1e6;
    snprintf(text, size, "%.*f %s", m ? 1 : 0,
             bytes / (g   ? 1e9
                      : m ? 1e6
                          : 1e3),
             g   ? "GB"
             : m ? "MB"
                 : "kB");
}
