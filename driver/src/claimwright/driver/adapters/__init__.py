"""The real doors: NVML through pynvml, files below a host root, child processes, the wall clock."""

from claimwright.driver.adapters.clock import WallClock
from claimwright.driver.adapters.fabric_manager import NvidiaFabricManager
from claimwright.driver.adapters.host import HostTree
from claimwright.driver.adapters.mounts import KernelMounts
from claimwright.driver.adapters.nvml import (
    NvmlEvents,
    NvmlLibrary,
    NvmlPartitions,
    NvmlSession,
    NvmlUsage,
    NvmlVgpus,
    ProfileBook,
)
from claimwright.driver.adapters.processes import ChildProcesses, outside_the_pod

__all__ = [
    "ChildProcesses",
    "HostTree",
    "KernelMounts",
    "NvidiaFabricManager",
    "NvmlEvents",
    "NvmlLibrary",
    "NvmlPartitions",
    "NvmlSession",
    "NvmlUsage",
    "NvmlVgpus",
    "ProfileBook",
    "WallClock",
    "outside_the_pod",
]
