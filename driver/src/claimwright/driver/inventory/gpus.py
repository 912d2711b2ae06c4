"""What this node has, as values: whole GPUs, and those that are not offered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from claimwright.driver.inventory.functions import Iommu, PciFunction
from claimwright.driver.inventory.vgpus import VgpuHost
from claimwright.driver.ports import (
    ConditionReading,
    FabricPartition,
    FabricReading,
    MigReading,
    Partition,
    UnreadableGpu,
)

_RESET_TO_SWITCH: Final = ("Ampere",)
_ONE_MACHINE: Final = str(UUID(int=0))


@dataclass(frozen=True)
class NearestNic:
    """The network card that is nearest to a GPU, and how near: PIX, PXB, PHB or NODE as `nvidia-smi topo` says."""

    pci_bus_id: str
    path: str


@dataclass(frozen=True)
class Gpu:
    """One whole GPU; None where the hardware or its driver does not say."""

    minor: int
    uuid: str
    product_name: str
    brand: str
    architecture: str
    cuda_compute_capability: str
    pci_bus_id: str
    memory_bytes: int | None
    pcie_root: str | None
    numa_node: int | None
    addressing_mode: str | None
    # Its place on a board with NVSwitches.
    module_id: int | None = None
    mig: MigReading | None = None
    # Partitions that somebody else made; this driver neither gives their place away nor removes them.
    foreign: tuple[Partition, ...] = ()
    vgpus: VgpuHost | None = None
    # Where it is: its NVLink fabric, the GPUs that it reaches over NVLink (named by their first), its network card.
    fabric: FabricReading | None = None
    nvlink_group: str | None = None
    nearest_nic: NearestNic | None = None
    # How it is: what NVML says, and why it could not be read this time (then all else is of an earlier reading).
    condition: ConditionReading = field(default_factory=ConditionReading)
    lost: bool = False
    unreadable: str = ""

    @property
    def clique(self) -> str | None:
        """`<cluster uuid>.<clique id>`: GPUs of all machines that share it share memory; None inside one machine."""
        if self.fabric is None or self.fabric.cluster_uuid == _ONE_MACHINE:
            return None
        return f"{self.fabric.cluster_uuid}.{self.fabric.clique_id}"

    @property
    def device_name(self) -> str:
        """The name in the ResourceSlice."""
        return f"gpu-{self.minor}"

    @property
    def switches_mig(self) -> bool:
        """Whether MIG mode changes at once; before Hopper it takes a reset of the GPU."""
        return self.mig is not None and self.architecture not in _RESET_TO_SWITCH

    @property
    def carries_foreign_vgpus(self) -> bool:
        """Whether somebody else has put vGPUs on it, which leaves neither the whole GPU nor partitions to give."""
        return self.vgpus is not None and bool(self.vgpus.foreign)


@dataclass(frozen=True)
class LeftOut:
    """A GPU that is here but not offered, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Inventory:
    """All GPUs of the node that NVML sees, ordered by minor number, and those that cannot be offered.

    `functions` are all GPUs on the PCI bus by address, those included that another driver than NVIDIA's holds.
    `driver_version` is as NVML and the file names of the installation say it, `570.86.05`.
    """

    driver_version: str
    cuda_driver_version: str
    gpus: tuple[Gpu, ...]
    left_out: tuple[LeftOut, ...] = ()
    functions: tuple[PciFunction, ...] = ()
    iommu: Iommu = field(default_factory=Iommu)
    # Those that NVML counts and does not describe; which of the known GPUs they are, `keep_known` finds out.
    unreadable: tuple[UnreadableGpu, ...] = ()
    # What the fabric manager can join; None when it did not answer.
    fabric_partitions: tuple[FabricPartition, ...] | None = ()

    def gpu_at(self, address: str) -> Gpu | None:
        """Return the GPU at a PCI address, None when NVML does not see it."""
        return next((gpu for gpu in self.gpus if gpu.pci_bus_id == address), None)
