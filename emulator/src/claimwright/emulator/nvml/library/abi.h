/* The public records and numbers of NVML that the hand-written bodies use, declared by us and checked against the
 * sizes read from nvml.h (_generated/layouts.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "_generated/layouts.h"

enum result {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    CORRUPTED_INFOROM = 14,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    OPERATING_SYSTEM = 17,
    LIB_RM_VERSION_MISMATCH = 18,
    MEMORY = 20,
    INSUFFICIENT_RESOURCES = 23,
    ARGUMENT_VERSION_MISMATCH = 25,
    GPU_NOT_FOUND = 28,
    UNKNOWN = 999,
};

enum value_type { VALUE_DOUBLE = 0, VALUE_U32 = 1, VALUE_UNSIGNED_LONG = 2, VALUE_U64 = 3, VALUE_I64 = 4, VALUE_I32 = 5 };

#define MATCHES(type, name) _Static_assert(sizeof(type) == SIZE_##name, #name)

union value {
    double real;
    int32_t i32;
    uint32_t u32;
    unsigned long word;
    uint64_t u64;
    int64_t i64;
};
MATCHES(union value, nvmlValue_t);

struct pci_info {
    char legacy_bus_id[16];
    uint32_t domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};
MATCHES(struct pci_info, nvmlPciInfo_t);

struct pci_info_ext {
    uint32_t version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
    char bus_id[32];
};
MATCHES(struct pci_info_ext, nvmlPciInfoExt_v1_t);

struct memory {
    uint64_t total, free, used;
};
MATCHES(struct memory, nvmlMemory_t);

struct memory_v2 {
    uint32_t version;
    uint64_t total, reserved, free, used;
};
MATCHES(struct memory_v2, nvmlMemory_v2_t);

struct bar1_memory {
    uint64_t total, free, used;
};
MATCHES(struct bar1_memory, nvmlBAR1Memory_t);

struct utilization {
    uint32_t gpu, memory;
};
MATCHES(struct utilization, nvmlUtilization_t);

struct process_v1 {
    uint32_t pid;
    uint64_t used_bytes;
};
MATCHES(struct process_v1, nvmlProcessInfo_v1_t);

struct process_v2 {
    uint32_t pid;
    uint64_t used_bytes;
    uint32_t gpu_instance, compute_instance;
};
MATCHES(struct process_v2, nvmlProcessInfo_v2_t);

struct process_detail {
    uint32_t pid;
    uint64_t used_bytes;
    uint32_t gpu_instance, compute_instance;
    uint64_t protected_bytes;
};
MATCHES(struct process_detail, nvmlProcessDetail_v1_t);

struct process_detail_list {
    uint32_t version, mode, count;
    struct process_detail *entries;
};
MATCHES(struct process_detail_list, nvmlProcessDetailList_v1_t);

struct process_utilization {
    uint32_t pid;
    uint64_t timestamp_us;
    uint32_t sm, memory, encoder, decoder;
};
MATCHES(struct process_utilization, nvmlProcessUtilizationSample_t);

struct process_utilization_info {
    uint64_t timestamp_us;
    uint32_t pid, sm, memory, encoder, decoder, jpeg, ofa;
};
MATCHES(struct process_utilization_info, nvmlProcessUtilizationInfo_v1_t);

struct processes_utilization {
    uint32_t version, count;
    uint64_t last_seen_us;
    struct process_utilization_info *entries;
};
MATCHES(struct processes_utilization, nvmlProcessesUtilizationInfo_v1_t);

struct field_value {
    uint32_t field, scope;
    int64_t timestamp_us, latency_us;
    uint32_t type, result;
    union value value;
};
MATCHES(struct field_value, nvmlFieldValue_t);

struct event_data {
    void *device;
    uint64_t type, data;
    uint32_t gpu_instance, compute_instance;
};
MATCHES(struct event_data, nvmlEventData_t);

struct event_v3 {
    uint32_t timeout_ms, data_type;
    char uuid[96], source_module[16];
    uint64_t type, data, group, instance, timestamp_us, trace;
    uint32_t gpu_instance, compute_instance, severity, category, code, scope, originator, module, chiplet, log_level;
    uint32_t attributes, record_size, group_attributes;
    uint8_t group_size, group_index;
};
MATCHES(struct event_v3, nvmlEventSetWait_v3_t);

struct operational_config {
    char uuid[96];
    uint32_t log_level, severity;
};
MATCHES(struct operational_config, nvmlGpuOperationalEventConfig_v1_t);

struct context_info {
    uint32_t index, type, source_type, size;
    uint16_t format;
};
MATCHES(struct context_info, nvmlEventSetGetContextInfo_v1_t);

struct context_data {
    void *data;
    uint32_t index, size;
};
MATCHES(struct context_data, nvmlEventSetGetContextData_v1_t);

struct context_xid {
    uint32_t index, xid;
};
MATCHES(struct context_xid, nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1_t);

struct system_set {
    uint32_t version;
    void *set;
};
MATCHES(struct system_set, nvmlSystemEventSetCreateRequest_v1_t);
MATCHES(struct system_set, nvmlSystemEventSetFreeRequest_v1_t);

struct system_register {
    uint32_t version;
    uint64_t types;
    void *set;
};
MATCHES(struct system_register, nvmlSystemRegisterEventRequest_v1_t);

struct system_event {
    uint64_t type;
    uint32_t gpu;
};
MATCHES(struct system_event, nvmlSystemEventData_v1_t);

struct system_wait {
    uint32_t version, timeout_ms;
    void *set;
    struct system_event *events;
    uint32_t room, count;
};
MATCHES(struct system_wait, nvmlSystemEventSetWaitRequest_v1_t);

struct fabric_v1 {
    uint8_t cluster_uuid[16];
    uint32_t status, clique;
    uint8_t state;
};
MATCHES(struct fabric_v1, nvmlGpuFabricInfo_t);

struct fabric_v2 {
    uint32_t version;
    uint8_t cluster_uuid[16];
    uint32_t status, clique;
    uint8_t state;
    uint32_t health_mask;
};
MATCHES(struct fabric_v2, nvmlGpuFabricInfo_v2_t);

struct fabric_v3 {
    uint32_t version;
    uint8_t cluster_uuid[16];
    uint32_t status, clique;
    uint8_t state;
    uint32_t health_mask;
    uint8_t health_summary;
};
MATCHES(struct fabric_v3, nvmlGpuFabricInfo_v3_t);

struct fabric_clique {
    uint8_t type;
    uint32_t id;
};

struct fabric_v4 {
    uint8_t cluster_uuid[16];
    uint32_t status;
    struct fabric_clique cliques[64];
    uint32_t clique_count;
    uint8_t state;
    uint32_t health_mask;
    uint8_t health_summary;
};
MATCHES(struct fabric_v4, nvmlGpuFabricInfo_v4_t);

struct addressing_mode {
    uint32_t version, value;
};
MATCHES(struct addressing_mode, nvmlDeviceAddressingMode_v1_t);

struct temperature {
    uint32_t version, sensor;
    int32_t celsius;
};
MATCHES(struct temperature, nvmlTemperature_v1_t);

struct margin_temperature {
    uint32_t version;
    int32_t celsius;
};
MATCHES(struct margin_temperature, nvmlMarginTemperature_v1_t);

struct pdi {
    uint32_t version;
    uint64_t value;
};
MATCHES(struct pdi, nvmlPdi_v1_t);

struct uuid {
    uint32_t version, type;
    union {
        char text[41];
        uint8_t bytes[16];
    } value;
};
MATCHES(struct uuid, nvmlUUID_v1_t);

struct driver_branch {
    uint32_t version;
    char branch[80];
};
MATCHES(struct driver_branch, nvmlSystemDriverBranchInfo_v1_t);

struct power_value {
    uint32_t version;
    uint8_t scope;
    uint32_t milliwatts;
};
MATCHES(struct power_value, nvmlPowerValue_v2_t);

struct c2c_mode {
    uint32_t enabled;
};
MATCHES(struct c2c_mode, nvmlC2cModeInfo_v1_t);

struct row_remapper {
    uint32_t max, high, partial, low, none;
};
MATCHES(struct row_remapper, nvmlRowRemapperHistogramValues_t);

struct remapped_rows {
    uint32_t corrected, corrected_inactive, uncorrected, uncorrected_inactive, pending, failure;
};
MATCHES(struct remapped_rows, nvmlRemappedRowsInfo_v2_t);

struct repair_status {
    uint32_t version, channel_pending, tpc_pending;
};
MATCHES(struct repair_status, nvmlRepairStatus_v1_t);

struct sram_ecc {
    uint32_t version;
    uint64_t counts[11];
    uint32_t threshold_exceeded;
};
MATCHES(struct sram_ecc, nvmlEccSramErrorStatus_v1_t);

struct ecc_counts {
    uint64_t l1, l2, device_memory, register_file;
};
MATCHES(struct ecc_counts, nvmlEccErrorCounts_t);

struct capabilities {
    uint32_t version, mask;
};
MATCHES(struct capabilities, nvmlDeviceCapabilities_v1_t);

struct confidential_memory {
    uint64_t protected_kib, unprotected_kib;
};
MATCHES(struct confidential_memory, nvmlConfComputeMemSizeInfo_t);

struct clock_offset {
    uint32_t version, type, pstate;
    int32_t offset, lowest, highest;
};
MATCHES(struct clock_offset, nvmlClockOffset_v1_t);

struct encoder_stats_fbc {
    uint32_t sessions, average_fps, average_latency;
};
MATCHES(struct encoder_stats_fbc, nvmlFBCStats_t);

struct gpm_support {
    uint32_t version, supported;
};
MATCHES(struct gpm_support, nvmlGpmSupport_t);
