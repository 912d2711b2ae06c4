/* The records of nvml.h that this tool exchanges with the library. */
#pragma once

struct pci_info {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct pci_info_ext {
    unsigned version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
    char bus_id[32];
};

struct memory_v2 {
    unsigned version;
    uint64_t total, reserved, free, used;
};

struct memory_v1 {
    uint64_t total, free, used;
};

struct field_value {
    unsigned field, scope;
    int64_t timestamp_us, latency_us;
    unsigned type;
    int result;
    union {
        double real;
        int32_t i32;
        uint32_t u32;
        uint64_t u64;
    } value;
};

struct versioned_number {
    unsigned version;
    int value;
};

struct versioned_u64 {
    unsigned version;
    uint64_t value;
};

struct sram_status {
    unsigned version;
    uint64_t aggregate_parity, aggregate_secded, aggregate_corrected, volatile_parity, volatile_secded,
        volatile_corrected, l2, sm, pcie, microcontroller, other;
    unsigned threshold_exceeded;
};

struct repair_status {
    unsigned version, channel_pending, tpc_pending;
};

struct remapped_rows {
    unsigned corrected, corrected_inactive, uncorrected, uncorrected_inactive, pending, failure;
};

struct row_histogram {
    unsigned max, high, partial, low, none;
};

struct platform {
    unsigned version;
    unsigned char guid[16], chassis_serial[16], slot, tray, host, peer_type, module;
};

struct fabric {
    unsigned version;
    unsigned char cluster_uuid[16];
    unsigned status, clique;
    unsigned char state;
    unsigned health_mask;
    unsigned char health_summary;
};

struct process {
    unsigned pid;
    uint64_t bytes;
    unsigned gpu_instance, compute_instance;
};

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpeg_engines, ofa_engines, gpu_slices, compute_slices;
    uint64_t memory_mib;
};

struct accounting {
    unsigned gpu_percent, memory_percent;
    uint64_t most_bytes, milliseconds, start_us;
    unsigned running, reserved[5];
};

struct placement {
    unsigned start, size;
};

struct gpu_instance_profile {
    unsigned version, id, p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpeg_engines,
        ofa_engines;
    uint64_t memory_mib;
    char name[96];
};

struct gpu_instance {
    void *device;
    unsigned id, profile;
    struct placement placement;
};

struct compute_instance_profile {
    unsigned version, id, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpeg_engines, ofa_engines;
    char name[96];
};

struct compute_instance {
    void *device, *gpu_instance;
    unsigned id, profile;
    struct placement placement;
};
