/* nvidia-smi vgpu and vgpu -q: the vGPUs that virtual machines run on. */

enum { MOST_VGPUS = 64, NOT_TOLD = -1 };

/* What each engine did for a vGPU in the newest sample. */
enum { ENGINES = 4 };
static int vgpu_load(void *gpu, unsigned vgpu, unsigned *percents) {
    struct { unsigned vgpu; uint64_t time_us, percents[ENGINES]; } samples[MOST_VGPUS];
    unsigned kind = 0, count = MOST_VGPUS;
    int result = CALL("nvmlDeviceGetVgpuUtilization", (void *, uint64_t, unsigned *, unsigned *, void *), gpu, (uint64_t)0,
                      &kind, &count, samples);
    for (unsigned at = 0; !result && at < count; at++) {
        if (samples[at].vgpu != vgpu) continue;
        for (int engine = 0; engine < ENGINES; engine++) percents[engine] = (unsigned)samples[at].percents[engine];
        return OK;
    }
    return result ? result : NOT_FOUND;
}

static void put_vgpu_load(struct writer *out, void *gpu, unsigned vgpu) {
    static const char *const engines[ENGINES] = {"Gpu", "Memory", "Encoder", "Decoder"};
    unsigned percents[ENGINES] = {0};
    int result = vgpu_load(gpu, vgpu, percents);
    open_group(out, NULL, "Utilization");
    for (int engine = 0; engine < ENGINES; engine++) put_told(out, engines[engine], result, percents[engine], " %");
    close_group(out, NULL);
}

static void put_vgpu_memory(struct writer *out, unsigned vgpu, unsigned type) {
    uint64_t total = 0, used = 0;
    CALL("nvmlVgpuTypeGetFramebufferSize", (unsigned, uint64_t *), type, &total);
    CALL("nvmlVgpuInstanceGetFbUsage", (unsigned, uint64_t *), vgpu, &used);
    put_memory(out, NULL, "FB Memory Usage", total, NOT_TOLD, used, total - used);
}

static void put_sessions(struct writer *out, const char *label, int result, const unsigned *stats) {
    open_group(out, NULL, label);
    put_told(out, "Active Sessions", result, stats[0], "");
    put_told(out, "Average FPS", result, stats[1], "");
    put_told(out, "Average Latency", result, stats[2], "");
    close_group(out, NULL);
}

static void put_vgpu_streams(struct writer *out, unsigned vgpu) {
    unsigned stats[3] = {0};
    int result = CALL("nvmlVgpuInstanceGetEncoderStats", (unsigned, unsigned *, unsigned *, unsigned *), vgpu, &stats[0],
                      &stats[1], &stats[2]);
    put_sessions(out, "Encoder Stats", result, stats);
    result = CALL("nvmlVgpuInstanceGetFBCStats", (unsigned, unsigned *), vgpu, stats);
    put_sessions(out, "FBC Stats", result, stats);
}

static void put_vgpu_license(struct writer *out, unsigned vgpu) {
    static const char *const states[] = {"Unknown", "Uninitialized", "Unlicensed (Unrestricted)", "Unlicensed (Restricted)",
                                         "Unlicensed", "Licensed"};
    enum { UNINITIALIZED = 1, PERMANENT = 4 };
    struct {
        unsigned char licensed;
        struct { unsigned year; unsigned short date[5]; unsigned char status; } expiry;
        unsigned state;
    } license = {0};
    int result = CALL("nvmlVgpuInstanceGetLicenseInfo_v2", (unsigned, void *), vgpu, &license);
    char text[64];
    snprintf(text, sizeof text, "%s%s", name_from(states, COUNT_OF(states), license.state),
             license.licensed && license.expiry.status == PERMANENT ? " (Expiry: Permanent)" : "");
    if (result || license.state == UNINITIALIZED) snprintf(text, sizeof text, "N/A (Expiry: N/A)");
    put_leaf(out, NULL, "License Status", text);
}

static void put_vgpu_mode(struct writer *out, const char *label, const char *function, unsigned vgpu) {
    unsigned mode = 0;
    int result = CALL(function, (unsigned, unsigned *), vgpu, &mode);
    put_leaf(out, NULL, label, result ? absence(result) : mode ? "Enabled" : "Disabled");
}

static void put_vgpu_address(struct writer *out, unsigned vgpu) {
    char bus[32];
    unsigned size = sizeof bus;
    int result = CALL("nvmlVgpuInstanceGetGpuPciId", (unsigned, char *, unsigned *), vgpu, bus, &size);
    open_group(out, NULL, "PCI");
    put_leaf(out, NULL, "Bus Id", result ? absence(result) : bus);
    close_group(out, NULL);
}

static void put_vgpu_machine(struct writer *out, unsigned vgpu) {
    char machine[96] = "";
    unsigned kind = 0;
    int result = CALL("nvmlVgpuInstanceGetVmID", (unsigned, char *, unsigned, unsigned *), vgpu, machine,
                      (unsigned)sizeof machine, &kind);
    put_leaf(out, NULL, kind ? "VM UUID" : "VM ID", result ? absence(result) : machine);
    put_leaf(out, NULL, "VM Name", "N/A"); /* the hypervisor's own; NVML does not tell it */
}

static void put_vgpu(struct writer *out, void *gpu, unsigned vgpu) {
    struct versioned_number placement = VERSIONED(placement, 1);
    unsigned type = 0, limit = 0, kept = 0;
    char name[96];
    CALL("nvmlVgpuInstanceGetType", (unsigned, unsigned *), vgpu, &type);
    name_type(type, name, sizeof name);
    put_number(out, NULL, "vGPU ID", vgpu, "");
    out->depth++;
    put_vgpu_machine(out, vgpu);
    put_leaf(out, NULL, "vGPU Name", name);
    put_number(out, NULL, "vGPU Type", type, "");
    put_asked_text(out, "vGPU UUID", "nvmlVgpuInstanceGetUUID", vgpu);
    put_asked_text(out, "MDEV UUID", "nvmlVgpuInstanceGetMdevUUID", vgpu);
    int result = CALL("nvmlVgpuInstanceGetVmDriverVersion", (unsigned, char *, unsigned), vgpu, name, (unsigned)sizeof name);
    put_leaf(out, NULL, "Guest Driver Version", result || !is_told(name) ? "N/A" : name);
    put_vgpu_license(out, vgpu);
    put_asked(out, "GPU Instance ID", "nvmlVgpuInstanceGetGpuInstanceId", vgpu, "");
    result = CALL("nvmlVgpuInstanceGetPlacementId", (unsigned, void *), vgpu, &placement);
    put_told(out, "Placement ID", result, (uint64_t)placement.value, "");
    put_vgpu_mode(out, "Accounting Mode", "nvmlVgpuInstanceGetAccountingMode", vgpu);
    put_vgpu_mode(out, "ECC Mode", "nvmlVgpuInstanceGetEccMode", vgpu);
    result = CALL("nvmlDeviceGetAccountingBufferSize", (void *, unsigned *), gpu, &kept);
    put_told(out, "Accounting Buffer Size", result, kept, "");
    result = CALL("nvmlVgpuInstanceGetFrameRateLimit", (unsigned, unsigned *), vgpu, &limit);
    put_told(out, "Frame Rate Limit", result || limit ? result : NOT_SUPPORTED, limit, " FPS"); /* 0: without */
    put_vgpu_address(out, vgpu);
    put_vgpu_memory(out, vgpu, type);
    put_vgpu_load(out, gpu, vgpu);
    put_vgpu_streams(out, vgpu);
    out->depth--;
}

static int query_vgpus(void) {
    struct writer out = {.depth = 1};
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned vgpus[MOST_VGPUS], count = MOST_VGPUS;
        int result = list_ids(chosen[at], "nvmlDeviceGetActiveVgpus", vgpus, &count);
        if (result) return complain(result);
        printf("GPU %s\n", bus_id_of(chosen[at]));
        put_number(&out, NULL, "Active vGPUs", count, "");
        for (unsigned one = 0; one < count; one++) put_vgpu(&out, chosen[at], vgpus[one]);
        puts("");
    }
    return OK;
}

/* Without an option: one table of the GPUs and their vGPUs. */
static const char *const VGPU_RULE = "+---------------------------------+------------------------------+------------+";

static void show_vgpu(void *gpu, unsigned vgpu) {
    unsigned type = 0, kind = 0, percents[ENGINES] = {0};
    char name[96], machine[96] = "", load[16];
    CALL("nvmlVgpuInstanceGetType", (unsigned, unsigned *), vgpu, &type);
    name_type(type, name, sizeof name);
    cut_end(name, 14);
    CALL("nvmlVgpuInstanceGetVmID", (unsigned, char *, unsigned, unsigned *), vgpu, machine, (unsigned)sizeof machine, &kind);
    cut_end(machine, 7);
    snprintf(load, sizeof load, "%u%%", vgpu_load(gpu, vgpu, percents) ? 0 : percents[0]);
    printf("|      %-10u  %-14s | %-7s  %-19s | %7s    |\n", vgpu, name, machine, "N/A", load);
}

static int show_vgpus(void) {
    char date[64];
    write_date(date, sizeof date);
    printf("%-31s\n+-----------------------------------------------------------------------------+\n", date);
    printf("| NVIDIA-SMI %-22.22s Driver Version: %-25.25s |\n", driver_version, driver_version);
    puts(VGPU_RULE);
    puts("| GPU  Name                       | Bus-Id                       | GPU-Util   |");
    puts("|      vGPU ID     Name           | VM ID     VM Name            | vGPU-Util  |");
    puts("|=================================+==============================+============|");
    for (unsigned at = 0; at < chosen_count; at++) {
        void *gpu = chosen[at];
        PROPERTY(name, "name");
        PROPERTY(busy, "utilization.gpu");
        unsigned vgpus[MOST_VGPUS], count = MOST_VGPUS;
        cut_end(name, 25);
        char load[16];
        write_share(busy, load, sizeof load);
        printf("| %3u  %-26s | %-28s |%5s       |\n", index_of(gpu), name, bus_id_of(gpu), load);
        if (list_ids(gpu, "nvmlDeviceGetActiveVgpus", vgpus, &count)) count = 0;
        for (unsigned one = 0; one < count; one++) show_vgpu(gpu, vgpus[one]);
        puts(VGPU_RULE);
    }
    return OK;
}
