"""Everything outside that the plugin speaks to, and the real things behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from claimwright.dra.kube import Kube
from claimwright.driver.adapters import (
    ChildProcesses,
    HostTree,
    KernelMounts,
    NvidiaFabricManager,
    NvmlEvents,
    NvmlLibrary,
    NvmlPartitions,
    NvmlSession,
    NvmlUsage,
    NvmlVgpus,
    ProfileBook,
    WallClock,
    outside_the_pod,
)
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.ports import (
    Clock,
    FabricManager,
    GpuEvents,
    Host,
    Mounts,
    Nvml,
    Partitions,
    Processes,
    Usage,
    Vgpus,
)
from claimwright.driver.settings import GPU_DRIVER, GpuPluginSettings

_FABRIC: Final = "FabricManagerPartitioning"
_HEALTH: Final = "NVMLDeviceHealthCheck"


@dataclass(frozen=True)
class Doors:
    """Everything outside that the plugin speaks to."""

    nvml: Nvml
    events: GpuEvents
    partitions: Partitions
    usage: Usage
    vgpus: Vgpus
    fabric: FabricManager | None
    host: Host
    root: DriverRoot
    kube: Kube
    processes: Processes
    mounts: Mounts
    clock: Clock


def open_doors(settings: GpuPluginSettings) -> Doors:
    """Return the real doors; NodeUnusable when the driver installation is not there."""
    root = DriverRoot.choose(settings.nvidia_driver_root_on_host, settings.container_driver_root)
    root.nvml_library()  # a node without it is refused before anything else is tried
    session = NvmlSession(lambda: root.nvml_library().readable)
    profiles = ProfileBook()
    return Doors(
        nvml=NvmlLibrary(session, profiles, conditions=settings.feature_gates[_HEALTH]),
        events=NvmlEvents(session),
        partitions=NvmlPartitions(session, profiles),
        usage=NvmlUsage(session),
        vgpus=NvmlVgpus(session),
        fabric=_fabric_manager(settings, root),
        host=HostTree(settings.host_root),
        root=root,
        kube=Kube.connect(settings.kubeconfig, user_agent=GPU_DRIVER),
        processes=ChildProcesses(outside_the_pod()),
        mounts=KernelMounts(),
        clock=WallClock(),
    )


def _fabric_manager(settings: GpuPluginSettings, root: DriverRoot) -> FabricManager | None:
    return NvidiaFabricManager.of(root) if settings.feature_gates[_FABRIC] else None
