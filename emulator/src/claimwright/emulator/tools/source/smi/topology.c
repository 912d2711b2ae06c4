/* nvidia-smi topo: how GPUs and network ports lie to each other. GPUs from NVML; ports, as the real tool does, from sysfs. */

enum { MOST_PORTS = 32, PATH_DEPTH = 24 };
enum level { SELF = 0, SINGLE = 10, MULTIPLE = 20, HOSTBRIDGE = 30, SAME_NODE = 40, SYSTEM = 50 };

struct place {
    char path[512]; /* of sysfs, from its PCI root on: "pci0000:50/0000:50:01.0/..." */
    int numa;
};

struct port {
    char name[64];
    struct place place;
};

static struct port ports[MOST_PORTS];
static unsigned port_count;
static char sysfs[4300]; /* where sys/ is: a node without mounts keeps it beside its driver root */

static void find_sysfs(void) {
    char rendered[4200];
    snprintf(rendered, sizeof rendered, "%s/../host-root/sys", driver_root);
    snprintf(sysfs, sizeof sysfs, "%s", access(rendered, R_OK) ? "/sys" : rendered);
}

static int read_integer(const char *path, int otherwise) {
    FILE *file = fopen(path, "re");
    int number = otherwise;
    if (!file) return otherwise;
    if (fscanf(file, "%d", &number) != 1) number = otherwise;
    fclose(file);
    return number;
}

static bool find_place(const char *device, struct place *out) {
    char path[PATH_MAX], numa[PATH_MAX + 16];
    memset(out, 0, sizeof *out);
    if (!realpath(device, path)) return false;
    snprintf(numa, sizeof numa, "%s/numa_node", path);
    out->numa = read_integer(numa, -1);
    const char *root = strstr(path, "/pci");
    snprintf(out->path, sizeof out->path, "%s", root ? root + 1 : "");
    return root != NULL;
}

static bool gpu_place(void *gpu, struct place *out) {
    char device[4400];
    struct pci_info pci = {0};
    CALL("nvmlDeviceGetPciInfo_v3", (void *, void *), gpu, &pci);
    snprintf(device, sizeof device, "%s/bus/pci/devices/%04x:%02x:%02x.0", sysfs, pci.domain, pci.bus, pci.device);
    return find_place(device, out);
}

static int by_name(const void *first, const void *second) {
    return strverscmp(((const struct port *)first)->name, ((const struct port *)second)->name);
}

static void find_ports(void) {
    char folder[4400], device[4800];
    snprintf(folder, sizeof folder, "%s/class/infiniband", sysfs);
    DIR *open = opendir(folder);
    if (!open) return;
    for (struct dirent *entry; (entry = readdir(open)) && port_count < MOST_PORTS;) {
        if (*entry->d_name == '.') continue;
        struct port *port = &ports[port_count];
        snprintf(port->name, sizeof port->name, "%.63s", entry->d_name);
        snprintf(device, sizeof device, "%s/%s/device", folder, entry->d_name);
        port_count += find_place(device, &port->place);
    }
    closedir(open);
    qsort(ports, port_count, sizeof *ports, by_name);
}

static int split_path(char *path, char *parts[PATH_DEPTH]) {
    int count = 0;
    for (char *part; count < PATH_DEPTH && (part = strsep(&path, "/"));) parts[count++] = part;
    return count;
}

/* One bridge chip below the meeting point is a switch's two halves: PIX; more is PXB. The model counts alike. */
static enum level level_between(const struct place *first, const struct place *second) {
    char paths[2][512], *parts[2][PATH_DEPTH];
    snprintf(paths[0], sizeof paths[0], "%s", first->path);
    snprintf(paths[1], sizeof paths[1], "%s", second->path);
    int counts[2] = {split_path(paths[0], parts[0]), split_path(paths[1], parts[1])}, shared = 0;
    while (shared < counts[0] && shared < counts[1] && !strcmp(parts[0][shared], parts[1][shared])) shared++;
    int deepest = counts[0] > counts[1] ? counts[0] : counts[1];
    if (shared == counts[0] && shared == counts[1]) return SELF;
    if (shared > 1) return deepest - shared <= 2 ? SINGLE : MULTIPLE;
    if (shared == 1) return HOSTBRIDGE;
    return first->numa == second->numa ? SAME_NODE : SYSTEM;
}

static const char *level_name(unsigned level) {
    static const char *const names[] = {"X", "PIX", "PXB", "PHB", "NODE", "SYS"};
    return level <= SYSTEM ? names[level / 10] : "N/A";
}

static unsigned links_of(void *gpu, unsigned *actives) {
    unsigned count = 0;
    *actives = 0;
    for (unsigned link = 0; link < 36; link++) {
        unsigned active = 0;
        if (CALL("nvmlDeviceGetNvLinkState", (void *, unsigned, unsigned *), gpu, link, &active)) break;
        count++;
        *actives += active;
    }
    return count;
}

/* Bonded links between two GPUs: those that lead there, or, through switches, the fewer of both sides. */
static unsigned bonded(void *first, void *second) {
    enum { BY_NVLINK = 2 };
    unsigned status = 1, direct = 0, mine, its;
    struct pci_info other = {0}, remote;
    CALL("nvmlDeviceGetP2PStatus", (void *, void *, unsigned, unsigned *), first, second, (unsigned)BY_NVLINK, &status);
    if (status) return 0;
    CALL("nvmlDeviceGetPciInfo_v3", (void *, void *), second, &other);
    unsigned count = links_of(first, &mine);
    links_of(second, &its);
    for (unsigned link = 0; link < count; link++)
        direct += !CALL("nvmlDeviceGetNvLinkRemotePciInfo_v2", (void *, unsigned, void *), first, link, &remote) &&
                  !strcmp(remote.bus_id, other.bus_id);
    return direct ? direct : mine < its ? mine : its;
}

static void write_relation(void *first, void *second, char *out, size_t size) {
    unsigned level = UINT_MAX, links = first == second ? 0 : bonded(first, second);
    CALL("nvmlDeviceGetTopologyCommonAncestor", (void *, void *, unsigned *), first, second, &level);
    if (first == second)
        snprintf(out, size, " X ");
    else if (links)
        snprintf(out, size, "NV%u", links);
    else
        snprintf(out, size, "%s", level_name(level));
}

/* A mask of numbers as Linux writes them: 0-3,8. */
static void write_list(const unsigned long *mask, size_t words, char *out, size_t size) {
    size_t used = 0, bits = words * 8 * sizeof *mask;
    *out = 0;
    for (size_t at = 0; at < bits && used < size; at++) {
        size_t from = at;
        if (!(mask[at / 64] >> at % 64 & 1)) continue;
        while (at + 1 < bits && mask[(at + 1) / 64] >> (at + 1) % 64 & 1) at++;
        used += (size_t)snprintf(out + used, size - used, from == at ? "%s%zu" : "%s%zu-%zu", used ? "," : "", from, at);
    }
    if (!*out) snprintf(out, size, "N/A");
}

static void put_affinity(void *gpu) {
    unsigned long cpus[16] = {0}, nodes[4] = {0};
    unsigned memory = 0;
    char text[512];
    CALL("nvmlDeviceGetCpuAffinity", (void *, unsigned, unsigned long *), gpu, (unsigned)COUNT_OF(cpus), cpus);
    CALL("nvmlDeviceGetMemoryAffinity", (void *, unsigned, unsigned long *, unsigned), gpu, (unsigned)COUNT_OF(nodes), nodes,
         0u);
    write_list(cpus, COUNT_OF(cpus), text, sizeof text);
    printf("\t%s", text);
    write_list(nodes, COUNT_OF(nodes), text, sizeof text);
    int result = CALL("nvmlDeviceGetNumaNodeId", (void *, unsigned *), gpu, &memory);
    printf("\t%s\t\t", text);
    printf(result ? "N/A" : "%u", memory);
}

static void put_legend(void) {
    puts("\nLegend:\n\n  X    = Self\n"
         "  SYS  = Over PCIe and the interconnect between NUMA nodes (QPI, UPI)\n"
         "  NODE = Over PCIe and the interconnect between host bridges of a NUMA node\n"
         "  PHB  = Over PCIe and a host bridge (usually the CPU)\n"
         "  PXB  = Over several PCIe bridges, without a host bridge\n"
         "  PIX  = Over at most one PCIe bridge\n"
         "  NV#  = Over a bonded set of # NVLinks");
    if (port_count) puts("\nNIC Legend:\n");
    for (unsigned at = 0; at < port_count; at++) printf("  NIC%u: %s\n", at, ports[at].name);
}

static int show_matrix(void) {
    struct place places[MOST_GPUS];
    char text[32];
    find_sysfs();
    find_ports();
    for (unsigned at = 0; at < chosen_count; at++)
        if (!gpu_place(chosen[at], &places[at])) port_count = 0; /* a sysfs that knows nothing of this node */
    for (unsigned at = 0; at < chosen_count; at++) printf("\tGPU%u", index_of(chosen[at]));
    for (unsigned at = 0; at < port_count; at++) printf("\tNIC%u", at);
    puts("\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID");
    for (unsigned row = 0; row < chosen_count; row++) {
        printf("GPU%u", index_of(chosen[row]));
        for (unsigned at = 0; at < chosen_count; at++) {
            write_relation(chosen[row], chosen[at], text, sizeof text);
            printf("\t%s", text);
        }
        for (unsigned at = 0; at < port_count; at++) printf("\t%s", level_name(level_between(&places[row], &ports[at].place)));
        put_affinity(chosen[row]);
        puts("");
    }
    for (unsigned row = 0; row < port_count; row++) {
        printf("NIC%u", row);
        for (unsigned at = 0; at < chosen_count; at++) printf("\t%s", level_name(level_between(&ports[row].place, &places[at])));
        for (unsigned at = 0; at < port_count; at++)
            printf("\t%s", at == row ? " X " : level_name(level_between(&ports[row].place, &ports[at].place)));
        puts("");
    }
    put_legend();
    return OK;
}

/* -p: the nearest common ancestor in PCIe alone, for each pair. */
static int show_pairs(void) {
    for (unsigned one = 0; one < chosen_count; one++)
        for (unsigned other = one + 1; other < chosen_count; other++) {
            unsigned level = UINT_MAX;
            CALL("nvmlDeviceGetTopologyCommonAncestor", (void *, void *, unsigned *), chosen[one], chosen[other], &level);
            printf("GPU %u and GPU %u are connected by: %s\n", index_of(chosen[one]), index_of(chosen[other]),
                   level_name(level));
        }
    return OK;
}

/* -c CPU: the GPUs near a CPU. -n LEVEL: those that each GPU reaches over that kind of path. */
static int show_near_cpu(const char *text) {
    unsigned cpu, count = 0;
    void *near[MOST_GPUS];
    if (!read_setting(text, 0, 1023, &cpu)) return refuse("topo -c", text, "the number of a CPU");
    int result = CALL("nvmlSystemGetTopologyGpuSet", (unsigned, unsigned *, void **), cpu, &count, NULL);
    if (!result && count <= MOST_GPUS)
        result = CALL("nvmlSystemGetTopologyGpuSet", (unsigned, unsigned *, void **), cpu, &count, near);
    if (result) return complain(result);
    printf("The GPUs that have an affinity with CPU %u are:\n ", cpu);
    for (unsigned at = 0; at < count; at++) printf(" %u", index_of(near[at]));
    puts("");
    return OK;
}

static int show_nearest(const char *text) {
    unsigned level;
    if (!read_setting(text, 0, 5, &level))
        return refuse("topo -n", text, "0 (same board), 1 (PIX), 2 (PXB), 3 (PHB), 4 (NODE) or 5 (SYS)");
    for (unsigned at = 0; at < chosen_count; at++) {
        void *near[MOST_GPUS];
        unsigned count = MOST_GPUS;
        int result = CALL("nvmlDeviceGetTopologyNearestGpus", (void *, unsigned, unsigned *, void **), chosen[at], level * 10,
                          &count, near);
        if (result) return complain(result);
        printf("The GPUs connected to GPU %u at this level are:\n ", index_of(chosen[at]));
        for (unsigned one = 0; one < count; one++) printf(" %u", index_of(near[one]));
        puts("");
    }
    return OK;
}

/* -p2p: a matrix of what each GPU can do with another's memory. */
static int show_peers(const char *text) {
    static const char capabilities[] = "rwnap"; /* as in nvmlGpuP2PCapsIndex_t */
    static const char *const names[] = {"OK", "CNS", "GNS", "TNS", "DR", "NS", "U"};
    const char *capability = strlen(text) == 1 ? strchr(capabilities, *text) : NULL;
    if (!capability) return refuse("topo -p2p", text, "r (read), w (write), n (NVLink), a (atomics) or p (PCIe)");
    printf(" ");
    for (unsigned at = 0; at < chosen_count; at++) printf("\tGPU%u", index_of(chosen[at]));
    for (unsigned row = 0; row < chosen_count; row++) {
        printf("\n GPU%u", index_of(chosen[row]));
        for (unsigned at = 0; at < chosen_count; at++) {
            unsigned status = UINT_MAX;
            CALL("nvmlDeviceGetP2PStatus", (void *, void *, unsigned, unsigned *), chosen[row], chosen[at],
                 (unsigned)(capability - capabilities), &status);
            printf("\t%s", row == at ? "X" : status < COUNT_OF(names) ? names[status] : "U");
        }
    }
    puts("\n\nLegend:\n\n  X    = Self\n  OK   = Works\n  CNS  = Not with this chipset\n  GNS  = Not with these GPUs\n"
         "  TNS  = Not with this topology\n  DR   = Disabled by a driver option\n  NS   = Not supported\n  U    = Unknown\n");
    return OK;
}
