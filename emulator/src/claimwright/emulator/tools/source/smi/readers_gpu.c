/* Readers of one subject each: records that hold several leaves. */

enum pci_member { PCI_DOMAIN, PCI_BUS, PCI_DEVICE, PCI_ID, PCI_SUBSYSTEM, PCI_BASE_CLASS, PCI_SUB_CLASS, PCI_BUS_ID };

static int read_pci(void *gpu, const char *function, int selector, struct value *out) {
    struct pci_info_ext pci = VERSIONED(pci, 1);
    (void)function;
    int result = CALL("nvmlDeviceGetPciInfoExt", (void *, void *), gpu, &pci);
    const unsigned numbers[] = {pci.domain, pci.bus, pci.device, pci.device_id, pci.subsystem_id, pci.base_class,
                                pci.sub_class};
    if (selector < PCI_BUS_ID) out->number = numbers[selector];
    snprintf(out->text, sizeof out->text, "%s", pci.bus_id);
    return result;
}

static int read_atomics(void *gpu, const char *function, int selector, struct value *out) {
    static const char *const names[] = {"FETCHADD_32", "FETCHADD_64", "SWAP_32", "SWAP_64", "CAS_32", "CAS_64", "CAS_128"};
    int result = read_field(gpu, function, selector, out);
    if (result) return result;
    if (!out->number) return NOT_SUPPORTED;
    size_t used = 0;
    for (size_t bit = 0; bit < COUNT_OF(names); bit++)
        if (out->number >> bit & 1)
            used += (size_t)snprintf(out->text + used, sizeof out->text - used, "%s%s", used ? " " : "", names[bit]);
    return OK;
}

enum memory_member { TOTAL, RESERVED, FREE, USED };

static int read_memory(void *gpu, const char *function, int selector, struct value *out) {
    struct memory_v2 memory = VERSIONED(memory, 2);
    (void)function;
    int result = CALL("nvmlDeviceGetMemoryInfo_v2", (void *, void *), gpu, &memory);
    const uint64_t members[] = {memory.total, memory.reserved, memory.free, memory.used};
    out->number = members[selector];
    return result;
}

/* BAR1 and protected memory have three numbers and no version. */
static int read_memory_v1(void *gpu, const char *function, int selector, struct value *out) {
    struct memory_v1 memory = {0};
    int result = CALL(function, (void *, void *), gpu, &memory);
    const uint64_t members[] = {memory.total, 0, memory.free, memory.used};
    out->number = members[selector];
    return result;
}

/* Selector: corrected 0 or not 1, since load 0 or ever 2, and the location times four. */
enum { UNCORRECTED = 1, AGGREGATE = 2 };
#define AT(location) ((location) << 2)
enum location { L1_CACHE = 0, L2_CACHE = 1, DRAM = 2, REGISTERS = 3, TEXTURE = 4, CBU = 6, SRAM = 7 };

static int read_error_count(void *gpu, const char *function, int selector, struct value *out) {
    (void)function;
    return CALL("nvmlDeviceGetMemoryErrorCounter", (void *, unsigned, unsigned, unsigned, uint64_t *), gpu, selector & 1,
                selector >> 1 & 1, (unsigned)selector >> 2, &out->number);
}

static int read_error_total(void *gpu, const char *function, int selector, struct value *out) {
    (void)function;
    return CALL("nvmlDeviceGetTotalEccErrors", (void *, unsigned, unsigned, uint64_t *), gpu, selector & 1,
                selector >> 1 & 1, &out->number);
}

/* Selector: the place among the counts of the record; the one after the last is the threshold. */
enum sram_member { AGG_PARITY, AGG_SECDED, AGG_CORRECTED, VOL_PARITY, VOL_SECDED, VOL_CORRECTED, IN_L2, IN_SM, IN_PCIE,
                   IN_MICROCONTROLLER, IN_OTHER, THRESHOLD };
static int read_sram(void *gpu, const char *function, int selector, struct value *out) {
    struct sram_status status = VERSIONED(status, 1);
    (void)function;
    int result = CALL("nvmlDeviceGetSramEccErrorStatus", (void *, void *), gpu, &status);
    out->number = selector == THRESHOLD ? status.threshold_exceeded : (&status.aggregate_parity)[selector];
    return result;
}

static int read_repair(void *gpu, const char *function, int selector, struct value *out) {
    struct repair_status status = VERSIONED(status, 1);
    (void)function;
    int result = CALL("nvmlDeviceGetRepairStatus", (void *, void *), gpu, &status);
    out->number = selector ? status.tpc_pending : status.channel_pending;
    return result;
}

static int read_remapped(void *gpu, const char *function, int selector, struct value *out) {
    unsigned rows[4] = {0};
    (void)function;
    int result = CALL("nvmlDeviceGetRemappedRows", (void *, unsigned *, unsigned *, unsigned *, unsigned *), gpu, &rows[0],
                      &rows[1], &rows[2], &rows[3]);
    out->number = rows[selector];
    return result;
}

/* Selector: a nvmlPageRetirementCause_t. */
static int read_retired_count(void *gpu, const char *function, int selector, struct value *out) {
    unsigned count = 0;
    (void)function;
    int result = CALL("nvmlDeviceGetRetiredPages", (void *, unsigned, unsigned *, uint64_t *), gpu, (unsigned)selector,
                      &count, NULL);
    out->number = count;
    return result == INSUFFICIENT_SIZE ? OK : result;
}

static int read_capability(void *gpu, const char *function, int selector, struct value *out) {
    unsigned pair[2] = {0};
    (void)selector;
    int result = CALL(function, (void *, unsigned *, unsigned *), gpu, &pair[0], &pair[1]);
    snprintf(out->text, sizeof out->text, "%u.%u", pair[0], pair[1]);
    return result;
}

enum platform_member { CHASSIS, SLOT, TRAY, HOST, PEER, MODULE, GUID };
enum { NO_NUMBER = 0xff }; /* a slot, tray or host that the platform does not tell */

static int give_guid(const unsigned char *guid, struct value *out) {
    uint64_t number = 0;
    for (int at = 0; at < 8; at++) number = number << 8 | guid[at];
    snprintf(out->text, sizeof out->text, "0x%016" PRIx64, number);
    return OK;
}

/* The module's number is known on boards without platform information too. */
static int read_platform(void *gpu, const char *function, int selector, struct value *out) {
    struct platform platform = VERSIONED(platform, 2);
    int result = CALL("nvmlDeviceGetPlatformInfo", (void *, void *), gpu, &platform);
    const unsigned numbers[] = {0, platform.slot, platform.tray, platform.host};
    if (selector == MODULE) {
        result = read_number(gpu, "nvmlDeviceGetModuleId", 0, out);
        snprintf(out->text, sizeof out->text, "%u", (unsigned)out->number);
        return result;
    }
    (void)function;
    if (result) return result;
    if (selector == GUID) return give_guid(platform.guid, out);
    if (selector == CHASSIS)
        snprintf(out->text, sizeof out->text, "%.16s", (const char *)platform.chassis_serial);
    else if (selector == PEER)
        snprintf(out->text, sizeof out->text, "%s", platform.peer_type ? "Switch Connected" : "Direct Connected");
    else if (numbers[selector] == NO_NUMBER)
        return NOT_SUPPORTED;
    else
        snprintf(out->text, sizeof out->text, "%u", numbers[selector]);
    return OK;
}

static int read_inforom_state(void *gpu, const char *function, int selector, struct value *out) {
    (void)function, (void)selector;
    int result = CALL("nvmlDeviceValidateInforom", (void *), gpu);
    snprintf(out->text, sizeof out->text, "%s", result ? "corrupted" : "valid");
    return result == CORRUPTED_INFOROM ? OK : result;
}

/* The buffer's length is fixed by the header: 64 bytes. */
static int read_hostname(void *gpu, const char *function, int selector, struct value *out) {
    (void)selector;
    int result = CALL(function, (void *, char *), gpu, out->text);
    return result || *out->text ? result : NOT_SUPPORTED;
}

static int read_flush(void *gpu, const char *function, int selector, struct value *out) {
    uint64_t time_us = 0;
    unsigned long duration_us = 0;
    int result = CALL(function, (void *, uint64_t *, unsigned long *), gpu, &time_us, &duration_us);
    if (result) return result;
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm local;
    size_t used = strftime(out->text, sizeof out->text, "%Y/%m/%d %H:%M:%S", localtime_r(&seconds, &local));
    snprintf(out->text + used, sizeof out->text - used, ".%03u", (unsigned)(time_us / 1000 % 1000));
    if (selector) snprintf(out->text, sizeof out->text, "%lu us", duration_us);
    return OK;
}

enum fabric_member { FABRIC_STATE, FABRIC_STATUS, FABRIC_CLIQUE, FABRIC_CLUSTER, FABRIC_SUMMARY, FABRIC_BANDWIDTH,
                     FABRIC_RECOVERY, FABRIC_ROUTE, FABRIC_TIMEOUT, FABRIC_CONFIGURATION, FABRIC_PARTITION };

static void write_cluster(const unsigned char *uuid, char *out, size_t size) {
    size_t used = 0;
    for (int at = 0; at < 16; at++)
        used += (size_t)snprintf(out + used, size - used, "%s%02x", at == 4 || at == 6 || at == 8 || at == 10 ? "-" : "",
                                 uuid[at]);
}

/* nvml.h's NVML_GPU_FABRIC_HEALTH_MASK_*: two bits each, 1 true, 2 false, 0 not told. */
static const char *health_word(unsigned mask, int selector) {
    static const struct { int shift; const char *yes, *no; } bits[] = {
        {0, "Degraded", "Full"}, {2, "True", "False"}, {4, "True", "False"}, {6, "True", "False"}, {8, NULL, NULL},
        {12, "True", "False"}};
    static const char *const wrong[] = {NULL, "None", "Incorrect System GUID", "Incorrect Chassis Serial Number",
                                        "No Partition", "Insufficient NVLinks", "Incompatible GPU Firmware",
                                        "Invalid Location", "GPU State Invalid"};
    int at = selector - FABRIC_BANDWIDTH;
    if (selector == FABRIC_CONFIGURATION) {
        unsigned code = mask >> 8 & 0xf;
        return code < COUNT_OF(wrong) ? wrong[code] : "Unknown";
    }
    unsigned told = mask >> bits[at].shift & 3;
    return told == 1 ? bits[at].yes : told == 2 ? bits[at].no : NULL;
}

static const char *fabric_word(const struct fabric *fabric, int selector) {
    static const char *const states[] = {"N/A", "Not Started", "In Progress", "Completed"};
    static const char *const summaries[] = {NULL, "Healthy", "Unhealthy", "Limited Capacity"};
    if (selector == FABRIC_STATE) return name_from(states, COUNT_OF(states), fabric->state);
    if (selector == FABRIC_SUMMARY) return fabric->health_summary < 4 ? summaries[fabric->health_summary] : "Unknown";
    return health_word(fabric->health_mask, selector);
}

/* Only a completed registration has a status, a clique and a cluster. */
static int read_fabric(void *gpu, const char *function, int selector, struct value *out) {
    enum { COMPLETED = 3 };
    struct fabric fabric = VERSIONED(fabric, 3);
    (void)function;
    int result = CALL("nvmlDeviceGetGpuFabricInfoV", (void *, void *), gpu, &fabric);
    if (result) return result;
    bool done = fabric.state == COMPLETED;
    if (selector == FABRIC_STATUS || selector == FABRIC_CLIQUE || selector == FABRIC_CLUSTER) {
        if (!done) return NOT_SUPPORTED;
        if (selector == FABRIC_CLUSTER) return write_cluster(fabric.cluster_uuid, out->text, sizeof out->text), OK;
        if (selector == FABRIC_CLIQUE) return snprintf(out->text, sizeof out->text, "%u", fabric.clique), OK;
        return snprintf(out->text, sizeof out->text, "%s", error_text((int)fabric.status)), OK;
    }
    const char *word = fabric_word(&fabric, selector);
    if (!word) return NOT_SUPPORTED;
    snprintf(out->text, sizeof out->text, "%s", word);
    return OK;
}

/* Profiles that are asked for or in force; none of them reads as absent (captured B200, driver 580). */
static int read_power_profiles(void *gpu, const char *function, int selector, struct value *out) {
    struct { unsigned version, masks[3][8]; } profiles = VERSIONED(profiles, 1);
    (void)function;
    int result = CALL("nvmlDeviceWorkloadPowerProfileGetCurrentProfiles", (void *, void *), gpu, &profiles);
    size_t used = 0;
    for (unsigned bit = 0; !result && bit < 256; bit++)
        if (profiles.masks[selector][bit / 32] >> bit % 32 & 1)
            used += (size_t)snprintf(out->text + used, sizeof out->text - used, "%s%u", used ? "," : "", bit);
    return result ? result : used ? OK : NOT_SUPPORTED;
}

/* Present only where levels of power smoothing may be asked for. */
static int read_power_smoothing(void *gpu, const char *function, int selector, struct value *out) {
    int result = read_field(gpu, function, selector, out);
    snprintf(out->text, sizeof out->text, "%s", out->number ? "Enabled" : "Disabled");
    return result;
}

static int read_host_vgpu_mode(void *gpu, const char *function, int selector, struct value *out) {
    int result = read_number(gpu, function, selector, out);
    snprintf(out->text, sizeof out->text, "%s", out->number ? "SR-IOV" : "Non SR-IOV");
    return result;
}

static int read_dram_encryption(void *gpu, const char *function, int selector, struct value *out) {
    struct versioned_number modes[2] = {VERSIONED(modes[0], 1), VERSIONED(modes[1], 1)};
    (void)function;
    int result = CALL("nvmlDeviceGetDramEncryptionMode", (void *, void *, void *), gpu, &modes[0], &modes[1]);
    out->number = (uint64_t)modes[selector].value;
    return result;
}

static int read_time(void *gpu, const char *function, int selector, struct value *out) {
    struct timespec now;
    struct tm local;
    (void)gpu, (void)function, (void)selector;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t used = strftime(out->text, sizeof out->text, "%Y/%m/%d %H:%M:%S", localtime_r(&now.tv_sec, &local));
    snprintf(out->text + used, sizeof out->text - used, ".%03ld", now.tv_nsec / 1000000);
    return OK;
}

static int read_driver(void *gpu, const char *function, int selector, struct value *out) {
    (void)gpu, (void)function, (void)selector;
    snprintf(out->text, sizeof out->text, "%s", driver_version);
    return OK;
}

static int read_count(void *gpu, const char *function, int selector, struct value *out) {
    unsigned count = 0;
    (void)gpu, (void)function, (void)selector;
    int result = count_gpus(&count);
    out->number = count;
    return result;
}
