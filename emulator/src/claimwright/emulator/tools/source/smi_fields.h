/* --query-gpu: a table of properties, each with the call that answers it and the way it is written. */
#pragma once

enum style { TEXT, PLAIN, HEX8, HEX4, HEX2, MIB, PERCENT, MHZ, MILLIWATTS, CELSIUS, ON_OFF, PSTATE, COMPUTE_MODE, BIG };

struct pci {
    char legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct value {
    char text[128];
    uint64_t number;
};

typedef int (*reader)(void *device, const char *function, int selector, struct value *out);

static int read_text(void *device, const char *function, int selector, struct value *out) {
    (void)selector;
    return ((text_call)call(function))(device, out->text, sizeof out->text);
}

static int read_number(void *device, const char *function, int selector, struct value *out) {
    unsigned number = 0;
    int result = selector < 0 ? ((number_call)call(function))(device, &number)
                              : ((indexed_call)call(function))(device, (unsigned)selector, &number);
    out->number = number;
    return result;
}

static int read_pair(void *device, const char *function, int selector, struct value *out) {
    unsigned pair[2] = {0};
    int result = ((pair_call)call(function))(device, &pair[0], &pair[1]);
    out->number = pair[selector];
    return result;
}

static int read_pci(void *device, const char *function, int selector, struct value *out) {
    struct pci pci;
    int result = ((int (*)(void *, struct pci *))call(function))(device, &pci);
    if (result) return result;
    const unsigned numbers[] = {pci.domain, pci.bus, pci.device, pci.device_id, pci.subsystem_id};
    if (selector < 5)
        out->number = numbers[selector];
    else
        snprintf(out->text, sizeof out->text, "%s", pci.bus_id);
    return OK;
}

/* Selector 0 total, 1 reserved, 2 free, 3 used. */
static int read_memory(void *device, const char *function, int selector, struct value *out) {
    struct { unsigned version; uint64_t numbers[4]; } memory = {.version = sizeof memory | 2u << 24};
    int result = ((int (*)(void *, void *))call(function))(device, &memory);
    out->number = memory.numbers[selector];
    return result;
}

static int read_ecc_count(void *device, const char *function, int selector, struct value *out) {
    return ((int (*)(void *, unsigned, unsigned, uint64_t *))call(function))(device, selector & 1, selector >> 1,
                                                                            &out->number);
}

static int read_capability(void *device, const char *function, int selector, struct value *out) {
    unsigned pair[2] = {0};
    (void)selector;
    int result = ((pair_call)call(function))(device, &pair[0], &pair[1]);
    snprintf(out->text, sizeof out->text, "%u.%u", pair[0], pair[1]);
    return result;
}

static int read_utilization(void *device, const char *function, int selector, struct value *out) {
    unsigned pair[2] = {0};
    int result = ((int (*)(void *, unsigned *))call(function))(device, pair);
    out->number = pair[selector];
    return result;
}

/* One field value, all numbers of it read as 32 or 64 bits. */
static int read_field_value(void *device, const char *function, int selector, struct value *out) {
    struct { unsigned field, scope; int64_t times[2]; unsigned type, result; uint64_t number; } value = {.field = selector};
    int result = ((int (*)(void *, int, void *))call(function))(device, 1, &value);
    out->number = value.number;
    return result ? result : (int)value.result;
}

static int read_driver(void *device, const char *function, int selector, struct value *out) {
    (void)device, (void)function, (void)selector;
    return nvml.driver_version(out->text, sizeof out->text);
}

static int read_count(void *device, const char *function, int selector, struct value *out) {
    unsigned count = 0;
    (void)device, (void)function, (void)selector;
    int result = nvml.count(&count);
    out->number = count;
    return result;
}

static int read_time(void *device, const char *function, int selector, struct value *out) {
    struct timespec now;
    struct tm local;
    (void)device, (void)function, (void)selector;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t used = strftime(out->text, sizeof out->text, "%Y/%m/%d %H:%M:%S", localtime_r(&now.tv_sec, &local));
    snprintf(out->text + used, sizeof out->text - used, ".%03ld", now.tv_nsec / 1000000);
    return OK;
}

static const struct field {
    const char *names; /* separated by blanks; the first heads the column */
    enum style style;
    reader read;
    const char *function;
    int selector;
} fields[] = {
    {"timestamp", TEXT, read_time, "", 0},
    {"driver_version", TEXT, read_driver, "", 0},
    {"count", PLAIN, read_count, "", 0},
    {"name gpu_name", TEXT, read_text, "nvmlDeviceGetName", 0},
    {"index", PLAIN, read_number, "nvmlDeviceGetIndex", -1},
    {"uuid gpu_uuid", TEXT, read_text, "nvmlDeviceGetUUID", 0},
    {"serial gpu_serial", TEXT, read_text, "nvmlDeviceGetSerial", 0},
    {"vbios_version", TEXT, read_text, "nvmlDeviceGetVbiosVersion", 0},
    {"inforom.img inforom.image", TEXT, read_text, "nvmlDeviceGetInforomImageVersion", 0},
    {"compute_cap", TEXT, read_capability, "nvmlDeviceGetCudaComputeCapability", 0},
    {"module_id", PLAIN, read_number, "nvmlDeviceGetModuleId", -1},
    {"pci.bus_id gpu_bus_id", TEXT, read_pci, "nvmlDeviceGetPciInfo_v3", 5},
    {"pci.domain", HEX4, read_pci, "nvmlDeviceGetPciInfo_v3", 0},
    {"pci.bus", HEX2, read_pci, "nvmlDeviceGetPciInfo_v3", 1},
    {"pci.device", HEX2, read_pci, "nvmlDeviceGetPciInfo_v3", 2},
    {"pci.device_id", HEX8, read_pci, "nvmlDeviceGetPciInfo_v3", 3},
    {"pci.sub_device_id", HEX8, read_pci, "nvmlDeviceGetPciInfo_v3", 4},
    {"pcie.link.gen.current pcie.link.gen.gpucurrent", PLAIN, read_number, "nvmlDeviceGetCurrPcieLinkGeneration", -1},
    {"pcie.link.gen.max", PLAIN, read_number, "nvmlDeviceGetMaxPcieLinkGeneration", -1},
    {"pcie.link.gen.gpumax", PLAIN, read_number, "nvmlDeviceGetGpuMaxPcieLinkGeneration", -1},
    {"pcie.link.width.current", PLAIN, read_number, "nvmlDeviceGetCurrPcieLinkWidth", -1},
    {"pcie.link.width.max", PLAIN, read_number, "nvmlDeviceGetMaxPcieLinkWidth", -1},
    {"display_mode", ON_OFF, read_number, "nvmlDeviceGetDisplayMode", -1},
    {"display_active", ON_OFF, read_number, "nvmlDeviceGetDisplayActive", -1},
    {"display_attached", ON_OFF, read_number, "nvmlDeviceGetDisplayMode", -1},
    {"persistence_mode", ON_OFF, read_number, "nvmlDeviceGetPersistenceMode", -1},
    {"accounting.mode", ON_OFF, read_number, "nvmlDeviceGetAccountingMode", -1},
    {"accounting.buffer_size", PLAIN, read_number, "nvmlDeviceGetAccountingBufferSize", -1},
    {"compute_mode", COMPUTE_MODE, read_number, "nvmlDeviceGetComputeMode", -1},
    {"fan.speed", PERCENT, read_number, "nvmlDeviceGetFanSpeed", -1},
    {"pstate", PSTATE, read_number, "nvmlDeviceGetPerformanceState", -1},
    {"memory.total", MIB, read_memory, "nvmlDeviceGetMemoryInfo_v2", 0},
    {"memory.reserved", MIB, read_memory, "nvmlDeviceGetMemoryInfo_v2", 1},
    {"memory.used", MIB, read_memory, "nvmlDeviceGetMemoryInfo_v2", 3},
    {"memory.free", MIB, read_memory, "nvmlDeviceGetMemoryInfo_v2", 2},
    {"utilization.gpu", PERCENT, read_utilization, "nvmlDeviceGetUtilizationRates", 0},
    {"utilization.memory", PERCENT, read_utilization, "nvmlDeviceGetUtilizationRates", 1},
    {"utilization.encoder", PERCENT, read_pair, "nvmlDeviceGetEncoderUtilization", 0},
    {"utilization.decoder", PERCENT, read_pair, "nvmlDeviceGetDecoderUtilization", 0},
    {"utilization.jpeg", PERCENT, read_pair, "nvmlDeviceGetJpgUtilization", 0},
    {"utilization.ofa", PERCENT, read_pair, "nvmlDeviceGetOfaUtilization", 0},
    {"ecc.mode.current", ON_OFF, read_pair, "nvmlDeviceGetEccMode", 0},
    {"ecc.mode.pending", ON_OFF, read_pair, "nvmlDeviceGetEccMode", 1},
    {"ecc.errors.corrected.volatile.total", BIG, read_ecc_count, "nvmlDeviceGetTotalEccErrors", 0},
    {"ecc.errors.uncorrected.volatile.total", BIG, read_ecc_count, "nvmlDeviceGetTotalEccErrors", 1},
    {"ecc.errors.corrected.aggregate.total", BIG, read_ecc_count, "nvmlDeviceGetTotalEccErrors", 2},
    {"ecc.errors.uncorrected.aggregate.total", BIG, read_ecc_count, "nvmlDeviceGetTotalEccErrors", 3},
    {"temperature.gpu", CELSIUS, read_number, "nvmlDeviceGetTemperature", 0},
    {"temperature.memory", CELSIUS, read_field_value, "nvmlDeviceGetFieldValues", 82},
    {"power.management", ON_OFF, read_number, "nvmlDeviceGetPowerManagementMode", -1},
    {"power.draw power.draw.average power.draw.instant", MILLIWATTS, read_number, "nvmlDeviceGetPowerUsage", -1},
    {"power.limit", MILLIWATTS, read_number, "nvmlDeviceGetPowerManagementLimit", -1},
    {"enforced.power.limit", MILLIWATTS, read_number, "nvmlDeviceGetEnforcedPowerLimit", -1},
    {"power.default_limit", MILLIWATTS, read_number, "nvmlDeviceGetPowerManagementDefaultLimit", -1},
    {"power.min_limit", MILLIWATTS, read_pair, "nvmlDeviceGetPowerManagementLimitConstraints", 0},
    {"power.max_limit", MILLIWATTS, read_pair, "nvmlDeviceGetPowerManagementLimitConstraints", 1},
    {"clocks.current.graphics clocks.gr", MHZ, read_number, "nvmlDeviceGetClockInfo", 0},
    {"clocks.current.sm clocks.sm", MHZ, read_number, "nvmlDeviceGetClockInfo", 1},
    {"clocks.current.memory clocks.mem", MHZ, read_number, "nvmlDeviceGetClockInfo", 2},
    {"clocks.current.video clocks.video", MHZ, read_number, "nvmlDeviceGetClockInfo", 3},
    {"clocks.applications.graphics clocks.applications.gr", MHZ, read_number, "nvmlDeviceGetApplicationsClock", 0},
    {"clocks.applications.memory clocks.applications.mem", MHZ, read_number, "nvmlDeviceGetApplicationsClock", 2},
    {"clocks.max.graphics clocks.max.gr", MHZ, read_number, "nvmlDeviceGetMaxClockInfo", 0},
    {"clocks.max.sm", MHZ, read_number, "nvmlDeviceGetMaxClockInfo", 1},
    {"clocks.max.memory clocks.max.mem", MHZ, read_number, "nvmlDeviceGetMaxClockInfo", 2},
    {"mig.mode.current", ON_OFF, read_pair, "nvmlDeviceGetMigMode", 0},
    {"mig.mode.pending", ON_OFF, read_pair, "nvmlDeviceGetMigMode", 1},
};

enum { FIELDS = sizeof fields / sizeof *fields, MOST_COLUMNS = 128 };

static bool has_name(const char *names, const char *wanted) {
    size_t length = strlen(wanted);
    for (const char *at = names; (at = strstr(at, wanted)); at++)
        if ((at == names || at[-1] == ' ') && (!at[length] || at[length] == ' ')) return length > 0;
    return false;
}

static const struct field *find_field(const char *name) {
    for (size_t at = 0; at < FIELDS; at++)
        if (has_name(fields[at].names, name)) return &fields[at];
    return NULL;
}

static int list_fields(void) {
    for (size_t at = 0; at < FIELDS; at++) printf("%s\n", fields[at].names);
    return 0;
}

static const char *unit_of(enum style style) {
    switch (style) {
        case MIB: return "MiB";
        case PERCENT: return "%";
        case MHZ: return "MHz";
        case MILLIWATTS: return "W";
        default: return "";
    }
}

static void write_number(enum style style, uint64_t number, char *out, size_t size) {
    static const char *const modes[] = {"Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"};
    unsigned small = (unsigned)number;
    switch (style) {
        case HEX8: snprintf(out, size, "0x%08X", small); break;
        case HEX4: snprintf(out, size, "0x%04X", small); break;
        case HEX2: snprintf(out, size, "0x%02X", small); break;
        case MIB: snprintf(out, size, "%llu", (unsigned long long)(number >> 20)); break;
        case MILLIWATTS: snprintf(out, size, "%u.%02u", small / 1000, small % 1000 / 10); break;
        case ON_OFF: snprintf(out, size, "%s", small ? "Enabled" : "Disabled"); break;
        case PSTATE: snprintf(out, size, "P%u", small); break;
        case COMPUTE_MODE: snprintf(out, size, "%s", small < 4 ? modes[small] : "[Unknown]"); break;
        default: snprintf(out, size, "%llu", (unsigned long long)number); break;
    }
}

/* The words of the real tool for what a GPU does not answer. */
static void read_cell(const struct field *field, void *device, bool units, char *out, size_t size) {
    struct value value = {0};
    int result = field->read(device, field->function, field->selector, &value);
    if (result == NOT_SUPPORTED)
        snprintf(out, size, "[N/A]");
    else if (result)
        snprintf(out, size, "[%s]", nvml.error(result));
    else if (field->style == TEXT)
        snprintf(out, size, "%s", value.text);
    else
        write_number(field->style, value.number, out, size);
    const char *unit = unit_of(field->style);
    if (!result && units && *unit) snprintf(out + strlen(out), size - strlen(out), " %s", unit);
}

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at && (at = strstr(at, word)); at++)
        if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ',')) return true;
    return false;
}

static int query(const char *names, const char *format) {
    const struct field *columns[MOST_COLUMNS];
    const char *heads[MOST_COLUMNS];
    int count = 0;
    if (!format || !has_word(format, "csv")) {
        printf("Option --query-gpu needs --format=csv[,noheader][,nounits].\n");
        return 2;
    }
    char *copy = strdup(names), *rest = copy;
    for (char *name; (name = strsep(&rest, ",")) && count < MOST_COLUMNS; count++) {
        name += strspn(name, " ");
        heads[count] = name;
        columns[count] = find_field(name);
        if (columns[count]) continue;
        printf("Field \"%s\" is not a valid field to query.\n\n", name);
        free(copy);
        return 2;
    }
    bool units = !has_word(format, "nounits");
    for (int at = 0; !has_word(format, "noheader") && at < count; at++) {
        const char *unit = unit_of(columns[at]->style);
        printf("%s%s", at ? ", " : "", heads[at]);
        if (*unit) printf(" [%s]", unit);
        if (at == count - 1) putchar('\n');
    }
    for (unsigned gpu = 0; gpu < chosen_count; gpu++)
        for (int at = 0; at < count; at++) {
            char cell[160];
            read_cell(columns[at], chosen[gpu], units, cell, sizeof cell);
            printf("%s%s%s", at ? ", " : "", cell, at == count - 1 ? "\n" : "");
        }
    free(copy);
    return 0;
}
