/* libcuda.so.1 of an emulated node: enough to count and name devices, answered through NVML. There is no silicon, so
 * nothing here makes contexts: everything else of the driver API is absent, and a program that needs it fails to link. */

#include <dlfcn.h>
#include <stddef.h>

enum { CUDA_SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, UNKNOWN = 999 };

#define EXPORTED __attribute__((visibility("default")))

typedef int (*any_function)();

static int initialised;

static any_function nvml(const char *name) {
    static void *library;
    if (!library) library = dlopen("libnvidia-ml.so.1", RTLD_LAZY);
    return library ? (any_function)dlsym(library, name) : NULL;
}

static int count_devices(unsigned *count) {
    any_function ask = nvml("nvmlDeviceGetCount_v2");
    return ask && ask(count) == 0 ? CUDA_SUCCESS : UNKNOWN;
}

EXPORTED int cuInit(unsigned flags) {
    unsigned count = 0;
    if (flags) return INVALID_VALUE;
    any_function start = nvml("nvmlInit_v2");
    if (!start || start() || count_devices(&count) || !count) return NO_DEVICE;
    initialised = 1;
    return CUDA_SUCCESS;
}

EXPORTED int cuDriverGetVersion(int *version) {
    any_function ask = nvml("nvmlSystemGetCudaDriverVersion_v2");
    if (!version) return INVALID_VALUE;
    any_function start = nvml("nvmlInitWithFlags"), stop = nvml("nvmlShutdown");
    if (!ask || !start || !stop || start(1)) return UNKNOWN; /* 1: without GPUs too */
    int failed = ask(version);
    stop();
    return failed ? UNKNOWN : CUDA_SUCCESS;
}

EXPORTED int cuDeviceGetCount(int *count) {
    unsigned found = 0;
    if (!initialised) return NOT_INITIALIZED;
    if (!count) return INVALID_VALUE;
    if (count_devices(&found)) return UNKNOWN;
    *count = (int)found;
    return CUDA_SUCCESS;
}

EXPORTED int cuDeviceGet(int *device, int ordinal) {
    int count = 0;
    int failed = cuDeviceGetCount(&count);
    if (failed) return failed;
    if (!device) return INVALID_VALUE;
    if (ordinal < 0 || ordinal >= count) return INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

EXPORTED int cuDeviceGetName(char *name, int length, int device) {
    void *handle = NULL;
    if (!initialised) return NOT_INITIALIZED;
    if (!name || length <= 0) return INVALID_VALUE;
    if (nvml("nvmlDeviceGetHandleByIndex_v2")(device, &handle)) return INVALID_DEVICE;
    return nvml("nvmlDeviceGetName")(handle, name, (unsigned)length) ? INVALID_VALUE : CUDA_SUCCESS;
}
