"""What the driver needs from outside, as Protocols: NVML, host files, programs, Kubernetes and time.

The adapters implement them for a real node, `claimwright.driver.testing` in memory; both pass the same
contract tests. Anything else of the same shape fits too, without importing this package.
"""

from claimwright.driver.ports.clock import Clock
from claimwright.driver.ports.events import GpuEvent, GpuEvents, Watch
from claimwright.driver.ports.fabric_manager import FabricManager, FabricPartition
from claimwright.driver.ports.host import FileKind, Host, Located
from claimwright.driver.ports.mounts import Mounts
from claimwright.driver.ports.nvml import (
    ConditionReading,
    FabricReading,
    GpuReading,
    NodeReading,
    Nvml,
    UnreadableGpu,
)
from claimwright.driver.ports.partitions import (
    ComputeInstance,
    MigReading,
    Partition,
    PartitionProfile,
    Partitions,
    Placement,
)
from claimwright.driver.ports.processes import Finished, Processes, ProcessId, View
from claimwright.driver.ports.usage import GpuClient, Usage
from claimwright.driver.ports.vgpus import RunningVgpu, VgpuPlace, VgpuReading, Vgpus, VgpuType

__all__ = [
    "Clock",
    "ComputeInstance",
    "ConditionReading",
    "FabricManager",
    "FabricPartition",
    "FabricReading",
    "FileKind",
    "Finished",
    "GpuClient",
    "GpuEvent",
    "GpuEvents",
    "GpuReading",
    "Host",
    "Located",
    "MigReading",
    "Mounts",
    "NodeReading",
    "Nvml",
    "Partition",
    "PartitionProfile",
    "Partitions",
    "Placement",
    "ProcessId",
    "Processes",
    "RunningVgpu",
    "UnreadableGpu",
    "Usage",
    "VgpuPlace",
    "VgpuReading",
    "VgpuType",
    "Vgpus",
    "View",
    "Watch",
]
