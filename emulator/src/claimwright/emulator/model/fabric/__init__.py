"""NVLink fabrics: where a GPU stands in one, what the fabric manager partitions, what IMEX serves.

Values only; `model.operations.fabric` changes them. Facts: nvml.h 13.5 (`nvmlGpuFabricInfo*`), nv_fm_types.h, and
the IMEX guide's configuration options.
"""

from claimwright.emulator.model.fabric.imex import (
    ImexChannels,
    ImexService,
    Quorum,
)
from claimwright.emulator.model.fabric.links import nvlink_matrix, reachable
from claimwright.emulator.model.fabric.manager import (
    FabricManager,
    FabricMode,
    FabricPartition,
    standard_partitions,
)
from claimwright.emulator.model.fabric.membership import (
    Fabric,
    FabricHealth,
    FabricMisconfiguration,
    FabricState,
    HealthSummary,
)
from claimwright.emulator.model.fabric.tray import Tray

__all__ = [
    "Fabric",
    "FabricHealth",
    "FabricManager",
    "FabricMisconfiguration",
    "FabricMode",
    "FabricPartition",
    "FabricState",
    "HealthSummary",
    "ImexChannels",
    "ImexService",
    "Quorum",
    "Tray",
    "nvlink_matrix",
    "reachable",
    "standard_partitions",
]
