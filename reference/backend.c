/* SPDX-License-Identifier: MIT
 *
 * backend.c — ref_backend: tensors in memory, times of the monotonic clock.
 *
 * Host and device arrays are the same here: double, or int32 for I32. Before a timed call, twice
 * the last-level cache is streamed through, so that the call starts cold.
 */
#include "spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stage.h"

static int ref_devices(void)
{
    return 1;
}

static status ref_ready(void)
{
    return OK;
}

/* The last-level cache that one core sees. The C library's figure adds up every such cache of the
 * socket, which would make the flush ten times longer than what it flushes. */
static double cache_bytes(void)
{
    double kib = 0;
    FILE *size = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r");
    if (!size) size = fopen("/sys/devices/system/cpu/cpu0/cache/index2/size", "r");
    if (size) {
        if (fscanf(size, "%lfK", &kib) != 1) kib = 0;
        fclose(size);
    }
    return kib * 1024;
}

static status ref_facts(device_facts *f)
{
    char line[512];
    *f = (device_facts){.cache = cache_bytes()};
    FILE *cpu = fopen("/proc/cpuinfo", "r");
    while (cpu && fgets(line, sizeof line, cpu)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value) continue;
        snprintf(f->name, sizeof f->name, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
        break;
    }
    if (cpu) fclose(cpu);
    snprintf(f->runtime, sizeof f->runtime, "%d threads", threads_now());
    long units = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES);
    f->units = units > 0 ? (int)units : 0;
    f->memory = pages > 0 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : 0;
    return OK;
}

static status ref_alloc(void **p, size_t bytes)
{
    const size_t line = 256;
    *p = NULL;
    if (bytes <= SIZE_MAX - line) *p = aligned_alloc(line, (bytes / line + 1) * line);
    return *p ? OK : fail(ERR_MEMORY, "memory: expected %zu bytes", bytes);
}

static status copy(void *dst, const void *src, size_t count, dtype type)
{
    if (type != F64 && type != I32)
        return fail(ERR_ARG, "ref: storage: expected double or int32, got type %d", (int)type);
    if (count > 0) memcpy(dst, src, count * dtype_size(type));
    return OK;
}

static status ref_move(void *dst, const void *src, size_t bytes)
{
    if (bytes > 0) memcpy(dst, src, bytes);
    return OK;
}

static status ref_poison(void *dst, size_t count, dtype type)
{
    if (type != F64 && type != I32)
        return fail(ERR_ARG, "ref: storage: expected double or int32, got type %d", (int)type);
    for (size_t i = 0; i < count; i++) {
        if (type == F64)
            ((double *)dst)[i] = NAN;
        else
            ((int32_t *)dst)[i] = INT32_MIN;
    }
    return OK;
}

static status ref_sync(void)
{
    return OK;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of one thread the clock is its own: what others take of its core meanwhile is not its time. */
static double own_now(void)
{
    struct timespec t;
    if (threads_now() > 1) return now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static status ref_time(op_fn *f, const args *a, double *seconds)
{
    static char *flush;
    static size_t bytes;
    if (!flush) {
        const double cache = cache_bytes();
        bytes = 2 * (size_t)(cache > 0 ? cache : 0x1p25);
        flush = malloc(bytes);
        if (!flush) return fail(ERR_MEMORY, "time: expected %zu bytes to flush the cache", bytes);
        memset(flush, 0, bytes);
    }
/* every thread walks its own half of the buffer, and the caches of every core with it */
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < bytes; i += 64)
        flush[i]++;
    const double start = own_now();
    TRY(f(a));
    *seconds = own_now() - start;
    return OK;
}

static status ref_copy_rate(double *rate)
{
    const double cache = cache_bytes();
    const int64_t bytes = (int64_t)(4 * (cache > 0x1p24 ? cache : 0x1p24)), piece = 1 << 20;
    char *from = malloc((size_t)bytes), *to = malloc((size_t)bytes);
    status s = OK;
    double best = INFINITY;
    if (!from || !to) {
        s = fail(ERR_MEMORY, "copy_rate: expected twice %lld bytes", (long long)bytes);
        goto done;
    }
    memset(from, 1, (size_t)bytes);
    memset(to, 2, (size_t)bytes);
    for (int run = 0; run < 5; run++) {
        const double start = now();
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < bytes; i += piece)
            memcpy(to + i, from + i, (size_t)(bytes - i < piece ? bytes - i : piece));
        best = fmin(best, now() - start);
    }
    *rate = 2 * (double)bytes / best;
done:
    free(from);
    free(to);
    return s;
}

const backend ref_backend = {
    .name = "ref",
    .devices = ref_devices,
    .ready = ref_ready,
    .facts = ref_facts,
    .alloc = ref_alloc,
    .release = free,
    .put = copy,
    .get = copy,
    .move = ref_move,
    .poison = ref_poison,
    .sync = ref_sync,
    .time = ref_time,
    .copy_rate = ref_copy_rate,
};
