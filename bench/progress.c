/* SPDX-License-Identifier: MIT
 *
 * progress.c — how far a long command is, on stderr: a bar on a terminal, a line a minute otherwise
 * (MOSAIC_PROGRESS seconds, where it is set).
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "verb.h"

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void print_span(char *text, size_t size, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
}

void progress_start(progress *p, const char *what, int64_t total)
{
    *p = (progress){.what = what, .total = total, .start = seconds_now()};
    p->terminal = getenv("MOSAIC_QUIET") ? -1 : isatty(STDERR_FILENO);
    p->last = p->terminal == 1 ? 0 : p->start;
}

static double seconds_between(const progress *p)
{
    const char *asked = getenv("MOSAIC_PROGRESS");
    const double seconds = asked ? strtod(asked, NULL) : 0;
    return p->terminal == 1 ? 0.1 : seconds > 0 ? seconds : 60;
}

static void draw_bar(const progress *p, double now, const char *note)
{
    char left[32] = "?", spent[32];
    double elapsed = now - p->start;
    const long long done = (long long)(p->first + p->done), all = (long long)(p->first + p->total);
    double part = all > 0 ? (double)done / (double)all : 0;
    print_span(spent, sizeof spent, elapsed);
    if (p->part > 0) {
        part = p->part;
        print_span(left, sizeof left, elapsed * (1 - part) / part);
    } else if (p->done > 0 && p->total > 0) {
        print_span(left, sizeof left, elapsed / (double)p->done * (double)(p->total - p->done));
    }
    if (p->terminal == 1) {
        char bar[25] = "                        ";
        for (int i = 0; i < 24 && i < (int)(24 * part + 0.5); i++)
            bar[i] = '=';
        fprintf(stderr, "\r%s [%s] %lld/%lld  %s, %s left  %s\033[K", p->what, bar, done, all,
                spent, left, note ? note : "");
    } else {
        fprintf(stderr, "%s: %lld of %lld, %s spent, %s left%s%s\n", p->what, done, all, spent,
                left, note ? ", " : "", note ? note : "");
    }
}

void progress_part(progress *p, int64_t done, double part, const char *note)
{
    double now = seconds_now();
    p->done = done;
    p->part = part;
    if (p->terminal < 0 || now - p->last < seconds_between(p)) return;
    p->last = now;
    draw_bar(p, now, note);
}

void progress_step(progress *p, int64_t done, const char *note)
{
    progress_part(p, done, 0, note);
}

void progress_end(progress *p)
{
    if (p->terminal == 1) fprintf(stderr, "\r\033[K");
}
