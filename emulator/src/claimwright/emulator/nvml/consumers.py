"""Which functions the programs that meet an emulated node call: each of them needs behaviour, not a symbol alone.

Names as the library exports them. gpustat's and nvitop's lists are read from their installed source, and a test keeps
them so; those of the Go programs are what their public sources call at the versions in the comments; the exporter's
stands for any that watches what DCGM documents, and follows its list of fields rather than its code.
"""

from __future__ import annotations

from collections.abc import Mapping


def _names(prefix: str, text: str) -> frozenset[str]:
    return frozenset(f"nvml{prefix}{name}" for name in text.split())


_LIFETIME = _names("", "Init_v2 Shutdown ErrorString")
_FIND = _names("Device", "GetCount_v2 GetHandleByIndex_v2 GetName GetUUID")
_VERSIONS = _names("System", "GetDriverVersion GetCudaDriverVersion")
_INSTANCES = (
    _names(
        "Device",
        """GetMigMode GetMaxMigDeviceCount GetMigDeviceHandleByIndex GetGpuInstanceId GetComputeInstanceId
        GetGpuInstanceById GetGpuInstanceProfileInfo GetGpuInstancePossiblePlacements_v2 IsMigDeviceHandle
        GetDeviceHandleFromMigDeviceHandle GetAttributes_v2""",
    )
    | _names("GpuInstance", "GetInfo GetComputeInstanceById GetComputeInstanceProfileInfo")
    | _names("ComputeInstance", "GetInfo_v2")
)
_PARTITION = (
    _names("Device", "SetMigMode CreateGpuInstance CreateGpuInstanceWithPlacement GetGpuInstances")
    | _names("GpuInstance", "CreateComputeInstance GetComputeInstances Destroy")
    | _names("ComputeInstance", "Destroy")
)
_EVENTS = _names("Event", "SetCreate SetWait_v2 SetFree") | _names(
    "Device", "GetSupportedEventTypes RegisterEvents GetHandleByUUID"
)
# What go-nvlib's walk over a node's devices asks of each, whoever walks.
_GO_NVLIB = (
    _LIFETIME
    | _FIND
    | _VERSIONS
    | _INSTANCES
    | _names("", "InitWithFlags")
    | _names(
        "Device",
        """GetMinorNumber GetMemoryInfo GetArchitecture GetBrand GetCudaComputeCapability GetPciInfo_v3
        GetAddressingMode GetGpuFabricInfo GetGpuFabricInfoV""",
    )
)
_PROCESSES = _names(
    "Device",
    """GetComputeRunningProcesses_v2 GetComputeRunningProcesses_v3 GetGraphicsRunningProcesses_v2
    GetGraphicsRunningProcesses_v3""",
)

CONSUMERS: Mapping[str, frozenset[str]] = {
    # sigs.k8s.io dra-driver-nvidia-gpu 95932046: both plugins, their health monitor, MIG and VFIO managers.
    "NVIDIA DRA driver": _GO_NVLIB
    | _PARTITION
    | _EVENTS
    | _names(
        "Device",
        "GetModuleId GetVirtualizationMode GetHandleByPciBusId_v2 GetPersistenceMode SetPersistenceMode",
    ),
    # k8s-device-plugin 1b826acc6 with GPU feature discovery.
    "NVIDIA device plugin": _GO_NVLIB | _EVENTS | _names("Device", "GetIndex GetNumaNodeId"),
    # What go-nvml looks up at load to choose its versions, and go-nvlib before it calls.
    "go-nvml, go-nvlib": _GO_NVLIB
    | _PROCESSES
    | _names("", "EventSetWait_v2")
    | _names(
        "Device",
        """GetPciInfo_v2 GetHandleByPciBusId_v2 GetNvLinkRemotePciInfo_v2 RemoveGpu_v2
        GetMPSComputeRunningProcesses_v2 GetMPSComputeRunningProcesses_v3 GetDriverModel_v2
        GetGridLicensableFeatures_v4""",
    )
    | _names("VgpuInstance", "GetLicenseInfo_v2"),
    "mig-parted": _LIFETIME
    | _FIND
    | _INSTANCES
    | _PARTITION
    | _names("Device", "GetIndex GetMemoryInfo GetPciInfo_v3 GetHandleByUUID")
    | _names("System", "GetNVMLVersion"),
    # 1.1.1
    "gpustat": _LIFETIME
    | _FIND
    | _PROCESSES
    | _names("System", "GetDriverVersion")
    | _names(
        "Device",
        """GetIndex GetTemperature GetFanSpeed GetMemoryInfo GetMemoryInfo_v2 GetUtilizationRates
        GetEncoderUtilization GetDecoderUtilization GetPowerUsage GetEnforcedPowerLimit""",
    ),
    # 1.7.2
    "nvitop": _LIFETIME
    | _FIND
    | _VERSIONS
    | _PROCESSES
    | _names("", "InitWithFlags")
    | _names(
        "Device",
        """GetBAR1MemoryInfo GetClockInfo GetComputeInstanceId GetComputeMode GetConfComputeMemSizeInfo
        GetCudaComputeCapability GetDecoderUtilization GetDeviceHandleFromMigDeviceHandle GetDisplayActive
        GetDisplayMode GetDriverModel GetDriverModel_v2 GetEncoderUtilization GetFanSpeed GetFieldValues
        GetGpuInstanceId GetHandleByPciBusId_v2 GetHandleByUUID GetIndex GetMPSComputeRunningProcesses_v2
        GetMPSComputeRunningProcesses_v3 GetMaxClockInfo GetMaxMigDeviceCount GetMemoryInfo GetMemoryInfo_v2
        GetMigDeviceHandleByIndex GetMigMode GetPciInfo_v3 GetPcieThroughput GetPerformanceState
        GetPersistenceMode GetPowerManagementLimit GetPowerUsage GetProcessUtilization
        GetRunningProcessDetailList GetSerial GetTemperature GetTemperatureV GetTotalEccErrors
        GetUtilizationRates IsMigDeviceHandle""",
    ),
    # The counters, watches and set-up of DCGM's host engine that such an exporter leans on.
    "DCGM-like exporter": _GO_NVLIB
    | _EVENTS
    | _PROCESSES
    | _names(
        "Device",
        """GetIndex GetSerial GetVbiosVersion GetBoardId GetInforomImageVersion GetInforomVersion
        GetInforomConfigurationChecksum GetHandleByPciBusId_v2 GetPersistenceMode GetComputeMode
        GetFieldValues ClearFieldValues GetClockInfo GetMaxClockInfo GetApplicationsClock GetSupportedMemoryClocks
        GetSupportedGraphicsClocks GetCurrentClocksThrottleReasons GetCurrentClocksEventReasons
        GetPerformanceState GetTemperature GetTemperatureThreshold GetMarginTemperature GetFanSpeed GetPowerUsage
        GetPowerManagementLimit GetPowerManagementLimitConstraints GetPowerManagementDefaultLimit
        GetEnforcedPowerLimit GetTotalEnergyConsumption GetUtilizationRates GetEncoderUtilization
        GetDecoderUtilization GetMemoryInfo_v2 GetBAR1MemoryInfo GetEccMode GetTotalEccErrors GetDetailedEccErrors
        GetMemoryErrorCounter GetRetiredPages GetRetiredPages_v2 GetRetiredPagesPendingStatus GetRemappedRows
        GetRowRemapperHistogram GetSramEccErrorStatus GetPcieThroughput GetPcieReplayCounter
        GetMaxPcieLinkGeneration GetCurrPcieLinkGeneration GetMaxPcieLinkWidth GetCurrPcieLinkWidth
        GetViolationStatus GetSamples GetAccountingMode SetAccountingMode GetAccountingPids GetAccountingStats
        GetProcessUtilization GetCpuAffinity GetCpuAffinityWithinScope GetMemoryAffinity
        GetTopologyCommonAncestor GetP2PStatus GetNvLinkState GetNvLinkRemotePciInfo_v2
        GetNvLinkRemoteDeviceType GetNvLinkErrorCounter GetNvLinkCapability GetNvLinkVersion
        GetVirtualizationMode GetSupportedVgpus GetCreatableVgpus GetActiveVgpus GetVgpuUtilization
        GetVgpuProcessUtilization GetPlatformInfo GetGridLicensableFeatures_v4 SetComputeMode
        SetPowerManagementLimit SetApplicationsClocks ResetApplicationsClocks SetEccMode
        WorkloadPowerProfileGetProfilesInfo WorkloadPowerProfileGetCurrentProfiles
        WorkloadPowerProfileSetRequestedProfiles WorkloadPowerProfileClearRequestedProfiles ReadPRMCounters_v1""",
    )
    | _names("Gpm", "QueryDeviceSupport SampleAlloc SampleGet MigSampleGet MetricsGet SampleFree")
    | _names(
        "System", "GetNVMLVersion GetProcessName EventSetCreate EventSetFree RegisterEvents EventSetWait"
    )
    | _names(
        "VgpuType", "GetClass GetName GetLicense GetFramebufferSize GetFrameRateLimit GetNumDisplayHeads"
    )
    | _names(
        "VgpuInstance",
        """GetVmID GetVmDriverVersion GetFbUsage GetLicenseStatus GetType GetUUID GetFrameRateLimit
        GetEncoderStats GetFBCStats""",
    ),
}
