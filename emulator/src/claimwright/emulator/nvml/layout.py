"""The shared pages and socket messages, described once: `generate` writes the C structs from here.

A number that the hardware does not report is stored as ABSENT (or the kind's equivalent) and answered NOT_SUPPORTED.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from claimwright.emulator.nvml.records import record

MAGIC = 0x4D564E4C57414C43  # "CLAWLNVM" in memory order
ABI = 5
CAPACITY = 32  # GPUs of one node; NVML's own PCI limits allow no more on any board we model
HEADER_BYTES = 4096
PAGE_BYTES = 8192
LINKS = 36  # NVML_NVLINK_MAX_LINKS of header 13.5
PROCESSES = 64
PACKET_BYTES = 160 << 10  # the longest packet: NVML's longest record has 113 KiB

ABSENT = 0xFFFFFFFF
ABSENT_I32 = -0x80000000
ABSENT_U64 = 0xFFFFFFFFFFFFFFFF


class PageFlag(IntFlag):
    """State bits of a GPU page."""

    LISTED = 1  # the NVIDIA kernel driver holds the function
    LOST = 2  # fell off the bus


class Operation(IntEnum):
    """Commands on the socket."""

    SET_PERSISTENCE_MODE = 1
    SET_COMPUTE_MODE = 2
    SET_POWER_LIMIT = 3
    SET_ECC_MODE = 4
    CLEAR_ECC_COUNTS = 5
    LOCK_GPU_CLOCKS = 6
    RESET_GPU_CLOCKS = 7
    SET_TIME_SLICE = 8
    REGISTER_EVENTS = 9
    CALL = 10  # a function of NVML by its number, `slot`; the parts of shapes.py follow
    REGISTER_SYSTEM_EVENTS = 11


class Result(IntEnum):
    """NVML return codes that the server gives (nvmlReturn_t)."""

    SUCCESS = 0
    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    ALREADY_INITIALIZED = 5
    NOT_FOUND = 6
    INSUFFICIENT_SIZE = 7
    INSUFFICIENT_POWER = 8
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    IRQ_ISSUE = 11
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    CORRUPTED_INFOROM = 14
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    OPERATING_SYSTEM = 17
    LIB_RM_VERSION_MISMATCH = 18
    IN_USE = 19
    MEMORY = 20
    NO_DATA = 21
    VGPU_ECC_NOT_SUPPORTED = 22
    INSUFFICIENT_RESOURCES = 23
    FREQ_NOT_SUPPORTED = 24
    ARGUMENT_VERSION_MISMATCH = 25
    DEPRECATED = 26
    NOT_READY = 27
    GPU_NOT_FOUND = 28
    INVALID_STATE = 29
    RESET_TYPE_NOT_SUPPORTED = 30
    UNKNOWN = 999


LINK = record("link", "u32 active", "u32 remote_type", "u32 domain", "u32 bus", "u32 device", "u32 function",
              "u32 device_id", "u32 subsystem_id", "u32 remote_link", "u32 wired", "u32 errors[5]")  # fmt: skip

PROCESS = record("process", "u32 pid", "u32 kind", "u64 used_bytes", "u32 gpu_instance", "u32 compute_instance",
                 "u32 sm_percent", "u32 memory_percent")  # fmt: skip

# A function that is slow or fails: CRC-32 of its name, a GPU's slot or ABSENT, and the result (0: its own).
CALL_FAULTS = 32
CALL_FAULT = record("call_fault", "u32 function", "u32 slot", "u32 delay_ms", "i32 result")

# What the server alone writes once, then the owner's robust mutex: the kernel marks it when the owner dies.
HEADER = record(
    "header",
    "u64 magic", "u32 abi", "u32 capacity", "u32 page_bytes", "u32 gpu_count",
    "i32 cuda_version", "u32 topology_generation",
    "char driver_version[80]", "char nvml_version[80]", "char branch[80]", "char node_name[64]",
    "u8 topology[1024]", "u8 nvlink_peers[1024]",
    "u32 library_mismatch", "u32 call_fault_count", "call_fault call_faults[32]",
    size=HEADER_BYTES - 128, parts=(CALL_FAULT,),
)  # fmt: skip

OWNER = record("owner", "u32 lock", "u32 unused[15]", "u32 closed", "u32 driver_gone", size=128)
OWNER_OFFSET = HEADER_BYTES - OWNER.size
CLOSED_OFFSET = OWNER_OFFSET + OWNER.fields[2].offset
DRIVER_GONE_OFFSET = OWNER_OFFSET + OWNER.fields[3].offset

# Members that change while a node runs come first, so that one command rewrites few bytes.
GPU = record(
    "gpu",
    "u32 sequence", "u32 flags", "u32 persistence_mode", "u32 compute_mode", "u32 time_slice",
    "u32 mig_current", "u32 mig_pending", "u32 performance_state",
    "u32 temperature", "u32 memory_temperature", "i32 temperature_margin",
    "u32 power_usage_mw", "u32 power_limit_mw",
    "u32 clocks[4]", "u32 application_clocks[4]",
    "u32 gpu_percent", "u32 memory_percent", "u32 encoder_percent", "u32 decoder_percent",
    "u32 jpeg_percent", "u32 ofa_percent", "u32 link_threshold",
    "u32 ecc_current", "u32 ecc_pending",
    "u64 ecc_volatile_corrected", "u64 ecc_volatile_uncorrected",
    "u64 ecc_aggregate_corrected", "u64 ecc_aggregate_uncorrected",
    "u64 memory_used", "u64 bar1_used", "u64 event_reasons",
    "u32 fabric_state", "u32 fabric_status", "u32 fabric_clique", "u32 fabric_health_mask",
    "u32 fabric_health_summary", "u8 fabric_uuid[16]",
    "u32 recovery_action", "u32 rows_corrected", "u32 rows_uncorrected", "u32 rows_pending", "u32 rows_failed",
    "u32 pages_single_bit", "u32 pages_double_bit", "u32 pages_pending_single_bit", "u32 pages_pending_double_bit",
    "u32 retires_pages",
    "u32 link_generation", "u32 link_width", "u32 replays", "u32 inforom_valid",
    "u8 mig_devices[16]",
    "u32 process_count", "process processes[64]",
    "u32 link_count", "u32 link_version", "u32 link_speed_mbps", "link links[36]",
    "u32 minor", "u32 module_id", "u32 brand", "u32 architecture", "u32 cuda_major", "u32 cuda_minor",
    "u32 board_id", "u32 virtualization_mode", "u32 addressing_mode", "u32 c2c_mode", "u32 numa_node", "u32 fan_count",
    "u32 pci_domain", "u32 pci_bus", "u32 pci_device", "u32 pci_function", "u32 pci_device_id",
    "u32 pci_subsystem_id", "u32 pci_base_class", "u32 pci_sub_class",
    "u32 link_generation_max", "u32 link_generation_device", "u32 link_width_max", "u32 irq",
    "i32 shutdown_tlimit", "i32 slowdown_tlimit", "i32 max_operating_tlimit", "i32 memory_max_tlimit",
    "i32 shutdown_at", "i32 slowdown_at", "i32 max_operating_at", "i32 memory_max_at",
    "u32 power_min_mw", "u32 power_default_mw", "u32 power_max_mw",
    "u32 power_average", "u32 power_smoothing", "u32 memory_power_mw",
    "u32 module_power_mw", "u32 module_min_mw", "u32 module_default_mw", "u32 module_max_mw",
    "u32 atomics_outbound", "u32 atomics_inbound",
    "u32 max_clocks[4]", "u32 default_application_clocks[4]", "u32 memory_clock_count", "u32 memory_clocks[8]",
    "u32 graphics_highest[8]", "u32 graphics_lowest[8]", "u32 graphics_step_khz[8]",
    "u32 multiprocessors", "u32 cuda_cores", "u32 memory_bus_width", "u32 remap_banks",
    "u32 encoder_engines", "u32 decoder_engines", "u32 jpeg_engines", "u32 ofa_engines",
    "u64 memory_total", "u64 memory_reserved", "u64 bar1_total", "u64 supported_events", "u64 pdi",
    "u64 cpu_mask[16]", "u64 memory_mask[4]",
    "char uuid[80]", "char name[96]", "char serial[32]", "char board_part[80]", "char gpu_part[32]",
    "char vbios[32]", "char inforom_image[32]", "char inforom_oem[16]", "char inforom_ecc[16]",
    "char inforom_power[16]",
    size=PAGE_BYTES, parts=(LINK, PROCESS),
)  # fmt: skip

GREETING = record("greeting", "u64 magic", "u32 abi", "i32 result", "u64 bytes", "u64 connection", "u32 calls",
                  size=64)  # fmt: skip
REQUEST = record("request", "u64 magic", "u32 operation", "u32 slot", "u64 arguments[6]", size=64)
REPLY = record("reply", "u64 magic", "i32 result", "u32 operation", "u64 values[6]", size=64)
EVENT = record("event", "u64 magic", "u32 slot", "u32 unused", "u64 type", "u64 data",
               "u32 gpu_instance", "u32 compute_instance", size=64)  # fmt: skip

RECORDS = (LINK, PROCESS, CALL_FAULT, HEADER, OWNER, GPU, GREETING, REQUEST, REPLY, EVENT)
