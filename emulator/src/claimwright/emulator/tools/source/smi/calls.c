/* The library behind this program: found, loaded, and its calls looked up by name. */

enum result {
    OK = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    LIBRARY_NOT_FOUND = 12,
    FUNCTION_NOT_FOUND = 13,
    CORRUPTED_INFOROM = 14,
    GPU_IS_LOST = 15,
    RESET_REQUIRED = 16,
    LIB_RM_VERSION_MISMATCH = 18,
    IN_USE = 19,
};

static void *library;
static char driver_root[4096]; /* the folder that holds usr/bin/nvidia-smi; "" where this program lies elsewhere */
static char driver_version[80];
static unsigned driver_branch; /* 580105 for 580.105.08: which leaves exist, and how they are called, depends on it */

/* A record's version word: nvml.h's NVML_STRUCT_VERSION. */
#define VERSIONED(record, number) {.version = sizeof(record) | (unsigned)(number) << 24}

/* NULL where the library does not have it, as an older one would not. */
static void *find_call(const char *name) { return dlsym(library, name); }

/* Calls a function of the library by its name; FUNCTION_NOT_FOUND where it has none of that name. */
#define CALL(name, types, ...)                                                 \
    ({                                                                         \
        int (*called_) types = (int (*) types)find_call(name);                 \
        called_ ? called_(__VA_ARGS__) : (int)FUNCTION_NOT_FOUND;              \
    })

static const char *error_text(int result) {
    const char *(*text)(int) = (const char *(*)(int))find_call("nvmlErrorString");
    return text ? text(result) : "Unknown Error";
}

static int complain(int result) {
    if (result == GPU_IS_LOST)
        printf("Unable to determine the device handle: GPU is lost. Reboot the system to recover this GPU.\n");
    else
        printf("%s\n", error_text(result));
    return result;
}

static void find_driver_root(void) {
    char *slash = NULL;
    ssize_t length = readlink("/proc/self/exe", driver_root, sizeof driver_root - 1);
    driver_root[length < 0 ? 0 : length] = 0;
    for (int up = 0; up < 3 && (slash = strrchr(driver_root, '/')); up++) *slash = 0;
}

/* The library beside this program first: a machine may have a driver of its own. */
static void *open_library(void) {
    static const char *const folders[] = {"lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"};
    char path[4200];
    for (size_t at = 0; at < COUNT_OF(folders); at++) {
        snprintf(path, sizeof path, "%s/usr/%s/libnvidia-ml.so.1", driver_root, folders[at]);
        void *found = access(path, R_OK) ? NULL : dlopen(path, RTLD_LAZY);
        if (found) return found;
    }
    return dlopen("libnvidia-ml.so.1", RTLD_LAZY);
}

static void read_branch(void) {
    unsigned major = 0, minor = 0;
    CALL("nvmlSystemGetDriverVersion", (char *, unsigned), driver_version, sizeof driver_version);
    sscanf(driver_version, "%u.%u", &major, &minor);
    driver_branch = major * 1000 + (minor > 999 ? 999 : minor);
}

static int explain_start(int result) {
    if (result == DRIVER_NOT_LOADED)
        printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
               "NVIDIA driver is installed and running.\n\n");
    else
        printf("Failed to initialize NVML: %s\n", error_text(result));
    if (result == LIB_RM_VERSION_MISMATCH) printf("NVML library and kernel driver must be of the same version.\n");
    return result;
}

static int start_library(void) {
    find_driver_root();
    library = open_library();
    if (!library) {
        printf("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display "
               "Driver is properly installed and present in your system.\n");
        return LIBRARY_NOT_FOUND;
    }
    /* Without GPUs too: the caller hears "No devices were found". */
    int result = CALL("nvmlInitWithFlags", (unsigned), 1);
    if (result) return explain_start(result);
    read_branch();
    return OK;
}

static void stop_library(void) { CALL("nvmlShutdown", (void)); }
