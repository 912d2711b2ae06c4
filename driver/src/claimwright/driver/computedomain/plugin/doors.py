"""Everything outside that the ComputeDomain plugin speaks to, and the real things behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from claimwright.dra.kube import Kube
from claimwright.driver.adapters import ChildProcesses, HostTree, NvmlLibrary, NvmlSession, WallClock
from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.ports import Clock, Host, Nvml, Processes

# A prepare asks several times within a kubelet's call of 45 s.
_API_SECONDS: Final = 5.0


@dataclass(frozen=True)
class DomainDoors:
    """Everything outside that the plugin speaks to."""

    nvml: Nvml
    host: Host
    root: DriverRoot
    kube: Kube
    processes: Processes
    clock: Clock


def open_doors(settings: DomainPluginSettings) -> DomainDoors:
    """Return the real doors; NodeUnusable when the driver installation is not there."""
    root = DriverRoot.choose(settings.nvidia_driver_root_on_host, settings.container_driver_root)
    root.nvml_library()  # a node without it is refused before anything else is tried
    return DomainDoors(
        nvml=NvmlLibrary(NvmlSession(lambda: root.nvml_library().readable)),
        host=HostTree(settings.host_root),
        root=root,
        kube=Kube.connect(settings.kubeconfig, user_agent=settings.driver, timeout_seconds=_API_SECONDS),
        processes=ChildProcesses(),
        clock=WallClock(),
    )
