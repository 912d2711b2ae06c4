/* The plain table, and -L. */

#define PROPERTY(variable, name) \
    char variable[MOST_CELL];    \
    read_property(gpu, name, variable, sizeof variable)

static const char *const RULE = "+-----------------------------------------+------------------------+----------------------+";
static const char *const WIDE_RULE = "+-----------------------------------------------------------------------------------------+";

enum { NAME_COLUMN = 27, PROCESS_COLUMN = 32 };

static bool is_told(const char *text) { return isdigit((unsigned char)*text); }

/* A long board name loses its end, a long process name its beginning: what tells it from others stays. */
static void cut_end(char *text, size_t width) {
    if (strlen(text) > width) strcpy(text + width - 3, "...");
}

static const char *cut_beginning(char *text, size_t width) {
    size_t length = strlen(text);
    return length > width ? memcpy(text + length - width, "...", 3) : text;
}

static void write_share(const char *property, char *out, size_t size) {
    snprintf(out, size, is_told(property) ? "%.3s%%" : "%.3s", property);
}

static void write_draw(const char *draw, const char *limit, char *out, size_t size) {
    char left[24] = "N/A ", right[24] = "N/A ";
    if (is_told(draw)) snprintf(left, sizeof left, "%.0fW", atof(draw));
    if (is_told(limit)) snprintf(right, sizeof right, "%.0fW", atof(limit));
    snprintf(out, size, "%s / %5s", left, right);
}

static void write_amounts(const char *used, const char *total, char *out, size_t size) {
    if (is_told(total))
        snprintf(out, size, "%.10sMiB / %6.10sMiB", used, total);
    else
        snprintf(out, size, "N/A  ");
}

/* Errors of a GPU in MIG mode belong to its instances: only that they are counted is told. */
static void write_errors(void *gpu, char *out, size_t size) {
    PROPERTY(ecc, "ecc.mode.current");
    read_property(gpu, "ecc.errors.uncorrected.volatile.total", out, size);
    if (*ecc == 'D') snprintf(out, size, "Off");
    if (*ecc == 'E' && is_in_mig_mode(gpu)) snprintf(out, size, "On");
}

static void show_identity(void *gpu) {
    PROPERTY(name, "name");
    PROPERTY(persistence, "persistence_mode");
    PROPERTY(bus, "pci.bus_id");
    PROPERTY(display, "display_active");
    char errors[MOST_CELL];
    write_errors(gpu, errors, sizeof errors);
    cut_end(name, NAME_COLUMN);
    printf("| %3u  %-*s %6s | %18s %3s | %20.20s |\n", index_of(gpu), NAME_COLUMN, name, *persistence == 'E' ? "On " : "Off",
           bus, *display == 'E' ? "On" : "Off", errors);
}

static void show_load(void *gpu) {
    PROPERTY(fan, "fan.speed");
    PROPERTY(heat, "temperature.gpu");
    PROPERTY(state, "pstate");
    PROPERTY(draw, "power.draw");
    PROPERTY(limit, "power.limit");
    PROPERTY(used, "memory.used");
    PROPERTY(total, "memory.total");
    PROPERTY(busy, "utilization.gpu");
    PROPERTY(mode, "compute_mode");
    char watts[64], memory[48], speed[16], load[16], celsius[16];
    write_share(fan, speed, sizeof speed);
    snprintf(celsius, sizeof celsius, is_told(heat) ? "%.3sC" : "%.3s", heat);
    write_draw(draw, limit, watts, sizeof watts);
    write_amounts(used, total, memory, sizeof memory);
    write_share(busy, load, sizeof load);
    if (!strcmp(mode, "Exclusive_Process")) snprintf(mode, sizeof mode, "E. Process");
    printf("|%4s  %4s    %-3.3s %22s | %22s | %7s %12.12s |\n", speed, celsius, state, watts, memory, load, mode);
}

static void show_gpu(void *gpu) {
    PROPERTY(mig, "mig.mode.current");
    show_identity(gpu);
    show_load(gpu);
    printf("| %39s | %22s | %20s |\n%s\n", "", "", mig, RULE);
}

/* Driver 580 changed the table here and there: its heading says that compute instances share an instance's memory. */
static bool is_renewed(void) { return driver_branch >= 580000; }

static void show_mig_device(void *gpu, void *device, unsigned index) {
    struct attributes has = {0};
    struct memory_v2 memory = VERSIONED(memory, 2);
    struct memory_v1 bar1 = {0};
    unsigned instance = 0, compute = 0;
    uint64_t errors = 0;
    char usage[48], window[48];
    CALL("nvmlDeviceGetAttributes_v2", (void *, void *), device, &has);
    CALL("nvmlDeviceGetGpuInstanceId", (void *, unsigned *), device, &instance);
    CALL("nvmlDeviceGetComputeInstanceId", (void *, unsigned *), device, &compute);
    CALL("nvmlDeviceGetMemoryInfo_v2", (void *, void *), device, &memory);
    CALL("nvmlDeviceGetBAR1MemoryInfo", (void *, void *), device, &bar1);
    CALL("nvmlDeviceGetMemoryErrorCounter", (void *, unsigned, unsigned, unsigned, uint64_t *), device, 1u, 0u,
         (unsigned)SRAM, &errors);
    snprintf(usage, sizeof usage, "%" PRIu64 "MiB / %5" PRIu64 "MiB", mebibytes(memory.used), mebibytes(memory.total));
    snprintf(window, sizeof window, "%" PRIu64 "MiB / %5" PRIu64 "MiB", mebibytes(bar1.used), mebibytes(bar1.total));
    printf("| %2u  %3u  %2u  %2u  | %29.29s    |%3u  %5" PRIu64 " | %2u %3u  %3u  %3u  %3u |\n", index_of(gpu), instance, compute,
           index, usage, has.multiprocessors, errors, has.copy_engines, has.encoders, has.decoders, has.ofa_engines,
           has.jpeg_engines);
    printf("|                  | %*.31s%s|           |                       |\n", is_renewed() ? 29 : 31, window,
           is_renewed() ? "    " : "  ");
    puts("+------------------+----------------------------------+-----------+-----------------------+");
}

static void show_mig_devices(void) {
    bool in_mode = false, any = false;
    for (unsigned at = 0; at < chosen_count; at++) in_mode |= is_in_mig_mode(chosen[at]);
    if (!in_mode) return;
    printf("\n%s\n", WIDE_RULE);
    puts("| MIG devices:                                                                            |");
    puts("+------------------+----------------------------------+-----------+-----------------------+");
    const char *shared = is_renewed() ? "Shared" : "";
    printf("| GPU  GI  CI  MIG |%20s Memory-Usage |        Vol|        Shared         |\n", shared);
    printf("|      ID  ID  Dev |%22s BAR1-Usage | SM     Unc| CE ENC  DEC  OFA  JPG |\n", shared);
    puts("|                  |                                  |        ECC|                       |");
    puts("|==================+==================================+===========+=======================|");
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned most = is_in_mig_mode(chosen[at]) ? most_mig_devices(chosen[at]) : 0;
        for (unsigned index = 0; index < most; index++) {
            void *device = mig_device_at(chosen[at], index);
            if (device) show_mig_device(chosen[at], device, index);
            any |= device != NULL;
        }
    }
    if (!any) printf("|  No MIG devices found                                                                   |\n%s\n", WIDE_RULE);
}

static unsigned show_processes(void *gpu, const char *function, const char *kind) {
    static struct process found[MOST_PROCESSES];
    int result;
    unsigned count = find_processes(gpu, function, found, &result);
    for (unsigned at = 0; at < count; at++) {
        char name[1024], memory[32], instance[16], compute[16];
        name_process(found[at].pid, name, sizeof name);
        write_process_memory(found[at].bytes, "MiB", memory, sizeof memory);
        if (!is_told(memory)) snprintf(memory, sizeof memory, "N/A     ");
        write_instance(found[at].gpu_instance, instance, sizeof instance);
        write_instance(found[at].compute_instance, compute, sizeof compute);
        printf("| %4u %5s %4s %15u %6s   %-*s%14s |\n", index_of(gpu), instance, compute, found[at].pid, kind,
               PROCESS_COLUMN, cut_beginning(name, PROCESS_COLUMN), memory);
    }
    return count;
}

static void show_all_processes(void) {
    unsigned count = 0;
    printf("%*s\n%s\n", is_renewed() ? 0 : 89, "", WIDE_RULE); /* older ones fill the line */
    puts("| Processes:                                                                              |");
    puts("|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |");
    puts("|        ID   ID                                                               Usage      |");
    puts("|=========================================================================================|");
    for (unsigned at = 0; at < chosen_count; at++) {
        count += show_processes(chosen[at], "nvmlDeviceGetGraphicsRunningProcesses_v3", "G");
        count += show_processes(chosen[at], "nvmlDeviceGetComputeRunningProcesses_v3", "C");
        count += show_processes(chosen[at], "nvmlDeviceGetMPSComputeRunningProcesses_v3", "M+C");
    }
    if (!count) puts("|  No running processes found                                                             |");
    puts(WIDE_RULE);
}

static int show_table(void) {
    char date[64], cuda[16];
    write_date(date, sizeof date);
    write_cuda_version(cuda, sizeof cuda);
    printf("%-31s\n%s\n", date, WIDE_RULE);
    printf("| NVIDIA-SMI %-22.22s Driver Version: %-14.14s CUDA Version: %-8.8s |\n", driver_version, driver_version, cuda);
    printf("%c%s\n", is_renewed() ? '+' : '|', RULE + 1);
    puts("| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |");
    puts("| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |");
    puts("|                                         |                        |               MIG M. |");
    puts("|=========================================+========================+======================|");
    for (unsigned at = 0; at < chosen_count; at++) show_gpu(chosen[at]);
    show_mig_devices();
    show_all_processes();
    return OK;
}

/* The profile part of a MIG device's name, "NVIDIA H100 80GB HBM3 MIG 1g.10gb". */
static const char *profile_in(const char *name) {
    const char *mark = strstr(name, " MIG ");
    return mark ? mark + 5 : name;
}

static void list_mig_of(void *gpu) {
    unsigned most = is_in_mig_mode(gpu) ? most_mig_devices(gpu) : 0;
    for (unsigned index = 0; index < most; index++) {
        char name[96] = "", uuid[96] = "";
        void *device = mig_device_at(gpu, index);
        if (!device) continue;
        CALL("nvmlDeviceGetName", (void *, char *, unsigned), device, name, sizeof name);
        CALL("nvmlDeviceGetUUID", (void *, char *, unsigned), device, uuid, sizeof uuid);
        printf("  MIG %-11s Device %2u: (UUID: %s)\n", profile_in(name), index, uuid);
    }
}

static int list_gpu(void *gpu) {
    char name[96] = "", uuid[96] = "";
    int result = CALL("nvmlDeviceGetName", (void *, char *, unsigned), gpu, name, sizeof name);
    if (!result) result = CALL("nvmlDeviceGetUUID", (void *, char *, unsigned), gpu, uuid, sizeof uuid);
    if (result) return complain(result);
    printf("GPU %u: %s (UUID: %s)\n", index_of(gpu), name, uuid);
    return OK;
}

static int list_gpus(void) {
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = list_gpu(chosen[at]);
        if (result) return result;
        list_mig_of(chosen[at]);
    }
    return OK;
}
