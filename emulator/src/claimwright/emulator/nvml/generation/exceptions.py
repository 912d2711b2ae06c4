"""What nvml.h says in words only: directions, which counts belong to which arrays, what may be NULL."""

from __future__ import annotations

# Record members that point at arrays: the member with their count, both inside the record.
NESTED = {
    "procArray": "numProcArrayEntries",
    "procUtilArray": "processSamplesCount",
    "entries": "entryCount",
    "placementIds": "count",
    "vgpuUtilArray": "vgpuInstanceCount",
    "vgpuProcUtilArray": "vgpuProcessCount",
    "vgpuTypeIds": "vgpuCount",
    "vgpuInstances": "vgpuCount",
    "counters": "numCounters",
    "buffer": "bufferSize",
}

# Arrays whose contents the call reads (function, parameter).
SENT = {
    ("nvmlDeviceGetFieldValues", "values"),
    ("nvmlDeviceClearFieldValues", "values"),
    ("nvmlDeviceReadPRMCounters_v1", "counters"),
}

# Plain numbers behind a pointer that the call reads.
READ = {
    ("nvmlDeviceSetTemperatureThreshold", "temp"),
}

# Arrays: what says how much room there is. A number stands for "the caller must have room for all".
ROOM = {
    ("nvmlDeviceGetGpuInstances", "gpuInstances"): "15",
    ("nvmlDeviceGetGpuInstancePossiblePlacements", "placements"): "8",
    ("nvmlDeviceGetGpuInstancePossiblePlacements_v2", "placements"): "8",
    ("nvmlGpuInstanceGetComputeInstancePossiblePlacements", "placements"): "8",
    ("nvmlGpuInstanceGetComputeInstances", "computeInstances"): "8",
    ("nvmlDeviceGetSupportedPerformanceStates", "pstates"): "size/4",
    ("nvmlDeviceGetFieldValues", "values"): "valuesCount",
    ("nvmlDeviceClearFieldValues", "values"): "valuesCount",
    ("nvmlDeviceGetMemoryAffinity", "nodeSet"): "nodeSetSize",
    ("nvmlDeviceGetCpuAffinityWithinScope", "cpuSet"): "cpuSetSize",
    ("nvmlDeviceGetCpuAffinity", "cpuSet"): "cpuSetSize",
    ("nvmlDeviceGetGspFirmwareVersion", "version"): "80",
    ("nvmlVgpuInstanceGetMetadata", "vgpuMetadata"): "bufferSize",
    ("nvmlDeviceGetVgpuMetadata", "pgpuMetadata"): "bufferSize",
}

# Records of a size that the caller says, taken as bytes.
BYTES = {("nvmlVgpuInstanceGetMetadata", "vgpuMetadata"), ("nvmlDeviceGetVgpuMetadata", "pgpuMetadata")}

# A count that is only given back.
COUNT_OUT = {
    ("nvmlDeviceGetGpuInstances", "count"),
    ("nvmlDeviceGetGpuInstancePossiblePlacements", "count"),
    ("nvmlDeviceGetGpuInstancePossiblePlacements_v2", "count"),
    ("nvmlGpuInstanceGetComputeInstances", "count"),
    ("nvmlGpuInstanceGetComputeInstancePossiblePlacements", "count"),
}

# Pointers that may be NULL.
OPTIONAL = {
    ("nvmlDeviceGetSamples", "sampleValType"),
    ("nvmlDeviceDiscoverGpus", "pciInfo"),
    ("nvmlDeviceGetGpuInstancePossiblePlacements_v2", "placements"),
    ("nvmlGpuInstanceGetComputeInstancePossiblePlacements", "placements"),
}
