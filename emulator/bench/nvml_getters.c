/* Times the library from outside: nvml_getters LIBRARY ROUNDS. Prints one `name value unit` line each.
 *
 * Other work on the machine only ever adds time, so every figure is the best of ROUNDS short rounds: a getter's mean
 * over a round, and the median of a round for what takes microseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 50000, SAMPLES = 100 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* KiB of this process that are in memory, without the C library's: it is mapped in any case, and how many of its pages
 * come in with the first call of a function is the kernel's choice. */
static long resident_kib(void) {
    char line[512];
    long found = 0;
    int counts = 1;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strchr("0123456789abcdef", line[0]) && strchr(line, '-')) counts = !strstr(line, "/libc.so");
        if (counts && !strncmp(line, "Rss:", 4)) found += atol(line + 4);
    }
    if (file) fclose(file);
    return found;
}

/* A number after a name in a file of /proc/self. */
static long told(const char *path, const char *name) {
    char line[256];
    long found = -1;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) found = atol(line + strlen(name));
    if (file) fclose(file);
    return found;
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double median(double *samples) {
    qsort(samples, SAMPLES, sizeof *samples, compare);
    return samples[SAMPLES / 2];
}

static int rounds;
static void *library;

#define GETTER(name, ...)                                                       \
    do {                                                                        \
        int (*get)() = (int (*)())dlsym(library, name);                         \
        double best = 1e18;                                                     \
        for (int round = 0; round < rounds; round++) {                          \
            double start = now();                                               \
            for (int turn = 0; turn < TURNS; turn++) get(__VA_ARGS__);          \
            double took = (now() - start) / TURNS;                              \
            if (took < best) best = took;                                       \
        }                                                                       \
        printf("%s %.1f ns\n", name, best);                                     \
    } while (0)

#define SERIES(name, action)                                                    \
    do {                                                                        \
        double samples[SAMPLES], best = 1e18;                                   \
        for (int round = 0; round < rounds; round++) {                          \
            for (int turn = 0; turn < SAMPLES; turn++) {                        \
                double start = now();                                           \
                action;                                                         \
                samples[turn] = now() - start;                                  \
            }                                                                   \
            double middle = median(samples);                                    \
            if (middle < best) best = middle;                                   \
        }                                                                       \
        printf("%s p50 %.1f us\n", name, best / 1e3);                           \
    } while (0)

struct shared { _Atomic int wanted, ended; _Atomic double seen; };

/* Another process looks at the mode all the time, and notes when it sees the wanted one. */
static void watch(struct shared *shared, int (*init)(void)) {
    int (*find)() = (int (*)())dlsym(library, "nvmlDeviceGetHandleByIndex_v2"), (*get)() = (int (*)())dlsym(library, "nvmlDeviceGetPersistenceMode");
    void *device;
    int mode = 0, last = -1;
    if (init() || find(0, &device)) _exit(1);
    while (!atomic_load(&shared->ended)) {
        get(device, &mode);
        if (mode != last && mode == atomic_load(&shared->wanted)) atomic_store(&shared->seen, now()), last = mode;
    }
    _exit(0);
}

static double until_seen(struct shared *shared, int (*set)(), void *device, int mode) {
    atomic_store(&shared->wanted, mode);
    atomic_store(&shared->seen, 0);
    double start = now();
    if (set(device, mode)) exit(1);
    for (double until = start + 1e9; !atomic_load(&shared->seen) && now() < until;) {}
    return atomic_load(&shared->seen) - start;
}

static void visibility(struct shared *shared, int (*set)(), void *device) {
    double samples[SAMPLES], best = 1e18;
    for (int round = 0; round < (rounds + 3) / 4; round++) {
        for (int turn = 0; turn < SAMPLES; turn++) samples[turn] = until_seen(shared, set, device, turn & 1);
        double middle = median(samples);
        if (middle < best) best = middle;
    }
    printf("seen by another process p50 %.1f us\n", best / 1e3);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    rounds = atoi(arguments[2]);
    resident_kib(); /* its buffers are there from now on */
    long before = resident_kib();
    library = dlopen(arguments[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    int (*init)(void) = (int (*)(void))dlsym(library, "nvmlInit_v2"), (*stop)(void) = (int (*)(void))dlsym(library, "nvmlShutdown");
    int (*set)() = (int (*)())dlsym(library, "nvmlDeviceSetPersistenceMode"), (*handle)() = (int (*)())dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
    if (init()) return 1;
    printf("resident memory added %ld KiB\n", resident_kib() - before);
    printf("threads added %ld\n", told("/proc/self/status", "Threads:") - 1);
    stop();
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t watcher = fork();
    if (!watcher) watch(shared, init);
    void *device;
    if (init() || handle(0, &device)) return 1;
    visibility(shared, set, device);
    atomic_store(&shared->ended, 1);
    waitpid(watcher, NULL, 0);
    stop();
    double spent = 0;
    SERIES("init", ({ if (init()) return 1; spent = now(); stop(); start += now() - spent; }));
    init();
    unsigned value[64];
    char text[96];
    GETTER("nvmlDeviceGetUUID", device, text, 96);
    GETTER("nvmlDeviceGetTemperature", device, 0, value);
    GETTER("nvmlDeviceGetMemoryInfo", device, value);
    GETTER("nvmlDeviceGetUtilizationRates", device, value);
    GETTER("nvmlDeviceGetPciInfo_v3", device, value);
    SERIES("set and visible", if (set(device, turn & 1)) return 1);
    return 0;
}
