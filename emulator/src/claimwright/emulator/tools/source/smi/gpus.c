/* Which GPUs the tool was asked about. */

enum { MOST_GPUS = 64, TURING = 6, AMPERE = 7, ADA = 8, HOPPER = 9 };

static void *chosen[MOST_GPUS];
static unsigned chosen_count;

typedef int (*by_text_call)(const char *, void **);

static int count_gpus(unsigned *out) { return CALL("nvmlDeviceGetCount_v2", (unsigned *), out); }

static int gpu_at(unsigned index, void **out) {
    return CALL("nvmlDeviceGetHandleByIndex_v2", (unsigned, void **), index, out);
}

static unsigned index_of(void *gpu) {
    unsigned index = 0;
    CALL("nvmlDeviceGetIndex", (void *, unsigned *), gpu, &index);
    return index;
}

static unsigned architecture_of(void *gpu) {
    unsigned architecture = 0;
    CALL("nvmlDeviceGetArchitecture", (void *, unsigned *), gpu, &architecture);
    return architecture;
}

static const char *bus_id_of(void *gpu) {
    static struct pci_info pci;
    memset(&pci, 0, sizeof pci);
    CALL("nvmlDeviceGetPciInfo_v3", (void *, struct pci_info *), gpu, &pci);
    return pci.bus_id;
}

static bool is_number(const char *text) { return *text && !text[strspn(text, "0123456789")]; }

/* An index has at most three digits, a serial number many more. */
static int find_gpu(const char *id, void **out) {
    static const char *const calls[] = {"nvmlDeviceGetHandleByUUID", "nvmlDeviceGetHandleByPciBusId_v2",
                                        "nvmlDeviceGetHandleBySerial"};
    if (is_number(id) && strlen(id) < 4) return gpu_at((unsigned)atoi(id), out);
    int result = NOT_FOUND;
    for (size_t at = 0; at < COUNT_OF(calls) && result; at++) {
        int tried = CALL(calls[at], (const char *, void **), id, out);
        if (tried == OK || tried == GPU_IS_LOST) result = tried;
        if (tried == GPU_IS_LOST) break;
    }
    return result;
}

static int choose_listed(const char *ids) {
    char copy[4096], *rest = copy;
    if (snprintf(copy, sizeof copy, "%s", ids) >= (int)sizeof copy) return INVALID_ARGUMENT;
    for (char *id; (id = strsep(&rest, ",")) && chosen_count < MOST_GPUS; chosen_count++) {
        int result = find_gpu(id, &chosen[chosen_count]);
        if (result == OK) continue;
        if (result == GPU_IS_LOST) return complain(result);
        printf("No devices were found (\"%s\": give an index, a UUID, a serial number or a PCI bus id as `nvidia-smi -L` "
               "and `nvidia-smi` show them)\n", id);
        return NOT_FOUND;
    }
    return OK;
}

/* A lost GPU has no handle: it is told of once, and the others are shown. */
static int choose_all(bool quiet) {
    unsigned count = 0;
    int result = count_gpus(&count), lost = OK;
    if (result) return complain(result);
    for (unsigned index = 0; index < count && index < MOST_GPUS; index++) {
        int found = gpu_at(index, &chosen[chosen_count]);
        chosen_count += found == OK;
        if (found == OK) continue;
        lost = found;
        if (!quiet) printf("Unable to determine the device handle for GPU%u: %s\n", index, error_text(found));
    }
    if (!count && !quiet) printf("No devices were found\n");
    if (!chosen_count) return count ? lost : NOT_FOUND;
    return OK;
}

static int choose(const char *ids) {
    chosen_count = 0;
    return ids ? choose_listed(ids) : choose_all(false);
}

/* MIG devices of a GPU by their index, which may have holes. */
static unsigned most_mig_devices(void *gpu) {
    unsigned most = 0;
    CALL("nvmlDeviceGetMaxMigDeviceCount", (void *, unsigned *), gpu, &most);
    return most;
}

static void *mig_device_at(void *gpu, unsigned index) {
    void *device = NULL;
    int result = CALL("nvmlDeviceGetMigDeviceHandleByIndex", (void *, unsigned, void **), gpu, index, &device);
    return result ? NULL : device;
}

static bool is_in_mig_mode(void *gpu) {
    unsigned current = 0, pending = 0;
    return !CALL("nvmlDeviceGetMigMode", (void *, unsigned *, unsigned *), gpu, &current, &pending) && current;
}
