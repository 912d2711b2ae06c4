"""The driver's ports in memory, and a node as folders, for tests, the fleet and measurements.

What is in memory passes the same contract tests as the real adapters.
"""

from claimwright.driver.testing.claims import allocated_gpus
from claimwright.driver.testing.clock import HandClock
from claimwright.driver.testing.events import MemoryEvents
from claimwright.driver.testing.fabric_manager import MemoryFabricManager
from claimwright.driver.testing.gpu_programs import GpuPrograms
from claimwright.driver.testing.host import MemoryHost
from claimwright.driver.testing.imex import ScriptedImex
from claimwright.driver.testing.mounts import MemoryMounts
from claimwright.driver.testing.nvml import MemoryNvml, gpu_reading, hgx_h100_host, hgx_h100_nvml
from claimwright.driver.testing.partitions import MemoryPartitions, h100_profiles
from claimwright.driver.testing.pci_bus import MemoryPciBus
from claimwright.driver.testing.processes import ScriptedProcesses
from claimwright.driver.testing.stub_node import StubNode, build_stub_node
from claimwright.driver.testing.usage import MemoryUsage
from claimwright.driver.testing.vgpus import MemoryVgpus, vgpu_types
from claimwright.driver.testing.waiting import wait_until

__all__ = [
    "GpuPrograms",
    "HandClock",
    "MemoryEvents",
    "MemoryFabricManager",
    "MemoryHost",
    "MemoryMounts",
    "MemoryNvml",
    "MemoryPartitions",
    "MemoryPciBus",
    "MemoryUsage",
    "MemoryVgpus",
    "ScriptedImex",
    "ScriptedProcesses",
    "StubNode",
    "allocated_gpus",
    "build_stub_node",
    "gpu_reading",
    "h100_profiles",
    "hgx_h100_host",
    "hgx_h100_nvml",
    "vgpu_types",
    "wait_until",
]
