/* SPDX-License-Identifier: MIT
 *
 * conditions.c — see conditions.h. A GPU is asked through the library of its driver, NVML, which
 * is opened where it is there; the prototypes are those of its manual.
 */
#include "conditions.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static status note_number(results *r, const char *name, const char *when, double value)
{
    char attribute[64];
    if (!isfinite(value)) return OK;
    snprintf(attribute, sizeof attribute, "%s_%s", name, when);
    return results_attribute_number(r, attribute, value);
}

/* A file of one number; NaN if there is none. */
static double number_in(const char *path)
{
    double value = NAN;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lf", &value) != 1) value = NAN;
    if (f) fclose(f);
    return value;
}

/* Of the files PATTERN with %d = 0, 1, ... until one is missing: their mean, or the largest. */
static double numbers_in(const char *before, const char *after, int largest)
{
    double sum = 0, most = -INFINITY;
    int count = 0;
    for (;; count++) {
        char path[200];
        snprintf(path, sizeof path, "%s%d%s", before, count, after);
        const double value = number_in(path);
        if (isnan(value)) break;
        sum += value;
        most = fmax(most, value); /* a temperature, no error */
    }
    return count == 0 ? NAN : largest ? most : sum / count;
}

static status note_cpu(results *r, const char *when)
{
    TRY(note_number(r, "clock_cpu", when,
                    1e-3 *
                        numbers_in("/sys/devices/system/cpu/cpu", "/cpufreq/scaling_cur_freq", 0)));
    TRY(note_number(r, "temperature_cpu", when,
                    1e-3 * numbers_in("/sys/class/thermal/thermal_zone", "/temp", 1)));
    return note_number(r, "load", when, number_in("/proc/loadavg"));
}

/* NVML: 0 is success. */
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, SENSOR_GPU = 0 };

typedef struct nvml {
    void *nvml, *device;
    int (*clock)(void *device, int type, unsigned *mhz);
    int (*temperature)(void *device, int sensor, unsigned *celsius);
    int (*throttle)(void *device, unsigned long long *reasons);
    int (*shutdown)(void);
    char driver[96];
} nvml;

/* A function of the library; ISO C has no conversion from void * to it. */
static int find_function(const nvml *n, const char *name, void *to)
{
    void *symbol = dlsym(n->nvml, name);
    if (symbol) memcpy(to, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* The first device that this process sees, as far as a number says which. */
static unsigned first_device(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible && *visible >= '0' && *visible <= '9' ? (unsigned)atoi(visible) : 0;
}

static int nvml_open(nvml *n)
{
    int (*init)(void), (*handle)(unsigned, void **), (*version)(char *, unsigned);
    memset(n, 0, sizeof *n);
    n->nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!n->nvml) return 0;
    const int found = find_function(n, "nvmlInit_v2", &init) &&
                      find_function(n, "nvmlShutdown", &n->shutdown) &&
                      find_function(n, "nvmlDeviceGetHandleByIndex_v2", &handle) &&
                      find_function(n, "nvmlSystemGetDriverVersion", &version) &&
                      find_function(n, "nvmlDeviceGetClockInfo", &n->clock) &&
                      find_function(n, "nvmlDeviceGetTemperature", &n->temperature) &&
                      find_function(n, "nvmlDeviceGetCurrentClocksThrottleReasons", &n->throttle);
    if (!found || init() != 0) return dlclose(n->nvml), 0;
    if (version(n->driver, sizeof n->driver) != 0) *n->driver = '\0';
    if (handle(first_device(), &n->device) == 0) return 1;
    n->shutdown();
    return dlclose(n->nvml), 0;
}

static status note_device(results *r, const nvml *n, const char *when)
{
    unsigned value;
    unsigned long long reasons;
    if (n->clock(n->device, CLOCK_SM, &value) == 0) TRY(note_number(r, "clock_sm", when, value));
    if (n->clock(n->device, CLOCK_MEMORY, &value) == 0)
        TRY(note_number(r, "clock_memory", when, value));
    if (n->temperature(n->device, SENSOR_GPU, &value) == 0)
        TRY(note_number(r, "temperature", when, value));
    if (n->throttle(n->device, &reasons) == 0)
        TRY(note_number(r, "throttle", when, (double)reasons));
    return *n->driver ? results_attribute(r, "driver", n->driver) : OK;
}

status conditions_note(results *r, const char *when, int device)
{
    nvml n;
    if (!r) return OK;
    TRY(note_cpu(r, when));
    if (!device || !nvml_open(&n)) return OK;
    const status s = note_device(r, &n, when);
    n.shutdown();
    dlclose(n.nvml);
    return s;
}
