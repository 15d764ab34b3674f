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
#include <string.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "spec.h"

/* A number of a file, or -1. */
static long long number_in(const char *folder, const char *name)
{
    char path[4096];
    long long number = -1;
    snprintf(path, sizeof path, "%.3000s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld", &number) != 1) number = -1; /* "max" */
    if (f) fclose(f);
    return number;
}

/* Cores that the quota of one folder stands for; INT_MAX without one. */
static int folder_cores(const char *folder)
{
    char path[4096];
    long long runs = -1, every = -1;
    snprintf(path, sizeof path, "%.3000s/cpu.max", folder);
    FILE *f = fopen(path, "r"); /* version 2: "RUNS EVERY", in microseconds */
    if (f) {
        if (fscanf(f, "%lld %lld", &runs, &every) != 2) runs = -1;
        fclose(f);
    } else {
        runs = number_in(folder, "cpu.cfs_quota_us");
        every = number_in(folder, "cpu.cfs_period_us");
    }
    if (runs <= 0 || every <= 0) return INT_MAX;
    const long long cores = (runs + every - 1) / every;
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

int threads_quota(const char *mount, const char *group)
{
    char folder[4096];
    size_t end = strlen(mount);
    snprintf(folder, sizeof folder, "%.2000s%.2000s", mount, group);
    int least = INT_MAX;
    for (size_t n = strlen(folder); n >= end && n > 0; n--) { /* the group, and those above it */
        if (folder[n] != '/' && folder[n] != '\0') continue;
        folder[n] = '\0';
        const int cores = folder_cores(folder);
        if (cores < least) least = cores;
    }
    return least;
}

/* The quotas of the groups that this process is in: a line "0::/GROUP" of version 2,
 * "N:cpu,cpuacct:/GROUP" of version 1. */
static int own_quota(void)
{
    char line[4096];
    int least = threads_quota("/sys/fs/cgroup", "");
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        const int second = kind[1] == '\0';
        if (!second && strncmp(kind, ":cpu", 4) != 0 && !strstr(kind, ",cpu")) continue;
        const int cores = threads_quota(second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", group);
        if (cores < least) least = cores;
    }
    if (f) fclose(f);
    return least;
}

int threads_cores(void)
{
    cpu_set_t mask;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) cores = CPU_COUNT(&mask);
    const int quota = own_quota();
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
