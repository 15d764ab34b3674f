/* SPDX-License-Identifier: MIT
 *
 * threads.c — how many threads work: the one place that knows. A process may have fewer cores than
 * the machine (an affinity mask, a quota of its control group), and be asked for more threads than
 * it can start; no number depends on how many there are.
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "spec.h"

/* Cores that a quota "RUNS EVERY" (microseconds) stands for; INT_MAX without one. */
static int quota_cores(const char *path)
{
    long long runs, every;
    FILE *f = fopen(path, "r");
    const int limited = f && fscanf(f, "%lld %lld", &runs, &every) == 2 && runs > 0 && every > 0;
    if (f) fclose(f);
    if (!limited) return INT_MAX;
    const long long cores = (runs + every - 1) / every;
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

int threads_cores(void)
{
    cpu_set_t mask;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) cores = CPU_COUNT(&mask);
    const int quota = quota_cores("/sys/fs/cgroup/cpu.max");
    if (quota < cores) cores = quota;
    return cores < 1 ? 1 : (int)cores;
}

/* --- can they be started? --------------------------------------------------------------------- */

/* SPARE: room for as many more, which read ahead, and for what is computed. */
enum { LEAST_LIMIT = 64, CORES_LIMIT = 4, SPARE = 8, MOST_STARTED = 4096 };

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    int open;
} gate;

static void *wait_for(void *user)
{
    gate *g = user;
    pthread_mutex_lock(&g->lock);
    while (!g->open)
        pthread_cond_wait(&g->opened, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* How many of these threads, this one among them, can be there at a time. OpenMP ends the program
 * when it cannot start one. */
static int can_start(int wanted)
{
    static pthread_t thread[MOST_STARTED];
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    int started = 0;
    while (started < wanted - 1 && pthread_create(&thread[started], NULL, wait_for, &g) == 0)
        started++;
    pthread_mutex_lock(&g.lock);
    g.open = 1;
    pthread_cond_broadcast(&g.opened);
    pthread_mutex_unlock(&g.lock);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    return started + 1;
}

int threads_now(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void threads_start(int64_t wanted, int given)
{
    const int cores = threads_cores();
    int limit = CORES_LIMIT * cores > LEAST_LIMIT ? CORES_LIMIT * cores : LEAST_LIMIT;
    if (limit > MOST_STARTED - SPARE) limit = MOST_STARTED - SPARE;
    if (wanted <= 0) wanted = given ? threads_now() : cores;
    if (wanted > limit) wanted = limit;
    const int room = wanted > 1 ? can_start((int)wanted + SPARE) - SPARE : 1;
    const int count = room > 1 ? room : 1;
#ifdef _OPENMP
    omp_set_num_threads(count);
    /* They are started now, while there is room, and stay. */
#pragma omp parallel num_threads(count) if (count > 1)
    {
    }
#else
    (void)count;
#endif
}
