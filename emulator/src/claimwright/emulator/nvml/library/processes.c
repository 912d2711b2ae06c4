/* Process lists: one kind of process per function, one record type per function version. */

enum process_kind { COMPUTE = 0, GRAPHICS = 1, MPS = 2, ANY_KIND = 3 };

static uint32_t copy_processes(const struct cw_gpu *page, enum process_kind kind, struct cw_process *out) {
    uint32_t found = 0, total = page->process_count;
    for (uint32_t index = 0; index < total && index < CW_PROCESSES; index++)
        if (kind == ANY_KIND || page->processes[index].kind == (uint32_t)kind) out[found++] = page->processes[index];
    return found;
}

/* The three record types share their first members; the old one ends after the memory. */
static void write_process(const struct cw_process *from, void *records, uint32_t index, size_t record_bytes) {
    struct process_v2 full = {
        .pid = from->pid, .used_bytes = from->used_bytes, .gpu_instance = from->gpu_instance,
        .compute_instance = from->compute_instance};
    memcpy((uint8_t *)records + index * record_bytes, &full, record_bytes);
}

static int give_processes(void *device, uint32_t *count, void *records, enum process_kind kind, size_t record_bytes) {
    struct cw_process all[CW_PROCESSES];
    OPEN(device, page);
    NEED(count);
    uint32_t found, room = *count;
    CONSISTENTLY(page, found = copy_processes(page, kind, all));
    *count = found;
    if (room < found) return INSUFFICIENT_SIZE;
    NEED(records || !found);
    for (uint32_t index = 0; index < found; index++) write_process(&all[index], records, index, record_bytes);
    return finish();
}

#define PROCESSES(function, kind, type)                                     \
    API(function)(void *device, uint32_t *count, type *records) {           \
        return give_processes(device, count, records, kind, sizeof *records); \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses, COMPUTE, struct process_v1)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE, struct process_v2)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE, struct process_v2)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, GRAPHICS, struct process_v1)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS, struct process_v2)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS, struct process_v2)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses, MPS, struct process_v1)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS, struct process_v2)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS, struct process_v2)

API(nvmlDeviceGetRunningProcessDetailList)(void *device, struct process_detail_list *out) {
    struct cw_process all[CW_PROCESSES];
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlProcessDetailList_v1_t);
    NEED(out->mode <= ANY_KIND);
    uint32_t found, room = out->count;
    CONSISTENTLY(page, found = copy_processes(page, out->mode, all));
    out->count = found;
    if (room < found) return INSUFFICIENT_SIZE;
    NEED(out->entries || !found);
    for (uint32_t index = 0; index < found; index++)
        out->entries[index] = (struct process_detail){
            .pid = all[index].pid, .used_bytes = all[index].used_bytes, .gpu_instance = all[index].gpu_instance,
            .compute_instance = all[index].compute_instance};
    return finish();
}

static uint64_t now_us(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_usec;
}

API(nvmlDeviceGetProcessUtilization)(void *device, struct process_utilization *samples, uint32_t *count, uint64_t since) {
    struct cw_process all[CW_PROCESSES];
    OPEN(device, page);
    NEED_WHOLE(page);
    NEED(count);
    (void)since;
    uint32_t found, room = *count;
    CONSISTENTLY(page, found = copy_processes(page, ANY_KIND, all));
    *count = found;
    if (!found) return NOT_FOUND; /* no sample since then */
    if (!samples || room < found) return INSUFFICIENT_SIZE;
    for (uint32_t index = 0; index < found; index++)
        samples[index] = (struct process_utilization){
            .pid = all[index].pid, .timestamp_us = now_us(), .sm = all[index].sm_percent,
            .memory = all[index].memory_percent};
    return finish();
}

API(nvmlDeviceGetProcessesUtilizationInfo)(void *device, struct processes_utilization *out) {
    struct cw_process all[CW_PROCESSES];
    OPEN(device, page);
    NEED_WHOLE(page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlProcessesUtilizationInfo_v1_t);
    uint32_t found, room = out->count;
    CONSISTENTLY(page, found = copy_processes(page, ANY_KIND, all));
    out->count = found;
    if (!found) return NOT_FOUND;
    if (!out->entries || room < found) return INSUFFICIENT_SIZE;
    for (uint32_t index = 0; index < found; index++)
        out->entries[index] = (struct process_utilization_info){
            .timestamp_us = now_us(), .pid = all[index].pid, .sm = all[index].sm_percent,
            .memory = all[index].memory_percent};
    return finish();
}
