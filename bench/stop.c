/* SPDX-License-Identifier: MIT
 *
 * stop.c — see stop.h.
 */
#include "stop.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const int watched[] = {SIGINT, SIGTERM, SIGHUP};
enum { WATCHED = sizeof watched / sizeof *watched };

static volatile sig_atomic_t noted;
static void (*volatile also_called)(int number);

static void note(int number)
{
    noted = number;
    if (also_called) also_called(number);
}

void stop_watch(void (*also)(int number))
{
    struct sigaction how = {.sa_handler = note, .sa_flags = SA_RESTART}, was;
    noted = 0;
    also_called = also;
    sigemptyset(&how.sa_mask);
    for (int i = 0; i < WATCHED; i++)
        if (sigaction(watched[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
            sigaction(watched[i], &how, NULL);
}

int stop_signal(void)
{
    return noted;
}

status stop_check(void)
{
    return noted ? fail(ERR_STOPPED, "interrupted") : OK;
}

void stop_end(const char *verb, const char *left, const char *path)
{
    const int number = noted;
    if (!number) return;
    fprintf(stderr, "mosaic: %s: interrupted%s%s\n", verb, *path ? left : "", path);
    fflush(NULL);
    signal(number, SIG_DFL);
    raise(number);
}
