/* The parts of the log that hold as many entries as there are things. */

static void put_memory(struct writer *out, const char *tag, const char *label, uint64_t total, int64_t reserved,
                       uint64_t used, uint64_t free) {
    open_group(out, tag, label);
    put_number(out, "total", "Total", mebibytes(total), " MiB");
    if (reserved >= 0) put_number(out, "reserved", "Reserved", mebibytes((uint64_t)reserved), " MiB");
    put_number(out, "used", "Used", mebibytes(used), " MiB");
    put_number(out, "free", "Free", mebibytes(free), " MiB");
    close_group(out, tag);
}

static void put_attributes(struct writer *out, void *device) {
    struct attributes has = {0};
    CALL("nvmlDeviceGetAttributes_v2", (void *, void *), device, &has);
    open_group(out, "device_attributes", "Device Attributes");
    open_group(out, "shared", "Shared");
    put_number(out, "multiprocessor_count", "Multiprocessor count", has.multiprocessors, "");
    put_number(out, "copy_engine_count", "Copy Engine count", has.copy_engines, "");
    put_number(out, "encoder_count", "Encoder count", has.encoders, "");
    put_number(out, "decoder_count", "Decoder count", has.decoders, "");
    put_number(out, "ofa_count", "OFA count", has.ofa_engines, "");
    put_number(out, "jpg_count", "JPG count", has.jpeg_engines, "");
    close_group(out, "shared");
    close_group(out, "device_attributes");
}

static void put_instance_errors(struct writer *out, void *device) {
    uint64_t count = 0;
    char text[32];
    int result = CALL("nvmlDeviceGetMemoryErrorCounter", (void *, unsigned, unsigned, unsigned, uint64_t *), device, 1u, 0u,
                      (unsigned)SRAM, &count);
    snprintf(text, sizeof text, "%" PRIu64, count);
    open_group(out, "ecc_error_count", "ECC Errors");
    open_group(out, "volatile_count", "Volatile");
    put_leaf(out, "sram_uncorrectable", "SRAM Uncorrectable", result ? absence(result) : text);
    close_group(out, "volatile_count");
    close_group(out, "ecc_error_count");
}

static void put_mig_device(struct writer *out, void *device, unsigned index) {
    unsigned instance = 0, compute = 0;
    struct memory_v2 memory = VERSIONED(memory, 2);
    struct memory_v1 bar1 = {0};
    CALL("nvmlDeviceGetGpuInstanceId", (void *, unsigned *), device, &instance);
    CALL("nvmlDeviceGetComputeInstanceId", (void *, unsigned *), device, &compute);
    CALL("nvmlDeviceGetMemoryInfo_v2", (void *, void *), device, &memory);
    CALL("nvmlDeviceGetBAR1MemoryInfo", (void *, void *), device, &bar1);
    open_group(out, "mig_device", "MIG Device");
    put_number(out, "index", "Index", index, "");
    put_number(out, "gpu_instance_id", "GPU Instance ID", instance, "");
    put_number(out, "compute_instance_id", "Compute Instance ID", compute, "");
    put_attributes(out, device);
    put_instance_errors(out, device);
    put_memory(out, "fb_memory_usage", "FB Memory Usage", memory.total, (int64_t)memory.reserved, memory.used, memory.free);
    put_memory(out, "bar1_memory_usage", "BAR1 Memory Usage", bar1.total, -1, bar1.used, bar1.free);
    close_group(out, "mig_device");
}

static void list_mig_devices(struct writer *out, void *gpu) {
    unsigned shown = 0, most = is_in_mig_mode(gpu) ? most_mig_devices(gpu) : 0;
    if (out->xml) open_group(out, "mig_devices", NULL);
    for (unsigned index = 0; index < most; index++) {
        void *device = mig_device_at(gpu, index);
        if (device) put_mig_device(out, device, index);
        shown += device != NULL;
    }
    if (out->xml && !shown) indent(out), puts("None");
    if (out->xml) close_group(out, "mig_devices");
}

static void put_retired(struct writer *out, void *gpu, unsigned cause, const char *tag, const char *label) {
    enum { MOST = 64 };
    uint64_t pages[MOST] = {0};
    unsigned count = MOST;
    char text[32];
    int result = CALL("nvmlDeviceGetRetiredPages", (void *, unsigned, unsigned *, uint64_t *), gpu, cause, &count, pages);
    snprintf(text, sizeof text, "%u", count);
    if (!out->xml) return put_leaf(out, NULL, label, result ? absence(result) : text);
    open_group(out, tag, NULL);
    put_leaf(out, "retired_count", NULL, result ? absence(result) : text);
    if (result) {
        put_leaf(out, "retired_pagelist", NULL, absence(result));
    } else {
        open_group(out, "retired_pagelist", NULL);
        for (unsigned at = 0; at < count && at < MOST; at++) {
            snprintf(text, sizeof text, "0x%016" PRIx64, pages[at]);
            put_leaf(out, "retired_page_address", NULL, text);
        }
        close_group(out, "retired_pagelist");
    }
    close_group(out, tag);
}

static void list_retired_pages(struct writer *out, void *gpu) {
    unsigned pending = 0;
    int result = CALL("nvmlDeviceGetRetiredPagesPendingStatus", (void *, unsigned *), gpu, &pending);
    const char *word = result ? absence(result) : pending ? "Yes" : "No";
    open_group(out, "retired_pages", "Retired Pages");
    put_retired(out, gpu, 0, "multiple_single_bit_retirement", "Single Bit ECC");
    put_retired(out, gpu, 1, "double_bit_retirement", "Double Bit ECC");
    put_leaf(out, "pending_blacklist", "Pending Page Blacklist", word);
    put_leaf(out, "pending_retirement", NULL, word);
    close_group(out, "retired_pages");
}

static void put_graphics_clocks(struct writer *out, void *gpu, unsigned memory) {
    enum { MOST = 1024 };
    unsigned clocks[MOST], count = MOST;
    int result = CALL("nvmlDeviceGetSupportedGraphicsClocks", (void *, unsigned, unsigned *, unsigned *), gpu, memory,
                      &count, clocks);
    if (out->xml) {
        open_group(out, "supported_mem_clock", NULL);
        put_number(out, "value", NULL, memory, " MHz");
    } else {
        put_number(out, NULL, "Memory", memory, " MHz");
        out->depth++;
    }
    for (unsigned at = 0; !result && at < count; at++)
        put_number(out, "supported_graphics_clock", "Graphics", clocks[at], " MHz");
    close_group(out, "supported_mem_clock");
}

static void list_supported_clocks(struct writer *out, void *gpu) {
    unsigned clocks[64], count = COUNT_OF(clocks);
    int result = CALL("nvmlDeviceGetSupportedMemoryClocks", (void *, unsigned *, unsigned *), gpu, &count, clocks);
    if (result) return put_leaf(out, "supported_clocks", "Supported Clocks", absence(result));
    open_group(out, "supported_clocks", "Supported Clocks");
    for (unsigned at = 0; at < count; at++) put_graphics_clocks(out, gpu, clocks[at]);
    close_group(out, "supported_clocks");
}

enum { MOST_PROCESSES = 256 };

static unsigned find_processes(void *gpu, const char *function, struct process *out, int *result) {
    unsigned count = MOST_PROCESSES;
    *result = CALL(function, (void *, unsigned *, struct process *), gpu, &count, out);
    return *result ? 0 : count;
}

static void name_process(unsigned pid, char *out, size_t size) {
    int result = CALL("nvmlSystemGetProcessName", (unsigned, char *, unsigned), pid, out, (unsigned)size);
    if (result) snprintf(out, size, "[%s]", error_text(result));
}

static void write_instance(unsigned id, char *out, size_t size) {
    if (id == UINT_MAX)
        snprintf(out, size, "N/A");
    else
        snprintf(out, size, "%u", id);
}

static void write_process_memory(uint64_t bytes, const char *unit, char *out, size_t size) {
    if (bytes == UINT64_MAX)
        snprintf(out, size, "N/A");
    else
        snprintf(out, size, "%" PRIu64 "%s", mebibytes(bytes), unit);
}

static void put_process(struct writer *out, const struct process *process, const char *kind) {
    char name[1024], memory[32], instance[16], compute[16], pid[16];
    name_process(process->pid, name, sizeof name);
    write_process_memory(process->bytes, " MiB", memory, sizeof memory);
    write_instance(process->gpu_instance, instance, sizeof instance);
    write_instance(process->compute_instance, compute, sizeof compute);
    snprintf(pid, sizeof pid, "%u", process->pid);
    if (out->xml) open_group(out, "process_info", NULL);
    put_leaf(out, "gpu_instance_id", "GPU instance ID", instance);
    put_leaf(out, "compute_instance_id", "Compute instance ID", compute);
    put_leaf(out, "pid", "Process ID", pid);
    out->depth += !out->xml;
    put_leaf(out, "type", "Type", kind);
    put_leaf(out, "process_name", "Name", name);
    put_leaf(out, "used_memory", "Used GPU Memory", memory);
    out->depth -= !out->xml;
    if (out->xml) close_group(out, "process_info");
}

static void list_processes(struct writer *out, void *gpu) {
    static const struct { const char *function, *kind; } kinds[] = {
        {"nvmlDeviceGetGraphicsRunningProcesses_v3", "G"}, {"nvmlDeviceGetComputeRunningProcesses_v3", "C"},
        {"nvmlDeviceGetMPSComputeRunningProcesses_v3", "M+C"}};
    static struct process found[COUNT_OF(kinds)][MOST_PROCESSES];
    unsigned counts[COUNT_OF(kinds)], total = 0;
    int result;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        total += counts[kind] = find_processes(gpu, kinds[kind].function, found[kind], &result);
    if (!total && !out->xml) return put_leaf(out, NULL, "Processes", "None");
    open_group(out, "processes", "Processes");
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        for (unsigned at = 0; at < counts[kind]; at++) put_process(out, &found[kind][at], kinds[kind].kind);
    close_group(out, "processes");
}

static void put_accounted(struct writer *out, void *gpu, unsigned pid) {
    struct accounting kept = {0};
    if (CALL("nvmlDeviceGetAccountingStats", (void *, unsigned, void *), gpu, pid, &kept)) return;
    if (out->xml) open_group(out, "accounted_process_info", NULL);
    put_number(out, "pid", "Process ID", pid, "");
    out->depth += !out->xml;
    put_number(out, "gpu_util", "GPU Utilization", kept.gpu_percent, " %");
    put_number(out, "memory_util", "Memory Utilization", kept.memory_percent, " %");
    put_number(out, "max_memory_usage", "Max memory usage", mebibytes(kept.most_bytes), " MiB");
    put_number(out, "time", "Time", kept.milliseconds, " ms");
    put_number(out, "is_running", "Is Running", kept.running, "");
    out->depth -= !out->xml;
    if (out->xml) close_group(out, "accounted_process_info");
}

static void list_accounted(struct writer *out, void *gpu) {
    static unsigned pids[4096];
    unsigned count = COUNT_OF(pids);
    int result = CALL("nvmlDeviceGetAccountingPids", (void *, unsigned *, unsigned *), gpu, &count, pids);
    if (result) count = 0;
    if (!count && !out->xml) return put_leaf(out, NULL, "Accounted Processes", "None");
    open_group(out, "accounted_processes", "Accounted Processes");
    for (unsigned at = 0; at < count; at++) put_accounted(out, gpu, pids[at]);
    close_group(out, "accounted_processes");
}
