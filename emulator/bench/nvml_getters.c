/* Times getters, init and visibility of a change: nvml_getters LIBRARY. Prints one `name value unit` line each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) exit(1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

#define GETTER(name, ...)                                                                       \
    do {                                                                                        \
        int (*get)() = dlsym(library, name);                                                    \
        enum { TURNS = 5000000 };                                                               \
        double start = now();                                                                   \
        for (int turn = 0; turn < TURNS; turn++) get(__VA_ARGS__);                              \
        printf("%s %.1f ns\n", name, (now() - start) / TURNS);                                  \
    } while (0)

static void series(const char *name, double *samples, int count) {
    qsort(samples, (size_t)count, sizeof *samples, compare);
    printf("%s p50 %.1f us, p99 %.1f us\n", name, samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3);
}

int main(int count, char **arguments) {
    enum { INITS = 500, SETS = 2000 };
    static double samples[SETS];
    if (count != 2) return 2;
    long before = resident_kib();
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    int (*init)(void) = dlsym(library, "nvmlInit_v2"), (*stop)(void) = dlsym(library, "nvmlShutdown");
    int (*set)() = dlsym(library, "nvmlDeviceSetPersistenceMode"), (*handle)() = dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
    for (int turn = 0; turn < INITS; turn++) {
        double start = now();
        if (init()) return 1;
        samples[turn] = now() - start;
        stop();
    }
    series("init", samples, INITS);
    void *device;
    unsigned value[64];
    char text[96];
    init();
    handle(0, &device);
    GETTER("nvmlDeviceGetUUID", device, text, 96);
    GETTER("nvmlDeviceGetTemperature", device, 0, value);
    GETTER("nvmlDeviceGetMemoryInfo", device, value);
    GETTER("nvmlDeviceGetUtilizationRates", device, value);
    GETTER("nvmlDeviceGetPciInfo_v3", device, value);
    printf("resident memory added %ld KiB\n", resident_kib() - before);
    /* The reply comes after the pages were written: a command's time bounds when others see its effect. */
    for (int turn = 0; turn < SETS; turn++) {
        double start = now();
        if (set(device, turn & 1)) return 1;
        samples[turn] = now() - start;
    }
    series("set and visible", samples, SETS);
    return 0;
}
