"""The NVIDIA management library as a port: what is read of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from claimwright.driver.ports.partitions import MigReading
from claimwright.driver.ports.vgpus import VgpuReading


@dataclass(frozen=True)
class FabricReading:
    """A GPU's place in an NVLink fabric: `state`, `status` and the bits of `health_mask` are nvml.h's.

    An all-zero `cluster_uuid` means that the fabric does not leave this machine.
    """

    cluster_uuid: str
    clique_id: int
    state: int
    status: int = 0
    health_mask: int = 0


@dataclass(frozen=True)
class ConditionReading:
    """The state of repair of a GPU; None where this GPU or this NVML does not know.

    `recovery_action` is `nvmlDeviceGpuRecoveryAction_t`: what the driver asks the operator to do. `repair_pending`
    means rows or pages of memory that a reset takes out of use, `repair_failed` that no spare row was left.
    `clock_reasons` are the bits of `nvmlClocksEventReason*`, the width is in lanes of PCIe.
    """

    recovery_action: int | None = None
    repair_pending: bool = False
    repair_failed: bool = False
    nvlinks_active: tuple[int, ...] = ()
    pcie_width: int | None = None
    clock_reasons: int = 0
    inforom_corrupt: bool = False


@dataclass(frozen=True)
class GpuReading:
    """What NVML says about one GPU; None where this GPU or this NVML does not know.

    `brand` and `architecture` are nvml.h's enumerators, `pci_bus_id` is NVML's own spelling
    (eight hexadecimal digits of domain), `memory_bytes` the total including what is reserved; `mig` is None on
    GPUs that cannot be partitioned, `vgpus` on GPUs that
    host none. `nvlink_peers` are the GPUs that it reaches over NVLink, spelled likewise;
    `module_id` is its place on a board with NVSwitches, None where it has none.
    """

    minor: int
    uuid: str
    name: str
    brand: int
    architecture: int
    compute_capability: tuple[int, int]
    pci_bus_id: str
    memory_bytes: int | None = None
    addressing_mode: int | None = None
    module_id: int | None = None
    mig: MigReading | None = None
    vgpus: VgpuReading | None = None
    fabric: FabricReading | None = None
    nvlink_peers: tuple[str, ...] = ()
    condition: ConditionReading = ConditionReading()


@dataclass(frozen=True)
class UnreadableGpu:
    """A GPU that NVML counts but does not describe; `lost` when it fell off the bus."""

    index: int
    reason: str
    lost: bool = False


@dataclass(frozen=True)
class NodeReading:
    """One pass over NVML: `cuda_driver_version` is NVML's integer, 13000 for 13.0."""

    driver_version: str
    cuda_driver_version: int
    gpus: tuple[GpuReading | UnreadableGpu, ...]


class Nvml(Protocol):
    """The NVIDIA management library of this node."""

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NvmlUnusable when the library is missing or refuses."""
        ...
