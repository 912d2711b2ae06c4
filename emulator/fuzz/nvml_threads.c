/* Honest calls from many threads at once: nvml_threads LIBRARY TURNS. Built with ThreadSanitizer it tells of races. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 6 };
static void *library;
static int turns;

#define CALL(name, ...) ((int (*)())dlsym(library, #name))(__VA_ARGS__)

static void *work(void *unused) {
    (void)unused;
    for (int turn = 0; turn < turns; turn++) {
        void *device = NULL, *set = NULL, *sample = NULL;
        unsigned value[64];
        char text[96];
        if (CALL(nvmlInit_v2)) exit(3);
        if (CALL(nvmlDeviceGetHandleByIndex_v2, turn % 4, &device)) exit(4);
        CALL(nvmlDeviceGetUUID, device, text, 96);
        CALL(nvmlDeviceGetTemperature, device, 0, value);
        CALL(nvmlDeviceGetMemoryInfo, device, value);
        if (CALL(nvmlDeviceSetPersistenceMode, device, turn & 1)) exit(5);
        if (CALL(nvmlEventSetCreate, &set) == 0) {
            CALL(nvmlDeviceRegisterEvents, device, 8ul, set);
            CALL(nvmlEventSetWait_v2, set, value, 0);
            CALL(nvmlEventSetFree, set);
        }
        if (CALL(nvmlGpmSampleAlloc, &sample) == 0) {
            CALL(nvmlGpmSampleGet, device, sample);
            CALL(nvmlGpmSampleFree, sample);
        }
        if (CALL(nvmlShutdown)) exit(6);
    }
    return NULL;
}

int main(int count, char **given) {
    if (count != 3) return 2;
    library = dlopen(given[1], RTLD_NOW);
    turns = atoi(given[2]);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++) pthread_create(&threads[index], NULL, work, NULL);
    for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
    printf("done\n");
    return 0;
}
