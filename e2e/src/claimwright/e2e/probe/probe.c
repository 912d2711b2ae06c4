/* What a container can really reach: printed as one JSON line, then (without --once) a wait for SIGTERM.
 *
 * Three questions, each answered by the kernel or by NVML and by nothing that the driver says of itself:
 *   nodes    every /dev/nvidia<N> that is there, and what open() says. ENXIO: allowed, no kernel driver behind it.
 *   foreign  for N of 0..15 without a node, one is made in a scratch folder and opened: EPERM means that the
 *            device cgroup forbids it, ENXIO that the container could reach a GPU that it was not given.
 *   gpus     what NVML (dlopen of libnvidia-ml.so.1 by its plain name) counts, with UUIDs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { NVIDIA_MAJOR = 195, MAX_MINOR = 16, UUID_SIZE = 96, NAME_SIZE = 96 };

static const char *open_outcome(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return "opened";
    }
    return strerrorname_np(errno);
}

static void print_nodes(const char *dev)
{
    const char *separator = "";
    printf("\"nodes\":{");
    for (int minor = 0; minor < MAX_MINOR; minor++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/nvidia%d", dev, minor);
        if (access(path, F_OK) != 0)
            continue;
        printf("%s\"%d\":\"%s\"", separator, minor, open_outcome(path));
        separator = ",";
    }
    printf("},");
}

static void print_foreign(const char *dev, const char *scratch)
{
    const char *separator = "";
    printf("\"foreign\":{");
    for (int minor = 0; minor < MAX_MINOR; minor++) {
        char own[4096], made[4096];
        snprintf(own, sizeof own, "%s/nvidia%d", dev, minor);
        if (access(own, F_OK) == 0)
            continue;
        snprintf(made, sizeof made, "%s/probe-nvidia%d", scratch, minor);
        unlink(made);
        const char *outcome = mknod(made, S_IFCHR | 0666, makedev(NVIDIA_MAJOR, minor)) == 0
            ? open_outcome(made) : "mknod-refused";
        printf("%s\"%d\":\"%s\"", separator, minor, outcome);
        separator = ",";
        unlink(made);
    }
    printf("},");
}

typedef int (*init_fn)(void);
typedef int (*count_fn)(unsigned *);
typedef int (*handle_fn)(unsigned, void **);
typedef int (*text_fn)(void *, char *, unsigned);

static void print_gpus(void *nvml)
{
    init_fn init = (init_fn)dlsym(nvml, "nvmlInit_v2");
    count_fn count = (count_fn)dlsym(nvml, "nvmlDeviceGetCount_v2");
    handle_fn handle = (handle_fn)dlsym(nvml, "nvmlDeviceGetHandleByIndex_v2");
    text_fn uuid = (text_fn)dlsym(nvml, "nvmlDeviceGetUUID");
    text_fn name = (text_fn)dlsym(nvml, "nvmlDeviceGetName");
    if (!init || !count || !handle || !uuid || !name) {
        printf("\"nvml\":\"symbols missing\",\"gpus\":[],");
        return;
    }
    unsigned gpus = 0;
    int started = init();
    int counted = started == 0 ? count(&gpus) : started;
    printf("\"nvml\":\"%d\",\"gpus\":[", counted);
    for (unsigned index = 0; counted == 0 && index < gpus; index++) {
        void *device = NULL;
        char id[UUID_SIZE] = "", product[NAME_SIZE] = "";
        handle(index, &device);
        uuid(device, id, sizeof id);
        name(device, product, sizeof product);
        printf("%s{\"uuid\":\"%s\",\"name\":\"%s\"}", index ? "," : "", id, product);
    }
    printf("],");
}

static void stop(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(int argc, char **argv)
{
    int once = argc > 1 && strcmp(argv[1], "--once") == 0;
    const char *dev = getenv("PROBE_DEV") ? getenv("PROBE_DEV") : "/dev";
    const char *scratch = getenv("PROBE_SCRATCH");
    signal(SIGTERM, stop); /* process 1 of a container ignores what it does not handle */
    signal(SIGINT, stop);
    printf("{");
    print_nodes(dev);
    if (scratch)
        print_foreign(dev, scratch);
    void *nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (nvml)
        print_gpus(nvml);
    else
        printf("\"nvml\":\"no library\",\"gpus\":[],");
    const char *visible = getenv("NVIDIA_VISIBLE_DEVICES");
    printf("\"visible_devices\":\"%s\"}\n", visible ? visible : "");
    fflush(stdout);
    while (!once)
        pause();
    return 0;
}
