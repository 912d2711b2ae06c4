/* What a container can really reach: printed as one JSON line, then (without --once) a wait for SIGTERM.
 *
 * Questions that are each answered by the kernel or by NVML and by nothing that the driver says of itself:
 *   nodes    every /dev/nvidia<N> that is there, and what open() says. ENXIO: allowed, no kernel driver behind it.
 *   foreign  for N of 0..15 without a node, one is made in a scratch folder and opened: EPERM means that the
 *            device cgroup forbids it, ENXIO that the container could reach a GPU that it was not given.
 *   gpus     what NVML (dlopen of libnvidia-ml.so.1 by its plain name) counts, with UUIDs.
 *   parts    the UUIDs of the MIG devices that NVML finds in these GPUs.
 *   special  every node below /dev/vfio, /dev/nvidia-caps and /dev/nvidia-caps-imex-channels, and /dev/iommu, with what
 *            open() said.
 *   strangers  of each kind of special node that is there, up to 512 others are made and opened like `foreign`: how
 *            often open() said what.
 *   mps      whether the control daemon's socket in CUDA_MPS_PIPE_DIRECTORY takes a connection; empty without one.
 *   metadata every file below the folder of KEP-5304, with its text, and whether this process may write to it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    NVIDIA_MAJOR = 195,
    MISC_MAJOR = 10, /* /dev/vfio/vfio and /dev/iommu, whose neighbours are anything */
    MAX_MINOR = 16,
    MAX_PARTS = 8,
    MAX_GIVEN = 64,
    STRANGERS = 512,
    UUID_SIZE = 96,
    NAME_SIZE = 96,
};

static const char metadata_folder[] = "/var/run/kubernetes.io/dra-device-attributes";

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

typedef void (*file_fn)(const char *path);

static int files_printed;

/* Print what `print` says of each file below a folder, in no order. */
static void print_files(const char *folder, file_fn print)
{
    DIR *open_folder = opendir(folder);
    if (!open_folder)
        return;
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        char path[PATH_MAX];
        struct stat status;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &status) != 0)
            continue;
        if (S_ISDIR(status.st_mode))
            print_files(path, print);
        else
            print(path);
    }
    closedir(open_folder);
}

static size_t root_length;
static dev_t given[MAX_GIVEN];
static int givens;

static void print_special(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISCHR(status.st_mode) && givens < MAX_GIVEN)
        given[givens++] = status.st_rdev;
    printf("%s\"%s\":\"%s\"", files_printed++ ? "," : "", path + root_length, open_outcome(path));
}

static void print_special_nodes(const char *dev)
{
    char path[PATH_MAX];
    files_printed = 0;
    printf("\"special\":{");
    snprintf(path, sizeof path, "%s/vfio", dev);
    print_files(path, print_special);
    snprintf(path, sizeof path, "%s/nvidia-caps", dev);
    print_files(path, print_special);
    snprintf(path, sizeof path, "%s/nvidia-caps-imex-channels", dev);
    print_files(path, print_special);
    snprintf(path, sizeof path, "%s/iommu", dev);
    if (access(path, F_OK) == 0)
        print_special(path);
    printf("},");
}

static int is_given(dev_t device)
{
    for (int index = 0; index < givens; index++)
        if (given[index] == device)
            return 1;
    return 0;
}

static int is_first_of_its_major(int index)
{
    for (int earlier = 0; earlier < index; earlier++)
        if (major(given[earlier]) == major(given[index]))
            return 0;
    return major(given[index]) != MISC_MAJOR;
}

/* Outcomes are few: EPERM where all is well, and whatever else tells of a leak. */
static void count_outcome(const char *outcome, const char **known, int *counts, int most)
{
    for (int index = 0; index < most; index++) {
        if (known[index] && strcmp(known[index], outcome) != 0)
            continue;
        known[index] = outcome;
        counts[index]++;
        return;
    }
}

static void print_strangers(const char *scratch)
{
    const char *known[8] = {0};
    int counts[8] = {0};
    for (int index = 0; index < givens; index++) {
        if (!is_first_of_its_major(index))
            continue;
        for (unsigned minor_number = 0; minor_number < STRANGERS; minor_number++) {
            dev_t device = makedev(major(given[index]), minor_number);
            char made[PATH_MAX];
            if (is_given(device))
                continue;
            snprintf(made, sizeof made, "%s/probe-stranger", scratch);
            unlink(made);
            int failed = mknod(made, S_IFCHR | 0666, device);
            count_outcome(failed ? "mknod-refused" : open_outcome(made), known, counts, 8);
            unlink(made);
        }
    }
    printf("\"strangers\":{");
    for (int index = 0; index < 8 && known[index]; index++)
        printf("%s\"%s\":%d", index ? "," : "", known[index], counts[index]);
    printf("},");
}

static void print_text(FILE *file)
{
    for (int letter; (letter = fgetc(file)) != EOF;) {
        if (letter == '"' || letter == '\\')
            printf("\\%c", letter);
        else if (letter < 0x20)
            printf("\\u%04x", letter);
        else
            putchar(letter);
    }
}

static void print_metadata_file(const char *path)
{
    FILE *file = fopen(path, "r");
    printf("%s\"%s\":{\"writable\":%s,\"text\":\"", files_printed++ ? "," : "", path + root_length + sizeof metadata_folder,
           access(path, W_OK) == 0 ? "true" : "false");
    if (file) {
        print_text(file);
        fclose(file);
    }
    printf("\"}");
}

static void print_metadata(const char *root)
{
    char folder[PATH_MAX];
    files_printed = 0;
    printf("\"metadata\":{");
    snprintf(folder, sizeof folder, "%s%s", root, metadata_folder);
    print_files(folder, print_metadata_file);
    printf("},");
}

static void print_mps(void)
{
    const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");
    const char *outcome = "";
    if (folder) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        snprintf(address.sun_path, sizeof address.sun_path, "%s/control", folder);
        outcome = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? "connected" : strerrorname_np(errno);
        close(fd);
    }
    printf("\"mps\":\"%s\",", outcome);
}

typedef int (*init_fn)(void);
typedef int (*count_fn)(unsigned *);
typedef int (*handle_fn)(unsigned, void **);
typedef int (*text_fn)(void *, char *, unsigned);
typedef int (*part_fn)(void *, unsigned, void **);

/* GPUs that are not in MIG mode, and places without a MIG device, answer an error. */
static void print_parts(void *nvml, unsigned gpus, handle_fn handle, text_fn uuid)
{
    part_fn part = (part_fn)dlsym(nvml, "nvmlDeviceGetMigDeviceHandleByIndex");
    const char *separator = "";
    printf("\"parts\":[");
    for (unsigned index = 0; part && index < gpus * MAX_PARTS; index++) {
        void *device = NULL, *found = NULL;
        char id[UUID_SIZE] = "";
        if (handle(index / MAX_PARTS, &device) != 0 || part(device, index % MAX_PARTS, &found) != 0)
            continue;
        uuid(found, id, sizeof id);
        printf("%s\"%s\"", separator, id);
        separator = ",";
    }
    printf("],");
}

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
    print_parts(nvml, counted == 0 ? gpus : 0, handle, uuid);
}

static void stop(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(int argc, char **argv)
{
    int once = argc > 1 && strcmp(argv[1], "--once") == 0;
    const char *root = getenv("PROBE_ROOT") ? getenv("PROBE_ROOT") : "";
    char dev[1024];
    const char *scratch = getenv("PROBE_SCRATCH");
    signal(SIGTERM, stop); /* process 1 of a container ignores what it does not handle */
    signal(SIGINT, stop);
    root_length = strlen(root);
    snprintf(dev, sizeof dev, "%s/dev", root);
    printf("{");
    print_nodes(dev);
    if (scratch)
        print_foreign(dev, scratch);
    print_special_nodes(dev);
    if (scratch)
        print_strangers(scratch);
    print_metadata(root);
    print_mps();
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
