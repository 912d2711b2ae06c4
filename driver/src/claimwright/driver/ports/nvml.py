"""The NVIDIA management library as a port: what is read of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from claimwright.driver.ports.partitions import MigReading


@dataclass(frozen=True)
class GpuReading:
    """What NVML says about one GPU; None where this GPU or this NVML does not know.

    `brand` and `architecture` are nvml.h's enumerators, `pci_bus_id` is NVML's own spelling
    (eight hexadecimal digits of domain), `memory_bytes` the total including what is reserved; `mig` is None on
    GPUs that cannot be partitioned.
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
    mig: MigReading | None = None


@dataclass(frozen=True)
class UnreadableGpu:
    """A GPU that NVML counts but does not describe, for instance because it fell off the bus."""

    index: int
    reason: str


@dataclass(frozen=True)
class NodeReading:
    """One pass over NVML: `cuda_driver_version` is NVML's integer, 13000 for 13.0."""

    driver_version: str
    cuda_driver_version: int
    gpus: tuple[GpuReading | UnreadableGpu, ...]


class Nvml(Protocol):
    """The NVIDIA management library of this node."""

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NodeUnusable when the library is missing or refuses."""
        ...
