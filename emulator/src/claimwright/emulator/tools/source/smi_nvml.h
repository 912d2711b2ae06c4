/* The NVML calls that nvidia-smi makes, found by name; which GPUs it was asked about. */
#pragma once

enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, GPU_NOT_FOUND = 28 };
enum { MOST_GPUS = 64 };

typedef int (*text_call)(void *, char *, unsigned);
typedef int (*number_call)(void *, unsigned *);
typedef int (*pair_call)(void *, unsigned *, unsigned *);
typedef int (*indexed_call)(void *, unsigned, unsigned *);

static struct {
    void *library;
    int (*start)(unsigned);
    int (*stop)(void);
    const char *(*error)(int);
    int (*driver_version)(char *, unsigned);
    int (*library_version)(char *, unsigned);
    int (*cuda_version)(int *);
    int (*count)(unsigned *);
    int (*by_index)(unsigned, void **);
    int (*by_text[3])(const char *, void **);
    text_call name, uuid;
    number_call index;
} nvml;

static void *chosen[MOST_GPUS];
static unsigned chosen_count;

static void *call(const char *name) {
    void *found = dlsym(nvml.library, name);
    if (!found) {
        fprintf(stderr, "Failed to initialize NVML: Function Not Found (%s)\n", name);
        exit(13);
    }
    return found;
}

static int complain(int result) {
    printf("%s\n", nvml.error(result));
    return result;
}

/* The library beside this program first: a machine may have a driver of its own. */
static void *open_library(void) {
    static const char *const folders[] = {"lib/x86_64-linux-gnu", "lib64", "lib"};
    char self[4096], path[4300];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length < 0 ? 0 : length] = 0;
    char *slash = NULL;
    for (int up = 0; up < 2 && (slash = strrchr(self, '/')); up++) *slash = 0; /* from usr/bin/nvidia-smi to usr */
    for (size_t at = 0; slash && at < sizeof folders / sizeof *folders; at++) {
        snprintf(path, sizeof path, "%s/%s/libnvidia-ml.so.1", self, folders[at]);
        void *library = access(path, R_OK) ? NULL : dlopen(path, RTLD_LAZY);
        if (library) return library;
    }
    return dlopen("libnvidia-ml.so.1", RTLD_LAZY);
}

static void find_calls(void) {
    nvml.start = call("nvmlInitWithFlags");
    nvml.stop = call("nvmlShutdown");
    nvml.error = call("nvmlErrorString");
    nvml.driver_version = call("nvmlSystemGetDriverVersion");
    nvml.library_version = call("nvmlSystemGetNVMLVersion");
    nvml.cuda_version = call("nvmlSystemGetCudaDriverVersion_v2");
    nvml.count = call("nvmlDeviceGetCount_v2");
    nvml.by_index = call("nvmlDeviceGetHandleByIndex_v2");
    nvml.by_text[0] = call("nvmlDeviceGetHandleByUUID");
    nvml.by_text[1] = call("nvmlDeviceGetHandleByPciBusId_v2");
    nvml.by_text[2] = call("nvmlDeviceGetHandleBySerial");
    nvml.name = call("nvmlDeviceGetName");
    nvml.uuid = call("nvmlDeviceGetUUID");
    nvml.index = call("nvmlDeviceGetIndex");
}

static int start_nvml(void) {
    nvml.library = open_library();
    if (!nvml.library) {
        printf("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display "
               "Driver is properly installed and present in your system.\n");
        return 12;
    }
    find_calls();
    int result = nvml.start(1); /* without GPUs too: the caller hears "No devices were found" */
    if (result == DRIVER_NOT_LOADED)
        printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
               "NVIDIA driver is installed and running.\n\n");
    else if (result)
        printf("Failed to initialize NVML: %s\n", nvml.error(result));
    return result;
}

static int find_gpu(const char *id, void **out) {
    char *end;
    unsigned long index = strtoul(id, &end, 10);
    if (*id && !*end && strlen(id) < 4) return nvml.by_index((unsigned)index, out);
    int result = NOT_FOUND;
    for (size_t at = 0; at < 3 && result; at++) result = nvml.by_text[at](id, out);
    return result;
}

static int choose_listed(const char *ids) {
    char *copy = strdup(ids), *rest = copy;
    for (char *id; (id = strsep(&rest, ",")) && chosen_count < MOST_GPUS;) {
        if (find_gpu(id, &chosen[chosen_count])) {
            printf("No devices were found\n");
            free(copy);
            return 6;
        }
        chosen_count++;
    }
    free(copy);
    return 0;
}

static int choose(const char *ids) {
    if (ids) return choose_listed(ids);
    unsigned count = 0;
    int result = nvml.count(&count);
    if (result) return complain(result);
    for (unsigned index = 0; index < count && index < MOST_GPUS; index++)
        if (!nvml.by_index(index, &chosen[chosen_count])) chosen_count++;
    if (chosen_count) return 0;
    printf("No devices were found\n");
    return 6;
}
