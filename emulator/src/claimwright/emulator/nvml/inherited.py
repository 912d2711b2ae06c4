"""Getters that a MIG device answers as its GPU does: where it sits, and what silicon it is a part of.

The generator gives each a body that looks the GPU up; everything else answers for MIG devices in
answers/mig_devices.py, or INVALID_ARGUMENT.
"""

from __future__ import annotations

INHERITED = frozenset(
    {
        "nvmlDeviceGetAddressingMode",
        "nvmlDeviceGetArchitecture",
        "nvmlDeviceGetBoardId",
        "nvmlDeviceGetBoardPartNumber",
        "nvmlDeviceGetBrand",
        "nvmlDeviceGetBusType",
        "nvmlDeviceGetComputeMode",
        "nvmlDeviceGetCpuAffinity",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetMinorNumber",
        "nvmlDeviceGetModuleId",
        "nvmlDeviceGetNumaNodeId",
        "nvmlDeviceGetPciInfo",
        "nvmlDeviceGetPciInfoExt",
        "nvmlDeviceGetPciInfo_v2",
        "nvmlDeviceGetPciInfo_v3",
        "nvmlDeviceGetPersistenceMode",
        "nvmlDeviceGetSerial",
        "nvmlDeviceGetVbiosVersion",
        "nvmlDeviceGetVirtualizationMode",
    }
)
