/* The device nodes of GPUs: which of them this process may open, and those that nobody made yet. */

enum { NVIDIA_MAJOR = 195, CONTROL_MINOR = 255 };

/* A device node decides what a process sees. Without a kernel driver behind it, an allowed node answers ENXIO; one
 * that the container's device rules refuse answers EPERM. */
static bool may_open(const char *path) {
    int opened = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (opened >= 0) close(opened);
    return opened >= 0 || errno == ENXIO || errno == EROFS;
}

/* What the kernel module's parameters say of device nodes; nothing is made where they cannot be read. */
struct file_rules {
    int make;
    unsigned uid, gid, mode;
};

static struct file_rules read_file_rules(const char *root) {
    struct file_rules rules = {0, 0, 0, 0666};
    char path[PATHS + 64], line[256];
    snprintf(path, sizeof path, "%s/proc/driver/nvidia/params", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "ModifyDeviceFiles: %d", &rules.make);
        sscanf(line, "DeviceFileUID: %u", &rules.uid);
        sscanf(line, "DeviceFileGID: %u", &rules.gid);
        sscanf(line, "DeviceFileMode: %u", &rules.mode);
    }
    if (file) fclose(file);
    return rules;
}

/* Beside its place and linked into it: nobody meets a node with rights that it will not keep, and one that somebody
 * else made meanwhile stays. Whoever fails here sees one GPU less, as without this. */
static void make_node(const char *path, unsigned minor, const struct file_rules *rules) {
    char beside[PATHS + 96];
    snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid());
    unsigned device = (unsigned)makedev(NVIDIA_MAJOR, minor);
    if (syscall(SYS_mknodat, AT_FDCWD, beside, S_IFCHR | 0600, device)) return; /* mknod: glibc 2.33 */
    int failed = chown(beside, rules->uid, rules->gid) || chmod(beside, rules->mode) || link(beside, path);
    (void)failed;
    unlink(beside);
}

/* As NVIDIA's library does through nvidia-modprobe: what the driver has and /dev lacks, a privileged process makes, so
 * that the first use of a GPU after a boot works. ModifyDeviceFiles=0 forbids it, as container runtimes do. */
static void make_missing_nodes(const char *root) {
    char path[PATHS + 64];
    struct file_rules rules = geteuid() ? (struct file_rules){0} : read_file_rules(root);
    if (!rules.make) return;
    snprintf(path, sizeof path, "%s/dev/nvidiactl", root);
    if (access(path, F_OK)) make_node(path, CONTROL_MINOR, &rules);
    for (uint32_t slot = 0; slot < header()->gpu_count && slot < CW_CAPACITY; slot++) {
        if (!(load(&page_at(slot)->flags) & CW_LISTED)) continue;
        snprintf(path, sizeof path, "%s/dev/nvidia%u", root, load(&page_at(slot)->minor));
        if (!access(path, F_OK)) continue;
        make_node(path, load(&page_at(slot)->minor), &rules);
        /* The emulated node takes it away with the GPU, maybe between the two looks. */
        if (!(load(&page_at(slot)->flags) & CW_LISTED)) unlink(path);
    }
}

static void look_at_device_nodes(void) {
    char path[PATHS + 64];
    uint32_t topology = load(&header()->topology_generation), visible = 0;
    snprintf(path, sizeof path, "%s/dev/nvidiactl", driver_root);
    const char *root = access(path, F_OK) ? "" : driver_root;
    make_missing_nodes(root);
    for (uint32_t slot = 0; slot < header()->gpu_count && slot < CW_CAPACITY; slot++) {
        snprintf(path, sizeof path, "%s/dev/nvidia%u", root, load(&page_at(slot)->minor));
        if (may_open(path)) visible |= 1u << slot;
    }
    atomic_store(&node.seen, (uint64_t)topology << 32 | visible);
}
