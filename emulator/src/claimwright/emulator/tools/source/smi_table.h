/* The plain table. */
#pragma once

static void cell(void *device, const char *name, bool units, char *out, size_t size) {
    read_cell(find_field(name), device, units, out, size);
    if (out[0] == '[') snprintf(out, size, "N/A");
}

#define CELL(variable, name, units) \
    char variable[160];             \
    cell(device, name, units, variable, sizeof variable)

static void show_gpu(void *device) {
    CELL(index, "index", false);
    CELL(name, "name", false);
    CELL(persistence, "persistence_mode", false);
    CELL(bus, "pci.bus_id", false);
    CELL(display, "display_active", false);
    CELL(errors, "ecc.errors.uncorrected.volatile.total", false);
    CELL(fan, "fan.speed", true);
    CELL(heat, "temperature.gpu", false);
    CELL(state, "pstate", false);
    CELL(draw, "power.draw", false);
    CELL(limit, "power.limit", false);
    CELL(used, "memory.used", false);
    CELL(total, "memory.total", false);
    CELL(busy, "utilization.gpu", false);
    CELL(mode, "compute_mode", false);
    CELL(mig, "mig.mode.current", false);
    char watts[48], memory[48];
    snprintf(watts, sizeof watts, "%.0fW / %4.0fW", atof(draw), atof(limit));
    snprintf(memory, sizeof memory, "%.12sMiB / %.12sMiB", used, total);
    printf("| %3s  %-23.23s %8s | %18s %s | %20s |\n", index, name, *persistence == 'E' ? "On" : "Off", bus,
           *display == 'E' ? " On" : "Off", errors);
    printf("| %-4s %3sC   %-4s %20s | %22s | %6s%% %12.12s |\n", fan, heat, state, watts, memory, busy, mode);
    printf("| %37s | %22s | %20s |\n", "", "", mig);
    puts("+---------------------------------------+------------------------+----------------------+");
}

struct process {
    unsigned pid;
    uint64_t bytes;
    unsigned instances[2];
};

static unsigned show_processes(void *device, const char *function, char kind) {
    struct process found[64];
    unsigned count = 64, index = 0;
    int result = ((int (*)(void *, unsigned *, struct process *))call(function))(device, &count, found);
    nvml.index(device, &index);
    for (unsigned at = 0; !result && at < count; at++) {
        char name[64] = "";
        int (*name_of)(unsigned, char *, unsigned) = call("nvmlSystemGetProcessName");
        if (name_of(found[at].pid, name, sizeof name)) snprintf(name, sizeof name, "[Not Found]");
        printf("| %4u   N/A  N/A %14u   %4c   %-33.33s %8lluMiB |\n", index, found[at].pid, kind, name,
               (unsigned long long)(found[at].bytes >> 20));
    }
    return result ? 0 : count;
}

static void show_all_processes(void) {
    unsigned count = 0;
    puts("\n+---------------------------------------------------------------------------------------+");
    puts("| Processes:                                                                            |");
    puts("|  GPU   GI   CI             PID   Type   Process name                       GPU Memory |");
    puts("|=======================================================================================|");
    for (unsigned at = 0; at < chosen_count; at++) {
        count += show_processes(chosen[at], "nvmlDeviceGetComputeRunningProcesses_v3", 'C');
        count += show_processes(chosen[at], "nvmlDeviceGetGraphicsRunningProcesses_v3", 'G');
    }
    if (!count) puts("|  No running processes found                                                           |");
    puts("+---------------------------------------------------------------------------------------+");
}

static int show_table(void) {
    char driver[80] = "", now[64];
    int cuda = 0;
    time_t clock = time(NULL);
    struct tm local;
    nvml.driver_version(driver, sizeof driver);
    nvml.cuda_version(&cuda);
    strftime(now, sizeof now, "%a %b %e %H:%M:%S %Y", localtime_r(&clock, &local));
    puts(now);
    puts("+---------------------------------------------------------------------------------------+");
    printf("| NVIDIA-SMI %-19s Driver Version: %-18s CUDA Version: %2d.%-2d |\n", driver, driver, cuda / 1000,
           cuda % 1000 / 10);
    puts("+---------------------------------------+------------------------+----------------------+");
    puts("| GPU  Name              Persistence-M  | Bus-Id          Disp.A | Volatile Uncorr. ECC |");
    puts("| Fan  Temp   Perf       Pwr:Usage/Cap  |           Memory-Usage | GPU-Util  Compute M. |");
    puts("|                                       |                        |               MIG M. |");
    puts("|=======================================+========================+======================|");
    for (unsigned at = 0; at < chosen_count; at++) show_gpu(chosen[at]);
    show_all_processes();
    return 0;
}
